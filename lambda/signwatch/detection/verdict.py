"""Decides what to do about an event: the alert policy. Pure.

Terms: an alert is sent to people. A note is only logged and counted. A reason says what a verdict
is based on; it is logged and shown. A cause is what an owner can switch off or on by name; each is
enough for an alert by itself, so an alert becomes a note only if all of its causes are switched
off. Most causes are reasons too.

A source is the address that a sign-in came from; it is recognised if a network of the owner's list
contains it. A kind groups the paths (ways to sign in) that are judged alike, such as "console". An
identity is a type of user, such as "root"; it is "unknown" if the record does not say the type. A
console link is a URL that signs its reader in. A session use is an event with a session that an
earlier sign-in opened.

A device code signs in a program, after a person approved it in the portal of IAM Identity Center.
``approved_elsewhere`` is True if the code was used from another address than it was approved from,
False if it was not, and None if that is unknown. The use of the code and the portal sign-in that
approved it are two events; both are judged with this value.

An alert without causes cannot be switched off: an unreadable record, a success of root or of a user
who may be root, AssumeRoot. The OPT_IN_CAUSES become louder if the owner switches them on.
"""

from collections.abc import Collection
from typing import NamedTuple

from signwatch.detection.sign_in_paths import IDENTITY_CENTER, SESSION_USE, UNFINISHED
from signwatch.detection.signin import DEVICE_CODE_GRANT, ParsedEvent, SignIn, Step, Unreadable

# Reasons, as they appear in the log. Most are causes too.
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
SESSION_ELSEWHERE = "session used elsewhere"
PASSWORD_RECOVERY = "password recovery"  # noqa: S105 - the name of a cause
AWS_ANOMALY = "AWS anomaly"
BEING_REPORTED = "being reported; looked at again in 15 minutes"
ROOT_SUCCESS = "root success"
ROOT_SESSION = "root session"
ASSUME_ROOT = "assume root"
UNKNOWN_SUCCESS = "success of an unknown kind of user"
# Successes with such a reason are never counted together, and their texts have no limit: they are
# about root, or may be, or AWS itself sends them.
UNLIMITED_REASONS = frozenset(
    {ROOT_SUCCESS, ROOT_SESSION, ASSUME_ROOT, UNKNOWN_SUCCESS, AWS_ANOMALY}
)

# The streams of events that somebody without a sign-in can cause, or many of them (see
# detection/bursts).
ROOT_FAILURES = "root"
OTHER_FAILURES = "others"
RECOVERIES = "recoveries"
UNREADABLE_EVENTS = "unreadable"
RIGHT_PASSWORDS = "passwords"
REFUSED_ROOT_SESSIONS = "sessions"
STREAMS = {  # what a message calls the events of each stream
    ROOT_FAILURES: "failed sign-ins of root",
    OTHER_FAILURES: "failed sign-ins",
    RECOVERIES: "password recoveries of root",
    UNREADABLE_EVENTS: "unreadable sign-ins",
    RIGHT_PASSWORDS: "right passwords without a sign-in",
    REFUSED_ROOT_SESSIONS: "refused root sessions",
}

# Kinds of path (see sign_in_paths)
ALWAYS_ALERT_BY_KIND = {  # the reason; these alert from every source, even if they fail
    "password-recovery": PASSWORD_RECOVERY,
    "assume-root": ASSUME_ROOT,
    "anomaly": AWS_ANOMALY,
}
CAUSE_BY_KIND = {  # these have causes of their own, so that each can be switched off by itself
    "switch-role": "switched role",
    "federation-token": "federation token",
    "console-link": "console link",
    "role-keys": "role keys",
    "application": "application authorised",
    "token-exchange": "token exchange",
    "delegated-access": "delegated access",
}
# These give only a note, even if they fail, unless the owner switches their cause on: they let
# nobody into the account (WorkSpaces), or programs make them all the time (web identity).
OPT_IN_CAUSE_BY_KIND = {
    "workspaces": "WorkSpaces sign-in",
    "transfer-web-app": "Transfer web app sign-in",
    "web-identity": "web identity",
}
# From a recognised source these give only a note: they show how somebody signed in, not who.
NOTED_KINDS = ("switch-role", "federation-token", "console-link", "application")
# Used by programs, so failures are only noted
PROGRAM_KINDS = ("saml-role", "federation-token", "token-exchange", "delegated-access")
# Root can use these, so an unknown user may be root
ROOT_KINDS = ("console", "aws-login", "application")
REPEATED_KINDS = ("role-keys", "token-exchange", "delegated-access")  # often many times a day

