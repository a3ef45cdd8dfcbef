"""Reading: an EventBridge event or a bare CloudTrail record becomes a SignIn, or says why it is none.

Event source and event name decide, compared without regard to case; every identity field is optional, because Identity
Center changed them in July 2025 and may again; no user agent is believed. Facts: AWS CloudTrail User Guide, "AWS
Management Console sign-in events"; IAM Identity Center User Guide, "Understanding sign-in events" and "CloudTrail use
cases".
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from signwatch.detection.record import Record, as_object, get_text, open_record
from signwatch.detection.sign_in_paths import (
    ANOMALY,
    ANOMALY_TYPE,
    CHECK_MFA,
    IDENTITY_CENTER,
    NAMES,
    OUTCOME_BY_ABSENT_ERROR,
    OUTCOME_IN_SUCCESS_FIELD,
    PATHS,
    PATHS_BY_EXACT_NAME,
    SERVICES,
    STEPS,
    UNFINISHED,
    Path,
)

REFRESHED = "a token was refreshed"
WAITED = "a program asked whether its device code is approved"
FACTOR_PASSED = "a factor was passed"
PORTAL_HOP = "Identity Center opened an account"
DEVICE_CODE_GRANT = "device code"
GRANTS = {  # OAuth 2.0 grant types (RFC 6749, RFC 8628)
    "refresh_token": "refresh",
    "urn:ietf:params:oauth:grant-type:device_code": DEVICE_CODE_GRANT,
    "authorization_code": "authorization code",
}
WAITING = (
    "AuthorizationPendingException",
    "SlowDownException",
)  # OIDC API Reference, CreateToken, errors
TYPES = {  # CloudTrail userIdentity element, "type"
    "root": "root",
    "iamuser": "iam-user",
    "assumedrole": "federated",
    "federateduser": "federated",
    "samluser": "federated",
    "webidentityuser": "federated",
    "identitycenteruser": "identity-center",
}
RESOURCES = {
    "user": "iam-user",
    "assumed-role": "federated",
    "federated-user": "federated",
    "root": "root",
}
GRANTED = ("token", "aws-login")  # kinds of path that hand out tokens, by some kind of grant
STEPPED = (*GRANTED, "factor", "saml-role", "console-link")  # kinds on which a record may be a step
CONSOLE, FACTOR = PATHS["signin", "consolelogin"], PATHS["signin", "credentialverification"]
RESERVED_ROLE = re.compile(
    r"arn:[a-z-]+:iam::\d{12}:role/aws-reserved/sso\.amazonaws\.com/"
)  # a path of AWS's own
LOGIN, LOGIN_ENDPOINT = "aws-login", "x-amzn-vpce-id"  # where aws login names its VPC endpoint
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
TOLD_MFA = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
WHAT = {
    "root": "Root console sign-in",
    "federated": "Federated console sign-in",
    "identity-center": "Identity Center console sign-in",
    UNFINISHED: "Right password, no sign-in after it",
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
    outcome: str  # success, failure, unfinished
    mfa: str  # yes, no, provider (the identity provider decides and AWS cannot know), unrecorded
    time: str
    grant: str = ""  # of a token: "device code", "authorization code", ...
    person: str = ""  # the id of an Identity Center user, and
    store: str = ""  # of the identity store that knows the name
    role: str = ""  # the role's name, where it is a session of one
    endpoint: str = ""  # the VPC endpoint that it came through

    @property
    def partition(self) -> str:
        """The partition of its Region: aws, aws-cn or aws-us-gov (AWS General Reference, ARNs)."""
        return (
            "aws-cn"
            if self.region[:3] == "cn-"
            else "aws-us-gov"
            if self.region[:7] == "us-gov-"
            else "aws"
        )


class Step(NamedTuple):
    """A part of a sign-in whose own event comes beside it, such as a refreshed token.

    It is ``pending`` where a password was right and the sign-in itself has yet to come.
    """

    event_id: str
    event_name: str
    account: str
    why: str
    pending: bool = False


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
        return _read(open_record(event))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong here is an alert, never silence
        return _unreadable(Record({}, {}, {}, {}), f"reading it failed ({type(error).__name__})")


def read_unfinished(event: object) -> SignIn:
    """Return a pending step as the sign-in that did not come after it."""
    record = open_record(event)
    path = CONSOLE if record.name.lower() == CHECK_MFA[1] else FACTOR
    identity = _identity(path, record)
    person, store = _person(record) if identity == IDENTITY_CENTER else ("", "")
    return SignIn(
        event_id=record.event_id,
        event_name=record.name,
        kind=UNFINISHED,
        what=WHAT[UNFINISHED],
        who=_who(record, identity, person),
        identity=identity,
        account=record.account,
        region=record.region,
        source=record.source,
        outcome=UNFINISHED,
        mfa="unrecorded",
        time=record.time,
        person=person,
        store=store,
    )


def _read(event: Record) -> Reading:
    told = event.envelope.get("detail-type")
    if isinstance(told, str) and len(told) == len(ANOMALY_TYPE) and told.lower() == ANOMALY_TYPE:
        return _sign_in(ANOMALY, event, "")
    if not event.detail:
        return _unreadable(event, "the event holds no CloudTrail record")
    path = PATHS_BY_EXACT_NAME.get((event.service, event.name))
    if path is None:
        name = (event.service.lower().partition(".")[0], event.name.lower())
        path = PATHS.get(name)
        if path is None:
            return (
                _other(name, event)
                if all(name)
                else _unreadable(event, "the record names no event")
            )
    grant = _grant(event) if path.kind in GRANTED else ""
    why = _step(path, event, grant) if path.kind in STEPPED else ""
    return (
        _stepped(event, why, pending=path.kind == "factor") if why else _sign_in(path, event, grant)
    )


def _other(name: tuple[str, str], event: Record) -> Reading:
    if why := STEPS.get(name):
        pending = name == CHECK_MFA and _named(event) == "success"
        return _stepped(event, why, pending=pending)
    if name[0] in SERVICES and name[1] in NAMES:
        return _unreadable(event, "the event comes from an unusual service")
    return NotASignIn(event.event_id, event.name, event.account)


def _stepped(event: Record, why: str, *, pending: bool) -> Step:
    return Step(event.event_id, event.name, event.account, why, pending)


def _step(path: Path, event: Record, grant: str) -> str:
    """Say why a record on this path is only a step, or nothing; a record that tells no outcome never is one."""
    if path.kind in GRANTED:
        waits = path.kind == "token" and event.detail.get("errorCode") in WAITING
        return REFRESHED if grant == "refresh" else WAITED if waits else ""
    if path.kind == "factor":
        return FACTOR_PASSED if _outcome(path, event) == "success" else ""
    role = (
        get_text(event.part("requestParameters"), "roleArn")
        if path.kind == "saml-role"
        else _issuer(event)
    )
    return PORTAL_HOP if RESERVED_ROLE.match(role) else ""


def _sign_in(path: Path, event: Record, grant: str) -> Reading:
    outcome = _outcome(path, event)
    if not event.source and path is not ANOMALY:  # whose form no page of AWS documents
        return _unreadable(event, "the record names no source address")
    if not outcome:
        return _unreadable(event, "the record tells no outcome")
    identity = _identity(path, event)
    person, store = _person(event) if identity == IDENTITY_CENTER else ("", "")
    return SignIn(  # by position, in the order of its fields: by name would take as long as all of reading it
        event.event_id,
        event.name or get_text(event.envelope, "detail-type"),
        path.kind,
        _what(path, identity, event, grant),
        _who(event, identity, person),
        identity,
        event.account,
        event.region,
        event.source,
        outcome,
        _mfa(identity, event),
        event.time,
        grant if path.kind == "token" else "",
        person,
        store,
        _role(path, identity, event),
        get_text(event.detail, "vpcEndpointId")
        or (get_text(event.extra, LOGIN_ENDPOINT) if path.kind == LOGIN else ""),
    )


def _outcome(path: Path, event: Record) -> str:
    """Return success or failure, or nothing when the record does not tell; a success that is told is believed first."""
    told = (
        ""
        if path.outcome == OUTCOME_BY_ABSENT_ERROR
        else _told(event)
        if path.outcome == OUTCOME_IN_SUCCESS_FIELD
        else _named(event)
    )
    if told == "success":
        return told
    if (
        told == "failure"
        or get_text(event.detail, "errorCode")
        or get_text(event.detail, "errorMessage")
    ):
        return "failure"
    return "success" if path.outcome == OUTCOME_BY_ABSENT_ERROR else ""


def _told(event: Record) -> str:
    return {"true": "success", "false": "failure"}.get(_word(event.extra.get("success")), "")


def _word(value: object) -> str:
    """Return a word in lower case, or what AWS writes as a text today and may one day write as a boolean."""
    return str(value).strip().lower() if isinstance(value, (str, bool)) else ""


def _named(event: Record) -> str:
    """Return the result, in lower case, that stands under the event's own name in whatever case; success before all."""
    found, wanted = "", event.name.lower()
    for place in ("responseElements", "serviceEventDetails"):
        part = event.detail.get(place)
        if not isinstance(part, dict):
            continue
        if part.get(event.name) == "Success":  # as AWS writes it, before every key is looked at
            return "success"
        for key, value in part.items():
            if isinstance(key, str) and isinstance(value, str) and key.lower() == wanted:
                found = value.strip().lower()
                if found == "success":
                    return found
    return found


