"""EventBridge on the local AWS emulator: matching rules, permissions of targets, dead letters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.emulator import EmulatorAccount, policy, wait_until

if TYPE_CHECKING:
    from tooling.local.emulator import Emulator

pytestmark = [pytest.mark.local]

ENABLED_WITH_READS = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"


@pytest.fixture
def account(account: EmulatorAccount) -> EmulatorAccount:
    account.create_trail()
    return account


def read_only(account: EmulatorAccount) -> dict[str, Any]:
    event = account.make_event("GetRoleCredentials", "sso", readOnly=True, managementEvent=True)
    return {**event, "detail-type": "AWS API Call via CloudTrail"}


def test_enabled_rule_delivers_the_whole_event(account: EmulatorAccount) -> None:
    """EventBridge user guide, "Events in Amazon EventBridge"."""
    queue = account.create_queue()
    account.create_rule("sign-ins", queue.arn)
    event = account.make_event()
    account.emulator.send([event])
    assert queue.wait_for_message()[0] == event


def test_disabled_rule_delivers_nothing(account: EmulatorAccount) -> None:
    """EventBridge API reference, PutRule: a disabled rule does not match any events."""
    unused, used = account.create_queue(), account.create_queue()
    account.create_rule("disabled", unused.arn, state="DISABLED")
    account.create_rule("enabled", used.arn)
    account.emulator.send([account.make_event()])
    used.wait_for_message()
    assert unused.take_messages() == []


def test_read_only_event_reaches_only_a_rule_that_includes_reads(
    account: EmulatorAccount,
) -> None:
    """EventBridge user guide, "Receiving read-only management events from AWS services"."""
    writes, reads = account.create_queue(), account.create_queue()
    account.create_rule("writes", writes.arn, source=["aws.sso"])
    account.create_rule("reads", reads.arn, source=["aws.sso"], state=ENABLED_WITH_READS)
    account.emulator.send([read_only(account)])
    assert reads.wait_for_message()[0]["detail"]["eventName"] == "GetRoleCredentials"
    assert writes.take_messages() == []


def test_write_event_reaches_an_enabled_rule(account: EmulatorAccount) -> None:
    """EventBridge user guide, "Receiving read-only management events from AWS services"."""
    queue = account.create_queue()
    account.create_rule("writes", queue.arn, source=["aws.sso"])
    event = account.make_event("CreateToken", "sso", readOnly=False, managementEvent=True)
    account.emulator.send([{**event, "detail-type": "AWS API Call via CloudTrail"}])
    assert queue.wait_for_message()[0]["detail"]["eventName"] == "CreateToken"


def test_missing_function_permission_sends_the_event_to_the_dead_letters_at_once(
    account: EmulatorAccount,
) -> None:
    """EventBridge user guide, "Using dead-letter queues": a permission error is not retried."""
    dead = account.create_queue()
    function = account.create_function(
        "f", "def handler(event, context): pass", account.create_role()
    )
    rule = account.create_rule("sign-ins", function, dead_letters=dead.arn)
    event = account.make_event()
    account.emulator.send([event])
    body, attributes = dead.wait_for_message()
    assert body == event
    assert "lambda:InvokeFunction" in attributes.pop("ERROR_MESSAGE")
    assert attributes == {
        "RULE_ARN": rule,
        "TARGET_ARN": function,
        "ERROR_CODE": "NO_PERMISSIONS",
        "RETRY_ATTEMPTS": "0",
    }


def test_permission_for_another_rule_does_not_count(account: EmulatorAccount) -> None:
    """EventBridge user guide, "Using resource-based policies": SourceArn names the rule."""
    dead = account.create_queue()
    function = account.create_function(
        "f", "def handler(event, context): pass", account.create_role()
    )
    rule = account.create_rule("sign-ins", function, dead_letters=dead.arn)
    allow = {"Action": "lambda:InvokeFunction", "Principal": "events.amazonaws.com"}
    allow["SourceArn"] = rule.replace("sign-ins", "other")
    account.client("lambda").add_permission(FunctionName="f", StatementId="other", **allow)
    account.emulator.send([account.make_event()])
    assert dead.wait_for_message()[1]["ERROR_CODE"] == "NO_PERMISSIONS"


def test_log_group_needs_a_resource_policy(account: EmulatorAccount) -> None:
    """CloudWatch Logs user guide, "Enabling logging from AWS services"."""
    dead, logs = account.create_queue(), account.client("logs")
    logs.create_log_group(logGroupName="raw")
    arn = f"arn:aws:logs:eu-west-1:{account.account_id}:log-group:raw"
    account.create_rule("sign-ins", arn, dead_letters=dead.arn)
    account.emulator.send([account.make_event()])
    assert dead.wait_for_message()[1]["ERROR_CODE"] == "NO_PERMISSIONS"
    allow = {
        "Effect": "Allow",
        "Principal": {"Service": ["events.amazonaws.com", "delivery.logs.amazonaws.com"]},
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": f"{arn}:*",
    }
    logs.put_resource_policy(policyName="raw", policyDocument=policy(allow))
    event = account.make_event()
    account.emulator.send([event])
    (line,) = wait_until(lambda: account.log_lines("raw"))
    assert json.loads(line) == event
    assert dead.take_messages() == []


def test_queue_without_a_policy_gets_nothing(account: EmulatorAccount) -> None:
    """EventBridge user guide, "Using resource-based policies": sqs:SendMessage is needed."""
    closed, dead = account.create_queue(writer=""), account.create_queue()
    account.create_rule("sign-ins", closed.arn, dead_letters=dead.arn)
    account.emulator.send([account.make_event()])
    assert dead.wait_for_message()[1]["ERROR_CODE"] == "NO_PERMISSIONS"
    assert closed.take_messages() == []


def test_deleted_target_sends_the_event_to_the_dead_letters(
    account: EmulatorAccount,
) -> None:
    """EventBridge user guide, "Using dead-letter queues": a missing target is not retried."""
    dead, deleted = account.create_queue(), account.create_queue()
    account.create_rule("sign-ins", deleted.arn, dead_letters=dead.arn)
    deleted.client.delete_queue(QueueUrl=deleted.url)
    account.emulator.send([account.make_event()])
    assert dead.wait_for_message()[1]["ERROR_CODE"] == "RESOURCE_NOT_FOUND"


@pytest.mark.parametrize("allowed", [True, False])
def test_bus_of_another_region_gets_the_event_if_the_targets_role_may_send_it(
    account: EmulatorAccount, *, allowed: bool
) -> None:
    """EventBridge user guide, "Sending and receiving events between AWS Regions"."""
    home = EmulatorAccount(account.emulator, account.account_id, "us-east-1")
    dead, queue = account.create_queue(), home.create_queue()
    home.create_rule("home", queue.arn)
    bus = f"arn:aws:events:us-east-1:{account.account_id}:event-bus/default"
    send = {
        "Effect": "Allow",
        "Action": "events:PutEvents",
        "Resource": bus if allowed else f"{bus}-other",
    }
    account.create_rule("forward", dead.arn)
    target = {"RoleArn": account.create_role(send), "DeadLetterConfig": {"Arn": dead.arn}}
    account.client("events").put_targets(
        Rule="forward", Targets=[{"Id": "target", "Arn": bus, **target}]
    )
    event = account.make_event()
    account.emulator.send([event])
    if allowed:
        assert queue.wait_for_message()[0] == event
    else:
        assert dead.wait_for_message()[1]["ERROR_CODE"] == "NO_PERMISSIONS"
        assert queue.take_messages() == []


def forward(account: EmulatorAccount, bus: str, to: str, dead_letters: str) -> None:
    """Make a rule on ``bus`` whose target is the bus with the ARN ``to``."""
    events, rule = account.client("events"), {"Name": "forward", "EventBusName": bus}
    events.put_rule(**rule, EventPattern='{"source": ["aws.signin"]}')
    send = {"Effect": "Allow", "Action": "events:PutEvents", "Resource": to}
    options = {"RoleArn": account.create_role(send), "DeadLetterConfig": {"Arn": dead_letters}}
    target = {"Id": "bus", "Arn": to, **options}
    events.put_targets(Rule="forward", EventBusName=bus, Targets=[target])


def create_bus(account: EmulatorAccount, target: str) -> str:
    """Make the bus "own" with a rule that sends sign-ins to the target; return its ARN."""
    events, rule = account.client("events"), {"Name": "sign-ins", "EventBusName": "own"}
    arn: str = events.create_event_bus(Name="own")["EventBusArn"]
    events.put_rule(**rule, EventPattern='{"source": ["aws.signin"]}', State=ENABLED_WITH_READS)
    events.put_targets(
        Rule="sign-ins", EventBusName="own", Targets=[{"Id": "target", "Arn": target}]
    )
    return arn


def test_custom_bus_gets_nothing_from_cloudtrail_until_a_rule_forwards_to_it(
    account: EmulatorAccount,
) -> None:
    """EventBridge user guide, "AWS service events delivered via AWS CloudTrail"."""
    queue, seen, dead = account.create_queue(), account.create_queue(), account.create_queue()
    bus = create_bus(account, queue.arn)
    account.create_rule("default", seen.arn)
    account.emulator.send([account.make_event()])
    seen.wait_for_message()
    assert queue.take_messages() == []
    forward(account, "default", bus, dead.arn)
    event = account.make_event()
    account.emulator.send([event])
    assert queue.wait_for_message()[0] == event


def test_event_is_forwarded_once_only(account: EmulatorAccount) -> None:
    """EventBridge user guide, "Sending and receiving events between event buses"."""
    other = EmulatorAccount(account.emulator, account.account_id, "us-east-2")
    queue, dead, unused = account.create_queue(), account.create_queue(), other.create_queue()
    forward(account, "default", create_bus(account, queue.arn), dead.arn)
    home = f"arn:aws:events:{account.region}:{account.account_id}:event-bus/default"
    forward(other, "default", home, unused.arn)
    account.emulator.send([other.make_event()])
    assert dead.wait_for_message()[1]["ERROR_CODE"] == "THIRD_REGION_HOP_DETECTED"
    assert queue.take_messages() == []


def test_put_events_refuses_aws_sources_and_malformed_entries(account: EmulatorAccount) -> None:
    """EventBridge API reference, PutEvents and PutEventsResultEntry."""
    good = {"Source": "signwatch.canary", "DetailType": "Canary", "Detail": "{}"}
    entries = [
        good,
        {**good, "Source": "aws.signin"},
        {**good, "Detail": "no"},
        {"Source": "x", "Detail": "{}"},
    ]
    answer = account.client("events").put_events(Entries=entries)
    codes = [entry.get("ErrorCode") for entry in answer["Entries"]]
    assert codes == [None, "NotAuthorizedForSourceException", "MalformedDetail", "InvalidArgument"]
    assert answer["FailedEntryCount"] == 3


def test_custom_event_reaches_its_rule_without_a_trail(emulator: Emulator) -> None:
    """EventBridge user guide, "Sending events with PutEvents"."""
    account = EmulatorAccount.on(emulator)
    queue = account.create_queue()
    account.create_rule("canary", queue.arn, source=["signwatch.canary"])
    entry = {"Source": "signwatch.canary", "DetailType": "Canary", "Detail": '{"nonce": "1"}'}
    account.client("events").put_events(Entries=[entry])
    assert queue.wait_for_message()[0]["detail"] == {"nonce": "1"}


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
def test_test_event_pattern_matches_as_a_rule_does(
    account: EmulatorAccount, pattern: dict[str, Any], *, matches: bool
) -> None:
    """EventBridge API reference, TestEventPattern."""
    request = {"EventPattern": json.dumps(pattern), "Event": json.dumps(account.make_event())}
    assert account.client("events").test_event_pattern(**request)["Result"] is matches


def test_malformed_pattern_is_refused(account: EmulatorAccount) -> None:
    """EventBridge API reference, TestEventPattern: InvalidEventPatternException."""
    events = account.client("events")
    with pytest.raises(events.exceptions.InvalidEventPatternException):
        events.test_event_pattern(
            EventPattern='{"source": "aws.signin"}', Event=json.dumps(account.make_event())
        )