CAUSES = (  # can be switched off with AlertOff
    UNRECOGNISED_SOURCE,
    SOURCE_INSIDE_AWS,
    NO_MFA,
    DEVICE_CODE,
    FAILURE,
    ROOT_FAILURE,
    UNKNOWN_FAILURE,
    RIGHT_PASSWORD,
    SESSION_ELSEWHERE,
    *CAUSE_BY_KIND.values(),
    PASSWORD_RECOVERY,
    AWS_ANOMALY,
)
# What AlertOn can make louder: an alert from recognised sources too, a text besides the e-mail, an
# alert in place of a note.
OPT_IN_CAUSES = (RIGHT_PASSWORD, SESSION_ELSEWHERE, *OPT_IN_CAUSE_BY_KIND.values())


class Verdict(NamedTuple):
    """What to do about an event.

    ``causes`` can be switched: if all are switched off, an alert becomes a note; if one is switched
    on, a note becomes an alert. ``grouped`` is "failures" for a failure that is counted together
    with others, "linked" for a console link or the console sign-in that follows it, "sign-in" for
    what an Identity Center sign-in causes after its first alert.
    """

    level: str  # alert, note (logged and counted), recognised, ignored
    severity: str  # high, normal; "" if it is not an alert
    reasons: tuple[str, ...]  # what the verdict is based on
    causes: tuple[str, ...] = ()
    deduplication_key: str = ""  # one alert a day is sent for each key; "" sends every alert
    grouped: str = ""
    send_text: bool = True  # False: the alert is sent only by e-mail
    is_pending: bool = False  # another alert with this deduplication key is being delivered
    stream: str = ""  # of STREAMS; "" if strangers cannot cause it
    number: int = 0  # of the events of its stream, with this one, within so many hours
    hours: int = 0

    @property
    def has_text_limit(self) -> bool:
        """Whether its text counts among those of an hour: not if it is about root."""
        return UNLIMITED_REASONS.isdisjoint(self.reasons)


# Most sign-ins get one of these two, so they are made only once.
RECOGNISED = Verdict("recognised", "", (RECOGNISED_SOURCE,))
UNRECOGNISED = Verdict("alert", "normal", (UNRECOGNISED_SOURCE,), (UNRECOGNISED_SOURCE,))
# A device code between two recognised addresses, such as the IPv4 and the IPv6 of one office.
CODE_BETWEEN_RECOGNISED = Verdict("note", "", (DEVICE_CODE, RECOGNISED_SOURCE))


def format_cause(cause: str) -> str:
    """Return the name that the owner writes in AlertOff or AlertOn: ``"no MFA" -> "no-mfa"``."""
    return cause.lower().replace(" ", "-")


def judge(
    parsed_event: ParsedEvent,
    *,
    recognised: bool,
    approved_elsewhere: bool | None = None,
    both_addresses_recognised: bool = False,
    off: Collection[str] = (),
    on: Collection[str] = (),
) -> Verdict:
    """Return the verdict on a parsed event.

    ``recognised`` says whether its source is in a recognised network. ``approved_elsewhere`` says
    whether a device code was used from another address than it was approved from; None if that is
    unknown or if there is no device code. ``both_addresses_recognised`` says whether the address of
    the approval and that of the use are both recognised. ``off`` and ``on`` are the names of the
    causes that the owner switched off and on, as format_cause writes them.
    """
    if isinstance(parsed_event, SignIn):
        source_reason = _find_source_reason(parsed_event, recognised=recognised)
        verdict = _judge_sign_in(
            parsed_event,
            source_reason,
            approved_elsewhere=approved_elsewhere,
            both_addresses_recognised=both_addresses_recognised,
        )
        return _apply_switches(verdict, off, on) if off or on else verdict
    if isinstance(parsed_event, Unreadable):
        reasons = (f"unreadable: {parsed_event.reason}",)
        return Verdict("alert", "normal", reasons, stream=UNREADABLE_EVENTS)
    if isinstance(parsed_event, Step):
        return Verdict("ignored", "", (f"step: {parsed_event.reason}",))
    return Verdict("ignored", "", ("not a sign-in",))


def mark_repeated(verdict: Verdict) -> Verdict:
    """Return the verdict on an alert as a note, because one like it was sent within a day."""
    return Verdict("note", "", (*verdict.reasons, "already reported within a day"))


def mark_site_of_last_sign_in(verdict: Verdict) -> Verdict:
    """Return the verdict on a session use as a note, because the person last signed in there."""
    return Verdict("note", "", (*verdict.reasons, "where the person last signed in"))


