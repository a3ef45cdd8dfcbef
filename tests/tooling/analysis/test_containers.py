"""Containers: each form gives its records; what is no record is never judged."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.sign_ins import CASES, event
from tooling.analysis import containers, explain
from tooling.analysis.explain_report import Streams
from tooling.errors import FailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

EVENT = event("iam-user-signs-in-with-mfa")  # as EventBridge delivers it
RECORD = EVENT["detail"]  # as a trail's file holds it
TEXT = json.dumps(RECORD)


def to_csv(columns: Sequence[str], *rows: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([columns, *rows])
    return out.getvalue()


def to_subscription(*messages: str, message_type: str = "DATA_MESSAGE") -> dict[str, Any]:
    """What a subscription filter sends to a function."""
    log_events = [
        {"id": "1", "timestamp": 1763632800000, "message": message} for message in messages
    ]
    batch = {"messageType": message_type, "owner": "111122223333", "logEvents": log_events}
    packed = gzip.compress(json.dumps(batch).encode())
    return {"awslogs": {"data": base64.b64encode(packed).decode()}}


def to_sqs_event(body: str) -> dict[str, Any]:
    """What SQS sends to a function."""
    message = {"messageId": "m", "body": body, "awsRegion": "eu-north-1"}
    return {"Records": [{**message, "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:q"}]}


def to_sns_event(message: str) -> dict[str, Any]:
    """What SNS sends to a function."""
    notification = {"Type": "Notification", "TopicArn": "arn:aws:sns:t", "Message": message}
    return {"Records": [{"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": notification}]}


def to_failure(event: object) -> dict[str, Any]:
    """What Lambda sends to the destination of a failed invocation."""
    return {
        "version": "1.0",
        "requestContext": {"condition": "RetriesExhausted"},
        "requestPayload": event,
        "responseContext": {"statusCode": 200},
        "responsePayload": {"errorMessage": "DeliveryError"},
    }


def to_received(body: str) -> dict[str, Any]:
    """The output of receive-message."""
    return {"Messages": [{"MessageId": "m", "ReceiptHandle": "h", "MD5OfBody": "5", "Body": body}]}


NOTIFICATION = {"Type": "Notification", "MessageId": "m", "TopicArn": "t", "Message": TEXT}
LOG_EVENT = {"logStreamName": "s", "timestamp": 1, "message": TEXT, "eventId": "3"}
LOOKUP_EVENT = {"EventId": "x", "EventName": "ConsoleLogin", "CloudTrailEvent": TEXT}
INSIGHTS_ROW = [{"field": "@timestamp", "value": "t"}, {"field": "@message", "value": TEXT}]
LAKE_ROW = [{"eventName": "ConsoleLogin"}, {"eventJson": TEXT}]
KINESIS = {"kinesis": {"data": base64.b64encode(TEXT.encode()).decode()}, "eventID": "shardId-0:1"}
NESTED = to_received(
    json.dumps(
        {**NOTIFICATION, "Message": json.dumps(to_failure(to_sqs_event(json.dumps(
            to_subscription(TEXT)))))}
    )
)  # fmt: skip
CONTAINERS: dict[str, object] = {
    "EventBridge event": EVENT,
    "EventBridge event with its record as text": {**EVENT, "detail": TEXT},
    "log file": {"Records": [RECORD]},
    "lookup-events": {"Events": [LOOKUP_EVENT]},
    "lookup-events --query 'Events[]'": [LOOKUP_EVENT],
    "lookup-events --query 'Events[].CloudTrailEvent'": [TEXT],
    "lookup-events --query 'Events[0].CloudTrailEvent'": TEXT,
    "filter-log-events": {"events": [LOG_EVENT], "searchedLogStreams": []},
    "filter-log-events, raw events": {"events": [{**LOG_EVENT, "message": json.dumps(EVENT)}]},
    "filter-log-events --query 'events[].message'": [TEXT],
    "get-log-events": {"events": [{"timestamp": 1, "message": TEXT}], "nextForwardToken": "f"},
    "Logs Insights": {"results": [INSIGHTS_ROW], "status": "Complete"},
    "Logs Insights, rows": [INSIGHTS_ROW],
    "Logs Insights, console": [{"@timestamp": "t", "@message": TEXT}],
    "Logs Insights, console, parsed": [{"@timestamp": "t", "@message": RECORD, "eventName": "x"}],
    "get-log-record": {"logRecord": {"@message": TEXT, "@timestamp": "1"}},
    "receive-message": to_received(TEXT),
    "receive-message, an EventBridge event": to_received(json.dumps(EVENT)),
    "receive-message --query 'Messages[].Body'": [TEXT],
    "SQS event": to_sqs_event(json.dumps(EVENT)),
    "SNS event": to_sns_event(TEXT),
    "SNS notification": NOTIFICATION,
    "SNS notification in a queue": to_received(json.dumps(NOTIFICATION)),
    "failed invocation": to_failure(EVENT),
    "failed invocation of a queue's event": to_failure(to_sqs_event(json.dumps(EVENT))),
    "failed invocation in a queue": to_received(json.dumps(to_failure(EVENT))),
    "failed invocation on a bus": {
        "detail-type": "Lambda Function Invocation Result - Failure",
        "detail": to_failure(EVENT),
    },
    "subscription": to_subscription(TEXT),
    "subscription in a stream": {
        "Records": [{**KINESIS, "eventName": "aws:kinesis:record", "eventSource": "aws:kinesis"}]
    },
    "subscription in a delivery stream": {
        "records": [{"recordId": "1", "data": to_subscription(TEXT)["awslogs"]["data"]}]
    },
    "CloudTrail Lake": {"QueryStatus": "FINISHED", "QueryResultRows": [LAKE_ROW]},
    "CloudTrail Lake, one column": {"QueryResultRows": [[{"eventJson": TEXT}]]},
    "CloudTrail Lake, rows": [LAKE_ROW],
    "nested": NESTED,
}
CSV_FILES = {
    "CloudTrail Lake": to_csv(["eventName", "eventJson"], ["ConsoleLogin", TEXT]),
    "CloudTrail Lake, names in lower case": to_csv(["eventname", "eventjson"], ["x", TEXT]),
    "Logs Insights": to_csv(["@timestamp", "@message"], ["2026-11-20", TEXT]),
    "one column": to_csv(["eventJson"], [TEXT]),
}
INSIGHT = {
    "eventVersion": "1.09",
    "eventTime": "2026-11-20T10:00:00Z",
    "awsRegion": "us-east-1",
    "eventID": "55ed45c5",
    "eventType": "AwsCloudTrailInsight",
    "recipientAccountId": "111122223333",
    "insightDetails": {"state": "Start", "eventSource": "s3.amazonaws.com", "eventName": "Get"},
    "eventCategory": "Insight",
}
NO_RECORDS: dict[str, object] = {
    "log file of Insights": {"Records": [INSIGHT]},
    "event of Insights": {"detail-type": "AWS Insight via CloudTrail", "detail": INSIGHT},
    "event pattern": {"source": ["aws.signin"], "detail": {"eventName": ["ConsoleLogin"]}},
    "event pattern with more keys": {
        "detail-type": ["AWS Console Sign In via CloudTrail"],
        "detail": {"eventSource": ["x"], "eventName": ["y"], "userIdentity": {"type": ["Root"]}},
    },
    "one text of a record": {"eventVersion": "1.0", "foo": 1},
    "one number of a record": {"eventID": 5},
    "numbers of a record": {"eventID": 5, "eventVersion": 1, "eventName": None},
    "lookup-events without an event": {"Events": []},
    "log file without a record": {"Records": []},
    "empty list": [],
    "empty lists": [[], {"Records": []}],
    "empty object": {},
    "arbitrary JSON": {"name": "signwatch", "version": "0.1.0", "files": ["a"]},
    "error of an API": {"detail": "Not found"},
    "number": 7,
    "text": "ConsoleLogin",
    "list of texts": ["a", "b"],
    "another EventBridge event": {
        "version": "0",
        "source": "aws.ec2",
        "account": "111122223333",
        "detail-type": "EC2 Instance State-change Notification",
        "detail": {"state": "x"},
    },
    "log line": {"events": [{"timestamp": 1, "message": "START RequestId: 1"}]},
    "message": to_received("hello"),
    "alert by e-mail": {**NOTIFICATION, "Message": "AWS SIGN-IN ALERT account ...3333"},
    "stream of DynamoDB": {
        "Records": [{"eventID": "1", "eventName": "INSERT", "eventSource": "aws:dynamodb"}]
    },
    "notice of a new object": {
        "Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {}}]
    },
    "CloudTrail Lake without eventJson": {
        "QueryResultRows": [[{"eventName": "ConsoleLogin"}, {"sourceIPAddress": "192.0.2.1"}]]
    },
    "Logs Insights without @message": {"results": [[{"field": "eventName", "value": "x"}]]},
    "failed invocation without an event": to_failure({}),
    "lookup-events without its text": {"Events": [{"EventId": "x", "CloudTrailEvent": 5}]},
}
CONSOLE_CSV = to_csv(
    ["Event name", "Event time", "User name", "Event source", "Resource type", "Resource name"],
    ["ConsoleLogin", "2026-11-20T10:00:00Z", "Anaya", "signin.amazonaws.com", "", ""],
)


def explain_text(text: str) -> tuple[list[dict[str, Any]], str, int]:
    """Return the rows that explain prints as JSON, its messages, and its exit code."""
    out, err = io.StringIO(), io.StringIO()
    streams = Streams(lambda: io.BytesIO(text.encode()), out, err)
    code = 0
    try:
        explain.run(["-"], explain.choose_criteria({}, ""), streams, as_json=True)
    except FailedError as error:
        code = error.exit_code
    return [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue(), code


def unwrap(value: object) -> list[Any]:
    return list(containers.unwrap(value))


@pytest.mark.parametrize("name", CONTAINERS)
def test_each_container_gives_its_record(name: str) -> None:
    rows, messages, code = explain_text(json.dumps(CONTAINERS[name], indent=2))
    assert (messages, code) == ("", 0)
    assert [(row["event_name"], row["who"], row["class"]) for row in rows] == [
        ("ConsoleLogin", "Anaya", "sign-in")
    ]


@pytest.mark.parametrize("name", CSV_FILES)
def test_each_table_gives_its_record(name: str) -> None:
    rows, messages, code = explain_text(CSV_FILES[name])
    assert (messages, code) == ("", 0)
    assert [(row["event_name"], row["who"]) for row in rows] == [("ConsoleLogin", "Anaya")]


@pytest.mark.parametrize(
    "text",
    [*map(json.dumps, NO_RECORDS.values()), CONSOLE_CSV, CSV_FILES["one column"][:11] + '"x"\r\n'],
    ids=[*NO_RECORDS, "CSV of the console", "CSV without a record"],
)
def test_what_is_no_record_is_a_fault_and_no_alert(text: str) -> None:
    rows, messages, code = explain_text(text)
    assert (rows, code) == ([], 1)
    assert messages.splitlines() == [
        "-: no CloudTrail record here",
        "Try: leave it out; docs/explain-and-coverage.md lists what holds records",
    ]


@pytest.mark.parametrize("name", ["control", "digest"])
def test_a_control_message_and_a_digest_file_hold_nothing(name: str) -> None:
    values = {
        "control": to_subscription("CWL CONTROL MESSAGE", message_type="CONTROL_MESSAGE"),
        "digest": {"digestS3Bucket": "b", "logFiles": [{"s3Bucket": "b"}]},
    }
    assert unwrap(values[name]) == []


def test_a_list_of_records_is_read_whatever_stands_beside_it() -> None:
    for other in ({"digestS3Bucket": "b", "logFiles": []}, {"eventName": "x"}):
        assert unwrap({"Records": [RECORD], **other}) == [RECORD]


@pytest.mark.parametrize("key", sorted(RECORD))
@pytest.mark.parametrize("container", ["bare", "file", "lookup", "event"])
def test_a_record_that_lacks_a_field_is_still_judged(key: str, container: str) -> None:
    damaged = {name: value for name, value in RECORD.items() if name != key}
    value: object = {
        "bare": damaged,
        "file": {"Records": [damaged]},
        "lookup": {"Events": [{"CloudTrailEvent": json.dumps(damaged)}]},
        "event": {**EVENT, "detail": damaged},
    }[container]
    assert unwrap(value) == [value if container == "event" else damaged]


@pytest.mark.parametrize("key", sorted(EVENT))
@pytest.mark.parametrize("odd", [None, 7, "x", [], {}, "missing"], ids=repr)
def test_an_event_with_an_odd_field_is_still_judged(key: str, odd: object) -> None:
    damaged = {**EVENT, key: odd}
    if odd == "missing":
        del damaged[key]
    assert unwrap(damaged) == [damaged]


@pytest.mark.parametrize("key", sorted(containers.RECORD_KEYS))
def test_two_fields_that_a_record_has_make_a_record(key: str) -> None:
    for other in containers.RECORD_KEYS:
        damaged = {name: RECORD[name] for name in (key, other)}
        assert unwrap(damaged) == [containers.NotARecord() if key == other else damaged]
    rows, _, _ = explain_text(json.dumps({key: RECORD[key], "eventName": "x", "eventID": "x"}))
    assert len(rows) == 1


def test_a_record_that_cannot_be_read_is_still_an_alert() -> None:
    rows, _, _ = explain_text(json.dumps({"eventID": "x", "userIdentity": {}}))
    assert [(row["class"], row["verdict"]) for row in rows] == [("unreadable", "alert")]


@pytest.mark.parametrize("detail", [{"x": 1}, {}, None, 7, "x", "{", [RECORD]], ids=repr)
def test_a_record_with_a_field_detail_is_judged_by_itself(detail: object) -> None:
    assert unwrap({**RECORD, "detail": detail}) == [RECORD]


def test_a_record_in_the_detail_of_another_is_judged() -> None:
    outer = {"eventName": "x", "eventID": "x"}
    for detail in (RECORD, TEXT):
        assert unwrap({**outer, "detail": detail}) == [{**outer, "detail": RECORD}]


def test_a_record_with_names_is_no_event_of_insights() -> None:
    record = {**RECORD, "eventType": "AwsCloudTrailInsight", "insightDetails": {}}
    assert unwrap(record) == [record]


def test_an_empty_list_beside_a_record_is_no_fault() -> None:
    rows, messages, code = explain_text(json.dumps([{"Events": []}, RECORD, []]))
    assert [row["index"] for row in rows] == [0]
    assert (messages, code) == ("", 0)


def test_every_case_file_is_a_record_unless_it_is_a_text() -> None:
    for name, case in CASES.items():
        expected = [case["event"]] if isinstance(case["event"], dict) else [containers.NotARecord()]
        assert unwrap(case["event"]) == expected, name


def test_broken_content_is_named_by_its_field_and_place() -> None:
    for value, place in [
        ([TEXT, TEXT[:20]], "text of event 1, line 1, column 18"),
        (to_received('{\n"a"'), "Body of event 0, line 2, column 4"),
        (to_subscription("{"), "message of event 0, line 1, column 2"),
        ({"awslogs": {"data": "?"}}, "data of event 0"),
        ({"awslogs": {"data": "H4sIAAAA"}}, "data of event 0, byte 6"),
        ({"awslogs": {"data": base64.b64encode(b'{"a"').decode()}}, "line 1, column 5"),
    ]:
        _, messages, code = explain_text(json.dumps(value))
        assert place in messages
        assert code == 1


def test_nesting_is_unwrapped_to_a_limit() -> None:
    def nest(depth: int) -> object:
        value: object = RECORD
        for _ in range(depth):
            value = {"Records": [value]}
        return value

    assert unwrap(nest(containers.MAX_DEPTH)) == [RECORD]
    (found,) = unwrap(nest(containers.MAX_DEPTH + 1))
    assert (found.key, found.problem) == ("Records", "is packed too deeply")


class TestBroken:
    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ('"eventName": "ConsoleLogin"}', "line 1, column 12"),
            ('"eventName"\n: "ConsoleLogin"}', "line 2, column 1"),
            ('7 "x" true, {}', "line 1, column 11"),
            ('"eventName": "A",\n{"eventName": "B", "eventID": "x"}', "line 1, column 12"),
        ],
    )
    def test_json_that_begins_with_a_text_gives_the_error_alone(
        self, text: str, place: str
    ) -> None:
        rows, messages, code = explain_text(text)
        assert messages.startswith(f"-: {place}: is not JSON (")
        assert messages.count("\nTry: ") == 1
        assert code == 1
        assert [row["event_name"] for row in rows] == (["B"] if '"B"' in text else [])

    def test_a_record_as_text_before_a_broken_place_is_judged(self) -> None:
        rows, messages, _ = explain_text(f"{json.dumps(TEXT)}, {json.dumps(TEXT)}")
        assert [row["who"] for row in rows] == ["Anaya"]
        assert "is not JSON" in messages

    def test_a_broken_table_is_read_up_to_the_broken_row(self) -> None:
        table = CSV_FILES["one column"]
        rows, messages, code = explain_text(table + '"{')
        assert [row["who"] for row in rows] == ["Anaya"]
        assert messages.startswith("-: line 3, column 1: is not CSV (")
        assert code == 1


def test_values_that_are_no_record_are_named_once_a_file() -> None:
    rows, messages, code = explain_text(json.dumps([7, RECORD, "x", {}]))
    assert [(row["index"], row["who"]) for row in rows] == [(1, "Anaya")]
    assert messages.startswith("-: event 0: no CloudTrail record here, nor in 2 more\n")
    assert code == 1


def test_a_row_is_found_only_where_all_cells_are_of_one_form() -> None:
    assert unwrap([[RECORD, RECORD]]) == [RECORD, RECORD]
    assert unwrap([[{"field": "@message", "value": TEXT}, {"eventJson": TEXT}]]) == [RECORD]
