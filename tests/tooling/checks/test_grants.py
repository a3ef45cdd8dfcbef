"""grants: a statement that grants nothing, or more than it says, is a finding."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from tests.support.repository import ROOT
from tooling.checks import grants
from tooling.checks.authorization_reference import Reference
from tooling.checks.iam_policies import Collection, Policy, Role
from tooling.environment import ensure

pytestmark = pytest.mark.joint

KEY_ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234"
SERVICE = "signwatch-cloudformation"
ROLE_ARN = f"arn:aws:iam::111122223333:role/{SERVICE}"
OTHER_ROLE_ARN = "arn:aws:iam::111122223333:role/other"
LOG_GROUP_ARN = "arn:aws:logs:eu-central-1:111122223333:log-group:/aws/lambda/x:*"
TAG = "aws:ResourceTag/signwatch:prefix"


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.load(ensure("scan", ROOT))


def policy(action: Any, resource: Any = "*", effect: str = "Allow", **more: Any) -> Policy:
    statement = {"Sid": "S", "Effect": effect, "Action": action, "Resource": resource, **more}
    return Policy("role", {"Statement": [statement]})


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

    def test_wildcard_that_takes_no_resource_of_its_statement_is_named(
        self, reference: Reference
    ) -> None:
        found = sentences(policy("s3:GetBucket*", "arn:aws:s3:::x/y"), reference)
        assert "role S: s3:GetBucket* takes none of the statement's resources" in found

    def test_wildcard_for_actions_without_resource_types_is_named(
        self, reference: Reference
    ) -> None:
        assert sentences(policy("sns:List*ByTopic", "arn:aws:sns:*:*:x"), reference) == []
        (found,) = sentences(policy("sns:ListTopic*", "arn:aws:sns:*:*:x"), reference)
        assert "sns:ListTopics has no resource-level permissions" in found

    def test_denial_of_an_action_without_resource_types_is_named(
        self, reference: Reference
    ) -> None:
        (found,) = sentences(policy("iam:ListPolicies", ROLE_ARN, "Deny"), reference)
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
        found = sentences(policy("s3:*", Condition={operator: {"aws:SourceIp": "x"}}), reference)
        expected = f"role S: {operator} is no condition operator of AWS"
        assert found == ([] if exists else [expected])

    def test_asterisk_in_a_resource_policy_is_its_own_resource(self, reference: Reference) -> None:
        statement = {"Effect": "Allow", "Action": ["kms:Decrypt", "sns:Publish"], "Resource": "*"}
        found = sentences(Policy("key", {"Statement": statement}, KEY_ARN), reference)
        assert found == ["key 1: sns:Publish takes none of the statement's resources"]

    def test_denial_of_everything_is_sound(self, reference: Reference) -> None:
        bucket = ["arn:aws:s3:::x", "arn:aws:s3:::x/*"]
        tests = {"Bool": {"aws:SecureTransport": "false"}}
        assert sentences(policy("s3:*", bucket, "Deny", Condition=tests), reference) == []


def check_role(
    reference: Reference,
    *policies: Policy,
    name: str = SERVICE,
    key_policy: dict[str, Any] | None = None,
) -> list[str]:
    """The findings about a role with these identity policies, and the policy of a key."""
    of_key = [Policy("key", {"Statement": key_policy}, KEY_ARN)] if key_policy else []
    collection = Collection((*policies, *of_key), (Role(name, policies),))
    return [
        finding
        for finding in grants.check_collection(collection, reference)
        if finding.startswith(name)
    ]


def key_policy(**changes: Any) -> dict[str, Any]:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": ROLE_ARN},
        "Action": "kms:*",
        "Resource": "*",
    }
    return {**statement, **changes}


TAGGED = {"StringEquals": {TAG: "signwatch"}}
NO_PUT = f"{SERVICE}: kms:CreateKey depends on kms:PutKeyPolicy, which the role lacks"
NO_TAGGING = f"{SERVICE}: kms:CreateKey depends on kms:TagResource, which the role lacks"


class TestDependentActions:
    def test_dependent_action_that_the_role_lacks_is_named(self, reference: Reference) -> None:
        assert NO_PUT in check_role(reference, policy("kms:CreateKey"))
        both = (policy("kms:CreateKey"), policy("kms:Put*", KEY_ARN))
        assert NO_PUT not in check_role(reference, *both)

    def test_dependent_action_that_is_denied_everywhere_is_named(
        self, reference: Reference
    ) -> None:
        policies = [policy("kms:CreateKey"), policy("kms:PutKeyPolicy")]
        denied = policy("kms:Put*", effect="Deny")
        assert NO_PUT in check_role(reference, *policies, denied)
        denied = policy("kms:Put*", "arn:aws:kms:*:*:key/x", effect="Deny")
        assert NO_PUT not in check_role(reference, *policies, denied)

    def test_role_must_be_passed_to_the_service_of_the_action(self, reference: Reference) -> None:
        finding = f"{SERVICE}: lambda:CreateFunction depends on iam:PassRole, which the role lacks"
        for service, is_found in (("lambda", False), ("lamda", True)):
            passed = {"StringEquals": {"iam:PassedToService": [f"{service}.amazonaws.com"]}}
            pass_role = policy("iam:PassRole", ROLE_ARN, Condition=passed)
            found = check_role(reference, policy("lambda:CreateFunction"), pass_role)
            assert (finding in found) is is_found

    def test_right_that_the_key_policy_gives_is_enough_but_not_for_tags(
        self, reference: Reference
    ) -> None:
        """A new key is tagged before it has a policy."""
        found = check_role(reference, policy("kms:CreateKey"), key_policy=key_policy())
        assert NO_PUT not in found
        assert NO_TAGGING in found

    def test_key_policy_for_another_principal_gives_nothing(self, reference: Reference) -> None:
        of_another = key_policy(Principal={"AWS": OTHER_ROLE_ARN})
        assert NO_PUT in check_role(reference, policy("kms:CreateKey"), key_policy=of_another)

    @pytest.mark.parametrize(
        ("condition", "is_found"),
        [
            ({"StringEquals": {TAG: "x"}}, True),
            ({"StringEquals": {"secretsmanager:ResourceTag/x": "x"}}, True),
            ({"Null": {TAG: "false"}}, True),
            ({"Null": {TAG: "true"}}, False),
            ({"StringEqualsIfExists": {TAG: "x"}}, False),
            ({"StringNotEquals": {TAG: "x"}}, False),
            ({"StringEquals": {"aws:RequestTag/x": "x"}}, False),
        ],
    )
    def test_right_of_a_creation_that_hangs_on_a_tag_is_named(
        self, condition: dict[str, Any], is_found: bool, reference: Reference
    ) -> None:
        finding = (
            f"{SERVICE}: kms:PutKeyPolicy is needed for kms:CreateKey, but the right hangs on a tag"
            " that a new resource cannot have yet"
        )
        create = policy("kms:CreateKey")
        own = check_role(reference, create, policy("kms:PutKeyPolicy", Condition=condition))
        of_key = key_policy(Condition=condition)
        assert (finding in own) is is_found
        assert (finding in check_role(reference, create, key_policy=of_key)) is is_found

    def test_creation_itself_must_not_hang_on_a_tag(self, reference: Reference) -> None:
        found = check_role(reference, policy("sqs:CreateQueue", Condition=TAGGED))
        assert "sqs:CreateQueue is needed for sqs:CreateQueue, but the right hangs" in found[0]

    def test_tagging_of_a_creation_must_not_hang_on_a_tag(self, reference: Reference) -> None:
        create, tag = policy("sqs:CreateQueue"), policy("sqs:TagQueue", Condition=TAGGED)
        (found,) = check_role(reference, create, tag)
        assert "sqs:TagQueue is needed for sqs:CreateQueue, but the right hangs" in found


class TestHandlers:
    HANDLERS: ClassVar = {
        "AWS::SQS::Queue": {
            "create": ["sqs:CreateQueue", "sqs:TagQueue"],
            "read": ["sqs:GetQueueAttributes"],
            "update": [],
            "delete": [],
        },
        "beyond_the_schemas": [{"action": "kms:Decrypt", "reason": "The queue has a key."}],
    }

    def check(self, reference: Reference, *policies: Policy, name: str = SERVICE) -> list[str]:
        collection = Collection(policies, (Role(name, policies),))
        kinds = {"AWS::SQS::Queue"}
        return list(grants.check_handlers(collection, kinds, self.HANDLERS, reference))

    def test_each_call_that_the_service_role_lacks_is_named(self, reference: Reference) -> None:
        queue = "AWS::SQS::Queue"
        assert self.check(reference, policy(["sqs:CreateQueue", "kms:Decrypt"])) == [
            f"{SERVICE}: lacks sqs:TagQueue, by which CloudFormation can create {queue}",
            f"{SERVICE}: lacks sqs:GetQueueAttributes, by which CloudFormation can read {queue}",
        ]
        (found,) = self.check(reference, policy("sqs:*"))
        assert found == f"{SERVICE}: lacks kms:Decrypt. The queue has a key."

    def test_call_of_a_creation_that_hangs_on_a_tag_is_named(self, reference: Reference) -> None:
        """CloudFormation also reads what it has just created."""
        rights = policy(["sqs:CreateQueue", "kms:Decrypt"])
        of_tagged = policy(["sqs:TagQueue", "sqs:GetQueueAttributes"], Condition=TAGGED)
        tag_queue, read = self.check(reference, rights, of_tagged)
        assert tag_queue.startswith(f"{SERVICE}: sqs:TagQueue is needed for AWS::SQS::Queue, but")
        assert read.startswith(f"{SERVICE}: sqs:GetQueueAttributes is needed for AWS::SQS::Queue")

    def test_only_the_service_role_needs_these_rights(self, reference: Reference) -> None:
        assert self.check(reference, policy("sqs:TagQueue"), name="other") == []


class TestTagging:
    REQUESTED: ClassVar = {"StringEquals": {"aws:RequestTag/signwatch:prefix": "signwatch"}}

    @pytest.mark.parametrize(
        "condition", [{}, {"Null": {TAG: "false"}}, {"StringNotEquals": {TAG: "another"}}]
    )
    def test_right_to_set_the_tag_that_rights_hang_on_is_named(
        self, condition: dict[str, Any], reference: Reference
    ) -> None:
        """Also if the rights are those of another role."""
        decrypt = policy("kms:Decrypt", Condition=TAGGED)
        requested = {**self.REQUESTED, **condition}
        tag = policy("kms:TagResource", "arn:aws:kms:*:*:key/*", Condition=requested)
        roles = (Role("reader", (decrypt,)), Role(SERVICE, (tag,)))
        (found,) = grants.check_collection(Collection((), roles), reference)
        assert found == (
            f"{SERVICE} S: kms:TagResource may set {TAG} on any resource, and rights hang on this"
            " tag"
        )

    @pytest.mark.parametrize(
        ("resource", "condition"),
        [
            ("*", {"Null": {TAG: "true"}}),
            ("*", {"StringLike": {TAG: "signwatch"}}),
            ("arn:aws:kms:*:*:key/1234", {}),
        ],
    )
    def test_right_is_sound_for_untagged_or_for_named_resources(
        self, resource: str, condition: dict[str, Any], reference: Reference
    ) -> None:
        decrypt = policy("kms:Decrypt", Condition=TAGGED)
        tag = policy("kms:TagResource", resource, Condition={**self.REQUESTED, **condition})
        assert check_role(reference, decrypt, tag) == []


class TestReviews:
    REASON = "The reference's data is older than this action."

    def test_reviewed_finding_is_accepted(self) -> None:
        reviewed = [{"reason": self.REASON, "findings": ["a: x"]}]
        assert list(grants.apply_reviews(["a: x", "b: x"], reviewed)) == ["b: x"]

    def test_review_without_a_reason_is_a_finding(self) -> None:
        (found,) = grants.apply_reviews(["a: x"], [{"reason": "short", "findings": ["a: x"]}])
        assert found.endswith("no reason of at least 20 characters: a: x")

    def test_review_that_no_finding_uses_is_a_finding(self) -> None:
        reviewed = [{"reason": self.REASON, "findings": ["a: x"]}]
        (found,) = grants.apply_reviews([], reviewed)
        assert found == f"{grants.REVIEWED_GRANTS}: found no longer, delete it: a: x"
