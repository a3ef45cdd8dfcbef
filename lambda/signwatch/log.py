"""The function's log: one JSON line a decision, with the metrics in it (CloudWatch Embedded Metric Format).

Everything is written through json.dumps, so that no recorded text can begin a line of its own.
"""

from __future__ import annotations

import json
from typing import Any

NAMESPACE = "Signwatch"
LOG_TEXT_MAX_CHARS = 200  # characters of a recorded text in the log


def format_line(
    values: dict[str, Any],
    metrics: dict[str, float],
    now: float,
    *,
    dimensions: dict[str, str] | None = None,
) -> str:
    """Return one log line with ``values`` and ``metrics``; ``now`` in seconds since 1970."""
    named = dimensions or {}
    units = {name: "Seconds" if name.endswith("Seconds") else "Count" for name in metrics}
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [list(named)],
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in units.items()],
    }
    aws = (
        {"_aws": {"Timestamp": int(now * 1000), "CloudWatchMetrics": [directive]}}
        if metrics
        else {}
    )
    return json.dumps({**_capped(values), **named, **metrics, **aws}, ensure_ascii=True)


def write(
    values: dict[str, Any],
    metrics: dict[str, float],
    now: float,
    *,
    dimensions: dict[str, str] | None = None,
) -> None:
    """Print one log line; Lambda carries standard output to the log group."""
    print(format_line(values, metrics, now, dimensions=dimensions), flush=True)


def _capped(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value[:LOG_TEXT_MAX_CHARS] if isinstance(value, str) else value
        for name, value in values.items()
    }
