"""Each case file is read and judged as it says, and no mutant of it raises or ends without a verdict."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from signwatch import message, networks, signin, verdict

CASES = {path.stem: json.loads(path.read_text()) for path in sorted(Path("tests/sign_ins").glob("*.json"))}
KNOWN = networks.parse("203.0.113.0/24,198.51.100.0/24,2001:db8::/32")


def judged(event: object, known: networks.Networks) -> tuple[signin.Reading, verdict.Verdict]:
    reading = signin.read(event)
    recognised = isinstance(reading, signin.SignIn) and networks.recognises(known, reading.source)
    return reading, verdict.judge(reading, recognised=recognised)


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_read_and_judged_as_it_says(name: str) -> None:
    case = CASES[name]
    expected = dict(case["expected"])
    for known, wanted in (
        (networks.parse(""), expected.pop("anywhere")),
        (KNOWN, expected.pop("recognised")),
    ):
        assert list(judged(case["event"], known)[1][:2]) == wanted
    reading = signin.read(case["event"])
    assert type(reading).__name__ == expected.pop("class")
    assert {field: getattr(reading, field) for field in expected} == expected


def test_every_class_has_a_case() -> None:
    assert {case["expected"]["class"] for case in CASES.values()} == {"SignIn", "Step", "NotASignIn", "Unreadable"}


def mutated(event: Any, chance: random.Random) -> Any:
    """One field somewhere dropped, emptied, or made into something of another kind."""
    event = copy.deepcopy(event)
    node = event
    while isinstance(node, dict) and node:
        key = chance.choice(sorted(node))
        if not isinstance(node[key], dict) or chance.random() < 0.2:
            node[key] = chance.choice([None, "", 7, True, [], {}, ["x"], "\u202e" * 3, "a" * 9000, {"a": {"b": None}}])
            break
        node = node[key]
    return event


def test_no_mutant_raises_and_an_alert_always_composes() -> None:
    chance = random.Random(7)  # noqa: S311 - the same mutants each time, no secret among them
    events = [case["event"] for case in CASES.values()]
    for _ in range(1000):
        reading, decided = judged(mutated(chance.choice(events), chance), KNOWN)
        assert decided.level in ("alert", "note", "recognised", "ignored")
        if isinstance(reading, signin.Unreadable):
            assert decided.level == "alert"
        if isinstance(reading, (signin.SignIn, signin.Unreadable)):
            text = message.compose(reading, decided, label="", delay=None).text
            assert message.septets(text) <= message.MOST_SEPTETS
