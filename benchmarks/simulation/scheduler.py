"""Simulated time: actions in the order of their time, and tasks that wait without real time.

A task runs ordinary code in a thread of its own, but one thread runs at a time. A task that waits
sets the clock to the next action and runs it, and so on until a task is to go on; often it is the
same one. Runs with one seed are equal.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Action = Callable[[], object]


class Killed(BaseException):  # no Exception, so that the function's code does not catch it
    """Raised in a task that is to end at once; each later wait of the task raises it again."""


class Timer:
    """An action at a time; ``cancel`` removes it."""

    def __init__(self, action: Action) -> None:
        self._action: Action | None = action

    @property
    def is_cancelled(self) -> bool:
        """Whether the action was removed."""
        return self._action is None

    def cancel(self) -> None:
        """Remove the action."""
        self._action = None

    def fire(self) -> None:
        """Call the action."""
        if self._action:
            self._action()


class Process:
    """The tasks of one process, which are frozen, thawed and killed together."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.tasks: dict[Task, None] = {}  # in the order of their start
        self.is_frozen = False
        self._due: list[tuple[Task, int]] = []  # tasks to resume as soon as the process thaws

    def start(self, function: Action) -> Task:
        """Run ``function`` in a new task, from now on."""
        return Task(self, function)

    def freeze(self) -> None:
        """Stop all tasks until ``thaw``; time goes on, so their waits may end meanwhile."""
        self.is_frozen = True

    def thaw(self) -> None:
        """Let the tasks go on."""
        self.is_frozen = False
        due, self._due = self._due, []
        for task, wait_number in due:
            self.scheduler.after(0, partial(task.resume, wait_number))

    def kill(self) -> None:
        """End all tasks: nothing that follows in their code has an effect."""
        self.is_frozen = False
        for task in self.tasks:
            task.is_killed = True
            self.scheduler.after(0, partial(task.resume, task.wait_number))

    def hold(self, task: Task, wait_number: int) -> None:
        """Note that a task of a frozen process is due."""
        self._due.append((task, wait_number))


class Task:
    """Code that runs in simulated time."""

    def __init__(self, process: Process, function: Action) -> None:
        self.process = process
        self.is_killed = False
        self.done = Signal(process.scheduler)
        self.wait_number = 0
        self.worker: _Worker | None = None  # from the first turn on
        self._function = function
        process.tasks[self] = None
        process.scheduler.after(0, partial(self.resume, 0))

    def resume(self, wait_number: int) -> None:
        """Let the task go on, unless it no longer waits with this number."""
        if wait_number != self.wait_number or self.done.has_happened:
            return
        if self.process.is_frozen:
            self.process.hold(self, wait_number)
            return
        self.process.scheduler.next_task = self

    def run(self) -> None:
        """Run the function to its end. Nobody learns of an error, as with a thread."""
        try:
            if not self.is_killed:
                self._function()
        except (Killed, Exception):  # noqa: BLE001, S110 - see above
            pass
        del self.process.tasks[self]
        self.done.set()


class Signal:
    """Something that happens once; tasks wait for it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.has_happened = False
        self._scheduler = scheduler
        self._waiting: list[tuple[Task, int]] = []

    def set(self) -> None:
        """Let it happen: all waiting tasks go on."""
        self.has_happened = True
        waiting, self._waiting = self._waiting, []
        for task, number in waiting:
            self._scheduler.after(0, partial(task.resume, number))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for it, ``timeout`` seconds at most; return whether it happened."""
        if not self.has_happened:
            task = self._scheduler.get_running_task()
            self._waiting.append((task, task.wait_number + 1))
            self._scheduler.pause(math.inf if timeout is None else timeout)
        return self.has_happened


