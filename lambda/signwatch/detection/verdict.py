"""Judging: pure, and short enough to be read as the policy it is.

What alerts has causes, each of which would be enough. An owner may switch causes off by name; what has none listed
(an unreadable record, a success of root or of what may be root, AssumeRoot) always alerts. A few causes are only noted,
unless the owner switches them on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from signwatch.detection.sign_in_paths import IDENTITY_CENTER, UNFINISHED
from signwatch.detection.signin import DEVICE_CODE_GRANT, Reading, SignIn, Step, Unreadable

if TYPE_CHECKING:
    from collections.abc import Collection

ALWAYS = {
    "password-recovery": "password recovery",
    "assume-root": "assume root",
    "anomaly": "AWS anomaly",
}
NOTED = (
    "switch-role",
    "federation-token",
    "console-link",
)  # kinds that say little of who came in, and much of how
PROGRAMS = ("saml-role", "federation-token")  # kinds whose failures are mostly those of programs
ROOTS = (
    "console",
    "aws-login",
)  # kinds by which root comes in, so that an unknown kind of user may be root
OWN = {  # kinds that have a cause of their own, so that they can be switched off alone
    "switch-role": "switched role",
    "federation-token": "federation token",
    "console-link": "console link",
    "role-keys": "role keys",
}
HERE, ELSEWHERE, INSIDE = "recognised source", "unrecognised source", "source inside AWS"
NO_MFA, DEVICE_CODE, FAILURE, ROOT_FAILURE = (
    "no MFA",
    "device code elsewhere",
    "failure",
    "root failure",
)
APPROVAL_UNKNOWN = "device code, its approval unknown"  # which has the cause DEVICE_CODE
UNKNOWN_FAILURE = "failure of an unknown kind of user"
RIGHT_PASSWORD = "right password without a sign-in"  # noqa: S105 - the name of a cause
ON_DEMAND = (RIGHT_PASSWORD,)  # causes that alert where the owner switches them on
CAUSES = (
    *(
        ELSEWHERE,
        INSIDE,
        NO_MFA,
        DEVICE_CODE,
        FAILURE,
        ROOT_FAILURE,
        UNKNOWN_FAILURE,
        *OWN.values(),
    ),
    *(ALWAYS["password-recovery"], ALWAYS["anomaly"]),
)
SOME = 3  # failures within memory.WINDOW from which on they are texted


class Verdict(NamedTuple):
    """What to do about an event.

    ``level`` is alert, note (logged and counted), recognised or ignored; ``severity`` high, normal or "". ``causes``
    are those of its reasons that can be switched, off in an alert and on in a note. ``deduplication_key`` names what an alert
    stands for that is told of once a day, a second one being a note. ``grouped`` is "failures" for one of several
    failures and "linked" for one of several events of the same sign-in. Without ``send_text`` an alert goes out by e-mail
    alone.
    """

    level: str
    severity: str
    reasons: tuple[str, ...]
    causes: tuple[str, ...] = ()
    deduplication_key: str = ""
    grouped: str = ""
    send_text: bool = True


RECOGNISED = Verdict("recognised", "", (HERE,))
UNRECOGNISED = Verdict("alert", "normal", (ELSEWHERE,), (ELSEWHERE,))


def cause_name(cause: str) -> str:
    """Return the name by which AlertOff and AlertOn know a cause: "no MFA" is no-mfa."""
    return cause.lower().replace(" ", "-")


def judge(
    reading: Reading,
    *,
    recognised: bool,
    approved_elsewhere: bool | None = None,
    off: Collection[str] = (),
    on: Collection[str] = (),
) -> Verdict:
    """Judge what was read.

    ``recognised`` says whether its source is in a recognised network; ``approved_elsewhere`` whether a device code was
    approved from another address, None where nobody can tell; ``off`` and ``on`` hold the names of the causes that are
    switched off and on.
    """
    if isinstance(reading, SignIn):
        source = (
            HERE
            if recognised
            else INSIDE
            if reading.source[:12].lower() == "aws internal"
            else ELSEWHERE
        )
        verdict = _judge(reading, source, approved_elsewhere=approved_elsewhere)
        return _switched(verdict, off, on) if off or on else verdict
    if isinstance(reading, Unreadable):
        return Verdict("alert", "normal", (f"unreadable: {reading.why}",))
    return Verdict(
        "ignored", "", (f"step: {reading.why}" if isinstance(reading, Step) else "not a sign-in",)
    )


def mark_repeated(verdict: Verdict) -> Verdict:
    """Return what becomes of an alert that was told of within the day."""
    return Verdict("note", "", (*verdict.reasons, "told of within a day"))


def apply_failure_count(verdict: Verdict, failures: int, *, is_first: bool) -> Verdict:
    """Return what becomes of a failure, one of so many within a quarter of an hour; root's first is texted."""
    reasons = (*verdict.reasons, f"{failures} failures within 15 minutes")
    return verdict._replace(
        reasons=reasons, send_text=failures >= SOME or (is_first and ROOT_FAILURE in verdict.causes)
    )


