"""Creates change sets, reads them through all nested stacks, and refuses those that lose data."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tooling.errors import FailedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NO_CHANGE_REASONS = ("didn't contain changes", "no updates are to be performed")
PROTECTED_TYPES = {  # losing one of these loses evidence, the phone numbers or the way to the owner
    "AWS::CloudFormation::Stack",  # it holds the others, and its removal does not list them
    "AWS::CloudTrail::Trail",
    "AWS::DynamoDB::Table",
    "AWS::KMS::Key",
    "AWS::S3::Bucket",
    "AWS::SecretsManager::Secret",
    "AWS::SNS::Topic",
}
REPLACEMENTS = {"True": "yes", "Conditional": "maybe"}
MIN_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 3
REMEDY = "fix what AWS names above, then run invoke deploy again"


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
    """A change set that is ready to be executed; one without ``changes`` no longer exists.

    ``includes_nested`` says whether the changes inside nested stacks are listed too.
    """

    arn: str
    stack_id: str
    changes: tuple[Change, ...]
    includes_nested: bool = True


class FailedChangeSetError(FailedError):
    """AWS accepted the request and then could not create the change set."""


def create(cloudformation: Any, request: Request, *, announce: Callable[[str], None]) -> ChangeSet:
    """Create a change set with its nested ones; where AWS cannot, one of the root stack alone.

    Raises FailedError with AWS's reason. A request that AWS rejects is not sent again.
    """
    try:
        return _create(cloudformation, request, nested=True)
    except FailedChangeSetError as error:
        announce(
            "The nested change sets could not be created, so the table below shows the root stack"
            f" alone ({error.what})"
        )
    change_set = _create(cloudformation, request, nested=False)
    return replace(change_set, includes_nested=False)


def refuse_data_loss(changes: tuple[Change, ...], *, allow_replace: bool) -> None:
    """Refuse a change set that is certain to replace or remove a protected resource.

    A replacement that AWS calls conditional is only shown: nested parameters often cause it, and
    the resource is then not replaced.
    """
    lost = [
        f"{change.stack}.{change.resource}"
        for change in changes
        if change.kind in PROTECTED_TYPES and _is_loss(change)
    ]
    if lost and not allow_replace:
        what = f"would replace or remove {', '.join(lost)}; nothing was changed"
        raise RefusedError("change set", what, "if you want that, add --allow-replace")


def refuse_hidden_changes(change_set: ChangeSet, kind: str, *, allow_replace: bool) -> None:
    """Refuse an update that does not list its nested changes: one of them may lose data."""
    if kind == "UPDATE" and not change_set.includes_nested and not allow_replace:
        what = "does not show what would change in the nested stacks; nothing was changed"
        remedy = "look at it in the console; if you want it, add --allow-replace"
        raise RefusedError("change set", what, remedy)


def _is_loss(change: Change) -> bool:
    return change.action == "Remove" or change.replacement == "yes"


def _create(cloudformation: Any, request: Request, *, nested: bool) -> ChangeSet:
    name = f"deploy-{uuid.uuid4().hex[:12]}"
    try:
        response = cloudformation.create_change_set(
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
        what = f"no change set could be created: {error}"
        raise FailedError(f"stack {request.stack}", what, REMEDY) from error
    return _wait_and_read(cloudformation, request, response["Id"], response["StackId"])


def _wait_and_read(cloudformation: Any, request: Request, arn: str, stack_id: str) -> ChangeSet:
    description = _wait(cloudformation, arn, stack_id)
    if description["Status"] == "CREATE_COMPLETE":
        changes = _list_changes(cloudformation, arn, StackName=stack_id)
        return ChangeSet(arn, stack_id, tuple(changes))
    reason = description.get("StatusReason", "no reason given")
    cloudformation.delete_change_set(ChangeSetName=arn, StackName=stack_id)
    if any(text in reason.lower() for text in NO_CHANGE_REASONS):
        return ChangeSet(arn, stack_id, ())
    what = f"the change set failed: {reason}"
    raise FailedChangeSetError(f"stack {request.stack}", what, REMEDY)


def _wait(cloudformation: Any, arn: str, stack_id: str) -> dict[str, Any]:
    """Wait until the change set is created or failed; return its description."""
    pause = MIN_PAUSE_SECONDS
    while True:
        description: dict[str, Any] = cloudformation.describe_change_set(
            ChangeSetName=arn, StackName=stack_id
        )
        if description["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
            return description
        time.sleep(pause)
        pause = min(pause * 1.5, MAX_PAUSE_SECONDS)


def _list_changes(cloudformation: Any, arn: str, **stack: str) -> list[Change]:
    """List the changes, each nested change set after its stack.

    ``stack`` is StackName for the root change set. The ARN alone finds a nested one.
    """
    paginator = cloudformation.get_paginator("describe_change_set")
    changes: list[Change] = []
    for page in paginator.paginate(ChangeSetName=arn, **stack):
        for item in page["Changes"]:
            resource = item["ResourceChange"]
            changes.append(_read_change(page["StackName"], resource))
            if resource.get("ChangeSetId"):
                changes += _list_changes(cloudformation, resource["ChangeSetId"])
    return changes


def _read_change(stack: str, resource: Mapping[str, Any]) -> Change:
    return Change(
        stack=stack,
        resource=resource["LogicalResourceId"],
        kind=resource["ResourceType"],
        action=resource["Action"],
        replacement=REPLACEMENTS.get(resource.get("Replacement", ""), ""),
    )
