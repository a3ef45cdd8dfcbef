"""AWS::CloudFormation::Stack: a child is deployed, rolled back and deleted like a root stack.

The emulator deploys children by shorter code of its own. There, an update loses the attributes of
unchanged resources, a failed child leaves its resources behind, and a deletion ignores
DeletionPolicy and errors. Here a child is an ordinary stack record, deployed by the emulator's code
for root stacks inside the parent's operation. A stack record has the keys of DescribeStacks, and
keys of the emulator's own, which begin with "_".
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

from ministack.core.responses import get_account_id, get_region, new_uuid, now_iso
from ministack.services import cloudformation
from ministack.services.cloudformation import engine, handlers, helpers, provisioners, stacks

if TYPE_CHECKING:
    from collections.abc import Mapping

    Stack = dict[str, Any]

STACK_TYPE = "AWS::CloudFormation::Stack"
NAME_SUFFIX_CHARS = 12  # AWS appends them to a child's name
ROLLBACK_STATUSES = (
    "ROLLBACK_IN_PROGRESS",
    "UPDATE_ROLLBACK_IN_PROGRESS",
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
)
START_STATUSES = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS")
ROLLBACK_KEYS = (  # of a stack record: what a failed update restores
    "_resources",
    "_template",
    "_template_body",
    "_resolved_params",
    "_conditions",
    "Parameters",
    "Tags",
    "Outputs",
)


def install() -> None:
    """Replace the emulator's provisioner of child stacks, and complete two API answers.

    - a child's events in its parent: the emulator's have the child's id after success only
    - DescribeStacks: the emulator's has neither ParentId nor RootId
    """
    provisioners._RESOURCE_HANDLERS[STACK_TYPE] = {
        "create": create,
        "update": update,
        "update_with_logical_id": True,
        "delete": delete,
    }
    _add_child_ids_to_events()
    _add_parents_to_descriptions()


def create(
    logical_id: str, properties: Mapping[str, Any], parent: str
) -> tuple[str, dict[str, str]]:
    """Deploy a new child; return its id and its outputs as ``{"Outputs.NAME": value}``.

    ``parent`` is the parent's name, ``logical_id`` and ``properties`` are the child's there. Raises
    ValueError if the child fails; it is then rolled back and deleted, as by the parent's rollback.
    """
    child = _new_stack(logical_id, parent)
    child |= _definition(properties, parent)
    cloudformation._stacks[child["StackName"]] = child
    cloudformation._stack_events[child["StackId"]] = []
    parent_stack, start = cloudformation._stacks[parent], "Resource creation Initiated"
    _add_event(parent_stack, logical_id, "CREATE_IN_PROGRESS", child, start)
    _add_own_event(child, "CREATE_IN_PROGRESS")
    _deploy(child, previous=None)
    if child["StackStatus"] != "CREATE_COMPLETE":
        reason = _failure_reason(child)
        _delete(child)
        what = f"Embedded stack {child['StackId']} was not successfully created"
        raise ValueError(f"{what}: {reason}")
    return child["StackId"], _output_attributes(child)


def update(
    stack_id: str, _old: Mapping[str, Any], new: Mapping[str, Any], parent: str, _logical_id: str
) -> tuple[str, dict[str, str]]:
    """Update the child to the properties ``new``; return its id and outputs as create() does.

    Like AWS, does nothing if nothing has changed. If the update fails, the child is rolled back,
    and this raises ValueError.
    """
    child = _find_stack(stack_id)
    if child is None:
        raise ValueError(f"Stack [{stack_id}] does not exist")
    definition = _definition(new, parent)
    is_parent_rollback = _is_rolling_back(child)  # then ``new`` are the properties of before
    if all(child[key] == definition[key] for key in ("_template", "_resolved_params", "Tags")):
        return child["StackId"], _output_attributes(child)
    previous = {key: copy.deepcopy(child[key]) for key in ROLLBACK_KEYS}
    child |= {**definition, "StackStatus": "UPDATE_IN_PROGRESS", "LastUpdatedTime": now_iso()}
    _add_own_event(child, "UPDATE_IN_PROGRESS")
    _deploy(child, previous)
    if child["StackStatus"] != "UPDATE_COMPLETE":
        child["_conditions"] = previous["_conditions"]  # the emulator does not roll these back
        what = f"Embedded stack {child['StackId']} was not successfully updated."
        reason = _failure_reason(child)
        raise ValueError(f"{what} Currently in UPDATE_ROLLBACK_IN_PROGRESS with reason: {reason}")
    if is_parent_rollback:
        child["StackStatus"] = "UPDATE_ROLLBACK_COMPLETE"
        _add_own_event(child, "UPDATE_ROLLBACK_COMPLETE")
    return child["StackId"], _output_attributes(child)


def delete(stack_id: str, _properties: Mapping[str, Any]) -> None:
    """Delete the child, except resources that DeletionPolicy retains. Raises ValueError on failure.

    RetainExceptOnCreate retains nothing while the operation that created the child is rolled back
    (DeletionPolicy attribute, "RetainExceptOnCreate").
    """
    child = _find_stack(stack_id)
    if child is None or child["StackStatus"] == "DELETE_COMPLETE":
        return
    if _is_rolling_back(child):
        child["_template"] = _without_retain_except_on_create(child["_template"])
    _delete(child)
    if child["StackStatus"] != "DELETE_COMPLETE":
        reason = child.get("StackStatusReason", "")
        raise ValueError(f"Embedded stack {stack_id} was not successfully deleted: {reason}")


def _new_stack(logical_id: str, parent: str) -> Stack:
    """Return the emulator's record of a new child stack, without template and parameters."""
    suffix = new_uuid().replace("-", "")[:NAME_SUFFIX_CHARS].upper()
    name = f"{parent}-{logical_id}-{suffix}"
    arn_prefix = f"arn:aws:cloudformation:{get_region()}:{get_account_id()}"
    parent_stack = cloudformation._stacks[parent]
    return {
        "StackName": name,
        "StackId": f"{arn_prefix}:stack/{name}/{new_uuid()}",
        "StackStatus": "CREATE_IN_PROGRESS",
        "StackStatusReason": "",
        "CreationTime": now_iso(),
        "LastUpdatedTime": now_iso(),
        "Outputs": [],
        "DisableRollback": False,
        "ParentId": parent_stack["StackId"],
        "RootId": parent_stack.get("RootId", parent_stack["StackId"]),
        "_parent_stack_name": parent,
        "_logical_id": logical_id,
        "_disable_validation": True,  # AWS validates root templates only: a child fails later
        "_region": get_region(),
        "_resources": {},
    }


