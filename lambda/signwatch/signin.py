"""Reading: an EventBridge event or a bare CloudTrail record becomes a SignIn, or says why it is none.

Event source and event name decide, compared without regard to case; every identity field is optional, because Identity
Center changed them in July 2025 and may again; no user agent is believed. Facts: AWS CloudTrail User Guide, "AWS
Management Console sign-in events"; IAM Identity Center User Guide, "Understanding sign-in events" and "CloudTrail use
cases".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from signwatch.paths import ANOMALY, ANOMALY_TYPE, NAMED, NAMES, PATHS, SERVICES, STEPS, TOLD, Path
from signwatch.record import Record, mapping, opened, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

REFRESHED = "a token was refreshed"
FACTOR_PASSED = "a factor was passed"
PORTAL_HOP = "Identity Center opened an account"
GRANTS = {  # OAuth 2.0 grant types (RFC 6749, RFC 8628)
    "refresh_token": "refresh",
    "urn:ietf:params:oauth:grant-type:device_code": "device code",
    "authorization_code": "authorization code",
}
TYPES = {  # CloudTrail userIdentity element, "type"
    "root": "root",
    "iamuser": "iam-user",
    "assumedrole": "federated",
    "federateduser": "federated",
    "samluser": "federated",
    "webidentityuser": "federated",
    "identitycenteruser": "identity-center",
}
RESOURCES = {"user": "iam-user", "assumed-role": "federated", "federated-user": "federated", "root": "root"}
CONSOLE = PATHS["signin", "consolelogin"]
RESERVED_ROLE = re.compile(r"arn:[a-z-]+:iam::\d{12}:role/aws-reserved/sso\.amazonaws\.com/")  # a path of AWS's own
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
TOLD_MFA = {"yes": "yes", "no": "no"}
WHAT = {
    "root": "Root console sign-in",
    "federated": "Federated console sign-in",
    "identity-center": "Identity Center console sign-in",
}


class SignIn(NamedTuple):
    """One sign-in. Texts are as recorded and untrusted; ``source`` may be no address at all."""

    event_id: str
    event_name: str
    kind: str  # of path: see paths.PATHS
    what: str  # for people: "Console sign-in"
    who: str
    identity: str  # root, iam-user, federated, identity-center, unknown
    account: str
    region: str
    source: str
    outcome: str  # success, failure
    mfa: str  # yes, no, provider (the identity provider decides and AWS cannot know), unrecorded
    time: str
    grant: str = ""  # of a token: "device code", "authorization code", ...
    role: str = ""  # the role's name, where it is a session of one
    endpoint: str = ""  # the VPC endpoint that it came through


class Step(NamedTuple):
    """A part of a sign-in whose own event comes beside it, such as a refreshed token."""

    event_id: str
    event_name: str
    account: str
    why: str


class NotASignIn(NamedTuple):
    """An event of another kind."""

    event_id: str
    event_name: str
    account: str


class Unreadable(NamedTuple):
    """It came in as a sign-in and lacks what is needed to judge it: an alert. Fields hold whatever could be read."""

    event_id: str
    event_name: str
    account: str
    region: str
    source: str
    time: str
    who: str
    why: str


Reading = SignIn | Step | NotASignIn | Unreadable


def read(event: object) -> Reading:
    """Read an EventBridge event or a bare CloudTrail record. Never raises: what cannot be read is Unreadable."""
    try:
        return _read(opened(event))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong here is an alert, never silence
        return _unreadable(Record({}, {}, {}, {}), f"reading it failed ({type(error).__name__})")


def _read(event: Record) -> Reading:
    if event.kind == ANOMALY_TYPE:
        return _sign_in(ANOMALY, event)
    if not event.detail:
        return _unreadable(event, "the event holds no CloudTrail record")
    name = (event.text("eventSource").lower().partition(".")[0], event.text("eventName").lower())
    if not all(name):
        return _unreadable(event, "the record names no event")
    path = PATHS.get(name)
    if why := STEPS.get(name) or (_step(path, event) if path else ""):
        return Step(event.event_id, event.text("eventName"), event.account, why)
    return _sign_in(path, event) if path else _other(name, event)


def _other(name: tuple[str, str], event: Record) -> Reading:
    if name[0] in SERVICES and name[1] in NAMES:
        return _unreadable(event, "the event comes from an unusual service")
    return NotASignIn(event.event_id, event.text("eventName"), event.account)


def _step(path: Path, event: Record) -> str:
    """Say why a record on this path is only a step, or nothing; a record that tells no outcome never is one."""
    if path.kind in ("token", "aws-login") and _grant(event) == "refresh":
        return REFRESHED
    if path.kind == "factor" and _outcome(path, event) == "success":
        return FACTOR_PASSED
    role = ""
    if path.kind == "saml-role":
        role = text_of(event.part("requestParameters"), "roleArn")
    elif path.kind == "console-link":
        role = _issuer(event)
    return PORTAL_HOP if RESERVED_ROLE.match(role) else ""


def _sign_in(path: Path, event: Record) -> Reading:
    source, outcome = event.text("sourceIPAddress"), _outcome(path, event)
    if not source and path is not ANOMALY:  # whose form no page of AWS documents
        return _unreadable(event, "the record names no source address")
    if not outcome:
        return _unreadable(event, "the record tells no outcome")
    identity = _identity(path, event)
    return SignIn(
        event_id=event.event_id,
        event_name=event.text("eventName", "detail-type"),
        kind=path.kind,
        what=_what(path, identity, event),
        who=_who(event, identity),
        identity=identity,
        account=event.account,
        region=event.text("awsRegion", "region"),
        source=source,
        outcome=outcome,
        mfa=_mfa(identity, event),
        time=event.text("eventTime", "time"),
        grant=_grant(event) if path.kind == "token" else "",
        role=_role(event),
        endpoint=event.text("vpcEndpointId"),
    )


def _outcome(path: Path, event: Record) -> str:
    """Return success or failure, or nothing when the record does not tell; a success that is told is believed first."""
    told = _told(event) if path.outcome == TOLD else _named(event)
    if told == "success":
        return told
    if told == "failure" or event.text("errorCode") or event.text("errorMessage"):
        return "failure"
    return "" if path.outcome in (NAMED, TOLD) else "success"


def _told(event: Record) -> str:
    """Read ``success``, which AWS writes as a text and may one day write as a boolean."""
    told = event.extra.get("success")
    text = str(told).strip().lower() if isinstance(told, (str, bool)) else ""
    return {"true": "success", "false": "failure"}.get(text, "")


def _named(event: Record) -> str:
    """Return the result, in lower case, that stands under the event's own name in whatever case; success before all."""
    name, found = event.text("eventName").lower(), ""
    for place in ("responseElements", "serviceEventDetails"):
        for key, value in event.part(place).items():
            if isinstance(key, str) and isinstance(value, str) and key.lower() == name:
                found = value.strip().lower()
                if found == "success":
                    return found
    return found


