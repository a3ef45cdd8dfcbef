"""One execution environment of Lambda: a packaged function and its layers, run as Lambda runs them.

AWS's own runtime client (awslambdaric) runs the handler in a child process and talks to a Runtime API of ours (Lambda
docs, "Using the Lambda runtime API for custom runtimes"). Where there is no wheel of it, ``plain_client.py`` takes its
place and the log says so. The emulator runs this inside its own process: standard library alone.

    sandbox = Sandbox(Package("code.zip", ["layer.zip"]), Function(name="f", ...), python, folder)
    result = sandbox.invoke({"source": "aws.signin"}, request_id)
    sandbox.close()

Each process has an API of its own, so that a dead one's open request for the next event can never take an event away.
What Lambda does and this does not: memory and payload limits, a second try of a failed start, a read-only task root.
"""

from __future__ import annotations

import functools
import io
import json
import math
import os
import re
import select
import shutil
import signal
import subprocess
import threading
import time
import uuid
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tooling.local.sandbox.runtime_api import Api, Event, Outcome, start_thread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INIT_TIMEOUT = (
    10.0  # seconds; Lambda docs, "Understanding the Lambda execution environment lifecycle"
)
PLAIN_CLIENT = Path(__file__).with_name("plain_client.py")
PROBE = """
import json, os, sys
try:
    import awslambdaric
    found = [awslambdaric.__version__, os.path.dirname(os.path.dirname(awslambdaric.__file__))]
except ImportError:
    found = ["", ""]
print(json.dumps(["%d.%d" % sys.version_info[:2], *found]))
"""


@dataclass(frozen=True)
class Package:
    """A function's deployment package and its layers in order: zip files, as paths or as their bytes."""

    code: bytes | str | Path
    layers: Sequence[bytes | str | Path] = ()


@dataclass(frozen=True)
class Function:
    """A function's configuration, ``memory`` in MB and ``timeout`` in seconds.

    ``environment`` is what the child sees beside the reserved names (Lambda docs, "Defined runtime environment
    variables"); of those it may give the credentials alone.
    """

    name: str
    account: str
    region: str
    handler: str
    version: str = "$LATEST"
    memory: int = 128
    timeout: float = 3.0
    environment: Mapping[str, str] = field(default_factory=dict)
    log_group: str = ""

    @property
    def arn(self) -> str:
        """The ARN by which it is invoked."""
        return f"arn:aws:lambda:{self.region}:{self.account}:function:{self.name}"

    @property
    def group(self) -> str:
        """Its log group."""
        return self.log_group or f"/aws/lambda/{self.name}"


class Result(NamedTuple):
    """One invocation: the handler's answer or Lambda's error object; ``error`` is "" or "Unhandled".

    ``log`` holds complete records, one a log line, for the log ``stream``; ``seconds`` is the wall time of the call.
    """

    payload: Any
    error: str
    log: list[str]
    cold: bool
    seconds: float
    stream: str


class Client(NamedTuple):
    """What a Python brings along: its version ("3.13"), and awslambdaric's version and folder or two empty strings."""

    python: str
    version: str
    folder: str

    @property
    def title(self) -> str:
        """The runtime's name in the log."""
        client = f"awslambdaric {self.version}" if self.version else "plain child process"
        return f"{client}, Python {self.python}"


