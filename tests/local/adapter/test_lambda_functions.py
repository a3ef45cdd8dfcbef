"""Lambda on the local AWS emulator: roles, logs, retries, dead letters, event source mappings."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.emulator import wait_until, zip_module
from tooling.local.adapter.sandbox_pool import Owner, Pool

if TYPE_CHECKING:
    from tests.support.emulator import EmulatorAccount, Queue

pytestmark = [pytest.mark.local]

ECHO = """
import os
def handler(event, context):
    print("seen", event)
    return {"event": event, "pid": os.getpid(), "name": os.environ.get("NAME"),
            "arn": context.invoked_function_arn}
"""
WHO_AM_I = """
import boto3
def handler(event, context):
    return boto3.client("sts").get_caller_identity()["Arn"]
"""
READ_PARAMETER = """
import boto3
def handler(event, context):
    return boto3.client("ssm").get_parameter(Name=event)["Parameter"]["Value"]
"""
READ_LOG = """
import boto3
def handler(event, context):
    return boto3.client("logs").filter_log_events(logGroupName=event)["events"]
"""
FAIL = """
def handler(event, context):
    print("tried", context.aws_request_id)
    raise ValueError("no luck")
"""
MAPPING_ACTIONS = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
WRITE_LOGS = {"Effect": "Allow", "Action": "logs:*", "Resource": "*"}


class FakeSandbox:
    """A stand-in for a sandbox that only knows whether it is closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


def call(account: EmulatorAccount, event: Any, name: str = "f", **options: Any) -> Any:
    response = account.client("lambda").invoke(
        FunctionName=name, Payload=json.dumps(event), **options
    )
    return json.loads(response["Payload"].read() or "null")


def create_failing_function(
    account: EmulatorAccount, dead: Queue, *statements: dict[str, Any], **options: Any
) -> None:
    account.create_function(
        "f",
        FAIL,
        account.create_role(WRITE_LOGS, *statements),
        DeadLetterConfig={"TargetArn": dead.arn},
        **options,
    )


def allow_sending_to(queue: Queue) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": queue.arn}


def log_lines_with(account: EmulatorAccount, text: str) -> list[str]:
    return [line for line in account.log_lines("/aws/lambda/f") if text in line]


def count_tries(account: EmulatorAccount) -> int:
    return len(log_lines_with(account, "tried"))


def test_uploaded_code_runs_and_stays_warm(account: EmulatorAccount) -> None:
    """Lambda developer guide, "Understanding the Lambda execution environment lifecycle"."""
    arn = account.create_function("f", ECHO, account.create_role())
    first, second = call(account, {"n": 1}), call(account, {"n": 2})
    assert (first["event"], second["event"], first["arn"]) == ({"n": 1}, {"n": 2}, arn)
    assert first["pid"] == second["pid"]


def is_updated(client: Any) -> bool:
    configuration = client.get_function_configuration(FunctionName="f")
    return bool(configuration["LastUpdateStatus"] == "Successful")


def test_new_code_and_new_configuration_start_a_new_process(account: EmulatorAccount) -> None:
    """Lambda developer guide, "Understanding the Lambda execution environment lifecycle"."""
    account.create_function("f", ECHO, account.create_role())
    client, first = account.client("lambda"), call(account, 1)
    client.update_function_configuration(
        FunctionName="f", Environment={"Variables": {"NAME": "new"}}
    )
    wait_until(lambda: is_updated(client))
    second = call(account, 2)
    assert (first["name"], second["name"]) == (None, "new")
    assert first["pid"] != second["pid"]
    client.update_function_code(
        FunctionName="f", ZipFile=zip_module("def handler(event, context): return 'other'")
    )
    assert call(account, 3) == "other"


def test_modules_of_a_layer_can_be_imported(account: EmulatorAccount) -> None:
    """Lambda developer guide, "Packaging your layer content": python/ is on the path."""
    content = {"ZipFile": zip_module("VALUE = 42\n", "python/layered.py")}
    layer = account.client("lambda").publish_layer_version(LayerName="l", Content=content)
    code = "import layered\ndef handler(event, context): return layered.VALUE"
    account.create_function("f", code, account.create_role(), Layers=[layer["LayerVersionArn"]])
    assert call(account, None) == 42


