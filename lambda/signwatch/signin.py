"""Reading: an EventBridge event or a bare CloudTrail record becomes a SignIn, or says why it is none.

Event source and event name decide, compared without regard to case; every identity field is optional, because Identity
Center changed them in July 2025 and may again; no user agent is believed. Facts: AWS CloudTrail User Guide, "AWS
Management Console sign-in events"; IAM Identity Center User Guide, "Understanding sign-in events" and "CloudTrail use
cases".
"""

from __future__ import annotations

from typing import Any, NamedTuple

SIGN_IN_EVENTS = {
    ("signin.amazonaws.com", "consolelogin"): "console",
    ("signin.amazonaws.com", "userauthentication"): "identity-center",
    ("sso.amazonaws.com", "createtoken"): "token",
    ("sso-oauth.amazonaws.com", "createtoken"): "token",
}
STEPS = {  # what AWS records beside the event that tells of the sign-in itself
    ("signin.amazonaws.com", "checkmfa"): "the second factor was asked for",
    ("signin.amazonaws.com", "getsignintoken"): "a console session was prepared",
    ("signin.amazonaws.com", "credentialchallenge"): "a factor was asked for",
    ("signin.amazonaws.com", "credentialverification"): "a factor was tried",
    ("sso.amazonaws.com", "authenticate"): "the portal session began",
    ("sso.amazonaws.com", "federate"): "the portal opened an account or application",
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


class _Event(NamedTuple):
    """The EventBridge envelope (empty around a bare record) and the CloudTrail record in it."""

    envelope: dict[str, Any]
    record: dict[str, Any]

    def text(self, key: str, envelope_key: str = "") -> str:
        return _text(self.record, key) or _text(self.envelope, envelope_key)

    def part(self, key: str) -> dict[str, Any]:
        return _mapping(self.record.get(key))


def read(event: object) -> Reading:
    """Read an EventBridge event or a bare CloudTrail record. Never raises: what cannot be read is Unreadable."""
    try:
        return _read(_opened(event))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong here is an alert, never silence
        return _unreadable(_Event({}, {}), f"reading it failed ({type(error).__name__})")


def _opened(event: object) -> _Event:
    outer = _mapping(event)
    return _Event(outer, _mapping(outer["detail"])) if "detail" in outer else _Event({}, outer)


def _read(event: _Event) -> Reading:
    if not event.record:
        return _unreadable(event, "the event holds no CloudTrail record")
    name = (event.text("eventSource").lower(), event.text("eventName").lower())
    if not all(name):
        return _unreadable(event, "the record names no event")
    kind, why = SIGN_IN_EVENTS.get(name), STEPS.get(name)
    if kind == "token" and _grant(event) == "refresh":
        why = REFRESHED
    if why:
        return Step(_event_id(event), event.text("eventName"), _account(event), why)
    if kind is None:
        return NotASignIn(_event_id(event), event.text("eventName"), _account(event))
    return _sign_in(kind, event)


def _sign_in(kind: str, event: _Event) -> Reading:
    source, outcome = event.text("sourceIPAddress"), _outcome(kind, event)
    if not source:
        return _unreadable(event, "the record names no source address")
    if not outcome:
        return _unreadable(event, "the record tells no outcome")
    identity = _identity(kind, event)
    return SignIn(
        event_id=_event_id(event),
        event_name=event.text("eventName"),
        kind=kind,
        what=_what(kind, identity, event),
        who=_who(event, identity),
        identity=identity,
        account=_account(event),
        region=event.text("awsRegion", "region"),
        source=source,
        outcome=outcome,
        mfa=_mfa(identity, event),
        time=event.text("eventTime", "time"),
    )


def _outcome(kind: str, event: _Event) -> str:
    """Return success or failure, or nothing when the record does not tell; a success that is told is believed first."""
    told = {_result(event, "responseElements"), _result(event, "serviceEventDetails")}
    failed = event.text("errorCode") or event.text("errorMessage")
    if "success" in told:
        return "success"
    if "failure" in told or failed:
        return "failure"
    return "success" if kind == "token" else ""  # CreateToken has no result: without an error it made a token


def _result(event: _Event, place: str) -> str:
    """Return the result, in lower case, that stands there under the event's own name."""
    name = event.text("eventName").lower()
    found = [value for key, value in event.part(place).items() if isinstance(key, str) and key.lower() == name]
    return found[0].strip().lower() if found and isinstance(found[0], str) else ""


def _identity(kind: str, event: _Event) -> str:
    """Return what kind of user it is, by the type or by the ARN; root wins, since it alerts from everywhere."""
    user = event.part("userIdentity")
    resource = _text(user, "arn").rpartition(":")[2].partition("/")[0].lower()
    told = (TYPES.get(_text(user, "type").lower()), RESOURCES.get(resource))
    if "root" in told:
        return "root"
    if kind != "console":
        return "identity-center"
    return told[0] or told[1] or "unknown"


def _who(event: _Event, identity: str) -> str:
    """The name a person would know: user name, session name of a role, typed name, else the Identity Center user id."""
    if identity == "root":
        return "root"
    user = event.part("userIdentity")
    names = (
        _text(user, "userName"),
        _text(user, "arn").rpartition("/")[2],
        _text(event.part("additionalEventData"), "UserName"),
        _text(_mapping(user.get("onBehalfOf")), "userId"),
        _text(user, "principalId"),
    )
    return next((name for name in names if name and name != HIDDEN), "unknown")


def _what(kind: str, identity: str, event: _Event) -> str:
    if kind == "identity-center":
        return "Identity Center sign-in"
    if kind == "token":
        return " ".join(("Command line sign-in", *([f"({_grant(event)})"] if _grant(event) else [])))
    session = _mapping(event.part("userIdentity").get("sessionContext"))
    issuer = _text(_mapping(session.get("sessionIssuer")), "arn")
    through_portal = RESERVED_ROLE in issuer
    return WHAT.get("identity-center" if through_portal else identity, "Console sign-in")


def _mfa(identity: str, event: _Event) -> str:
    """Only IAM users, root and Identity Center tell the truth about MFA (CloudTrail, sign-in events, on MFAUsed)."""
    extra = event.part("additionalEventData")
    if identity in ("root", "iam-user"):
        return {"yes": "yes", "no": "no"}.get(_text(extra, "MFAUsed").lower(), "unrecorded")
    if identity == "identity-center":
        return _factors({factor.strip() for factor in _text(extra, "CredentialType").upper().split(",")} - {""})
    return "provider" if identity == "federated" else "unrecorded"


def _factors(passed: set[str]) -> str:
    """Judge the factors of an Identity Center sign-in (IAM Identity Center, "CredentialType")."""
    if "EXTERNAL_IDP" in passed:
        return "provider"
    if not passed:
        return "unrecorded"
    return "yes" if len(passed) > 1 or "WEBAUTHN" in passed else "no"


def _grant(event: _Event) -> str:
    asked = event.part("requestParameters")
    return GRANTS.get((_text(asked, "grantType") or _text(asked, "grant_type")).lower(), "")


def _unreadable(event: _Event, why: str) -> Unreadable:
    return Unreadable(
        event_id=_event_id(event),
        event_name=event.text("eventName"),
        account=_account(event),
        region=event.text("awsRegion", "region"),
        source=event.text("sourceIPAddress"),
        time=event.text("eventTime", "time"),
        who=_who(event, _identity("console", event)),
        why=why,
    )


def _event_id(event: _Event) -> str:
    return event.text("eventID", "id")


def _account(event: _Event) -> str:
    return event.text("recipientAccountId", "account") or _text(event.part("userIdentity"), "accountId")


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(mapping: dict[str, Any], key: str) -> str:
    value = mapping.get(key)
    return value.strip() if isinstance(value, str) else ""
