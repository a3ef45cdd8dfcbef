"""Runs a Lambda runtime client in a child process.

The client imports the function's handler (Lambda calls this "init"). Then it fetches events from
the Runtime API, a local HTTP server, and posts there what the handler returns or raises. It is
AWS's own client (awslambdaric), or ``plain_client.py`` if the interpreter has no awslambdaric.
Each process has its own Runtime API, so that a dead process's open request takes no event.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tooling.local.sandbox.process_log import ProcessLog
from tooling.local.sandbox.runtime_api import Event, Outcome, RuntimeApi, start_thread

if TYPE_CHECKING:
    from tooling.local.sandbox.function import Function

# Lambda docs, "Understanding the Lambda execution environment lifecycle"
INIT_TIMEOUT_SECONDS = 10.0
PROBE_TIMEOUT_SECONDS = 60.0
PLAIN_CLIENT = Path(__file__).with_name("plain_client.py")
# Python code that an interpreter runs to print the fields of its RuntimeClient as JSON.
PROBE_CODE = """
import json, os, sys
try:
    import awslambdaric
    client = [awslambdaric.__version__, os.path.dirname(os.path.dirname(awslambdaric.__file__))]
except ImportError:
    client = ["", ""]
print(json.dumps(["%d.%d" % sys.version_info[:2], *client]))
"""


class RuntimeClient(NamedTuple):
    """The runtime client of one Python interpreter.

    ``python_version`` is, for example, "3.13". ``version`` is awslambdaric's version, and
    ``folder`` contains its package; both are empty if awslambdaric is not installed.
    """

    python_version: str
    version: str
    folder: str

    @property
    def log_name(self) -> str:
        """How the log shows this client, such as "awslambdaric 3.0.0, Python 3.13"."""
        client = f"awslambdaric {self.version}" if self.version else "plain child process"
        return f"{client}, Python {self.python_version}"


@functools.lru_cache
def find_client(python: str) -> RuntimeClient:
    """Ask the interpreter at the path ``python`` which runtime client it has.

    Raises OSError or SubprocessError if the interpreter does not run.
    """
    command = [python, "-I", "-c", PROBE_CODE]
    probe = subprocess.run(
        command, env={}, capture_output=True, check=True, timeout=PROBE_TIMEOUT_SECONDS
    )
    return RuntimeClient(*json.loads(probe.stdout))


class ClientProcess:
    """A runtime client in a child process, and the Runtime API that it uses.

    ``init_outcome``, ``init_seconds`` and ``init_log`` (log records) describe the init, and
    ``run_seconds`` is how long the last event took. ``stream`` is the name of the log stream.
    """

    def __init__(self, function: Function, python: Path, root: Path) -> None:
        """Start the process with the interpreter ``python``. Raises OSError if that fails.

        ``root`` is a folder that contains the unpacked code (task) and layers (opt).
        """
        client = find_client(str(python))
        self.stream = f"{datetime.now(UTC):%Y/%m/%d}/[{function.version}]{uuid.uuid4().hex}"
        self.init_outcome = Outcome("gone")  # until wait_for_init() sets it
        self.init_seconds = self.run_seconds = 0.0
        self.init_log = [f"INIT_START Runtime Version: {client.log_name}"]
        self._api = RuntimeApi(function.arn)
        environment = _environment(function, python, client, root) | {
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "AWS_LAMBDA_LOG_STREAM_NAME": self.stream,
        }
        # -u: unbuffered output. -P: does not import from the folder of plain_client.py.
        plain_client = ["-u", "-P", str(PLAIN_CLIENT)]
        client_arguments = ["-m", "awslambdaric"] if client.version else plain_client
        shutil.rmtree(root / "tmp", ignore_errors=True)
        (root / "tmp").mkdir()
        try:
            # -B: writes no bytecode. -s: does not import packages of this machine's user.
            self._child = subprocess.Popen(
                [str(python), "-B", "-s", *client_arguments, function.handler],
                cwd=root / "task",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,  # a terminal's Ctrl-C does not reach it; its children end with it
            )
        except OSError:
            self._api.stop()
            raise
        self._log = ProcessLog(self._child)
        self._watcher = start_thread(self._watch)

    def wait_for_init(self) -> None:
        """Wait until the handler is loaded or fails to load; set the ``init_`` attributes.

        If the process ends or is killed meanwhile, ``init_outcome`` has the kind "exit".
        """
        start = time.monotonic()
        self.init_outcome = self._api.wait_for_outcome(INIT_TIMEOUT_SECONDS)
        self.init_seconds = time.monotonic() - start
        self.init_log += self._log.take()

    def run(self, request_id: str, body: bytes, timeout_seconds: float) -> Outcome:
        """Let the process handle an event, wait for the outcome, and set ``run_seconds``.

        ``body`` is the event as JSON. The kind "gone" means that the process had ended already.
        """
        start = time.monotonic()
        deadline_ms = int((time.time() + timeout_seconds) * 1000)
        self._api.offer(Event(request_id, body, deadline_ms))
        outcome = self._api.wait_for_outcome(timeout_seconds)
        self.run_seconds = time.monotonic() - start
        if outcome.kind == "exit" and not self._api.event_taken:
            return Outcome("gone", outcome.detail)
        return outcome

    def take_records(self) -> list[str]:
        """Return the log records since the last call.

        Every record that the handler wrote before its last response is among them.
        """
        return self._log.take()

    def peak_memory_mb(self) -> str:
        """Return the most memory used so far, such as "42"; empty if the system does not tell."""
        with suppress(OSError):  # only Linux has /proc; VmHWM is the peak of resident memory
            status = Path(f"/proc/{self._child.pid}/status").read_text()
            if peak_kb := re.search(r"VmHWM:\s+(\d+) kB", status):
                return str(math.ceil(int(peak_kb[1]) / 1024))
        return ""

    def kill(self) -> None:
        """Kill the process and its children at once, unless the process has ended."""
        if self._child.returncode is None:  # _watch, which waits for the process, sets it
            self._kill_group()

    def stop(self) -> None:
        """Kill the process and wait until its threads and connections have ended."""
        self.kill()
        self._watcher.join()
        self._log.close()
        self._api.stop()

    def _kill_group(self) -> None:
        """Kill the process and its children, which share its process group."""
        # If the group is empty already, Linux raises the first error, and macOS the second.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)

    def _watch(self) -> None:
        """Wait for the end of the process, kill its children, and report the exit as an outcome.

        Runs in a thread of its own.
        """
        return_code = self._child.wait()
        self._kill_group()
        self._api.outcomes.put(Outcome("exit", return_code))


def _environment(
    function: Function, python: Path, client: RuntimeClient, root: Path
) -> dict[str, str]:
    """Return the environment variables of the child process, as Lambda sets them.

    The function's variables override the defaults, but not the variables that Lambda reserves.
    The folders below ``root`` are task (code), opt (layers) and tmp.
    """
    task, opt, temporary = root / "task", root / "opt", root / "tmp"
    site_packages = opt / "python" / "lib" / f"python{client.python_version}" / "site-packages"
    module_paths = [str(site_packages), str(opt / "python")]
    if client.folder:
        module_paths.append(client.folder)
    defaults = {
        "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin:{opt}/bin",
        "LD_LIBRARY_PATH": f"{task}:{task}/lib:{opt}/lib",
        "PYTHONPATH": os.pathsep.join(module_paths),
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
    }
    reserved = {
        "HOME": str(temporary),  # so that ~/.aws of this machine's user is not read
        "TMPDIR": str(temporary),
        "_HANDLER": function.handler,
        "LAMBDA_TASK_ROOT": str(task),
        "LAMBDA_RUNTIME_DIR": client.folder or str(PLAIN_CLIENT.parent),
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{client.python_version}",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_LOG_GROUP_NAME": function.log_group_name,
        "AWS_REGION": function.region,
        "AWS_DEFAULT_REGION": function.region,
    }
    return defaults | dict(function.environment) | reserved
