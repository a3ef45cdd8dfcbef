"""Collects every IAM policy of the bootstrap, as Terraform plans it, and of the stacks.

Identity policies say what a role may do. A resource policy says who may use one resource, such as a
bucket, and the trust document of a role says who may assume it.

Terraform's address of a planned resource is ``aws_iam_role.deploy``, or, if for_each makes several,
``aws_iam_role.github["preview"]``. A block is a resource as the configuration writes it. Its
address, ``aws_iam_role.github``, stands for all that for_each makes of it.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tooling.errors import RefusedError
from tooling.resolved_templates import (
    ACCOUNT,
    OPTIONAL_VALUES,
    REGION,
    REQUIRED_VALUES,
    walk,
)
from tooling.terraform import Terraform

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tooling.resolved_templates import Stack

# The real provider writes policy documents without any call, so it needs no credentials.
PROVIDER = """\
provider "aws" {
  region                      = var.region
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  skip_requesting_account_id  = true
}
"""
VARIABLES = {  # with these, the bootstrap creates everything that it can
    "account_id": ACCOUNT,
    "region": REGION,
    "prefix": REQUIRED_VALUES["NamePrefix"],
    "sso_permission_set_names": ["Administrators"],
    "trusted_principal_arns": [f"arn:aws:iam::{ACCOUNT}:root"],
    "trail_log_group_name": OPTIONAL_VALUES["TrailLogGroupName"],
    "github_repository": "owner/repository",
    "github_owner_id": "1",
    "github_repository_id": "2",
}
ATTRIBUTES_WITH_POLICY = ("policy", "assume_role_policy")  # of Terraform's resources
PLACEHOLDER = re.compile(r"<(\w+)(\.Arn)?>")  # "<Key>" for Ref, "<Key.Arn>": see resolved_templates
# Names such as AWS generates, by resource type: what Ref gives, and the ARN. The fields in braces
# are properties of the resource, and those that _generate_names adds.
GENERATED_NAMES = {
    "AWS::KMS::Key": ("{id}", "arn:aws:kms:{region_and_account}:key/{id}"),
    "AWS::Lambda::Function": (
        "{FunctionName}",
        "arn:aws:lambda:{region_and_account}:function:{FunctionName}",
    ),
    "AWS::S3::Bucket": ("{lower_id}-x", "arn:aws:s3:::{lower_id}-x"),
    "AWS::SecretsManager::Secret": (
        "arn:aws:secretsmanager:{region_and_account}:secret:{id}-x",
        "arn:aws:secretsmanager:{region_and_account}:secret:{id}-x",
    ),
    "AWS::SQS::Queue": (
        f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{{QueueName}}",
        "arn:aws:sqs:{region_and_account}:{QueueName}",
    ),
}
RESOURCE_OF_POLICY = {  # type of a resource policy -> the property that names its resources
    "AWS::Events::EventBusPolicy": "EventBusName",
    "AWS::S3::BucketPolicy": "Bucket",
    "AWS::SNS::TopicPolicy": "Topics",
    "AWS::SQS::QueuePolicy": "Queues",
    "AWS::SecretsManager::ResourcePolicy": "SecretId",
}


@dataclass(frozen=True)
class Policy:
    """One policy document.

    name: Terraform's address, or the stack and logical id: "lambda.FunctionRole.WriteLogs".
    resource_arn: the one resource of a resource policy, or the role of a trust document. That is
        what ``Resource: "*"``, or no Resource at all, stands for there. Empty for other policies.
    """

    name: str
    document: Mapping[str, Any]
    resource_arn: str = ""

    @property
    def statements(self) -> list[dict[str, Any]]:
        """The statements, each with a Sid; its number if it has none of its own."""
        statements = as_list(self.document["Statement"])
        return [{"Sid": str(number), **body} for number, body in enumerate(statements, 1)]


@dataclass(frozen=True)
class Role:
    """A role with its identity policies; ``name`` is its name in IAM."""

    name: str
    identity_policies: tuple[Policy, ...]

    @property
    def arn(self) -> str:
        """The ARN by which resource policies name the role."""
        return f"arn:aws:iam::{ACCOUNT}:role/{self.name}"


@dataclass(frozen=True)
class Bootstrap:
    """A planned bootstrap.

    resources: each planned resource by its address.
    unknown_values: by the address, what the plan does not know yet: ``{"policy": True}``.
    blocks: the blocks of the configuration. Each has the references in its expressions:
        ``{"expressions": {"role": {"references": ["aws_iam_role.deploy"]}}, ...}``.
    """

    resources: Mapping[str, Mapping[str, Any]]
    unknown_values: Mapping[str, Mapping[str, Any]]
    blocks: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Collection:
    """Every policy, and the roles with their own ones."""

    policies: tuple[Policy, ...]
    roles: tuple[Role, ...]

    def __add__(self, other: Collection) -> Collection:
        """Return the policies and roles of both."""
        return Collection(self.policies + other.policies, self.roles + other.roles)


def plan_bootstraps(
    sources: Mapping[str, Path], folder: Path, environment: Mapping[str, str]
) -> dict[str, Collection]:
    """Return the policies and roles of each copy of the bootstrap, by the copy's name.

    ``sources`` is the folder of each copy by its name; ``folder``, which is empty, gets Terraform's
    files. Terraform plans all copies at once, each as a module, as if nothing existed yet. It calls
    no AWS API and uses no credentials.
    Raises ToolError if it cannot plan, or if the plan does not know the text of a policy yet.
    """
    for name, source in sources.items():
        (folder / name).mkdir()
        for path in source.glob("*.tf"):
            if path.name != "providers.tf":  # PROVIDER takes its place
                shutil.copy(path, folder / name)
    modules = {name: {"source": f"./{name}", **VARIABLES} for name in sources}
    root = {"variable": {"region": {}}, "module": modules}
    (folder / "main.tf.json").write_text(json.dumps(root))
    (folder / "providers.tf").write_text(PROVIDER)
    without_credentials = {
        name: value for name, value in environment.items() if not name.startswith("AWS_")
    }
    terraform = Terraform(folder, folder / "terraform.tfstate", without_credentials)
    terraform.init()
    plan = terraform.plan({"region": REGION}) or {}  # never empty, since nothing exists yet
    return {name: collect_bootstrap(read_module(plan, name)) for name in sources}


def read_module(plan: Mapping[str, Any], name: str) -> Bootstrap:
    """Return what a plan, in Terraform's JSON form, has about one module.

    The addresses are then without the module: "module.copy_1.aws_iam_role.x" -> "aws_iam_role.x".
    """
    module_address = f"module.{name}"
    modules = plan["planned_values"]["root_module"]["child_modules"]
    (planned,) = (module for module in modules if module["address"] == module_address)
    configured = plan["configuration"]["root_module"]["module_calls"][name]["module"]
    changes = [
        change
        for change in plan["resource_changes"]
        if change.get("module_address") == module_address
    ]
    prefix = f"{module_address}."
    return Bootstrap(
        {item["address"].removeprefix(prefix): item for item in planned["resources"]},
        {item["address"].removeprefix(prefix): item["change"]["after_unknown"] for item in changes},
        configured["resources"],
    )


def collect_bootstrap(bootstrap: Bootstrap) -> Collection:
    """Return the policies and roles of a planned bootstrap.

    Raises RefusedError if the plan does not know the text of a policy yet.
    """
    _refuse_unknown_policies(bootstrap)
    policies: dict[str, Policy] = {}  # by the address of the resource that holds the policy
    for address, resource in bootstrap.resources.items():
        document = _find_document(resource)
        if document is not None:
            resource_arn = _find_resource_arn(resource, bootstrap)
            policies[address] = Policy(address, document, resource_arn)
    roles: list[Role] = []
    for address, resource in bootstrap.resources.items():
        if resource["type"] == "aws_iam_role":
            policy_addresses = _find_policy_addresses(address, resource, bootstrap)
            role_policies = tuple(policies[policy_address] for policy_address in policy_addresses)
            roles.append(Role(resource["values"]["name"], role_policies))
    return Collection(tuple(policies.values()), tuple(roles))


def _refuse_unknown_policies(bootstrap: Bootstrap) -> None:
    """Raise RefusedError if the plan does not know a policy that the configuration writes.

    An attribute that the configuration leaves out is unknown too: AWS fills it in.
    """
    written = {
        (block["address"], attribute)
        for block in bootstrap.blocks
        for attribute in block.get("expressions", {})
    }
    for address, unknown in bootstrap.unknown_values.items():
        for attribute in ATTRIBUTES_WITH_POLICY:
            block_address = address.partition("[")[0]
            if unknown.get(attribute) and (block_address, attribute) in written:
                what = "its policy is not known in the plan, so it cannot be checked"
                remedy = "compute its ARNs, as terraform-bootstrap/roles.tf does"
                raise RefusedError(address, what, remedy)


def _find_document(resource: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the policy document that a planned resource holds, or None."""
    for attribute in ATTRIBUTES_WITH_POLICY:
        document = parse_policy(resource["values"].get(attribute))
        if document is not None:
            return document
    return None


