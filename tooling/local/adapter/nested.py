"""AWS::CloudFormation::Stack: a child stack goes through the same creation, update, rollback and deletion as its root.

The emulator deploys children by a shorter way of its own. There, unchanged resources lose their attributes on an
update, what a failed child made stays behind, and a deletion ignores DeletionPolicy and errors. Here the child is an
ordinary stack record which the emulator's deployment of root stacks works on, inside the parent's operation.
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

    Record = dict[str, Any]

KIND = "AWS::CloudFormation::Stack"
SUFFIX = 12  # characters that AWS appends to a child's name
ROLLS_BACK = (
    "ROLLBACK_IN_PROGRESS",
    "UPDATE_ROLLBACK_IN_PROGRESS",
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
)
KEPT_FOR_ROLLBACK = (
    *("_resources", "_template", "_template_body", "_resolved_params", "_conditions"),
    *("Parameters", "Tags", "Outputs"),
)


def install() -> None:
    """Replace the emulator's own provisioner of child stacks, and complete what the API says of them.

    Events of a child in its parent carry the child's id from the first moment, also when the child fails (stock:
    only after success), and DescribeStacks gives ParentId and RootId (stock: neither).
    """
    provisioners._RESOURCE_HANDLERS[KIND] = {
        "create": create,
        "update": update,
        "update_with_logical_id": True,
        "delete": delete,
    }
    _identify_children_in_events()
    _name_parents_in_descriptions()


def create(
    logical_id: str, properties: Mapping[str, Any], parent: str
) -> tuple[str, dict[str, str]]:
    """Deploy a new child; return its id and its outputs as ``Outputs.NAME``. Raises ValueError when it fails.

    A failed child is rolled back and, as the parent's rollback would do, deleted.
    """
    child = _new(logical_id, parent)
    child |= _revision(properties, parent)
    cloudformation._stacks[child["StackName"]] = child
    cloudformation._stack_events[child["StackId"]] = []
    _event(
        cloudformation._stacks[parent],
        logical_id,
        "CREATE_IN_PROGRESS",
        child,
        "Resource creation Initiated",
    )
    _event(child, child["StackName"], "CREATE_IN_PROGRESS", child)
    _deploy(child, None)
    if child["StackStatus"] != "CREATE_COMPLETE":
        reason = _failures(child)
        _delete(child)
        raise ValueError(
            f"Embedded stack {child['StackId']} was not successfully created: {reason}"
        )
    return child["StackId"], _attributes(child)


def update(
    stack_id: str, _old: Mapping[str, Any], new: Mapping[str, Any], parent: str, _logical_id: str
) -> tuple[str, dict[str, str]]:
    """Bring the child to ``new``; return its id and outputs. Raises ValueError when it fails, after its rollback.

    A child for which nothing changes is left alone, as AWS leaves it.
    """
    child = _find(stack_id)
    if child is None:
        raise ValueError(f"Stack [{stack_id}] does not exist")
    revision, reverts = _revision(new, parent), _is_rolling_back(child)
    if all(child[key] == revision[key] for key in ("_template", "_resolved_params", "Tags")):
        return child["StackId"], _attributes(child)
    previous = {key: copy.deepcopy(child[key]) for key in KEPT_FOR_ROLLBACK}
    child |= {**revision, "StackStatus": "UPDATE_IN_PROGRESS", "LastUpdatedTime": now_iso()}
    _event(child, child["StackName"], "UPDATE_IN_PROGRESS", child)
    _deploy(child, previous)
    if child["StackStatus"] != "UPDATE_COMPLETE":
        child["_conditions"] = previous["_conditions"]
        what = f"Embedded stack {child['StackId']} was not successfully updated."
        raise ValueError(
            f"{what} Currently in UPDATE_ROLLBACK_IN_PROGRESS with reason: {_failures(child)}"
        )
    if reverts:
        child["StackStatus"] = "UPDATE_ROLLBACK_COMPLETE"
        _event(child, child["StackName"], "UPDATE_ROLLBACK_COMPLETE", child)
    return child["StackId"], _attributes(child)


def delete(stack_id: str, _properties: Mapping[str, Any]) -> None:
    """Delete the child, but for what its DeletionPolicy keeps. Raises ValueError when a resource does not go.

    RetainExceptOnCreate keeps nothing while the operation that made the child is rolled back (DeletionPolicy
    attribute, "RetainExceptOnCreate").
    """
    child = _find(stack_id)
    if child is None or child["StackStatus"] == "DELETE_COMPLETE":
        return
    if _is_rolling_back(child):
        child["_template"] = _without_exception_on_create(child["_template"])
    _delete(child)
    if child["StackStatus"] != "DELETE_COMPLETE":
        reason = child.get("StackStatusReason", "")
        raise ValueError(f"Embedded stack {stack_id} was not successfully deleted: {reason}")


def _new(logical_id: str, parent: str) -> Record:
    name = f"{parent}-{logical_id}-{new_uuid().replace('-', '')[:SUFFIX].upper()}"
    above = cloudformation._stacks[parent]
    return {
        "StackName": name,
        "StackId": f"arn:aws:cloudformation:{get_region()}:{get_account_id()}:stack/{name}/{new_uuid()}",
        "StackStatus": "CREATE_IN_PROGRESS",
        "StackStatusReason": "",
        "CreationTime": now_iso(),
        "LastUpdatedTime": now_iso(),
        "Outputs": [],
        "DisableRollback": False,
        "ParentId": above["StackId"],
        "RootId": above.get("RootId", above["StackId"]),
        "_parent_stack_name": parent,
        "_logical_id": logical_id,
        "_disable_validation": True,  # AWS validates the request's own template alone: a child fails at its resource
        "_region": get_region(),
        "_resources": {},
    }


def _revision(properties: Mapping[str, Any], parent: str) -> Record:
    """Return the part of a record that comes from the template and the parent's properties; raises ValueError."""
    body = _template_body(str(properties.get("TemplateURL", "")))
    template = engine._parse_template(body)
    provisioners._check_nested_stack_capabilities(parent, template)
    given = [
        {"Key": key, "Value": str(value)}
        for key, value in (properties.get("Parameters") or {}).items()
    ]
    values = engine._resolve_parameters(template, given)
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
    body, refusal = helpers._resolve_template({"TemplateURL": [url]})
    if refusal is not None or not body:
        raise ValueError(
            f"TemplateURL {url!r} cannot be read: S3 error: The specified key does not exist."
        )
    return str(body)


