"""Delays the signals that end a task while a program starts, or treats all of them as Ctrl-C."""

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
def hold_back() -> Iterator[None]:
    """Delay these signals until the body has ended.

    A signal during the start of a program would leave the program running without an owner.
    An ignored signal stays ignored, since the program inherits that.
    """
    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield
        return
    delayed: list[int] = []
    replaced_handlers = {
        number: handler for number, handler in _handlers().items() if handler is not signal.SIG_IGN
    }
    for number in replaced_handlers:
        signal.signal(number, lambda number, _: delayed.append(number))
    try:
        yield
    finally:
        _restore(replaced_handlers)
    for number in delayed:
        signal.raise_signal(number)


@contextmanager
def treat_as_ctrl_c() -> Iterator[None]:
    """Let each of these signals interrupt the body as Ctrl-C does.

    Ctrl-C interrupts even where it was ignored, as in a script's background jobs (POSIX, Shell
    Command Language, "Signals and Error Handling"). The other signals stay ignored where they are
    ignored: nohup asks for that.
    """

    def interrupt(*_: object) -> NoReturn:
        """Raise KeyboardInterrupt, and let only Ctrl-C interrupt the clean-up that follows.

        A closed terminal often sends several signals, and the second would stop the clean-up. A
        person who does not want to wait for it can press Ctrl-C once more.
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in replaced_handlers:
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    replaced_handlers = {
        number: handler
        for number, handler in _handlers().items()
        if number == signal.SIGINT or handler is not signal.SIG_IGN
    }
    for number in replaced_handlers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        _restore(replaced_handlers)


def _handlers() -> dict[int, signal._HANDLER]:
    """Return the present handler of each signal."""
    return {number: signal.getsignal(number) for number in ENDING_SIGNALS}


def _restore(handlers: dict[int, signal._HANDLER]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