def _find_resource_arn(resource: Mapping[str, Any], bootstrap: Bootstrap) -> str:
    """Return the ARN of the resource that a trust document or a bucket policy is about, else "".

    The plan does not know the ARN of a new bucket yet. It is found by the for_each key of the
    bucket policy: ``aws_s3_bucket_policy.all["logs"]`` is the policy of ``aws_s3_bucket.logs``.
    """
    if resource["type"] == "aws_iam_role":
        return f"arn:aws:iam::{ACCOUNT}:role/{resource['values']['name']}"
    bucket = bootstrap.resources.get(f"aws_s3_bucket.{resource.get('index')}")
    if resource["type"] == "aws_s3_bucket_policy" and bucket:
        return f"arn:aws:s3:::{bucket['values']['bucket']}"
    return ""


def _find_policy_addresses(
    role_address: str, role: Mapping[str, Any], bootstrap: Bootstrap
) -> Iterator[str]:
    """Yield the address of each policy that Terraform puts into a role or attaches to it.

    The plan does not know yet which role a policy belongs to. The block of the policy, or of its
    attachment, has references to the role and to the attached policy.
    """
    block_address = f"aws_iam_role.{role['name']}"
    for block in bootstrap.blocks:
        references = {value for value in walk(block) if isinstance(value, str)}
        if block_address not in references:
            continue
        if block["type"] == "aws_iam_role_policy_attachment":
            yield from (
                address
                for address, resource in bootstrap.resources.items()
                if resource["type"] == "aws_iam_policy" and address in references
            )
        if block["type"] == "aws_iam_role_policy":
            # With for_each, a role has the policy with the same key, such as ["preview"]. A policy
            # without for_each is the only one of its block.
            key = role_address.removeprefix(block_address)
            policy_address = block["address"] + key
            yield policy_address if policy_address in bootstrap.resources else block["address"]


