"""The signals that end a word: held back while a program starts, or all taken as Ctrl-C by a word that cleans up."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDING_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
)  # Ctrl-C, a request to end, a terminal that closes


@contextmanager
def hold_back() -> Iterator[None]:
    """Hold these signals back to the end of the body: within a start they would leave a program that nobody knows of.

    One that is ignored stays so, for the program that starts inherits it.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return
    held: list[int] = []
    before = {number: old for number, old in _handlers().items() if old is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, lambda number, _: held.append(number))
    try:
        yield
    finally:
        _restore(before)
    for number in held:
        signal.raise_signal(number)


@contextmanager
def treat_as_ctrl_c() -> Iterator[None]:
    """Let each of these signals interrupt the body as Ctrl-C does.

    Ctrl-C itself does so even where it was ignored, as it is in the background jobs of a script (POSIX, Shell Command
    Language, "Signals and Error Handling"). The others stay ignored where they are, for nohup asks for that. After the
    first signal the clean-up goes on undisturbed, but for a Ctrl-C of somebody who insists.
    """

    def interrupt(*_: object) -> NoReturn:
        for number in before:
            signal.signal(
                number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_IGN
            )
        raise KeyboardInterrupt

    found = _handlers()
    before = {
        number: old
        for number, old in found.items()
        if number == signal.SIGINT or old is not signal.SIG_IGN
    }
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        _restore(before)


def _handlers() -> dict[int, signal._HANDLER]:
    return {number: signal.getsignal(number) for number in ENDING_SIGNALS}


def _restore(handlers: dict[int, signal._HANDLER]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
