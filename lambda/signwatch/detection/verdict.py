"""Decides what to do about an event: the alert policy. Pure.

Reasons say what a verdict is based on; they are logged and shown. Causes are what an owner can
switch by name; most are reasons too. Each cause is enough for an alert, so an alert becomes a note
only if all of its causes are switched off. An alert without causes cannot be switched off: an
unreadable record, a success of root or of a user who may be root, AssumeRoot. The OPT_IN_CAUSES
give only a note unless the owner switches them on.
"""

from collections.abc import Collection
from typing import NamedTuple

from signwatch.detection.sign_in_paths import IDENTITY_CENTER, UNFINISHED
from signwatch.detection.signin import DEVICE_CODE_GRANT, ParsedEvent, SignIn, Step, Unreadable

# Reasons, as they appear in the log. Most are causes too (see cause_name).
RECOGNISED_SOURCE = "recognised source"
UNRECOGNISED_SOURCE = "unrecognised source"
SOURCE_INSIDE_AWS = "source inside AWS"
NO_MFA = "no MFA"
DEVICE_CODE = "device code elsewhere"
APPROVAL_UNKNOWN = "device code, its approval unknown"  # its cause is DEVICE_CODE
FAILURE = "failure"
ROOT_FAILURE = "root failure"
UNKNOWN_FAILURE = "failure of an unknown kind of user"
RIGHT_PASSWORD = "right password without a sign-in"  # noqa: S105 - the name of a cause
PASSWORD_RECOVERY = "password recovery"  # noqa: S105 - the name of a cause
AWS_ANOMALY = "AWS anomaly"

# Kinds of path (see sign_in_paths)
ALWAYS_ALERT_BY_KIND = {  # the reason; these alert from every source, even if they fail
    "password-recovery": PASSWORD_RECOVERY,
    "assume-root": "assume root",
    "anomaly": AWS_ANOMALY,
}
CAUSE_BY_KIND = {  # these have causes of their own, so that each can be switched off by itself
    "switch-role": "switched role",
    "federation-token": "federation token",
    "console-link": "console link",
    "role-keys": "role keys",
}
# From a recognised source these give only a note: they show how somebody signed in, not who.
NOTED_KINDS = ("switch-role", "federation-token", "console-link")
PROGRAM_KINDS = ("saml-role", "federation-token")  # used by programs, so failures only noted
ROOT_KINDS = ("console", "aws-login")  # root can use these, so an unknown user may be root

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
FAILURES_BEFORE_TEXT = 3  # within 15 minutes; fewer are sent only by e-mail


class Verdict(NamedTuple):
    """What to do about an event.

    ``reasons`` say what the verdict is based on. ``causes`` are the switchable ones: if all are
    switched off, an alert becomes a note; if one is switched on, a note becomes an alert.
    ``grouped`` is "failures" if failures like it are counted together, or "linked" if another event
    belongs to the same sign-in.
    """

    level: str  # alert, note (logged and counted), recognised, ignored
    severity: str  # high, normal; "" if it is not an alert
    reasons: tuple[str, ...]
    causes: tuple[str, ...] = ()
    deduplication_key: str = ""  # of alerts with the same key, one a day is sent; "" sends all
    grouped: str = ""
    send_text: bool = True  # False: the alert is sent only by e-mail


# Most sign-ins get one of these two, so they are made only once.
RECOGNISED = Verdict("recognised", "", (RECOGNISED_SOURCE,))
UNRECOGNISED = Verdict("alert", "normal", (UNRECOGNISED_SOURCE,), (UNRECOGNISED_SOURCE,))


def cause_name(cause: str) -> str:
    """Return the name of a cause in AlertOff and AlertOn: "no-mfa" for "no MFA"."""
    return cause.lower().replace(" ", "-")


def judge(
    parsed_event: ParsedEvent,
    *,
    recognised: bool,
    approved_elsewhere: bool | None = None,
    off: Collection[str] = (),
    on: Collection[str] = (),
) -> Verdict:
    """Return the verdict on a parsed event.

    ``recognised`` says whether its source is in a recognised network. ``approved_elsewhere`` says
    whether the device code was used from another address than its approval; None if that is unknown
    or if there is no device code. ``off`` and ``on`` are the names of the switched causes.
    """
    if isinstance(parsed_event, SignIn):
        source_reason = _source_reason(parsed_event, recognised=recognised)
        verdict = _judge_sign_in(parsed_event, source_reason, approved_elsewhere=approved_elsewhere)
        return _apply_switches(verdict, off, on) if off or on else verdict
    if isinstance(parsed_event, Unreadable):
        return Verdict("alert", "normal", (f"unreadable: {parsed_event.reason}",))
    if isinstance(parsed_event, Step):
        return Verdict("ignored", "", (f"step: {parsed_event.reason}",))
    return Verdict("ignored", "", ("not a sign-in",))


def mark_repeated(verdict: Verdict) -> Verdict:
    """Return an alert as a note, because the same was already reported within a day."""
    return Verdict("note", "", (*verdict.reasons, "already reported within a day"))


def mark_linked(verdict: Verdict) -> Verdict:
    """Return the verdict, marked as following a reported console link of the same person."""
    return verdict._replace(reasons=(*verdict.reasons, "after a console link"), grouped="linked")


def apply_failure_count(verdict: Verdict, failures: int, *, is_first: bool) -> Verdict:
    """Add the number of failures within 15 minutes to the verdict on a failure.

    A text is sent from the third failure on, and for the first failure of root.
    """
    is_first_root_failure = is_first and ROOT_FAILURE in verdict.causes
    return verdict._replace(
        reasons=(*verdict.reasons, f"{failures} failures within 15 minutes"),
        send_text=failures >= FAILURES_BEFORE_TEXT or is_first_root_failure,
    )


