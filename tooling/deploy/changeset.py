"""A change set: made, read through all nested stacks, judged before it is executed."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tooling.errors import FailedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NOTHING = ("didn't contain changes", "no updates are to be performed")
KEPT = {  # losing one of these loses evidence, the phone numbers or the way to the owner
    "AWS::CloudFormation::Stack",  # it holds the others, and a removed one lists none of them
    "AWS::CloudTrail::Trail",
    "AWS::DynamoDB::Table",
    "AWS::KMS::Key",
    "AWS::S3::Bucket",
    "AWS::SecretsManager::Secret",
    "AWS::SNS::Topic",
}


@dataclass(frozen=True)
class Change:
    """One resource of a change set. ``replacement`` is "yes", "maybe" or ""."""

    stack: str
    resource: str
    kind: str
    action: str
    replacement: str


@dataclass(frozen=True)
class Request:
    """What CloudFormation is asked for: ``kind`` is CREATE or UPDATE."""

    stack: str
    kind: str
    template_url: str
    parameters: Mapping[str, str]
    service_role_arn: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class ChangeSet:
    """A change set that is ready to be executed, or, with no ``changes``, one that holds nothing.

    ``whole`` says that the changes inside nested stacks are among them.
    """

    arn: str
    stack_id: str
    changes: tuple[Change, ...]
    whole: bool = True


def make(cloudformation: Any, request: Request, *, announce: Callable[[str], None]) -> ChangeSet:
    """Make a change set with its nested ones; where AWS cannot make those, a plain one, and say so.

    Raises FailedError with AWS's reason. A request that AWS does not take at all is not tried again.
    """
    try:
        return _make(cloudformation, request, nested=True)
    except FailedChangeSetError as error:
        announce(
            f"The nested change sets could not be made, so the table below shows the root stack alone ({error.what})"
        )
        return replace(_make(cloudformation, request, nested=False), whole=False)


class FailedChangeSetError(FailedError):
    """AWS took the request and then could not make the change set."""


def refuse_losses(changes: tuple[Change, ...], *, allow_replace: bool) -> None:
    """Refuse a change set that is certain to replace or remove what must be kept.

    A replacement that AWS calls conditional is only shown: nested parameters often look like one and are none.
    """
    lost = [
        f"{change.stack}.{change.resource}"
        for change in changes
        if change.kind in KEPT and _is_loss(change)
    ]
    if lost and not allow_replace:
        what = f"would replace or remove {', '.join(lost)}; nothing was changed"
        raise RefusedError("change set", what, "if that is wanted, add --allow-replace")


def refuse_unseen(made: ChangeSet, kind: str, *, allow_replace: bool) -> None:
    """Refuse an update whose nested changes cannot be seen: one of them may be such a loss."""
    if kind == "UPDATE" and not made.whole and not allow_replace:
        what = "does not show what would change in the nested stacks; nothing was changed"
        raise RefusedError(
            "change set", what, "look at it in the console; if it is wanted, add --allow-replace"
        )


def _is_loss(change: Change) -> bool:
    return change.action == "Remove" or change.replacement == "yes"


def _make(cloudformation: Any, request: Request, *, nested: bool) -> ChangeSet:
    name = f"deploy-{uuid.uuid4().hex[:12]}"
    try:
        made = cloudformation.create_change_set(
            StackName=request.stack,
            ChangeSetName=name,
            ChangeSetType=request.kind,
            ClientToken=name,
            TemplateURL=request.template_url,
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value}
                for key, value in request.parameters.items()
            ],
            Capabilities=["CAPABILITY_NAMED_IAM"],
            RoleARN=request.service_role_arn,
            Tags=[{"Key": key, "Value": value} for key, value in request.tags.items()],
            IncludeNestedStacks=nested,
        )
    except ClientError as error:
        raise FailedError(
            f"stack {request.stack}", f"no change set could be made: {error}", _REMEDY
        ) from error
    return _ready(cloudformation, request, made["Id"], made["StackId"])


_REMEDY = "mend what AWS names above, then run invoke deploy again"


def _ready(cloudformation: Any, request: Request, arn: str, stack_id: str) -> ChangeSet:
    found = _settled(cloudformation, arn, stack_id)
    if found["Status"] == "CREATE_COMPLETE":
        return ChangeSet(arn, stack_id, tuple(_changes(cloudformation, arn, StackName=stack_id)))
    reason = found.get("StatusReason", "no reason given")
    cloudformation.delete_change_set(ChangeSetName=arn, StackName=stack_id)
    if any(text in reason.lower() for text in NOTHING):
        return ChangeSet(arn, stack_id, ())
    raise FailedChangeSetError(
        f"stack {request.stack}", f"the change set failed: {reason}", _REMEDY
    )


def _settled(cloudformation: Any, arn: str, stack_id: str) -> dict[str, Any]:
    pause = 0.1
    while True:
        found: dict[str, Any] = cloudformation.describe_change_set(
            ChangeSetName=arn, StackName=stack_id
        )
        if found["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
            return found
        time.sleep(pause)
        pause = min(pause * 1.5, 3)


def _changes(cloudformation: Any, arn: str, **stack: str) -> list[Change]:
    """List the changes; the stack of a nested change set, which is known to AWS alone, is left out."""
    pages = cloudformation.get_paginator("describe_change_set").paginate(ChangeSetName=arn, **stack)
    listed: list[Change] = []
    for page in pages:
        for item in page["Changes"]:
            change = item["ResourceChange"]
            listed.append(_change(page["StackName"], change))
            if change.get("ChangeSetId"):
                listed += _changes(cloudformation, change["ChangeSetId"])
    return listed


def _change(stack: str, change: Mapping[str, Any]) -> Change:
    replacement = {"True": "yes", "Conditional": "maybe"}.get(change.get("Replacement", ""), "")
    return Change(
        stack, change["LogicalResourceId"], change["ResourceType"], change["Action"], replacement
    )
