"""The rules: which events they take, to whom they hand them, and what becomes of those that nobody takes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from signwatch.detection import sign_in_paths, signin
from tests.support.templates import (
    ACCOUNT,
    REGION,
    Made,
    installation,
    load,
    statement,
    statements,
    walk,
)

pytestmark = pytest.mark.joint

MADE = installation()["eventbridge"]
RULES = MADE.of_type("AWS::Events::Rule")
HERE = f"{REGION}:{ACCOUNT}"
FUNCTION = f"arn:aws:lambda:{HERE}:function:signwatch-function"
GROUP = f"arn:aws:logs:{HERE}:log-group:/aws/events/signwatch"
UNDELIVERED = f"arn:aws:sqs:{HERE}:signwatch-undelivered-events"
MOST_OF_A_PATTERN = 2048  # characters (Amazon EventBridge quotas)
SIGN_INS = {  # rule: the sign-ins that it must take, and the right passwords before them
    "ConsoleSignInRule": [
        ("signin", "ConsoleLogin"),
        ("signin", "CheckMfa"),
        ("signin", "SwitchRole"),
        ("signin", "GetSigninToken"),
        ("signin", "PasswordRecoveryRequested"),
        ("signin", "AuthorizeOAuth2Access"),
        ("signin", "CreateOAuth2Token"),
        ("sts", "AssumeRoleWithSAML"),
        ("sts", "AssumeRoot"),
        ("sts", "GetFederationToken"),
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
ANOMALY = "SignInAnomalyRule"  # of an event that AWS Sign-In sends without CloudTrail


def rule_arns(made: Made, bus: str = "") -> set[str]:
    return {
        f"arn:aws:events:{HERE}:rule/{bus}{rule['Name']}"
        for rule in made.of_type("AWS::Events::Rule").values()
    }


def takes(pattern: dict[str, Any], service: str, name: str) -> bool:
    """Whether an event of ``service`` called ``name`` matches a pattern that is made of plain lists."""
    event = {"eventSource": f"{service}.amazonaws.com", "eventName": name}
    return f"aws.{service}" in pattern["source"] and all(
        event[key] in wanted for key, wanted in pattern["detail"].items()
    )


class TestRules:
    def test_there_are_three(self) -> None:
        assert set(RULES) == {*SIGN_INS, ANOMALY}

    @pytest.mark.parametrize("rule", RULES)
    def test_a_rule_hears_read_only_events_too(self, rule: str) -> None:
        assert RULES[rule]["State"] == "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"

    @pytest.mark.parametrize("rule", SIGN_INS)
    def test_a_rule_matches_by_source_and_name_alone(self, rule: str) -> None:
        pattern = RULES[rule]["EventPattern"]
        assert set(pattern) == {"source", "detail"}
        assert set(pattern["detail"]) == {"eventSource", "eventName"}
        assert len(json.dumps(pattern)) < MOST_OF_A_PATTERN

    @pytest.mark.parametrize("rule", SIGN_INS)
    def test_its_sources_are_those_of_its_events(self, rule: str) -> None:
        pattern = RULES[rule]["EventPattern"]
        services = [source.removeprefix("aws.") for source in pattern["source"]]
        assert pattern["detail"]["eventSource"] == [
            f"{service}.amazonaws.com" for service in services
        ]

    @pytest.mark.parametrize("rule", SIGN_INS)
    def test_it_takes_its_sign_ins_and_nothing_that_is_none(self, rule: str) -> None:
        pattern = RULES[rule]["EventPattern"]
        assert [pair for pair in SIGN_INS[rule] if not takes(pattern, *pair)] == []
        others = [
            ("signin", "RenewRole"),
            ("sso", "ListAccounts"),
            ("sts", "AssumeRole"),
            ("iam", "CreateUser"),
        ]
        assert [pair for pair in others if takes(pattern, *pair)] == []

    @pytest.mark.parametrize("rule", SIGN_INS)
    def test_whatever_it_takes_the_function_tells_of_or_knows_as_a_step(self, rule: str) -> None:
        """AWS has recorded the same event under another service before: what a rule hands over is never dropped."""
        wanted = RULES[rule]["EventPattern"]["detail"]
        for source in wanted["eventSource"]:
            for name in wanted["eventName"]:
                reading = signin.read({"detail": {"eventSource": source, "eventName": name}})
                assert not isinstance(reading, signin.NotASignIn), (source, name)

    def test_the_anomaly_alert_is_taken_by_source_and_type_in_whatever_case(self) -> None:
        kind = {"equals-ignore-case": "Sign-in Anomaly Alert"}
        assert RULES[ANOMALY]["EventPattern"] == {"source": ["aws.signin"], "detail-type": [kind]}
        assert kind["equals-ignore-case"].lower() == sign_in_paths.ANOMALY_TYPE

    def test_every_path_that_the_function_reads_is_taken(self) -> None:
        taken = {(service, name.lower()) for pairs in SIGN_INS.values() for service, name in pairs}
        assert taken == {*sign_in_paths.PATHS, sign_in_paths.CHECK_MFA}

    def test_no_sign_in_is_taken_twice(self) -> None:
        for pair in (pair for pairs in SIGN_INS.values() for pair in pairs):
            assert (
                len([rule for rule in SIGN_INS if takes(RULES[rule]["EventPattern"], *pair)]) == 1
            )

    def test_they_listen_on_the_chosen_bus(self) -> None:
        assert {rule["EventBusName"] for rule in RULES.values()} == {"default"}
        others = (
            installation(EventBusName="hub")["eventbridge"].of_type("AWS::Events::Rule").values()
        )
        assert {rule["EventBusName"] for rule in others} == {"hub"}


@pytest.mark.parametrize("rule", RULES)
class TestTargets:
    def test_a_rule_hands_an_event_to_the_function_and_to_the_log_group(self, rule: str) -> None:
        assert [(target["Id"], target["Arn"]) for target in RULES[rule]["Targets"]] == [
            ("function", FUNCTION),
            ("raw-copy", GROUP),
        ]

    def test_each_target_is_tried_for_a_day_and_then_kept(self, rule: str) -> None:
        for target in RULES[rule]["Targets"]:
            assert target["RetryPolicy"] == {
                "MaximumEventAgeInSeconds": 86400,
                "MaximumRetryAttempts": 185,
            }
            assert target["DeadLetterConfig"] == {"Arn": UNDELIVERED}

    def test_no_target_names_a_role_and_none_changes_the_event(self, rule: str) -> None:
        for target in RULES[rule]["Targets"]:
            assert set(target) == {"Id", "Arn", "RetryPolicy", "DeadLetterConfig"}

    def test_a_rule_waits_for_the_log_group_and_the_right_to_write_to_it(self, rule: str) -> None:
        written = load("eventbridge")["Resources"][rule]
        assert written["DependsOn"] == "RawEventLogPolicy"
        raw = next(
            node
            for node in walk(written)
            if isinstance(node, dict) and node.get("Id") == "raw-copy"
        )
        assert raw["Arn"]["Fn::Sub"].endswith("log-group:${RawEventLogGroup}")


@pytest.mark.parametrize("bus", ["default", "hub"])
class TestPermissions:
    def test_each_rule_may_call_the_function_by_its_arn_alone(self, bus: str) -> None:
        made = installation(EventBusName=bus)["eventbridge"]
        permissions = made.of_type("AWS::Lambda::Permission").values()
        for permission in permissions:
            assert set(permission) == {
                "FunctionName",
                "Action",
                "Principal",
                "SourceArn",
            }  # no SourceAccount
            assert permission["FunctionName"] == FUNCTION
            assert (permission["Action"], permission["Principal"]) == (
                "lambda:InvokeFunction",
                "events.amazonaws.com",
            )
        wanted = rule_arns(made, "" if bus == "default" else f"{bus}/")
        assert {permission["SourceArn"] for permission in permissions} == wanted

    def test_the_rules_alone_may_fill_the_queue(self, bus: str) -> None:
        made = installation(EventBusName=bus)["eventbridge"]
        (policy,) = made.of_type("AWS::SQS::QueuePolicy").values()
        one = statement(policy["PolicyDocument"], "RulesSend")
        assert (one["Principal"], one["Action"]) == (
            {"Service": "events.amazonaws.com"},
            ["sqs:SendMessage"],
        )
        assert (one["Effect"], one["Resource"]) == ("Allow", [UNDELIVERED])
        assert list(one["Condition"]) == ["ArnEquals"]
        wanted = rule_arns(made, "" if bus == "default" else f"{bus}/")
        assert set(one["Condition"]["ArnEquals"]["aws:SourceArn"]) == wanted


class TestQueuePolicy:
    def test_it_belongs_to_the_queue_and_refuses_calls_without_tls(self) -> None:
        (policy,) = MADE.of_type("AWS::SQS::QueuePolicy").values()
        url = installation()["parent"].outputs["UndeliveredEventsQueueUrl"]
        assert policy["Queues"] == [url]
        assert [one["Sid"] for one in statements(policy["PolicyDocument"])] == [
            "RulesSend",
            "OnlyOverTls",
        ]
        one = statement(policy["PolicyDocument"], "OnlyOverTls")
        assert (one["Effect"], one["Action"], one["Resource"]) == ("Deny", ["sqs:*"], [UNDELIVERED])


class TestLogPolicy:
    def test_eventbridge_and_its_delivery_may_write_the_raw_copy(self) -> None:
        (policy,) = MADE.of_type("AWS::Logs::ResourcePolicy").values()
        (one,) = statements(json.loads(policy["PolicyDocument"]))
        assert one["Effect"] == "Allow"
        assert set(one["Principal"]["Service"]) == {
            "events.amazonaws.com",
            "delivery.logs.amazonaws.com",
        }
        assert set(one["Action"]) == {"logs:CreateLogStream", "logs:PutLogEvents"}
        assert one["Resource"] == [f"{GROUP}:*"]