class Sandbox:
    """One execution environment: a folder below ``folder`` and at most one process, both made on the first call."""

    def __init__(self, package: Package, function: Function, python: Path, folder: Path) -> None:
        self.package, self.function = package, function
        self.python, self.folder = Path(python).absolute(), Path(folder).absolute()
        self._root: Path | None = None
        self._process: _Process | None = None
        self._lock = threading.Lock()
        self._closed = False

    def invoke(self, event: Any, request_id: str) -> Result:
        """Run the handler on ``event`` (anything that JSON can carry) and return what came of it; one call at a time.

        Raises RuntimeError when the sandbox is closed, OSError, BadZipFile or SubprocessError when it cannot begin.
        """
        body = json.dumps(event).encode()
        with self._lock:
            start, process = time.monotonic(), self._process
            outcome = self._run(process, request_id, body) if process else Outcome("gone")
            if cold := process is None or outcome.kind == "gone":
                process = self._begin()
                outcome = (
                    self._run(process, request_id, body)
                    if process.started.kind == "ready"
                    else process.started
                )
            peak = process.peak()
            if outcome.kind not in ("response", "error"):
                self._end()
            payload, why = _answer(outcome, request_id)
            log = [
                *(process.greeting if cold else ()),
                *self._records(process, request_id, why, peak, cold=cold),
            ]
            error = "" if outcome.kind == "response" else "Unhandled"
            return Result(payload, error, log, cold, time.monotonic() - start, process.stream)

    def close(self) -> None:
        """Stop the process, also in the middle of a call, and remove everything that was made."""
        self._closed = True
        if process := self._process:
            process.kill()
        with self._lock:
            self._end()
            if self._root:
                _remove(self._root)
                self._root = None

    def _run(self, process: _Process, request_id: str, body: bytes) -> Outcome:
        outcome = process.run(request_id, body, self.function.timeout)
        if outcome.kind == "gone":
            self._end()
        return outcome

    def _begin(self) -> _Process:
        if self._closed:
            raise RuntimeError(f"the sandbox of {self.function.name} is closed")
        client = _probe(str(self.python))
        self._root = self._root or _unpacked(
            self.package, self.folder / f"{self.function.name}-{uuid.uuid4().hex[:8]}"
        )
        self._process = process = _Process(self.function, self.python, client, self._root)
        if self._closed:  # close() may have looked just before the process was there
            process.kill()
        process.start()
        return process

    def _end(self) -> None:
        if self._process:
            self._process.stop()
            self._process = None

    def _records(
        self, process: _Process, request_id: str, why: str, peak: str, *, cold: bool
    ) -> list[str]:
        """Return one invocation's records, framed as Lambda does (Lambda docs, "Python function logging")."""
        spent, init = process.spent * 1000, process.init * 1000 if cold else 0.0
        report = [
            f"REPORT RequestId: {request_id}",
            f"Duration: {spent:.2f} ms",
            f"Billed Duration: {math.ceil(spent + init)} ms",
            f"Memory Size: {self.function.memory} MB",
            *([f"Max Memory Used: {peak} MB"] if peak else []),
            *([f"Init Duration: {init:.2f} ms"] if cold else []),
        ]
        start = f"START RequestId: {request_id} Version: {self.function.version}"
        said = [*process.records(), *([why] if why else [])]
        return [start, *said, f"END RequestId: {request_id}", "\t".join(report)]


class _Process:
    """The runtime client in a child process, and its Runtime API."""

    def __init__(self, function: Function, python: Path, client: Client, root: Path) -> None:
        now = datetime.now(UTC)
        self.stream = f"{now:%Y/%m/%d}/[{function.version}]{uuid.uuid4().hex}"
        self.client, self.init, self.spent = client, 0.0, 0.0
        self.started, self.greeting = (
            Outcome("gone"),
            [f"INIT_START Runtime Version: {client.title}"],
        )
        self._api = Api(function.arn)
        begin = ["-m", "awslambdaric"] if client.version else ["-u", "-P", str(PLAIN_CLIENT)]
        shutil.rmtree(root / "tmp", ignore_errors=True)
        (root / "tmp").mkdir()
        try:
            self._child = subprocess.Popen(
                [str(python), "-B", "-s", *begin, function.handler],
                cwd=root / "task",
                env=_environment(function, python, client, root) | self._own(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,  # a Ctrl-C in the terminal is not for it, and its own children end with it
            )
        except OSError:
            self._api.stop()
            raise
        self._log = _Log(self._child)
        self._watcher = start_thread(self._watch)

    def start(self) -> None:
        """Wait until the handler is loaded; ``started``, ``init`` (seconds) and ``greeting`` say what came of it."""
        start = time.monotonic()
        self.started = self._api.outcome(INIT_TIMEOUT)
        self.init = time.monotonic() - start
        self.greeting += self._log.take()

    def run(self, request_id: str, body: bytes, timeout: float) -> Outcome:
        """Give the process an event and wait at most ``timeout`` seconds for what comes of it."""
        start = time.monotonic()
        self._api.offer(Event(request_id, body, int((time.time() + timeout) * 1000)))
        outcome = self._api.outcome(timeout)
        self.spent = time.monotonic() - start
        return (
            outcome._replace(kind="gone")
            if outcome.kind == "exit" and not self._api.taken
            else outcome
        )

    def records(self) -> list[str]:
        """Return what it has logged since the last time; all that it wrote before its answer is there."""
        return self._log.take()

    def peak(self) -> str:
        """Return the most memory that it has used, in MB; empty where the system does not tell."""
        with suppress(OSError):
            found = re.search(
                r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self._child.pid}/status").read_text()
            )
            return str(math.ceil(int(found[1]) / 1024)) if found else ""
        return ""

    def kill(self) -> None:
        """Kill it and its children at once."""
        if self._child.returncode is None:
            self._kill_group()

    def stop(self) -> None:
        """Kill it and wait until nothing of it is left."""
        self.kill()
        self._watcher.join()
        self._log.close()
        self._api.stop()

    def _own(self) -> dict[str, str]:
        return {
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "AWS_LAMBDA_LOG_STREAM_NAME": self.stream,
        }

    def _kill_group(self) -> None:
        with suppress(
            ProcessLookupError, PermissionError
        ):  # nobody is left; macOS says so with the latter
            os.killpg(self._child.pid, signal.SIGKILL)

    def _watch(self) -> None:
        code = self._child.wait()
        self._kill_group()
        self._api.outcomes.put(Outcome("exit", code))