def collect_stacks(stacks: Mapping[str, Stack]) -> Collection:
    """Return the policies and roles of the stacks."""
    names = _generate_names(stacks)
    policies: list[Policy] = []
    roles: list[Role] = []
    for stack_name, stack in stacks.items():
        for logical_id, resource in stack.resources.items():
            name = f"{stack_name}.{logical_id}"
            if resource["Type"] == "AWS::IAM::Role":
                properties = names.replace_placeholders(resource["Properties"])
                roles.append(_make_role(name, properties))
                policies.append(_make_trust_policy(name, properties))
            else:
                policies += _find_resource_policies(name, logical_id, resource, names)
    policies += [policy for role in roles for policy in role.identity_policies]
    return Collection(tuple(policies), tuple(roles))


def _make_role(name: str, properties: Mapping[str, Any]) -> Role:
    """Return the role in a stack with the policies in its template; ``name`` is "stack.Role"."""
    policies = [
        Policy(f"{name}.{inline['PolicyName']}", inline["PolicyDocument"])
        for inline in properties.get("Policies", [])
    ]
    return Role(properties["RoleName"], tuple(policies))


def _make_trust_policy(name: str, properties: Mapping[str, Any]) -> Policy:
    """Return the trust document of a role in a stack."""
    arn = f"arn:aws:iam::{ACCOUNT}:role/{properties['RoleName']}"
    return Policy(name, properties["AssumeRolePolicyDocument"], arn)


