"""The local AWS emulator as a running process: started on a free loopback port, asked whether it is ready, stopped.

The emulator lives in a Python environment of its own and is reached over HTTP alone. It gets a minimal environment,
keeps every file below one folder of the run's own, and ends by itself when the process that started it dies:
its standard input is a pipe that nobody writes to and whose end it watches.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
HEALTH, TOKEN, EVENTS = "/_ministack/health", "/_emulator/token", "/_emulator/events"
DECISIONS = "/_emulator/decisions"
OK = 200
SECRET = "test"  # noqa: S105 - the secret access key of every root user here; the emulator checks signatures
READY_IN = 30.0  # seconds until the emulator must answer
STOPPED_IN = 5.0  # seconds that it has to stop before it is killed
ATTEMPTS = 5  # ports that are tried when another process takes the free one in between
TAKEN = ("already in use", "Address already in use", "answers for another")


class EmulatorError(RuntimeError):
    """The local AWS emulator did not come up, or refused what it was sent; the text ends with its last log lines."""


class _PortTakenError(EmulatorError):
    """Another process listens on the port that was free a moment ago."""


@dataclass(frozen=True)
class Emulator:
    """A running local AWS emulator; ``endpoint`` is its base URL, ``http://127.0.0.1:PORT``."""

    endpoint: str

    @classmethod
    @contextmanager
    def start(
        cls, local_python: Path, runtime_python: Path, folder: Path, *, port: int = 0
    ) -> Iterator[Emulator]:
        """Run the emulator with ``local_python`` and its functions with ``runtime_python``; stop it at the end.

        ``folder`` must not exist yet: it is made, holds everything that the run writes, and is removed at the end.
        ``port`` 0 takes a free one. Raises CloudError when the emulator does not come up.
        """
        folder.mkdir(parents=True)
        try:
            process, emulator = _launch(local_python, runtime_python, folder, port)
            try:
                yield emulator
            finally:
                _stop(process)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def environment(self, account_id: str, region: str) -> dict[str, str]:
        """Return the AWS settings that point boto3, Terraform and the AWS CLI at this account of the local AWS emulator.

        An access key of twelve digits is the root user of the account with that number.
        """
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": account_id,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def send(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Let AWS emit these whole EventBridge events; return for each whether it was delivered, and why not.

        Raises CloudError when the emulator does not understand them.
        """
        status, body = _ask(self.endpoint, "POST", EVENTS, json.dumps(events))
        if status != OK:
            raise EmulatorError(f"{EVENTS} answered {status}: {body}")
        answers: list[dict[str, Any]] = json.loads(body)
        return answers

    def decisions(self, account_id: str) -> list[dict[str, Any]]:
        """Return what the policy engine said to sessions of this account's roles, each distinct decision once.

        A decision names ``account``, ``role``, ``action``, ``resource`` (an ARN, or ``*``) and ``allowed``.
        Raises CloudError when the emulator does not answer.
        """
        status, body = _ask(self.endpoint, "GET", f"{DECISIONS}?{account_id}")
        if status != OK:
            raise EmulatorError(f"{DECISIONS} answered {status}: {body}")
        found: list[dict[str, Any]] = json.loads(body)
        return found


def _launch(
    local: Path, runtime: Path, folder: Path, port: int
) -> tuple[subprocess.Popen[bytes], Emulator]:
    for attempt in range(1, ATTEMPTS + 1):
        chosen, token = port or _free_port(), secrets.token_hex(8)
        process = _spawn(local, folder, _environment(runtime, folder, chosen, token))
        emulator = Emulator(f"http://{HOST}:{chosen}")
        try:
            _await(emulator, process, folder, token)
        except BaseException as error:
            _stop(process)
            if port or attempt == ATTEMPTS or not isinstance(error, _PortTakenError):
                raise
        else:
            return process, emulator
    raise AssertionError("the last attempt returns or raises")


def _spawn(python: Path, folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with _log(folder).open("wb") as log:
        return subprocess.Popen(
            [str(python), "-m", "tooling.local.adapter"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,  # an interrupt from the terminal reaches this process alone, which then stops the emulator
        )


def _environment(runtime: Path, folder: Path, port: int, token: str) -> dict[str, str]:
    """Return the emulator's whole environment: nothing of this process's own, which could lead to a real account."""
    places = {
        name: folder / name.lower() for name in ("TMPDIR", "STATE_DIR", "S3_DATA_DIR", "HOME")
    }
    for place in places.values():
        place.mkdir(exist_ok=True)
    return {
        **{name: str(place) for name, place in places.items()},
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "BIND_HOST": HOST,  # the emulator's default is every interface
        "MINISTACK_HOST": HOST,
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{folder / 'no-docker'}",
        "LOG_LEVEL": "WARNING",
        "AUTH": "true",
        "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.2",  # stands for AWS's minute between the attempts
        "SIGNWATCH_RUNTIME_PYTHON": str(runtime),
        "SIGNWATCH_CLOUD_FOLDER": str(folder),
        "SIGNWATCH_CLOUD_TOKEN": token,
    }


def _await(emulator: Emulator, process: subprocess.Popen[bytes], folder: Path, token: str) -> None:
    end = time.monotonic() + READY_IN
    while time.monotonic() < end:
        if process.poll() is not None:
            raise _failure(f"ended with exit code {process.returncode}", folder)
        with suppress(OSError, http.client.HTTPException):
            if _ask(emulator.endpoint, "GET", HEALTH)[0] == OK:
                _expect_own(emulator, folder, token)
                return
        time.sleep(0.02)
    raise _failure(f"did not answer at {emulator.endpoint} within {READY_IN:.0f} s", folder)


def _expect_own(emulator: Emulator, folder: Path, token: str) -> None:
    """Two runs may choose the same free port: the loser must not take the winner's answer for its own."""
    if _ask(emulator.endpoint, "GET", TOKEN) != (OK, token):
        raise _failure(
            f"is not what listens at {emulator.endpoint}, which answers for another run", folder
        )


def _failure(what: str, folder: Path) -> EmulatorError:
    lines = _log(folder).read_text(errors="replace").splitlines()[-20:]
    text = "\n".join([f"the local AWS emulator {what}", *lines])
    return _PortTakenError(text) if any(sign in text for sign in TAKEN) else EmulatorError(text)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the emulator to end, and kill it and its functions when it does not, or leaves one behind."""
    if process.stdin:
        process.stdin.close()
    process.terminate()
    try:
        process.wait(STOPPED_IN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _ask(endpoint: str, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=READY_IN)
    try:
        connection.request(method, path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _log(folder: Path) -> Path:
    return folder / "emulator.log"
