"""Reads an EventBridge event or a bare CloudTrail record into a SignIn, or says why it is none.

Event source and event name decide, in any case of letters. Every identity field is optional,
because Identity Center changed them in July 2025 and may change them again. The user agent is
never used, because the person who signs in chooses it. Facts: AWS CloudTrail User Guide, "AWS
Management Console sign-in events"; IAM Identity Center User Guide, "Understanding sign-in events"
and "CloudTrail use cases".
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from signwatch.detection.record import Record, as_object, get_text, open_record
from signwatch.detection.sign_in_paths import (
    ANOMALY,
    ANOMALY_TYPE,
    CHECK_MFA,
    EVENT_NAMES,
    IDENTITY_CENTER,
    OUTCOME_BY_ABSENT_ERROR,
    OUTCOME_IN_SUCCESS_FIELD,
    OUTCOME_UNDER_EVENT_NAME,
    PATHS,
    PATHS_BY_EXACT_NAME,
    SERVICES,
    STEPS,
    UNFINISHED,
    Path,
)

DEVICE_CODE_GRANT = "device code"
GRANT_BY_TYPE = {  # OAuth 2.0 grant types (RFC 6749, RFC 8628)
    "refresh_token": "refresh",
    "urn:ietf:params:oauth:grant-type:device_code": DEVICE_CODE_GRANT,
    "authorization_code": "authorization code",
}
# OIDC API Reference, CreateToken, errors
DEVICE_CODE_PENDING_ERRORS = ("AuthorizationPendingException", "SlowDownException")
IDENTITY_BY_USER_TYPE = {  # CloudTrail userIdentity element, "type"
    "root": "root",
    "iamuser": "iam-user",
    "assumedrole": "federated",
    "federateduser": "federated",
    "samluser": "federated",
    "webidentityuser": "federated",
    "identitycenteruser": IDENTITY_CENTER,
}
IDENTITY_BY_ARN_RESOURCE = {
    "user": "iam-user",
    "assumed-role": "federated",
    "federated-user": "federated",
    "root": "root",
}
WHAT_BY_IDENTITY = {
    "root": "Root console sign-in",
    "federated": "Federated console sign-in",
    IDENTITY_CENTER: "Identity Center console sign-in",
}
WHAT_UNFINISHED = "Right password, no sign-in after it"
MFA_BY_TEXT = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
OUTCOME_BY_SUCCESS_FIELD = {"true": "success", "false": "failure"}

TOKEN_KINDS = frozenset({"token", "aws-login"})  # kinds of path that hand out tokens
STEP_KINDS = TOKEN_KINDS | {"factor", "saml-role", "console-link"}  # whose record may be a step
CONSOLE_PATH = PATHS["signin", "consolelogin"]
FACTOR_PATH = PATHS["signin", "credentialverification"]
# Identity Center keeps its roles below a path that is reserved for AWS.
IDENTITY_CENTER_ROLE_ARN = re.compile(
    r"arn:[a-z-]+:iam::\d{12}:role/aws-reserved/sso\.amazonaws\.com/"
)
AWS_LOGIN_ENDPOINT_KEY = "x-amzn-vpce-id"  # in additionalEventData, of aws login alone
HIDDEN_NAME = "HIDDEN_DUE_TO_SECURITY_REASONS"


class SignIn(NamedTuple):
    """One sign-in. Texts are as recorded and untrusted; ``source`` need not be an address."""

    event_id: str
    event_name: str
    kind: str  # Path.kind, or "unfinished"
    what: str  # for people: "Console sign-in"
    who: str
    identity: str  # root, iam-user, federated, identity-center, unknown
    account: str
    region: str
    source: str
    outcome: str  # success, failure, unfinished
    mfa: str  # yes, no, provider (only the identity provider knows), unrecorded
    time: str
    grant: str = ""  # of a token: "device code", "authorization code", ...
    person: str = ""  # the id of an Identity Center user
    store: str = ""  # the id of the identity store that knows the user's name
    role: str = ""  # the role's name, if it is a session of a role
    endpoint: str = ""  # the VPC endpoint that it came through

    @property
    def partition(self) -> str:
        """The partition of its Region (AWS General Reference, ARNs)."""
        if self.region.startswith("cn-"):
            return "aws-cn"
        if self.region.startswith("us-gov-"):
            return "aws-us-gov"
        return "aws"


class Step(NamedTuple):
    """A part of a sign-in that has an event of its own, such as a refreshed token.

    It is ``pending`` if a password was right and the sign-in itself has yet to come.
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
    """A sign-in that lacks what is needed to judge it: an alert. Fields hold what could be read."""

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
    """Read an EventBridge event or a bare CloudTrail record.

    Never raises: an event that cannot be read is returned as Unreadable.
    """
    try:
        return _read(open_record(event))
    except Exception as error:  # noqa: BLE001 - every fault in here is an alert, never silence
        return _unreadable(Record({}, {}, {}, {}), f"reading it failed ({type(error).__name__})")


