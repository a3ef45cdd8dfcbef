"""grants: a statement that grants nothing, or more than it says, is a finding."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.repository import ROOT
from tooling.checks import grants
from tooling.checks.grants import Policy, Reference, Role
from tooling.environment import ensure

pytestmark = pytest.mark.joint

KEY_ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234"
ROLE_ARN = "arn:aws:iam::111122223333:role/service"
LOG_GROUP_ARN = "arn:aws:logs:eu-central-1:111122223333:log-group:/aws/lambda/x:*"
TAG = "aws:ResourceTag/signwatch:prefix"


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.load(grants.data_file(ensure("scan", ROOT)))


def policy(action: Any, resource: Any = "*", effect: str = "Allow", **more: Any) -> Policy:
    statement = {"Sid": "S", "Effect": effect, "Action": action, "Resource": resource, **more}
    return Policy("role", {"Statement": [statement]})


def sentences(checked: Policy, reference: Reference) -> list[str]:
    return [str(finding) for finding in grants.check_policy(checked, reference)]


class TestStatements:
    @pytest.mark.parametrize(
        ("action", "resource"),
        [
            ("logs:CreateLogStream", LOG_GROUP_ARN),
            (["kms:GenerateDataKey*", "kms:Decrypt"], KEY_ARN),
            ("logs:DescribeIndexPolicies", "*"),
            ("s3:ListBucket", "arn:aws:s3:::signwatch-*"),
            ("s3:GetObject", "arn:aws:s3:::signwatch-templates/*"),
        ],
    )
    def test_sound_statement_has_no_finding(
        self, action: Any, resource: str, reference: Reference
    ) -> None:
        assert sentences(policy(action, resource), reference) == []

    def test_action_that_does_not_exist_is_named(self, reference: Reference) -> None:
        found = sentences(policy("logs:CreateLogStreams", LOG_GROUP_ARN), reference)
        assert found == ["role S: logs:CreateLogStreams is no action of AWS"]

    def test_pattern_that_matches_no_action_is_named(self, reference: Reference) -> None:
        assert "kms:Seal* is no action of AWS" in sentences(policy("kms:Seal*"), reference)[0]

    def test_unknown_action_of_a_not_action_is_named(self, reference: Reference) -> None:
        statement = {"Effect": "Deny", "NotAction": "iam:PassRoles", "Resource": "*"}
        found = sentences(Policy("role", {"Statement": statement}), reference)
        assert found == ["role 1: iam:PassRoles is no action of AWS"]

    def test_action_without_resource_types_needs_the_asterisk(self, reference: Reference) -> None:
        found = sentences(
            policy(["logs:DescribeIndexPolicies", "logs:CreateLogGroup"], LOG_GROUP_ARN), reference
        )
        sentence = 'has no resource-level permissions: it matches Resource "*" alone'
        assert found == [f"role S: logs:DescribeIndexPolicies {sentence}"]

    def test_resource_of_another_service_is_named(self, reference: Reference) -> None:
        found = sentences(policy("sns:Publish", ["arn:aws:sns:*:*:x", KEY_ARN]), reference)
        assert found == [f"role S: no action of the statement takes {KEY_ARN}"]

    def test_action_that_takes_no_resource_of_its_statement_is_named(
        self, reference: Reference
    ) -> None:
        found = sentences(
            policy(["sns:Publish", "sqs:SendMessage"], "arn:aws:sns:*:*:x"), reference
        )
        assert found == ["role S: sqs:SendMessage takes none of the statement's resources"]

    def test_bucket_action_on_objects_alone_is_named(self, reference: Reference) -> None:
        found = sentences(policy("s3:ListBucket", "arn:aws:s3:::signwatch-templates/*"), reference)
        assert "s3:ListBucket takes none of the statement's resources" in found[0]

    def test_every_required_resource_type_must_be_there(self, reference: Reference) -> None:
        alias = "arn:aws:kms:eu-central-1:111122223333:alias/signwatch-main"
        assert sentences(policy("kms:CreateAlias", [alias, KEY_ARN]), reference) == []
        (found,) = sentences(policy("kms:CreateAlias", alias), reference)
        assert "kms:CreateAlias also needs a resource of type key" in found

    @pytest.mark.parametrize(
        ("action", "key"),
        [
            ("sns:Publish", "kms:ViaService"),
            ("logs:PutLogEvents", "aws:RequestTag/signwatch:prefix"),
            ("s3:GetObject", "lambda:FunctionArn"),
        ],
    )
    def test_condition_key_that_the_action_never_carries_is_named(
        self, action: str, key: str, reference: Reference
    ) -> None:
        found = sentences(policy(action, Condition={"StringEquals": {key: "x"}}), reference)
        assert found == [f"role S: {action} never carries the condition key {key}"]

    @pytest.mark.parametrize(
        ("action", "key"),
        [
            ("kms:Decrypt", "kms:ViaService"),
            ("kms:Decrypt", "kms:EncryptionContext:aws:cloudtrail:arn"),
            ("kms:TagResource", "aws:RequestTag/signwatch:prefix"),
            ("secretsmanager:PutSecretValue", TAG),
            ("sqs:SendMessage", "aws:SourceArn"),
            ("iam:PassRole", "iam:PassedToService"),
        ],
    )
    def test_condition_key_of_the_action_is_accepted(
        self, action: str, key: str, reference: Reference
    ) -> None:
        tests = {"StringEquals": {key: "x"}}
        assert sentences(policy(action, Condition=tests), reference) == []

    def test_asterisk_in_a_resource_policy_is_its_own_resource(self, reference: Reference) -> None:
        statement = {"Effect": "Allow", "Action": ["kms:Decrypt", "sns:Publish"], "Resource": "*"}
        found = sentences(Policy("key", {"Statement": statement}, KEY_ARN), reference)
        assert found == ["key 1: sns:Publish takes none of the statement's resources"]

    def test_denial_of_everything_is_sound(self, reference: Reference) -> None:
        bucket = ["arn:aws:s3:::x", "arn:aws:s3:::x/*"]
        tests = {"Bool": {"aws:SecureTransport": "false"}}
        assert sentences(policy("s3:*", bucket, "Deny", Condition=tests), reference) == []


class TestRoles:
    @staticmethod
    def role(*policies: Policy, key_policy: dict[str, Any] | None = None) -> Role:
        resource_policies = (
            [Policy("key", {"Statement": key_policy}, KEY_ARN)] if key_policy else []
        )
        return Role("service", ROLE_ARN, policies, resource_policies)

    @staticmethod
    def sentences(role: Role, reference: Reference) -> list[str]:
        return [finding.sentence for finding in grants.check_role(role, reference)]

    def test_dependent_action_that_the_role_lacks_is_named(self, reference: Reference) -> None:
        found = self.sentences(self.role(policy("kms:CreateKey")), reference)
        assert "kms:CreateKey depends on kms:PutKeyPolicy, which the role lacks" in found

    def test_right_of_a_creation_that_hangs_on_a_tag_is_named(self, reference: Reference) -> None:
        tagged = {"StringEquals": {TAG: "signwatch"}}
        role = self.role(policy("kms:CreateKey"), policy("kms:PutKeyPolicy", Condition=tagged))
        assert (
            "kms:CreateKey needs kms:PutKeyPolicy on the new resource, but the right hangs on a tag"
            " that the resource cannot have yet"
        ) in self.sentences(role, reference)

    def test_right_that_the_key_policy_gives_is_enough(self, reference: Reference) -> None:
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": ROLE_ARN},
            "Action": "kms:PutKeyPolicy",
            "Resource": "*",
        }
        role = self.role(policy("kms:CreateKey"), key_policy=statement)
        assert "PutKeyPolicy" not in " ".join(self.sentences(role, reference))

    def test_key_policy_for_another_principal_gives_nothing(self, reference: Reference) -> None:
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::111122223333:role/other"},
            "Action": "kms:PutKeyPolicy",
            "Resource": "*",
        }
        role = self.role(policy("kms:CreateKey"), key_policy=statement)
        assert "PutKeyPolicy" in " ".join(self.sentences(role, reference))

    def test_right_to_set_the_tag_that_other_rights_hang_on_is_named(
        self, reference: Reference
    ) -> None:
        tagged = {"StringEquals": {TAG: "signwatch"}}
        requested = {"StringEquals": {"aws:RequestTag/signwatch:prefix": "signwatch"}}
        decrypt = policy("kms:Decrypt", Condition=tagged)
        role = self.role(decrypt, policy("kms:TagResource", Condition=requested))
        (found,) = self.sentences(role, reference)
        assert found.startswith(f"kms:TagResource may set {TAG} on any resource")
        guarded = {**requested, "Null": {TAG: "true"}}
        role = self.role(decrypt, policy("kms:TagResource", Condition=guarded))
        assert self.sentences(role, reference) == []


@pytest.mark.parametrize(
    ("first", "second", "overlaps"),
    [
        ("abc", "abc", True),
        ("abc", "abd", False),
        ("a*", "*c", True),
        ("a*b", "a*c", False),
        ("a?c", "abc", True),
        ("", "*", True),
        ("", "a", False),
        ("arn:*:s3:::*", "arn:aws:s3:::x-*-trailbucket-*", True),
    ],
)
def test_patterns_overlap_where_a_text_matches_both(
    first: str, second: str, overlaps: bool
) -> None:
    assert grants.patterns_overlap(first, second) is overlaps
    assert grants.patterns_overlap(second, first) is overlaps
