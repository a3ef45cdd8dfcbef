"""Install every part of the adapter over the emulator and serve it until standard input ends or a signal comes."""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import signal
import sys
import threading
import time
from importlib.metadata import version

PARENT = os.getppid()
EMULATOR, VERSION = "ministack", "1.5.33"
PARTS = (
    "access",
    "events",
    "queueing",
    "functions",
    "mapping",
    "trail",
    "resources",
    "comparing",
    "nested",
    "stacks",
    "door",
)


def main() -> None:
    """Check the emulator's version, put the adapter in front of it, and serve.

    Exits with a sentence when another version of the emulator is installed: the adapter knows this one alone.
    """
    found = version(EMULATOR)
    if found != VERSION:
        sys.exit(f"the adapter is written for {EMULATOR} {VERSION}, but {found} is installed")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for part in PARTS:
        _install(part)
    from ministack import app

    app.main()


def _install(part: str) -> None:
    name = f"{__package__}.{part}"
    if importlib.util.find_spec(name):
        importlib.import_module(name).install()


def _end_with_parent() -> None:
    """Wait for the end of standard input, which is the end of who started this; then end everything started here."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    while os.getppid() == PARENT:  # it is stopping us in an orderly way, or has not quite gone yet
        time.sleep(0.05)
    from tooling.local.adapter import functions

    functions.pool.kill()
    if folder := os.environ.get("SIGNWATCH_CLOUD_FOLDER"):
        shutil.rmtree(folder, ignore_errors=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
