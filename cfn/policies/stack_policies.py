"""Policies on resources of many kinds: that each is made, that no statement shuts it out, that its name is its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from monitor_policy import Policy, allows, each, fits, principals
from monitor_site import NAMED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor_site import Resource, Site

ROLE, LOG_POLICY = "AWS::IAM::Role", "AWS::Logs::ResourcePolicy"
GUARDED = (
    ROLE,
    LOG_POLICY,
    "AWS::KMS::Key",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
)
NAMES = {  # the property with the name of a resource
    **{kind: key for kind, (key, _) in NAMED.items()},
    ROLE: "RoleName",
    LOG_POLICY: "PolicyName",
    "AWS::KMS::Alias": "AliasName",
    "AWS::Lambda::LayerVersion": "LayerName",
}
WORKERS = (  # a kind that works as a role, the property that names the role, and the service that takes it
    ("AWS::CloudTrail::Trail", "CloudWatchLogsRoleArn", "cloudtrail.amazonaws.com"),
    ("AWS::Lambda::Function", "Role", "lambda.amazonaws.com"),
)
WITHOUT_TLS = {"Bool": {"aws:SecureTransport": "false"}}


class ResourceIsAlwaysMade(Policy):
    """What keeps the monitor alive is made in every stack, whatever its parameters."""

    number, kinds = (
        100,
        ("*",),
    )  # each kind keeps the monitor alive; checkov takes this for all of them

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return "Condition" not in resource.body


class OnlyPlainRequestsAreDenied(Policy):
    """A Deny shuts out requests without TLS and no others; a role has no Deny, and no policies from elsewhere."""

    number, kinds = 101, GUARDED

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        denials = list(_denials(resource.properties))
        if resource.kind == ROLE:
            return not denials and "ManagedPolicyArns" not in resource.properties
        return all(denial.get("Condition") == WITHOUT_TLS for denial in denials)


def _denials(node: Any) -> Iterator[dict[str, Any]]:
    """Yield each Deny statement below ``node``; a policy of CloudWatch Logs is a text of JSON."""
    if isinstance(node, str) and node.lstrip().startswith("{"):
        node = json.loads(node)
    if isinstance(node, dict) and node.get("Effect") == "Deny":
        yield node
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for item in inner:
        yield from _denials(item)


class NameIsItsOwn(Policy):
    """No two resources of a kind have one name: the second is never made, or takes the place of the first."""

    number, kinds = 102, tuple(NAMES)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        key = NAMES[resource.kind]
        name = resource.properties.get(key)
        same = [found for found in site.of(resource.kind) if found.properties.get(key) == name]
        return name is None or len(same) == 1


class RoleIsTrusted(Policy):
    """A role is taken by the service that works as it, on no condition, and by nobody else."""

    number, kinds = 103, (ROLE,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        grants = list(allows(resource.properties["AssumeRolePolicyDocument"]))
        named = {principal for grant in grants for principal in principals(grant)}
        plain = all(
            each(grant["Action"]) == ["sts:AssumeRole"] and fits(grant, {}) for grant in grants
        )
        working = _services(resource, site)
        return plain and (
            named == working
            if working
            else named <= {("Service", service) for _, _, service in WORKERS}
        )


def _services(role: Resource, site: Site) -> set[tuple[str, str]]:
    """Return the service of each resource that works as ``role``, as a principal."""
    working = [
        service
        for kind, key, service in WORKERS
        for one in site.of(kind)
        if one.properties.get(key) == role.arn
    ]
    return {("Service", service) for service in working}


POLICIES = (
    ResourceIsAlwaysMade(),
    OnlyPlainRequestsAreDenied(),
    NameIsItsOwn(),
    RoleIsTrusted(),
)
