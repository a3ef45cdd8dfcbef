"""Creates change sets, reads them through all nested stacks, and refuses those that lose data."""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tooling.deploy import early_validation
from tooling.deploy.stack_events import EXPIRED_CODES
from tooling.errors import FailedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Address = Mapping[str, str]  # ChangeSetName and StackName, as DescribeChangeSet takes them

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
UNREADABLE = "UNREADABLE"  # our own status of a nested change set that AWS does not show
CREATING_STATUSES = ("CREATE_PENDING", "CREATE_IN_PROGRESS")
DELETING_STATUSES = ("DELETE_PENDING", "DELETE_IN_PROGRESS")
MIN_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 3
MAX_NESTED_WAIT_SECONDS = 120
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

    ``hidden_reason`` says why changes inside nested stacks are not listed; "" when all are.
    """

    arn: str
    stack_id: str
    changes: tuple[Change, ...]
    hidden_reason: str = ""


class FailedChangeSetError(FailedError):
    """AWS accepted the request and then could not create the change set."""


def create(cloudformation: Any, request: Request, *, announce: Callable[[str], None]) -> ChangeSet:
    """Create a change set with its nested ones; where AWS cannot, one of the root stack alone.

    Raises FailedError with AWS's reason. A request that AWS rejects is not sent again.
    """
    try:
        change_set = _create(cloudformation, request, nested=True)
    except FailedChangeSetError as error:
        announce(
            "The nested change sets could not be created, so the table below shows the root stack"
            f" alone ({error.what})"
        )
        change_set = _create(cloudformation, request, nested=False)
        return replace(change_set, hidden_reason=error.what)
    if change_set.hidden_reason:
        announce(
            "The nested change sets could not be read, so the table below lacks their changes"
            f" ({change_set.hidden_reason})"
        )
    return change_set


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


def refuse_hidden_changes(change_set: ChangeSet, kind: str, *, allow_hidden: bool) -> None:
    """Refuse an update that does not list its nested changes: one of them may lose data."""
    if kind == "UPDATE" and change_set.hidden_reason and not allow_hidden:
        what = (
            "does not show what would change in the nested stacks; nothing was changed."
            f" The reason: {change_set.hidden_reason}"
        )
        remedy = (
            "compare cfn/ with the version that runs now; if you want its changes, add"
            " --allow-hidden-changes (on GitHub: run the workflow Deploy by hand with"
            " approve_hidden_changes)"
        )
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
    address = {"ChangeSetName": arn, "StackName": stack_id}
    description = _wait(cloudformation, address)
    if description["Status"] == "CREATE_COMPLETE":
        tree = _read_tree(cloudformation, address)
        hidden = [item["StatusReason"] for item in _nested(tree) if item["Status"] == UNREADABLE]
        return ChangeSet(arn, stack_id, tuple(_list_changes(tree)), "; ".join(hidden))
    if _has_no_changes(description):
        _delete_failed(cloudformation, address)
        return ChangeSet(arn, stack_id, ())
    tree = _wait_for_nested(cloudformation, address)
    reasons = _list_reasons(cloudformation, tree)
    _delete_failed(cloudformation, address)
    what = f"the change set failed: {'; '.join(reasons)}"
    raise FailedChangeSetError(f"stack {request.stack}", what, REMEDY)


def _wait(cloudformation: Any, address: Address) -> dict[str, Any]:
    """Wait until the change set is created or failed; return its description."""
    return _poll(
        lambda: cloudformation.describe_change_set(**address),
        lambda description: description["Status"] in CREATING_STATUSES,
    )


def _wait_for_nested(cloudformation: Any, address: Address) -> dict[str, Any]:
    """Wait until no nested change set is being created, but not for ever; return the tree.

    The root fails with its first child. It cannot be deleted while others are being created
    (CloudFormation API reference, DeleteChangeSet, InvalidChangeSetStatus).
    """
    return _poll(
        lambda: _read_tree(cloudformation, address),
        lambda tree: any(item["Status"] in CREATING_STATUSES for item in _nested(tree)),
        MAX_NESTED_WAIT_SECONDS,
    )


def _poll(
    read: Callable[[], dict[str, Any]],
    is_busy: Callable[[dict[str, Any]], bool],
    max_seconds: float = math.inf,
) -> dict[str, Any]:
    """Read until the description is busy no more, or ``max_seconds`` are over; return it."""
    waited_seconds = 0.0
    pause = MIN_PAUSE_SECONDS
    while True:
        description = read()
        if not is_busy(description) or waited_seconds >= max_seconds:
            return description
        time.sleep(pause)
        waited_seconds += pause
        pause = min(pause * 1.5, MAX_PAUSE_SECONDS)


def _list_reasons(cloudformation: Any, tree: Mapping[str, Any]) -> list[str]:
    """Return why a change set failed: the reasons of its nested ones, or else its own.

    The status of the root names only the ARN of a nested change set that failed.
    """
    failed = [item for item in _nested(tree) if item["Status"] == "FAILED"]
    reasons = [
        f"{item['StackName']}: {_read_reason(cloudformation, item)}"
        for item in failed
        if not _has_no_changes(item)
    ]
    return reasons or [_read_reason(cloudformation, tree)]


def _read_reason(cloudformation: Any, description: Mapping[str, Any]) -> str:
    reason = description.get("StatusReason", "no reason given")
    address = {
        "ChangeSetName": description["ChangeSetId"],
        "StackName": description["StackId"],
    }
    return early_validation.explain(cloudformation, reason, **address)


def _delete_failed(cloudformation: Any, address: Address) -> None:
    """Delete a failed change set, and wait until its nested ones are deleted too.

    One that AWS still works on stays: it goes when another is executed.
    """
    try:
        cloudformation.delete_change_set(**address)
        _poll(
            lambda: cloudformation.describe_change_set(**address),
            lambda description: description["Status"] in DELETING_STATUSES,
            MAX_NESTED_WAIT_SECONDS,
        )
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if not code.startswith(("ChangeSetNotFound", "InvalidChangeSetStatus")):
            raise


def _list_changes(tree: Mapping[str, Any]) -> list[Change]:
    """List the changes, those of each nested change set after its stack."""
    changes: list[Change] = []
    for resource in tree["Changes"]:
        changes.append(_read_change(tree["StackName"], resource))
        if "Nested" in resource:
            changes += _list_changes(resource["Nested"])
    return changes


def _nested(tree: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the descriptions of all change sets below this one."""
    for resource in tree["Changes"]:
        if "Nested" in resource:
            yield resource["Nested"]
            yield from _nested(resource["Nested"])


