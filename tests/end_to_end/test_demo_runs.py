"""``./inv demo`` as a person runs it: its texts, two at once, signals, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tooling.local.demo import STOPPED_MESSAGE
from tooling.settings import ROOT
from tooling.signals import ENDING_SIGNALS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.end_to_end

WHEN = r"us-east-1 \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC Id [0-9a-f]{8}"
ALERT = "AWS SIGN-IN ALERT account demo"
EXPECTED_TEXTS = [  # title of the sign-in, and its text on one line, or None
    ("recognised address", None),
    ("unknown address", f'{ALERT} Console sign-in Who: "Anaya" From: 198.51.100.23 MFA NO {WHEN}'),
    (
        "root user",
        f"HIGH {ALERT} Root console sign-in Who: root user From: 203.0.113.10 MFA yes {WHEN}",
    ),
    (
        "Identity Center user",
        (
            f'{ALERT} Identity Center sign-in Who: "544894e8-80c1-707f-60e3-3ba6510dfac1" '
            f"From: 2001:db8:85a3::8a2e:370:7334 MFA yes {WHEN}"
        ),
    ),
    (
        "cannot be read",
        (
            rf"{ALERT} Unreadable sign-in \(ConsoleLogin\): the record names no source address "
            f'Who: "Anaya" From: not recorded {WHEN}'
        ),
    ),
]
TEXT_CHARS = 44  # of the panel
MAX_LINES, MAX_CHARS = 90, 100  # two screens
PROVIDER_LINE = "Terraform's AWS provider is taken from "  # with a path of the test's
OWN_RECORD = (
    '{"eventSource": "signin.amazonaws.com", "eventName": "ConsoleLogin",'
    ' "eventType": "AwsConsoleSignIn",'
    ' "userIdentity": {"type": "IAMUser", "userName": "carla"}, "sourceIPAddress": "192.0.2.200",'
    ' "responseElements": {"ConsoleLogin": "Success"}, "additionalEventData": {"MFAUsed": "Yes"}}'
)


def start(folder: Path, *flags: str, wrapper: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder), "COLUMNS": "100"}
    return subprocess.Popen(
        [*wrapper, str(ROOT / "inv"), "demo", *flags],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def text_messages(output: str) -> list[str]:
    """Return the bodies of the panels called "text message", each on one line."""
    left = "\n".join(line[:TEXT_CHARS] for line in output.splitlines())  # beside it is the e-mail
    panels = re.findall(r"╭─ text message.*?╮\n(.*?)╰", left, re.DOTALL)
    return [" ".join(line.strip("│ ") for line in panel.splitlines()).strip() for panel in panels]


def processes_of(session: int) -> str:
    """Return the processes that still run in the session, without zombies."""
    command = ["ps", "-o", "stat=,args=", "-s", str(session)]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return "\n".join(line for line in lines if not line.startswith("Z")).strip()


def sections(output: str) -> list[str]:
    return re.split(r"^\d\. ", output, flags=re.MULTILINE)[1:]


def test_two_demos_at_once_send_their_texts_and_leave_nothing(tmp_path: Path) -> None:
    """One with the five sign-ins, one with a person's own record."""
    record = tmp_path / "mine.json"
    record.write_text(OWN_RECORD)
    folders = [tmp_path / "five", tmp_path / "own"]
    running = [start(folders[0]), start(folders[1], "--event", str(record))]
    outputs = [process.communicate(timeout=170)[0] for process in running]
    for process, output, folder in zip(running, outputs, folders, strict=True):
        assert process.returncode == 0, output
        assert_nothing_left(process, folder)
    five, own = outputs
    five = five.replace(str(ROOT / "inv"), "./inv")  # as a person calls it
    assert len(five.splitlines()) <= MAX_LINES
    own_lines = [line for line in five.splitlines() if not line.startswith(PROVIDER_LINE)]
    assert max(map(len, own_lines)) <= MAX_CHARS
    assert five.count("─ e-mail ─") == 4
    assert "Why: unrecognised source; no MFA" in five
    assert len(sections(five)) == len(EXPECTED_TEXTS)
    for section, (title, pattern) in zip(sections(five), EXPECTED_TEXTS, strict=True):
        assert title in section
        messages = text_messages(section)
        if pattern is None:
            assert messages == [], section
        else:
            (message,) = messages
            assert re.fullmatch(pattern, message), message
    (text,) = text_messages(own)
    assert "carla" in text
    assert "192.0.2.200" in text


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", ENDING_SIGNALS, ids=lambda number: number.name)
def test_signal_ends_it_with_one_sentence_and_exit_code_130(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = start(tmp_path / "stopped", "--verbose")
    read_until(process, "terraform plan")
    os.killpg(process.pid, number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert output.strip().splitlines()[-1] == f"invoke demo: interrupted; {STOPPED_MESSAGE}"
    assert "Traceback" not in output
    assert_nothing_left(process, tmp_path / "stopped")


def test_kept_demo_in_the_background_of_a_script_stops_at_ctrl_c(
    tmp_path: Path,
) -> None:
    """A shell without job control starts its background jobs with Ctrl-C ignored."""
    process = start(
        tmp_path / "kept", "--keep", wrapper=("/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh")
    )
    read_until(process, "/__messages")
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert output.split("\n", 1)[1].strip() == f"Stopping.\n{STOPPED_MESSAGE.capitalize()}."
    assert_nothing_left(process, tmp_path / "kept")


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout
    while text not in (line := process.stdout.readline()):
        assert line, f"it ended before {text}"


def assert_nothing_left(process: subprocess.Popen[str], folder: Path) -> None:
    assert list(folder.iterdir()) == []
    assert processes_of(process.pid) == ""
