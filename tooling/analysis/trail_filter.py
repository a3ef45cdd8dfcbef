"""The second way of a sign-in: the subscription filter on the trail's log group.

CloudTrail writes each management event of every Region there. A filter with a pattern of event
names, ``{ ($.eventName = A) || ($.eventName = B) }``, hands those of sign-ins to the function.
Source: CloudWatch Logs User Guide, "Filter pattern syntax".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from signwatch.detection.record import as_object
from tooling import templates
from tooling.errors import FailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FILTER_TYPE = "AWS::Logs::SubscriptionFilter"
FUNCTION_ARN = {"Ref": "FunctionArn"}  # the parameter has this name in every template
PATTERN = re.compile(r"\{ ?(.+?) ?\}")
CONDITION = re.compile(r"\(\$\.eventName = (\w+)\)")


def load_names(folder: Path) -> frozenset[str]:
    """Return the event names that a filter in the templates of ``folder`` hands to the function.

    A filter whose pattern has another form hands on none.
    """
    names: set[str] = set()
    for file in sorted(folder.glob("*.yaml")):
        for body in as_object(templates.load(file).get("Resources")).values():
            properties = as_object(as_object(body).get("Properties"))
            is_filter = as_object(body).get("Type") == FILTER_TYPE
            if is_filter and properties.get("DestinationArn") == FUNCTION_ARN:
                names |= _read_pattern(str(properties.get("FilterPattern")))
    return frozenset(names)


def _read_pattern(pattern: str) -> set[str]:
    """Return the event names of a pattern; none if it has another form."""
    content = PATTERN.fullmatch(pattern.strip())
    terms = content[1].split(" || ") if content else []
    matches = [CONDITION.fullmatch(term) for term in terms]
    return {match[1] for match in matches if match} if all(matches) else set()


def is_recorded(event: Mapping[str, Any]) -> bool:
    """Return whether CloudTrail records the event; the anomaly alert of AWS comes by the bus."""
    return str(event["detail-type"]).endswith("via CloudTrail")


def format_cell(event: Mapping[str, Any], names: frozenset[str], *, is_required: bool) -> str:
    """Return what the table shows of the trail's way: "yes", "none", or "-" if it needs none."""
    if event["detail"].get("eventName") in names and is_recorded(event):
        return "yes"
    return "none" if is_required and is_recorded(event) else "-"


def refuse_losses(folder: Path, lost: Sequence[str], names: frozenset[str]) -> None:
    """Raise FailedError if the filter lacks the names of these sign-in paths."""
    if lost:
        cause = "the filter lacks their names" if names else "no filter hands on event names"
        what = f"{len(lost)} sign-in paths have no way by the trail ({cause}): {'; '.join(lost)}"
        remedy = "give the filter in cloudtrail.yaml each event name of the rules"
        raise FailedError(str(folder), what, remedy)
