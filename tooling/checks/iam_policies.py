"""Collects every IAM policy of the bootstrap, as Terraform plans it, and of the stacks."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tooling.checks.resolved_templates import ACCOUNT, REGION, VALUES, walk
from tooling.errors import RefusedError
from tooling.terraform import Terraform

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tooling.checks.resolved_templates import Stack

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
VARIABLES = {  # everything that the bootstrap can create
    "account_id": ACCOUNT,
    "region": REGION,
    "prefix": VALUES["NamePrefix"],
    "sso_permission_set_names": ["Administrators"],
    "trusted_principal_arns": [f"arn:aws:iam::{ACCOUNT}:root"],
    "github_repository": "owner/repository",
    "github_owner_id": "1",
    "github_repository_id": "2",
}
ATTRIBUTES_WITH_POLICY = ("policy", "assume_role_policy")  # of Terraform's resources
PLACEHOLDER = re.compile(r"<(\w+)(\.Arn)?>")  # what the resolved templates leave to AWS
GENERATED_NAMES = {  # names such as AWS generates: what Ref gives, and the ARN
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
RESOURCE_OF_POLICY = {  # the property of a resource policy that names its resources
    "AWS::S3::BucketPolicy": "Bucket",
    "AWS::SNS::TopicPolicy": "Topics",
    "AWS::SQS::QueuePolicy": "Queues",
    "AWS::SecretsManager::ResourcePolicy": "SecretId",
}


@dataclass(frozen=True)
class Policy:
    """One policy document.

    ``resource_arn`` is set for a resource policy and for the trust document of a role: the ARN that
    ``Resource: "*"``, or no Resource at all, stands for.
    """

    name: str
    document: Mapping[str, Any]
    resource_arn: str = ""

    @property
    def statements(self) -> list[dict[str, Any]]:
        """The statements, each with a Sid."""
        statements = as_list(self.document["Statement"])
        return [{"Sid": str(number), **body} for number, body in enumerate(statements, 1)]


@dataclass(frozen=True)
class Role:
    """A role with its identity policies."""

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
    unknown_values: the attributes that the plan does not know yet, by the resource's address.
    blocks: the blocks of the configuration, with the references in their expressions.
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
        return Collection(self.policies + other.policies, self.roles + other.roles)


def plan_bootstraps(
    sources: Mapping[str, Path], folder: Path, environment: Mapping[str, str]
) -> dict[str, Collection]:
    """Return the policies and roles of each copy of the bootstrap, by the copy's name.

    ``sources`` has the folders of the copies, ``folder`` is for Terraform's files. Terraform plans
    all copies at once, as modules, as if nothing existed yet. It calls no AWS API and uses no
    credentials. Raises ToolError if it cannot, or if it does not know a policy's text yet.
    """
    for name, source in sources.items():
        (folder / name).mkdir()
        for path in source.glob("*.tf"):
            if path.name != "providers.tf":
                shutil.copy(path, folder / name)
    modules = {name: {"source": f"./{name}", **VARIABLES} for name in sources}
    root = {"variable": {"region": {}}, "module": modules}
    (folder / "main.tf.json").write_text(json.dumps(root))
    (folder / "providers.tf").write_text(PROVIDER)
    environment = {
        name: value for name, value in environment.items() if not name.startswith("AWS_")
    }
    terraform = Terraform(folder, folder / "terraform.tfstate", environment)
    terraform.init()
    plan = terraform.plan({"region": REGION}) or {}
    return {name: collect_bootstrap(read_module(plan, name)) for name in sources}


def read_module(plan: Mapping[str, Any], name: str) -> Bootstrap:
    """Return the part of a plan that is about one module."""
    prefix = f"module.{name}."
    (module,) = (
        module
        for module in plan["planned_values"]["root_module"]["child_modules"]
        if module["address"] == f"module.{name}"
    )
    return Bootstrap(
        {resource["address"].removeprefix(prefix): resource for resource in module["resources"]},
        {
            change["address"].removeprefix(prefix): change["change"]["after_unknown"]
            for change in plan["resource_changes"]
            if change.get("module_address") == f"module.{name}"
        },
        plan["configuration"]["root_module"]["module_calls"][name]["module"]["resources"],
    )


def collect_bootstrap(bootstrap: Bootstrap) -> Collection:
    """Return the policies and roles of a planned bootstrap.

    Raises RefusedError if the plan does not know the text of a policy yet.
    """
    _refuse_unknown_policies(bootstrap)
    policies = {
        address: Policy(address, document, _protected_arn(resource, bootstrap))
        for address, resource in bootstrap.resources.items()
        for attribute in ATTRIBUTES_WITH_POLICY
        if (document := parse_policy(resource["values"].get(attribute))) is not None
    }
    roles = tuple(
        Role(
            role["values"]["name"],
            tuple(policies[name] for name in _policy_addresses(address, role, bootstrap)),
        )
        for address, role in bootstrap.resources.items()
        if role["type"] == "aws_iam_role"
    )
    return Collection(tuple(policies.values()), roles)


def _refuse_unknown_policies(bootstrap: Bootstrap) -> None:
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


def _protected_arn(resource: Mapping[str, Any], bootstrap: Bootstrap) -> str:
    """Return the ARN of what a trust document or a bucket policy protects, else "".

    A plan does not know the bucket of a policy. The key of each policy is its bucket's name in
    Terraform.
    """
    if resource["type"] == "aws_iam_role":
        return f"arn:aws:iam::{ACCOUNT}:role/{resource['values']['name']}"
    bucket = bootstrap.resources.get(f"aws_s3_bucket.{resource.get('index')}")
    if resource["type"] == "aws_s3_bucket_policy" and bucket:
        return f"arn:aws:s3:::{bucket['values']['bucket']}"
    return ""


def _policy_addresses(
    role_address: str, role: Mapping[str, Any], bootstrap: Bootstrap
) -> Iterator[str]:
    """Yield the address of each policy that Terraform puts into a role or attaches to it.

    The planned values do not have these links yet, so they are read from the blocks.
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
            # With for_each, each role has the policy of its own key.
            same_key = block["address"] + role_address.removeprefix(block_address)
            yield same_key if same_key in bootstrap.resources else block["address"]


