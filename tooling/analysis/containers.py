"""Unwraps CloudTrail records from what they are packed in: files, logs, queues, topics, queries.

What counts as a record, so that a damaged record is still judged and nothing else is:

- an object with two of RECORD_KEYS that hold what they hold in a record, unless its source begins
  with "aws:" (events of Lambda's own sources look alike) or it is an event of CloudTrail Insights
- an EventBridge event whose ``detail`` is such an object, or whose type is one of CloudTrail's and
  whose ``detail`` is no event of CloudTrail Insights

A container is an object or a list whose form says where its content is. The content is unwrapped
again, up to MAX_DEPTH levels. Content may be text that holds JSON, or base64 of gzip.

Facts: AWS CloudTrail User Guide, "CloudTrail log file examples", "CloudTrail record contents for
Insights events", "CloudTrail digest file structure" and "CloudTrail Lake supported event schemas"
(eventJson); AWS CLI reference, cloudtrail
lookup-events and get-query-results, logs filter-log-events, get-query-results and get-log-record,
sqs receive-message; CloudWatch Logs User Guide, "Real-time processing of log data with
subscriptions"; Lambda Developer Guide, "Using Lambda with Amazon SQS", "Using Lambda with Amazon
SNS" and "Capturing records of Lambda asynchronous invocations"; Amazon SNS Developer Guide,
"Parsing Amazon SNS message formats"; Amazon EventBridge, "Events delivered via CloudTrail".
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from signwatch.detection.sign_in_paths import ANOMALY_TYPE
from tooling.analysis import documents
from tooling.analysis.documents import DecodeError, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 24  # a trail batch in a failure record in a topic's message in a queue has 14
NAME_KEYS = ("eventSource", "eventName")
RECORD_KEYS = {  # and the type of what they hold
    **dict.fromkeys((*NAME_KEYS, "eventVersion", "eventID", "sourceIPAddress"), str),
    "userIdentity": dict,
}
MIN_RECORD_KEYS = 2  # other JSON may have one of them
INSIGHT_TYPE = "AwsCloudTrailInsight"  # eventType of an event of CloudTrail Insights
INSIGHT_KEY = "insightDetails"
LAMBDA_SOURCE_PREFIX = "aws:"  # of eventSource in the events of SQS, Kinesis, S3 and others
CLOUDTRAIL_TYPE_SUFFIX = " via cloudtrail"  # of an EventBridge event's detail-type, in lower case
DIGEST_KEYS = {"digestS3Bucket", "logFiles"}  # keys of a digest file, which has no records
# Fields that hold a packed record. No record has one of them or LOG_FILE_KEY, so they are looked
# for first.
PACKED_RECORD_KEYS = (
    "CloudTrailEvent",  # lookup-events
    "eventJson",  # CloudTrail Lake
    "@message",  # Logs Insights
)
ROW_KEYS = (*PACKED_RECORD_KEYS, "eventjson", "message")
# {"Records": [...]}: log files of CloudTrail, events of Lambda's own sources
LOG_FILE_KEY = "Records"
PACKING_KEYS = frozenset({*PACKED_RECORD_KEYS, LOG_FILE_KEY, "detail"})
LIST_KEYS = (
    "records",  # events of Firehose
    "Events",  # lookup-events
    "events",  # filter-log-events, get-log-events
    "Messages",  # receive-message
    "logEvents",  # a batch of a subscription filter
    "results",  # get-query-results of Logs Insights
    "QueryResultRows",  # get-query-results of CloudTrail Lake
)
CONTENT_KEYS = (
    "requestPayload",  # a record of a failed invocation
    "Sns",  # an event of SNS for Lambda
    "Message",  # a notification of SNS
    "message",  # an event of a log group
    "Body",  # a message of receive-message
    "body",  # a message of SQS for Lambda
    "awslogs",  # a batch of a subscription filter, around its data
    "kinesis",  # an event of Kinesis for Lambda, around its data
    "logRecord",  # get-log-record
    "detail",  # an EventBridge event of another type, such as a failed invocation's
)
PACKED_KEY = "data"  # base64, as in {"awslogs": {"data": "..."}}
CONTROL_MESSAGE = "CONTROL_MESSAGE"  # messageType of a batch that only tests the subscription


@dataclass(frozen=True)
class NotARecord:
    """A value that is neither a record nor a container."""


@dataclass(frozen=True)
class EmptyContainer:
    """A list that may hold records and holds nothing."""


@dataclass(frozen=True)
class BrokenContent:
    """A container whose content cannot be decoded."""

    key: str  # the field that holds the content, or "text"
    place: str  # in the content: "byte 7" or "line 3, column 7"; empty if it is not known
    problem: str
    remedy: str  # what to try


Found = dict[str, Any] | NotARecord | EmptyContainer | BrokenContent  # the first is a record


def unwrap(value: object, key: str = "text", depth: int = 0) -> Iterator[Found]:
    """Yield each record in a JSON value or Row, and what is found in place of a record.

    ``key`` names the field that the value comes from. ``depth`` is the number of containers around
    the value.
    """
    if depth > MAX_DEPTH:
        yield BrokenContent(key, "", "is packed too deeply", "unpack it")
    elif isinstance(value, Row):
        yield from _unwrap_row(value, depth)
    elif isinstance(value, dict):
        yield from _unwrap_object(value, depth)
    elif isinstance(value, list):
        yield from _unwrap_list(value, key, depth)
    elif isinstance(value, str):
        yield from _unwrap_text(value, key, depth)
    else:
        yield NotARecord()


def _unwrap_object(value: dict[str, Any], depth: int) -> Iterator[Found]:
    """Yield an object that is a record, or what the object holds as a container.

    The order of the tests matters: an object may have the keys of several forms.
    """
    if key := _find_key(value, PACKED_RECORD_KEYS):
        yield from unwrap(value[key], key, depth + 1)
    elif isinstance(value.get(LOG_FILE_KEY), list):
        yield from _unwrap_list(value[LOG_FILE_KEY], LOG_FILE_KEY, depth)
    elif record := _find_record(value):
        yield record
    elif value.get("messageType") == CONTROL_MESSAGE:
        return  # it has no records, and nobody expects any
    elif key := _find_list_key(value):
        yield from _unwrap_list(value[key], key, depth)
    elif value.keys() >= DIGEST_KEYS:
        return  # likewise
    elif key := _find_key(value, CONTENT_KEYS):
        yield from unwrap(value[key], key, depth + 1)
    elif isinstance(value.get(PACKED_KEY), str):
        yield from _unwrap_packed(value[PACKED_KEY], depth)
    else:
        yield NotARecord()


def is_plain_record(value: object) -> bool:
    """Return whether an object is certainly a record that is not packed: one that has both names.

    ``unwrap`` would yield the value itself, but takes longer. It may do so for others too.
    """
    if not isinstance(value, dict) or not PACKING_KEYS.isdisjoint(value):
        return False
    has_names = all(isinstance(value.get(key), str) for key in NAME_KEYS)
    return has_names and not _has_lambda_source(value)


def _find_record(value: dict[str, Any]) -> dict[str, Any] | None:
    """Return the record or EventBridge event that an object is, as ``signin.read`` takes it.

    This is the object itself, or a copy: with a ``detail`` that was JSON in a text, or without a
    ``detail`` that is no record in an object that is one. None if the object is neither.
    """
    if _has_lambda_source(value):
        return None
    if isinstance(value.get("detail"), str):
        value = _decode_detail(value)
    detail = value.get("detail")
    if isinstance(detail, dict) and _is_bare_record(detail):
        return value
    if _has_cloudtrail_type(value) and not (isinstance(detail, dict) and _is_insight(detail)):
        return value
    if not _is_bare_record(value):
        return None
    if "detail" in value:
        return {key: field for key, field in value.items() if key != "detail"}
    return value


def _decode_detail(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event with the object that its text ``detail`` holds as JSON.

    It is returned unchanged if there is no object in the text.
    """
    if not event["detail"].lstrip().startswith("{"):
        return event
    try:
        detail = documents.decode_single_document(event["detail"])
    except DecodeError:
        return event
    return {**event, "detail": detail}