def _source_reason(sign_in: SignIn, *, recognised: bool) -> str:
    """Return the reason that describes where the sign-in came from."""
    if recognised:
        return RECOGNISED_SOURCE
    if sign_in.source[:12].lower() == "aws internal":
        return SOURCE_INSIDE_AWS
    return UNRECOGNISED_SOURCE


def _judge_sign_in(
    sign_in: SignIn, source_reason: str, *, approved_elsewhere: bool | None
) -> Verdict:
    """Judge a sign-in; ``source_reason`` is the result of _source_reason."""
    if sign_in.kind in ALWAYS_ALERT_BY_KIND:
        return _judge_always_alerting(sign_in, source_reason)
    if sign_in.outcome != "success":
        return _judge_failure(sign_in, source_reason)
    if sign_in.identity == "root":
        return Verdict("alert", "high", ("root success", source_reason))
    if _may_be_root(sign_in):
        return Verdict("alert", "normal", ("success of an unknown kind of user", source_reason))
    if reason := _device_code_reason(sign_in, approved_elsewhere=approved_elsewhere):
        causes: tuple[str, ...] = (DEVICE_CODE, source_reason)
        if source_reason == RECOGNISED_SOURCE:
            causes = (DEVICE_CODE,)
        return Verdict("alert", "high", (reason, source_reason), causes)
    return _judge_by_source(sign_in, source_reason)


def _judge_always_alerting(sign_in: SignIn, source_reason: str) -> Verdict:
    cause = ALWAYS_ALERT_BY_KIND[sign_in.kind]
    severity = "high" if sign_in.outcome == "success" else "normal"
    causes = (cause,) if cause in CAUSES else ()
    return Verdict("alert", severity, (cause, source_reason), causes)


def _judge_failure(sign_in: SignIn, source_reason: str) -> Verdict:
    """Return an alert if somebody may be guessing a password; otherwise a note."""
    if sign_in.kind == UNFINISHED:
        return Verdict("note", "", (RIGHT_PASSWORD, source_reason), (RIGHT_PASSWORD,))
    if sign_in.identity == "root":
        cause = ROOT_FAILURE
    elif _may_be_root(sign_in):
        cause = UNKNOWN_FAILURE
    elif source_reason == RECOGNISED_SOURCE or sign_in.kind in PROGRAM_KINDS:
        return Verdict("note", "", (FAILURE, source_reason))
    else:
        cause = FAILURE
    return Verdict("alert", "normal", (cause, source_reason), (cause,), grouped="failures")


def _device_code_reason(sign_in: SignIn, *, approved_elsewhere: bool | None) -> str:
    """Return why a device code, or the portal sign-in that approved it, is an alert; else empty."""
    is_device_code = sign_in.grant == DEVICE_CODE_GRANT
    if approved_elsewhere and (is_device_code or sign_in.kind == IDENTITY_CENTER):
        return DEVICE_CODE
    return APPROVAL_UNKNOWN if is_device_code and approved_elsewhere is None else ""


def _judge_by_source(sign_in: SignIn, source_reason: str) -> Verdict:
    """Judge a success that can be an alert only because of its source or a missing MFA."""
    is_without_mfa = sign_in.mfa == "no" and sign_in.identity == "iam-user"
    if source_reason == RECOGNISED_SOURCE:
        return _judge_recognised(sign_in, is_without_mfa=is_without_mfa)
    cause = CAUSE_BY_KIND.get(sign_in.kind, source_reason)
    if cause == UNRECOGNISED_SOURCE and not is_without_mfa:
        return UNRECOGNISED
    causes = (cause, NO_MFA) if is_without_mfa else (cause,)
    reasons = causes if cause == source_reason else (*causes, source_reason)
    key = ""
    if sign_in.kind == "role-keys":
        key = _deduplication_key(sign_in, f"{sign_in.kind}#{sign_in.source}")
    grouped = "linked" if sign_in.kind == "console-link" else ""
    return Verdict("alert", "normal", reasons, causes, key, grouped)


def _judge_recognised(sign_in: SignIn, *, is_without_mfa: bool) -> Verdict:
    if is_without_mfa:
        key = _deduplication_key(sign_in, NO_MFA)
        return Verdict("alert", "normal", (NO_MFA, RECOGNISED_SOURCE), (NO_MFA,), key)
    if sign_in.grant == DEVICE_CODE_GRANT:  # a stranger may have made the owner approve it
        return Verdict("note", "", (DEVICE_CODE_GRANT, RECOGNISED_SOURCE))
    if sign_in.kind in NOTED_KINDS:
        return Verdict("note", "", (RECOGNISED_SOURCE,))
    return RECOGNISED


def _may_be_root(sign_in: SignIn) -> bool:
    return sign_in.identity == "unknown" and sign_in.kind in ROOT_KINDS


def _deduplication_key(sign_in: SignIn, subject: str) -> str:
    """Return the key of an alert that is sent once a day; empty if the user is unknown."""
    return "" if sign_in.who == "unknown" else f"{sign_in.account}#{sign_in.who}#{subject}"


def _apply_switches(verdict: Verdict, off: Collection[str], on: Collection[str]) -> Verdict:
    """Turn an alert into a note if all causes are off, or a note into an alert if one is on."""
    names = [cause_name(cause) for cause in verdict.causes]
    if verdict.level == "alert" and names and all(name in off for name in names):
        return Verdict("note", "", (*verdict.reasons, "switched off"))
    if verdict.level == "note" and any(name in on for name in names):
        return verdict._replace(level="alert", severity="normal")
    return verdict