def _definition(properties: Mapping[str, Any], parent: str) -> Stack:
    """Return the part of the child's record that follows from its properties in the parent.

    That is its template, parameters, conditions and tags. Raises ValueError if the template or a
    parameter is not valid.
    """
    body = _template_body(str(properties.get("TemplateURL", "")))
    template = engine._parse_template(body)
    provisioners._check_nested_stack_capabilities(parent, template)
    parameters = properties.get("Parameters") or {}
    pairs = [{"Key": key, "Value": str(value)} for key, value in parameters.items()]
    values = engine._resolve_parameters(template, pairs)  # with defaults, NoEcho and checks
    conditions = engine._evaluate_conditions(template, values)
    handlers.validate_template_support(template, conditions, params=values)
    tags = [tag for tag in properties.get("Tags") or [] if not tag["Key"].startswith("aws:")]
    return {
        "Description": template.get("Description", ""),
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value["Value"], "NoEcho": value["NoEcho"]}
            for key, value in values.items()
        ],
        "Tags": tags,
        "Capabilities": list(cloudformation._stacks[parent].get("Capabilities", [])),
        "_template": template,
        "_template_body": body,
        "_resolved_params": values,
        "_conditions": conditions,
    }


def _template_body(url: str) -> str:
    """Return the text of the template at a URL.

    Raises ValueError if it cannot be read, with AWS's reason for a key that does not exist. The
    emulator gives a whole HTTP response as its error, which is no reason for a stack's event.
    """
    parameters = {"TemplateURL": [url]}  # a list, as in every parsed query string
    body, error_response = helpers._resolve_template(parameters)
    if error_response is not None or not body:
        reason = "S3 error: The specified key does not exist."
        raise ValueError(f"TemplateURL {url!r} cannot be read: {reason}")
    return str(body)


def _deploy(child: Stack, previous: Stack | None) -> None:
    """Run the emulator's deployment of the child and wait for its end.

    ``previous`` has the ROLLBACK_KEYS as before an update; it is None for a new child. The emulator
    calls this in a thread that has no event loop.
    """
    disable_rollback = False
    asyncio.run(
        stacks._deploy_stack_async(
            child["StackName"],
            child["StackId"],
            child["_template"],
            child["_resolved_params"],
            disable_rollback,
            child["Tags"],
            is_update=previous is not None,
            previous_stack=previous,
        )
    )


def _delete(child: Stack) -> None:
    """Run the emulator's deletion of the child and wait for its end."""
    asyncio.run(stacks._delete_stack_async(child["StackName"], child["StackId"]))


def _find_stack(stack_id: str) -> Stack | None:
    """Return the stack with this id, or None."""
    stacks_by_id: dict[str, Stack] = {
        stack["StackId"]: stack for stack in cloudformation._stacks.values()
    }
    return stacks_by_id.get(stack_id)


def _output_attributes(child: Stack) -> dict[str, str]:
    """Return the stack's outputs as attributes of its resource in the parent."""
    return {f"Outputs.{output['OutputKey']}": output["OutputValue"] for output in child["Outputs"]}


