"""Decides what to do about an event: the alert policy. Pure.

An alert has causes, each of which is enough by itself. An owner may switch causes off by name, and
an alert becomes a note when all of its causes are off. An alert without causes always stays one: an
unreadable record, a success of root or of what may be root, AssumeRoot. A few causes make only a
note unless the owner switches them on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from signwatch.detection.sign_in_paths import IDENTITY_CENTER, UNFINISHED
from signwatch.detection.signin import DEVICE_CODE_GRANT, Reading, SignIn, Step, Unreadable

if TYPE_CHECKING:
    from collections.abc import Collection

# Reasons. Their texts are in the log, and most are the names of causes in the configuration.
RECOGNISED_SOURCE = "recognised source"
UNRECOGNISED_SOURCE = "unrecognised source"
SOURCE_INSIDE_AWS = "source inside AWS"
NO_MFA = "no MFA"
DEVICE_CODE = "device code elsewhere"
APPROVAL_UNKNOWN = "device code, its approval unknown"  # has the cause DEVICE_CODE
FAILURE = "failure"
ROOT_FAILURE = "root failure"
UNKNOWN_FAILURE = "failure of an unknown kind of user"
RIGHT_PASSWORD = "right password without a sign-in"  # noqa: S105 - the name of a cause
PASSWORD_RECOVERY = "password recovery"  # noqa: S105 - the name of a cause
AWS_ANOMALY = "AWS anomaly"

# Kinds of path (see sign_in_paths)
ALWAYS_ALERT_BY_KIND = {  # alert from every source, failures too
    "password-recovery": PASSWORD_RECOVERY,
    "assume-root": "assume root",
    "anomaly": AWS_ANOMALY,
}
CAUSE_BY_KIND = {  # have a cause of their own, so that each can be switched off alone
    "switch-role": "switched role",
    "federation-token": "federation token",
    "console-link": "console link",
    "role-keys": "role keys",
}
# From a recognised source these are only noted: they say how somebody came in, but not who.
NOTED_KINDS = ("switch-role", "federation-token", "console-link")
PROGRAM_KINDS = ("saml-role", "federation-token")  # fail mostly because of programs
ROOT_KINDS = ("console", "aws-login")  # by which root comes in, so an unknown user may be root

CAUSES = (  # can be switched off with AlertOff
    UNRECOGNISED_SOURCE,
    SOURCE_INSIDE_AWS,
    NO_MFA,
    DEVICE_CODE,
    FAILURE,
    ROOT_FAILURE,
    UNKNOWN_FAILURE,
    *CAUSE_BY_KIND.values(),
    PASSWORD_RECOVERY,
    AWS_ANOMALY,
)
OPT_IN_CAUSES = (RIGHT_PASSWORD,)  # can be switched on with AlertOn
FAILURES_BEFORE_TEXT = 3  # within 15 minutes; fewer are sent by e-mail alone


class Verdict(NamedTuple):
    """What to do about an event.

    ``level`` is alert, note (logged and counted), recognised or ignored. ``severity`` is high,
    normal or "". ``causes`` are those of its reasons that can be switched: off in an alert, on in a
    note. Alerts with the same ``deduplication_key`` are sent once a day, the others are notes.
    ``grouped`` is "failures" for one of several failures and "linked" for one of several events of
    the same sign-in. Without ``send_text`` an alert is sent by e-mail alone.
    """

    level: str
    severity: str
    reasons: tuple[str, ...]
    causes: tuple[str, ...] = ()
    deduplication_key: str = ""
    grouped: str = ""
    send_text: bool = True


# Made once, since almost every sign-in that is not special ends in one of them.
RECOGNISED = Verdict("recognised", "", (RECOGNISED_SOURCE,))
UNRECOGNISED = Verdict("alert", "normal", (UNRECOGNISED_SOURCE,), (UNRECOGNISED_SOURCE,))


def cause_name(cause: str) -> str:
    """Return the name of a cause in AlertOff and AlertOn: "no-mfa" for "no MFA"."""
    return cause.lower().replace(" ", "-")


def judge(
    reading: Reading,
    *,
    recognised: bool,
    approved_elsewhere: bool | None = None,
    off: Collection[str] = (),
    on: Collection[str] = (),
) -> Verdict:
    """Return the verdict on a reading.

    ``recognised`` says whether its source is in a recognised network. ``approved_elsewhere`` says
    whether a device code was approved from another address, None if that is unknown. ``off`` and
    ``on`` hold the names of the causes that are switched off and on.
    """
    if isinstance(reading, SignIn):
        source = _source_reason(reading, recognised=recognised)
        verdict = _judge_sign_in(reading, source, approved_elsewhere=approved_elsewhere)
        return _apply_switches(verdict, off, on) if off or on else verdict
    if isinstance(reading, Unreadable):
        return Verdict("alert", "normal", (f"unreadable: {reading.why}",))
    if isinstance(reading, Step):
        return Verdict("ignored", "", (f"step: {reading.why}",))
    return Verdict("ignored", "", ("not a sign-in",))


def mark_repeated(verdict: Verdict) -> Verdict:
    """Return the note that an alert becomes if the same was reported within a day."""
    return Verdict("note", "", (*verdict.reasons, "already reported within a day"))


def mark_linked(verdict: Verdict) -> Verdict:
    """Return the verdict on a console sign-in after a reported console link of the same person."""
    return verdict._replace(reasons=(*verdict.reasons, "after a console link"), grouped="linked")


def apply_failure_count(verdict: Verdict, failures: int, *, is_first: bool) -> Verdict:
    """Return the verdict on a failure, given the number of failures within 15 minutes.

    It is sent as a text from the third failure on, and for the first failure of root.
    """
    is_first_of_root = is_first and ROOT_FAILURE in verdict.causes
    return verdict._replace(
        reasons=(*verdict.reasons, f"{failures} failures within 15 minutes"),
        send_text=failures >= FAILURES_BEFORE_TEXT or is_first_of_root,
    )


def _source_reason(sign_in: SignIn, *, recognised: bool) -> str:
    if recognised:
        return RECOGNISED_SOURCE
    if sign_in.source[:12].lower() == "aws internal":
        return SOURCE_INSIDE_AWS
    return UNRECOGNISED_SOURCE


def _judge_sign_in(sign_in: SignIn, source: str, *, approved_elsewhere: bool | None) -> Verdict:
    """Judge a sign-in; ``source`` is one of the three reasons that name a source."""
    if sign_in.kind in ALWAYS_ALERT_BY_KIND:
        return _judge_always_alerting(sign_in, source)
    if sign_in.outcome != "success":
        return _judge_failure(sign_in, source)
    if sign_in.identity == "root":
        return Verdict("alert", "high", ("root success", source))
    if _may_be_root(sign_in):
        return Verdict("alert", "normal", ("success of an unknown kind of user", source))
    if reason := _device_code_reason(sign_in, approved_elsewhere=approved_elsewhere):
        causes = (DEVICE_CODE,) if source == RECOGNISED_SOURCE else (DEVICE_CODE, source)
        return Verdict("alert", "high", (reason, source), causes)
    return _judge_by_source(sign_in, source)


def _judge_always_alerting(sign_in: SignIn, source: str) -> Verdict:
    cause = ALWAYS_ALERT_BY_KIND[sign_in.kind]
    severity = "high" if sign_in.outcome == "success" else "normal"
    causes = (cause,) if cause in CAUSES else ()
    return Verdict("alert", severity, (cause, source), causes)


def _judge_failure(sign_in: SignIn, source: str) -> Verdict:
    """Alert where somebody may be guessing a password, grouped with other failures; else note."""
    if sign_in.kind == UNFINISHED:
        return Verdict("note", "", (RIGHT_PASSWORD, source), (RIGHT_PASSWORD,))
    if sign_in.identity == "root":
        cause = ROOT_FAILURE
    elif _may_be_root(sign_in):
        cause = UNKNOWN_FAILURE
    elif source == RECOGNISED_SOURCE or sign_in.kind in PROGRAM_KINDS:
        return Verdict("note", "", (FAILURE, source))
    else:
        cause = FAILURE
    return Verdict("alert", "normal", (cause, source), (cause,), "", "failures")


def _device_code_reason(sign_in: SignIn, *, approved_elsewhere: bool | None) -> str:
    """Return why a device code, or the portal sign-in that approved it, alerts; empty if not."""
    is_device_code = sign_in.grant == DEVICE_CODE_GRANT
    if approved_elsewhere and (is_device_code or sign_in.kind == IDENTITY_CENTER):
        return DEVICE_CODE
    return APPROVAL_UNKNOWN if is_device_code and approved_elsewhere is None else ""


def _judge_by_source(sign_in: SignIn, source: str) -> Verdict:
    """Judge a success that nothing but its source or a missing MFA makes an alert."""
    is_without_mfa = sign_in.mfa == "no" and sign_in.identity == "iam-user"
    if source == RECOGNISED_SOURCE:
        return _judge_recognised(sign_in, is_without_mfa=is_without_mfa)
    cause = CAUSE_BY_KIND.get(sign_in.kind, source)
    if cause == UNRECOGNISED_SOURCE and not is_without_mfa:
        return UNRECOGNISED
    causes = (cause, NO_MFA) if is_without_mfa else (cause,)
    reasons = causes if cause == source else (*causes, source)
    key = ""
    if sign_in.kind == "role-keys":
        key = _deduplication_key(sign_in, f"{sign_in.kind}#{sign_in.source}")
    grouped = "linked" if sign_in.kind == "console-link" else ""
    return Verdict("alert", "normal", reasons, causes, key, grouped)


def _judge_recognised(sign_in: SignIn, *, is_without_mfa: bool) -> Verdict:
    if is_without_mfa:
        key = _deduplication_key(sign_in, NO_MFA)
        return Verdict("alert", "normal", (NO_MFA, RECOGNISED_SOURCE), (NO_MFA,), key)
    if sign_in.grant == DEVICE_CODE_GRANT:  # a stranger may have had the code approved
        return Verdict("note", "", (DEVICE_CODE_GRANT, RECOGNISED_SOURCE))
    if sign_in.kind in NOTED_KINDS:
        return Verdict("note", "", (RECOGNISED_SOURCE,))
    return RECOGNISED


def _may_be_root(sign_in: SignIn) -> bool:
    return sign_in.identity == "unknown" and sign_in.kind in ROOT_KINDS


def _deduplication_key(sign_in: SignIn, subject: str) -> str:
    """Return the key of an alert that is sent once a day; empty if nobody is named."""
    return "" if sign_in.who == "unknown" else f"{sign_in.account}#{sign_in.who}#{subject}"


def _apply_switches(verdict: Verdict, off: Collection[str], on: Collection[str]) -> Verdict:
    """Return an alert as a note if all causes are off, and a note as an alert if one is on."""
    names = [cause_name(cause) for cause in verdict.causes]
    if verdict.level == "alert" and names and all(name in off for name in names):
        return Verdict("note", "", (*verdict.reasons, "switched off"))
    if verdict.level == "note" and any(name in on for name in names):
        return verdict._replace(level="alert", severity="normal")
    return verdict
