"""Judging: pure, and short enough to be read as the policy it is."""

from __future__ import annotations

from typing import NamedTuple

from signwatch.signin import NotASignIn, Reading, SignIn, Step, Unreadable

ALWAYS = ("password-recovery", "assume-root", "anomaly")  # kinds of path that nobody's office makes usual
NOTED = ("switch-role", "federation-token", "console-link")  # kinds that say little of who came in, and much of how


class Verdict(NamedTuple):
    """What to do about an event.

    ``level`` is alert, note (logged and counted), recognised or ignored; ``severity`` high, normal or "". ``once`` says
    what an alert stands for that is told of once a day, a second one being a note; empty for what is always told.
    """

    level: str
    severity: str
    reasons: tuple[str, ...]
    once: str = ""


def judge(reading: Reading, *, recognised: bool) -> Verdict:
    """Judge what was read; ``recognised`` says whether its source is in a recognised network."""
    if isinstance(reading, Step):
        return Verdict("ignored", "", (f"step: {reading.why}",))
    if isinstance(reading, NotASignIn):
        return Verdict("ignored", "", ("not a sign-in",))
    if isinstance(reading, Unreadable):
        return Verdict("alert", "normal", (f"unreadable: {reading.why}",))
    return _whatever_the_source(reading, recognised=recognised) or _by_source(reading, recognised=recognised)


def repeated(verdict: Verdict) -> Verdict:
    """Return what becomes of an alert that was told of within the day."""
    return Verdict("note", "", (*verdict.reasons, "told of within a day"))


def _whatever_the_source(sign_in: SignIn, *, recognised: bool) -> Verdict | None:
    """Judge what alerts from everywhere, and what is only noted from everywhere; None for the rest."""
    if sign_in.kind in ALWAYS or sign_in.identity == "root":
        source, what = _source(sign_in, recognised=recognised), "root" if sign_in.kind == "console" else sign_in.kind
        return Verdict(
            "alert", "high" if sign_in.outcome == "success" else "normal", (f"{what} {sign_in.outcome}", source)
        )
    if sign_in.kind == "console" and sign_in.identity == "unknown":  # it may be root
        why = f"{sign_in.outcome} of an unknown kind of user"
        return Verdict("alert", "normal", (why, _source(sign_in, recognised=recognised)))
    if sign_in.outcome != "success":
        return Verdict("note", "", ("failure", _source(sign_in, recognised=recognised)))
    return None


def _by_source(sign_in: SignIn, *, recognised: bool) -> Verdict:
    """Judge a success that is neither root's nor one of those that alert from everywhere."""
    source = _source(sign_in, recognised=recognised)
    if not recognised:
        return Verdict(
            "alert", "normal", (source,), _once(sign_in, sign_in.source) if sign_in.kind == "role-keys" else ""
        )
    if sign_in.identity == "iam-user" and sign_in.kind == "console" and sign_in.mfa == "no":
        return Verdict("alert", "normal", ("no MFA", source), _once(sign_in, "no MFA"))
    if sign_in.grant == "device code":  # the way in for a stranger who had a code approved
        return Verdict("note", "", ("device code", source))
    return Verdict("note" if sign_in.kind in NOTED else "recognised", "", (source,))


def _once(sign_in: SignIn, what: str) -> str:
    """Name what is told of once a day: who did it, how, and what makes it another one."""
    return f"{sign_in.account}#{sign_in.kind}#{sign_in.who}#{what}"


def _source(sign_in: SignIn, *, recognised: bool) -> str:
    if recognised:
        return "recognised source"
    return "source inside AWS" if sign_in.source.lower().startswith("aws internal") else "unrecognised source"
