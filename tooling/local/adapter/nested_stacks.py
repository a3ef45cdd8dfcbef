"""AWS::CloudFormation::Stack: a child is deployed, rolled back and deleted like a root stack.

The emulator deploys children by shorter code of its own. There, an update loses the attributes of
unchanged resources, a failed child leaves its resources behind, and a deletion ignores
DeletionPolicy and errors. Here a child is an ordinary stack record, deployed by the emulator's code
for root stacks inside the parent's operation.
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
ROLLBACK_KEYS = (
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

    - a child's events in its parent: stock has the child's id after success only; here always
    - DescribeStacks: stock has neither ParentId nor RootId
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
    """Deploy a new child; return its id and its outputs as ``Outputs.NAME``.

    Raises ValueError if it fails, after it was rolled back and deleted, as the parent's rollback
    would do.
    """
    child = _new_stack(logical_id, parent)
    child |= _revision(properties, parent)
    cloudformation._stacks[child["StackName"]] = child
    cloudformation._stack_events[child["StackId"]] = []
    parent_stack, reason = cloudformation._stacks[parent], "Resource creation Initiated"
    _add_event(parent_stack, logical_id, "CREATE_IN_PROGRESS", child, reason)
    _add_event(child, child["StackName"], "CREATE_IN_PROGRESS", child)
    _deploy(child, None)
    if child["StackStatus"] != "CREATE_COMPLETE":
        reason = _failure_reason(child)
        _delete(child)
        what = f"Embedded stack {child['StackId']} was not successfully created"
        raise ValueError(f"{what}: {reason}")
    return child["StackId"], _output_attributes(child)


def update(
    stack_id: str, _old: Mapping[str, Any], new: Mapping[str, Any], parent: str, _logical_id: str
) -> tuple[str, dict[str, str]]:
    """Update the child to ``new``; return its id and outputs.

    Like AWS, does nothing if nothing has changed. If it fails, it is rolled back; then raises
    ValueError.
    """
    child = _find_stack(stack_id)
    if child is None:
        raise ValueError(f"Stack [{stack_id}] does not exist")
    revision, is_rollback = _revision(new, parent), _is_rolling_back(child)
    if all(child[key] == revision[key] for key in ("_template", "_resolved_params", "Tags")):
        return child["StackId"], _output_attributes(child)
    previous = {key: copy.deepcopy(child[key]) for key in ROLLBACK_KEYS}
    child |= {**revision, "StackStatus": "UPDATE_IN_PROGRESS", "LastUpdatedTime": now_iso()}
    _add_event(child, child["StackName"], "UPDATE_IN_PROGRESS", child)
    _deploy(child, previous)
    if child["StackStatus"] != "UPDATE_COMPLETE":
        child["_conditions"] = previous["_conditions"]
        what = f"Embedded stack {child['StackId']} was not successfully updated."
        reason = _failure_reason(child)
        raise ValueError(f"{what} Currently in UPDATE_ROLLBACK_IN_PROGRESS with reason: {reason}")
    if is_rollback:
        child["StackStatus"] = "UPDATE_ROLLBACK_COMPLETE"
        _add_event(child, child["StackName"], "UPDATE_ROLLBACK_COMPLETE", child)
    return child["StackId"], _output_attributes(child)


def delete(stack_id: str, _properties: Mapping[str, Any]) -> None:
    """Delete the child as its DeletionPolicies say. Raises ValueError if a deletion fails.

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


def _revision(properties: Mapping[str, Any], parent: str) -> Stack:
    """Return the keys of the child's record that its template and its parent's properties set.

    Raises ValueError if the template or a parameter is not valid.
    """
    body = _template_body(str(properties.get("TemplateURL", "")))
    template = engine._parse_template(body)
    provisioners._check_nested_stack_capabilities(parent, template)
    parameters = properties.get("Parameters") or {}
    values = engine._resolve_parameters(
        template, [{"Key": key, "Value": str(value)} for key, value in parameters.items()]
    )
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
    """Return the text of the template at a URL. Raises ValueError if it cannot be read."""
    body, refusal = helpers._resolve_template({"TemplateURL": [url]})
    if refusal is not None or not body:
        reason = "S3 error: The specified key does not exist."
        raise ValueError(f"TemplateURL {url!r} cannot be read: {reason}")
    return str(body)


