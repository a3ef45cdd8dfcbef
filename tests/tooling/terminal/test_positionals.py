"""Several paths on a command line, as a shell makes them of ``explain *.json``."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.repository import ROOT
from tests.support.sign_ins import event

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.joint
NAMES = ["a.json", "b.json", "coverage", "d e.json"]  # one has the name of another task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with four records."""
    (tmp_path / "empty.toml").touch()
    for name in NAMES:
        (tmp_path / name).write_text(json.dumps(event("iam-user-fails")))
    return tmp_path


def explain(folder: Path, words: str) -> tuple[int, str, str]:
    """Run the task as a process in the folder; the shell expands the words."""
    end = subprocess.run(
        ["/bin/sh", "-c", f'"$0" explain {words}', str(ROOT / "inv")],
        cwd=folder, input=json.dumps(event("root-fails")),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return end.returncode, end.stdout, end.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("*.json --json", ["a.json", "b.json", "d e.json"]),
        ("--json [a-d]*", NAMES),
        ("a.json --json b.json", ["a.json", "b.json"]),
        ("--path a.json --path b.json coverage --json", ["a.json", "b.json", "coverage"]),
        ("a.json --networks 203.0.113.0/24 b.json --json", ["a.json", "b.json"]),
        ("--networks=203.0.113.0/24 a.json --config empty.toml --json b.json", NAMES[:2]),
        ("a.json --debug b.json --json 2> debug.txt", ["a.json", "b.json"]),
        ("b.json - a.json --json", ["b.json", "-", "a.json"]),
        ("./a.json a.json b.json --json", ["./a.json", "b.json"]),
    ],
)
def test_each_word_that_is_no_flag_is_a_path(folder: Path, words: str, expected: list[str]) -> None:
    code, out, err = explain(folder, words)
    assert (code, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["file"] for row in rows] == expected
    is_recognised = "203.0.113.0/24" in words
    assert {row["verdict"] for row in rows if row["file"] != "-"} == {
        "note" if is_recognised else "alert"
    }


@pytest.mark.parametrize("words", ["a.json nowhere.json b.json", "nowhere.json a.json", "*.xml"])
def test_a_path_that_does_not_exist_is_refused_before_anything_is_shown(
    folder: Path, words: str
) -> None:
    code, out, err = explain(folder, words)
    assert (code, out) == (2, "")
    missing = "*.xml" if "xml" in words else "nowhere.json"
    assert err.startswith(f"invoke explain: {missing}: does not exist\nTry: check the path")


@pytest.mark.parametrize("words", ["--help", "-h", "a.json b.json --help"])
def test_help_is_shown(folder: Path, words: str) -> None:
    code, out, err = explain(folder, words)
    assert (code, err) == (0, "")
    assert "--path" in out


def test_a_path_is_required(folder: Path) -> None:
    code, out, err = explain(folder, "--json")
    assert (code, out) == (2, "")
    assert err.startswith("invoke explain: records: none are named\nTry: name a file")