def mark_held_back(verdict: Verdict) -> Verdict:
    """Return the verdict on a pending alert as a note: its event is looked at again later."""
    return Verdict("note", "", (*verdict.reasons, BEING_REPORTED))


def mark_linked(verdict: Verdict) -> Verdict:
    """Mark the verdict on a console sign-in that follows a console link of the same person."""
    return verdict._replace(reasons=(*verdict.reasons, "after a console link"), grouped="linked")


def mark_grouped(verdict: Verdict, group_id: str) -> Verdict:
    """Return the verdict on an alert as a note: it belongs to a sign-in that was told already."""
    return Verdict("note", "", (*verdict.reasons, f"told with {group_id}"), grouped="sign-in")


def mark_text_skipped(verdict: Verdict) -> Verdict:
    """Return the verdict on an alert that is sent by e-mail only: too many texts in an hour."""
    return verdict._replace(reasons=(*verdict.reasons, "too many texts"), send_text=False)


def apply_count(verdict: Verdict, number: int, hours: int) -> Verdict:
    """Add the number of the events of its stream, within so many hours, to the verdict on one."""
    reasons = verdict.reasons
    if number > 1:
        reasons += (f"{number} {STREAMS[verdict.stream]} within {hours} h",)
    return verdict._replace(reasons=reasons, number=number, hours=hours)


def mark_counted(verdict: Verdict) -> Verdict:
    """Return the verdict on an event of a stream as a note: it is told with others, later."""
    return Verdict("note", "", verdict.reasons, grouped=verdict.grouped)


def _find_source_reason(sign_in: SignIn, *, recognised: bool) -> str:
    """Return the reason that describes where the sign-in came from."""
    if recognised:
        return RECOGNISED_SOURCE
    # A list may hold an address too.
    if sign_in.source.lower().startswith("aws internal") and "," not in sign_in.source:
        return SOURCE_INSIDE_AWS
    return UNRECOGNISED_SOURCE


def _judge_sign_in(
    sign_in: SignIn,
    source_reason: str,
    *,
    approved_elsewhere: bool | None,
    both_addresses_recognised: bool,
) -> Verdict:
    """Judge a sign-in. ``source_reason`` says where it came from (see _find_source_reason).

    ``approved_elsewhere``: a device code was used from another address than it was approved from;
    None if that is unknown. ``both_addresses_recognised``: that of the approval and of the use.
    """
    if sign_in.kind in ALWAYS_ALERT_BY_KIND:
        return _judge_always_alerting(sign_in, source_reason)
    if sign_in.kind == SESSION_USE:
        return _judge_session_use(sign_in, source_reason)
    if sign_in.kind in OPT_IN_CAUSE_BY_KIND:
        return _judge_opt_in(sign_in, source_reason)
    if sign_in.outcome != "success":
        return _judge_failure(sign_in, source_reason)
    if sign_in.identity == "root" or _may_be_root(sign_in):
        return _judge_possible_root(sign_in, source_reason)
    device_code_verdict = _judge_device_code(
        sign_in,
        source_reason,
        approved_elsewhere=approved_elsewhere,
        both_addresses_recognised=both_addresses_recognised,
    )
    return device_code_verdict or _judge_by_source(sign_in, source_reason)


def _judge_possible_root(sign_in: SignIn, source_reason: str) -> Verdict:
    """Return an alert on a success of root, or of a user who may be root.

    What programs do many times a day, such as the refresh of a token, is sent once a day.
    """
    key = _make_key_of_repeated(sign_in)
    if sign_in.identity == "root":
        reasons = (ROOT_SUCCESS, source_reason)
        return Verdict("alert", "high", reasons, deduplication_key=key)
    reasons = (UNKNOWN_SUCCESS, source_reason)
    return Verdict("alert", "normal", reasons, deduplication_key=key)


def _judge_always_alerting(sign_in: SignIn, source_reason: str) -> Verdict:
    """Return an alert on a sign-in whose kind is enough for one, whatever its source or outcome."""
    reason = ALWAYS_ALERT_BY_KIND[sign_in.kind]
    severity = "high" if sign_in.outcome == "success" else "normal"
    causes = (reason,) if reason in CAUSES else ()  # not every one can be switched off
    verdict = Verdict("alert", severity, (reason, source_reason), causes)
    if reason == PASSWORD_RECOVERY:
        return verdict._replace(stream=RECOVERIES)
    if reason == ASSUME_ROOT and sign_in.outcome != "success":
        return verdict._replace(stream=REFUSED_ROOT_SESSIONS)
    return verdict