def test_function_runs_as_a_session_of_its_role(account: EmulatorAccount) -> None:
    """Lambda developer guide, "Defining Lambda function permissions with an execution role"."""
    role = account.create_role(path="/signwatch/")
    account.create_function("f", WHO_AM_I, role)
    session = f"{role.rpartition('/')[2]}/f"
    assert call(account, None) == f"arn:aws:sts::{account.account_id}:assumed-role/{session}"


def test_function_can_do_only_what_its_role_allows(account: EmulatorAccount) -> None:
    """IAM user guide, "Policy evaluation logic": what no policy allows is denied."""
    for name in ("/open", "/closed"):
        account.client("ssm").put_parameter(Name=name, Value="here", Type="String")
    arn = f"arn:aws:ssm:eu-west-1:{account.account_id}:parameter/open"
    account.create_function(
        "f",
        READ_PARAMETER,
        account.create_role({"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": arn}),
    )
    assert call(account, "/open") == "here"
    assert "AccessDenied" in call(account, "/closed")["errorMessage"]


@pytest.mark.parametrize(("end", "answer"), [(":*", []), ("", "AccessDenied")])
def test_policy_for_log_events_needs_a_star_after_the_log_group(
    account: EmulatorAccount, end: str, answer: Any
) -> None:
    """CloudWatch Logs user guide, "CloudWatch Logs resources and operations"."""
    account.client("logs").create_log_group(logGroupName="own")
    arn = f"arn:aws:logs:eu-west-1:{account.account_id}:log-group:own{end}"
    account.create_function(
        "f",
        READ_LOG,
        account.create_role({"Effect": "Allow", "Action": "logs:FilterLogEvents", "Resource": arn}),
    )
    payload = call(account, "own")
    assert payload == answer if end else answer in payload["errorMessage"]


def test_log_lines_are_in_the_configured_group(account: EmulatorAccount) -> None:
    """Lambda developer guide, "Sending Lambda function logs to CloudWatch Logs"."""
    account.client("logs").create_log_group(logGroupName="own")
    account.create_function(
        "f", ECHO, account.create_role(WRITE_LOGS), LoggingConfig={"LogGroup": "own"}
    )
    call(account, "x")
    lines = wait_until(lambda: account.log_lines("own"))
    assert [line.split()[0] for line in lines] == ["INIT_START", "START", "seen", "END", "REPORT"]
    assert "awslambdaric" in lines[0]
    assert account.log_lines("/aws/lambda/f") == []


def test_nothing_is_logged_without_permission(account: EmulatorAccount) -> None:
    """Lambda developer guide, "Defining Lambda function permissions with an execution role"."""
    account.client("logs").create_log_group(logGroupName="own")
    account.create_function("f", ECHO, account.create_role(), LoggingConfig={"LogGroup": "own"})
    assert call(account, "x")["event"] == "x"
    assert account.log_lines("own") == []


def test_synchronous_call_returns_the_functions_error(account: EmulatorAccount) -> None:
    """Lambda API reference, Invoke: FunctionError."""
    account.create_function("f", FAIL, account.create_role())
    response = account.client("lambda").invoke(FunctionName="f")
    payload = json.loads(response["Payload"].read())
    assert response["FunctionError"] == "Unhandled"
    assert (payload["errorType"], payload["errorMessage"]) == ("ValueError", "no luck")


def test_failing_event_is_tried_three_times_and_then_a_dead_letter(
    account: EmulatorAccount,
) -> None:
    """Lambda developer guide, "Adding a dead-letter queue": three attributes are added."""
    dead = account.create_queue()
    create_failing_function(account, dead, allow_sending_to(dead))
    call(account, {"who": "anna"}, InvocationType="Event")
    body, attributes = dead.wait_for_message()
    assert body == {"who": "anna"}
    assert attributes.pop("RequestID")
    assert attributes == {"ErrorCode": "200", "ErrorMessage": "no luck"}
    assert count_tries(account) == 3


