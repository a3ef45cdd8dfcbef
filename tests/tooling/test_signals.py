"""Signals: delayed while a program starts; treated as Ctrl-C by a task that cleans up."""

from __future__ import annotations

import signal
import threading

import pytest

from tooling.signals import ENDING_SIGNALS, delay_signals, treat_as_ctrl_c

each_signal = pytest.mark.parametrize("number", ENDING_SIGNALS, ids=lambda number: number.name)


pytestmark = pytest.mark.usefixtures("handlers")


class TestDelaySignals:
    def test_ctrl_c_interrupts_after_the_program_has_started(
        self,
    ) -> None:
        def start() -> None:
            with delay_signals():
                signal.raise_signal(signal.SIGINT)
                events.append("started")

        before = signal.getsignal(signal.SIGINT)
        events: list[str] = []
        with pytest.raises(KeyboardInterrupt):
            start()
        assert events == ["started"]
        assert signal.getsignal(signal.SIGINT) is before

    @each_signal
    def test_delayed_signal_reaches_the_previous_handler(self, number: signal.Signals) -> None:
        events: list[object] = []
        signal.signal(number, lambda *_: events.append("before"))
        with delay_signals():
            signal.raise_signal(number)
            events.append("started")
        assert events == ["started", "before"]

    @each_signal
    def test_ignored_signal_stays_ignored(self, number: signal.Signals) -> None:
        signal.signal(number, signal.SIG_IGN)
        with delay_signals():
            assert signal.getsignal(number) is signal.SIG_IGN

    def test_other_threads_delay_nothing(self) -> None:
        def body() -> None:
            with delay_signals():
                is_main_thread.append(threading.current_thread() is threading.main_thread())

        is_main_thread: list[bool] = []
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        assert is_main_thread == [False]


class TestTreatAsCtrlC:
    @each_signal
    def test_signal_interrupts_and_its_handler_is_restored(self, number: signal.Signals) -> None:
        before = signal.getsignal(number)
        with pytest.raises(KeyboardInterrupt), treat_as_ctrl_c():
            signal.raise_signal(number)
        assert signal.getsignal(number) is before

    def test_ctrl_c_interrupts_even_if_it_was_ignored(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with pytest.raises(KeyboardInterrupt), treat_as_ctrl_c():
            signal.raise_signal(signal.SIGINT)

    def test_hangup_stays_ignored_under_nohup(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        handlers = []
        with treat_as_ctrl_c():
            signal.raise_signal(signal.SIGHUP)
            handlers.append(signal.getsignal(signal.SIGHUP))
        assert handlers == [signal.SIG_IGN]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    @each_signal
    def test_clean_up_is_interrupted_by_ctrl_c_alone(self, number: signal.Signals) -> None:
        events: list[str] = []

        def clean_up() -> None:
            try:
                signal.raise_signal(number)
            finally:
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGHUP)
                events.append("still cleaning up")
                signal.raise_signal(signal.SIGINT)
                events.append("never")

        with pytest.raises(KeyboardInterrupt), treat_as_ctrl_c():
            clean_up()
        assert events == ["still cleaning up"]
