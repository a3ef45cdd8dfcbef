"""Creates change sets, reads them through all nested stacks, and refuses those that lose data.

A change set lists what CloudFormation would change in a stack, before it is executed. That of the
root stack can have a nested one for each nested stack. A description is a change set as AWS
describes it. A tree is the root's description, in which each changed resource that is a nested
stack has the description of its change set under the key ``Nested``, and so on.
"""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tooling import invocation
from tooling.deploy import early_validation
from tooling.deploy.stack_events import EXPIRED_CODES
from tooling.errors import FailedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Address = Mapping[str, str]  # ChangeSetName and StackName: the arguments that name a change set

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
MIN_PAUSE_SECONDS = 0.1  # between two requests
MAX_PAUSE_SECONDS = 3
MAX_NESTED_WAIT_SECONDS = 120


@dataclass(frozen=True)
class Change:
    """One resource that a change set changes."""

    stack: str  # the name of its stack
    resource: str  # its logical id
    kind: str  # its type, such as AWS::S3::Bucket
    action: str  # what happens to it: Add, Modify, Remove, ...
    replacement: str  # "yes", "maybe" or ""


@dataclass(frozen=True)
class Request:
    """The change set that CloudFormation is asked for.

    The template is at ``template_url``, or it is ``template_body`` if that is not empty.
    """

    stack: str
    kind: str  # CREATE for a new stack, UPDATE for an existing one
    template_url: str
    parameters: Mapping[str, str]
    service_role_arn: str
    tags: Mapping[str, str]
    template_body: str = ""


@dataclass(frozen=True)
class ChangeSet:
    """A change set that is ready to be executed; one without ``changes`` was deleted.

    ``hidden_reason`` says why changes inside nested stacks are not listed; "" when all are.
    """

    arn: str
    stack_id: str
    changes: tuple[Change, ...]
    hidden_reason: str = ""

    @property
    def address(self) -> Address:
        """The arguments that name this change set in a request."""
        return {"ChangeSetName": self.arn, "StackName": self.stack_id}


class FailedChangeSetError(FailedError):
    """AWS accepted the request and then could not create the change set."""


def create(cloudformation: Any, request: Request, *, announce: Callable[[str], None]) -> ChangeSet:
    """Create a change set with its nested ones; where AWS cannot, one of the root stack alone.

    ``announce`` is called with a line if changes in nested stacks will not be listed.
    Raises FailedError with AWS's reason.
    """
    try:
        change_set = _create(cloudformation, request, with_nested=True)
    except FailedChangeSetError as error:
        announce(
            "The nested change sets could not be created, so the table below shows the root stack"
            f" alone ({error.what})"
        )
        change_set = _create(cloudformation, request, with_nested=False)
        return replace(change_set, hidden_reason=error.what)
    if change_set.hidden_reason:
        announce(
            "The nested change sets could not be read, so the table below lacks their changes"
            f" ({change_set.hidden_reason})"
        )
    return change_set


