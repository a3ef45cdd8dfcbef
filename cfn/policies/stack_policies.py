"""Policies on resources of many kinds: always created, usable, and each with a name of its own.

Each policy takes one resource and the installation, which has all templates with their references
resolved, and returns whether the resource is compliant. Its docstring is what a scan shows.
A policy that raises an error counts as failed, as when it looks up what does not exist.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from installation import ARN_FORMATS
from policy_base import (
    allow_statements,
    as_list,
    meets_conditions,
    policy,
    possible_values,
    principals,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from installation import Installation, Resource

ROLE, LOG_POLICY = "AWS::IAM::Role", "AWS::Logs::ResourcePolicy"
ACCESS_POLICIES = (
    ROLE,
    LOG_POLICY,
    "AWS::KMS::Key",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
)
NAME_PROPERTIES = {  # by kind: the property that contains a resource's name
    **{kind: key for kind, (key, _) in ARN_FORMATS.items()},
    ROLE: "RoleName",
    LOG_POLICY: "PolicyName",
    "AWS::KMS::Alias": "AliasName",
    "AWS::Lambda::LayerVersion": "LayerName",
}
# By logical id, under which conditions a resource may be left out: the trail, which the account may
# have already; its log group, without which there is one way less; what hangs on them. The others
# are for a bus with a name, and for other accounts.
OPTIONAL_RESOURCES = {
    **dict.fromkeys(("Trail", "TrailBucket", "TrailBucketPolicy"), ("HasTrail",)),
    **dict.fromkeys(("TrailLogGroup", "TrailRole"), ("HasOwnLogGroup",)),
    **dict.fromkeys(("TrailFilter", "TrailFilterPermission"), ("HasLogGroup",)),
    **dict.fromkeys(
        ("CustomBus", "ForwardingRule", "ForwardingRuleFailuresAlarm"),
        ("HasCustomBus", "HasOrganization"),  # rule_is_on_bus_with_sign_ins wants the right one
    ),
    "OrganizationPolicy": ("HasOrganization",),
    "OwnRole": ("HasOwnRole",),
}
WITHOUT_TLS = {"Bool": {"aws:SecureTransport": "false"}}


class RoleUser(NamedTuple):
    """A kind of resource that uses a role: its property with the role's ARN, and its service.

    A rule has a role for each of its targets.
    """

    kind: str
    role_property: str
    service: str


ROLE_USERS = (
    RoleUser("AWS::CloudTrail::Trail", "CloudWatchLogsRoleArn", "cloudtrail.amazonaws.com"),
    RoleUser("AWS::Events::Rule", "Targets", "events.amazonaws.com"),
    RoleUser("AWS::Lambda::Function", "Role", "lambda.amazonaws.com"),
)


@policy("CKV_SIGNWATCH_100", "*")
def resource_has_no_condition(resource: Resource, _installation: Installation) -> bool:
    """Every resource is created whatever the parameters, except those with a known condition."""
    conditions = OPTIONAL_RESOURCES.get(resource.name, ())
    return "Condition" not in resource.body or resource.body["Condition"] in conditions


@policy("CKV_SIGNWATCH_101", *ACCESS_POLICIES)
def only_requests_without_tls_are_denied(resource: Resource, _installation: Installation) -> bool:
    """A Deny concerns only requests without TLS; a role has no Deny and no managed policies."""
    denials = list(_denials(resource.properties))
    if resource.kind == ROLE:
        return not denials and "ManagedPolicyArns" not in resource.properties
    return all(denial.get("Condition") == WITHOUT_TLS for denial in denials)


def _denials(node: Any) -> Iterator[dict[str, Any]]:
    """Yield each Deny statement at or below ``node``, any part of a resource's properties.

    CloudWatch Logs has its policies as JSON strings.
    """
    if isinstance(node, str) and node.lstrip().startswith("{"):
        node = json.loads(node)
    if isinstance(node, dict):
        if node.get("Effect") == "Deny":
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _denials(child)


@policy("CKV_SIGNWATCH_102", *NAME_PROPERTIES)
def name_is_unique(resource: Resource, installation: Installation) -> bool:
    """No two resources of a kind have one name: the second fails, or replaces the first."""
    key = NAME_PROPERTIES[resource.kind]
    if key not in resource.properties:
        return True  # AWS chooses a name that no other resource has
    names = [properties.get(key) for properties in installation.properties_of(resource.kind)]
    return names.count(resource.properties[key]) == 1


@policy("CKV_SIGNWATCH_103", ROLE)
def role_is_trusted_by_its_service(role: Resource, installation: Installation) -> bool:
    """A role is assumed by the service that uses it, at least for this account, and by no other."""
    statements = allow_statements([role.properties["AssumeRolePolicyDocument"]])
    for statement in statements:
        is_plain = as_list(statement["Action"]) == ["sts:AssumeRole"]
        # A service may send the key, or not.
        requests: list[dict[str, str]] = [{}, {"aws:SourceAccount": "${AWS::AccountId}"}]
        if not (is_plain and all(meets_conditions(keys, statement) for keys in requests)):
            return False
    trusted = {principal for statement in statements for principal in principals(statement)}
    services = {
        ("Service", user.service)
        for user in ROLE_USERS
        for properties in installation.properties_of(user.kind)
        if role.arn in _used_roles(properties.get(user.role_property))
    }
    if services:
        return trusted == services
    # No resource of this installation uses the role: any of the services may be trusted.
    return trusted <= {("Service", user.service) for user in ROLE_USERS}


def _used_roles(value: Any) -> list[Any]:
    """Return the ARNs of roles in the value of a property: an ARN, or the targets of a rule."""
    if isinstance(value, list):
        return [arn for target in value for arn in possible_values(target.get("RoleArn"))]
    return possible_values(value)
