"""Asking whether something is refused, so that a test can say that it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable


def refusal_of(call: Callable[[], object]) -> str:
    """Return the sentence with which ``call`` is refused; nothing when it goes through."""
    try:
        call()
    except RefusedError as error:
        return str(error)
    return ""
