"""The second way of a sign-in: the subscription filter on the trail's log group.

CloudTrail writes each management event of every Region there. A filter with a pattern of event
names, ``{ ($.eventName = A) || ($.eventName = B) }``, hands those of sign-ins to the function.
Sources: CloudWatch Logs User Guide, "Filter pattern syntax" and "Log group-level subscription
filters"; AWS CloudFormation, "AWS::CloudTrail::Trail".
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tooling.errors import FailedError
from tooling.resolved_templates import ACCOUNT, REGION, ROOT_STACK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tooling.resolved_templates import Stack

FILE = "cloudtrail.yaml"
TRAIL, FILTER = "AWS::CloudTrail::Trail", "AWS::Logs::SubscriptionFilter"
PERMISSION = "AWS::Lambda::Permission"
PATTERN = re.compile(r"\{ ?(.+?) ?\}")
CONDITION = re.compile(r"\(\$\.eventName = (\w+)\)")
TRAIL_SETTINGS = {  # what is lost without each
    "IsLogging": "it records nothing",
    "IsMultiRegionTrail": "it misses the sign-ins of other Regions",
    "IncludeGlobalServiceEvents": "it misses the sign-ins of global services",
}
READS_AND_WRITES = {"All": {"reads", "writes"}, "ReadOnly": {"reads"}, "WriteOnly": {"writes"}}


def judge(
    stacks: Mapping[str, Stack], required: frozenset[str]
) -> tuple[frozenset[str], list[FailedError]]:
    """Return the event names that the trail hands to the function, and what is wrong.

    ``stacks`` are the templates as deployed, ``required`` the names that each filter must have.
    If the trail, a log group or a permission is wrong, it hands on no name.
    """
    root = stacks[ROOT_STACK]
    group, problems = _judge_trail(stacks)
    if root.parameters.get("TrailMode") == "existing":  # no stack has that trail
        group, problems = _make_group_arn(root.parameters["TrailLogGroupName"]), []
    filters = _list_by_name(stacks, FILTER)
    if not filters:
        what = "no filter hands the trail's sign-ins to the function"
        problems.append(FailedError(FILE, what, "put a filter on the trail's log group"))
    for name, properties in filters.items():
        problems += _judge_filter(stacks, name, properties, group)
    names_by_filter = {
        name: _read_pattern(str(properties.get("FilterPattern")))
        for name, properties in filters.items()
    }
    handed_on = frozenset() if problems else frozenset.intersection(*names_by_filter.values())
    for name, names in names_by_filter.items():
        if lacking := required - names:
            what = f"{name} lacks {', '.join(sorted(lacking))}"
            problems.append(FailedError(FILE, what, "give the filter each event name of the rules"))
    return handed_on, problems


def _list_by_name(stacks: Mapping[str, Stack], kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of each resource of a type in all stacks, by its logical id."""
    return {name: body for stack in stacks.values() for name, body in stack.of_type(kind).items()}


def _make_group_arn(name: str) -> str:
    """Return the ARN of a log group and its streams, which CloudWatch Logs names to Lambda."""
    return f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}:*"


def _judge_trail(stacks: Mapping[str, Stack]) -> tuple[str, list[FailedError]]:
    """Return the ARN of the trail's log group, "" if it has none, and what is wrong with it."""
    trails = _list_by_name(stacks, TRAIL)
    if not trails:
        return "", [FailedError(FILE, "there is no trail", "restore the trail, or the parent")]
    name, trail = next(iter(trails.items()))
    problems = [
        FailedError(FILE, f"{setting} of {name} is not true: {effect}", f"set {setting} to true")
        for setting, effect in TRAIL_SETTINGS.items()
        if trail.get(setting) is not True
    ]
    for kind in sorted({"reads", "writes"} - _list_recorded_kinds(trail)):
        what = f"the EventSelectors of {name} leave out management events that are {kind}"
        remedy = "use one selector with ReadWriteType All and IncludeManagementEvents true"
        problems.append(FailedError(FILE, what, remedy))
    group = trail.get("CloudWatchLogsLogGroupArn", "")
    if not group or not trail.get("CloudWatchLogsRoleArn"):
        what = f"{name} writes to no log group"
        remedy = "set CloudWatchLogsLogGroupArn and CloudWatchLogsRoleArn"
        problems.append(FailedError(FILE, what, remedy))
    return str(group), problems


def _list_recorded_kinds(trail: Mapping[str, Any]) -> set[str]:
    """Return which management events a trail records: "reads", "writes"; without selectors all.

    Advanced selectors are not read, and count as none.
    """
    if "AdvancedEventSelectors" in trail:
        return set()
    kinds: set[str] = set()
    for selector in trail.get("EventSelectors", [{}]):
        if selector.get("IncludeManagementEvents", True) is True:
            kinds |= READS_AND_WRITES.get(selector.get("ReadWriteType", "All"), set())
    return kinds


def _judge_filter(
    stacks: Mapping[str, Stack], name: str, properties: Mapping[str, Any], group: str
) -> list[FailedError]:
    """Return why a filter gets no events of the log group ``group``, or cannot hand them on."""
    function = stacks[ROOT_STACK].outputs["FunctionArn"]
    problems = []
    if properties.get("DestinationArn") != function:
        what = f"{name} does not hand its events to the function"
        problems.append(FailedError(FILE, what, "set its DestinationArn to FunctionArn"))
    if _make_group_arn(str(properties.get("LogGroupName"))) != group:
        what = f"{name} is on another log group than the trail's"
        problems.append(FailedError(FILE, what, "set its LogGroupName to that of the trail"))
    permissions = _list_by_name(stacks, PERMISSION).values()
    if not any(_lets_invoke(permission, function, group) for permission in permissions):
        what = f"no permission lets {name} invoke the function"
        remedy = "give one to logs.amazonaws.com, with the log group's ARN and :* as SourceArn"
        problems.append(FailedError(FILE, what, remedy))
    return problems


def _lets_invoke(permission: Mapping[str, Any], function: str, group: str) -> bool:
    """Return whether a permission lets CloudWatch Logs invoke the function for a log group."""
    return (
        permission.get("FunctionName") in (function, function.rpartition(":")[2])
        and permission.get("Action") == "lambda:InvokeFunction"
        and permission.get("Principal") == "logs.amazonaws.com"
        and fnmatchcase(group, permission.get("SourceArn", "*"))
        and permission.get("SourceAccount", ACCOUNT) == ACCOUNT
    )


def _read_pattern(pattern: str) -> frozenset[str]:
    """Return the event names of a pattern; none if it has another form."""
    content = PATTERN.fullmatch(pattern.strip())
    terms = content[1].split(" || ") if content else []
    matches = [CONDITION.fullmatch(term) for term in terms]
    names = frozenset(match[1] for match in matches if match)
    return names if all(matches) else frozenset()


def is_recorded(event: Mapping[str, Any]) -> bool:
    """Return whether CloudTrail records the event; the anomaly alert of AWS comes by the bus."""
    return str(event["detail-type"]).endswith("via CloudTrail")
