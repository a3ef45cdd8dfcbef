"""Parses an EventBridge event or a bare CloudTrail record into a SignIn or another ParsedEvent.

The event source and the event name decide what it is; their case is ignored. Every identity field
is optional, because Identity Center changed them in July 2025 and may change them again. The user
agent is never used, because the person who signs in chooses it.

Terms: a path is one way to sign in (see sign_in_paths), and its ``kind`` groups paths that are
judged alike. The identity is the kind of user, such as "root" (see SignIn.identity). A factor is a
password, a one-time code or a passkey. A grant is how a program obtained a token. A step is an
event that is not a sign-in by itself. A session use is such an event that a person made with a
session that a sign-in opened: it is judged by its source.

Facts: AWS CloudTrail User Guide, "AWS Management Console sign-in events"; IAM Identity Center User
Guide, "Understanding sign-in events" and "CloudTrail use cases".
"""

import re
from typing import Any, NamedTuple

from signwatch.detection.networks import is_private, name_site
from signwatch.detection.record import Record, as_object, get_string, open_record, parse_time
from signwatch.detection.sign_in_paths import (
    ANOMALY,
    ANOMALY_TYPE,
    CHECK_MFA,
    CHECK_MFA_NAME,
    EVENT_NAMES,
    IDENTITY_CENTER,
    OUTCOME_BY_ABSENT_ERROR,
    OUTCOME_IN_SUCCESS_FIELD,
    OUTCOME_UNDER_EVENT_NAME,
    PATHS,
    PATHS_BY_EXACT_NAME,
    SERVICES,
    SESSION_USE,
    STEPS,
    UNFINISHED,
    SignInPath,
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
WHAT_BY_USED_KIND = {  # of a session use, by the kind of its path
    "token": "Token refreshed",
    "aws-login": "Token refreshed (aws login)",
    "saml-role": "Account opened with Identity Center",
    "console-link": "Console link made with Identity Center",
}
WHAT_UNFINISHED = "Right password, no sign-in after it"
MFA_BY_TEXT = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
OUTCOME_BY_SUCCESS_FIELD = {"true": "success", "false": "failure"}

# Kinds of path: those that issue tokens, and those whose records may be only a Step.
TOKEN_KINDS = frozenset({"token", "aws-login"})
STEP_KINDS = TOKEN_KINDS | {"factor", "saml-role", "console-link"}
CONSOLE_PATH = PATHS["signin", "consolelogin"]
FACTOR_PATH = PATHS["signin", "credentialverification"]
# A regular expression. Identity Center creates its roles under a path that is reserved for AWS.
IDENTITY_CENTER_ROLE_ARN_PATTERN = r"arn:[a-z-]+:iam::\d{12}:role/aws-reserved/sso\.amazonaws\.com/"
AWS_SERVICE_SUFFIXES = (".amazonaws.com", ".amazonaws.com.cn")
# The portal makes a console link with a role session that it opened in the same click.
PORTAL_SESSION_MAX_SECONDS = 120
AWS_LOGIN_ENDPOINT_KEY = "x-amzn-vpce-id"  # in additionalEventData, only for aws login
HIDDEN_NAME = "HIDDEN_DUE_TO_SECURITY_REASONS"  # instead of an unknown user name


class SignIn(NamedTuple):
    """One sign-in. Strings from the record are untrusted; ``source`` may not be an address."""

    event_id: str
    event_name: str
    kind: str  # SignInPath.kind, or "unfinished"
    what: str  # the description in an alert, such as "Console sign-in"
    who: str  # the user's name, or an id if the record has no name
    identity: str  # root, iam-user, federated, identity-center, unknown
    account: str
    region: str
    source: str
    outcome: str  # success, failure, unfinished
    mfa: str  # yes, no, provider (only the identity provider knows), unrecorded
    time: str
    grant: str = ""  # how a token was obtained: "device code", "authorization code", ...
    user_id: str = ""  # only of an Identity Center user
    identity_store_id: str = ""  # of the identity store that has the user's name
    role: str = ""  # the name of the role that is taken or whose session signs in
    vpc_endpoint: str = ""  # the id of the VPC endpoint that it came through
    target_account: str = ""  # the account of the role, or of the root session that is opened
    origin_account: str = ""  # the account of the caller if it is another, or of a switched role

    @property
    def partition(self) -> str:
        """The AWS partition of its Region: "aws-cn" (China), "aws-us-gov" (GovCloud) or "aws"."""
        if self.region.startswith("cn-"):
            return "aws-cn"
        if self.region.startswith("us-gov-"):
            return "aws-us-gov"
        return "aws"

    @property
    def site(self) -> str:
        """The network of one site that it came from (networks.name_site), and the VPC endpoint."""
        return f"{name_site(self.source)}#{self.vpc_endpoint}"


class Step(NamedTuple):
    """An event that is only a part of a sign-in or follows one, such as a refreshed token.

    If it ``is_right_password``, a password or another factor was right, and the sign-in should
    still follow.
    """

    event_id: str
    event_name: str
    account: str
    reason: str
    is_right_password: bool = False


class NotASignIn(NamedTuple):
    """An event that has nothing to do with a sign-in."""

    event_id: str
    event_name: str
    account: str


class Unreadable(NamedTuple):
    """A sign-in that lacks what is needed to judge it. It always causes an alert."""

    event_id: str
    event_name: str
    account: str
    region: str
    source: str
    time: str
    who: str
    reason: str


ParsedEvent = SignIn | Step | NotASignIn | Unreadable  # the result of read


def read(event: object) -> ParsedEvent:
    """Parse an EventBridge event or a bare CloudTrail record.

    Never raises: an event that cannot be parsed is returned as Unreadable.
    """
    try:
        return _read_record(open_record(event))
    except Exception as error:  # noqa: BLE001 - any error in here must cause an alert
        reason = f"reading it failed ({type(error).__name__})"
        empty_record = Record(envelope={}, detail={}, user={}, extra={})
        return _make_unreadable(empty_record, reason)


def read_unfinished(event: object) -> SignIn:
    """Parse the event of a right password, a Step, as a sign-in that was not completed.

    Return a SignIn with the kind and the outcome "unfinished".
    """
    record = open_record(event)
    is_console = record.name.lower() == CHECK_MFA_NAME
    path = CONSOLE_PATH if is_console else FACTOR_PATH
    identity = _read_identity(path, record)
    user_id, identity_store_id = "", ""
    if identity == IDENTITY_CENTER:
        user_id, identity_store_id = _read_identity_center_ids(record)
    return SignIn(
        event_id=record.event_id,
        event_name=record.name,
        kind=UNFINISHED,
        what=WHAT_UNFINISHED,
        who=_read_who(record, identity, user_id),
        identity=identity,
        account=record.account,
        region=record.region,
        source=record.source,
        outcome=UNFINISHED,
        mfa="unrecorded",
        time=record.time,
        user_id=user_id,
        identity_store_id=identity_store_id,
        vpc_endpoint=_read_vpc_endpoint(path, record),
    )


def _read_record(record: Record) -> ParsedEvent:
    """Parse any record: find its path, and return a sign-in on it, a step or another event."""
    detail_type = record.envelope.get("detail-type")
    if isinstance(detail_type, str) and detail_type.lower() == ANOMALY_TYPE:
        return _read_sign_in(ANOMALY, record, grant="")
    if not record.detail:
        return _make_unreadable(record, "the event holds no CloudTrail record")
    path = PATHS_BY_EXACT_NAME.get((record.service, record.name))
    if path is None:  # names in another case, or an event that is not on a path
        name = (record.service.lower().partition(".")[0], record.name.lower())
        path = PATHS.get(name)
        if path is None:
            return _read_other_event(name, record)
    grant = _read_grant(record) if path.kind in TOKEN_KINDS else ""
    step_reason = _find_step_reason(path, record, grant) if path.kind in STEP_KINDS else ""
    if step_reason and _is_session_use(path, record):
        return _read_session_use(path, record)
    if step_reason:
        is_right_factor = path.kind == "factor"  # a wrong factor is no step
        return _make_step(record, step_reason, is_right_password=is_right_factor)
    # ``aws login`` has a grant too, but it shows only whether a token was refreshed: a step.
    return _read_sign_in(path, record, grant if path.kind == "token" else "")


def _read_other_event(name: tuple[str, str], record: Record) -> ParsedEvent:
    """Parse an event that is not in PATHS.

    Return a Step, Unreadable if a path's event comes from an unusual service, else NotASignIn.
    ``name`` is the service and the event in lower case: ("sts", "assumerole").
    """
    service, event_name = name
    if not (service and event_name):
        return _make_unreadable(record, "the record names no event")
    if reason := STEPS.get(name):
        is_right_password = False
        if name == CHECK_MFA:
            is_right_password = _read_outcome_under_event_name(record) == "success"
        return _make_step(record, reason, is_right_password=is_right_password)
    if service in SERVICES and event_name in EVENT_NAMES:
        return _make_unreadable(record, "the event comes from an unusual service")
    return NotASignIn(record.event_id, record.name, record.account)


def _read_sign_in(path: SignInPath, record: Record, grant: str) -> SignIn | Unreadable:
    """Parse a record on ``path``.

    ``grant`` is how Identity Center's token was obtained (SignIn.grant); empty on other paths.
    Return Unreadable if the record lacks its source address or its outcome.
    """
    outcome = _read_outcome(path, record)
    # The fields of an anomaly event are undocumented, so its source may be missing.
    if not record.source and path is not ANOMALY:
        return _make_unreadable(record, "the record names no source address")
    if not outcome:
        return _make_unreadable(record, "the record tells no outcome")
    return _make_sign_in(path, record, grant, outcome)


def _read_session_use(path: SignInPath, record: Record) -> SignIn | Unreadable:
    """Parse a record on ``path`` that _is_session_use. Return Unreadable if it has no source."""
    if not record.source:
        return _make_unreadable(record, "the record names no source address")
    sign_in = _make_sign_in(path, record, grant="", outcome="success")
    return sign_in._replace(kind=SESSION_USE, what=WHAT_BY_USED_KIND[path.kind])


def _make_sign_in(path: SignInPath, record: Record, grant: str, outcome: str) -> SignIn:
    """Return the SignIn of a record on ``path``."""
    identity = _read_identity(path, record)
    user_id, identity_store_id = "", ""
    if identity == IDENTITY_CENTER:
        user_id, identity_store_id = _read_identity_center_ids(record)
    role, target_account = _read_role(path, identity, record)
    # SignIn(...) would first copy the keywords into a dict, which makes read() 10 % slower.
    return SignIn.__new__(
        SignIn,
        event_id=record.event_id,
        event_name=record.name or get_string(record.envelope, "detail-type"),
        kind=path.kind,
        what=_describe(path, identity, record, grant),
        who=_read_who(record, identity, user_id),
        identity=identity,
        account=record.account,
        region=record.region,
        source=record.source,
        outcome=outcome,
        mfa=_read_mfa(identity, record),
        time=record.time,
        grant=grant,
        user_id=user_id,
        identity_store_id=identity_store_id,
        role=role,
        vpc_endpoint=_read_vpc_endpoint(path, record),
        target_account=target_account,
        origin_account=_read_origin_account(path, record),
    )


def _make_unreadable(record: Record, reason: str) -> Unreadable:
    """Return the record as Unreadable, with the fields that can be read."""
    user_id, _ = _read_identity_center_ids(record)
    identity = _read_identity(CONSOLE_PATH, record)  # this path leaves it to the record
    return Unreadable(
        event_id=record.event_id,
        event_name=record.name,
        account=record.account,
        region=record.region,
        source=record.source,
        time=record.time,
        who=_read_who(record, identity, user_id),
        reason=reason,
    )


# Steps


def _make_step(record: Record, reason: str, *, is_right_password: bool) -> Step:
    """Return the record as a Step; ``reason`` says why it is not a sign-in."""
    return Step(record.event_id, record.name, record.account, reason, is_right_password)


def _find_step_reason(path: SignInPath, record: Record, grant: str) -> str:
    """Return why a record on this path is only a step; empty if it is a sign-in.

    Identity Center opens an account with a role of its own. That is a step, because the portal
    sign-in before it has a record too.
    """
    if path.kind in TOKEN_KINDS:
        return _find_token_step_reason(path, record, grant)
    if path.kind == "factor":
        is_passed = _read_outcome(path, record) == "success"
        return "a factor was passed" if is_passed else ""
    role_arn = _read_session_role_arn(record)  # of a console link
    if path.kind == "saml-role":
        role_arn = get_string(record.get_object("requestParameters"), "roleArn")
    is_by_identity_center = re.match(IDENTITY_CENTER_ROLE_ARN_PATTERN, role_arn)
    return "Identity Center opened an account" if is_by_identity_center else ""


def _find_token_step_reason(path: SignInPath, record: Record, grant: str) -> str:
    """Return why a token event is only a step; empty if a sign-in obtained the token."""
    if grant == "refresh":
        return "a token was refreshed"
    if path.kind == "token" and record.detail.get("errorCode") in DEVICE_CODE_PENDING_ERRORS:
        return "a program asked whether its device code is approved"
    return ""


def _read_grant(record: Record) -> str:
    """Return how a token was obtained, such as "device code"; empty if that is not known."""
    for fields in (record.get_object("requestParameters"), record.extra):
        for key in ("grantType", "grant_type"):
            if grant_type := get_string(fields, key):
                return GRANT_BY_TYPE.get(grant_type.lower(), "")
    return ""


def _is_session_use(path: SignInPath, record: Record) -> bool:
    """Return whether a step is a session use: one that a person made, with success.

    The backend of Identity Center takes a role by SAML and makes a console link when somebody opens
    an account in the portal, from an address of AWS. Nothing in a record tells such an address from
    a person's. Certainly a person's is only a call through a VPC endpoint or from a private
    address, and a console link made with an older session.
    """
    if path.kind not in WHAT_BY_USED_KIND or _read_outcome(path, record) == "failure":
        return False
    if _is_aws_source(record.source):
        return False
    if path.kind in TOKEN_KINDS or _read_vpc_endpoint(path, record) or is_private(record.source):
        return True
    return _has_older_session(record)


def _is_aws_source(source: str) -> bool:
    """Return whether a source is AWS's own: the name of a service, or "AWS Internal"."""
    name = source.lower()
    if "," in name:  # a list, which may hold a person's address too
        return False
    return name.startswith("aws internal") or name.endswith(AWS_SERVICE_SUFFIXES)


def _has_older_session(record: Record) -> bool:
    """Return whether the role session was opened PORTAL_SESSION_MAX_SECONDS before or earlier.

    AWS STS sets its time, so nobody can forge it. Without a time, return False.
    """
    session = as_object(record.user.get("sessionContext"))
    created_at = parse_time(get_string(as_object(session.get("attributes")), "creationDate"))
    time = parse_time(record.time)
    if created_at is None or time is None:
        return False
    return (time - created_at).total_seconds() >= PORTAL_SESSION_MAX_SECONDS


# Outcome


def _read_outcome(path: SignInPath, record: Record) -> str:
    """Return "success" or "failure"; empty if the record does not say.

    A record with both a success and an error counts as a success, because a missed success is
    worse than a false alert.
    """
    recorded = ""
    if path.outcome_location == OUTCOME_UNDER_EVENT_NAME:
        recorded = _read_outcome_under_event_name(record)
    elif path.outcome_location == OUTCOME_IN_SUCCESS_FIELD:
        field = _read_lower_case(record.extra.get("success"))
        recorded = OUTCOME_BY_SUCCESS_FIELD.get(field, "")
    if recorded == "success":
        return "success"
    has_error = get_string(record.detail, "errorCode") or get_string(record.detail, "errorMessage")
    if recorded == "failure" or has_error:
        return "failure"
    return "success" if path.outcome_location == OUTCOME_BY_ABSENT_ERROR else ""


def _read_outcome_under_event_name(record: Record) -> str:
    """Return the value, in lower case, of the field that has the event's own name; else empty.

    An example is ``"responseElements": {"ConsoleLogin": "Success"}``. The case of the name is
    ignored. If several fields have it, a success wins.
    """
    outcome = ""
    for section_name in ("responseElements", "serviceEventDetails"):
        section = record.detail.get(section_name)
        if not isinstance(section, dict):
            continue
        if section.get(record.name) == "Success":  # AWS's usual form: no need to check every key
            return "success"
        event_name = record.name.lower()
        for key, value in section.items():
            if isinstance(key, str) and isinstance(value, str) and key.lower() == event_name:
                outcome = value.strip().lower()
                if outcome == "success":
                    return outcome
    return outcome


# Identity: the kind of user, its name, its ids, its role


def _read_identity(path: SignInPath, record: Record) -> str:
    """Return the kind of user (SignIn.identity): the path's own, or what userIdentity says.

    userIdentity has a type and an ARN. If either says root, the user is root on any path.
    """
    identity = IDENTITY_BY_USER_TYPE.get(get_string(record.user, "type").lower())
    arn = record.user.get("arn")
    if not isinstance(arn, str):
        arn = ""
    if identity == "root" or arn[-5:].lower() == ":root":
        return "root"  # before all else, so that an alert about root is never missed
    if path.user:
        return path.user
    if identity:
        return identity
    resource = arn.lower().rpartition(":")[2]  # "user/anaya"
    resource_type = resource.partition("/")[0]
    return IDENTITY_BY_ARN_RESOURCE.get(resource_type, "unknown")


def _read_who(record: Record, identity: str, user_id: str) -> str:
    """Return the user's name; if the record has none, an id; else "unknown"."""
    if identity == "root":
        return "root"
    return (
        _read_name(record.user, "userName")
        or _read_arn_name(record.user)
        or _read_name(record.extra, "UserName")
        or user_id
        or _read_name(record.user, "principalId")
        or "unknown"
    )


def _read_name(fields: dict[str, Any], key: str) -> str:
    """Return the name at ``key``; empty if it is hidden or has no letter or digit to show."""
    name = fields.get(key)
    if not isinstance(name, str) or name == HIDDEN_NAME:
        return ""
    # Almost always the first character is enough, and checking it is faster than any().
    if name[:1].isalnum() or any(map(str.isalnum, name)):
        return name.strip()
    return ""


def _read_arn_name(user: dict[str, Any]) -> str:
    """Return the last part of the ARN: the user's name without its path, or a session's name.

    For ``"arn:aws:iam::111122223333:user/team/anaya"`` it is "anaya"; without a slash, empty.
    """
    arn = user.get("arn")
    if not isinstance(arn, str) or "/" not in arn:
        return ""
    return arn.rpartition("/")[2]


def _read_identity_center_ids(record: Record) -> tuple[str, str]:
    """Return the user id and the id of its identity store (user directory); empty if missing."""
    user = record.user.get("onBehalfOf")
    if not isinstance(user, dict):
        return "", ""
    store_arn = get_string(user, "identityStoreArn")  # "arn:...:identitystore/d-1234567890"
    return get_string(user, "userId"), store_arn.rpartition("/")[2]


def _read_role(path: SignInPath, identity: str, record: Record) -> tuple[str, str]:
    """Return the role that is taken or whose session signs in, and its account; empty if none.

    For AssumeRoot, return no role and the account whose root session is opened.
    """
    if path.kind == "role-keys":
        details = record.get_object("serviceEventDetails")
        return get_string(details, "role_name"), get_string(details, "account_id")
    if path.kind == "assume-root":
        target = get_string(record.get_object("requestParameters"), "targetPrincipal")
        return "", _read_arn_account(target) or target  # an ARN or an account id
    if path.kind == "saml-role":
        role_arn = get_string(record.get_object("requestParameters"), "roleArn")
        return role_arn.rpartition("/")[2], _read_arn_account(role_arn)
    if identity != "federated":
        return "", ""
    session_arn = get_string(record.user, "arn")  # "arn:...:assumed-role/role/session"
    role = session_arn.partition(":assumed-role/")[2].partition("/")[0]
    return role, _read_arn_account(session_arn) if role else ""


def _read_origin_account(path: SignInPath, record: Record) -> str:
    """Return the account that the caller came from; empty if it is that of the record.

    A switched role names it in SwitchFrom (IAM User Guide, "Switch roles": the ARN of the user or
    role before the switch), since userIdentity is the session of the role already.
    """
    if path.kind == "switch-role":
        return _read_arn_account(get_string(record.extra, "SwitchFrom"))
    caller_account = record.user.get("accountId")
    if caller_account == record.account or not isinstance(caller_account, str):
        return ""
    return caller_account


def _read_arn_account(arn: str) -> str:
    """Return the account in an ARN; empty if ``arn`` is none or has no account."""
    parts = arn.split(":", 5)
    return parts[4] if len(parts) == 6 else ""  # noqa: PLR2004 - the parts of an ARN


def _read_session_role_arn(record: Record) -> str:
    """Return the ARN, with its path, of the role whose session this is; empty for other users."""
    session = as_object(record.user.get("sessionContext"))
    return get_string(as_object(session.get("sessionIssuer")), "arn")


# Description and VPC endpoint


def _describe(path: SignInPath, identity: str, record: Record, grant: str) -> str:
    """Return the description in an alert, such as "Console sign-in".

    ``grant`` is that of _read_sign_in: "Command line sign-in (device code)".
    """
    if grant:
        return f"{path.what} ({grant})"
    if path.what:
        return path.what
    if identity == "federated":
        role_arn = _read_session_role_arn(record)
        if re.match(IDENTITY_CENTER_ROLE_ARN_PATTERN, role_arn):
            return WHAT_BY_IDENTITY[IDENTITY_CENTER]
    return WHAT_BY_IDENTITY.get(identity, "Console sign-in")


def _read_vpc_endpoint(path: SignInPath, record: Record) -> str:
    """Return the id of the VPC endpoint that the sign-in came through; empty if it did not."""
    endpoint = get_string(record.detail, "vpcEndpointId")
    if not endpoint and path.kind == "aws-login":
        return get_string(record.extra, AWS_LOGIN_ENDPOINT_KEY)
    return endpoint


# MFA


def _read_mfa(identity: str, record: Record) -> str:
    """Return whether MFA (a second factor) was used: "yes", "no", "provider" or "unrecorded".

    "provider" means that only the user's identity provider knows. AWS records MFA only for IAM
    users, root and Identity Center (CloudTrail, sign-in events, MFAUsed).
    """
    if identity in ("root", "iam-user"):
        mfa = MFA_BY_TEXT.get(_read_lower_case(record.extra.get("MFAUsed")))
        return mfa or _read_session_mfa(record)
    if identity == IDENTITY_CENTER:
        return _derive_mfa(get_string(record.extra, "CredentialType"))
    return "provider" if identity == "federated" else "unrecorded"


def _read_session_mfa(record: Record) -> str:
    """Return whether the session used MFA: "yes", "no" or "unrecorded".

    Records of the ``aws login`` command say so only in sessionContext (AWS Sign-In User Guide).
    """
    session = as_object(record.user.get("sessionContext"))
    attributes = as_object(session.get("attributes"))
    return MFA_BY_TEXT.get(_read_lower_case(attributes.get("mfaAuthenticated")), "unrecorded")


def _derive_mfa(credential_type: str) -> str:
    """Return whether factors such as "PASSWORD,TOTP" are MFA, in the words of _read_mfa.

    A passkey (WEBAUTHN) alone is MFA. Source: IAM Identity Center User Guide, "CredentialType".
    """
    factors = set(credential_type.upper().replace(" ", "").split(","))
    factors.discard("")
    if "EXTERNAL_IDP" in factors:
        return "provider"
    if not factors:
        return "unrecorded"
    is_mfa = len(factors) > 1 or "WEBAUTHN" in factors
    return "yes" if is_mfa else "no"


def _read_lower_case(value: object) -> str:
    """Return a string or boolean as lower-case text; empty for anything else.

    AWS writes strings now, but may write booleans.
    """
    return str(value).strip().lower() if isinstance(value, (str, bool)) else ""
