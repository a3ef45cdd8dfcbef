"""Drift: what differs in the account from what the stacks say, root and nested ones alike.

Facts: AWS CloudFormation User Guide, "Detect unmanaged configuration changes to stacks and resources with drift
detection": a nested stack is looked at by itself, and who asks must be able to read each resource.
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

SHORTEST, LONGEST = 0.2, 5.0  # seconds between two looks
PATIENCE = 900.0  # seconds that AWS may take for one stack
DRIFTED = ("MODIFIED", "DELETED")


@dataclass(frozen=True)
class Drift:
    """One resource that differs; ``differences`` are sentences on its properties, none when it is gone."""

    stack: str
    resource: str
    kind: str
    status: str
    differences: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return what a person sees of it."""
        return [
            f"{self.status.lower()}: {self.stack}.{self.resource} ({self.kind})",
            *[f"  {d}" for d in self.differences],
        ]


@dataclass(frozen=True)
class Found:
    """All drift of a root stack and its children, and how many resources AWS compared."""

    drifts: tuple[Drift, ...]
    compared: int

    def lines(self) -> list[str]:
        """Return each drift, then the sum."""
        shown = [line for drift in self.drifts for line in drift.lines()]
        return [
            *shown,
            f"{self.compared} resources compared, {len(self.drifts)} differ from what was deployed.",
        ]


def detect(
    aws: Account,
    settings: Settings,
    *,
    announce: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Found:
    """Compare the live stack and its nested stacks with their templates.

    Raises RefusedError when there is no stack of ours, FailedError when AWS cannot compare, or compares nothing;
    UnknownStateError when it takes longer than a quarter of an hour.
    """
    stack.outputs(aws, settings)  # refuses a stack that is not there, or not ours
    cloudformation = aws.client("cloudformation")
    drifts: list[Drift] = []
    compared = 0
    for name in _stacks(cloudformation, settings.stack):
        announce(f"comparing stack {name} ...")
        _detect(cloudformation, name, sleep)
        resources = list(_resources(cloudformation, name))
        compared += len(resources)
        drifts += [
            _drift(name, body) for body in resources if body["StackResourceDriftStatus"] in DRIFTED
        ]
    if not compared:
        raise FailedError(
            f"stack {settings.stack}",
            "has nothing that AWS could compare",
            "look at it in the console",
        )
    return Found(tuple(drifts), compared)


def _stacks(cloudformation: Any, root: str) -> Iterator[str]:
    """The root, then every stack nested in it, by name."""
    yield root
    for body in cloudformation.describe_stack_resources(StackName=root)["StackResources"]:
        if body["ResourceType"] == STACK_TYPE:
            yield from _stacks(cloudformation, body["PhysicalResourceId"].split("/")[1])


def _detect(cloudformation: Any, name: str, sleep: Callable[[float], None]) -> None:
    asked = cloudformation.detect_stack_drift(StackName=name)["StackDriftDetectionId"]
    pause, waited = SHORTEST, 0.0
    while waited < PATIENCE:
        told = cloudformation.describe_stack_drift_detection_status(StackDriftDetectionId=asked)
        if told["DetectionStatus"] == "DETECTION_COMPLETE":
            return
        if told["DetectionStatus"] == "DETECTION_FAILED":
            reason = told.get("DetectionStatusReason", "no reason given")
            raise FailedError(
                f"stack {name}",
                f"could not be compared: {reason}",
                "mend what AWS names and look again",
            )
        sleep(pause)
        waited, pause = waited + pause, min(pause * 1.4, LONGEST)
    raise UnknownStateError(
        f"stack {name}", "is still being compared", "look at its drift in the console"
    )


def _resources(cloudformation: Any, name: str) -> Iterator[dict[str, Any]]:
    """Each resource that AWS compared; a nested stack is none, for it is looked at by itself."""
    more: dict[str, str] = {}
    while True:
        page = cloudformation.describe_stack_resource_drifts(StackName=name, **more)
        for body in page["StackResourceDrifts"]:
            if (
                body["StackResourceDriftStatus"] in ("IN_SYNC", *DRIFTED)
                and body["ResourceType"] != STACK_TYPE
            ):
                yield body
        if not page.get("NextToken"):
            return
        more = {"NextToken": page["NextToken"]}


def _drift(name: str, body: dict[str, Any]) -> Drift:
    differences = tuple(
        f"{one['PropertyPath']}: {one.get('ActualValue') or 'nothing'}, not {one.get('ExpectedValue') or 'nothing'}"
        for one in body.get("PropertyDifferences", [])
    )
    return Drift(
        name,
        body["LogicalResourceId"],
        body["ResourceType"],
        body["StackResourceDriftStatus"],
        differences,
    )
