"""Each statement by itself: one that grants nothing, or less than it says, is a finding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.iam_policies import make_policy
from tooling.checks import grants
from tooling.checks.iam_policies import Collection, Policy

if TYPE_CHECKING:
    from tooling.checks.authorization_reference import Reference

pytestmark = pytest.mark.joint

KEY_ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234"
ROLE_ARN = "arn:aws:iam::111122223333:role/service"
LOG_GROUP_ARN = "arn:aws:logs:eu-central-1:111122223333:log-group:/aws/lambda/x:*"
TAG = "aws:ResourceTag/signwatch:prefix"


def sentences(checked: Policy, reference: Reference) -> list[str]:
    return grants.check_collection(Collection((checked,), ()), reference)


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
        assert sentences(make_policy(action, resource), reference) == []

    def test_action_that_does_not_exist_is_named(self, reference: Reference) -> None:
        found = sentences(make_policy("logs:CreateLogStreams", LOG_GROUP_ARN), reference)
        assert found == ["role S: logs:CreateLogStreams is no action of AWS"]

    def test_pattern_that_matches_no_action_is_named(self, reference: Reference) -> None:
        assert "kms:Seal* is no action of AWS" in sentences(make_policy("kms:Seal*"), reference)[0]

    def test_unknown_action_of_a_not_action_is_named(self, reference: Reference) -> None:
        statement = {"Effect": "Deny", "NotAction": "iam:PassRoles", "Resource": "*"}
        found = sentences(Policy("role", {"Statement": statement}), reference)
        assert found == ["role 1: iam:PassRoles is no action of AWS"]

    def test_action_without_resource_types_needs_the_asterisk(self, reference: Reference) -> None:
        found = sentences(
            make_policy(["logs:DescribeIndexPolicies", "logs:CreateLogGroup"], LOG_GROUP_ARN),
            reference,
        )
        sentence = 'has no resource-level permissions: it matches Resource "*" alone'
        assert found == [f"role S: logs:DescribeIndexPolicies {sentence}"]

    def test_resource_of_another_service_is_named(self, reference: Reference) -> None:
        found = sentences(make_policy("sns:Publish", ["arn:aws:sns:*:*:x", KEY_ARN]), reference)
        assert found == [f"role S: no action of the statement takes {KEY_ARN}"]

    def test_action_that_takes_no_resource_of_its_statement_is_named(
        self, reference: Reference
    ) -> None:
        found = sentences(
            make_policy(["sns:Publish", "sqs:SendMessage"], "arn:aws:sns:*:*:x"), reference
        )
        assert found == ["role S: sqs:SendMessage takes none of the statement's resources"]

    def test_bucket_action_on_objects_alone_is_named(self, reference: Reference) -> None:
        found = sentences(
            make_policy("s3:ListBucket", "arn:aws:s3:::signwatch-templates/*"), reference
        )
        assert "s3:ListBucket takes none of the statement's resources" in found[0]

    def test_every_required_resource_type_must_be_there(self, reference: Reference) -> None:
        alias = "arn:aws:kms:eu-central-1:111122223333:alias/signwatch-main"
        assert sentences(make_policy("kms:CreateAlias", [alias, KEY_ARN]), reference) == []
        (found,) = sentences(make_policy("kms:CreateAlias", alias), reference)
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
        found = sentences(make_policy(action, Condition={"StringEquals": {key: "x"}}), reference)
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
        assert sentences(make_policy(action, Condition=tests), reference) == []

    def test_wildcard_that_takes_no_resource_of_its_statement_is_named(
        self, reference: Reference
    ) -> None:
        found = sentences(make_policy("s3:GetBucket*", "arn:aws:s3:::x/y"), reference)
        assert "role S: s3:GetBucket* takes none of the statement's resources" in found

    def test_wildcard_for_actions_without_resource_types_is_named(
        self, reference: Reference
    ) -> None:
        assert sentences(make_policy("sns:List*ByTopic", "arn:aws:sns:*:*:x"), reference) == []
        (found,) = sentences(make_policy("sns:ListTopic*", "arn:aws:sns:*:*:x"), reference)
        assert "sns:ListTopics has no resource-level permissions" in found

    def test_denial_of_an_action_without_resource_types_is_named(
        self, reference: Reference
    ) -> None:
        (found,) = sentences(make_policy("iam:ListPolicies", ROLE_ARN, "Deny"), reference)
        assert "iam:ListPolicies has no resource-level permissions" in found

    def test_resource_and_key_of_a_not_action_must_exist(self, reference: Reference) -> None:
        statement = {
            "Effect": "Deny",
            "NotAction": "iam:PassRole",
            "Resource": [ROLE_ARN, "arn:aws:iam::111122223333:roles/x"],
            "Condition": {"StringEquals": {"aws:SourceVpc": "x", "kms:ViaServices": "x"}},
        }
        found = sentences(Policy("role", {"Statement": statement}), reference)
        assert found == [
            "role 1: no action of AWS takes arn:aws:iam::111122223333:roles/x",
            "role 1: kms:ViaServices is no condition key of AWS",
        ]

    def test_resource_of_a_not_resource_must_belong_to_an_action(
        self, reference: Reference
    ) -> None:
        statement = {"Effect": "Deny", "Action": "sns:*", "NotResource": KEY_ARN}
        found = sentences(Policy("role", {"Statement": statement}), reference)
        assert found == [f"role 1: no action of the statement takes {KEY_ARN}"]

    def test_trust_document_is_about_its_role(self, reference: Reference) -> None:
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": ["lambda.amazonaws.com", "lamda.amazonaws.com"]},
            "Action": ["sts:AssumeRole", "kms:Decrypt"],
            "Condition": {"StringEquals": {"sts:ExternalID": "x"}},
        }
        found = sentences(Policy("trust", {"Statement": statement}, ROLE_ARN), reference)
        assert found == [
            "trust 1: lamda.amazonaws.com is no service of AWS",
            "trust 1: sts:AssumeRole never carries the condition key sts:ExternalID",
            "trust 1: kms:Decrypt takes none of the statement's resources",
            "trust 1: kms:Decrypt never carries the condition key sts:ExternalID",
        ]

    def test_resource_policy_for_another_resource_is_named(self, reference: Reference) -> None:
        own, other = "arn:aws:sqs:x:1:own", "arn:aws:sqs:x:1:other"
        statement = {"Effect": "Deny", "Action": "sqs:*", "Resource": [own, other]}
        found = sentences(Policy("queue", {"Statement": statement}, own), reference)
        assert found == [f"queue 1: {other} is not the resource of the policy, {own}"]

    @pytest.mark.parametrize(
        ("operator", "exists"),
        [
            ("ForAllValues:StringEqualsIfExists", True),
            ("DateGreaterThanEquals", True),
            ("NotIpAddress", True),
            ("StringEqual", False),
            ("NullIfExists", False),
        ],
    )
    def test_condition_operator_that_does_not_exist_is_named(
        self, operator: str, exists: bool, reference: Reference
    ) -> None:
        found = sentences(
            make_policy("s3:*", Condition={operator: {"aws:SourceIp": "x"}}), reference
        )
        expected = f"role S: {operator} is no condition operator of AWS"
        assert found == ([] if exists else [expected])

    def test_asterisk_in_a_resource_policy_is_its_own_resource(self, reference: Reference) -> None:
        statement = {"Effect": "Allow", "Action": ["kms:Decrypt", "sns:Publish"], "Resource": "*"}
        found = sentences(Policy("key", {"Statement": statement}, KEY_ARN), reference)
        assert found == ["key 1: sns:Publish takes none of the statement's resources"]

    def test_denial_of_everything_is_sound(self, reference: Reference) -> None:
        bucket = ["arn:aws:s3:::x", "arn:aws:s3:::x/*"]
        tests = {"Bool": {"aws:SecureTransport": "false"}}
        assert sentences(make_policy("s3:*", bucket, "Deny", Condition=tests), reference) == []