class _Log:
    """The child's output, read all the time, so that the child never waits, and on demand, so that nothing is late."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout  # noqa: S101 - Popen was given a pipe; this tells the type checker
        self._pipe, self._text, self._ended, self._lock = (
            child.stdout,
            bytearray(),
            False,
            threading.Lock(),
        )
        os.set_blocking(self._pipe.fileno(), False)
        self._thread = start_thread(self._follow)

    def take(self) -> list[str]:
        """Return the records since the last time. A carriage return stands for a line break inside a record."""
        with self._lock:
            self._read()
            text, self._text = self._text.decode(errors="replace"), bytearray()
        return [line.rstrip("\r").replace("\r", "\n") for line in text.split("\n") if line]

    def close(self) -> None:
        """Wait for the end of the output, which the last process brings; not for one that left the group."""
        self._thread.join(1.0)
        self._ended = True
        self._thread.join()

    def _follow(self) -> None:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        while not self._ended:
            poll.poll(1000)
            with self._lock:
                self._read()
        self._pipe.close()

    def _read(self) -> None:
        with suppress(BlockingIOError):
            while not self._ended:
                chunk = os.read(self._pipe.fileno(), 65_536)
                self._text += chunk
                self._ended = not chunk


@functools.lru_cache
def _probe(python: str) -> Client:
    done = subprocess.run(
        [python, "-I", "-c", PROBE], env={}, capture_output=True, check=True, timeout=60
    )
    return Client(*json.loads(done.stdout))


def _unpacked(package: Package, root: Path) -> Path:
    """Unpack the code to ``task`` and the layers, one over the other, to ``opt``."""
    try:
        for folder, archives in (("task", [package.code]), ("opt", package.layers)):
            (root / folder).mkdir(parents=True)
            for archive in archives:
                _unpack(archive, root / folder)
    except BaseException:
        _remove(root)
        raise
    return root


def _remove(root: Path) -> None:
    shutil.rmtree(root)
    with suppress(OSError):  # the folder around it is the caller's when something else lies in it
        root.parent.rmdir()


def _unpack(archive: bytes | str | Path, folder: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(archive) if isinstance(archive, bytes) else archive) as opened:
        for entry in opened.infolist():
            made = opened.extract(entry, folder)
            mode = entry.external_attr >> 16 & 0o777  # zipfile drops it
            if mode and not entry.is_dir():
                os.chmod(made, mode)  # noqa: PTH101 - extract answers with a string


def _environment(function: Function, python: Path, client: Client, root: Path) -> dict[str, str]:
    """Return the child's environment; the function's own may replace the first part of it, never the last."""
    task, opt, temporary = root / "task", root / "opt", root / "tmp"
    library = opt / "python" / "lib" / f"python{client.python}" / "site-packages"
    paths = [str(library), str(opt / "python"), *([client.folder] if client.folder else [])]
    changeable = {
        "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin:{opt}/bin",
        "LD_LIBRARY_PATH": f"{task}:{task}/lib:{opt}/lib",
        "PYTHONPATH": os.pathsep.join(paths),
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
    }
    reserved = {
        "HOME": str(temporary),  # else ~/.aws of whoever runs this would be read
        "TMPDIR": str(temporary),
        "_HANDLER": function.handler,
        "LAMBDA_TASK_ROOT": str(task),
        "LAMBDA_RUNTIME_DIR": client.folder or str(PLAIN_CLIENT.parent),
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{client.python}",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_LOG_GROUP_NAME": function.group,
        "AWS_REGION": function.region,
        "AWS_DEFAULT_REGION": function.region,
    }
    return changeable | dict(function.environment) | reserved


def _answer(outcome: Outcome, request_id: str) -> tuple[Any, str]:
    """Return the payload, and the record that Lambda itself adds to the log, if any."""
    if outcome.kind == "timeout":
        why = f"Task timed out after {outcome.detail:.2f} seconds"
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}Z"
        return _failure("Sandbox.Timedout", request_id, why), f"{now} {request_id} {why}"
    if outcome.kind in ("exit", "gone"):
        why = _farewell(outcome.detail)
        return _failure(
            "Runtime.ExitError", request_id, why
        ), f"RequestId: {request_id} Error: {why}\nRuntime.ExitError"
    return json.loads(outcome.detail), ""


def _failure(kind: str, request_id: str, why: str) -> dict[str, str]:
    return {"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {why}"}


def _farewell(code: int) -> str:
    if code == 0:
        return "Runtime exited without providing a reason"
    reason = (
        f"exit status {code}" if code > 0 else f"signal: {str(signal.strsignal(-code)).lower()}"
    )
    return f"Runtime exited with error: {reason}"
