"""``./inv explain`` ends in the same way with Invoke and without it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.repository import ROOT
from tests.support.sign_ins import event
from tooling.analysis.start import Arguments, parse_plain

if TYPE_CHECKING:
    from pathlib import Path

NETWORK = "203.0.113.0/24"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a.json"], Arguments(["a.json"], None, None, as_json=False)),
        (["b", "--json", "-", "a b"], Arguments(["b", "-", "a b"], None, None, as_json=True)),
        (
            ["--networks", NETWORK, "a", "--config", "x.toml", "b"],
            Arguments(["a", "b"], NETWORK, "x.toml", as_json=False),
        ),
    ],
)
def test_a_plain_command_line_is_understood(words: list[str], expected: Arguments) -> None:
    assert parse_plain(words) == expected


@pytest.mark.parametrize(
    "words",
    [
        *([], ["--json"], ["a", "--help"], ["a", "-j"], ["a", "--no-such-flag"], ["a", ""]),
        *(["a", "--networks"], ["a", "--networks", ""], ["a", "--networks", "--json"]),
        *(["--networks=x", "a"], ["a", "--path", "b"], ["a", "--"], ["-e", "a"]),
        ["a", "--networks", NETWORK, "--networks", NETWORK],
    ],
)
def test_any_other_command_line_is_left_to_invoke(words: list[str]) -> None:
    assert parse_plain(words) is None


def run(program: list[str], words: str, folder: Path) -> tuple[int, str, str]:
    """Run a program of Python in the folder with these words; return how it ended."""
    end = subprocess.run(
        [sys.executable, "-B", "-P", *program, "explain", *words.split()],
        cwd=folder, input=json.dumps(event("root-fails")),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return end.returncode, end.stdout, end.stderr


@pytest.mark.joint
@pytest.mark.parametrize(
    ("words", "code"),
    [
        *(("a.json", 0), (f"- a.json --networks {NETWORK}", 0), ("a.json --json", 0)),
        *((f"a.json -jn {NETWORK}", 0), ("a.json --no-such-flag", 1), ("", 1), ("--help", 0)),
        *(("broken.json a.json", 1), ("nowhere.json", 2), ("a.json --networks x", 2)),
        *(("a.json --config nowhere.toml", 2), ("a.json --config a.json", 2)),
    ],
)
def test_the_end_is_the_same_with_invoke_and_without(tmp_path: Path, words: str, code: int) -> None:
    (tmp_path / "a.json").write_text(json.dumps(event("iam-user-fails")))
    (tmp_path / "broken.json").write_text("{")
    end = run([str(ROOT / "tooling" / "analysis" / "start.py")], words, tmp_path)
    assert end == run(["-m", "invoke", "--search-root", str(ROOT)], words, tmp_path)
    assert end[0] == code


@pytest.mark.joint
def test_a_plain_command_line_does_not_load_invoke(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(event("iam-user-fails")))
    program = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'lambda')!r}]\n"
        "from tooling.analysis import start; start.main(sys.argv[1:])\n"
        "print('invoke' in sys.modules)"
    )
    code, out, err = run(["-c", program], "a.json --json", tmp_path)
    assert (code, err) == (0, "")
    assert out.splitlines()[1:] == ["False"]