def refuse_data_loss(changes: tuple[Change, ...], *, allow_replace: bool) -> None:
    """Raise RefusedError if a resource of PROTECTED_TYPES is certain to be replaced or removed.

    A replacement that AWS calls conditional ("maybe") is not refused. Often a parameter of a nested
    stack causes it, and the resource is not replaced in the end.
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
    """Raise RefusedError if an update does not list all changes: a hidden one may lose data."""
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


def delete(cloudformation: Any, address: Address) -> None:
    """Delete a change set, and wait at most 2 minutes until its nested ones are deleted too.

    A change set that AWS is still creating cannot be deleted, and is left: AWS deletes it when
    another change set of the stack is executed.
    """
    try:
        cloudformation.delete_change_set(**address)
        _poll(
            lambda: cloudformation.describe_change_set(**address),
            lambda description: description["Status"] in DELETING_STATUSES,
            MAX_NESTED_WAIT_SECONDS,
        )
    except ClientError as error:
        code = error.response["Error"]["Code"]  # it may have a suffix, such as "Exception"
        is_deleted_or_busy = code.startswith(("ChangeSetNotFound", "InvalidChangeSetStatus"))
        if not is_deleted_or_busy:
            raise


def _is_loss(change: Change) -> bool:
    """Return whether the resource is certain to be removed or replaced."""
    return change.action == "Remove" or change.replacement == "yes"


def _create(cloudformation: Any, request: Request, *, with_nested: bool) -> ChangeSet:
    """Create one change set and read it.

    Raises FailedError if AWS rejects the request, FailedChangeSetError if it accepts it and fails.
    """
    name = f"deploy-{uuid.uuid4().hex[:12]}"
    template = {"TemplateURL": request.template_url}
    if request.template_body:
        template = {"TemplateBody": request.template_body}
    try:
        response = cloudformation.create_change_set(
            StackName=request.stack,
            ChangeSetName=name,
            ChangeSetType=request.kind,
            ClientToken=name,
            **template,
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value}
                for key, value in request.parameters.items()
            ],
            Capabilities=["CAPABILITY_NAMED_IAM"],
            RoleARN=request.service_role_arn,
            Tags=[{"Key": key, "Value": value} for key, value in request.tags.items()],
            IncludeNestedStacks=with_nested,
        )
    except ClientError as error:
        what = f"no change set could be created: {error}"
        raise FailedError(f"stack {request.stack}", what, _name_remedy()) from error
    return _wait_and_read(cloudformation, request, response["Id"], response["StackId"])


def _wait_and_read(cloudformation: Any, request: Request, arn: str, stack_id: str) -> ChangeSet:
    """Wait until a change set is created, and read it; if it has no changes, delete it.

    Raises FailedChangeSetError if AWS could not create it.
    """
    address = {"ChangeSetName": arn, "StackName": stack_id}
    description = _wait(cloudformation, address)
    if description["Status"] == "CREATE_COMPLETE":
        tree = _read_tree(cloudformation, address)
        hidden_reasons = [
            nested["StatusReason"]
            for nested in _list_nested(tree)
            if nested["Status"] == UNREADABLE
        ]
        return ChangeSet(arn, stack_id, tuple(_list_changes(tree)), "; ".join(hidden_reasons))
    if _has_no_changes(description):
        delete(cloudformation, address)
        return ChangeSet(arn, stack_id, changes=())
    tree = _wait_for_nested(cloudformation, address)
    reasons = _list_reasons(cloudformation, tree)
    delete(cloudformation, address)
    what = f"the change set failed: {'; '.join(reasons)}"
    raise FailedChangeSetError(f"stack {request.stack}", what, _name_remedy())


def _wait(cloudformation: Any, address: Address) -> dict[str, Any]:
    """Wait until the change set is created or failed; return its description."""
    return _poll(
        lambda: cloudformation.describe_change_set(**address),
        lambda description: description["Status"] in CREATING_STATUSES,
    )


def _wait_for_nested(cloudformation: Any, address: Address) -> dict[str, Any]:
    """Wait at most 2 minutes until no nested change set is being created; return the tree.

    As soon as one nested change set fails, the root's change set has failed, while AWS may still be
    creating other nested ones. Until AWS is done with these, the root's cannot be deleted
    (CloudFormation API reference, DeleteChangeSet, InvalidChangeSetStatus).
    """

    def is_creating(tree: Mapping[str, Any]) -> bool:
        """Return whether a nested change set in the tree is still being created."""
        return any(nested["Status"] in CREATING_STATUSES for nested in _list_nested(tree))

    return _poll(lambda: _read_tree(cloudformation, address), is_creating, MAX_NESTED_WAIT_SECONDS)


def _poll(
    read: Callable[[], dict[str, Any]],
    is_busy: Callable[[dict[str, Any]], bool],
    max_seconds: float = math.inf,
) -> dict[str, Any]:
    """Call ``read`` until ``is_busy`` is false of its result, or ``max_seconds`` have passed.

    Return the last result.
    """
    waited_seconds = 0.0
    pause_seconds = MIN_PAUSE_SECONDS
    while True:
        description = read()
        if not is_busy(description) or waited_seconds >= max_seconds:
            return description
        time.sleep(pause_seconds)
        waited_seconds += pause_seconds
        pause_seconds = min(pause_seconds * 1.5, MAX_PAUSE_SECONDS)


def _list_reasons(cloudformation: Any, tree: Mapping[str, Any]) -> list[str]:
    """Return why a change set failed: the reasons of its nested ones, or else its own.

    If a nested one failed, the root's own reason has only the ARN of that nested one. A nested one
    without changes has the status FAILED too, and is left out.
    """
    failed = [nested for nested in _list_nested(tree) if nested["Status"] == "FAILED"]
    reasons = [
        f"{nested['StackName']}: {_read_reason(cloudformation, nested)}"
        for nested in failed
        if not _has_no_changes(nested)
    ]
    return reasons or [_read_reason(cloudformation, tree)]


def _read_reason(cloudformation: Any, description: Mapping[str, Any]) -> str:
    """Return why one change set failed, with its failed validations, if there are any."""
    reason = description.get("StatusReason", "no reason given")
    address = {
        "ChangeSetName": description["ChangeSetId"],
        "StackName": description["StackId"],
    }
    return early_validation.explain(cloudformation, reason, **address)


def _list_changes(tree: Mapping[str, Any]) -> list[Change]:
    """Return all changes in the tree; a nested stack is followed by the changes in it."""
    changes: list[Change] = []
    for resource in tree["Changes"]:
        changes.append(_build_change(tree["StackName"], resource))
        if "Nested" in resource:
            changes += _list_changes(resource["Nested"])
    return changes


def _list_nested(tree: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the description of each nested change set in the tree, at any depth."""
    for resource in tree["Changes"]:
        if "Nested" in resource:
            yield resource["Nested"]
            yield from _list_nested(resource["Nested"])


def _read_tree(cloudformation: Any, address: Address) -> dict[str, Any]:
    """Return the tree of a change set; its ``Changes`` are the changed resources of all pages."""
    paginator = cloudformation.get_paginator("describe_change_set")
    pages = list(paginator.paginate(**address))
    resources = []
    for page in pages:
        for change in page.get("Changes", []):
            resource = dict(change["ResourceChange"])
            if resource.get("ChangeSetId"):  # the resource is a nested stack
                resource["Nested"] = _read_nested_tree(cloudformation, resource)
            resources.append(resource)
    return {**pages[0], "Changes": resources}


def _read_nested_tree(cloudformation: Any, resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree of a nested change set; its status is UNREADABLE if AWS does not show it.

    AWS checks the right to describe a change set against its stack (Service Authorization
    Reference, CloudFormation), so the request names the nested stack too. A stack that is only
    being added may have no id yet (CloudFormation API reference, ResourceChange). Then the ARN
    alone names the change set.
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
    """Return whether a change set failed only because there is nothing to change."""
    reason = description.get("StatusReason", "").lower()
    return any(text in reason for text in NO_CHANGE_REASONS)


def _build_change(stack: str, resource: Mapping[str, Any]) -> Change:
    """Return the change of one resource in the stack called ``stack``."""
    return Change(
        stack=stack,
        resource=resource["LogicalResourceId"],
        kind=resource["ResourceType"],
        action=resource["Action"],
        replacement=REPLACEMENTS.get(resource.get("Replacement", ""), ""),
    )


def _name_remedy() -> str:
    """Return what to do after AWS refused a change set."""
    return f"fix what AWS names above, then run {invocation.spell('deploy')} again"
