"""Shows one line of progress with its seconds while something goes on.

On a terminal the line is drawn again each second. Elsewhere, in a pipe or a log, it grows by a dot
a second, so that it has no control characters; after DOTS_A_LINE dots another line begins.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tooling.progress import Ongoing

TICK_SECONDS, POLL_SECONDS = 1.0, 0.1
PAUSE_IN_PIPE_SECONDS = 10.0  # after so long, a pause between two lines is shown
DOTS_A_LINE = 30
SHOWN_FROM_SECONDS = 2.0  # of a duration; a shorter one is not worth reading
CLEAR_LINE = "\r\x1b[K"  # ECMA-48: to the first column, erase to the end of the line


@dataclass
class _Work:
    """What goes on now."""

    line: Ongoing
    start: float
    next_tick: float
    dots: int = 0  # on the present line of a pipe
    is_written: bool = False

    def describe(self, now: float) -> str:
        """Return how far the work is and since when: "3 of 9 resources, 4 s"."""
        seconds = now - self.start
        parts = [self.line.detail] if self.line.detail else []
        if seconds >= SHOWN_FROM_SECONDS:
            parts.append(f"{seconds:.0f} s")
        return ", ".join(parts)


class LiveLine:
    """The line at the end of what was printed to standard output; it works from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._work: _Work | None = None
        self._has_ended = threading.Event()

    def show(self, line: Ongoing) -> None:
        """Show what goes on from now, or how far it is if the subject is the same.

        One that is not kept is shown if it lasts: after TICK_SECONDS on a terminal, elsewhere after
        PAUSE_IN_PIPE_SECONDS.
        """
        with self._lock:
            if self._work and self._work.line.subject == line.subject:
                self._work.line = line
            else:
                self.end()
                now = time.monotonic()
                is_late = not line.is_kept and not _is_terminal()
                delay_seconds = PAUSE_IN_PIPE_SECONDS if is_late else TICK_SECONDS
                self._work = _Work(line, now, now + delay_seconds)
                self._start_thread()
            if line.is_kept or self._work.is_written:
                self._draw()

    def end(self) -> None:
        """End the line, as whatever is printed next must; do nothing if nothing goes on."""
        with self._lock:
            work, self._work = self._work, None
            self._has_ended.set()
            if not work or not work.is_written:
                return
            result = work.describe(time.monotonic())
            if not _is_terminal():
                _write(f" {result}\n" if result else "\n")
                return
            _write(CLEAR_LINE)
            if work.line.is_kept:
                _write(f"{work.line.subject} ... {result}".rstrip() + "\n")

    def _start_thread(self) -> None:
        """Let a thread draw the line while the work goes on."""
        self._has_ended = threading.Event()
        threading.Thread(target=self._tick, args=(self._has_ended,), daemon=True).start()

    def _tick(self, has_ended: threading.Event) -> None:
        """Draw the line each second until the work has ended, which sets ``has_ended``."""
        while not has_ended.wait(POLL_SECONDS):
            with self._lock:
                if has_ended.is_set() or not self._work:
                    return
                now = time.monotonic()
                if now >= self._work.next_tick:
                    self._work.next_tick = now + TICK_SECONDS
                    self._draw(is_tick=True)

    def _draw(self, *, is_tick: bool = False) -> None:
        """Draw the line anew on a terminal; elsewhere begin it, or add a dot to it."""
        work = self._work
        if not work:
            return
        result = work.describe(time.monotonic())
        if _is_terminal():
            columns = shutil.get_terminal_size().columns
            line = f"{work.line.subject} ... {result}"
            _write(CLEAR_LINE + line[: columns - 1])  # a longer one could not be erased
        elif not work.is_written:
            _write(f"{work.line.subject} ...")
        elif is_tick and work.dots < DOTS_A_LINE:
            _write(".")
            work.dots += 1
        elif is_tick:
            _write(f" {result}\n{work.line.subject} ...")
            work.dots = 0
        work.is_written = True


def _is_terminal() -> bool:
    """Return whether a line can be drawn again; a closed standard output is no terminal."""
    try:
        return sys.stdout.isatty()
    except (AttributeError, ValueError):
        return False


def _write(text: str) -> None:
    """Write to standard output at once. The task goes on if its reader has gone.

    An output that is closed or full is reported when the next line is printed.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
    except (AttributeError, OSError, ValueError):
        return


def discard_output() -> None:
    """Print nothing any more, because the reader of standard output has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


LIVE_LINE = LiveLine()  # there is one standard output


@contextmanager
def end_live_line() -> Iterator[None]:
    """End the line of progress when the body ends, in whatever way."""
    try:
        yield
    finally:
        LIVE_LINE.end()
