"""Lambda on the local AWS emulator: run from the uploaded zip as its role, retried, given up into the dead-letter queue."""

from __future__ import annotations

import io
import json
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.emulator import EmulatorAccount, Queue, until, zipped
from tooling.local.adapter.pool import Owner, Pool

if TYPE_CHECKING:
    from tooling.local.emulator import Emulator

pytestmark = [pytest.mark.local]

ECHO = """
import os
def handler(event, context):
    print("seen", event)
    return {"event": event, "pid": os.getpid(), "name": os.environ.get("NAME"), "arn": context.invoked_function_arn}
"""
ME = """
import boto3
def handler(event, context):
    return boto3.client("sts").get_caller_identity()["Arn"]
"""
READ = """
import boto3
def handler(event, context):
    return boto3.client("ssm").get_parameter(Name=event)["Parameter"]["Value"]
"""
FIND = """
import boto3
def handler(event, context):
    return boto3.client("logs").filter_log_events(logGroupName=event)["events"]
"""
FAIL = """
def handler(event, context):
    print("tried", context.aws_request_id)
    raise ValueError("no luck")
"""
TAKING = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
LOGS = {"Effect": "Allow", "Action": "logs:*", "Resource": "*"}


class Environment:
    """A stand-in for a sandbox that only knows whether it is closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def laptop(emulator: Emulator) -> EmulatorAccount:
    return EmulatorAccount.on(emulator)


def call(laptop: EmulatorAccount, event: Any, name: str = "f", **more: Any) -> Any:
    answer = laptop.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event), **more)
    return json.loads(answer["Payload"].read() or "null")


def failing(laptop: EmulatorAccount, dead: Queue, *statements: dict[str, Any], **more: Any) -> None:
    laptop.function(
        "f", FAIL, laptop.role(LOGS, *statements), DeadLetterConfig={"TargetArn": dead.arn}, **more
    )


def may_write(queue: Queue) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": queue.arn}


def tries(laptop: EmulatorAccount) -> int:
    return len([line for line in laptop.lines("/aws/lambda/f") if line.startswith("tried")])


def test_the_uploaded_code_answers_and_stays_warm(laptop: EmulatorAccount) -> None:
    """Lambda developer guide, "Understanding the Lambda execution environment lifecycle"."""
    arn = laptop.function("f", ECHO, laptop.role())
    first, second = call(laptop, {"n": 1}), call(laptop, {"n": 2})
    assert (first["event"], second["event"], first["arn"]) == ({"n": 1}, {"n": 2}, arn)
    assert first["pid"] == second["pid"]


def test_new_code_and_new_configuration_begin_anew(laptop: EmulatorAccount) -> None:
    """Lambda developer guide, "Understanding the Lambda execution environment lifecycle"."""
    laptop.function("f", ECHO, laptop.role())
    client, first = laptop.client("lambda"), call(laptop, 1)
    client.update_function_configuration(
        FunctionName="f", Environment={"Variables": {"NAME": "new"}}
    )
    until(
        lambda: (
            client.get_function_configuration(FunctionName="f")["LastUpdateStatus"] == "Successful"
        )
    )
    second = call(laptop, 2)
    assert (first["name"], second["name"]) == (None, "new")
    assert first["pid"] != second["pid"]
    client.update_function_code(
        FunctionName="f", ZipFile=zipped("def handler(event, context): return 'other'")
    )
    assert call(laptop, 3) == "other"


def test_a_layers_modules_can_be_imported(laptop: EmulatorAccount) -> None:
    """Lambda developer guide, "Packaging your layer content": python/ is on the path."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("python/layered.py", "VALUE = 42\n")
    client = laptop.client("lambda")
    layer = client.publish_layer_version(LayerName="l", Content={"ZipFile": content.getvalue()})[
        "LayerVersionArn"
    ]
    code = "import layered\ndef handler(event, context): return layered.VALUE"
    laptop.function("f", code, laptop.role(), Layers=[layer])
    assert call(laptop, None) == 42


