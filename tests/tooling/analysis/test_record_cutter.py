"""Cutting a log gives the same output, to the byte, as decoding it."""

from __future__ import annotations

import io
import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.sign_ins import CASES, NETWORKS, event, mutant
from tooling.analysis import containers, explain, record_cutter
from tooling.analysis.explain_report import Streams
from tooling.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER = {
    **event("iam-user-signs-in-with-mfa")["detail"],
    "eventSource": "ec2.amazonaws.com",
    "eventName": "DescribeInstances",
    "eventID": "0a1b",
}
SIGN_IN = event("iam-user-fails")["detail"]
ODD_RECORDS: dict[str, Any] = {
    "an id with DEL": {**OTHER, "eventID": 'a\x7fb\u20ac\\"'},
    "no id": {key: value for key, value in OTHER.items() if key != "eventID"},
    "an id that is a number": {**OTHER, "eventID": 7},
    "no name": {key: value for key, value in OTHER.items() if key != "eventName"},
    "a name that is null": {**OTHER, "eventName": None},
    "a name that is a list": {**OTHER, "eventName": ["ConsoleLogin"]},
    "a name that is an object": {**OTHER, "eventSource": {"a": 1}},
    "an empty name": {**OTHER, "eventName": ""},
    "a name with a space": {**OTHER, "eventName": " ConsoleLogin"},
    "a name in another case": {**SIGN_IN, "eventName": "CONSOLELOGIN"},
    "an unusual service": {**SIGN_IN, "eventSource": "sso.amazonaws.com"},
    "no service": {key: value for key, value in SIGN_IN.items() if key != "eventSource"},
    "only a source address": {"sourceIPAddress": "192.0.2.1"},
    "half of a surrogate": {**OTHER, "eventName": "\ud800"},
    "half of a surrogate elsewhere": {**OTHER, "userAgent": "\udc00"},
    "an event in it": {**OTHER, "detail": SIGN_IN},
    "detail that is null": {**OTHER, "detail": None},
    "a whole record in it": {**OTHER, "CloudTrailEvent": json.dumps(SIGN_IN)},
    "a broken whole record in it": {**OTHER, "CloudTrailEvent": "{"},
    "a row of Lake": {**OTHER, "eventJson": json.dumps(SIGN_IN)},
    "a row of Logs Insights": {**OTHER, "@message": SIGN_IN},
    "a message of a queue": {"eventSource": "aws:sqs", "body": json.dumps({"detail": SIGN_IN})},
    "an item of a stream": {"eventSource": "aws:dynamodb", "eventName": "INSERT", "eventID": "1"},
    "an EventBridge event": event("iam-user-fails"),
    "a log in it": {**OTHER, "Records": [SIGN_IN]},
    "one key of a record": {"eventID": "1"},
    "two keys of a record": {"eventID": "1", "eventName": "x"},
    "an event of Insights": {"eventVersion": "1", "eventID": "1", "insightDetails": {}},
    "a sign-in with a detail": {**SIGN_IN, "detail": {"x": 1}},
    "a sign-in as text in detail": {**OTHER, "detail": json.dumps(SIGN_IN)},
    "an empty log in it": {"Records": []},
    "an empty object": {},
    "a number": 7,
    "a text": "ConsoleLogin",
    "a record as text": json.dumps(SIGN_IN),
    "null": None,
    "a list": [SIGN_IN, OTHER],
    "NaN": {**OTHER, "x": float("nan")},
    "infinity": {**SIGN_IN, "x": float("-inf")},
    "a large number": {**OTHER, "x": int("9" * 4300)},
    "deep lists": {**OTHER, "x": json.loads("[" * 300 + "]" * 300)},
}
BROKEN_LOGS: dict[str, str | bytes] = {
    "cut off": json.dumps({"Records": [OTHER, SIGN_IN]})[:-9],
    "cut off at a record": json.dumps({"Records": [OTHER, SIGN_IN]})[:-2],
    "more behind it": json.dumps({"Records": [OTHER]}) + "x",
    "two of them": json.dumps({"Records": [OTHER]}) * 2,
    "two of them on two lines": f"{json.dumps({'Records': [OTHER]})}\n" * 2,
    "on many lines": json.dumps({"Records": [OTHER, SIGN_IN]}, indent=1),
    "a record a line": '{"Records": [\n' + ",\n".join(map(json.dumps, [OTHER, SIGN_IN])) + "\n]}\n",
    "other fields": json.dumps({"Records": [OTHER], "x": 1}),
    "a digest file's fields": json.dumps({"Records": [OTHER], "digestS3Bucket": 1, "logFiles": 1}),
    "a record's fields": json.dumps({"Records": [OTHER], "eventName": "ConsoleLogin"}),
    "twice the same field": '{"Records": [], ' + json.dumps({"Records": [OTHER, SIGN_IN]})[1:],
    "records that are no list": '{"Records":{"eventName":"x"}}',
    "no record": '{"Records": []}',
    "a name that is not UTF-8": b'{"Records":[{"eventName":"x","eventSource":"\xff"},{"a":"b"}]}',
    "a value that is not UTF-8": json.dumps({"Records": [OTHER]}).encode()[:-4] + b'\xff"}]}',
    "a control character": json.dumps({"Records": [OTHER]})[:-4] + '\x01"}]}',
    "a huge number": json.dumps({"Records": [OTHER]})[:-3] + ', "x": ' + "9" * 4301 + "}]}",
    "a huge number in a text": json.dumps({"Records": [{**OTHER, "x": "9" * 9000}]}),
    "deep": json.dumps({"Records": [OTHER]})[:-3] + ', "x": ' + "[" * 100_000 + "}]}",
    "a byte order mark": "\ufeff" + json.dumps({"Records": [OTHER]}),
    "UTF-16": json.dumps({"Records": [OTHER, SIGN_IN]}).encode("utf-16"),
    "letters outside ASCII": json.dumps({"Records": [{**OTHER, "x": "Žofie"}]}, ensure_ascii=False),
}  # fmt: skip


