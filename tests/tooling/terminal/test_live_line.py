"""The line of progress: redrawn on a terminal, plain and growing by dots in a pipe."""

from __future__ import annotations

import itertools
import time
from io import StringIO
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tooling.progress import Ongoing
from tooling.terminal import live_line
from tooling.terminal.live_line import LIVE_LINE, LiveLine, end_live_line
from tooling.terminal.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

APPLY = "terraform apply"


class Output(StringIO):
    """Standard output, which may be a terminal."""

    is_terminal = False

    def isatty(self) -> bool:
        return self.is_terminal


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Output:
    """Standard output; a second of the line lasts 20 ms."""
    output = Output()
    # Not sys.stdout, which pytest itself replaces between a fixture and its test.
    monkeypatch.setattr(live_line, "sys", SimpleNamespace(stdout=output))
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(live_line, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(live_line, "POLL_SECONDS", 0.005)
    return output


@pytest.fixture
def line() -> Iterator[LiveLine]:
    line = LiveLine()
    yield line
    line.end()


def wait_for(output: Output, is_there: Callable[[str], bool]) -> None:
    for _ in range(500):
        if is_there(output.getvalue()):
            return
        time.sleep(0.01)
    pytest.fail(output.getvalue())


def test_work_is_its_own_text_for_whoever_only_takes_lines() -> None:
    assert Ongoing(APPLY) == "terraform apply ..."
    assert Ongoing(APPLY, "3 resources") == "terraform apply: 3 resources ..."


def test_in_a_pipe_the_line_grows_and_has_no_control_characters(
    output: Output, line: LiveLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_line, "SHOWN_FROM_SECONDS", 0.0)
    line.show(Ongoing(APPLY))
    assert output.getvalue() == "terraform apply ...", "it is there before the work has ended"
    line.show(Ongoing(APPLY, "1 of 2 resources"))
    wait_for(output, lambda text: text.endswith("....."))
    line.show(Ongoing(APPLY, "2 of 2 resources"))
    line.end()
    (shown,) = output.getvalue().splitlines()
    assert shown.rstrip("0123456789 s").endswith(". 2 of 2 resources,")
    assert shown.isprintable()


def test_in_a_pipe_a_long_work_begins_another_line(
    output: Output, line: LiveLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_line, "DOTS_A_LINE", 2)
    line.show(Ongoing(APPLY, "1 of 2 resources"))
    wait_for(output, lambda text: text.count("\n") > 1)
    assert output.getvalue().splitlines()[0] == "terraform apply ..... 1 of 2 resources"


def test_on_a_terminal_the_line_is_drawn_again_and_stays_with_its_result(
    output: Output, line: LiveLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    output.is_terminal = True
    monkeypatch.setattr(live_line, "SHOWN_FROM_SECONDS", 0.0)
    line.show(Ongoing(APPLY, "1 of 2 resources, which is too long a detail for it"))
    wait_for(output, lambda text: text.count("\r\x1b[K") > 2)
    line.show(Ongoing(APPLY, "2 of 2 resources"))
    line.end()
    *drawn, last = output.getvalue().split("\r\x1b[K")
    assert last == "terraform apply ... 2 of 2 resources, 0 s\n"
    assert all(len(part) < 40 for part in drawn)
    assert all("\n" not in part for part in drawn)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_short_pause_between_two_lines_leaves_no_trace(
    output: Output, line: LiveLine, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    output.is_terminal = is_terminal
    waiting = Ongoing("waiting", is_kept=False)
    line.show(waiting)
    line.end()
    assert output.getvalue() == ""
    monkeypatch.setattr(live_line, "PAUSE_IN_PIPE_SECONDS", 0.02)
    line.show(waiting)
    wait_for(output, lambda text: "waiting ..." in text)
    line.end()
    last = output.getvalue().split("\r\x1b[K")[-1]
    assert (last == "") is is_terminal
    assert output.getvalue().endswith("\n") is not is_terminal


def test_other_work_ends_the_line_and_nothing_is_drawn_after_its_end(
    output: Output, line: LiveLine
) -> None:
    line.show(Ongoing("one"))
    line.show(Ongoing("two"))
    line.end()
    shown = output.getvalue()
    time.sleep(0.1)
    assert output.getvalue() == shown
    assert [part.rstrip(".") for part in shown.splitlines()] == ["one ", "two "]


def test_every_print_of_a_screen_ends_the_line(output: Output) -> None:
    screen = Screen()
    screen.rich = Console(file=output, soft_wrap=True)
    prints: list[Callable[[], None]] = [
        lambda: screen.announce("x"),
        lambda: screen.print_heading("x"),
        lambda: screen.print_pairs({"x": "y"}),
        lambda: screen.print_table(("x",), [("y",)]),
        lambda: screen.print_plan([]),
        lambda: screen.print_alert("x", "y"),
    ]
    for number, print_something in zip(itertools.count(), prints, strict=False):
        screen.announce(Ongoing(f"work {number}"))
        print_something()
        assert f"work {number} ...\n" in output.getvalue()


def test_a_failure_ends_the_line_before_it_is_reported(output: Output) -> None:
    def fail() -> None:
        with end_live_line():
            LIVE_LINE.show(Ongoing("work"))
            raise OSError

    with pytest.raises(OSError, match=r"^$"):
        fail()
    assert output.getvalue() == "work ...\n"


def test_a_closed_output_is_no_failure_of_the_work(
    line: LiveLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Output()
    output.close()
    monkeypatch.setattr(live_line, "sys", SimpleNamespace(stdout=output))
    line.show(Ongoing("work"))
    line.end()
