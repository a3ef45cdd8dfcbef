"""What the fuzzer does, with small counts and fixed seeds; ``./inv test --fuzz`` runs it with large ones."""

from __future__ import annotations

import random
from typing import Any

import pytest

from signwatch.alerting import message
from signwatch.detection import networks, signin, verdict
from tests.support import fuzzing

pytestmark = pytest.mark.joint


def chance() -> random.Random:
    return random.Random(29)  # noqa: S311 - the same each time


def test_no_record_raises_or_ends_without_a_verdict() -> None:
    assert (
        str(fuzzing.records(1000, chance()))
        == "fuzzed 1000, exceptions 0, sign-ins without a verdict 0"
    )


def test_recognition_agrees_with_a_second_implementation() -> None:
    found = fuzzing.recognition(5000, chance())
    assert str(found) == "recognition 5000, false recognised 0"
    assert found.false_refused == 0


def test_no_hostile_text_is_too_long_unclean_tempting_or_incomplete() -> None:
    assert fuzzing.texts(500, chance()) == fuzzing.Texts(500, 0, 0, 0, 0)


class TestTheFuzzerItself:
    """With a fault put in, each of its figures moves: a fuzzer that cannot find anything proves nothing."""

    def test_it_counts_what_raises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: object) -> Any:
            raise KeyError

        monkeypatch.setattr(signin, "read", fail)
        assert fuzzing.records(100, chance()).exceptions == 100

    def test_it_counts_a_sign_in_that_is_passed_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(signin, "read", lambda _: signin.NotASignIn("", "", ""))
        assert fuzzing.records(300, chance()).silent > 50

    def test_it_counts_a_sign_in_that_is_taken_for_a_step(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(signin, "read", lambda _: signin.Step("", "", "", "x"))
        assert fuzzing.records(300, chance()).silent > 50

    def test_it_counts_a_verdict_that_is_silence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        quiet = verdict.Verdict("ignored", "", ("x",))
        monkeypatch.setattr(verdict, "judge", lambda *_, **__: quiet)
        assert fuzzing.records(300, chance()).silent > 20

    def test_it_counts_what_is_wrongly_recognised_and_wrongly_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = networks.recognises
        monkeypatch.setattr(networks, "recognises", lambda known, source: not found(known, source))
        turned = fuzzing.recognition(500, chance())
        assert turned.false_recognised > 50
        assert turned.false_refused > 50

    def test_it_sees_a_private_address_that_is_recognised(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(networks, "_private", lambda: networks.index(()))
        monkeypatch.setattr(
            fuzzing, "_address", lambda it: f"10.0.{it.randrange(256)}.{it.randrange(256)}"
        )
        assert fuzzing.recognition(500, chance()).false_recognised > 50

    @pytest.mark.parametrize(
        ("field", "harm"),
        [
            ("too_long", "x" * 400),
            ("outside", "\u202e"),
            ("tempting", "evil.com"),
            ("tempting", "+49 151 2345678"),
        ],
    )
    def test_it_counts_each_harm_in_a_text(
        self, monkeypatch: pytest.MonkeyPatch, field: str, harm: str
    ) -> None:
        compose = message.compose

        def harmed(*asked: Any, **more: Any) -> Any:
            told = compose(*asked, **more)
            return told._replace(text=f"{told.text}\n{harm}", body=f"{told.body}\n{harm}")

        monkeypatch.setattr(message, "compose", harmed)
        assert getattr(fuzzing.texts(50, chance()), field) == 50

    def test_it_counts_a_text_without_its_facts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        compose = message.compose
        monkeypatch.setattr(
            message, "compose", lambda *asked, **more: compose(*asked, **more)._replace(text="a\nb")
        )
        assert fuzzing.texts(50, chance()).incomplete == 50
