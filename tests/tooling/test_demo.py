"""The demo before it starts anything: the person's own record is read, or refused with a sentence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tooling import demo
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

RECORD = {"eventSource": "signin.amazonaws.com", "eventName": "ConsoleLogin"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.json"


@pytest.mark.parametrize("event", [RECORD, {"detail": RECORD, "source": "aws.signin"}], ids=["record", "event"])
def test_a_record_is_taken_with_and_without_its_envelope(file: Path, event: dict[str, object]) -> None:
    file.write_text(json.dumps(event))
    assert demo._own(file) == {"title": "ConsoleLogin from mine.json", "event": event}


@pytest.mark.parametrize(
    "event",
    [
        [RECORD],
        {"detail": None},
        {"detail": [RECORD]},
        {"eventName": "ConsoleLogin"},
        {"eventSource": "signin.amazonaws.com"},
        {**RECORD, "eventName": ["ConsoleLogin"]},
        {**RECORD, "eventName": None},
        {**RECORD, "eventSource": 5},
    ],
    ids=json.dumps,
)
def test_what_has_no_names_as_texts_is_refused(file: Path, event: object) -> None:
    file.write_text(json.dumps(event))
    with pytest.raises(RefusedError, match=r"mine\.json: holds no CloudTrail record with eventSource and eventName"):
        demo._own(file)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", None], ids=["empty", "unfinished", "no text", "missing"])
def test_what_is_no_json_is_refused(file: Path, content: bytes | None) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RefusedError, match=r"mine\.json: cannot be read as JSON"):
        demo._own(file)


def test_lists_in_lists_without_end_are_refused(file: Path) -> None:
    file.write_text(f"{'[' * 1_000_000}{']' * 1_000_000}")
    with pytest.raises(RefusedError, match=r"mine\.json: holds JSON that nests too deeply"):
        demo._own(file)