def _identity(path: Path, event: Record) -> str:
    """Return what kind of user it is, by the type or by the ARN; root wins, since it alerts from everywhere."""
    user = event.user
    kind, arn = TYPES.get(get_text(user, "type").lower()), user.get("arn")
    if kind == "root" or (isinstance(arn, str) and arn[-5:].lower() == ":root"):
        return "root"
    return path.user or kind or RESOURCES.get(_resource(arn)) or "unknown"


def _resource(arn: object) -> str:
    """Return the kind of resource that an ARN names, in lower case: "assumed-role"; empty for what is no ARN."""
    return arn.lower().rpartition(":")[2].partition("/")[0] if isinstance(arn, str) else ""


def _who(event: Record, identity: str, person: str) -> str:
    """The name a person would know: user name, session name of a role, typed name, else the Identity Center user id."""
    if identity == "root":
        return "root"
    user = event.user
    named = _name(user, "userName") or _session(user) or _name(event.extra, "UserName")
    return named or person or _name(user, "principalId") or "unknown"


def _role(path: Path, identity: str, event: Record) -> str:
    """The name of the role that is signed in to: that of a session, or the one that a path hands out; else empty."""
    if path.kind == "saml-role":
        return get_text(event.part("requestParameters"), "roleArn").rpartition("/")[2]
    if path.kind == "role-keys":
        return get_text(event.part("serviceEventDetails"), "role_name")
    if identity != "federated":
        return ""
    return get_text(event.user, "arn").partition(":assumed-role/")[2].partition("/")[0]


