"""Keeps sandboxes of functions, up to a limit; each runs one invocation at a time.

A sandbox is idle or busy. An idle one is warm: it runs the next invocation without a start.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from tooling.local.sandbox.execution_environment import Sandbox


class Owner(NamedTuple):
    """The function that a sandbox belongs to."""

    account: str
    region: str
    name: str


@dataclass
class PooledSandbox:
    """A sandbox and its function; ``revision`` is a digest of its code and configuration.

    ``stale``: the function has changed since; the sandbox is closed as soon as it is given back.
    """

    owner: Owner
    revision: str
    sandbox: Sandbox
    stale: bool = False


class Pool:
    """At most ``limit`` sandboxes at once; a caller waits while all of them are busy."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._idle: list[PooledSandbox] = []  # the last used one is last
        self._busy: list[PooledSandbox] = []
        self._changed = threading.Condition()

    def take(self, owner: Owner, revision: str, make: Callable[[], Sandbox]) -> PooledSandbox:
        """Return an idle sandbox of this revision, or else a new one from ``make``; it is now busy.

        If the pool is full, the longest idle sandbox is closed for it; if all are busy, this waits.
        """
        with self._changed:
            pooled = self._take_idle(owner, revision)
            while pooled is None and len(self._busy) >= self.limit:
                self._changed.wait()
                pooled = self._take_idle(owner, revision)
            if pooled is None:
                if len(self._idle) + len(self._busy) >= self.limit:
                    self._idle.pop(0).sandbox.close()
                pooled = PooledSandbox(owner, revision, make())
            self._busy.append(pooled)
            return pooled

    def _take_idle(self, owner: Owner, revision: str) -> PooledSandbox | None:
        """Remove and return the last used idle sandbox of this revision; None if there is none."""
        for pooled in reversed(self._idle):
            if (pooled.owner, pooled.revision) == (owner, revision):
                self._idle.remove(pooled)
                return pooled
        return None

    def give_back(self, pooled: PooledSandbox) -> None:
        """Return a sandbox to the pool after its invocation."""
        with self._changed:
            self._busy.remove(pooled)
            if pooled.stale:
                pooled.sandbox.close()
            else:
                self._idle.append(pooled)
            self._changed.notify_all()

    def close(self, owner: Owner) -> None:
        """Close the sandboxes of a function; a busy one closes when its invocation ends."""
        with self._changed:
            for pooled in tuple(self._idle):
                if pooled.owner == owner:
                    self._idle.remove(pooled)
                    pooled.sandbox.close()
            for pooled in self._busy:
                if pooled.owner == owner:
                    pooled.stale = True

    def kill(self) -> None:
        """Close every sandbox at once, busy or not, because the emulator ends."""
        with self._changed:
            sandboxes = [pooled.sandbox for pooled in (*self._idle, *self._busy)]
        for sandbox in sandboxes:
            sandbox.close()
