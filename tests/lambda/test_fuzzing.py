"""The fuzzer with small counts and fixed seeds; ``./inv test --fuzz`` runs it with large ones."""

from __future__ import annotations

import random
from typing import Any

import pytest

from signwatch.alerting import message
from signwatch.detection import networks, signin, verdict
from tests.support import fuzzing

pytestmark = pytest.mark.joint


@pytest.fixture
def rng() -> random.Random:
    return random.Random(29)  # noqa: S311 - the same each time


def test_no_record_raises_or_ends_without_a_verdict(rng: random.Random) -> None:
    records = fuzzing.fuzz_records(1000, rng)
    assert str(records) == "fuzzed 1000, exceptions 0, sign-ins without a verdict 0"


def test_recognition_agrees_with_a_second_implementation(rng: random.Random) -> None:
    recognition = fuzzing.fuzz_recognition(5000, rng)
    assert str(recognition) == "recognition 5000, false recognised 0"
    assert recognition.false_refused == 0


def test_hostile_text_makes_no_text_long_unclean_tempting_or_incomplete(
    rng: random.Random,
) -> None:
    texts = fuzzing.fuzz_texts(500, rng)
    assert texts == fuzzing.Texts(500, 0, 0, 0, 0)
    assert str(texts).startswith("texts 500, over 306 septets 0, ")


class TestFuzzer:
    """Each count rises with a fault put in: a fuzzer that cannot find anything proves nothing."""

    def test_exception_is_counted(
        self, monkeypatch: pytest.MonkeyPatch, rng: random.Random
    ) -> None:
        def fail(_: object) -> Any:
            raise KeyError

        monkeypatch.setattr(signin, "read", fail)
        assert fuzzing.fuzz_records(100, rng).exceptions == 100

    @pytest.mark.parametrize(
        "reading", [signin.NotASignIn("", "", ""), signin.Step("", "", "", "x")]
    )
    def test_sign_in_that_is_read_as_something_else_is_counted(
        self, monkeypatch: pytest.MonkeyPatch, rng: random.Random, reading: signin.ParsedEvent
    ) -> None:
        monkeypatch.setattr(signin, "read", lambda _: reading)
        assert fuzzing.fuzz_records(300, rng).silent > 50

    def test_sign_in_that_is_ignored_is_counted(
        self, monkeypatch: pytest.MonkeyPatch, rng: random.Random
    ) -> None:
        ignored = verdict.Verdict("ignored", "", ("x",))
        monkeypatch.setattr(verdict, "judge", lambda *_, **__: ignored)
        assert fuzzing.fuzz_records(300, rng).silent > 20

    def test_wrong_recognition_is_counted_both_ways(
        self, monkeypatch: pytest.MonkeyPatch, rng: random.Random
    ) -> None:
        recognises = networks.recognises
        monkeypatch.setattr(
            networks, "recognises", lambda listed, source: not recognises(listed, source)
        )
        recognition = fuzzing.fuzz_recognition(500, rng)
        assert recognition.false_recognised > 50
        assert recognition.false_refused > 50

    def test_recognised_private_address_is_counted(
        self, monkeypatch: pytest.MonkeyPatch, rng: random.Random
    ) -> None:
        monkeypatch.setattr(
            networks, "_build_private_networks", lambda: networks.build_networks(())
        )
        monkeypatch.setattr(
            fuzzing, "_address", lambda rng: f"10.0.{rng.randrange(256)}.{rng.randrange(256)}"
        )
        assert fuzzing.fuzz_recognition(500, rng).false_recognised > 50

    @pytest.mark.parametrize(
        ("field", "harm"),
        [
            ("too_long", "x" * 400),
            ("outside", "\u202e"),
            ("tempting", "evil.com"),
            ("tempting", "+49 151 2345678"),
        ],
    )
    def test_each_harm_in_a_text_is_counted(
        self, monkeypatch: pytest.MonkeyPatch, rng: random.Random, field: str, harm: str
    ) -> None:
        compose = message.compose

        def compose_with_harm(*args: Any, **kwargs: Any) -> Any:
            alert = compose(*args, **kwargs)
            return alert._replace(text=f"{alert.text}\n{harm}", body=f"{alert.body}\n{harm}")

        monkeypatch.setattr(message, "compose", compose_with_harm)
        assert getattr(fuzzing.fuzz_texts(50, rng), field) == 50

    def test_text_without_its_facts_is_counted(
        self, monkeypatch: pytest.MonkeyPatch, rng: random.Random
    ) -> None:
        incomplete = message.Message(text="a\nb", subject="", body="")
        monkeypatch.setattr(message, "compose", lambda *_, **__: incomplete)
        assert fuzzing.fuzz_texts(50, rng).incomplete == 50
