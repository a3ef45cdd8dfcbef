"""Installs every part of the adapter and serves the emulator until its parent process ends."""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
import threading
import time
from importlib.metadata import version

PARENT_PID = os.getppid()
PACKAGE, PACKAGE_VERSION = "ministack", "1.5.33"
PARTS = (
    "permissions",
    "event_bus",
    "async_invocation",
    "lambda_functions",
    "event_source_mapping",
    "subscription_filters",
    "trail_resource",
    "stack_resources",
    "drift_detection",
    "nested_stacks",
    "stack_requests",
    "request_router",
)


def main() -> None:
    """Check the emulator's version, install the adapter and serve.

    Exits with a message if another version is installed: the adapter replaces private functions.
    """
    installed = version(PACKAGE)
    if installed != PACKAGE_VERSION:
        sys.exit(
            f"the adapter is written for {PACKAGE} {PACKAGE_VERSION}, but {installed} is installed"
        )
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    for part in PARTS:
        importlib.import_module(f"{__package__}.{part}").install()
    from ministack import app

    app.main()


def _exit_with_parent() -> None:
    """Wait until the parent process has ended, then end every process started here.

    Standard input is a pipe from the parent. Reading it ends when the parent dies or closes it. A
    parent that closes it and lives on is about to end, or to stop this process by a signal. So this
    waits for the end of the parent itself.
    """
    while os.read(sys.stdin.fileno(), 1):
        pass
    while os.getppid() == PARENT_PID:  # another process becomes the parent when it dies
        time.sleep(0.05)
    from tooling.local.adapter import lambda_functions

    lambda_functions.pool.kill()
    if folder := os.environ.get("SIGNWATCH_EMULATOR_FOLDER"):
        shutil.rmtree(folder, ignore_errors=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
