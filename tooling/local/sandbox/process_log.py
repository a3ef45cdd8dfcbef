"""Collects the log records that a function's process writes to its output, one a line."""

from __future__ import annotations

import os
import select
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from tooling.local.sandbox.runtime_api import start_thread

if TYPE_CHECKING:
    import subprocess

CLOSE_TIMEOUT_SECONDS = 1.0
POLL_TIMEOUT_MS = 1000  # how soon the thread sees that close() was called
CHUNK_BYTES = 65_536


class ProcessLog:
    """The output of ``process``, which must be a pipe.

    A thread reads it all the time, so that the process never blocks on a full pipe. take() also
    reads it, so that it returns every record written so far. ``_ended`` stops the reading: the
    output has ended, or close() was called.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout  # noqa: S101 - tells the type checker that it is a pipe
        self._pipe = process.stdout
        self._text = bytearray()
        self._ended = False
        self._lock = threading.Lock()
        os.set_blocking(self._pipe.fileno(), False)
        self._thread = start_thread(self._follow)

    def take(self) -> list[str]:
        """Return the records since the last call; a record may have several lines.

        A line break inside a record reaches the pipe as a carriage return.
        """
        with self._lock:
            self._read()
            text = self._text.decode(errors="replace")
            self._text.clear()
        return [line.rstrip("\r").replace("\r", "\n") for line in text.split("\n") if line]

    def close(self) -> None:
        """Wait for the end of the output, but at most CLOSE_TIMEOUT_SECONDS, and stop reading.

        A detached process may keep the pipe open longer.
        """
        self._thread.join(CLOSE_TIMEOUT_SECONDS)
        self._ended = True
        self._thread.join()

    def _follow(self) -> None:
        """Read until the output ends or close() stops it; runs in a thread of its own."""
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        while not self._ended:
            poll.poll(POLL_TIMEOUT_MS)
            with self._lock:
                self._read()
        self._pipe.close()

    def _read(self) -> None:
        """Read all output that the pipe holds now; an empty chunk is the end of the output."""
        with suppress(BlockingIOError):
            while not self._ended:
                chunk = os.read(self._pipe.fileno(), CHUNK_BYTES)
                self._text += chunk
                self._ended = not chunk
