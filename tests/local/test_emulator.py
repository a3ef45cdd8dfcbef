"""The local AWS emulator as a process: start, loopback only, stop, end with its parent."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.emulator import EmulatorAccount, wait_until
from tooling.environment import ensure
from tooling.local import emulator as emulators
from tooling.local.emulator import Emulator, EmulatorError

pytestmark = [pytest.mark.local]

PARENT = """
import sys, time
from pathlib import Path
from tooling.local.emulator import Emulator
with Emulator.start(*map(Path, sys.argv[1:])) as emulator:
    print(emulator.endpoint, flush=True)
    time.sleep(60)
"""


def is_listening(endpoint: str) -> bool:
    host, port = endpoint.removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def start_parent(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a process that runs an emulator of its own; return it and the endpoint."""
    arguments = [str(ensure("local")), str(ensure("runtime")), str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, *arguments],
        cwd=emulators.ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout
    return process, process.stdout.readline().strip()


def test_emulator_answers_on_loopback_and_leaves_no_files(tmp_path: Path) -> None:
    with Emulator.start(ensure("local"), ensure("runtime"), tmp_path / "run") as running:
        assert running.endpoint.startswith("http://127.0.0.1:")
        account = EmulatorAccount.on(running)
        assert account.client("sts").get_caller_identity()["Account"] == account.account_id
        assert (tmp_path / "run").is_dir()
    assert not is_listening(running.endpoint)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    not Path("/proc/net/tcp").exists(), reason="reads Linux's table of listening sockets"
)
def test_emulator_listens_on_loopback_only(emulator: Emulator) -> None:
    port = f":{int(emulator.endpoint.rpartition(':')[2]):04X}"
    tables = [
        table.read_text().splitlines()
        for table in map(Path, ("/proc/net/tcp", "/proc/net/tcp6"))
        if table.exists()
    ]
    rows = [row.split() for table in tables for row in table[1:]]
    listening = [row[1] for row in rows if row[1].endswith(port) and row[3] == "0A"]
    assert listening == [f"0100007F{port}"]


def test_environment_points_boto3_at_the_account(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    for name, value in emulator.environment("444455556666", "eu-central-1").items():
        monkeypatch.setenv(name, value)
    session = boto3.Session()
    assert session.region_name == "eu-central-1"
    assert session.client("sts").get_caller_identity()["Arn"] == "arn:aws:iam::444455556666:root"


def test_emulator_gets_no_variable_of_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "real")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")
    environment = emulators._environment(ensure("runtime"), tmp_path, 1, "token")
    assert {name for name in environment if name.startswith("AWS_")} == set()
    assert "PYTHONSTARTUP" not in environment


def test_port_in_use_is_an_error_with_the_emulators_message(
    tmp_path: Path, emulator: Emulator
) -> None:
    port = int(emulator.endpoint.rpartition(":")[2])
    with (
        pytest.raises(EmulatorError, match=r"already in use|another run"),
        Emulator.start(ensure("local"), ensure("runtime"), tmp_path / "run", port=port),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    assert is_listening(emulator.endpoint)


def test_another_port_is_tried_when_the_free_one_was_taken(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, free = int(emulator.endpoint.rpartition(":")[2]), emulators._free_port()
    ports = iter([taken, free])
    monkeypatch.setattr(emulators, "_free_port", lambda: next(ports))
    with Emulator.start(ensure("local"), ensure("runtime"), tmp_path / "run") as running:
        assert running.endpoint.endswith(f":{free}")


def test_emulator_that_dies_is_reported_with_its_last_log_lines(tmp_path: Path) -> None:
    """An environment without the emulator: Python says so, and the error shows it."""
    with (
        pytest.raises(EmulatorError, match=r"(?s)ended with exit code 1.*ministack"),
        Emulator.start(ensure("runtime"), ensure("runtime"), tmp_path / "run"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_emulator_ends_with_its_parent_process(tmp_path: Path, end: signal.Signals) -> None:
    process, endpoint = start_parent(tmp_path / "run")
    assert is_listening(endpoint)
    with process:
        process.send_signal(end)
        process.wait(10)
    wait_until(lambda: not is_listening(endpoint))
    wait_until(lambda: list(tmp_path.iterdir()) == [])
