"""Every template: its sections, parameters, names, deletion policies and access policies."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.templates import NAMES, installation, load, resources_of, statements, text
from tooling.resolved_templates import ACCOUNT, walk

pytestmark = pytest.mark.joint

SECTION_ORDER = [
    "Description",
    "Metadata",
    "Parameters",
    "Rules",
    "Mappings",
    "Conditions",
    "Resources",
    "Outputs",
]
CHILD_NAMES = [name for name in NAMES if name not in ("parent", "forwarder")]
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
PHYSICAL_NAMES = {  # by resource type; other types get a name from AWS
    "AWS::CloudTrail::Trail": {"signwatch-trail"},
    "AWS::DynamoDB::Table": {"signwatch-ledger"},
    "AWS::Events::Rule": {
        "signwatch-console-sign-in",
        "signwatch-forwarder",
        "signwatch-identity-center-sign-in",
        "signwatch-sign-in-anomaly",
    },
    "AWS::IAM::Role": {"signwatch-forwarder", "signwatch-function", "signwatch-trail"},
    "AWS::KMS::Alias": {"alias/signwatch-main"},
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
        "signwatch-later",
        "signwatch-undelivered-events",
    },
}
TYPES_WITHOUT_NAME = {  # their name property is another resource's, or made from the prefix
    "AWS::CloudWatch::Alarm",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Permission",
    "AWS::Logs::SubscriptionFilter",
}
RETAINED = {"MainKey", "TrailBucket"}
SKIPPED_CHECKS = {  # by resource
    "AlertTopic": {"CKV_AWS_26"},
    "Function": {"CKV_AWS_117", "CKV_AWS_173"},
    "FailedEventsQueue": {"CKV_AWS_27"},
    "LaterQueue": {"CKV_AWS_27"},
    "UndeliveredEventsQueue": {"CKV_AWS_27"},
    "LogGroup": {"CKV_AWS_158"},
    "RawEventLogGroup": {"CKV_AWS_158"},
    "TrailLogGroup": {"CKV_AWS_158"},
}


def all_resources() -> list[tuple[str, dict[str, Any]]]:
    return [
        (name, body) for stack in installation().values() for name, body in stack.resources.items()
    ]


def has_fixed_name(body: dict[str, Any]) -> bool:
    return bool({*NAME_PROPERTIES, "BucketName"} & set(body["Properties"]))


def physical_names(kind: str, **changes: str) -> set[str]:
    bodies = resources_of(kind, **changes)
    return {body[key] for body in bodies for key in NAME_PROPERTIES if key in body}


def statements_in(body: Any) -> list[dict[str, Any]]:
    """The statements of every access policy below ``body``."""
    nodes = [node for node in walk(body) if isinstance(node, dict) and "Statement" in node]
    return [statement for node in nodes for statement in statements(node)]


@pytest.mark.parametrize("name", NAMES)
class TestShape:
    def test_sections_are_in_the_order_of_aws(self, name: str) -> None:
        sections = [section for section in load(name) if section != "AWSTemplateFormatVersion"]
        assert sections == [section for section in SECTION_ORDER if section in load(name)]

    def test_description_is_a_sentence(self, name: str) -> None:
        assert re.fullmatch(r"Signwatch\b.+\.", load(name)["Description"])

    def test_it_fits_in_a_request(self, name: str) -> None:
        assert len(text(name).encode()) < 51_200

    def test_each_parameter_is_described_by_a_sentence(self, name: str) -> None:
        for parameter, body in load(name)["Parameters"].items():
            assert re.fullmatch(r"[A-Z][^\n]{10,}\.", body["Description"]), parameter

    def test_description_starts_with_optional_if_the_default_is_empty(self, name: str) -> None:
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

    def test_condition_is_named_has(self, name: str) -> None:
        assert [key for key in load(name).get("Conditions", {}) if not key.startswith("Has")] == []

    def test_there_are_no_exports_or_imports(self, name: str) -> None:
        keys = {key for node in walk(load(name)) if isinstance(node, dict) for key in node}
        assert keys & {"Export", "Fn::ImportValue"} == set()


@pytest.mark.parametrize("name", CHILD_NAMES)
def test_child_has_no_constraints_and_no_defaults(name: str) -> None:
    for parameter, body in load(name)["Parameters"].items():
        assert set(body) == {"Type", "Description"}, parameter


class TestNames:
    @pytest.mark.parametrize("kind", PHYSICAL_NAMES)
    def test_type_has_exactly_these_names(self, kind: str) -> None:
        assert physical_names(kind) == PHYSICAL_NAMES[kind]

    def test_no_other_type_has_a_fixed_name(self) -> None:
        kinds = {body["Type"] for _, body in all_resources() if has_fixed_name(body)}
        assert kinds <= set(PHYSICAL_NAMES) | TYPES_WITHOUT_NAME

    def test_two_installations_in_one_account_share_no_name(self) -> None:
        for kind in [*PHYSICAL_NAMES, "AWS::CloudWatch::Alarm"]:
            assert physical_names(kind)
            assert physical_names(kind).isdisjoint(physical_names(kind, NamePrefix="acme"))


class TestRemoval:
    def test_evidence_and_its_key_are_retained_except_on_a_failed_create(self) -> None:
        resources = [(name, body) for name, body in all_resources() if name in RETAINED]
        assert len(resources) == 2
        for name, body in resources:
            assert body["DeletionPolicy"] == "RetainExceptOnCreate", name
            assert body["UpdateReplacePolicy"] == "Retain", name

    def test_nothing_else_is_retained(self) -> None:
        for name, body in all_resources():
            if name not in RETAINED:
                assert body.get("DeletionPolicy", "Delete") == "Delete", name
                assert body.get("UpdateReplacePolicy", "Delete") == "Delete", name

    def test_retained_resource_has_no_fixed_name_to_block_the_next_deploy(
        self,
    ) -> None:
        for name, body in all_resources():
            if name in RETAINED:
                assert not has_fixed_name(body), name

    def test_secret_has_no_fixed_name(
        self,
    ) -> None:
        """The name of a deleted secret stays in use for weeks."""
        (secret,) = resources_of("AWS::SecretsManager::Secret")
        assert "Name" not in secret


class TestPolicies:
    def test_every_star_as_resource_has_a_comment_with_the_reason(self) -> None:
        lines = [line.strip() for name in NAMES for line in text(name).splitlines()]
        stars = [line for line in lines if re.search(r"""Resource: *\[? *["']?\*""", line)]
        assert stars
        assert [
            line for line in stars if not re.fullmatch(r"""Resource: "\*" # .{20,}""", line)
        ] == []

    def test_only_key_policies_have_a_star_as_resource(self) -> None:
        for name, body in all_resources():
            if body["Type"] != "AWS::KMS::Key":
                for statement in statements_in(body):
                    assert "*" not in statement.get("Resource", []), name

    def test_no_statement_allows_everybody_or_every_action(self) -> None:
        for name, body in all_resources():
            for statement in statements_in(body):
                if statement["Effect"] == "Allow":
                    assert statement.get("Principal") != "*", name
                    for action in statement["Action"]:
                        assert not re.fullmatch(r"\*|(?!kms)\w+:\*", action), name

    def test_statements_deny_only_calls_without_tls(self) -> None:
        all_statements = [
            statement for _, body in all_resources() for statement in statements_in(body)
        ]
        denials = [statement for statement in all_statements if statement["Effect"] == "Deny"]
        assert len(denials) == 5  # the trail's bucket, the topic, the three queues
        for statement in denials:
            assert statement["Principal"] == "*"
            assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}

    def test_every_role_has_a_boundary_and_a_name_from_the_bootstrap(
        self,
    ) -> None:
        roles = resources_of("AWS::IAM::Role")
        names = {role["RoleName"] for role in roles}
        # as in roles.tf
        assert names == {"signwatch-forwarder", "signwatch-function", "signwatch-trail"}
        boundary = f"arn:aws:iam::{ACCOUNT}:policy/signwatch-boundary"
        for role in roles:
            assert role["PermissionsBoundary"] == boundary
            assert "ManagedPolicyArns" not in role

    def test_every_skipped_check_is_listed_and_has_a_reason(
        self,
    ) -> None:
        skips: dict[str, set[str]] = {}
        for name, body in all_resources():
            for skip in body.get("Metadata", {}).get("checkov", {}).get("skip", []):
                skips.setdefault(name, set()).add(skip["id"])
                assert len(skip["comment"]) >= 40
        assert skips == SKIPPED_CHECKS


class TestLogGroups:
    def test_each_keeps_its_lines_for_the_chosen_time_and_needs_no_key(self) -> None:
        groups = resources_of("AWS::Logs::LogGroup", LogRetentionDays="731")
        assert len(groups) == 3
        for group in groups:
            assert set(group) == {"LogGroupName", "RetentionInDays"}
            assert group["RetentionInDays"] == "731"
