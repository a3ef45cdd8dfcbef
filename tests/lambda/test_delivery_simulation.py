"""The simulation of benchmarks/delivery.py, on a small scale, and its parts."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from benchmarks.simulation.aws import Function, Message, Queue
from benchmarks.simulation.scheduler import Process, Scheduler, Signal
from benchmarks.simulation.stack import QueueSettings, StackSettings
from benchmarks.simulation.threads import replace_time_and_threads
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

SIGN_INS = 300
SIGN_INS_WITH_LOSS = 700  # of so many, the bus loses one or more, whatever the order of chances
LAST_LINE = re.compile(r"lost (\d+), duplicates ([\d.]+)% <= 1%, requests an alert ([\d.]+) <= 3")
START = 1_000_000.0


def simulate(*options: str, count: int = SIGN_INS) -> tuple[int, re.Match[str]]:
    """Run the benchmark; return its exit code, and the match of its last line."""
    command = [sys.executable, str(ROOT / "benchmarks" / "delivery.py"), "--n", str(count)]
    process = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=120, check=False
    )
    match = LAST_LINE.fullmatch(process.stdout.strip().rpartition("\n")[2])
    assert match, process.stdout + process.stderr
    return process.returncode, match


@pytest.mark.joint
def test_no_alert_is_lost_in_a_day_with_faults() -> None:
    code, figures = simulate("--seed", "7")
    assert (code, figures[1]) == (0, "0")


@pytest.mark.joint
@pytest.mark.parametrize(("part", "count"), [("trail", SIGN_INS_WITH_LOSS), ("mappings", SIGN_INS)])
def test_an_alert_is_lost_without_one_of_the_parts_that_bring_events_back(
    part: str, count: int
) -> None:
    code, figures = simulate("--seed", "7", "--without", part, count=count)
    assert code == 1
    assert int(figures[1]) > 0


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(START)


def test_a_wait_takes_simulated_time_alone(scheduler: Scheduler) -> None:
    times: list[float] = []

    def wait() -> None:
        scheduler.sleep(86_400)
        times.append(scheduler.now)

    Process(scheduler).start(wait)
    scheduler.run()
    assert times == [START + 86_400]


def test_tasks_take_turns_in_the_order_of_time(scheduler: Scheduler) -> None:
    steps: list[str] = []

    def make(name: str, pause: float) -> Callable[[], None]:
        def run() -> None:
            for number in range(2):
                scheduler.sleep(pause)
                steps.append(f"{name}{number}")

        return run

    process = Process(scheduler)
    process.start(make("slow", 5))
    process.start(make("fast", 2))
    scheduler.run()
    assert steps == ["fast0", "fast1", "slow0", "slow1"]


def test_a_killed_task_does_nothing_more(scheduler: Scheduler) -> None:
    steps: list[str] = []

    def run() -> None:
        try:
            scheduler.sleep(10)
            steps.append("after the wait")
        except Exception:  # noqa: BLE001 - as the function does
            steps.append("handler of errors")
        finally:
            scheduler.sleep(1)
            steps.append("cleaning up")

    process = Process(scheduler)
    process.start(run)
    scheduler.after(5, process.kill)
    scheduler.run()
    assert steps == []


def test_a_frozen_task_goes_on_when_its_process_thaws(scheduler: Scheduler) -> None:
    times: list[float] = []

    def run() -> None:
        scheduler.sleep(10)
        times.append(scheduler.now)

    process = Process(scheduler)
    process.start(run)
    scheduler.after(5, process.freeze)
    scheduler.after(300, process.thaw)
    scheduler.run()
    assert times == [START + 300]


@pytest.mark.parametrize(("set_after", "expected"), [(3, (True, 3)), (9, (False, 5))])
def test_a_signal_or_the_limit_ends_a_wait(
    scheduler: Scheduler, set_after: float, expected: tuple[bool, float]
) -> None:
    signal = Signal(scheduler)
    results: list[tuple[bool, float]] = []

    def run() -> None:
        has_happened = signal.wait(5)
        results.append((has_happened, scheduler.now - START))

    Process(scheduler).start(run)
    scheduler.after(set_after, signal.set)
    scheduler.run()
    assert results == [expected]


def test_a_module_whose_code_would_wait_in_real_time_is_refused(scheduler: Scheduler) -> None:
    module = ModuleType("signwatch.waiting")
    vars(module)["Event"] = threading.Event
    with pytest.raises(ValueError, match=r"signwatch\.waiting\.Event has no stand-in"):
        replace_time_and_threads(scheduler, [module])


class FailingFunction:
    """A function that fails ``failures`` times, and the times at which it ran."""

    def __init__(self, scheduler: Scheduler, failures: int, seconds: float = 1.0) -> None:
        self.dead_letters: list[object] = []
        self.answer: dict[str, object] = {}
        self.times: list[float] = []
        self.stack = StackSettings.load(ROOT / "cfn")
        rng = random.Random(1)  # noqa: S311 - the same each time
        self.function = Function(scheduler, self.stack, self.handle, rng, self.dead_letters.append)
        self.scheduler, self.failures, self.seconds = scheduler, failures, seconds

    def handle(self, _event: object, _seconds_left: Callable[[], float]) -> dict[str, object]:
        self.times.append(self.scheduler.now - START)
        self.scheduler.sleep(self.seconds)
        if len(self.times) <= self.failures:
            raise RuntimeError
        return self.answer

    def gaps(self) -> list[float]:
        return [round(b - a) for a, b in zip(self.times, self.times[1:], strict=False)]


def test_lambda_tries_an_event_three_times_then_it_is_a_dead_letter(scheduler: Scheduler) -> None:
    failing = FailingFunction(scheduler, failures=3)
    failing.function.invoke_later("event")
    scheduler.run()
    assert failing.gaps() == [61, 121]
    assert failing.dead_letters == ["event"]


def test_an_invocation_is_killed_at_the_timeout_of_the_template(scheduler: Scheduler) -> None:
    failing = FailingFunction(scheduler, failures=0, seconds=1000)
    failing.function.invoke_later("event")
    scheduler.run()
    assert failing.gaps() == [121, 181]  # 60 s until it is killed, the pause, a cold start
    assert failing.dead_letters == ["event"]


def make_queue(failing: FailingFunction, max_receives: int, dead_letters: list[Message]) -> Queue:
    """Return a queue with a visibility timeout of 900 s and a retention of 4,000 s."""
    settings = QueueSettings("signwatch-later", 900, 4000, max_receives, "dead", True, 2, True)
    dead_letter_queue = SimpleNamespace(show=dead_letters.append)
    return Queue(settings, failing.function, lambda _: cast("Queue", dead_letter_queue))


def test_a_message_returns_until_the_function_has_processed_it(scheduler: Scheduler) -> None:
    failing = FailingFunction(scheduler, failures=2)
    queue = make_queue(failing, 10, [])
    queue.send('"event"', delay_seconds=60)
    scheduler.run()
    assert failing.gaps() == [900, 900]


def test_a_message_becomes_a_dead_letter_after_so_many_receptions(scheduler: Scheduler) -> None:
    dead_letters: list[Message] = []
    failing = FailingFunction(scheduler, failures=99)
    make_queue(failing, 3, dead_letters).send('"event"')
    scheduler.run()
    assert len(failing.times) == 3
    assert [message.body for message in dead_letters] == ['"event"']


def test_a_message_is_dropped_after_the_retention_of_its_queue(scheduler: Scheduler) -> None:
    failing = FailingFunction(scheduler, failures=99)
    queue = make_queue(failing, 99, [])
    queue.send('"event"')
    scheduler.run()
    assert len(failing.times) == 5  # at 0, 900, 1800, 2700 and 3600 s
    assert queue.counts["too old"] == 1


def test_a_message_returns_if_the_answer_says_so(scheduler: Scheduler) -> None:
    dead_letters: list[Message] = []
    keeping = FailingFunction(scheduler, failures=0)
    keeping.answer = {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    make_queue(keeping, 3, dead_letters).send('"event"')
    scheduler.run()
    assert len(keeping.times) == 3
    assert len(dead_letters) == 1
