"""What holds for every template: its order, its parameters, its names, what stays when a stack goes, its policies."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.templates import (
    ACCOUNT,
    NAMES,
    REGION,
    Made,
    installation,
    load,
    statements,
    text,
    walk,
)

pytestmark = pytest.mark.joint

ORDER = [
    "Description",
    "Metadata",
    "Parameters",
    "Rules",
    "Mappings",
    "Conditions",
    "Resources",
    "Outputs",
]
CHILDREN = [name for name in NAMES if name != "parent"]
NAME_PROPERTIES = [
    "AlarmName",
    "AliasName",
    "FunctionName",
    "LayerName",
    "LogGroupName",
    "Name",
    "PolicyName",
    "QueueName",
    "RoleName",
    "TableName",
    "TopicName",
    "TrailName",
]
PHYSICAL_NAMES = {  # kind: the names that were agreed on, or none where AWS invents them
    "AWS::CloudTrail::Trail": {"signwatch-trail"},
    "AWS::DynamoDB::Table": {"signwatch-ledger"},
    "AWS::Events::Rule": {
        "signwatch-console-sign-in",
        "signwatch-identity-center-sign-in",
        "signwatch-sign-in-anomaly",
    },
    "AWS::IAM::Role": {"signwatch-function", "signwatch-trail"},
    "AWS::KMS::Alias": {"alias/signwatch-main", "alias/signwatch-topic"},
    "AWS::Lambda::Function": {"signwatch-function"},
    "AWS::Lambda::LayerVersion": {"signwatch-twilio"},
    "AWS::Logs::LogGroup": {
        "/aws/cloudtrail/signwatch",
        "/aws/events/signwatch",
        "/aws/lambda/signwatch-function",
    },
    "AWS::Logs::ResourcePolicy": {"signwatch-raw-events"},
    "AWS::SNS::Topic": {"signwatch-alerts"},
    "AWS::SQS::Queue": {
        "signwatch-failed-events",
        "signwatch-second-looks",
        "signwatch-undelivered-events",
    },
}
NAMED_BY_OTHERS = {
    "AWS::CloudWatch::Alarm",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Permission",
}
KEPT = {"MainKey", "TrailBucket"}
SKIPS = {  # every check that is left out, and where
    "Function": {"CKV_AWS_117", "CKV_AWS_173"},
    "FailedEventsQueue": {"CKV_AWS_27"},
    "SecondLookQueue": {"CKV_AWS_27"},
    "UndeliveredEventsQueue": {"CKV_AWS_27"},
}


def everything() -> list[tuple[str, dict[str, Any]]]:
    return [
        (name, body) for stack in installation().values() for name, body in stack.resources.items()
    ]


def physical_names(stacks: dict[str, Made], kind: str) -> set[str]:
    bodies = [body for stack in stacks.values() for body in stack.of_type(kind).values()]
    return {body[key] for body in bodies for key in NAME_PROPERTIES if key in body}


def documents(body: Any) -> list[dict[str, Any]]:
    return [node for node in walk(body) if isinstance(node, dict) and "Statement" in node]


@pytest.mark.parametrize("name", NAMES)
class TestShape:
    def test_its_sections_stand_in_the_agreed_order(self, name: str) -> None:
        sections = [section for section in load(name) if section != "AWSTemplateFormatVersion"]
        assert sections == [section for section in ORDER if section in load(name)]

    def test_it_says_what_it_is(self, name: str) -> None:
        assert re.fullmatch(r"Signwatch\b.+\.", load(name)["Description"])

    def test_it_fits_into_a_request(self, name: str) -> None:
        assert len(text(name).encode()) < 51_200

    def test_each_parameter_is_described_by_a_sentence(self, name: str) -> None:
        for parameter, body in load(name)["Parameters"].items():
            assert re.fullmatch(r"[A-Z][^\n]{10,}\.", body["Description"]), parameter

    def test_a_description_begins_with_optional_if_and_only_if_the_default_is_empty(
        self, name: str
    ) -> None:
        for parameter, body in load(name)["Parameters"].items():
            is_empty = body.get("Default") == ""
            assert (body["Description"].split()[0] == "Optional") == is_empty, parameter

    def test_each_parameter_is_used(self, name: str) -> None:
        body = {key: value for key, value in load(name).items() if key != "Parameters"}
        refs = {node["Ref"] for node in walk(body) if isinstance(node, dict) and "Ref" in node}
        subs = " ".join(node for node in walk(body) if isinstance(node, str))
        unused = [
            key for key in load(name)["Parameters"] if key not in refs and f"${{{key}}}" not in subs
        ]
        assert unused == []

    def test_a_condition_is_a_question(self, name: str) -> None:
        assert [key for key in load(name).get("Conditions", {}) if not key.startswith("Has")] == []

    def test_nothing_is_shared_between_stacks_behind_the_parents_back(self, name: str) -> None:
        keys = {key for node in walk(load(name)) if isinstance(node, dict) for key in node}
        assert keys & {"Export", "Fn::ImportValue"} == set()


@pytest.mark.parametrize("name", CHILDREN)
def test_a_child_leaves_checks_and_defaults_to_the_parent(name: str) -> None:
    for parameter, body in load(name)["Parameters"].items():
        assert set(body) == {"Type", "Description"}, parameter


class TestNames:
    @pytest.mark.parametrize("kind", PHYSICAL_NAMES)
    def test_a_name_is_the_one_that_was_agreed_on(self, kind: str) -> None:
        assert physical_names(installation(), kind) == PHYSICAL_NAMES[kind]

    def test_nothing_else_has_a_fixed_name(self) -> None:
        known = set(PHYSICAL_NAMES) | NAMED_BY_OTHERS
        fixed = [
            name
            for name, body in everything()
            if {*NAME_PROPERTIES, "BucketName"} & set(body["Properties"])
        ]
        kinds = {body["Type"] for name, body in everything() if name in fixed}
        assert kinds <= known

    def test_two_installations_in_one_account_share_no_name(self) -> None:
        other = installation(NamePrefix="acme")
        for kind in [*PHYSICAL_NAMES, "AWS::CloudWatch::Alarm"]:
            assert physical_names(installation(), kind)
            assert physical_names(installation(), kind) & physical_names(other, kind) == set()


class TestRemoval:
    def test_the_evidence_and_its_key_stay_but_not_after_a_create_that_failed(self) -> None:
        kept = {
            name: body for name, body in everything() if "Retain" in str(body.get("DeletionPolicy"))
        }
        assert set(kept) == KEPT
        assert {body["DeletionPolicy"] for body in kept.values()} == {"RetainExceptOnCreate"}
        assert {body["UpdateReplacePolicy"] for body in kept.values()} == {"Retain"}

    def test_nothing_else_stays(self) -> None:
        for name, body in everything():
            if name not in KEPT:
                assert body.get("DeletionPolicy", "Delete") == "Delete", name
                assert body.get("UpdateReplacePolicy", "Delete") == "Delete", name

    def test_what_stays_has_no_fixed_name_that_would_stand_in_the_way_of_the_next_deploy(
        self,
    ) -> None:
        for name, body in everything():
            if name in KEPT:
                assert not {*NAME_PROPERTIES, "BucketName"} & set(body["Properties"]), name

    def test_the_secret_has_no_fixed_name_since_a_deleted_one_keeps_its_name_for_weeks(
        self,
    ) -> None:
        (secret,) = installation()["foundation"].of_type("AWS::SecretsManager::Secret").values()
        assert "Name" not in secret


class TestPolicies:
    def test_every_resource_that_is_a_bare_star_has_its_reason_beside_it(self) -> None:
        lines = [line.strip() for name in NAMES for line in text(name).splitlines()]
        stars = [line for line in lines if re.search(r"""Resource: *\[? *["']?\*""", line)]
        assert stars
        assert [
            line for line in stars if not re.fullmatch(r"""Resource: "\*" # .{20,}""", line)
        ] == []

    def test_only_a_key_policy_speaks_of_every_resource(self) -> None:
        for name, body in everything():
            if body["Type"] != "AWS::KMS::Key":
                found = [one for document in documents(body) for one in statements(document)]
                assert [one for one in found if "*" in one.get("Resource", [])] == [], name

    def test_no_right_is_given_to_everybody_or_for_every_action(self) -> None:
        for name, body in everything():
            for one in (one for document in documents(body) for one in statements(document)):
                if one["Effect"] == "Allow":
                    assert one.get("Principal") != "*", name
                    assert one["Action"] != ["*"], name
                    assert not [
                        action for action in one["Action"] if re.fullmatch(r"(?!kms)\w+:\*", action)
                    ], name

    def test_every_refusal_is_one_of_calls_without_tls(self) -> None:
        refusals = [
            one
            for _, body in everything()
            for document in documents(body)
            for one in statements(document)
            if one["Effect"] == "Deny"
        ]
        assert len(refusals) == 5  # the trail's bucket, the topic, the three queues
        for one in refusals:
            assert one["Principal"] == "*"
            assert one["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}

    def test_every_role_is_bounded_and_has_a_name_that_the_bootstrap_lets_cloudformation_make(
        self,
    ) -> None:
        roles = [
            body
            for stack in installation().values()
            for body in stack.of_type("AWS::IAM::Role").values()
        ]
        assert {role["RoleName"] for role in roles} == {
            "signwatch-function",
            "signwatch-trail",
        }  # as roles.tf names them
        for role in roles:
            assert (
                role["PermissionsBoundary"] == f"arn:aws:iam::{ACCOUNT}:policy/signwatch-boundary"
            )
            assert "ManagedPolicyArns" not in role

    def test_every_skipped_check_is_known_and_has_a_reason_that_would_convince_a_stranger(
        self,
    ) -> None:
        found: dict[str, set[str]] = {}
        for name, body in everything():
            for skip in body.get("Metadata", {}).get("checkov", {}).get("skip", []):
                found.setdefault(name, set()).add(skip["id"])
                assert len(skip["comment"]) >= 40
        assert found == SKIPS


class TestLogGroups:
    def test_each_is_encrypted_with_the_main_key_and_kept_for_the_chosen_time(self) -> None:
        stacks = installation(LogRetentionDays="731")
        groups = [
            body
            for stack in stacks.values()
            for body in stack.of_type("AWS::Logs::LogGroup").values()
        ]
        assert len(groups) == 3
        assert {(body["RetentionInDays"], body["KmsKeyId"]) for body in groups} == {
            ("731", "<MainKey.Arn>")
        }

    def test_each_has_a_name_that_the_bootstrap_lets_cloudformation_make(self) -> None:
        names = set(physical_names(installation(), "AWS::Logs::LogGroup"))
        assert names == {
            "/aws/lambda/signwatch-function",
            "/aws/cloudtrail/signwatch",
            "/aws/events/signwatch",
        }

    def test_the_main_key_admits_exactly_them(self) -> None:
        policy = installation()["foundation"].properties("MainKey")["KeyPolicy"]
        (one,) = [one for one in statements(policy) if one["Sid"] == "LogGroupsEncrypt"]
        names = physical_names(installation(), "AWS::Logs::LogGroup")
        arns = {f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}" for name in names}
        assert one["Principal"] == {"Service": f"logs.{REGION}.amazonaws.com"}
        assert set(one["Condition"]["ArnEquals"]["kms:EncryptionContext:aws:logs:arn"]) == arns