def explain_data(data: bytes, networks: str, *, as_json: bool) -> tuple[str, str, str]:
    """Return what explain prints, its messages, and its error."""
    out, err = io.StringIO(), io.StringIO()
    error = ""
    try:
        by = explain.choose_criteria({}, networks)
        explain.run(["-"], by, Streams(lambda: io.BytesIO(data), out, err), as_json=as_json)
    except ToolError as tool_error:
        error = str(tool_error)
    return out.getvalue(), err.getvalue(), error


@pytest.fixture
def expect_same(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes | str], None]:
    """Return a function that compares both ways, for each form of the output."""
    cut = record_cutter.cut

    def expect_same(content: bytes | str) -> None:
        data = content if isinstance(content, bytes) else content.encode()
        for networks in NETWORKS.values():
            for as_json in (False, True):
                monkeypatch.setattr(record_cutter, "cut", cut)
                fast = explain_data(data, networks, as_json=as_json)
                monkeypatch.setattr(record_cutter, "cut", lambda _: None)
                assert fast == explain_data(data, networks, as_json=as_json)
        monkeypatch.setattr(record_cutter, "cut", cut)

    return expect_same


def to_log(*records: object) -> str:
    return json.dumps({"Records": records}, separators=(",", ":"))


def test_a_log_is_cut_into_other_records_and_decoded_ones() -> None:
    pieces = record_cutter.cut(to_log(OTHER, OTHER, SIGN_IN, SIGN_IN, OTHER).encode())
    assert pieces is not None
    first, second, third, fourth = pieces
    assert isinstance(first, list)
    assert [names.eventName for names in first] == ["DescribeInstances"] * 2
    assert (second, third) == (SIGN_IN, SIGN_IN)
    assert isinstance(fourth, list)
    assert [names.eventID for names in fourth] == ["0a1b"]


@pytest.mark.parametrize("name", CASES)
def test_each_case_file_gives_the_same(
    name: str, expect_same: Callable[[bytes | str], None]
) -> None:
    value = CASES[name]["event"]
    bare = value.get("detail", value) if isinstance(value, dict) else value
    expect_same(to_log(OTHER, bare, OTHER, value))


@pytest.mark.parametrize("name", ODD_RECORDS)
def test_each_odd_record_gives_the_same(
    name: str, expect_same: Callable[[bytes | str], None]
) -> None:
    expect_same(to_log(OTHER, ODD_RECORDS[name], OTHER))
    expect_same(to_log(ODD_RECORDS[name]))


@pytest.mark.parametrize("name", BROKEN_LOGS)
def test_each_broken_log_gives_the_same(
    name: str, expect_same: Callable[[bytes | str], None]
) -> None:
    expect_same(BROKEN_LOGS[name])


@pytest.mark.parametrize("name", ODD_RECORDS)
def test_a_plain_record_is_one_that_would_be_unwrapped_to_itself(name: str) -> None:
    record = ODD_RECORDS[name]
    found = list(containers.unwrap(record))
    assert not containers.is_plain_record(record) or (len(found) == 1 and found[0] is record)


def test_almost_every_sign_in_is_a_plain_record() -> None:
    assert containers.is_plain_record(SIGN_IN)


def test_mutants_give_the_same(expect_same: Callable[[bytes | str], None]) -> None:
    rng = random.Random(12)  # noqa: S311 - the same logs each time
    for _ in range(150):
        events = [mutant(rng) for _ in range(5)]
        bare = [value.get("detail") if isinstance(value, dict) else value for value in events]
        expect_same(to_log(OTHER, *bare, OTHER, *events[:2]))
        expect_same(to_log(*[record for record in bare if isinstance(record, dict)]))


def test_logs_with_changed_bytes_give_the_same(
    expect_same: Callable[[bytes | str], None],
) -> None:
    rng = random.Random(12)  # noqa: S311 - the same logs each time
    log = to_log(OTHER, SIGN_IN, {**OTHER, "x": [1.5, True, None, "é\n"]}).encode()
    for _ in range(300):
        data = bytearray(log)
        for _ in range(rng.randrange(1, 3)):
            data[rng.randrange(len(data))] = rng.choice(b'"\\{}[],:0-9.eE \n\x00\xc3\xff u')
        expect_same(bytes(data[: rng.choice((len(data), rng.randrange(len(data))))]))


def test_a_number_is_huge_from_two_steps_on_wherever_it_begins() -> None:
    for start in (12, 2040, 2047, 2048, 4095, 5000):
        log = '{"Records":' + " " * start + "9" * 4301
        assert record_cutter._has_huge_number(log.encode())
        assert record_cutter.cut(log.encode()) is None
    assert not record_cutter._has_huge_number(to_log(*[{"x": "12 " * 900}] * 50).encode())
