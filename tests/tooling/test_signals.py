"""Signals: held back while a program starts, and all of them a Ctrl-C for a word that cleans up after itself."""

from __future__ import annotations

import signal
import threading

import pytest

from tooling.signals import ENDING_SIGNALS, hold_back, treat_as_ctrl_c

each = pytest.mark.parametrize("number", ENDING_SIGNALS, ids=lambda number: number.name)


pytestmark = pytest.mark.usefixtures("handlers")


class TestHeldBack:
    def test_in_the_middle_of_a_start_ctrl_c_waits_for_the_program_and_then_interrupts(
        self,
    ) -> None:
        def start() -> None:
            with hold_back():
                signal.raise_signal(signal.SIGINT)
                done.append("started")

        before, done = signal.getsignal(signal.SIGINT), list[str]()
        with pytest.raises(KeyboardInterrupt):
            start()
        assert done == ["started"]
        assert signal.getsignal(signal.SIGINT) is before

    @each
    def test_what_is_held_reaches_the_handler_of_before(self, number: signal.Signals) -> None:
        told: list[object] = []
        signal.signal(number, lambda *_: told.append("before"))
        with hold_back():
            signal.raise_signal(number)
            told.append("started")
        assert told == ["started", "before"]

    @each
    def test_what_is_ignored_stays_so_for_the_program_that_starts(
        self, number: signal.Signals
    ) -> None:
        signal.signal(number, signal.SIG_IGN)
        with hold_back():
            assert signal.getsignal(number) is signal.SIG_IGN

    def test_outside_the_main_thread_there_is_nothing_to_hold_back(self) -> None:
        def body() -> None:
            with hold_back():
                done.append(threading.current_thread() is threading.main_thread())

        done: list[bool] = []
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        assert done == [False]


class TestTakenAsCtrlC:
    @each
    def test_each_interrupts_and_its_handler_comes_back(self, number: signal.Signals) -> None:
        before = signal.getsignal(number)
        with pytest.raises(KeyboardInterrupt), treat_as_ctrl_c():
            signal.raise_signal(number)
        assert signal.getsignal(number) is before

    def test_ctrl_c_works_where_a_shell_had_it_ignored(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with pytest.raises(KeyboardInterrupt), treat_as_ctrl_c():
            signal.raise_signal(signal.SIGINT)

    def test_a_closing_terminal_that_nohup_has_ignored_stays_so(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        reached = []
        with treat_as_ctrl_c():
            signal.raise_signal(signal.SIGHUP)
            reached.append(signal.getsignal(signal.SIGHUP))
        assert reached == [signal.SIG_IGN]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    @each
    def test_after_one_signal_only_a_ctrl_c_disturbs_the_clean_up(
        self, number: signal.Signals
    ) -> None:
        cleaned: list[str] = []

        def clean_up() -> None:
            try:
                signal.raise_signal(number)
            finally:
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGHUP)
                cleaned.append("undisturbed")
                signal.raise_signal(signal.SIGINT)
                cleaned.append("never")

        with pytest.raises(KeyboardInterrupt), treat_as_ctrl_c():
            clean_up()
        assert cleaned == ["undisturbed"]