def test_a_function_is_a_session_of_its_role(laptop: EmulatorAccount) -> None:
    """Lambda developer guide, "Defining Lambda function permissions with an execution role"."""
    role = laptop.role(path="/signwatch/")
    laptop.function("f", ME, role)
    assert (
        call(laptop, None)
        == f"arn:aws:sts::{laptop.account}:assumed-role/{role.rpartition('/')[2]}/f"
    )


def test_a_function_may_do_what_its_role_may_and_no_more(laptop: EmulatorAccount) -> None:
    """IAM user guide, "Policy evaluation logic": what no policy allows is denied."""
    for name in ("/open", "/closed"):
        laptop.client("ssm").put_parameter(Name=name, Value="here", Type="String")
    arn = f"arn:aws:ssm:eu-west-1:{laptop.account}:parameter/open"
    laptop.function(
        "f", READ, laptop.role({"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": arn})
    )
    assert call(laptop, "/open") == "here"
    assert "AccessDenied" in call(laptop, "/closed")["errorMessage"]


@pytest.mark.parametrize(("end", "answer"), [(":*", []), ("", "AccessDenied")])
def test_what_is_in_a_log_group_is_named_with_a_star_at_the_end(
    laptop: EmulatorAccount, end: str, answer: Any
) -> None:
    """CloudWatch Logs user guide, "CloudWatch Logs resources and operations"."""
    laptop.client("logs").create_log_group(logGroupName="own")
    arn = f"arn:aws:logs:eu-west-1:{laptop.account}:log-group:own{end}"
    laptop.function(
        "f",
        FIND,
        laptop.role({"Effect": "Allow", "Action": "logs:FilterLogEvents", "Resource": arn}),
    )
    found = call(laptop, "own")
    assert found == answer if end else answer in found["errorMessage"]


def test_log_lines_go_into_the_named_group_as_lambda_writes_them(laptop: EmulatorAccount) -> None:
    """Lambda developer guide, "Sending Lambda function logs to CloudWatch Logs" (LoggingConfig.LogGroup)."""
    laptop.client("logs").create_log_group(logGroupName="own")
    laptop.function("f", ECHO, laptop.role(LOGS), LoggingConfig={"LogGroup": "own"})
    call(laptop, "x")
    lines = until(lambda: laptop.lines("own"))
    assert [line.split()[0] for line in lines] == ["INIT_START", "START", "seen", "END", "REPORT"]
    assert "awslambdaric" in lines[0]
    assert laptop.lines("/aws/lambda/f") == []


def test_without_permission_nothing_is_logged(laptop: EmulatorAccount) -> None:
    """Lambda developer guide, "Defining Lambda function permissions with an execution role"."""
    laptop.client("logs").create_log_group(logGroupName="own")
    laptop.function("f", ECHO, laptop.role(), LoggingConfig={"LogGroup": "own"})
    assert call(laptop, "x")["event"] == "x"
    assert laptop.lines("own") == []


def test_an_error_is_reported_to_who_waits_for_it(laptop: EmulatorAccount) -> None:
    """Lambda API reference, Invoke: FunctionError."""
    laptop.function("f", FAIL, laptop.role())
    answer = laptop.client("lambda").invoke(FunctionName="f")
    told = json.loads(answer["Payload"].read())
    assert (answer["FunctionError"], told["errorType"], told["errorMessage"]) == (
        "Unhandled",
        "ValueError",
        "no luck",
    )


def test_a_failing_event_is_tried_three_times_and_then_a_dead_letter(
    laptop: EmulatorAccount,
) -> None:
    """Lambda developer guide, "Adding a dead-letter queue": the event itself, with three attributes."""
    dead = laptop.queue()
    failing(laptop, dead, may_write(dead))
    call(laptop, {"who": "anna"}, InvocationType="Event")
    body, attributes = dead.one()
    assert body == {"who": "anna"}
    assert attributes.pop("RequestID")
    assert attributes == {"ErrorCode": "200", "ErrorMessage": "no luck"}
    assert tries(laptop) == 3