def _find_resource_policies(
    name: str, logical_id: str, resource: Mapping[str, Any], names: _GeneratedNames
) -> Iterator[Policy]:
    """Yield the policy in a resource's properties, if any, once for each resource it is about.

    A bucket policy, for example, names its bucket. A key's policy is about the key itself.
    """
    properties = resource["Properties"]
    property_name = RESOURCE_OF_POLICY.get(resource["Type"], "")
    references = as_list(properties.get(property_name, f"<{logical_id}>"))
    for document in filter(None, map(parse_policy, walk(properties))):
        for reference in references:
            arn = reference if reference.startswith("arn:") else names.arns.get(reference, "")
            yield Policy(name, names.replace_placeholders(document), arn)


@dataclass(frozen=True)
class _GeneratedNames:
    """Names such as AWS generates.

    refs: what Ref gives, by the placeholder ``<LogicalId>``.
    arns: the ARN, by the placeholder and by what Ref gives.
    """

    refs: Mapping[str, str]
    arns: Mapping[str, str]

    def replace_placeholders(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document with names and ARNs in place of its placeholders."""
        return dict(json.loads(PLACEHOLDER.sub(self._find_name, json.dumps(document))))

    def _find_name(self, placeholder: re.Match[str]) -> str:
        """Return the name that a placeholder stands for, or the placeholder if it is unknown."""
        logical_id, arn_suffix = placeholder.groups()
        names = self.arns if arn_suffix else self.refs
        return names.get(f"<{logical_id}>", placeholder[0])


def _generate_names(stacks: Mapping[str, Stack]) -> _GeneratedNames:
    """Return the names of all resources in the stacks whose type is in GENERATED_NAMES.

    An ARN is found by the placeholder, and by what Ref gives, which stands where one is replaced.
    """
    refs: dict[str, str] = {}
    arns: dict[str, str] = {}
    for stack in stacks.values():
        for logical_id, resource in stack.resources.items():
            if resource["Type"] in GENERATED_NAMES:
                ref_format, arn_format = GENERATED_NAMES[resource["Type"]]
                fields = {
                    **resource["Properties"],
                    "id": logical_id,
                    "lower_id": logical_id.lower(),
                    "region_and_account": f"{REGION}:{ACCOUNT}",
                }
                placeholder = f"<{logical_id}>"
                ref = ref_format.format_map(fields)
                refs[placeholder] = ref
                arns[placeholder] = arns[ref] = arn_format.format_map(fields)
    return _GeneratedNames(refs, arns)


def parse_policy(value: object) -> dict[str, Any] | None:
    """Return the value if it is a policy document or the JSON text of one; else None."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, dict) and "Statement" in value else None


def as_list(value: Any) -> list[Any]:
    """Return the value as a list: in a policy, "x" means the same as ["x"]."""
    return value if isinstance(value, list) else [value]


def is_allow(statement: Mapping[str, Any]) -> bool:
    """Return whether the statement allows something; otherwise it denies it."""
    return bool(statement["Effect"] == "Allow")


def list_principals(statement: Mapping[str, Any], kind: str) -> Sequence[str]:
    """Return the principals of one kind, such as "AWS" or "Service", that a statement names."""
    principal = statement.get("Principal")
    named = principal.get(kind, []) if isinstance(principal, dict) else []
    return as_list(named)


@dataclass(frozen=True)
class Condition:
    """One condition of a statement: the operator compares the request's key with the values."""

    operator: str  # such as StringEquals
    key: str  # such as aws:SourceArn
    values: Sequence[str]


def list_conditions(statement: Mapping[str, Any]) -> list[Condition]:
    """Return the conditions of a statement, all of which must hold."""
    return [
        Condition(operator, key, as_list(values))
        for operator, values_by_key in statement.get("Condition", {}).items()
        for key, values in values_by_key.items()
    ]
