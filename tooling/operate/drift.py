"""``invoke drift``: compares the root stack and its nested stacks with their templates.

Facts: AWS CloudFormation User Guide, "Detect unmanaged configuration changes to stacks and
resources with drift detection": drift of a nested stack is detected by a request of its own, and
the caller needs the right to read each resource.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tooling.deploy import stack
from tooling.deploy.stack_events import STACK_TYPE
from tooling.errors import FailedError, UnknownStateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tooling.deploy.account import Account
    from tooling.settings import Settings

FIRST_POLL_SECONDS, MAX_POLL_SECONDS = 0.2, 5.0
DETECTION_TIMEOUT_SECONDS = 900.0  # for one stack
DRIFTED_STATUSES = ("MODIFIED", "DELETED")


@dataclass(frozen=True)
class Drift:
    """One resource that differs from its template, or was deleted.

    ``differences`` has a line for each property; it is empty if the resource was deleted.
    """

    stack: str
    resource: str
    kind: str
    status: str
    differences: tuple[str, ...]

    def format_lines(self) -> list[str]:
        """Return the lines to print."""
        return [
            f"{self.status.lower()}: {self.stack}.{self.resource} ({self.kind})",
            *[f"  {difference}" for difference in self.differences],
        ]


@dataclass(frozen=True)
class DriftReport:
    """All drift of a root stack and its nested stacks, and how many resources AWS compared."""

    drifts: tuple[Drift, ...]
    compared: int

    def format_lines(self) -> list[str]:
        """Return the lines to print: each drift, then the totals."""
        lines = [line for drift in self.drifts for line in drift.format_lines()]
        differing = f"{len(self.drifts)} differ from what was deployed"
        return [*lines, f"{self.compared} resources compared, {differing}."]


def detect(
    aws: Account,
    settings: Settings,
    *,
    announce: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> DriftReport:
    """Compare the deployed stack and its nested stacks with their templates.

    Raises RefusedError if Signwatch is not deployed, FailedError if AWS cannot compare the stack
    or compares no resource, UnknownStateError if a stack takes longer than 15 minutes.
    """
    stack.require_deployed(aws, settings)
    cloudformation = aws.client("cloudformation")
    drifts: list[Drift] = []
    compared = 0
    for name in _stack_names(cloudformation, settings.stack):
        announce(f"comparing stack {name} ...")
        _run_detection(cloudformation, name, sleep)
        for resource in _compared_resources(cloudformation, name):
            compared += 1
            if resource["StackResourceDriftStatus"] in DRIFTED_STATUSES:
                drifts.append(_build_drift(name, resource))
    if not compared:
        what = "has no resource that AWS can compare"
        raise FailedError(f"stack {settings.stack}", what, "look at the stack in the console")
    return DriftReport(tuple(drifts), compared)


def _stack_names(cloudformation: Any, root: str) -> Iterator[str]:
    """Yield the name of a stack and of every stack nested in it."""
    yield root
    for resource in cloudformation.describe_stack_resources(StackName=root)["StackResources"]:
        if resource["ResourceType"] == STACK_TYPE:
            stack_arn = resource["PhysicalResourceId"]  # arn:...:stack/NAME/ID
            yield from _stack_names(cloudformation, stack_arn.split("/")[1])


def _run_detection(cloudformation: Any, name: str, sleep: Callable[[float], None]) -> None:
    """Start drift detection of one stack and wait until it is complete."""
    detection_id = cloudformation.detect_stack_drift(StackName=name)["StackDriftDetectionId"]
    pause, waited = FIRST_POLL_SECONDS, 0.0
    while waited < DETECTION_TIMEOUT_SECONDS:
        detection = cloudformation.describe_stack_drift_detection_status(
            StackDriftDetectionId=detection_id
        )
        if detection["DetectionStatus"] == "DETECTION_COMPLETE":
            return
        if detection["DetectionStatus"] == "DETECTION_FAILED":
            reason = detection.get("DetectionStatusReason", "no reason given")
            remedy = "fix what AWS names, then run invoke drift again"
            raise FailedError(f"stack {name}", f"could not be compared: {reason}", remedy)
        sleep(pause)
        waited += pause
        pause = min(pause * 1.4, MAX_POLL_SECONDS)
    what = f"is still being compared after {DETECTION_TIMEOUT_SECONDS / 60:.0f} minutes"
    raise UnknownStateError(f"stack {name}", what, "look at the stack's drift in the console")


def _compared_resources(cloudformation: Any, name: str) -> Iterator[dict[str, Any]]:
    """Yield each resource of one stack that AWS compared, without the nested stacks themselves."""
    request = {"StackName": name}
    while True:
        page = cloudformation.describe_stack_resource_drifts(**request)
        for resource in page["StackResourceDrifts"]:
            is_compared = resource["StackResourceDriftStatus"] in ("IN_SYNC", *DRIFTED_STATUSES)
            if is_compared and resource["ResourceType"] != STACK_TYPE:
                yield resource
        if not page.get("NextToken"):
            return
        request["NextToken"] = page["NextToken"]


def _build_drift(name: str, resource: dict[str, Any]) -> Drift:
    differences = []
    for difference in resource.get("PropertyDifferences", []):
        actual = difference.get("ActualValue") or "nothing"
        expected = difference.get("ExpectedValue") or "nothing"
        differences.append(f"{difference['PropertyPath']}: {actual}, not {expected}")
    return Drift(
        name,
        resource["LogicalResourceId"],
        resource["ResourceType"],
        resource["StackResourceDriftStatus"],
        tuple(differences),
    )