def _identity(path: Path, event: Record) -> str:
    """Return what kind of user it is, by the type or by the ARN; root wins, since it alerts from everywhere."""
    user = event.user
    resource = text_of(user, "arn").rpartition(":")[2].partition("/")[0].lower()
    kind, arn = TYPES.get(text_of(user, "type").lower()), RESOURCES.get(resource)
    if "root" in (kind, arn):
        return "root"
    return path.user or kind or arn or "unknown"


def _who(event: Record, identity: str) -> str:
    """The name a person would know: user name, session name of a role, typed name, else the Identity Center user id."""
    if identity == "root":
        return "root"
    for name in _names(event):
        if name and name != HIDDEN:
            return name
    return "unknown"


def _role(event: Record) -> str:
    """The name of the role in the ARN of its session, arn:...:assumed-role/<role>/<session>; else empty."""
    kind, _, rest = text_of(event.user, "arn").rpartition(":")[2].partition("/")
    return rest.partition("/")[0] if kind == "assumed-role" else ""


def _names(event: Record) -> Iterator[str]:
    """The names that a record may hold, the most telling first; none is looked for before it is needed."""
    user = event.user
    yield text_of(user, "userName")
    yield text_of(user, "arn").partition("/")[2].rpartition("/")[2]
    yield text_of(event.extra, "UserName")
    yield text_of(mapping(user.get("onBehalfOf")), "userId")
    yield text_of(user, "principalId")


def _what(path: Path, identity: str, event: Record) -> str:
    if path.kind == "token" and _grant(event):
        return f"{path.what} ({_grant(event)})"
    if path.what:
        return path.what
    if identity == "federated" and RESERVED_ROLE.match(_issuer(event)):
        return WHAT["identity-center"]
    return WHAT.get(identity, "Console sign-in")


def _issuer(event: Record) -> str:
    """The ARN of the role whose session it is, path included; empty for any other user."""
    session = mapping(event.user.get("sessionContext"))
    return text_of(mapping(session.get("sessionIssuer")), "arn")


def _mfa(identity: str, event: Record) -> str:
    """Only IAM users, root and Identity Center tell the truth about MFA (CloudTrail, sign-in events, on MFAUsed)."""
    extra = event.extra
    if identity in ("root", "iam-user"):
        return TOLD_MFA.get(text_of(extra, "MFAUsed").lower(), "unrecorded")
    if identity == "identity-center":
        return _factors({factor.strip() for factor in text_of(extra, "CredentialType").upper().split(",")} - {""})
    return "provider" if identity == "federated" else "unrecorded"


def _factors(passed: set[str]) -> str:
    """Judge the factors of an Identity Center sign-in (IAM Identity Center, "CredentialType")."""
    if "EXTERNAL_IDP" in passed:
        return "provider"
    if not passed:
        return "unrecorded"
    return "yes" if len(passed) > 1 or "WEBAUTHN" in passed else "no"


def _grant(event: Record) -> str:
    places = [event.part("requestParameters"), event.extra]
    named = [text_of(place, key) for place in places for key in ("grantType", "grant_type")]
    return GRANTS.get(next((name for name in named if name), "").lower(), "")


def _unreadable(event: Record, why: str) -> Unreadable:
    return Unreadable(
        event_id=event.event_id,
        event_name=event.text("eventName"),
        account=event.account,
        region=event.text("awsRegion", "region"),
        source=event.text("sourceIPAddress"),
        time=event.text("eventTime", "time"),
        who=_who(event, _identity(CONSOLE, event)),
        why=why,
    )