def test_a_role_that_may_not_write_loses_the_dead_letter(laptop: EmulatorAccount) -> None:
    """Lambda developer guide, "Adding a dead-letter queue": the role needs sqs:SendMessage."""
    closed, heard = laptop.queue(), laptop.queue()
    failing(laptop, closed, may_write(heard))
    onward = {"OnFailure": {"Destination": heard.arn}}
    laptop.client("lambda").put_function_event_invoke_config(
        FunctionName="f", MaximumRetryAttempts=0, DestinationConfig=onward
    )
    call(laptop, {"who": "anna"}, InvocationType="Event")
    heard.one()
    assert closed.messages() == []


def test_a_failure_destination_gets_the_invocation_record(laptop: EmulatorAccount) -> None:
    """Lambda developer guide, "Capturing records of Lambda asynchronous invocations"."""
    heard = laptop.queue()
    arn = laptop.function("f", FAIL, laptop.role(LOGS, may_write(heard)))
    laptop.client("lambda").put_function_event_invoke_config(
        FunctionName="f",
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": heard.arn}},
    )
    call(laptop, {"who": "anna"}, InvocationType="Event")
    record, _ = heard.one()
    assert record["requestPayload"] == {"who": "anna"}
    assert record["responsePayload"]["errorMessage"] == "no luck"
    assert record["responseContext"]["functionError"] == "Unhandled"
    context = record["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("RetriesExhausted", 2)
    assert context["functionArn"] == f"{arn}:$LATEST"


def test_a_throttled_event_waits_and_is_no_attempt(laptop: EmulatorAccount) -> None:
    """Lambda developer guide, "How Lambda handles errors and retries with asynchronous invocation"."""
    dead = laptop.queue()
    failing(laptop, dead, may_write(dead))
    client = laptop.client("lambda")
    client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=0)
    with pytest.raises(client.exceptions.TooManyRequestsException):
        laptop.client("lambda").invoke(FunctionName="f")
    call(laptop, {"who": "anna"}, InvocationType="Event")
    client.delete_function_concurrency(FunctionName="f")
    dead.one()
    assert tries(laptop) == 3


def test_an_event_from_a_rule_is_retried_and_given_up_as_well(laptop: EmulatorAccount) -> None:
    """EventBridge user guide, "Using resource-based policies": Lambda targets are invoked asynchronously."""
    laptop.trail()
    dead = laptop.queue()
    failing(laptop, dead, may_write(dead))
    rule = laptop.rule("sign-ins", f"arn:aws:lambda:eu-west-1:{laptop.account}:function:f")
    allow = {
        "Action": "lambda:InvokeFunction",
        "Principal": "events.amazonaws.com",
        "SourceArn": rule,
    }
    laptop.client("lambda").add_permission(FunctionName="f", StatementId="rule", **allow)
    event = laptop.event()
    laptop.emulator.send([event])
    assert dead.one()[0] == event
    assert tries(laptop) == 3


def mapped(
    laptop: EmulatorAccount, code: str, *actions: str, **queue: str
) -> tuple[Queue, dict[str, Any]]:
    """A queue that a mapping hands to a function whose role may do ``actions`` on it."""
    source = laptop.queue()
    source.client.set_queue_attributes(
        QueueUrl=source.url, Attributes={"VisibilityTimeout": "1", **queue}
    )
    laptop.function(
        "f",
        code,
        laptop.role(LOGS, {"Effect": "Allow", "Action": list(actions), "Resource": source.arn}),
    )
    made = laptop.client("lambda").create_event_source_mapping(
        FunctionName="f", EventSourceArn=source.arn, BatchSize=1
    )
    return source, made


