"""Helpers for a record: its time, and what stands for a text in a name."""

from __future__ import annotations

import pytest

from signwatch.detection.record import digest, get_string, parse_time


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-11-20",
        "2026-11-20T10:00:00",
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00+23:59",
    ],
)
def test_text_that_names_no_moment_has_no_time(text: str) -> None:
    assert parse_time(text) is None


def test_time_is_read_as_cloudtrail_writes_it() -> None:
    for text, seconds in (("1970-01-01T00:00:00Z", 0), ("1970-01-02T00:00:01Z", 86401)):
        moment = parse_time(text)
        assert moment
        assert moment.timestamp() == seconds


@pytest.mark.parametrize(("value", "text"), [(" a b ", "a b"), ("", ""), (7, ""), (None, "")])
def test_string_is_stripped_and_anything_else_is_empty(value: object, text: str) -> None:
    assert get_string({"key": value}, "key") == text
    assert get_string({}, "key") == ""


def test_digest_is_sha256_in_hex_cut_to_a_length() -> None:
    assert digest("abc").startswith("ba7816bf8f01cfea414140de5dae2223")
    assert len(digest("abc")) == 64
    assert digest("abc", 12) == "ba7816bf8f01"