def _has_cloudtrail_type(event: dict[str, Any]) -> bool:
    """Return whether the type of an EventBridge event is one of CloudTrail's."""
    detail_type = event.get("detail-type")
    if not isinstance(detail_type, str):
        return False
    detail_type = detail_type.lower()
    return detail_type == ANOMALY_TYPE or detail_type.endswith(CLOUDTRAIL_TYPE_SUFFIX)


def _has_lambda_source(value: dict[str, Any]) -> bool:
    """Return whether an object is an event of one of Lambda's own sources."""
    source = value.get("eventSource")
    return isinstance(source, str) and source.startswith(LAMBDA_SOURCE_PREFIX)


def _is_bare_record(value: dict[str, Any]) -> bool:
    """Return whether an object is a CloudTrail record by its own keys. It may be damaged."""
    if _has_lambda_source(value) or _is_insight(value):
        return False
    count = sum(isinstance(value.get(key), kind) for key, kind in RECORD_KEYS.items())
    return count >= MIN_RECORD_KEYS


def _is_insight(value: dict[str, Any]) -> bool:
    """Return whether an object is an event of CloudTrail Insights: it has no names of its own."""
    if any(isinstance(value.get(key), str) for key in NAME_KEYS):
        return False
    return value.get("eventType") == INSIGHT_TYPE or INSIGHT_KEY in value