def _name(found: dict[str, Any], key: str) -> str:
    """Return a recorded name; one without a letter or digit, such as of characters that show nothing, is none."""
    name = found.get(key)
    if (
        not isinstance(name, str)
        or name == HIDDEN
        or not (name[:1].isalnum() or any(map(str.isalnum, name)))
    ):
        return ""
    return name.strip()


def _session(user: dict[str, Any]) -> str:
    """Return the last part of an ARN: a user's name below its path, or the name of a role's session."""
    arn = user.get("arn")
    return arn.partition("/")[2].rpartition("/")[2] if isinstance(arn, str) else ""


def _person(event: Record) -> tuple[str, str]:
    """Return the ids of an Identity Center user and of its identity store; empty where the record has none."""
    behalf = event.user.get("onBehalfOf")
    if not isinstance(behalf, dict):
        return "", ""
    return get_text(behalf, "userId"), get_text(behalf, "identityStoreArn").rpartition("/")[2]


def _what(path: Path, identity: str, event: Record, grant: str) -> str:
    if path.what:
        return f"{path.what} ({grant})" if grant and path.kind == "token" else path.what
    if identity == "federated" and RESERVED_ROLE.match(_issuer(event)):
        return WHAT["identity-center"]
    return WHAT.get(identity, "Console sign-in")


def _issuer(event: Record) -> str:
    """The ARN of the role whose session it is, path included; empty for any other user."""
    session = as_object(event.user.get("sessionContext"))
    return get_text(as_object(session.get("sessionIssuer")), "arn")


def _mfa(identity: str, event: Record) -> str:
    """Only IAM users, root and Identity Center tell the truth about MFA (CloudTrail, sign-in events, on MFAUsed)."""
    if identity in ("root", "iam-user"):
        return TOLD_MFA.get(_word(event.extra.get("MFAUsed"))) or _session_mfa(event)
    if identity == IDENTITY_CENTER:
        told = get_text(event.extra, "CredentialType")
        return (
            _factors(set(told.upper().replace(" ", "").split(",")) - {""}) if told else "unrecorded"
        )
    return "provider" if identity == "federated" else "unrecorded"


def _session_mfa(event: Record) -> str:
    """Read what the session says, as aws login records no other (AWS Sign-In User Guide, on CloudTrail)."""
    session = as_object(event.user.get("sessionContext"))
    return TOLD_MFA.get(
        _word(as_object(session.get("attributes")).get("mfaAuthenticated")), "unrecorded"
    )


def _factors(passed: set[str]) -> str:
    """Judge the factors of an Identity Center sign-in (IAM Identity Center, "CredentialType")."""
    if "EXTERNAL_IDP" in passed:
        return "provider"
    if not passed:
        return "unrecorded"
    return "yes" if len(passed) > 1 or "WEBAUTHN" in passed else "no"


def _grant(event: Record) -> str:
    """Return the kind of grant that a token was got by; empty for one that is not known."""
    for place in (event.part("requestParameters"), event.extra):
        for key in ("grantType", "grant_type"):
            if named := get_text(place, key):
                return GRANTS.get(named.lower(), "")
    return ""


def _unreadable(event: Record, why: str) -> Unreadable:
    return Unreadable(
        event_id=event.event_id,
        event_name=event.name,
        account=event.account,
        region=event.region,
        source=event.source,
        time=event.time,
        who=_who(event, _identity(CONSOLE, event), _person(event)[0]),
        why=why,
    )
