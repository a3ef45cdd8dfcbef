"""Code for a sandbox of the laptop's Lambda, zipped as it is uploaded, and a look at the processes that run it."""

from __future__ import annotations

import io
import stat
import subprocess
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tooling.local.sandbox.runtime import Sandbox

    Make = Callable[..., Sandbox]

CODE = """
import json, logging, os, subprocess, sys, time
print("loaded")
count = 0
def echo(event, context):
    return event
def look(event, context):
    global count
    count += 1
    told = [context.aws_request_id, context.function_name, context.function_version, context.memory_limit_in_mb,
            context.invoked_function_arn, context.log_group_name, context.log_stream_name]
    return {"pid": os.getpid(), "count": count, "path": sys.path, "environment": dict(os.environ), "told": told,
            "folder": os.getcwd(), "left": context.get_remaining_time_in_millis()}
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


def zipped(files: dict[str, str], modes: dict[str, int] | None = None) -> bytes:
    """Return a zip of these files, with these modes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFREG | (modes or {}).get(name, 0o644)) << 16
            archive.writestr(entry, text)
    return made.getvalue()


def is_alive(pid: int) -> bool:
    """Say whether the process runs; one that nobody has reaped is dead."""
    told = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return bool(told.strip()) and not told.startswith("Z")


def group(leader: int) -> int:
    """Return how many processes of the leader's group run."""
    told = subprocess.run(
        ["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True
    ).stdout
    return sum(line.split()[0] == str(leader) and "Z" not in line for line in told.splitlines())
