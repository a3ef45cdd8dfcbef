"""Delays the signals that end a task while a program starts, or treats all of them as Ctrl-C.

These signals are ENDING_SIGNALS. Both functions are for ``with`` blocks, whose code is the body.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

# Ctrl-C, a request to end, and a terminal that closes.
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def delay_signals() -> Iterator[None]:
    """Delay the ENDING_SIGNALS until the body has ended.

    A signal during the start of a program would leave the program running without an owner.
    A signal that is ignored stays ignored, since the program inherits that. In a thread other than
    the main one, do nothing: Python handles signals in the main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    delayed_signals: list[int] = []

    def delay(number: int, _frame: object) -> None:
        """Take a signal's number in place of its handler; it is raised again after the body."""
        delayed_signals.append(number)

    replaced_handlers = {
        number: handler
        for number, handler in _get_handlers().items()
        if handler is not signal.SIG_IGN
    }
    for number in replaced_handlers:
        signal.signal(number, delay)
    try:
        yield
    finally:
        _restore(replaced_handlers)
    for number in delayed_signals:
        signal.raise_signal(number)


@contextmanager
def treat_as_ctrl_c() -> Iterator[None]:
    """Let each of the ENDING_SIGNALS interrupt the body as Ctrl-C does.

    Ctrl-C interrupts even if the process was started with Ctrl-C ignored, as background jobs of a
    script are (POSIX, Shell Command Language, "Signals and Error Handling"). Any other signal that
    is ignored stays ignored: nohup asks for that.
    """

    def interrupt(*_: object) -> NoReturn:
        """Raise KeyboardInterrupt; from now on, ignore all of the signals but Ctrl-C.

        A closed terminal often sends several signals, and the second would stop the clean-up that
        follows the first. A person who does not want to wait for it can press Ctrl-C once more.
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in replaced_handlers:
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    replaced_handlers = {
        number: handler
        for number, handler in _get_handlers().items()
        if number == signal.SIGINT or handler is not signal.SIG_IGN
    }
    for number in replaced_handlers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        _restore(replaced_handlers)


def _get_handlers() -> dict[int, signal._HANDLER]:
    """Return the present handler of each signal by the signal's number."""
    return {number: signal.getsignal(number) for number in ENDING_SIGNALS}


def _restore(handlers: dict[int, signal._HANDLER]) -> None:
    """Set the handlers, which are by number of their signal, as they were before."""
    for number, handler in handlers.items():
        signal.signal(number, handler)
