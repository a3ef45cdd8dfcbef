"""The function's log: one JSON object per line, with CloudWatch metrics in it.

CloudWatch reads the metrics from the key ``_aws`` of the line (EMF, embedded metric format).
json.dumps escapes line breaks, so a string from a record cannot start a new log line.
Source: Amazon CloudWatch User Guide, "Specification: Embedded metric format".
"""

from __future__ import annotations

import json
from typing import Any

NAMESPACE = "Signwatch"
LOG_TEXT_MAX_CHARS = 200  # for each string


def write(
    values: dict[str, Any],
    metrics: dict[str, float],
    now: float,
    *,
    dimensions: dict[str, str] | None = None,
) -> None:
    """Print one log line; Lambda sends standard output to the log group.

    The arguments are those of format_line.
    """
    print(format_line(values, metrics, now, dimensions=dimensions), flush=True)


def write_failure(problem: str, error: Exception, now: float, **context: object) -> None:
    """Log an error that does not stop the function.

    ``problem`` names the part that failed, such as "ledger"; ``context`` adds values such as
    event_id.
    """
    error_name = type(error).__name__
    values = {"level": "ERROR", **context, "problem": problem, "error": error_name}
    write(values, metrics={}, now=now)


def format_line(
    values: dict[str, Any],
    metrics: dict[str, float],
    now: float,
    *,
    dimensions: dict[str, str] | None = None,
) -> str:
    """Return one log line with ``values`` and ``metrics``; ``now`` is in seconds since 1970.

    ``dimensions`` are the CloudWatch dimensions of the metrics: ``{"Verdict": "alert"}``. Long
    strings in ``values`` are truncated.
    """
    dimensions = dimensions or {}
    short_values = {name: _truncate(value) for name, value in values.items()}
    line = short_values | dimensions | metrics
    if metrics:
        directive = {
            "Namespace": NAMESPACE,
            "Dimensions": [list(dimensions)],
            "Metrics": [{"Name": name, "Unit": _choose_unit(name)} for name in metrics],
        }
        line["_aws"] = {"Timestamp": int(now * 1000), "CloudWatchMetrics": [directive]}
    return json.dumps(line, ensure_ascii=True)


def _choose_unit(metric: str) -> str:
    """Return CloudWatch's unit of a metric, which the end of the metric's name tells."""
    return "Seconds" if metric.endswith("Seconds") else "Count"


def _truncate(value: object) -> object:
    """Return a string cut to LOG_TEXT_MAX_CHARS, and any other value unchanged."""
    return value[:LOG_TEXT_MAX_CHARS] if isinstance(value, str) else value
