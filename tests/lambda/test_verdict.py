"""Judging: each case file is judged as it says, and nothing ends without a verdict."""

from __future__ import annotations

import random

import pytest

from signwatch import networks, signin, verdict
from tests.support.sign_ins import CASES, NETWORKS, event, mutant

KNOWN = {place: networks.parse(text) for place, text in NETWORKS.items()}


def judged(told: object, place: str) -> tuple[signin.Reading, verdict.Verdict]:
    reading = signin.read(told)
    recognised = isinstance(reading, signin.SignIn) and networks.recognises(KNOWN[place], reading.source)
    return reading, verdict.judge(reading, recognised=recognised)


@pytest.mark.parametrize("place", NETWORKS)
@pytest.mark.parametrize("name", CASES)
def test_a_case_is_judged_as_it_says(name: str, place: str) -> None:
    expected = CASES[name]["expected"][place]
    decided = judged(event(name), place)[1]
    assert (decided.level, decided.severity) == (expected["level"], expected["severity"])
    assert decided.reasons
    assert all(decided.reasons)


def test_the_cases_show_every_level_and_every_severity() -> None:
    shown = [case["expected"][place] for case in CASES.values() for place in NETWORKS]
    assert {one["level"] for one in shown} == {"alert", "note", "recognised", "ignored"}
    assert {one["severity"] for one in shown} == {"high", "normal", ""}


@pytest.mark.parametrize(
    ("name", "place", "reasons"),
    [
        ("root-signs-in-with-mfa", "recognised", ("root success", "recognised source")),
        ("root-fails", "anywhere", ("root failure", "unrecognised source")),
        ("iam-user-signs-in-with-mfa", "anywhere", ("unrecognised source",)),
        ("iam-user-signs-in-with-mfa", "recognised", ("recognised source",)),
        ("iam-user-fails", "anywhere", ("failure", "unrecognised source")),
        ("record-without-a-source", "recognised", ("unreadable: the record names no source address",)),
        ("command-line-refreshes-its-token", "anywhere", ("step: a token was refreshed",)),
        ("role-is-switched", "anywhere", ("not a sign-in",)),
        ("record-without-an-identity", "recognised", ("success of an unknown kind of user", "recognised source")),
    ],
)
def test_the_reasons_say_why(name: str, place: str, reasons: tuple[str, ...]) -> None:
    assert judged(event(name), place)[1].reasons == reasons


def test_no_mutant_of_a_sign_in_ends_in_silence() -> None:
    """A successful sign-in is only ever passed over when its source is recognised and it is not root's."""
    chance = random.Random(13)  # noqa: S311 - the same mutants each time
    for _ in range(1000):
        reading, decided = judged(mutant(chance), "recognised")
        if isinstance(reading, signin.Unreadable):
            assert decided.level == "alert"
        elif isinstance(reading, signin.SignIn):
            inside = networks.recognises(KNOWN["recognised"], reading.source)
            passed = inside and reading.identity not in ("root", "unknown")
            expected = "recognised" if passed else "alert"
            assert decided.level == (expected if reading.outcome == "success" else decided.level)
            assert decided.level in ("alert", "note", "recognised")
        else:
            assert decided.level == "ignored"
