"""The ways from bus to bus: the forwarders of other Regions, and the rule for a bus with a name.

A rule whose target is a bus needs a role that may put events there, and that bus must admit the
role, or the organisation whose accounts send (Amazon EventBridge User Guide, "Sending and receiving
events between event buses").
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from signwatch.detection.record import as_object
from tooling.analysis.buses import DEFAULT_BUS, RULE_TYPE
from tooling.errors import FailedError
from tooling.resolved_templates import ACCOUNT, FORWARDER_STACK, ROOT_STACK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tooling.resolved_templates import Stack

PUT_EVENTS = "events:PutEvents"
ROLE, BUS_POLICY = "AWS::IAM::Role", "AWS::Events::EventBusPolicy"
BUS_MARK = ":event-bus/"
# The Regions that get a forwarder without a word of the owner, as sign_in_paths.json names them.
FORWARDED_REGIONS = ("us-east-1", "us-east-2", "eu-north-1", "ap-southeast-2", "the instance's")


def list_forwarders(stacks: Mapping[str, Stack]) -> dict[str, dict[str, Any]]:
    """Return the rules of a forwarder whose events arrive, by their logical id."""
    return {
        name: rule
        for name, rule in _list_candidates(stacks).items()
        if not any(_judge_target(stacks, "", name, target) for target in rule["Targets"])
    }


def _list_candidates(stacks: Mapping[str, Stack]) -> dict[str, dict[str, Any]]:
    """Return the rules of a forwarder that send from CloudTrail's bus to the bus of the rules."""
    if FORWARDER_STACK not in stacks:
        return {}
    bus = stacks[ROOT_STACK].outputs["EventBusArn"]
    return {
        name: rule
        for name, rule in stacks[FORWARDER_STACK].of_type(RULE_TYPE).items()
        if rule.get("EventBusName", DEFAULT_BUS) == DEFAULT_BUS
        if bus in [target.get("Arn") for target in rule.get("Targets", [])]
    }


def find_problems(stacks: Mapping[str, Stack]) -> list[FailedError]:
    """Return why events that a rule forwards do not arrive; ``stacks`` are those of a deploy."""
    problems = []
    if FORWARDER_STACK not in stacks:
        what = "is missing, so no deploy can make a forwarder in another Region"
        problems.append(FailedError("forwarder.yaml", what, "restore the file with git"))
    elif not _list_candidates(stacks):
        what = "no rule on the default bus sends to the bus of the rules"
        remedy = "give ForwarderRule the target EventBusArn, and the bus default"
        problems.append(FailedError("forwarder.yaml", what, remedy))
    for file, stack in stacks.items():
        for name, rule in stack.of_type(RULE_TYPE).items():
            for target in rule.get("Targets", []):
                if BUS_MARK in str(target.get("Arn")):
                    problems += _judge_target(stacks, f"{file}.yaml", name, target)
    return problems + _judge_organization(stacks)


def _judge_organization(stacks: Mapping[str, Stack]) -> list[FailedError]:
    """Return that the bus does not admit the organisation, if there is one and that is so."""
    root = stacks[ROOT_STACK]
    organization = root.parameters.get("OrganizationId")
    statements = _list_statements(stacks, root.outputs["EventBusArn"])
    conditions = [as_object(statement.get("Condition")) for statement in statements]
    admitted = [
        as_object(condition.get("StringEquals")).get("aws:PrincipalOrgID")
        for condition in conditions
    ]
    if not organization or organization in admitted:
        return []
    what = "no bus policy admits the accounts of the organisation"
    remedy = "admit them on the bus of the rules by aws:PrincipalOrgID"
    return [FailedError("eventbridge.yaml", what, remedy)]


def _judge_target(
    stacks: Mapping[str, Stack], file: str, rule: str, target: Mapping[str, Any]
) -> list[FailedError]:
    """Return why a rule cannot put events on the bus that is its target, if it cannot."""
    bus, role_arn = str(target["Arn"]), target.get("RoleArn")
    name = bus.partition(BUS_MARK)[2]
    if not role_arn:
        what = f"{rule} has no RoleArn, so it cannot send to bus {name}"
        return [FailedError(file, what, f"give its target a role that may put events on {name}")]
    role = _find_role(stacks, str(role_arn))
    documents = [policy["PolicyDocument"] for policy in as_object(role).get("Policies", [])]
    statements = [part for document in documents for part in document["Statement"]]
    if not any(_lets_put(statement, bus) for statement in statements):
        what = f"the role of {rule} may not put events on bus {name}"
        remedy = f"allow {PUT_EVENTS} on that bus in a policy of the role"
        return [FailedError(file, what, remedy)]
    if not any(_admits(statement, role_arn) for statement in _list_statements(stacks, bus)):
        what = f"no policy of bus {name} admits the role of {rule}"
        return [FailedError("eventbridge.yaml", what, "restore the bus policy for the forwarders")]
    return []


def _find_role(stacks: Mapping[str, Stack], arn: str) -> dict[str, Any] | None:
    """Return the properties of the role with this ARN; None if no template makes it."""
    for stack in stacks.values():
        for role in stack.of_type(ROLE).values():
            if arn == f"arn:aws:iam::{ACCOUNT}:role/{role.get('RoleName')}":
                return role
    return None


def _list_statements(stacks: Mapping[str, Stack], bus: str) -> Iterator[dict[str, Any]]:
    """Yield the statements of the policies of a bus that let somebody put events there."""
    for stack in stacks.values():
        for policy in stack.of_type(BUS_POLICY).values():
            statement = as_object(policy.get("Statement"))
            is_of_bus = policy.get("EventBusName", DEFAULT_BUS) == bus.partition(BUS_MARK)[2]
            if is_of_bus and _lets_put(statement, bus):
                yield statement


def _admits(statement: Mapping[str, Any], role_arn: object) -> bool:
    """Return whether a statement of a bus policy admits a role: by its ARN, or with everybody."""
    principal = statement.get("Principal")
    return principal == {"AWS": role_arn} or (principal == "*" and "Condition" not in statement)


def _lets_put(statement: Mapping[str, Any], bus: str) -> bool:
    """Return whether a statement allows to put events on a bus."""
    actions, resources = (
        value if isinstance(value, list) else [value]
        for value in (statement.get("Action"), statement.get("Resource"))
    )
    is_on_bus = any(fnmatchcase(bus, str(resource)) for resource in resources)
    return statement.get("Effect") == "Allow" and PUT_EVENTS in actions and is_on_bus