def _read_tree(cloudformation: Any, address: Address) -> dict[str, Any]:
    """Return the description of a change set, with the changed resources of all pages.

    A resource that is a nested stack has the description of its change set as ``Nested``.
    """
    paginator = cloudformation.get_paginator("describe_change_set")
    pages = list(paginator.paginate(**address))
    resources = []
    for item in [item for page in pages for item in page.get("Changes", [])]:
        resource = dict(item["ResourceChange"])
        if resource.get("ChangeSetId"):
            resource["Nested"] = _read_nested(cloudformation, resource)
        resources.append(resource)
    return {**pages[0], "Changes": resources}


def _read_nested(cloudformation: Any, resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a nested change set; one that AWS does not show is UNREADABLE.

    The right to describe it is checked against its stack (Service Authorization Reference,
    CloudFormation), so the stack is named too. A stack that is only being added may have no id yet
    (CloudFormation API reference, ResourceChange). Then the ARN alone names the change set.
    """
    address = {"ChangeSetName": resource["ChangeSetId"]}
    if resource.get("PhysicalResourceId"):
        address["StackName"] = resource["PhysicalResourceId"]
    try:
        return _read_tree(cloudformation, address)
    except ClientError as error:
        if error.response["Error"]["Code"] in EXPIRED_CODES:
            raise
        reason = f"{resource['LogicalResourceId']}: {error}"
        return {"Status": UNREADABLE, "StatusReason": reason, "Changes": []}


def _has_no_changes(description: Mapping[str, Any]) -> bool:
    reason = description.get("StatusReason", "").lower()
    return any(text in reason for text in NO_CHANGE_REASONS)


def _read_change(stack: str, resource: Mapping[str, Any]) -> Change:
    return Change(
        stack=stack,
        resource=resource["LogicalResourceId"],
        kind=resource["ResourceType"],
        action=resource["Action"],
        replacement=REPLACEMENTS.get(resource.get("Replacement", ""), ""),
    )
