"""Returns the message of a refusal, so that a test can also assert that there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable


def refusal_of(call: Callable[[], object]) -> str:
    """Return the message with which ``call`` is refused; "" when it is not."""
    try:
        call()
    except RefusedError as error:
        return str(error)
    return ""
