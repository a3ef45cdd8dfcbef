"""Helpers for tests of the sandbox: a function's code, zips, and a look at processes."""

from __future__ import annotations

import io
import stat
import subprocess
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tooling.local.sandbox.execution_environment import Sandbox

    MakeSandbox = Callable[..., Sandbox]

CODE = """
import json, logging, os, subprocess, sys, time
print("loaded")
count = 0
def echo(event, context):
    return event
def look(event, context):
    global count
    count += 1
    values = [context.aws_request_id, context.function_name, context.function_version,
              context.memory_limit_in_mb, context.invoked_function_arn, context.log_group_name,
              context.log_stream_name]
    return {"pid": os.getpid(), "count": count, "path": sys.path, "context": values,
            "environment": dict(os.environ), "folder": os.getcwd(),
            "remaining_ms": context.get_remaining_time_in_millis()}
def fail(event, context):
    raise ValueError("no such " + event["what"])
def act(event, context):
    if event.get("log"):
        print(event["log"], flush=True)
    if event.get("warn"):
        logging.getLogger("mine").warning(event["warn"])
    if event.get("child"):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    if event.get("signal"):
        os.kill(os.getpid(), event["signal"])
    if event.get("exit") is not None:
        os._exit(event["exit"])
    time.sleep(event.get("sleep", 0))
    return os.getpid()
"""


def zip_files(files: dict[str, str], modes: dict[str, int] | None = None) -> bytes:
    """Return a zip of these files, with these modes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFREG | (modes or {}).get(name, 0o644)) << 16
            archive.writestr(entry, text)
    return content.getvalue()


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    status = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return status != "" and not status.startswith("Z")


def group_size(leader: int) -> int:
    """Return how many processes of the leader's group run."""
    command = ["ps", "-A", "-o", "pgid=,stat="]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return sum(line.split()[0] == str(leader) and "Z" not in line for line in lines)