def _failure_reason(child: Stack) -> str:
    """Return AWS's message about the first failure in the child's last operation."""
    verbs = {"CREATE_FAILED": "create", "UPDATE_FAILED": "update"}
    for event in _last_operation_events(child):
        verb = verbs.get(event["ResourceStatus"])
        if verb and _is_about_stack(event):  # an output that cannot be resolved fails the stack
            return str(event["ResourceStatusReason"])
        if verb:
            return f"The following resource(s) failed to {verb}: [{event['LogicalResourceId']}]. "
    return str(child.get("StackStatusReason", ""))


def _last_operation_events(child: Stack) -> list[dict[str, Any]]:
    """Return the events of the child's last create or update, oldest first."""
    events: list[dict[str, Any]] = cloudformation._stack_events[child["StackId"]]
    starts = [
        index
        for index, event in enumerate(events)
        if event["ResourceStatus"] in START_STATUSES and _is_about_stack(event)
    ]
    return events[starts[-1] :]


def _is_about_stack(event: dict[str, Any]) -> bool:
    """Return whether an event is about the stack itself and not about a resource in it."""
    return bool(event["PhysicalResourceId"] == event["StackId"])


def _is_rolling_back(child: Stack) -> bool:
    """Return whether the child's parent, or a stack further up, is being rolled back."""
    parent: Stack | None = cloudformation._stacks.get(child.get("_parent_stack_name", ""))
    while parent:
        if parent["StackStatus"] in ROLLBACK_STATUSES:
            return True
        parent = cloudformation._stacks.get(parent.get("_parent_stack_name", ""))
    return False


def _without_retain_except_on_create(template: Stack) -> Stack:
    """Return a copy of the template in which RetainExceptOnCreate is replaced by Delete."""
    template = copy.deepcopy(template)
    for resource in template.get("Resources", {}).values():
        if resource.get("DeletionPolicy") == "RetainExceptOnCreate":
            resource["DeletionPolicy"] = "Delete"
    return template


def _add_event(stack: Stack, logical_id: str, status: str, child: Stack, reason: str = "") -> None:
    """Add an event about ``child`` to the events of ``stack``.

    Such an event is listed twice: by the parent under the child's logical id, and by the child
    itself under its stack name. This adds one of the two: ``stack`` is the parent or the child, and
    ``logical_id`` is what it lists the event under.
    """
    stack_id, name, child_id = stack["StackId"], stack["StackName"], child["StackId"]
    stacks._add_event(stack_id, name, logical_id, STACK_TYPE, status, reason, child_id)


def _add_own_event(child: Stack, status: str) -> None:
    """Add an event about the child to its own events, in which its logical id is its name."""
    _add_event(child, child["StackName"], status, child)


def _add_child_ids_to_events() -> None:
    """Patch the emulator: a parent's events have the child's id from the start of its creation."""
    add_event = stacks._add_event

    def add_event_with_child_id(
        stack_id: str,
        stack: str,
        logical_id: str,
        kind: str,
        status: str,
        reason: str = "",
        physical_id: str = "",
        detailed_status: str = "",
    ) -> None:
        """Add an event as the emulator does, with the id of a child that is still being created."""
        if kind == STACK_TYPE and not physical_id:
            physical_id = _newest_child_id(stack_id, logical_id)
        add_event(stack_id, stack, logical_id, kind, status, reason, physical_id, detailed_status)

    stacks._add_event = add_event_with_child_id


def _newest_child_id(parent_id: str, logical_id: str) -> str:
    """Return the id of the last child created for a resource; empty if there is none."""
    for stack in reversed(list(cloudformation._stacks.values())):
        if stack.get("ParentId") == parent_id and stack.get("_logical_id") == logical_id:
            return str(stack["StackId"])
    return ""


def _add_parents_to_descriptions() -> None:
    """Patch DescribeStacks: its XML response has the ParentId and RootId of each child."""
    describe = handlers._ACTION_HANDLERS["DescribeStacks"]

    def describe_with_parents(params: dict[str, Any]) -> tuple[int, Any, Any]:
        """Return the emulator's response, with both ids after each child's StackId."""
        status, headers, body = describe(params)
        text = body.decode() if isinstance(body, bytes) else str(body)
        for stack in cloudformation._stacks.values():
            if "ParentId" in stack:
                own_id = f"<StackId>{stack['StackId']}</StackId>"
                parent_id = f"<ParentId>{stack['ParentId']}</ParentId>"
                root_id = f"<RootId>{stack['RootId']}</RootId>"
                text = text.replace(own_id, own_id + parent_id + root_id)
        return status, headers, text.encode() if isinstance(body, bytes) else text

    handlers._ACTION_HANDLERS["DescribeStacks"] = describe_with_parents