def read_unfinished(event: object) -> SignIn:
    """Return a pending step as the sign-in that did not come after it."""
    record = open_record(event)
    path = CONSOLE_PATH if record.name.lower() == CHECK_MFA[1] else FACTOR_PATH
    identity = _identity(path, record)
    person, store = _person_and_store(record) if identity == IDENTITY_CENTER else ("", "")
    return SignIn(
        event_id=record.event_id,
        event_name=record.name,
        kind=UNFINISHED,
        what=WHAT_UNFINISHED,
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


def _read(record: Record) -> Reading:
    detail_type = record.envelope.get("detail-type")
    if isinstance(detail_type, str) and detail_type.lower() == ANOMALY_TYPE:
        return _read_sign_in(ANOMALY, record, grant="")
    if not record.detail:
        return _unreadable(record, "the event holds no CloudTrail record")
    path = PATHS_BY_EXACT_NAME.get((record.service, record.name))
    if path is None:  # another spelling, or another event
        name = (record.service.lower().partition(".")[0], record.name.lower())
        path = PATHS.get(name)
        if path is None:
            return _read_other_event(name, record)
    grant = _grant(record) if path.kind in TOKEN_KINDS else ""
    reason = _step_reason(path, record, grant) if path.kind in STEP_KINDS else ""
    if reason:
        return _step(record, reason, pending=path.kind == "factor")
    return _read_sign_in(path, record, grant)


def _read_other_event(name: tuple[str, str], record: Record) -> Reading:
    """Read an event that is on none of the paths; ``name`` is service and event in lower case."""
    service, event_name = name
    if not (service and event_name):
        return _unreadable(record, "the record names no event")
    if reason := STEPS.get(name):
        pending = name == CHECK_MFA and _outcome_under_event_name(record) == "success"
        return _step(record, reason, pending=pending)
    if service in SERVICES and event_name in EVENT_NAMES:
        return _unreadable(record, "the event comes from an unusual service")
    return NotASignIn(record.event_id, record.name, record.account)


def _read_sign_in(path: Path, record: Record, grant: str) -> SignIn | Unreadable:
    outcome = _outcome(path, record)
    if not record.source and path is not ANOMALY:  # AWS does not document an anomaly's form
        return _unreadable(record, "the record names no source address")
    if not outcome:
        return _unreadable(record, "the record tells no outcome")
    identity = _identity(path, record)
    person, store = _person_and_store(record) if identity == IDENTITY_CENTER else ("", "")
    # Not SignIn(...), which copies its keywords into a dict first: reading takes a tenth longer.
    return SignIn.__new__(
        SignIn,
        event_id=record.event_id,
        event_name=record.name or get_text(record.envelope, "detail-type"),
        kind=path.kind,
        what=_what(path, identity, record, grant),
        who=_who(record, identity, person),
        identity=identity,
        account=record.account,
        region=record.region,
        source=record.source,
        outcome=outcome,
        mfa=_mfa(identity, record),
        time=record.time,
        grant=grant if path.kind == "token" else "",
        person=person,
        store=store,
        role=_role(path, identity, record),
        endpoint=_endpoint(path, record),
    )


def _unreadable(record: Record, why: str) -> Unreadable:
    person, _ = _person_and_store(record)
    return Unreadable(
        event_id=record.event_id,
        event_name=record.name,
        account=record.account,
        region=record.region,
        source=record.source,
        time=record.time,
        who=_who(record, _identity(CONSOLE_PATH, record), person),
        why=why,
    )


# Steps


def _step(record: Record, why: str, *, pending: bool) -> Step:
    return Step(record.event_id, record.name, record.account, why, pending)


def _step_reason(path: Path, record: Record, grant: str) -> str:
    """Return why a record on this path is only a step; empty if it is a sign-in."""
    if path.kind in TOKEN_KINDS:
        return _token_step_reason(path, record, grant)
    if path.kind == "factor":
        return "a factor was passed" if _outcome(path, record) == "success" else ""
    if path.kind == "saml-role":
        role_arn = get_text(record.part("requestParameters"), "roleArn")
    else:
        role_arn = _session_issuer(record)
    is_portal = IDENTITY_CENTER_ROLE_ARN.match(role_arn)
    return "Identity Center opened an account" if is_portal else ""


def _token_step_reason(path: Path, record: Record, grant: str) -> str:
    if grant == "refresh":
        return "a token was refreshed"
    if path.kind == "token" and record.detail.get("errorCode") in DEVICE_CODE_PENDING_ERRORS:
        return "a program asked whether its device code is approved"
    return ""


def _grant(record: Record) -> str:
    """Return the kind of grant that a token was issued for; empty if it is not known."""
    for fields in (record.part("requestParameters"), record.extra):
        for key in ("grantType", "grant_type"):
            if grant_type := get_text(fields, key):
                return GRANT_BY_TYPE.get(grant_type.lower(), "")
    return ""


# Outcome


def _outcome(path: Path, record: Record) -> str:
    """Return success or failure; empty if the record does not say.

    A recorded success counts before an error beside it, since it is worse to miss a success.
    """
    recorded = ""
    if path.outcome == OUTCOME_UNDER_EVENT_NAME:
        recorded = _outcome_under_event_name(record)
    elif path.outcome == OUTCOME_IN_SUCCESS_FIELD:
        field = _lower_text(record.extra.get("success"))
        recorded = OUTCOME_BY_SUCCESS_FIELD.get(field, "")
    if recorded == "success":
        return "success"
    has_error = get_text(record.detail, "errorCode") or get_text(record.detail, "errorMessage")
    if recorded == "failure" or has_error:
        return "failure"
    return "success" if path.outcome == OUTCOME_BY_ABSENT_ERROR else ""


def _outcome_under_event_name(record: Record) -> str:
    """Return the value, in lower case, of the key that is the event's own name in any case.

    If several keys are, a success counts before anything else.
    """
    outcome = ""
    for part_name in ("responseElements", "serviceEventDetails"):
        part = record.detail.get(part_name)
        if not isinstance(part, dict):
            continue
        if part.get(record.name) == "Success":  # as AWS writes it: saves a look at every key
            return "success"
        event_name = record.name.lower()
        for key, value in part.items():
            if isinstance(key, str) and isinstance(value, str) and key.lower() == event_name:
                outcome = value.strip().lower()
                if outcome == "success":
                    return outcome
    return outcome


# Identity: what kind of user it is, its names, its role


def _identity(path: Path, record: Record) -> str:
    """Return the kind of user, by the type or by the ARN; root first, since it always alerts."""
    identity = IDENTITY_BY_USER_TYPE.get(get_text(record.user, "type").lower())
    arn = record.user.get("arn")
    if not isinstance(arn, str):
        arn = ""
    if identity == "root" or arn[-5:].lower() == ":root":
        return "root"
    if path.user:
        return path.user
    if identity:
        return identity
    resource = arn.lower().rpartition(":")[2].partition("/")[0]
    return IDENTITY_BY_ARN_RESOURCE.get(resource, "unknown")


def _who(record: Record, identity: str, person: str) -> str:
    """Return the name that people know the user by, or the best that the record has instead."""
    if identity == "root":
        return "root"
    return (
        _name(record.user, "userName")
        or _arn_name(record.user)
        or _name(record.extra, "UserName")
        or person
        or _name(record.user, "principalId")
        or "unknown"
    )


def _name(fields: dict[str, Any], key: str) -> str:
    """Return a recorded name; empty without a letter or digit, since it would show nothing."""
    name = fields.get(key)
    if not isinstance(name, str) or name == HIDDEN_NAME:
        return ""
    # The first character decides almost always, and any() takes longer.
    if name[:1].isalnum() or any(map(str.isalnum, name)):
        return name.strip()
    return ""


def _arn_name(user: dict[str, Any]) -> str:
    """Return the last part of an ARN: a user without its path, or the name of a role's session."""
    arn = user.get("arn")
    return arn.partition("/")[2].rpartition("/")[2] if isinstance(arn, str) else ""


def _person_and_store(record: Record) -> tuple[str, str]:
    """Return the ids of an Identity Center user and of its identity store, each empty if absent."""
    behalf = record.user.get("onBehalfOf")
    if not isinstance(behalf, dict):
        return "", ""
    return get_text(behalf, "userId"), get_text(behalf, "identityStoreArn").rpartition("/")[2]


def _role(path: Path, identity: str, record: Record) -> str:
    """Return the name of the role that is handed out, or of the session's role; empty if none."""
    if path.kind == "saml-role":
        return get_text(record.part("requestParameters"), "roleArn").rpartition("/")[2]
    if path.kind == "role-keys":
        return get_text(record.part("serviceEventDetails"), "role_name")
    if identity != "federated":
        return ""
    return get_text(record.user, "arn").partition(":assumed-role/")[2].partition("/")[0]


def _session_issuer(record: Record) -> str:
    """Return the ARN of the session's role, path included; empty for any other user."""
    session = as_object(record.user.get("sessionContext"))
    return get_text(as_object(session.get("sessionIssuer")), "arn")


# What it was, and through which endpoint


def _what(path: Path, identity: str, record: Record, grant: str) -> str:
    if path.kind == "token" and grant:
        return f"{path.what} ({grant})"
    if path.what:
        return path.what
    if identity == "federated" and IDENTITY_CENTER_ROLE_ARN.match(_session_issuer(record)):
        return WHAT_BY_IDENTITY[IDENTITY_CENTER]
    return WHAT_BY_IDENTITY.get(identity, "Console sign-in")


def _endpoint(path: Path, record: Record) -> str:
    endpoint = get_text(record.detail, "vpcEndpointId")
    if not endpoint and path.kind == "aws-login":
        return get_text(record.extra, AWS_LOGIN_ENDPOINT_KEY)
    return endpoint


# MFA


def _mfa(identity: str, record: Record) -> str:
    """Return yes, no, provider or unrecorded.

    AWS knows it of IAM users, root and Identity Center alone (CloudTrail, sign-in events, MFAUsed).
    """
    if identity in ("root", "iam-user"):
        mfa = MFA_BY_TEXT.get(_lower_text(record.extra.get("MFAUsed")))
        return mfa or _session_mfa(record)
    if identity == IDENTITY_CENTER:
        return _mfa_by_factors(get_text(record.extra, "CredentialType"))
    return "provider" if identity == "federated" else "unrecorded"


def _session_mfa(record: Record) -> str:
    """Return what the session says: aws login records nothing else (AWS Sign-In User Guide)."""
    session = as_object(record.user.get("sessionContext"))
    attributes = as_object(session.get("attributes"))
    return MFA_BY_TEXT.get(_lower_text(attributes.get("mfaAuthenticated")), "unrecorded")


def _mfa_by_factors(credential_type: str) -> str:
    """Return it by the factors that were passed (IAM Identity Center, "CredentialType")."""
    factors = set(credential_type.upper().replace(" ", "").split(","))
    factors.discard("")
    if "EXTERNAL_IDP" in factors:
        return "provider"
    if not factors:
        return "unrecorded"
    return "yes" if len(factors) > 1 or "WEBAUTHN" in factors else "no"


def _lower_text(value: object) -> str:
    """Return a text or a boolean in lower case: AWS writes texts today and may write booleans."""
    return str(value).strip().lower() if isinstance(value, (str, bool)) else ""
