"""``invoke drift``: compares the root stack and its nested stacks with their templates.

Drift is a difference between a resource in AWS and the same resource in the deployed template. AWS
finds it: a request starts the detection for one stack, and further ones poll for its result.

Facts: AWS CloudFormation User Guide, "Detect unmanaged configuration changes to stacks and
resources with drift detection": drift of a nested stack is detected by a request of its own, and
the caller needs the right to read each resource.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tooling import invocation
from tooling.deploy import stack
from tooling.deploy.stack_events import STACK_TYPE
from tooling.errors import FailedError, UnknownStateError
from tooling.progress import Ongoing
from tooling.terminal.untrusted import escape_unprintable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tooling.deploy.account import Account
    from tooling.settings import Settings

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.2, 5.0  # between two polls
DETECTION_TIMEOUT_SECONDS = 900.0  # for one stack
DRIFTED_STATUSES = ("MODIFIED", "DELETED")
COLUMNS = ("drift", "resource", "kind", "difference")


@dataclass(frozen=True)
class Drift:
    """One resource that differs from its template, or was deleted."""

    stack: str  # the name of its stack
    resource: str  # its logical id
    kind: str  # its type, such as AWS::S3::Bucket
    status: str  # MODIFIED or DELETED
    differences: tuple[str, ...]  # a line for each property; none if the resource was deleted

    def format_rows(self) -> list[tuple[str, ...]]:
        """Return a row of COLUMNS for each difference, or one if the resource was deleted.

        Whoever changed the resource chose the values, so they are escaped.
        """
        cells = (self.status.lower(), f"{self.stack}.{self.resource}", self.kind)
        return [
            (*cells, escape_unprintable(difference, max_chars=len(difference)))
            for difference in self.differences or ("",)
        ]


@dataclass(frozen=True)
class DriftReport:
    """All drift of a root stack and its nested stacks."""

    drifts: tuple[Drift, ...]
    compared_count: int  # how many resources AWS compared

    def format_rows(self) -> list[tuple[str, ...]]:
        """Return the rows of the table, with a cell for each of COLUMNS."""
        return [row for drift in self.drifts for row in drift.format_rows()]

    def format_totals(self) -> str:
        """Return the line below the table."""
        differing = f"{len(self.drifts)} differ from what was deployed"
        return f"{self.compared_count} resources compared, {differing}."


def detect(
    aws: Account,
    settings: Settings,
    *,
    announce: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> DriftReport:
    """Compare the deployed stack and its nested stacks with their templates.

    ``announce`` is called with a line of progress for each stack.
    Raises RefusedError if Signwatch is not deployed, FailedError if AWS cannot compare the stack
    or compares no resource, UnknownStateError if a stack takes longer than 15 minutes.
    """
    stack.require_deployed(aws, settings)
    cloudformation = aws.client("cloudformation")
    drifts: list[Drift] = []
    compared_count = 0
    for stack_name in _list_stack_names(cloudformation, settings.stack):
        announce(Ongoing(f"comparing stack {stack_name}"))
        _run_detection(cloudformation, stack_name, sleep)
        for resource in _list_compared_resources(cloudformation, stack_name):
            compared_count += 1
            if resource["StackResourceDriftStatus"] in DRIFTED_STATUSES:
                drifts.append(_build_drift(stack_name, resource))
    if not compared_count:
        what = "has no resource that AWS can compare"
        raise FailedError(f"stack {settings.stack}", what, "look at the stack in the console")
    return DriftReport(tuple(drifts), compared_count)


def _list_stack_names(cloudformation: Any, stack_name: str) -> Iterator[str]:
    """Yield the name of a stack, then the name of every stack nested in it at any depth."""
    yield stack_name
    response = cloudformation.describe_stack_resources(StackName=stack_name)
    for resource in response["StackResources"]:
        if resource["ResourceType"] == STACK_TYPE:
            _, nested_name, _ = resource["PhysicalResourceId"].split("/")  # arn:...:stack/NAME/ID
            yield from _list_stack_names(cloudformation, nested_name)


def _run_detection(cloudformation: Any, stack_name: str, sleep: Callable[[float], None]) -> None:
    """Start drift detection of one stack and wait until it is complete.

    Raises FailedError if AWS cannot compare the stack, UnknownStateError after the timeout.
    """
    response = cloudformation.detect_stack_drift(StackName=stack_name)
    detection_id = response["StackDriftDetectionId"]
    pause_seconds, waited_seconds = FIRST_PAUSE_SECONDS, 0.0
    while waited_seconds < DETECTION_TIMEOUT_SECONDS:
        detection = cloudformation.describe_stack_drift_detection_status(
            StackDriftDetectionId=detection_id
        )
        if detection["DetectionStatus"] == "DETECTION_COMPLETE":
            return
        if detection["DetectionStatus"] == "DETECTION_FAILED":
            reason = detection.get("DetectionStatusReason", "no reason given")
            remedy = f"fix what AWS names, then run {invocation.spell('drift')} again"
            raise FailedError(f"stack {stack_name}", f"could not be compared: {reason}", remedy)
        sleep(pause_seconds)
        waited_seconds += pause_seconds
        pause_seconds = min(pause_seconds * 1.4, MAX_PAUSE_SECONDS)
    what = f"is still being compared after {DETECTION_TIMEOUT_SECONDS / 60:.0f} minutes"
    remedy = "look at the stack's drift in the console"
    raise UnknownStateError(f"stack {stack_name}", what, remedy)


def _list_compared_resources(cloudformation: Any, stack_name: str) -> Iterator[dict[str, Any]]:
    """Yield AWS's description of each resource of one stack that it could compare.

    A nested stack is left out: the detection for that stack compares its resources.
    """
    request = {"StackName": stack_name}
    while True:
        page = cloudformation.describe_stack_resource_drifts(**request)
        for resource in page["StackResourceDrifts"]:
            is_compared = resource["StackResourceDriftStatus"] in ("IN_SYNC", *DRIFTED_STATUSES)
            if is_compared and resource["ResourceType"] != STACK_TYPE:
                yield resource
        if not page.get("NextToken"):
            return
        request["NextToken"] = page["NextToken"]


def _build_drift(stack_name: str, resource: dict[str, Any]) -> Drift:
    """Return the drift of one resource; ``resource`` is AWS's description of it."""
    differences = []
    for difference in resource.get("PropertyDifferences", []):
        actual = difference.get("ActualValue") or "nothing"
        expected = difference.get("ExpectedValue") or "nothing"
        differences.append(f"{difference['PropertyPath']}: {actual}, not {expected}")
    return Drift(
        stack_name,
        resource["LogicalResourceId"],
        kind=resource["ResourceType"],
        status=resource["StackResourceDriftStatus"],
        differences=tuple(differences),
    )