def _find_key(value: dict[str, Any], keys: tuple[str, ...]) -> str:
    """Return the first of the keys that holds an object, a list or a text; empty if none does."""
    for key in keys:
        if isinstance(value.get(key), (dict, list, str)):
            return key
    return ""


def _find_list_key(value: dict[str, Any]) -> str:
    """Return the first of LIST_KEYS that holds a list; empty if none does."""
    for key in LIST_KEYS:
        if isinstance(value.get(key), list):
            return key
    return ""


def _unwrap_list(values: list[Any], key: str, depth: int) -> Iterator[Found]:
    """Yield what each value of a list is or holds. A list in the list may be a row of a query.

    ``key`` names the field that holds the list.
    """
    if not values:
        yield EmptyContainer()
    for value in values:
        row = _read_row(value)
        yield from unwrap(value if row is None else row, key, depth + 1)


def _read_row(value: object) -> Row | None:
    """Return a row of a query's results, by column; None if the value is not a row.

    A row of Logs Insights is ``[{"field": "@message", "value": "..."}, ...]``, one of CloudTrail
    Lake ``[{"eventJson": "..."}, {"eventName": "..."}, ...]``.
    """
    if not isinstance(value, list) or not value:
        return None
    row = Row()
    for cell in value:
        if not isinstance(cell, dict):
            return None
        if isinstance(cell.get("field"), str):
            row[cell["field"]] = cell.get("value")
        elif len(cell) == 1:
            row.update(cell)
        else:
            return None
    return row


def _unwrap_row(row: Row, depth: int) -> Iterator[Found]:
    """Yield the record that one column of a row holds. A row of single fields is not a record."""
    if key := _find_key(row, ROW_KEYS):
        yield from unwrap(row[key], key, depth + 1)
    else:
        yield NotARecord()


def _unwrap_text(text: str, key: str, depth: int) -> Iterator[Found]:
    """Yield what the JSON in a text is or holds."""
    if not text.lstrip().startswith(("{", "[", '"')):
        yield NotARecord()
        return
    try:
        value = documents.decode_single_document(text)
    except DecodeError as error:
        place = documents.format_place(text, error.offset)
        yield BrokenContent(key, place, error.problem, error.remedy)
        return
    yield from unwrap(value, key, depth + 1)


def _unwrap_packed(data: str, depth: int) -> Iterator[Found]:
    """Yield what is found in data in base64, packed with gzip or not."""
    try:
        unpacked = documents.decompress(base64.b64decode(data, validate=True))
        text = documents.decode_text(unpacked)
    except binascii.Error as error:
        problem = f"is not base64 ({error})"
        yield BrokenContent(PACKED_KEY, "", problem, documents.FETCH_REMEDY)
        return
    except DecodeError as error:
        yield BrokenContent(PACKED_KEY, f"byte {error.offset}", error.problem, error.remedy)
        return
    for document in documents.split_text(text):
        if isinstance(document, DecodeError):
            place = documents.format_place(text, document.offset)
            yield BrokenContent(PACKED_KEY, place, document.problem, document.remedy)
        else:
            yield from unwrap(document, PACKED_KEY, depth + 1)
