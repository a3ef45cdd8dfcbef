"""Subscription filters on the local AWS emulator: pattern, permission, payload, retries."""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.emulator import wait_until

if TYPE_CHECKING:
    from tests.support.emulator import EmulatorAccount

pytestmark = [pytest.mark.local]

WRITE_LOGS = {
    "Effect": "Allow",
    "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
    "Resource": "*",
}
ECHO = "import json\ndef handler(event, context): print(json.dumps(event)); {}"
PATTERN = "{ ($.eventName = ConsoleLogin) || ($.eventName = CheckMfa) }"


def create_filter(account: EmulatorAccount, *, then: str = "", source: str = "trail:*") -> None:
    """Create a function that prints its event, and a filter of the group "trail" to it."""
    arn = account.create_function("f", ECHO.format(then), account.create_role(WRITE_LOGS))
    group = f"arn:aws:logs:{account.region}:{account.account_id}:log-group:{source}"
    account.client("lambda").add_permission(
        FunctionName="f",
        StatementId="logs",
        Action="lambda:InvokeFunction",
        Principal="logs.amazonaws.com",
        SourceArn=group,
        SourceAccount=account.account_id,
    )
    logs = account.client("logs")
    logs.create_log_group(logGroupName="trail")
    logs.create_log_stream(logGroupName="trail", logStreamName="s")
    logs.put_subscription_filter(
        logGroupName="trail", filterName="f", filterPattern=PATTERN, destinationArn=arn
    )


def write(account: EmulatorAccount, *messages: str) -> None:
    events = [{"timestamp": 1_795_687_200_000, "message": message} for message in messages]
    account.client("logs").put_log_events(logGroupName="trail", logStreamName="s", logEvents=events)


def invocations(account: EmulatorAccount) -> list[dict[str, Any]]:
    lines = [line for line in account.log_lines("/aws/lambda/f") if "awslogs" in line]
    data = [base64.b64decode(json.loads(line)["awslogs"]["data"]) for line in lines]
    return [json.loads(gzip.decompress(each)) for each in data]


def test_lines_that_the_pattern_matches_are_handed_on(account: EmulatorAccount) -> None:
    """Each condition is compared with the field; a word elsewhere in the line does not count."""
    create_filter(account)
    matching = [json.dumps({"eventName": name}) for name in ("ConsoleLogin", "CheckMfa")]
    write(account, '{"eventName": "PutRule", "x": "ConsoleLogin"}', "ConsoleLogin", *matching)
    (batch,) = wait_until(lambda: invocations(account))
    assert [event["message"] for event in batch["logEvents"]] == matching
    assert (batch["messageType"], batch["logGroup"]) == ("DATA_MESSAGE", "trail")


def test_failed_invocation_is_retried_as_an_asynchronous_one(account: EmulatorAccount) -> None:
    """Lambda developer guide, "Using Lambda with CloudWatch Logs"."""
    create_filter(account, then="raise ValueError")
    write(account, '{"eventName": "CheckMfa"}')
    wait_until(lambda: len(invocations(account)) == 3)


@pytest.mark.parametrize("source", ["trail", "other:*"])
def test_filter_is_refused_if_the_group_may_not_invoke_the_function(
    account: EmulatorAccount, source: str
) -> None:
    """The group's ARN ends with ":*" (CloudWatch Logs User Guide, "Subscription filters")."""
    logs = account.client("logs")
    with pytest.raises(logs.exceptions.InvalidParameterException, match="Could not execute"):
        create_filter(account, source=source)
    assert logs.describe_subscription_filters(logGroupName="trail")["subscriptionFilters"] == []


def test_filter_of_the_trails_group_gets_what_the_bus_lost(account: EmulatorAccount) -> None:
    create_filter(account)
    name, _ = account.create_trail()
    group = f"arn:aws:logs:{account.region}:{account.account_id}:log-group:trail:*"
    account.client("cloudtrail").update_trail(
        Name=name,
        CloudWatchLogsLogGroupArn=group,
        CloudWatchLogsRoleArn=account.create_role(WRITE_LOGS),
    )
    queue = account.create_queue()
    account.create_rule("sign-ins", queue.arn)
    event = account.make_event()
    options = {"bus": False, "trail_delay_seconds": 0}
    (answer,) = account.emulator.send([{**event, "emulator": options}])
    assert answer["delivered"]
    (batch,) = wait_until(lambda: invocations(account))
    assert [json.loads(each["message"]) for each in batch["logEvents"]] == [event["detail"]]
    assert queue.take_messages() == []