def _judge_opt_in(sign_in: SignIn, source_reason: str) -> Verdict:
    """Return a note. If its source is not recognised, the owner can make it an alert (AlertOn)."""
    cause = OPT_IN_CAUSE_BY_KIND[sign_in.kind]
    has_failed = sign_in.outcome != "success"
    reasons = (cause, FAILURE, source_reason) if has_failed else (cause, source_reason)
    causes = () if source_reason == RECOGNISED_SOURCE else (cause,)
    verdict = Verdict("note", "", reasons, causes)
    if has_failed:
        return verdict._replace(grouped="failures", stream=OTHER_FAILURES)
    return verdict


def _judge_session_use(sign_in: SignIn, source_reason: str) -> Verdict:
    """Judge the use of a session by its source: an e-mail once a day for a person and a site.

    A computer that is carried to a café does the same as a stolen token, so no text is sent. All
    unknown persons count as one, because a session is used every few minutes. A site is the network
    of one home or hotel. A session of root, or of a user who may be root, is worth a text, and the
    alert cannot be switched off.
    """
    if source_reason == RECOGNISED_SOURCE:
        return RECOGNISED
    key = f"{sign_in.account}#{sign_in.who}#{SESSION_USE}#{sign_in.site}"
    reasons = (SESSION_ELSEWHERE, source_reason)
    if sign_in.identity == "root":
        return Verdict("alert", "high", (*reasons, ROOT_SESSION), deduplication_key=key)
    if sign_in.identity == "unknown":
        return Verdict("alert", "normal", reasons, deduplication_key=key)
    return Verdict("alert", "normal", reasons, (SESSION_ELSEWHERE,), key, send_text=False)


def _judge_failure(sign_in: SignIn, source_reason: str) -> Verdict:
    """Judge a failure: an alert if somebody may be guessing a password, otherwise a note."""
    if sign_in.kind == UNFINISHED:
        return _judge_right_password(sign_in, source_reason)
    stream = OTHER_FAILURES
    if sign_in.identity == "root":
        cause, stream = ROOT_FAILURE, ROOT_FAILURES
    elif _may_be_root(sign_in):
        cause = UNKNOWN_FAILURE
    elif source_reason == RECOGNISED_SOURCE or sign_in.kind in PROGRAM_KINDS:
        return Verdict("note", "", (FAILURE, source_reason))
    else:
        cause = FAILURE
    reasons = (cause, source_reason)
    return Verdict("alert", "normal", reasons, (cause,), grouped="failures", stream=stream)


def _judge_right_password(sign_in: SignIn, source_reason: str) -> Verdict:
    """Judge a right password without a sign-in after it: an alert if a wrong one would be one.

    For root, and for a user who may be root, the cause of a wrong password is added. The alert is
    then sent until the owner switches both causes off.
    """
    reasons = (RIGHT_PASSWORD, source_reason)
    causes: tuple[str, ...] = (RIGHT_PASSWORD,)
    level, severity = "alert", "normal"
    if sign_in.identity == "root":
        causes += (ROOT_FAILURE,)
    elif sign_in.identity == "unknown":  # only console users can be unknown here
        causes += (UNKNOWN_FAILURE,)
    elif source_reason == RECOGNISED_SOURCE:
        level, severity = "note", ""
    return Verdict(level, severity, reasons, causes, stream=RIGHT_PASSWORDS)


def _judge_device_code(
    sign_in: SignIn,
    source_reason: str,
    *,
    approved_elsewhere: bool | None,
    both_addresses_recognised: bool,
) -> Verdict | None:
    """Judge a device code, or the portal sign-in that approved it; None if nothing is wrong.

    ``approved_elsewhere``: the code was used from another address than it was approved from; None
    if that is unknown. ``both_addresses_recognised``: that of the approval and of the use.
    """
    reason = _find_device_code_reason(sign_in, approved_elsewhere=approved_elsewhere)
    if not reason:
        return None
    if reason == DEVICE_CODE and both_addresses_recognised:
        return CODE_BETWEEN_RECOGNISED
    is_recognised = source_reason == RECOGNISED_SOURCE  # which is not a cause of an alert
    causes = (DEVICE_CODE,) if is_recognised else (DEVICE_CODE, source_reason)
    return Verdict("alert", "high", (reason, source_reason), causes)


