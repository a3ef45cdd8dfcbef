"""The rules: which events they match, their targets, and what happens to undelivered events."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from signwatch.detection import sign_in_paths, signin
from tests.support.templates import find_statement, installation, load, statements
from tooling.resolved_templates import ACCOUNT, REGION, Stack

pytestmark = pytest.mark.joint

EVENTBRIDGE_STACK = installation()["eventbridge"]
RULES = EVENTBRIDGE_STACK.of_type("AWS::Events::Rule")
REGION_AND_ACCOUNT = f"{REGION}:{ACCOUNT}"
FUNCTION_ARN = f"arn:aws:lambda:{REGION_AND_ACCOUNT}:function:signwatch-function"
LOG_GROUP_ARN = f"arn:aws:logs:{REGION_AND_ACCOUNT}:log-group:/aws/events/signwatch"
QUEUE_ARN = f"arn:aws:sqs:{REGION_AND_ACCOUNT}:signwatch-undelivered-events"
PATTERN_MAX_CHARS = 2048  # characters (Amazon EventBridge quotas)
EXPECTED_SIGN_INS = {  # by rule; right passwords before a sign-in included
    "ConsoleSignInRule": [
        ("signin", "ConsoleLogin"),
        ("signin", "CheckMfa"),
        ("signin", "SwitchRole"),
        ("signin", "GetSigninToken"),
        ("signin", "PasswordRecoveryRequested"),
        ("signin", "AuthorizeOAuth2Access"),
        ("signin", "CreateOAuth2Token"),
        ("signin", "CreateOAuth2TokenWithTokenExchange"),
        ("sts", "AssumeRoleWithSAML"),
        ("sts", "AssumeRoleWithWebIdentity"),
        ("sts", "AssumeRoot"),
        ("sts", "GetFederationToken"),
        ("sts", "GetDelegatedAccessToken"),
    ],
    "IdentityCenterSignInRule": [
        ("signin", "UserAuthentication"),
        ("signin", "CredentialVerification"),
        ("signin", "ExternalIdPDirectoryLogin"),
        ("sso", "CreateToken"),
        ("sso", "GetRoleCredentials"),
        ("sso-oauth", "CreateToken"),
    ],
}
FORWARDING_RULE = "ForwardingRule"
BUS_ARN = f"arn:aws:events:{REGION_AND_ACCOUNT}:event-bus"
FORWARDER_ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/signwatch-forwarder"
STATEMENT_IDS = {  # by bus: of the forwarders, and of the organisation
    "default": ("signwatch-forwarders", "signwatch-organization"),
    "hub": ("hub-forwarders", "hub-organization"),
}
ANOMALY_RULE = "SignInAnomalyRule"  # for an event that AWS Sign-In sends without CloudTrail


def rule_arns(stack: Stack, *, with_forwarding: bool) -> set[str]:
    """The ARNs of the rules that invoke the function, and that of the forwarding rule."""
    rules = stack.of_type("AWS::Events::Rule")
    if not with_forwarding:
        rules.pop(FORWARDING_RULE, None)
    return {
        f"arn:aws:events:{REGION_AND_ACCOUNT}:rule/"
        + f"{rule['EventBusName']}/{rule['Name']}".removeprefix("default/")
        for rule in rules.values()
    }


def matches(pattern: dict[str, Any], service: str, name: str) -> bool:
    """Whether a pattern of plain lists matches an event ``name`` of ``service``."""
    event = {"eventSource": f"{service}.amazonaws.com", "eventName": name}
    return f"aws.{service}" in pattern["source"] and all(
        event[key] in names for key, names in pattern["detail"].items()
    )


class TestRules:
    def test_there_are_three(self) -> None:
        assert set(RULES) == {*EXPECTED_SIGN_INS, ANOMALY_RULE}

    @pytest.mark.parametrize("rule", RULES)
    def test_rule_matches_read_only_events_too(self, rule: str) -> None:
        assert RULES[rule]["State"] == "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"

    @pytest.mark.parametrize("rule", EXPECTED_SIGN_INS)
    def test_rule_matches_only_by_source_and_name(self, rule: str) -> None:
        pattern = RULES[rule]["EventPattern"]
        assert set(pattern) == {"source", "detail"}
        assert set(pattern["detail"]) == {"eventSource", "eventName"}
        assert len(json.dumps(pattern)) < PATTERN_MAX_CHARS

    @pytest.mark.parametrize("rule", EXPECTED_SIGN_INS)
    def test_its_sources_are_those_of_its_events(self, rule: str) -> None:
        pattern = RULES[rule]["EventPattern"]
        services = [source.removeprefix("aws.") for source in pattern["source"]]
        assert pattern["detail"]["eventSource"] == [
            f"{service}.amazonaws.com" for service in services
        ]

    @pytest.mark.parametrize("rule", EXPECTED_SIGN_INS)
    def test_rule_matches_its_sign_ins_and_no_other_event(self, rule: str) -> None:
        pattern = RULES[rule]["EventPattern"]
        assert [pair for pair in EXPECTED_SIGN_INS[rule] if not matches(pattern, *pair)] == []
        other_events = [
            ("signin", "RenewRole"),
            ("sso", "ListAccounts"),
            ("sts", "AssumeRole"),
            ("iam", "CreateUser"),
        ]
        assert [pair for pair in other_events if matches(pattern, *pair)] == []

    @pytest.mark.parametrize("rule", EXPECTED_SIGN_INS)
    def test_function_ignores_no_event_that_a_rule_matches(self, rule: str) -> None:
        """AWS has recorded the same event under another service before."""
        detail = RULES[rule]["EventPattern"]["detail"]
        for source in detail["eventSource"]:
            for name in detail["eventName"]:
                reading = signin.read({"detail": {"eventSource": source, "eventName": name}})
                assert not isinstance(reading, signin.NotASignIn), (source, name)

    def test_anomaly_alert_is_matched_by_source_and_type_in_any_case(self) -> None:
        kind = {"equals-ignore-case": "Sign-in Anomaly Alert"}
        assert RULES[ANOMALY_RULE]["EventPattern"] == {
            "source": ["aws.signin"],
            "detail-type": [kind],
        }
        assert kind["equals-ignore-case"].lower() == sign_in_paths.ANOMALY_TYPE

    def test_rules_match_every_path_that_the_function_reads(self) -> None:
        pairs = [pair for pairs in EXPECTED_SIGN_INS.values() for pair in pairs]
        assert {(service, name.lower()) for service, name in pairs} == {
            *sign_in_paths.PATHS,
            sign_in_paths.CHECK_MFA,
        }

    def test_no_sign_in_is_matched_twice(self) -> None:
        patterns = [RULES[rule]["EventPattern"] for rule in EXPECTED_SIGN_INS]
        for pairs in EXPECTED_SIGN_INS.values():
            for pair in pairs:
                assert [matches(pattern, *pair) for pattern in patterns].count(True) == 1

    def test_rules_are_on_the_chosen_bus(self) -> None:
        assert {rule["EventBusName"] for rule in RULES.values()} == {"default"}
        rules = installation(EventBusName="hub")["eventbridge"].of_type("AWS::Events::Rule")
        assert {rules[name]["EventBusName"] for name in RULES} == {"hub"}


@pytest.mark.parametrize("rule", RULES)
class TestTargets:
    def test_rule_sends_events_to_the_function_and_the_log_group(self, rule: str) -> None:
        assert [(target["Id"], target["Arn"]) for target in RULES[rule]["Targets"]] == [
            ("function", FUNCTION_ARN),
            ("raw-copy", LOG_GROUP_ARN),
        ]

    def test_delivery_is_retried_for_a_day_before_the_event_is_kept(self, rule: str) -> None:
        for target in RULES[rule]["Targets"]:
            assert target["RetryPolicy"] == {
                "MaximumEventAgeInSeconds": 86400,
                "MaximumRetryAttempts": 185,
            }
            assert target["DeadLetterConfig"] == {"Arn": QUEUE_ARN}

    def test_no_target_has_a_role_or_changes_the_event(self, rule: str) -> None:
        for target in RULES[rule]["Targets"]:
            assert set(target) == {"Id", "Arn", "RetryPolicy", "DeadLetterConfig"}

    def test_rule_waits_for_the_log_group_and_its_policy(self, rule: str) -> None:
        resource = load("eventbridge")["Resources"][rule]
        assert resource["DependsOn"] == "RawEventLogPolicy"
        (arn,) = (t["Arn"] for t in resource["Properties"]["Targets"] if t["Id"] == "raw-copy")
        assert arn["Fn::Sub"].endswith("log-group:${RawEventLogGroup}")


@pytest.mark.parametrize("bus", ["default", "hub"])
class TestPermissions:
    def test_only_the_rules_may_invoke_the_function(self, bus: str) -> None:
        stack = installation(EventBusName=bus)["eventbridge"]
        permissions = stack.of_type("AWS::Lambda::Permission").values()
        for permission in permissions:
            assert permission == {
                "FunctionName": FUNCTION_ARN,
                "Action": "lambda:InvokeFunction",
                "Principal": "events.amazonaws.com",
                "SourceArn": permission["SourceArn"],
            }
        assert {permission["SourceArn"] for permission in permissions} == rule_arns(
            stack, with_forwarding=False
        )

    def test_only_the_rules_may_send_to_the_queue(self, bus: str) -> None:
        stack = installation(EventBusName=bus)["eventbridge"]
        (policy,) = stack.of_type("AWS::SQS::QueuePolicy").values()
        statement = find_statement(policy["PolicyDocument"], "RulesSend")
        assert statement["Principal"] == {"Service": "events.amazonaws.com"}
        assert statement["Action"] == ["sqs:SendMessage"]
        assert (statement["Effect"], statement["Resource"]) == ("Allow", [QUEUE_ARN])
        assert list(statement["Condition"]) == ["ArnEquals"]
        arns = statement["Condition"]["ArnEquals"]["aws:SourceArn"]
        assert set(arns) == rule_arns(stack, with_forwarding=True)


class TestQueuePolicy:
    def test_it_belongs_to_the_queue_and_requires_tls(self) -> None:
        (policy,) = EVENTBRIDGE_STACK.of_type("AWS::SQS::QueuePolicy").values()
        url = installation()["parent"].outputs["UndeliveredEventsQueueUrl"]
        assert policy["Queues"] == [url]
        assert [statement["Sid"] for statement in statements(policy["PolicyDocument"])] == [
            "RulesSend",
            "OnlyOverTls",
        ]
        statement = find_statement(policy["PolicyDocument"], "OnlyOverTls")
        assert (statement["Effect"], statement["Action"], statement["Resource"]) == (
            "Deny",
            ["sqs:*"],
            [QUEUE_ARN],
        )


class TestLogPolicy:
    def test_eventbridge_may_write_the_raw_copy(self) -> None:
        (policy,) = EVENTBRIDGE_STACK.of_type("AWS::Logs::ResourcePolicy").values()
        (statement,) = statements(json.loads(policy["PolicyDocument"]))
        assert statement["Effect"] == "Allow"
        assert set(statement["Principal"]["Service"]) == {
            "events.amazonaws.com",
            "delivery.logs.amazonaws.com",
        }
        assert set(statement["Action"]) == {"logs:CreateLogStream", "logs:PutLogEvents"}
        assert statement["Resource"] == [f"{LOG_GROUP_ARN}:*"]


class TestCustomBus:
    STACK = installation(EventBusName="hub")["eventbridge"]

    def test_it_exists_only_if_it_is_not_the_default_bus(self) -> None:
        assert self.STACK.of_type("AWS::Events::EventBus") == {"CustomBus": {"Name": "hub"}}
        assert EVENTBRIDGE_STACK.of_type("AWS::Events::EventBus") == {}
        assert FORWARDING_RULE not in RULES

    def test_the_default_bus_forwards_to_it_every_management_event_that_matches(self) -> None:
        rule = self.STACK.properties(FORWARDING_RULE)
        assert rule["EventBusName"] == "default"
        assert rule["State"] == "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
        assert len(json.dumps(rule["EventPattern"])) < PATTERN_MAX_CHARS
        (target,) = rule["Targets"]
        assert target == {
            "Id": "bus",
            "Arn": f"{BUS_ARN}/hub",
            "RoleArn": FORWARDER_ROLE_ARN,
            "RetryPolicy": {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185},
            "DeadLetterConfig": {"Arn": QUEUE_ARN},
        }

    def test_the_rules_wait_for_the_bus(self) -> None:
        for rule in RULES:
            name = load("eventbridge")["Resources"][rule]["Properties"]["EventBusName"]
            assert name == {"Fn::If": ["HasCustomBus", {"Ref": "CustomBus"}, "default"]}


@pytest.mark.parametrize("bus", ["default", "hub"])
class TestForwarders:
    def test_their_role_may_send_to_the_bus_of_the_rules_and_do_nothing_else(
        self, bus: str
    ) -> None:
        role = installation(EventBusName=bus)["eventbridge"].properties("ForwarderRole")
        assert role["RoleName"] == "signwatch-forwarder"
        assert role["PermissionsBoundary"] == f"arn:aws:iam::{ACCOUNT}:policy/signwatch-boundary"
        (trust,) = statements(role["AssumeRolePolicyDocument"])
        assert trust["Principal"] == {"Service": "events.amazonaws.com"}
        assert trust["Condition"] == {"StringEqualsIfExists": {"aws:SourceAccount": ACCOUNT}}
        (policy,) = role["Policies"]
        (statement,) = statements(policy["PolicyDocument"])
        assert statement["Action"] == ["events:PutEvents"]
        assert statement["Resource"] == [f"{BUS_ARN}/{bus}"]

    def test_the_bus_admits_their_role_alone(self, bus: str) -> None:
        stack = installation(EventBusName=bus)["eventbridge"]
        (policy,) = stack.of_type("AWS::Events::EventBusPolicy").values()
        assert policy == {
            "EventBusName": bus,
            "StatementId": STATEMENT_IDS[bus][0],
            "Statement": {
                "Effect": "Allow",
                "Principal": {"AWS": FORWARDER_ROLE_ARN},
                "Action": "events:PutEvents",
                "Resource": f"{BUS_ARN}/{bus}",
            },
        }

    def test_the_bus_admits_the_sign_ins_of_the_organisation_if_there_is_one(
        self, bus: str
    ) -> None:
        stack = installation(EventBusName=bus, OrganizationId="o-a1b2c3d4e5")["eventbridge"]
        policy = stack.properties("OrganizationPolicy")
        assert (policy["EventBusName"], policy["StatementId"]) == (bus, STATEMENT_IDS[bus][1])
        assert policy["Statement"] == {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "events:PutEvents",
            "Resource": f"{BUS_ARN}/{bus}",
            "Condition": {
                "StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"},
                "ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/signwatch-forwarder-*"},
                "ForAllValues:StringEquals": {
                    "events:source": ["aws.signin", "aws.sts", "aws.sso", "aws.sso-oauth"]
                },
            },
        }

    def test_statements_are_written_one_after_another(self, bus: str) -> None:
        """Of two that are written at the same time, EventBridge keeps one and reports no error."""
        name = load("eventbridge")["Resources"]["OrganizationPolicy"]["DependsOn"]
        stack = installation(EventBusName=bus, OrganizationId="o-a1b2c3d4e5")["eventbridge"]
        assert name in stack.of_type("AWS::Events::EventBusPolicy")
        assert len(stack.of_type("AWS::Events::EventBusPolicy")) == len({name}) + 1


def test_statements_have_other_ids_on_each_bus() -> None:
    """The id is the physical id: an update makes the new statement before it deletes the old."""
    ids = [
        policy["StatementId"]
        for bus in ("default", "signwatch-a", f"signwatch-{'x' * 40}")
        for policy in installation(EventBusName=bus, OrganizationId="o-a1b2c3d4e5")["eventbridge"]
        .of_type("AWS::Events::EventBusPolicy")
        .values()
    ]
    assert len(set(ids)) == len(ids) == 6
    # its pattern and length (EventBridge API reference, PutPermission)
    assert [text for text in ids if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", text)] == []