def collect_stacks(stacks: Mapping[str, Stack]) -> Collection:
    """Return the policies and roles of the stacks."""
    refs, arns = _generated_names(stacks)
    policies: list[Policy] = []
    roles: list[Role] = []
    for stack_name, stack in stacks.items():
        for logical_id, resource in stack.resources.items():
            name = f"{stack_name}.{logical_id}"
            kind, properties = resource["Type"], resource["Properties"]
            if kind == "AWS::IAM::Role":
                roles.append(_stack_role(name, _fill_in(properties, refs, arns)))
                policies.append(_trust(name, _fill_in(properties, refs, arns)))
                continue
            protected = properties.get(RESOURCE_OF_POLICY.get(kind, ""), f"<{logical_id}>")
            for document in filter(None, map(parse_policy, walk(properties))):
                for reference in as_list(protected):
                    arn = arns.get(reference, reference if reference.startswith("arn:") else "")
                    policies.append(Policy(name, _fill_in(document, refs, arns), arn))
    policies += [policy for role in roles for policy in role.identity_policies]
    return Collection(tuple(policies), tuple(roles))


def _stack_role(name: str, properties: Mapping[str, Any]) -> Role:
    inline = properties.get("Policies", [])
    policies = (Policy(f"{name}.{one['PolicyName']}", one["PolicyDocument"]) for one in inline)
    return Role(properties["RoleName"], tuple(policies))


def _trust(name: str, properties: Mapping[str, Any]) -> Policy:
    arn = f"arn:aws:iam::{ACCOUNT}:role/{properties['RoleName']}"
    return Policy(name, properties["AssumeRolePolicyDocument"], arn)


def _generated_names(stacks: Mapping[str, Stack]) -> tuple[dict[str, str], dict[str, str]]:
    """Return what Ref gives by the placeholder ``<LogicalId>``, and the ARN by either of them."""
    refs: dict[str, str] = {}
    arns: dict[str, str] = {}
    for stack in stacks.values():
        for logical_id, resource in stack.resources.items():
            if resource["Type"] in GENERATED_NAMES:
                ref, arn = GENERATED_NAMES[resource["Type"]]
                fields = {
                    **resource["Properties"],
                    "id": logical_id,
                    "lower_id": logical_id.lower(),
                    "region_and_account": f"{REGION}:{ACCOUNT}",
                }
                placeholder = f"<{logical_id}>"
                refs[placeholder] = ref.format_map(fields)
                arns[placeholder] = arns[refs[placeholder]] = arn.format_map(fields)
    return refs, arns


def _fill_in(
    document: Mapping[str, Any], refs: Mapping[str, str], arns: Mapping[str, str]
) -> dict[str, Any]:
    """Replace placeholders by names and ARNs such as AWS generates."""

    def name(match: re.Match[str]) -> str:
        names = arns if match[2] else refs
        return names.get(f"<{match[1]}>", match[0])

    return dict(json.loads(PLACEHOLDER.sub(name, json.dumps(document))))


def parse_policy(value: object) -> dict[str, Any] | None:
    """Return the policy document that the value is, or that its JSON text holds; else None."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, dict) and "Statement" in value else None


def as_list(value: Any) -> list[Any]:
    """Return the value as a list: IAM takes one text where it takes a list of one."""
    return value if isinstance(value, list) else [value]


def is_allow(statement: Mapping[str, Any]) -> bool:
    """Return whether the statement allows something; the others deny."""
    return bool(statement["Effect"] == "Allow")


def principals(statement: Mapping[str, Any], kind: str) -> Sequence[str]:
    """Return the principals of one kind, such as "AWS" or "Service", that a statement names."""
    principal = statement.get("Principal")
    named = principal.get(kind, []) if isinstance(principal, dict) else []
    return as_list(named)


def condition_keys(statement: Mapping[str, Any]) -> list[str]:
    """Return the keys of all conditions of a statement."""
    return [key for tests in statement.get("Condition", {}).values() for key in tests]