def waiting(queue: Queue) -> int:
    """The messages that lie in a queue, hidden ones too."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = queue.client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=names)[
        "Attributes"
    ]
    return sum(map(int, found.values()))


def test_a_mapping_hands_each_message_of_a_queue_to_the_function_in_its_runtime(
    laptop: EmulatorAccount,
) -> None:
    """Lambda developer guide, "Using Lambda with Amazon SQS"."""
    source, _ = mapped(laptop, ECHO, *TAKING)
    for number in (1, 2):
        source.client.send_message(QueueUrl=source.url, MessageBody=json.dumps({"n": number}))
    lines = until(
        lambda: [line for line in laptop.lines("/aws/lambda/f") if line.startswith("seen")][1:]
    )
    assert lines
    until(lambda: waiting(source) == 0)
    whole = [line for line in laptop.lines("/aws/lambda/f") if line.startswith("seen")]
    assert all("'eventSource': 'aws:sqs'" in line and line.count("'body'") == 1 for line in whole)


def test_a_message_waits_until_its_delay_is_over(laptop: EmulatorAccount) -> None:
    """Amazon SQS API reference, SendMessage, DelaySeconds."""
    source, _ = mapped(laptop, ECHO, *TAKING)
    source.client.send_message(QueueUrl=source.url, MessageBody="later", DelaySeconds=900)
    source.client.send_message(QueueUrl=source.url, MessageBody="now")
    until(lambda: [line for line in laptop.lines("/aws/lambda/f") if "'body': 'now'" in line])
    until(lambda: waiting(source) == 0)
    named = ["ApproximateNumberOfMessagesDelayed"]
    found = source.client.get_queue_attributes(QueueUrl=source.url, AttributeNames=named)[
        "Attributes"
    ]
    assert found == {"ApproximateNumberOfMessagesDelayed": "1"}
    assert not [line for line in laptop.lines("/aws/lambda/f") if "'body': 'later'" in line]


def test_what_the_function_cannot_finish_comes_again_and_then_lies_with_the_dead_letters(
    laptop: EmulatorAccount,
) -> None:
    """Amazon SQS developer guide, "Using dead-letter queues": after maxReceiveCount the message itself moves."""
    dead = laptop.queue()
    redrive = json.dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": 2})
    source, _ = mapped(laptop, FAIL, *TAKING, RedrivePolicy=redrive)
    source.client.send_message(QueueUrl=source.url, MessageBody=json.dumps({"who": "anna"}))
    assert dead.one()[0] == {"who": "anna"}
    assert (tries(laptop), waiting(source)) == (2, 0)


@pytest.mark.parametrize("missing", TAKING)
def test_a_mapping_takes_nothing_that_the_functions_role_may_not(
    laptop: EmulatorAccount, missing: str
) -> None:
    """Lambda developer guide, "Using Lambda with Amazon SQS": the execution role needs all three."""
    source, _ = mapped(laptop, ECHO, *(action for action in TAKING if action != missing))
    source.client.send_message(QueueUrl=source.url, MessageBody="x")
    time.sleep(2.5)  # two rounds of the emulator's poller
    assert waiting(source) == 1
    assert laptop.lines("/aws/lambda/f") == []


def test_a_disabled_mapping_takes_nothing(laptop: EmulatorAccount) -> None:
    """Lambda API reference, UpdateEventSourceMapping, Enabled."""
    source, made = mapped(laptop, ECHO, *TAKING)
    laptop.client("lambda").update_event_source_mapping(UUID=made["UUID"], Enabled=False)
    source.client.send_message(QueueUrl=source.url, MessageBody="x")
    time.sleep(2.5)  # two rounds of the emulator's poller
    assert waiting(source) == 1


def test_the_environments_are_bounded_and_the_one_that_rested_longest_makes_room() -> None:
    """Lambda developer guide, "Understanding Lambda function scaling": one invocation at a time in each."""
    made: list[Any] = [Environment() for _ in range(4)]
    pool, left = Pool(2), iter(made)
    owners = [Owner("1", "eu-west-1", name) for name in "abc"]

    def make() -> Any:
        return next(left)

    first, second = (pool.take(owner, "code", make) for owner in owners[:2])
    with ThreadPoolExecutor() as threads:
        third = threads.submit(pool.take, owners[2], "code", make)
        with pytest.raises(TimeoutError):
            third.result(0.2)
        pool.give(second)
        assert third.result(5).sandbox is made[2]
    assert [environment.closed for environment in made[:3]] == [False, True, False]
    pool.give(first)
    assert pool.take(owners[0], "code", make) is first
    pool.close(owners[0])
    assert not made[0].closed
    pool.give(first)
    assert made[0].closed
    assert pool.take(owners[0], "code", make).sandbox is made[3]