def _find_device_code_reason(sign_in: SignIn, *, approved_elsewhere: bool | None) -> str:
    """Return why a device code, or the portal sign-in that approved it, is an alert; else empty.

    ``approved_elsewhere``: the code was used from another address than it was approved from; None
    if that is unknown. A portal sign-in with an unknown one is no alert: it may approve no code.
    """
    is_device_code = sign_in.grant == DEVICE_CODE_GRANT
    is_portal = sign_in.kind == IDENTITY_CENTER
    if approved_elsewhere and (is_device_code or is_portal):
        return DEVICE_CODE
    if is_device_code and approved_elsewhere is None:
        return APPROVAL_UNKNOWN
    return ""


def _judge_by_source(sign_in: SignIn, source_reason: str) -> Verdict:
    """Judge a success that can be an alert only because of its source or a missing MFA."""
    is_without_mfa = sign_in.mfa == "no" and sign_in.identity == "iam-user"
    if source_reason == RECOGNISED_SOURCE:
        return _judge_recognised(sign_in, is_without_mfa=is_without_mfa)
    cause = CAUSE_BY_KIND.get(sign_in.kind, source_reason)
    if cause == UNRECOGNISED_SOURCE and not is_without_mfa:
        return UNRECOGNISED
    causes = (cause, NO_MFA) if is_without_mfa else (cause,)
    reasons = causes if source_reason in causes else (*causes, source_reason)
    deduplication_key = _make_key_of_repeated(sign_in)
    grouped = "linked" if sign_in.kind == "console-link" else ""
    return Verdict("alert", "normal", reasons, causes, deduplication_key, grouped)


def _make_key_of_repeated(sign_in: SignIn) -> str:
    """Return the deduplication key of a sign-in that repeats many times a day; of others "".

    One alert a day is sent for each user, source and role, or application whose token is refreshed.
    All unknown roles count as one, so they mute only each other, never a role that is known; so do
    applications. Unknown users do so for tokens alone, which are refreshed every hour.
    """
    if sign_in.kind in REPEATED_KINDS and sign_in.who != "unknown":
        taken = f"{sign_in.target_account}/{sign_in.role}"
    elif sign_in.kind == "application" and sign_in.grant == "refresh":
        taken = sign_in.client
    else:
        return ""
    source = f"{sign_in.kind}#{sign_in.source}#{sign_in.vpc_endpoint}"
    return f"{sign_in.account}#{sign_in.who}#{source}#{taken}"


def _judge_recognised(sign_in: SignIn, *, is_without_mfa: bool) -> Verdict:
    """Judge a success from a recognised source.

    ``is_without_mfa`` says that it is of an IAM user who used no MFA.
    """
    if is_without_mfa:
        key = _make_key_of_missing_mfa(sign_in)
        return Verdict("alert", "normal", (NO_MFA, RECOGNISED_SOURCE), (NO_MFA,), key)
    if sign_in.grant == DEVICE_CODE_GRANT:  # a stranger may have made the owner approve it
        return Verdict("note", "", (DEVICE_CODE_GRANT, RECOGNISED_SOURCE))
    if sign_in.kind in NOTED_KINDS:
        return Verdict("note", "", (RECOGNISED_SOURCE,))
    return RECOGNISED


def _may_be_root(sign_in: SignIn) -> bool:
    """Return whether the identity is unknown, and root can sign in by a path of this kind."""
    return sign_in.identity == "unknown" and sign_in.kind in ROOT_KINDS


def _make_key_of_missing_mfa(sign_in: SignIn) -> str:
    """Return the deduplication key of a missing MFA: one alert a day for each account and user.

    Return "" if the user is unknown: every such alert is sent.
    """
    if sign_in.who == "unknown":
        return ""
    return f"{sign_in.account}#{sign_in.who}#{NO_MFA}"


def _apply_switches(verdict: Verdict, off: Collection[str], on: Collection[str]) -> Verdict:
    """Turn an alert into a note if all its causes are off. If one is on, make the verdict louder.

    Louder means that a note becomes an alert, and that an alert is sent by text too. ``off`` and
    ``on`` are names of causes. An alert without causes stays an alert.
    """
    names = {format_cause(cause) for cause in verdict.causes}
    is_off = bool(names) and names.issubset(off)
    if verdict.level == "alert" and is_off:
        return Verdict("note", "", (*verdict.reasons, "switched off"))
    is_on = not is_off and not names.isdisjoint(on)
    if verdict.level == "note" and is_on:
        return verdict._replace(level="alert", severity="normal")
    return verdict._replace(send_text=True) if is_on else verdict