def test_dead_letter_is_lost_when_the_role_may_not_write(account: EmulatorAccount) -> None:
    """Lambda developer guide, "Adding a dead-letter queue": the role needs sqs:SendMessage."""
    closed, destination = account.create_queue(), account.create_queue()
    create_failing_function(account, closed, allow_sending_to(destination))
    destinations = {"OnFailure": {"Destination": destination.arn}}
    account.client("lambda").put_function_event_invoke_config(
        FunctionName="f", MaximumRetryAttempts=0, DestinationConfig=destinations
    )
    call(account, {"who": "anna"}, InvocationType="Event")
    destination.wait_for_message()
    assert closed.take_messages() == []


def test_failure_destination_gets_the_invocation_record(account: EmulatorAccount) -> None:
    """Lambda developer guide, "Capturing records of Lambda asynchronous invocations"."""
    queue = account.create_queue()
    arn = account.create_function(
        "f", FAIL, account.create_role(WRITE_LOGS, allow_sending_to(queue))
    )
    account.client("lambda").put_function_event_invoke_config(
        FunctionName="f",
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": queue.arn}},
    )
    call(account, {"who": "anna"}, InvocationType="Event")
    record, _ = queue.wait_for_message()
    assert record["requestPayload"] == {"who": "anna"}
    assert record["responsePayload"]["errorMessage"] == "no luck"
    assert record["responseContext"]["functionError"] == "Unhandled"
    context = record["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("RetriesExhausted", 2)
    assert context["functionArn"] == f"{arn}:$LATEST"


def test_throttled_event_waits_and_does_not_count_as_an_attempt(account: EmulatorAccount) -> None:
    """Lambda developer guide, "How Lambda handles errors and retries"."""
    dead = account.create_queue()
    create_failing_function(account, dead, allow_sending_to(dead))
    client = account.client("lambda")
    client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=0)
    with pytest.raises(client.exceptions.TooManyRequestsException):
        account.client("lambda").invoke(FunctionName="f")
    call(account, {"who": "anna"}, InvocationType="Event")
    client.delete_function_concurrency(FunctionName="f")
    dead.wait_for_message()
    assert count_tries(account) == 3


def test_event_from_a_rule_is_retried_and_becomes_a_dead_letter(account: EmulatorAccount) -> None:
    """EventBridge user guide: Lambda targets are invoked asynchronously."""
    account.create_trail()
    dead = account.create_queue()
    create_failing_function(account, dead, allow_sending_to(dead))
    rule = account.create_rule(
        "sign-ins", f"arn:aws:lambda:eu-west-1:{account.account_id}:function:f"
    )
    allow = {
        "Action": "lambda:InvokeFunction",
        "Principal": "events.amazonaws.com",
        "SourceArn": rule,
    }
    account.client("lambda").add_permission(FunctionName="f", StatementId="rule", **allow)
    event = account.make_event()
    account.emulator.send([event])
    assert dead.wait_for_message()[0] == event
    assert count_tries(account) == 3


def create_mapping(
    account: EmulatorAccount, code: str, *actions: str, **queue: str
) -> tuple[Queue, dict[str, Any]]:
    """Create a queue, a mapping, and a function whose role may do ``actions`` on the queue."""
    source = account.create_queue()
    source.client.set_queue_attributes(
        QueueUrl=source.url, Attributes={"VisibilityTimeout": "1", **queue}
    )
    account.create_function(
        "f",
        code,
        account.create_role(
            WRITE_LOGS, {"Effect": "Allow", "Action": list(actions), "Resource": source.arn}
        ),
    )
    mapping = account.client("lambda").create_event_source_mapping(
        FunctionName="f", EventSourceArn=source.arn, BatchSize=1
    )
    return source, mapping