def _deploy(child: Stack, previous: Stack | None) -> None:
    """Run the emulator's deployment to its end; the parent runs this in a thread of its own."""
    asyncio.run(
        stacks._deploy_stack_async(
            child["StackName"],
            child["StackId"],
            child["_template"],
            child["_resolved_params"],
            False,
            child["Tags"],
            is_update=previous is not None,
            previous_stack=previous,
        )
    )


def _delete(child: Stack) -> None:
    """Run the emulator's deletion to its end."""
    asyncio.run(stacks._delete_stack_async(child["StackName"], child["StackId"]))


def _find_stack(stack_id: str) -> Stack | None:
    """Return the stack with this id, or None."""
    for stack in cloudformation._stacks.values():
        if stack["StackId"] == stack_id:
            child: Stack = stack
            return child
    return None


def _output_attributes(child: Stack) -> dict[str, str]:
    """Return the stack's outputs as attributes of its resource in the parent."""
    return {f"Outputs.{output['OutputKey']}": output["OutputValue"] for output in child["Outputs"]}


def _failure_reason(child: Stack) -> str:
    """Return AWS's message about the first resource that failed in the last operation."""
    verbs = {"CREATE_FAILED": "create", "UPDATE_FAILED": "update"}
    events = cloudformation._stack_events[child["StackId"]]
    starts = [
        index
        for index, event in enumerate(events)
        if event["ResourceStatus"] in START_STATUSES and _is_about_stack(event)
    ]
    for event in events[starts[-1] :]:
        if event["ResourceStatus"] in verbs:
            if _is_about_stack(event):  # an output that cannot be resolved fails the stack itself
                return str(event["ResourceStatusReason"])
            verb, resource = verbs[event["ResourceStatus"]], event["LogicalResourceId"]
            return f"The following resource(s) failed to {verb}: [{resource}]. "
    return str(child.get("StackStatusReason", ""))


def _is_about_stack(event: Stack) -> bool:
    """Return whether an event is about the stack itself and not about a resource in it."""
    return bool(event["PhysicalResourceId"] == event["StackId"])


def _is_rolling_back(child: Stack) -> bool:
    """Return whether a stack above the child is being rolled back."""
    parent: Stack | None = cloudformation._stacks.get(child.get("_parent_stack_name", ""))
    while parent:
        if parent["StackStatus"] in ROLLBACK_STATUSES:
            return True
        parent = cloudformation._stacks.get(parent.get("_parent_stack_name", ""))
    return False


def _without_retain_except_on_create(template: Stack) -> Stack:
    """Return a copy of the template that does not retain such resources."""
    template = copy.deepcopy(template)
    for resource in template.get("Resources", {}).values():
        if resource.get("DeletionPolicy") == "RetainExceptOnCreate":
            resource["DeletionPolicy"] = "Delete"
    return template


def _add_event(stack: Stack, logical_id: str, status: str, child: Stack, reason: str = "") -> None:
    """Add an event about the child to a stack: its parent, or the child itself."""
    stack_id, name, child_id = stack["StackId"], stack["StackName"], child["StackId"]
    stacks._add_event(stack_id, name, logical_id, STACK_TYPE, status, reason, child_id)


def _add_child_ids_to_events() -> None:
    """Patch the emulator: a parent's events name the child's id from the start."""
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
    """Patch DescribeStacks: its response has ParentId and RootId."""
    describe = handlers._ACTION_HANDLERS["DescribeStacks"]

    def describe_with_parents(params: Stack) -> tuple[int, Any, Any]:
        status, headers, body = describe(params)
        text = body.decode() if isinstance(body, bytes) else str(body)
        for stack in cloudformation._stacks.values():
            if "ParentId" in stack:
                tag = f"<StackId>{stack['StackId']}</StackId>"
                parent = f"<ParentId>{stack['ParentId']}</ParentId>"
                text = text.replace(tag, f"{tag}{parent}<RootId>{stack['RootId']}</RootId>")
        return status, headers, text.encode() if isinstance(body, bytes) else text

    handlers._ACTION_HANDLERS["DescribeStacks"] = describe_with_parents
