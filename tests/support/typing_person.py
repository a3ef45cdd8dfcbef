"""A person at a real terminal (a pty): types each answer after its question has appeared."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TIMEOUT_SECONDS = 60.0


def run_on_terminal(
    command: list[str], dialogue: Iterable[tuple[str, str]], environment: Mapping[str, str]
) -> tuple[int, str]:
    """Run a program on a terminal of its own; return its exit code and all that was on the screen.

    ``dialogue`` has the end of each question and the answer to it.
    """
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    end = time.monotonic() + TIMEOUT_SECONDS
    screen = position = ""
    try:
        for question, answer in dialogue:
            screen, position = _read_until(master, screen, position, question, end)
            os.write(master, f"{answer}\n".encode())
        screen, _ = _read_until(master, screen, position, "", end)
        return process.wait(TIMEOUT_SECONDS), screen
    finally:
        process.kill()
        process.wait()
        os.close(master)


def _read_until(master: int, screen: str, position: str, text: str, end: float) -> tuple[str, str]:
    """Read on until ``text`` appears after ``position``, what was seen; all if it is empty."""
    while not text or text not in screen[len(position) :]:
        ready, _, _ = select.select([master], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"{text!r} did not appear on the screen:\n{screen}"
        try:
            data = os.read(master, 65536)
        except OSError:  # Linux raises it when the program has ended, macOS returns nothing
            data = b""
        if not data:
            assert not text, f"the program ended before {text!r}:\n{screen}"
            break
        screen += data.decode(errors="replace")
    return screen, screen