def _deploy(child: Record, previous: Record | None) -> None:
    """Run the emulator's deployment to its end; the parent has already moved this call to a thread of its own."""
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


def _delete(child: Record) -> None:
    asyncio.run(stacks._delete_stack_async(child["StackName"], child["StackId"]))


def _find(stack_id: str) -> Record | None:
    found = [stack for stack in cloudformation._stacks.values() if stack["StackId"] == stack_id]
    return found[0] if found else None


def _attributes(child: Record) -> dict[str, str]:
    return {f"Outputs.{output['OutputKey']}": output["OutputValue"] for output in child["Outputs"]}


def _failures(child: Record) -> str:
    """Return AWS's sentence on the resources that made the last operation fail."""
    verbs = {"CREATE_FAILED": "create", "UPDATE_FAILED": "update"}
    events = cloudformation._stack_events[child["StackId"]]
    start = max(
        at
        for at, event in enumerate(events)
        if event["ResourceStatus"] in _STARTS and _is_own(event)
    )
    for event in events[start:]:
        if event["ResourceStatus"] in verbs:
            if _is_own(event):  # an output that cannot be resolved fails the stack itself
                return str(event["ResourceStatusReason"])
            verb, resource = verbs[event["ResourceStatus"]], event["LogicalResourceId"]
            return f"The following resource(s) failed to {verb}: [{resource}]. "
    return str(child.get("StackStatusReason", ""))


_STARTS = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS")


def _is_own(event: Record) -> bool:
    return bool(event["PhysicalResourceId"] == event["StackId"])


def _is_rolling_back(child: Record) -> bool:
    """Whether the operation of the root, of which this is part, is being rolled back."""
    stack: Record | None = child
    while stack and (stack := cloudformation._stacks.get(stack.get("_parent_stack_name", ""))):
        if stack["StackStatus"] in ROLLS_BACK:
            return True
    return False


def _without_exception_on_create(template: Record) -> Record:
    changed = copy.deepcopy(template)
    for resource in changed.get("Resources", {}).values():
        if resource.get("DeletionPolicy") == "RetainExceptOnCreate":
            resource["DeletionPolicy"] = "Delete"
    return changed


def _event(stack: Record, logical_id: str, status: str, child: Record, reason: str = "") -> None:
    stacks._add_event(
        stack["StackId"], stack["StackName"], logical_id, KIND, status, reason, child["StackId"]
    )


def _identify_children_in_events() -> None:
    add = stacks._add_event

    def identified(
        stack_id: str,
        stack: str,
        logical_id: str,
        kind: str,
        status: str,
        reason: str = "",
        physical_id: str = "",
        detailed_status: str = "",
    ) -> None:
        if kind == KIND and not physical_id:
            physical_id = _newest_child(stack_id, logical_id)
        add(stack_id, stack, logical_id, kind, status, reason, physical_id, detailed_status)

    stacks._add_event = identified


def _newest_child(parent_id: str, logical_id: str) -> str:
    found = [
        str(stack["StackId"])
        for stack in cloudformation._stacks.values()
        if stack.get("ParentId") == parent_id and stack.get("_logical_id") == logical_id
    ]
    return found[-1] if found else ""


def _name_parents_in_descriptions() -> None:
    describe = handlers._ACTION_HANDLERS["DescribeStacks"]

    def described(params: Record) -> tuple[int, Any, Any]:
        status, headers, body = describe(params)
        text = body.decode() if isinstance(body, bytes) else str(body)
        for stack in cloudformation._stacks.values():
            if "ParentId" in stack:
                tag = f"<StackId>{stack['StackId']}</StackId>"
                parents = (
                    f"<ParentId>{stack['ParentId']}</ParentId><RootId>{stack['RootId']}</RootId>"
                )
                text = text.replace(tag, tag + parents)
        return status, headers, text.encode() if isinstance(body, bytes) else text

    handlers._ACTION_HANDLERS["DescribeStacks"] = described
