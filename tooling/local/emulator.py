"""The local AWS emulator as a child process: started on a free loopback port, and stopped.

The emulator runs in a Python environment of its own and is reached over HTTP only. It gets minimal
environment variables, keeps every file below one folder, and ends when its parent dies: it watches
its standard input, a pipe that the parent never writes to. Each run has a random token, which its
emulator returns: so it is known whether another run's emulator answers at the same port.
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
HEALTH_PATH, TOKEN_PATH = "/_ministack/health", "/_emulator/token"
EVENTS_PATH, DECISIONS_PATH = "/_emulator/events", "/_emulator/decisions"
HTTP_OK = 200
SECRET_KEY = "test"  # noqa: S105 - every root user of the emulator has it; signatures are checked
START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 5.0
START_ATTEMPTS = 5  # another process may take the free port in between
LOG_LINES_IN_ERRORS = 20
PORT_TAKEN_MESSAGES = ("already in use", "Address already in use", "answers for another")


class EmulatorError(RuntimeError):
    """The emulator did not start (the message ends with its last log lines), or refused a call."""


class _PortTakenError(EmulatorError):
    """Another process listens on the port that was free a moment ago."""


@dataclass(frozen=True)
class Emulator:
    """A running local AWS emulator; ``endpoint`` is its base URL, ``http://127.0.0.1:PORT``."""

    endpoint: str

    @classmethod
    @contextmanager
    def start(
        cls, emulator_python: Path, runtime_python: Path, folder: Path, *, port: int = 0
    ) -> Iterator[Emulator]:
        """Run the emulator with ``emulator_python`` and its functions with ``runtime_python``.

        ``folder`` must not exist yet. It holds all files of the run and is removed at the end.
        ``port`` 0 takes a free one. Raises EmulatorError if the emulator does not start.
        """
        folder.mkdir(parents=True)
        try:
            process, emulator = _start(emulator_python, runtime_python, folder, port)
            try:
                yield emulator
            finally:
                _stop(process)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def environment(self, account_id: str, region: str) -> dict[str, str]:
        """Return variables that point boto3, Terraform and the AWS CLI at this emulator's account.

        An access key of twelve digits is the root user of the account with that number.
        """
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": account_id,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def send(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Emit whole EventBridge events as AWS does; return for each whether it was delivered.

        A result has ``delivered``, ``reason`` and ``trails``. Raises EmulatorError if the emulator
        refuses the request.
        """
        return self._call("POST", EVENTS_PATH, json.dumps(events))

    def decisions(self, account_id: str) -> list[dict[str, Any]]:
        """Return each distinct decision of the policy engine on sessions of this account's roles.

        A decision has ``account``, ``role``, ``action``, ``resource`` (an ARN, or ``*``) and
        ``allowed``. Raises EmulatorError if the emulator refuses the request.
        """
        return self._call("GET", f"{DECISIONS_PATH}?{account_id}")

    def _call(self, method: str, path: str, body: str | None = None) -> list[dict[str, Any]]:
        """Call an endpoint of the adapter. Raises EmulatorError unless it answers with 200."""
        status, text = _request(self.endpoint, method, path, body)
        if status != HTTP_OK:
            raise EmulatorError(f"{path} answered {status}: {text}")
        answer: list[dict[str, Any]] = json.loads(text)
        return answer


def _start(
    emulator_python: Path, runtime_python: Path, folder: Path, fixed_port: int
) -> tuple[subprocess.Popen[bytes], Emulator]:
    """Start the emulator and wait for it; try another free port if its port is taken meanwhile.

    ``fixed_port`` is the port to listen on, or 0 for any.
    """
    for attempt in range(1, START_ATTEMPTS + 1):
        port = fixed_port or _free_port()
        token = secrets.token_hex(8)
        environment = _environment(runtime_python, folder, port, token)
        process = _spawn(emulator_python, folder, environment)
        emulator = Emulator(f"http://{HOST}:{port}")
        try:
            _wait_until_ready(emulator, process, folder, token)
        except BaseException as error:
            _stop(process)
            is_last = fixed_port or attempt == START_ATTEMPTS
            if is_last or not isinstance(error, _PortTakenError):
                raise
        else:
            return process, emulator
    raise AssertionError("the last attempt returns or raises")


def _spawn(python: Path, folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start the emulator's process, which writes its output to the log file."""
    with _log_file(folder).open("wb") as log:
        return subprocess.Popen(
            [str(python), "-m", "tooling.local.adapter"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,  # a terminal's Ctrl-C reaches our process only: it stops the emulator
        )


def _environment(runtime_python: Path, folder: Path, port: int, token: str) -> dict[str, str]:
    """Return all environment variables of the emulator.

    None is inherited from this process, where one could lead to a real account.
    """
    names = ("TMPDIR", "STATE_DIR", "S3_DATA_DIR", "HOME")
    folders = {name: folder / name.lower() for name in names}
    for path in folders.values():
        path.mkdir(exist_ok=True)
    return {
        **{name: str(path) for name, path in folders.items()},
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
        "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.2",  # AWS waits a minute between the attempts
        "SIGNWATCH_RUNTIME_PYTHON": str(runtime_python),
        "SIGNWATCH_EMULATOR_FOLDER": str(folder),
        "SIGNWATCH_EMULATOR_TOKEN": token,
    }


def _wait_until_ready(
    emulator: Emulator, process: subprocess.Popen[bytes], folder: Path, token: str
) -> None:
    """Wait until the emulator answers. Raises EmulatorError if it ends or needs too long."""
    end = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise _start_error(f"ended with exit code {process.returncode}", folder)
        with suppress(OSError, http.client.HTTPException):
            status, _body = _request(emulator.endpoint, "GET", HEALTH_PATH)
            if status == HTTP_OK:
                _check_token(emulator, folder, token)
                return
        time.sleep(0.02)
    limit = f"{START_TIMEOUT_SECONDS:.0f} s"
    raise _start_error(f"did not answer at {emulator.endpoint} within {limit}", folder)


def _check_token(emulator: Emulator, folder: Path, token: str) -> None:
    """Raise EmulatorError if another run's emulator answers: it may have taken the same port."""
    if _request(emulator.endpoint, "GET", TOKEN_PATH) != (HTTP_OK, token):
        what = f"is not the process at {emulator.endpoint}, which answers for another run"
        raise _start_error(what, folder)


def _start_error(what: str, folder: Path) -> EmulatorError:
    """Return an error with the emulator's last log lines; a _PortTakenError if they say so."""
    lines = _log_file(folder).read_text(errors="replace").splitlines()[-LOG_LINES_IN_ERRORS:]
    message = "\n".join([f"the local AWS emulator {what}", *lines])
    if any(text in message for text in PORT_TAKEN_MESSAGES):
        return _PortTakenError(message)
    return EmulatorError(message)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the emulator to end, then kill all that is left of it and its functions."""
    if process.stdin:
        process.stdin.close()
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        # If the group is empty already, Linux raises the first error, and macOS the second.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _request(endpoint: str, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    """Send one HTTP request; return the response's status and body."""
    host = endpoint.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=START_TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def _free_port() -> int:
    """Return a port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _log_file(folder: Path) -> Path:
    """Return the path of the emulator's log; ``folder`` holds all files of the run."""
    return folder / "emulator.log"
