"""Warm execution environments of functions: as many as the machine bears, each used by one invocation at a time."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from tooling.local.sandbox.runtime import Sandbox


class Owner(NamedTuple):
    """The function to which an environment belongs."""

    account: str
    region: str
    name: str


@dataclass
class Warm:
    """An environment, whose it is, and ``made_of``: a digest of the code and configuration that it was made from."""

    owner: Owner
    made_of: str
    sandbox: Sandbox
    stale: bool = False


class Pool:
    """At most ``limit`` environments at once; who finds all of them busy waits for one."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._idle: list[Warm] = []  # the one that was used last comes last
        self._busy: list[Warm] = []
        self._changed = threading.Condition()

    def take(self, owner: Owner, made_of: str, make: Callable[[], Sandbox]) -> Warm:
        """Return a warm environment made of the same, or a new one in place of the idle one that rested longest."""
        with self._changed:
            while True:
                found = next(
                    (
                        warm
                        for warm in reversed(self._idle)
                        if (warm.owner, warm.made_of) == (owner, made_of)
                    ),
                    None,
                )
                if found:
                    self._idle.remove(found)
                    break
                if len(self._busy) < self.limit:
                    if len(self._idle) + len(self._busy) >= self.limit:
                        self._idle.pop(0).sandbox.close()
                    found = Warm(owner, made_of, make())
                    break
                self._changed.wait()
            self._busy.append(found)
            return found

    def give(self, warm: Warm) -> None:
        """Take an environment back after its invocation."""
        with self._changed:
            self._busy.remove(warm)
            if warm.stale:
                warm.sandbox.close()
            else:
                self._idle.append(warm)
            self._changed.notify_all()

    def close(self, owner: Owner | None = None) -> None:
        """Close the environments of a function, or of all; a busy one closes when its invocation ends."""
        with self._changed:
            for warm in [warm for warm in self._idle if owner in (None, warm.owner)]:
                self._idle.remove(warm)
                warm.sandbox.close()
            for warm in self._busy:
                warm.stale = warm.stale or owner in (None, warm.owner)

    def kill(self) -> None:
        """Close every environment at once, busy or not: the emulator ends."""
        with self._changed:
            every: list[Any] = [*self._idle, *self._busy]
        for warm in every:
            warm.sandbox.close()
