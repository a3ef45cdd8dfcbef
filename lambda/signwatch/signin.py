"""Reading: an EventBridge event or a bare CloudTrail record becomes a SignIn, or says why it is none.

Event source and event name decide, compared without regard to case; every identity field is optional, because Identity
Center changed them in July 2025 and may again; no user agent is believed. Facts: AWS CloudTrail User Guide, "AWS
Management Console sign-in events"; IAM Identity Center User Guide, "Understanding sign-in events" and "CloudTrail use
cases".
"""

from __future__ import annotations

from typing import NamedTuple

from signwatch.record import Record, mapping, opened, text_of

SIGN_IN_EVENTS = {  # service (the first label of the event source) and event name
    ("signin", "consolelogin"): "console",
    ("signin", "userauthentication"): "identity-center",
    ("sso", "createtoken"): "token",
    ("sso-oauth", "createtoken"): "token",
}
SERVICES = frozenset(service for service, _ in SIGN_IN_EVENTS)  # AWS may record an event under another one of them
SIGN_IN_NAMES = frozenset(name for _, name in SIGN_IN_EVENTS)
STEPS = {  # what AWS records beside the event that tells of the sign-in itself
    ("signin", "checkmfa"): "the second factor was asked for",
    ("signin", "getsignintoken"): "a console session was prepared",
    ("signin", "credentialchallenge"): "a factor was asked for",
    ("signin", "credentialverification"): "a factor was tried",
    ("sso", "authenticate"): "the portal session began",
    ("sso", "federate"): "the portal opened an account or application",
}
REFRESHED = "a token was refreshed"
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
RESERVED_ROLE = "role/aws-reserved/sso.amazonaws.com/"  # a path that only Identity Center can make
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
WHAT = {
    "root": "Root console sign-in",
    "federated": "Federated console sign-in",
    "identity-center": "Identity Center console sign-in",
}


class SignIn(NamedTuple):
    """One sign-in. Texts are as recorded and untrusted; ``source`` may be no address at all."""

    event_id: str
    event_name: str
    kind: str  # console, identity-center, token
    what: str  # for people: "Console sign-in"
    who: str
    identity: str  # root, iam-user, federated, identity-center, unknown
    account: str
    region: str
    source: str
    outcome: str  # success, failure
    mfa: str  # yes, no, provider (the identity provider decides and AWS cannot know), unrecorded
    time: str


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
        return _unreadable(Record({}, {}), f"reading it failed ({type(error).__name__})")


def _read(event: Record) -> Reading:
    if not event.detail:
        return _unreadable(event, "the event holds no CloudTrail record")
    name = (event.text("eventSource").lower().partition(".")[0], event.text("eventName").lower())
    if not all(name):
        return _unreadable(event, "the record names no event")
    kind, why = SIGN_IN_EVENTS.get(name), STEPS.get(name)
    if kind == "token" and _grant(event) == "refresh":
        why = REFRESHED
    if why:
        return Step(event.event_id, event.text("eventName"), event.account, why)
    if kind is None and name[0] in SERVICES and name[1] in SIGN_IN_NAMES:
        return _unreadable(event, "the event comes from an unusual service")
    if kind is None:
        return NotASignIn(event.event_id, event.text("eventName"), event.account)
    return _sign_in(kind, event)


def _sign_in(kind: str, event: Record) -> Reading:
    source, outcome = event.text("sourceIPAddress"), _outcome(kind, event)
    if not source:
        return _unreadable(event, "the record names no source address")
    if not outcome:
        return _unreadable(event, "the record tells no outcome")
    identity = _identity(kind, event)
    return SignIn(
        event_id=event.event_id,
        event_name=event.text("eventName"),
        kind=kind,
        what=_what(kind, identity, event),
        who=_who(event, identity),
        identity=identity,
        account=event.account,
        region=event.text("awsRegion", "region"),
        source=source,
        outcome=outcome,
        mfa=_mfa(identity, event),
        time=event.text("eventTime", "time"),
    )


def _outcome(kind: str, event: Record) -> str:
    """Return success or failure, or nothing when the record does not tell; a success that is told is believed first."""
    told = _results(event, "responseElements") | _results(event, "serviceEventDetails")
    failed = event.text("errorCode") or event.text("errorMessage")
    if "success" in told:
        return "success"
    if "failure" in told or failed:
        return "failure"
    return "success" if kind == "token" else ""  # CreateToken has no result: without an error it made a token


def _results(event: Record, place: str) -> set[str]:
    """Return the results, in lower case, that stand there under the event's own name in whatever case."""
    name = event.text("eventName").lower()
    found = [value for key, value in event.part(place).items() if isinstance(key, str) and key.lower() == name]
    return {value.strip().lower() for value in found if isinstance(value, str)}


def _identity(kind: str, event: Record) -> str:
    """Return what kind of user it is, by the type or by the ARN; root wins, since it alerts from everywhere."""
    user = event.part("userIdentity")
    resource = text_of(user, "arn").rpartition(":")[2].partition("/")[0].lower()
    told = (TYPES.get(text_of(user, "type").lower()), RESOURCES.get(resource))
    if "root" in told:
        return "root"
    if kind != "console":
        return "identity-center"
    return told[0] or told[1] or "unknown"


def _who(event: Record, identity: str) -> str:
    """The name a person would know: user name, session name of a role, typed name, else the Identity Center user id."""
    if identity == "root":
        return "root"
    user = event.part("userIdentity")
    names = (
        text_of(user, "userName"),
        text_of(user, "arn").partition("/")[2].rpartition("/")[2],
        text_of(event.part("additionalEventData"), "UserName"),
        text_of(mapping(user.get("onBehalfOf")), "userId"),
        text_of(user, "principalId"),
    )
    return next((name for name in names if name and name != HIDDEN), "unknown")


def _what(kind: str, identity: str, event: Record) -> str:
    if kind == "identity-center":
        return "Identity Center sign-in"
    if kind == "token":
        return " ".join(("Command line sign-in", *([f"({_grant(event)})"] if _grant(event) else [])))
    session = mapping(event.part("userIdentity").get("sessionContext"))
    issuer = text_of(mapping(session.get("sessionIssuer")), "arn")
    through_portal = RESERVED_ROLE in issuer
    return WHAT.get("identity-center" if through_portal else identity, "Console sign-in")


def _mfa(identity: str, event: Record) -> str:
    """Only IAM users, root and Identity Center tell the truth about MFA (CloudTrail, sign-in events, on MFAUsed)."""
    extra = event.part("additionalEventData")
    if identity in ("root", "iam-user"):
        return {"yes": "yes", "no": "no"}.get(text_of(extra, "MFAUsed").lower(), "unrecorded")
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
    asked = event.part("requestParameters")
    return GRANTS.get((text_of(asked, "grantType") or text_of(asked, "grant_type")).lower(), "")


def _unreadable(event: Record, why: str) -> Unreadable:
    return Unreadable(
        event_id=event.event_id,
        event_name=event.text("eventName"),
        account=event.account,
        region=event.text("awsRegion", "region"),
        source=event.text("sourceIPAddress"),
        time=event.text("eventTime", "time"),
        who=_who(event, _identity("console", event)),
        why=why,
    )
