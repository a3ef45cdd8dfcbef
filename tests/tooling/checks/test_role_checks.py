"""The rights of each role together: what is missing, and what hangs on a tag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from tests.support.iam_policies import make_policy
from tooling.checks import role_checks
from tooling.checks.iam_policies import Collection, Policy, Role

if TYPE_CHECKING:
    from tooling.checks.authorization_reference import Reference

pytestmark = pytest.mark.joint

KEY_ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234"
SERVICE = "signwatch-cloudformation"
ROLE_ARN = f"arn:aws:iam::111122223333:role/{SERVICE}"
OTHER_ROLE_ARN = "arn:aws:iam::111122223333:role/other"
TAG = "aws:ResourceTag/signwatch:prefix"


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
        for finding in role_checks.check_roles(collection, reference)
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
        assert NO_PUT in check_role(reference, make_policy("kms:CreateKey"))
        both = (make_policy("kms:CreateKey"), make_policy("kms:Put*", KEY_ARN))
        assert NO_PUT not in check_role(reference, *both)

    def test_dependent_action_that_is_denied_everywhere_is_named(
        self, reference: Reference
    ) -> None:
        policies = [make_policy("kms:CreateKey"), make_policy("kms:PutKeyPolicy")]
        denied = make_policy("kms:Put*", effect="Deny")
        assert NO_PUT in check_role(reference, *policies, denied)
        denied = make_policy("kms:Put*", "arn:aws:kms:*:*:key/x", effect="Deny")
        assert NO_PUT not in check_role(reference, *policies, denied)

    def test_role_must_be_passed_to_the_service_of_the_action(self, reference: Reference) -> None:
        finding = f"{SERVICE}: lambda:CreateFunction depends on iam:PassRole, which the role lacks"
        for service, is_found in (("lambda", False), ("lamda", True)):
            passed = {"StringEquals": {"iam:PassedToService": [f"{service}.amazonaws.com"]}}
            pass_role = make_policy("iam:PassRole", ROLE_ARN, Condition=passed)
            found = check_role(reference, make_policy("lambda:CreateFunction"), pass_role)
            assert (finding in found) is is_found

    def test_right_that_the_key_policy_gives_is_enough_but_not_for_tags(
        self, reference: Reference
    ) -> None:
        """A new key is tagged before it has a policy."""
        found = check_role(reference, make_policy("kms:CreateKey"), key_policy=key_policy())
        assert NO_PUT not in found
        assert NO_TAGGING in found

    def test_key_policy_for_another_principal_gives_nothing(self, reference: Reference) -> None:
        of_another = key_policy(Principal={"AWS": OTHER_ROLE_ARN})
        assert NO_PUT in check_role(reference, make_policy("kms:CreateKey"), key_policy=of_another)

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
        create = make_policy("kms:CreateKey")
        own = check_role(reference, create, make_policy("kms:PutKeyPolicy", Condition=condition))
        of_key = key_policy(Condition=condition)
        assert (finding in own) is is_found
        assert (finding in check_role(reference, create, key_policy=of_key)) is is_found

    @pytest.mark.parametrize(
        ("condition", "is_found"),
        [
            ({"StringNotEquals": {TAG: "x"}}, True),
            ({"Null": {TAG: "true"}}, True),
            ({"StringEquals": {TAG: "x"}}, False),
            ({"Null": {TAG: "false"}}, False),
            ({"StringNotEquals": {TAG: "x", "aws:PrincipalTag/x": "x"}}, False),
        ],
    )
    def test_denial_that_holds_for_a_new_resource_is_named(
        self, condition: dict[str, Any], is_found: bool, reference: Reference
    ) -> None:
        """A denial that depends on something else too may not hold."""
        denied = make_policy("sqs:Create*", effect="Deny", Condition=condition)
        found = check_role(reference, make_policy("sqs:CreateQueue"), denied)
        finding = (
            f"{SERVICE}: sqs:CreateQueue is needed for sqs:CreateQueue, but the right hangs on a"
            " tag that a new resource cannot have yet"
        )
        assert (finding in found) is is_found

    def test_creation_itself_must_not_hang_on_a_tag(self, reference: Reference) -> None:
        found = check_role(reference, make_policy("sqs:CreateQueue", Condition=TAGGED))
        assert "sqs:CreateQueue is needed for sqs:CreateQueue, but the right hangs" in found[0]

    def test_tagging_of_a_creation_must_not_hang_on_a_tag(self, reference: Reference) -> None:
        create, tag = make_policy("sqs:CreateQueue"), make_policy("sqs:TagQueue", Condition=TAGGED)
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
        return list(role_checks.check_handlers(collection, kinds, self.HANDLERS, reference))

    def test_each_call_that_the_service_role_lacks_is_named(self, reference: Reference) -> None:
        queue = "AWS::SQS::Queue"
        assert self.check(reference, make_policy(["sqs:CreateQueue", "kms:Decrypt"])) == [
            f"{SERVICE}: lacks sqs:TagQueue, by which CloudFormation can create {queue}",
            f"{SERVICE}: lacks sqs:GetQueueAttributes, by which CloudFormation can read {queue}",
        ]
        (found,) = self.check(reference, make_policy("sqs:*"))
        assert found == f"{SERVICE}: lacks kms:Decrypt. The queue has a key."

    def test_call_of_a_creation_that_hangs_on_a_tag_is_named(self, reference: Reference) -> None:
        """CloudFormation also reads what it has just created."""
        rights = make_policy(["sqs:CreateQueue", "kms:Decrypt"])
        of_tagged = make_policy(["sqs:TagQueue", "sqs:GetQueueAttributes"], Condition=TAGGED)
        tag_queue, read = self.check(reference, rights, of_tagged)
        assert tag_queue.startswith(f"{SERVICE}: sqs:TagQueue is needed for AWS::SQS::Queue, but")
        assert read.startswith(f"{SERVICE}: sqs:GetQueueAttributes is needed for AWS::SQS::Queue")

    def test_resource_type_that_the_table_lacks_is_named(self, reference: Reference) -> None:
        collection = Collection((), (Role(SERVICE, ()),))
        handlers: dict[str, Any] = {"beyond_the_schemas": []}
        found = role_checks.check_handlers(collection, {"AWS::SQS::Queue"}, handlers, reference)
        assert list(found) == [
            f"{SERVICE}: handler_permissions.toml does not say what it needs for AWS::SQS::Queue"
        ]

    def test_only_the_service_role_needs_these_rights(self, reference: Reference) -> None:
        assert self.check(reference, make_policy("sqs:TagQueue"), name="other") == []


class TestTagging:
    REQUESTED: ClassVar = {"StringEquals": {"aws:RequestTag/signwatch:prefix": "signwatch"}}

    @pytest.mark.parametrize(
        "condition", [{}, {"Null": {TAG: "false"}}, {"StringNotEquals": {TAG: "another"}}]
    )
    def test_right_to_set_the_tag_that_rights_hang_on_is_named(
        self, condition: dict[str, Any], reference: Reference
    ) -> None:
        """Also if the rights are those of another role."""
        decrypt = make_policy("kms:Decrypt", Condition=TAGGED)
        requested = {**self.REQUESTED, **condition}
        tag = make_policy("kms:TagResource", "arn:aws:kms:*:*:key/*", Condition=requested)
        roles = (Role("reader", (decrypt,)), Role(SERVICE, (tag,)))
        (found,) = role_checks.check_roles(Collection((), roles), reference)
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
        decrypt = make_policy("kms:Decrypt", Condition=TAGGED)
        tag = make_policy("kms:TagResource", resource, Condition={**self.REQUESTED, **condition})
        assert check_role(reference, decrypt, tag) == []
