"""One Lambda execution environment: runs a packaged function with its layers as Lambda does.

The emulator runs this inside its own process, so it imports the standard library only.

    sandbox = Sandbox(Package("code.zip", ["layer.zip"]), Function(name="f", ...), python, folder)
    result = sandbox.invoke({"source": "aws.signin"}, request_id)
    sandbox.close()

The first invocation starts a process, which imports the handler ("init"): a cold start. Later
invocations use the same process until it ends or times out.
Not emulated: memory and payload limits, the retry of a failed init, a read-only task root.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tooling.local.sandbox.client_process import ClientProcess
from tooling.local.sandbox.function import remove_root, unpack

if TYPE_CHECKING:
    from tooling.local.sandbox.function import Function, Package
    from tooling.local.sandbox.runtime_api import Outcome


class Result(NamedTuple):
    """The result of one invocation; ``payload`` is what the handler returned, or the error object.

    ``error`` is "" or "Unhandled". ``log`` is a list of log records for the log stream ``stream``.
    ``cold`` says whether a new process was started for the invocation.
    """

    payload: Any
    error: str
    log: list[str]
    cold: bool
    seconds: float
    stream: str


class Sandbox:
    """One execution environment: a folder below ``folder`` and at most one process.

    Both are created by the first invocation. ``python`` is the interpreter that runs the function.
    """

    def __init__(self, package: Package, function: Function, python: Path, folder: Path) -> None:
        self.package, self.function = package, function
        self.python, self.folder = Path(python).absolute(), Path(folder).absolute()
        self._root: Path | None = None
        self._process: ClientProcess | None = None
        self._lock = threading.Lock()
        self._closed = False

    def invoke(self, event: Any, request_id: str) -> Result:
        """Run the handler on ``event`` (any JSON value) and return the result; one call at a time.

        Raises RuntimeError if the sandbox is closed, and OSError, BadZipFile or SubprocessError
        if it cannot start.
        """
        body = json.dumps(event).encode()
        with self._lock:
            start = time.monotonic()
            process, outcome, cold = self._handle(request_id, body)
            peak_memory_mb = process.peak_memory_mb()
            has_answered = outcome.kind in ("response", "error")
            if not has_answered:
                self._stop_process()
            payload, failure_record = _make_payload(outcome, request_id)
            log = self._log_records(process, request_id, failure_record, peak_memory_mb, cold=cold)
            error = "" if outcome.kind == "response" else "Unhandled"
            return Result(payload, error, log, cold, time.monotonic() - start, process.stream)

    def _handle(self, request_id: str, body: bytes) -> tuple[ClientProcess, Outcome, bool]:
        """Let a process handle the event; return it, the outcome, and whether the process is new.

        ``body`` is the event as JSON. The caller has the lock.
        """
        timeout_seconds = self.function.timeout_seconds
        if process := self._process:
            outcome = process.run(request_id, body, timeout_seconds)
            # "gone": the process ended after the last invocation and did not take this event.
            if outcome.kind != "gone":
                return process, outcome, False
            self._stop_process()
        process = self._start_process()
        outcome = process.init_outcome
        if outcome.kind == "ready":
            outcome = process.run(request_id, body, timeout_seconds)
        return process, outcome, True

    def close(self) -> None:
        """Stop the process, even during an invocation, and remove the folder.

        It may be called from any thread; an invocation runs in another one.
        """
        self._closed = True
        # A running invocation has the lock; killing its process ends it.
        if process := self._process:
            process.kill()
        with self._lock:
            self._stop_process()
            if self._root:
                remove_root(self._root)
                self._root = None

    def _start_process(self) -> ClientProcess:
        """Unpack the package if needed, start a process, and wait for the end of its init.

        The caller has the lock, but another thread may call close() at any moment. If that kills
        the process during its init, wait_for_init() returns, and ``init_outcome`` is "exit".
        """
        if self._closed:
            raise RuntimeError(f"the sandbox of {self.function.name} is closed")
        if self._root is None:
            root = self.folder / f"{self.function.name}-{uuid.uuid4().hex[:8]}"
            unpack(self.package, root)
            self._root = root
        self._process = process = ClientProcess(self.function, self.python, self._root)
        # close() may have read self._process before this set it, and so have killed nothing.
        if self._closed:
            process.kill()
        process.wait_for_init()
        return process

    def _stop_process(self) -> None:
        """Stop the process, if there is one; the next invocation starts a new one."""
        if self._process:
            self._process.stop()
            self._process = None

    def _log_records(
        self,
        process: ClientProcess,
        request_id: str,
        failure_record: str,
        peak_memory_mb: str,
        *,
        cold: bool,
    ) -> list[str]:
        """Return one invocation's log records (Lambda docs, "Python function logging").

        In order: those of the init after a cold start, START, the handler's own, the record of a
        failure if there was one, END, and REPORT with the figures.
        """
        duration_ms = process.run_seconds * 1000
        init_ms = process.init_seconds * 1000 if cold else 0.0
        report = [
            f"REPORT RequestId: {request_id}",
            f"Duration: {duration_ms:.2f} ms",
            f"Billed Duration: {math.ceil(duration_ms + init_ms)} ms",
            f"Memory Size: {self.function.memory_mb} MB",
        ]
        if peak_memory_mb:
            report.append(f"Max Memory Used: {peak_memory_mb} MB")
        if cold:
            report.append(f"Init Duration: {init_ms:.2f} ms")
        records = list(process.init_log) if cold else []
        records.append(f"START RequestId: {request_id} Version: {self.function.version}")
        records += process.take_records()
        if failure_record:
            records.append(failure_record)
        return [*records, f"END RequestId: {request_id}", "\t".join(report)]


def _make_payload(outcome: Outcome, request_id: str) -> tuple[Any, str]:
    """Return the payload of an outcome, and the log record that Lambda adds to it, or "".

    Lambda adds a record after a timeout and after the end of the process.
    """
    if outcome.kind == "timeout":
        reason = f"Task timed out after {outcome.detail:.2f} seconds"
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}Z"
        payload = _error_payload("Sandbox.Timedout", request_id, reason)
        return payload, f"{now} {request_id} {reason}"
    if outcome.kind in ("exit", "gone"):
        payload = _error_payload("Runtime.ExitError", request_id, _exit_reason(outcome.detail))
        return payload, f"{payload['errorMessage']}\nRuntime.ExitError"
    return json.loads(outcome.detail), ""


def _error_payload(kind: str, request_id: str, reason: str) -> dict[str, str]:
    """Return Lambda's error object for a failure that the handler did not report itself."""
    return {"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {reason}"}


def _exit_reason(return_code: int) -> str:
    """Return Lambda's message for the end of a process; a negative code is a signal's number."""
    if return_code == 0:
        return "Runtime exited without providing a reason"
    if return_code > 0:
        return f"Runtime exited with error: exit status {return_code}"
    name = str(signal.strsignal(-return_code)).lower()
    return f"Runtime exited with error: signal: {name}"