def mark_linked(verdict: Verdict) -> Verdict:
    """Return what becomes of a console sign-in that comes after a console link of the same person was told of."""
    return verdict._replace(reasons=(*verdict.reasons, "after a console link"), grouped="linked")


def _judge(sign_in: SignIn, source: str, *, approved_elsewhere: bool | None) -> Verdict:
    """Judge a sign-in by where it came from: ``source`` is HERE, ELSEWHERE or INSIDE."""
    if sign_in.kind in ALWAYS:
        return _whatever_the_source(sign_in, source)
    if sign_in.outcome != "success":
        return _failed(sign_in, source)
    if sign_in.identity == "root":
        return Verdict("alert", "high", ("root success", source))
    if sign_in.identity == "unknown" and sign_in.kind in ROOTS:
        return Verdict("alert", "normal", ("success of an unknown kind of user", source))
    if approved_elsewhere is not False and (
        sign_in.grant == DEVICE_CODE_GRANT
        or (approved_elsewhere and sign_in.kind == IDENTITY_CENTER)
    ):
        reason = DEVICE_CODE if approved_elsewhere else APPROVAL_UNKNOWN
        return Verdict(
            "alert",
            "high",
            (reason, source),
            (DEVICE_CODE,) if source is HERE else (DEVICE_CODE, source),
        )
    return _from_here(sign_in) if source is HERE else _from_elsewhere(sign_in, source)


def _whatever_the_source(sign_in: SignIn, source: str) -> Verdict:
    cause, severity = ALWAYS[sign_in.kind], "high" if sign_in.outcome == "success" else "normal"
    return Verdict("alert", severity, (cause, source), (cause,) if cause in CAUSES else ())


def _failed(sign_in: SignIn, source: str) -> Verdict:
    """Judge what is no success: aggregated where somebody may be guessing, else a note."""
    if sign_in.kind == UNFINISHED:
        return Verdict("note", "", (RIGHT_PASSWORD, source), (RIGHT_PASSWORD,))
    if sign_in.identity == "root":
        cause = ROOT_FAILURE
    elif sign_in.identity == "unknown" and sign_in.kind in ROOTS:
        cause = UNKNOWN_FAILURE
    elif source is HERE or sign_in.kind in PROGRAMS:
        return Verdict("note", "", (FAILURE, source))
    else:
        cause = FAILURE
    return Verdict("alert", "normal", (cause, source), (cause,), "", "failures")


def _from_here(sign_in: SignIn) -> Verdict:
    """Judge a success from a recognised source."""
    if sign_in.identity == "iam-user" and sign_in.mfa == "no":
        return Verdict("alert", "normal", (NO_MFA, HERE), (NO_MFA,), _once(sign_in, NO_MFA))
    if sign_in.grant == DEVICE_CODE_GRANT:  # the way in for a stranger who had a code approved
        return Verdict("note", "", (DEVICE_CODE_GRANT, HERE))
    return Verdict("note", "", (HERE,)) if sign_in.kind in NOTED else RECOGNISED


def _from_elsewhere(sign_in: SignIn, source: str) -> Verdict:
    """Judge a success from a source that is not recognised."""
    own = OWN.get(sign_in.kind)
    no_mfa = (NO_MFA,) if sign_in.mfa == "no" and sign_in.identity == "iam-user" else ()
    if not own:
        causes = (source, *no_mfa) if no_mfa else (source,)
        return (
            Verdict("alert", "normal", causes, causes)
            if no_mfa or source is INSIDE
            else UNRECOGNISED
        )
    once = _once(sign_in, f"{sign_in.kind}#{sign_in.source}") if sign_in.kind == "role-keys" else ""
    grouped = "linked" if sign_in.kind == "console-link" else ""
    return Verdict("alert", "normal", (own, *no_mfa, source), (own, *no_mfa), once, grouped)


def _switched(verdict: Verdict, off: Collection[str], on: Collection[str]) -> Verdict:
    """Make a note of an alert all of whose causes are switched off, an alert of a note with one that is switched on."""
    if (
        verdict.level == "alert"
        and verdict.causes
        and all(cause_name(cause) in off for cause in verdict.causes)
    ):
        return Verdict("note", "", (*verdict.reasons, "switched off"))
    if verdict.level == "note" and any(cause_name(cause) in on for cause in verdict.causes):
        return verdict._replace(level="alert", severity="normal")
    return verdict


def _once(sign_in: SignIn, what: str) -> str:
    """Name what is told of once a day: who did it, and what makes it another one; nothing for who is unknown."""
    return "" if sign_in.who == "unknown" else f"{sign_in.account}#{sign_in.who}#{what}"
