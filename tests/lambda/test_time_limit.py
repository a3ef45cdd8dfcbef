"""The limit of a call by the clock on the wall, and what a call that was left behind may do."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any, Never

import pytest

from signwatch import time_limit
from signwatch.time_limit import LimitedClient
from tests.support.repository import ROOT

PROGRAM = """import sys, time
sys.path.insert(0, sys.argv[1])
from signwatch import time_limit
try:
    time_limit.call(lambda: time.sleep(60), 0.1)
except TimeoutError:
    print("late")"""


def fail() -> Never:
    raise ValueError("wrong")


def test_result_and_error_are_those_of_the_function() -> None:
    assert time_limit.call(lambda: 7, 5) == 7
    assert time_limit.call(lambda: None, 5) is None
    with pytest.raises(ValueError, match="wrong"):
        time_limit.call(fail, 5)


@pytest.mark.parametrize("seconds", [0.1, 0.0, -1.0])
def test_late_call_is_left_behind_and_its_answer_reaches_nobody(seconds: float) -> None:
    release, ended = threading.Event(), threading.Event()

    def answer_late() -> str:
        release.wait(10)
        ended.set()
        return "late"

    start = time.monotonic()
    with pytest.raises(TimeoutError):
        time_limit.call(answer_late, seconds)
    assert time.monotonic() - start < 1
    release.set()  # as when Lambda thaws the process for the next invocation
    assert time_limit.call(lambda: "next", 5) == "next"
    assert ended.wait(5)


def test_call_that_was_left_behind_does_not_keep_the_process_from_ending() -> None:
    start = time.monotonic()
    command = [sys.executable, "-I", "-B", "-c", PROGRAM, str(ROOT / "lambda")]
    end = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (end.stdout, end.stderr) == ("late\n", "")
    assert time.monotonic() - start < 10


def test_functions_run_side_by_side() -> None:
    barrier = threading.Barrier(3, timeout=5)  # which none of them passes alone
    passed: list[int] = []

    def meet() -> None:
        barrier.wait()
        passed.append(1)

    time_limit.call_side_by_side([meet] * 3)
    assert len(passed) == 3


def test_call_is_made_although_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> Never:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    calls: list[int] = []
    assert time_limit.call(lambda: 7, 5) == 7
    time_limit.call_side_by_side([lambda: calls.append(1)] * 2)
    assert calls == [1, 1]


def test_client_passes_its_values_and_operations_on() -> None:
    client = SimpleNamespace(meta="meta", publish=lambda **request: request)
    limited = LimitedClient(client, 5)
    assert limited.meta == "meta"
    assert limited.publish(TopicArn="a") == {"TopicArn": "a"}
