"""The demo: reading a person's own record, and removing all files after an interruption."""

from __future__ import annotations

import json
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tooling.deploy.stack import InterruptedWatchError
from tooling.errors import RefusedError
from tooling.local import demo

if TYPE_CHECKING:
    from collections.abc import Callable

RECORD = {"eventSource": "signin.amazonaws.com", "eventName": "ConsoleLogin"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.json"


@pytest.mark.parametrize(
    "event", [RECORD, {"detail": RECORD, "source": "aws.signin"}], ids=["record", "event"]
)
def test_record_is_read_with_and_without_its_envelope(file: Path, event: dict[str, object]) -> None:
    file.write_text(json.dumps(event))
    assert demo._read_sign_in(file) == {"title": "ConsoleLogin from mine.json", "event": event}


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
def test_record_without_source_and_name_as_texts_is_refused(file: Path, event: object) -> None:
    file.write_text(json.dumps(event))
    with pytest.raises(
        RefusedError, match=r"mine\.json: holds no CloudTrail record with eventSource and eventName"
    ):
        demo._read_sign_in(file)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", None], ids=["empty", "unfinished", "no text", "missing"]
)
def test_file_that_is_not_json_is_refused(file: Path, content: bytes | None) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RefusedError, match=r"mine\.json: cannot be read as JSON"):
        demo._read_sign_in(file)


def test_deeply_nested_lists_are_refused(file: Path) -> None:
    file.write_text(f"{'[' * 1_000_000}{']' * 1_000_000}")
    with pytest.raises(RefusedError, match=r"mine\.json: holds JSON that nests too deeply"):
        demo._read_sign_in(file)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)
def test_signal_removes_the_files_and_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    folders = interrupt_demo(tmp_path, monkeypatch, lambda: signal.raise_signal(number))
    assert [folder.parent for folder in folders] == [tmp_path]


def test_interrupted_deploy_does_not_say_that_aws_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press_ctrl_c() -> None:
        raise InterruptedWatchError(
            "stack signwatch", "interrupted here; CloudFormation goes on with it", "watch it"
        )

    assert interrupt_demo(tmp_path, monkeypatch, press_ctrl_c)


def interrupt_demo(
    folder: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[], object]
) -> list[Path]:
    """Run a demo that calls ``end`` once it has a file; return its folder, which must be gone."""
    folders: list[Path] = []

    def run(_screen: Any, demo_folder: Path, *_: Any) -> None:
        folders.append(demo_folder)
        (demo_folder / "state").touch()
        end()

    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(demo, "_run_demo", run)
    screen: Any = None
    with pytest.raises(KeyboardInterrupt, match=f"^{demo.STOPPED_MESSAGE}$"):
        demo.run(Path(), screen)
    assert list(folder.iterdir()) == []
    return folders
