"""EventBridge on the local AWS emulator: which rules take an event, who may be a target, and where a refused event goes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.emulator import EmulatorAccount, policy, until

if TYPE_CHECKING:
    from tooling.local.emulator import Emulator

pytestmark = [pytest.mark.local]

WITH_READS = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"


@pytest.fixture
def laptop(emulator: Emulator) -> EmulatorAccount:
    found = EmulatorAccount.on(emulator)
    found.trail()
    return found


def read_only(laptop: EmulatorAccount) -> dict[str, Any]:
    event = laptop.event("GetRoleCredentials", "sso", readOnly=True, managementEvent=True)
    return {**event, "detail-type": "AWS API Call via CloudTrail"}


def test_an_enabled_rule_delivers_the_whole_event(laptop: EmulatorAccount) -> None:
    """EventBridge user guide, "Events in Amazon EventBridge"."""
    queue = laptop.queue()
    laptop.rule("sign-ins", queue.arn)
    event = laptop.event()
    laptop.emulator.send([event])
    assert queue.one()[0] == event


def test_a_disabled_rule_delivers_nothing(laptop: EmulatorAccount) -> None:
    """EventBridge API reference, PutRule: a disabled rule does not match any events."""
    silent, heard = laptop.queue(), laptop.queue()
    laptop.rule("silent", silent.arn, state="DISABLED")
    laptop.rule("heard", heard.arn)
    laptop.emulator.send([laptop.event()])
    heard.one()
    assert silent.messages() == []


def test_a_read_only_management_event_reaches_only_the_rule_that_asks_for_all(
    laptop: EmulatorAccount,
) -> None:
    """EventBridge user guide, "Receiving read-only management events from AWS services"."""
    plain, full = laptop.queue(), laptop.queue()
    laptop.rule("plain", plain.arn, source=["aws.sso"])
    laptop.rule("full", full.arn, source=["aws.sso"], state=WITH_READS)
    laptop.emulator.send([read_only(laptop)])
    assert full.one()[0]["detail"]["eventName"] == "GetRoleCredentials"
    assert plain.messages() == []


def test_a_write_event_reaches_the_plain_rule(laptop: EmulatorAccount) -> None:
    """EventBridge user guide, "Receiving read-only management events from AWS services"."""
    plain = laptop.queue()
    laptop.rule("plain", plain.arn, source=["aws.sso"])
    event = laptop.event("CreateToken", "sso", readOnly=False, managementEvent=True)
    laptop.emulator.send([{**event, "detail-type": "AWS API Call via CloudTrail"}])
    assert plain.one()[0]["detail"]["eventName"] == "CreateToken"


def test_a_function_without_permission_sends_the_event_straight_to_the_dead_letters(
    laptop: EmulatorAccount,
) -> None:
    """EventBridge user guide, "Using dead-letter queues": a permission error is not retried; attributes say why."""
    dead = laptop.queue()
    function = laptop.function("f", "def handler(event, context): pass", laptop.role())
    rule = laptop.rule("sign-ins", function, dead_letters=dead.arn)
    event = laptop.event()
    laptop.emulator.send([event])
    body, attributes = dead.one()
    assert body == event
    assert "lambda:InvokeFunction" in attributes.pop("ERROR_MESSAGE")
    assert attributes == {
        "RULE_ARN": rule,
        "TARGET_ARN": function,
        "ERROR_CODE": "NO_PERMISSIONS",
        "RETRY_ATTEMPTS": "0",
    }


def test_a_permission_for_another_rule_is_none(laptop: EmulatorAccount) -> None:
    """EventBridge user guide, "Using resource-based policies": the SourceArn condition names the rule."""
    dead = laptop.queue()
    function = laptop.function("f", "def handler(event, context): pass", laptop.role())
    rule = laptop.rule("sign-ins", function, dead_letters=dead.arn)
    allow = {"Action": "lambda:InvokeFunction", "Principal": "events.amazonaws.com"}
    other = rule.replace("sign-ins", "other")
    laptop.client("lambda").add_permission(
        FunctionName="f", StatementId="other", SourceArn=other, **allow
    )
    laptop.emulator.send([laptop.event()])
    assert dead.one()[1]["ERROR_CODE"] == "NO_PERMISSIONS"


def test_a_log_group_needs_a_resource_policy(laptop: EmulatorAccount) -> None:
    """CloudWatch Logs user guide, "Enabling logging from AWS services": EventBridge writes by a resource policy."""
    dead, logs = laptop.queue(), laptop.client("logs")
    logs.create_log_group(logGroupName="raw")
    arn = f"arn:aws:logs:eu-west-1:{laptop.account}:log-group:raw"
    laptop.rule("sign-ins", arn, dead_letters=dead.arn)
    laptop.emulator.send([laptop.event()])
    assert dead.one()[1]["ERROR_CODE"] == "NO_PERMISSIONS"
    allow = {
        "Effect": "Allow",
        "Principal": {"Service": ["events.amazonaws.com", "delivery.logs.amazonaws.com"]},
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": f"{arn}:*",
    }
    logs.put_resource_policy(policyName="raw", policyDocument=policy(allow))
    event = laptop.event()
    laptop.emulator.send([event])
    (line,) = until(lambda: laptop.lines("raw"))
    assert json.loads(line) == event
    assert dead.messages() == []


def test_a_queue_without_a_policy_takes_nothing(laptop: EmulatorAccount) -> None:
    """EventBridge user guide, "Using resource-based policies": queues need sqs:SendMessage for events.amazonaws.com."""
    closed, dead = laptop.queue(writer=""), laptop.queue()
    laptop.rule("sign-ins", closed.arn, dead_letters=dead.arn)
    laptop.emulator.send([laptop.event()])
    assert dead.one()[1]["ERROR_CODE"] == "NO_PERMISSIONS"
    assert closed.messages() == []


def test_a_target_that_is_gone_sends_the_event_to_the_dead_letters(laptop: EmulatorAccount) -> None:
    """EventBridge user guide, "Using dead-letter queues": a target that does not exist is not retried."""
    dead, gone = laptop.queue(), laptop.queue()
    laptop.rule("sign-ins", gone.arn, dead_letters=dead.arn)
    gone.client.delete_queue(QueueUrl=gone.url)
    laptop.emulator.send([laptop.event()])
    assert dead.one()[1]["ERROR_CODE"] == "RESOURCE_NOT_FOUND"


@pytest.mark.parametrize("allowed", [True, False])
def test_the_bus_of_another_region_takes_what_the_targets_role_may_send(
    laptop: EmulatorAccount, *, allowed: bool
) -> None:
    """EventBridge user guide, "Sending and receiving events between AWS Regions"."""
    home = EmulatorAccount(laptop.emulator, laptop.account, "us-east-1")
    dead, heard = laptop.queue(), home.queue()
    home.rule("home", heard.arn)
    bus = f"arn:aws:events:us-east-1:{laptop.account}:event-bus/default"
    send = {
        "Effect": "Allow",
        "Action": "events:PutEvents",
        "Resource": bus if allowed else f"{bus}-other",
    }
    laptop.rule("forward", dead.arn)
    more = {"RoleArn": laptop.role(send), "DeadLetterConfig": {"Arn": dead.arn}}
    laptop.client("events").put_targets(
        Rule="forward", Targets=[{"Id": "target", "Arn": bus, **more}]
    )
    event = laptop.event()
    laptop.emulator.send([event])
    if allowed:
        assert heard.one()[0] == event
    else:
        assert dead.one()[1]["ERROR_CODE"] == "NO_PERMISSIONS"
        assert heard.messages() == []


def test_put_events_refuses_aws_sources_and_what_is_no_event(laptop: EmulatorAccount) -> None:
    """EventBridge API reference, PutEvents and PutEventsResultEntry."""
    good = {"Source": "signwatch.canary", "DetailType": "Canary", "Detail": "{}"}
    entries = [
        good,
        {**good, "Source": "aws.signin"},
        {**good, "Detail": "no"},
        {"Source": "x", "Detail": "{}"},
    ]
    answer = laptop.client("events").put_events(Entries=entries)
    codes = [entry.get("ErrorCode") for entry in answer["Entries"]]
    assert codes == [None, "NotAuthorizedForSourceException", "MalformedDetail", "InvalidArgument"]
    assert answer["FailedEntryCount"] == 3


def test_an_event_of_ones_own_reaches_its_rule_without_a_trail(emulator: Emulator) -> None:
    """EventBridge user guide, "Sending events with PutEvents"."""
    laptop = EmulatorAccount.on(emulator)
    queue = laptop.queue()
    laptop.rule("canary", queue.arn, source=["signwatch.canary"])
    entry = {"Source": "signwatch.canary", "DetailType": "Canary", "Detail": '{"nonce": "1"}'}
    laptop.client("events").put_events(Entries=[entry])
    assert queue.one()[0]["detail"] == {"nonce": "1"}


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ({"source": ["aws.signin"], "detail": {"eventName": ["ConsoleLogin"]}}, True),
        ({"source": ["aws.signin"], "detail": {"eventName": ["CreateToken"]}}, False),
        ({"detail": {"nothing": [{"exists": False}]}}, True),
        ({"detail": {"eventName": [{"prefix": "Console"}]}}, True),
        ({"detail": {"eventName": [{"anything-but": ["ConsoleLogin"]}]}}, False),
    ],
)
def test_test_event_pattern_judges_as_a_rule_does(
    laptop: EmulatorAccount, pattern: dict[str, Any], *, matches: bool
) -> None:
    """EventBridge API reference, TestEventPattern."""
    asked = {"EventPattern": json.dumps(pattern), "Event": json.dumps(laptop.event())}
    assert laptop.client("events").test_event_pattern(**asked)["Result"] is matches


def test_an_empty_pattern_is_refused(laptop: EmulatorAccount) -> None:
    """EventBridge API reference, TestEventPattern: InvalidEventPatternException."""
    events = laptop.client("events")
    with pytest.raises(events.exceptions.InvalidEventPatternException):
        events.test_event_pattern(
            EventPattern='{"source": "aws.signin"}', Event=json.dumps(laptop.event())
        )