def count_messages(queue: Queue) -> int:
    """Return the number of messages in a queue, hidden ones included."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    response = queue.client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=names)
    return sum(map(int, response["Attributes"].values()))


def test_mapping_gives_each_message_of_a_queue_to_the_function(
    account: EmulatorAccount,
) -> None:
    """Lambda developer guide, "Using Lambda with Amazon SQS"."""
    source, _ = create_mapping(account, ECHO, *MAPPING_ACTIONS)
    for number in (1, 2):
        source.client.send_message(QueueUrl=source.url, MessageBody=json.dumps({"n": number}))
    wait_until(lambda: len(log_lines_with(account, "seen")) > 1)
    wait_until(lambda: count_messages(source) == 0)
    for line in log_lines_with(account, "seen"):
        assert "'eventSource': 'aws:sqs'" in line
        assert line.count("'body'") == 1


def test_message_waits_until_its_delay_is_over(account: EmulatorAccount) -> None:
    """Amazon SQS API reference, SendMessage, DelaySeconds."""
    source, _ = create_mapping(account, ECHO, *MAPPING_ACTIONS)
    source.client.send_message(QueueUrl=source.url, MessageBody="later", DelaySeconds=900)
    source.client.send_message(QueueUrl=source.url, MessageBody="now")
    wait_until(lambda: log_lines_with(account, "'body': 'now'"))
    wait_until(lambda: count_messages(source) == 0)
    names = ["ApproximateNumberOfMessagesDelayed"]
    response = source.client.get_queue_attributes(QueueUrl=source.url, AttributeNames=names)
    assert response["Attributes"] == {"ApproximateNumberOfMessagesDelayed": "1"}
    assert not log_lines_with(account, "'body': 'later'")


def test_failing_message_is_retried_and_moves_to_the_dead_letters(
    account: EmulatorAccount,
) -> None:
    """Amazon SQS developer guide, "Using dead-letter queues", maxReceiveCount."""
    dead = account.create_queue()
    redrive = json.dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": 2})
    source, _ = create_mapping(account, FAIL, *MAPPING_ACTIONS, RedrivePolicy=redrive)
    source.client.send_message(QueueUrl=source.url, MessageBody=json.dumps({"who": "anna"}))
    assert dead.wait_for_message()[0] == {"who": "anna"}
    assert (count_tries(account), count_messages(source)) == (2, 0)


@pytest.mark.parametrize("missing", MAPPING_ACTIONS)
def test_mapping_takes_no_message_without_each_permission_of_the_role(
    account: EmulatorAccount, missing: str
) -> None:
    """Lambda developer guide, "Using Lambda with Amazon SQS": all three are needed."""
    source, _ = create_mapping(
        account, ECHO, *(action for action in MAPPING_ACTIONS if action != missing)
    )
    source.client.send_message(QueueUrl=source.url, MessageBody="x")
    time.sleep(2.5)  # two rounds of the emulator's poller
    assert count_messages(source) == 1
    assert account.log_lines("/aws/lambda/f") == []


def test_disabled_mapping_takes_no_message(account: EmulatorAccount) -> None:
    """Lambda API reference, UpdateEventSourceMapping, Enabled."""
    source, mapping = create_mapping(account, ECHO, *MAPPING_ACTIONS)
    account.client("lambda").update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    source.client.send_message(QueueUrl=source.url, MessageBody="x")
    time.sleep(2.5)  # two rounds of the emulator's poller
    assert count_messages(source) == 1


def test_pool_is_limited_and_closes_the_longest_idle_sandbox() -> None:
    """Lambda developer guide, "Understanding Lambda function scaling"."""
    sandboxes: list[Any] = [FakeSandbox() for _ in range(4)]
    pool, unused = Pool(2), iter(sandboxes)
    owners = [Owner("1", "eu-west-1", name) for name in "abc"]

    def make() -> Any:
        return next(unused)

    first, second = (pool.take(owner, "code", make) for owner in owners[:2])
    with ThreadPoolExecutor() as threads:
        third = threads.submit(pool.take, owners[2], "code", make)
        with pytest.raises(TimeoutError):
            third.result(0.2)
        pool.give_back(second)
        assert third.result(5).sandbox is sandboxes[2]
    assert [sandbox.closed for sandbox in sandboxes[:3]] == [False, True, False]
    pool.give_back(first)
    assert pool.take(owners[0], "code", make) is first
    pool.close(owners[0])
    assert not sandboxes[0].closed
    pool.give_back(first)
    assert sandboxes[0].closed
    assert pool.take(owners[0], "code", make).sandbox is sandboxes[3]
