"""Limits how long a call may take by the clock on the wall.

The timeouts of botocore and requests begin again with each address that they try and each piece of
an answer that arrives, so a server that trickles holds a call for ever. Here each call runs in a
daemon thread of its own, which is left behind when the time is up: it neither keeps the process
from ending nor, after Lambda has frozen and thawed the process, gives its answer to another call.
"""

from __future__ import annotations

from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


def call(function: Callable[[], T], seconds: float) -> T:
    """Return what ``function`` returns, and raise what it raises; TimeoutError after ``seconds``.

    The function may still go on after a TimeoutError.
    """
    results: list[T | Exception] = []  # empty until the call ends, then one item

    def run() -> None:
        """Append the result or the error to ``results``."""
        try:
            results.append(function())
        except Exception as error:  # noqa: BLE001 - raised again by the waiting thread
            results.append(error)

    thread = _start(run)
    if thread:
        thread.join(max(0.0, seconds))
    if not results:
        raise TimeoutError
    (result,) = results
    if isinstance(result, Exception):
        raise result
    return result


def call_side_by_side(functions: Sequence[Callable[[], None]]) -> None:
    """Call all functions at the same time, and wait for all of them. None of them may raise.

    Each must limit its own time.
    """
    threads = [_start(function) for function in functions]
    for thread in threads:
        if thread:
            thread.join()


def _start(function: Callable[[], None]) -> Thread | None:
    """Call ``function`` in a new thread; without one, if the process cannot have any more."""
    thread = Thread(target=function, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        function()  # a call without a limit is better than none
        return None
    return thread


class LimitedClient:
    """An AWS client, each of whose calls takes at most ``seconds``; then it raises TimeoutError.

    With ``gives_up``, a call after one that took too long raises at once, until ``close``: several
    waits would leave no time for the alert.
    """

    def __init__(self, client: Any, seconds: float, *, gives_up: bool = False) -> None:
        self._client, self._seconds = client, seconds
        self._gives_up, self._is_late = gives_up, False

    def __getattr__(self, name: str) -> Any:
        """Return the client's attribute; an operation of the service is limited."""
        attribute = getattr(self._client, name)
        is_operation = callable(attribute)
        return partial(self._call, attribute) if is_operation else attribute

    def close(self) -> None:
        """Close the idle connections."""
        self._is_late = False
        self._client.close()

    def _call(self, operation: Callable[..., T], **request: Any) -> T:
        if self._is_late:
            raise TimeoutError
        try:
            return call(partial(operation, **request), self._seconds)
        except TimeoutError:
            self._is_late = self._gives_up
            raise