class _Worker(threading.Thread):
    """A thread that runs one task after the other."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(daemon=True)
        self.gate = threading.Lock()  # held while the thread is to wait
        self.gate.acquire()
        self.task: Task | None = None
        self._scheduler = scheduler
        self.start()

    def run(self) -> None:
        """Run tasks as they are given to this thread, until there is none."""
        self.gate.acquire()
        while self.task:
            task: Task | None = self.task
            self.task = None  # now, since another thread sets it as soon as this one is idle
            while task:
                self._scheduler.begin(task, self)
                task.run()
                task = self._scheduler.find_task_after(self)
            self.gate.acquire()


class Scheduler:
    """The clock, and the actions to come."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.next_task: Task | None = None  # set by an action that lets a task go on
        self._running: Task | None = None
        self._timers: list[tuple[float, int, Timer]] = []
        self._number = itertools.count()
        self._idle_workers: list[_Worker] = []
        self._end = threading.Lock()  # held until no action is left
        self._end.acquire()
        self._failure: BaseException | None = None

    def at(self, when: float, action: Action) -> Timer:
        """Call ``action`` at a time, in seconds since 1970."""
        timer = Timer(action)
        heapq.heappush(self._timers, (when, next(self._number), timer))
        return timer

    def after(self, seconds: float, action: Action) -> Timer:
        """Call ``action`` some seconds from now."""
        return self.at(self.now + seconds, action)

    def run(self) -> None:
        """Run all actions, until none is left. Raises the error of one that fails."""
        self._go_on_with(self._advance())
        self._end.acquire()
        for worker in self._idle_workers:
            worker.gate.release()  # without a task, so it ends
        if self._failure:
            raise self._failure

    def get_running_task(self) -> Task:
        """Return the task that runs. Raises RuntimeError outside of tasks, which cannot wait."""
        if self._running is None:
            raise RuntimeError("only a task can wait")
        return self._running

    def begin(self, task: Task, worker: _Worker) -> None:
        """Note that ``worker`` runs ``task`` from now on."""
        task.worker = worker
        self._running = task

    def find_task_after(self, worker: _Worker) -> Task | None:
        """Return a new task for a worker whose task has ended; None if another thread goes on."""
        task = self._advance()
        if task and task.worker is None:
            return task
        self._idle_workers.append(worker)
        self._go_on_with(task)
        return None

    def sleep(self, seconds: float) -> None:
        """Let the running task wait."""
        if self.get_running_task().is_killed:
            raise Killed
        if not self._drop_cancelled() or self._timers[0][0] > self.now + seconds:
            self.now += seconds  # nothing else happens meanwhile
            return
        self.pause(seconds)

    def pause(self, seconds: float) -> None:
        """Let the running task wait for ``seconds``, or until it is resumed before."""
        task = self.get_running_task()
        if task.is_killed:
            raise Killed
        task.wait_number += 1
        timer = None
        if seconds < math.inf:
            timer = self.after(max(0.0, seconds), partial(task.resume, task.wait_number))
        next_task = self._advance()
        if next_task is not task and task.worker:
            self._go_on_with(next_task)
            task.worker.gate.acquire()
        self._running = task
        task.wait_number += 1  # so that no other signal resumes this wait
        if timer:
            timer.cancel()
        if task.is_killed:
            raise Killed

    def _advance(self) -> Task | None:
        """Run actions until one lets a task go on; return the task, None if no action is left."""
        self._running = self.next_task = None
        try:
            while self.next_task is None and self._drop_cancelled():
                self.now, _, timer = heapq.heappop(self._timers)
                timer.fire()
        except BaseException as error:  # noqa: BLE001 - raised by run, and not in a task's code
            self._failure = error
            return None
        return self.next_task

    def _go_on_with(self, task: Task | None) -> None:
        """Let a task's thread go on, or that of ``run`` if there is no task."""
        if task is None:
            self._end.release()
            return
        if task.worker is None:
            task.worker = self._idle_workers.pop() if self._idle_workers else _Worker(self)
            task.worker.task = task
        task.worker.gate.release()

    def _drop_cancelled(self) -> bool:
        """Drop cancelled timers at the head; return whether a timer is left."""
        while self._timers and self._timers[0][2].is_cancelled:
            heapq.heappop(self._timers)
        return bool(self._timers)
