"""Stand-ins for time, threads and locks, which use simulated time.

They offer what the function uses of the originals; anything else raises AttributeError.
"""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from benchmarks.simulation.scheduler import Scheduler, Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

    from benchmarks.simulation.scheduler import Task


ORIGINAL_MODULES = ("time", "threading", "_thread", "queue", "concurrent.futures")


class SimulatedThread:
    """As threading.Thread; a task of the process in which it is started."""

    scheduler: Scheduler  # set by replace_time_and_threads, as in the classes below
    _task: Task

    def __init__(
        self,
        target: Callable[..., object],
        args: Iterable[Any] = (),
        name: str = "",
        *,
        daemon: bool = False,
    ) -> None:
        self._target = target
        self._args = args
        self.name = name
        self.daemon = daemon

    def start(self) -> None:
        """Run the target in a task."""
        process = self.scheduler.get_running_task().process
        self._task = process.start(lambda: self._target(*self._args))

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end."""
        self._task.done.wait(timeout)

    def is_alive(self) -> bool:
        """Return whether the task has not ended."""
        return not self._task.done.has_happened


class SimulatedLock:
    """As threading.Lock."""

    scheduler: Scheduler

    def __init__(self) -> None:
        self._is_held = False
        self._release = Signal(self.scheduler)

    def __enter__(self) -> None:
        """Wait for the lock and take it."""
        while self._is_held:
            self._release.wait()
        self._is_held = True

    def __exit__(self, *_: object) -> None:
        """Give the lock back."""
        self._is_held = False
        release, self._release = self._release, Signal(self.scheduler)
        release.set()


def replace_time_and_threads(scheduler: Scheduler, modules: Iterable[ModuleType]) -> None:
    """Give modules simulated time and threads, in place of what they imported.

    Raises ValueError if a module has a part of the originals without a stand-in: it would wait in
    real time.
    """

    def get_now() -> float:
        return scheduler.now

    thread, lock = (
        type(base.__name__, (base,), {"scheduler": scheduler})
        for base in (SimulatedThread, SimulatedLock)
    )
    replacements: list[tuple[Any, Any]] = [
        (time, SimpleNamespace(time=get_now, monotonic=get_now, sleep=scheduler.sleep)),
        (time.time, get_now),
        (time.monotonic, get_now),
        (time.sleep, scheduler.sleep),
        (threading, SimpleNamespace(Thread=thread, Lock=lock)),
        (threading.Thread, thread),
        (threading.Lock, lock),
    ]
    for module in modules:
        for name, value in list(vars(module).items()):
            for original, replacement in replacements:
                if value is original:
                    setattr(module, name, replacement)
                    break
            else:
                if getattr(value, "__module__", "") in ORIGINAL_MODULES:
                    raise ValueError(f"{module.__name__}.{name} has no stand-in")
