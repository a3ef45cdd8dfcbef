"""Judging: pure, and short enough to be read as the policy it is."""

from __future__ import annotations

from typing import NamedTuple

from signwatch.signin import NotASignIn, Reading, SignIn, Step, Unreadable


class Verdict(NamedTuple):
    """What to do about an event: ``level`` is alert, note, recognised or ignored; ``severity`` high, normal or ""."""

    level: str
    severity: str
    reasons: tuple[str, ...]


def judge(reading: Reading, *, recognised: bool) -> Verdict:
    """Judge what was read; ``recognised`` says whether its source is in a recognised network."""
    if isinstance(reading, Step):
        return Verdict("ignored", "", (f"step: {reading.why}",))
    if isinstance(reading, NotASignIn):
        return Verdict("ignored", "", ("not a sign-in",))
    if isinstance(reading, Unreadable):
        return Verdict("alert", "normal", (f"unreadable: {reading.why}",))
    return _judge_sign_in(reading, recognised=recognised)


def _judge_sign_in(sign_in: SignIn, *, recognised: bool) -> Verdict:
    source = "recognised source" if recognised else "unrecognised source"
    if sign_in.identity == "root":
        return Verdict(
            "alert", "high" if sign_in.outcome == "success" else "normal", (f"root {sign_in.outcome}", source)
        )
    if sign_in.identity == "unknown":  # it may be root
        return Verdict("alert", "normal", (f"{sign_in.outcome} of an unknown kind of user", source))
    if sign_in.outcome != "success":
        return Verdict("note", "", ("failure", source))
    if recognised:
        return Verdict("recognised", "", (source,))
    return Verdict("alert", "normal", (source,))
