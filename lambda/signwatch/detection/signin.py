"""Parses an EventBridge event or a bare CloudTrail record into a SignIn or another ParsedEvent.

The event source and the event name decide what it is; their case is ignored. Every identity field
is optional, because Identity Center changed them in July 2025 and may change them again. The user
agent is never used, because the person who signs in chooses it.

Terms: a path is one way to sign in (see sign_in_paths), and its ``kind`` groups paths that are
judged alike. The identity is the type of user, such as "root" (see SignIn.identity). A factor is a
password, a one-time code or a passkey. A grant is how a program obtained a token. A step is an
event that is not a sign-in by itself. A right password is a step: it records that a password or
another factor was right, before the sign-in is complete. A session use is a step that a person made
with a session that a sign-in opened: it is judged by its source.

Facts: AWS CloudTrail User Guide, "AWS Management Console sign-in events"; IAM Identity Center User
Guide, "Understanding sign-in events" and "CloudTrail use cases"; the sources in sign_in_paths.
"""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from signwatch.detection.networks import name_site
from signwatch.detection.record import Record, as_object, get_string, open_record, parse_time
from signwatch.detection.sign_in_paths import (
    ANOMALY,
    ANOMALY_TYPE,
    APPLICATION,
    AWS_LOGIN_KIND,
    CHECK_MFA,
    CHECK_MFA_NAME,
    EVENT_NAMES,
    IDENTITY_CENTER,
    OUTCOME_BY_ABSENT_ERROR,
    OUTCOME_UNDER_EVENT_NAME,
    PATHS,
    PATHS_BY_EXACT_NAME,
    SERVICES,
    SESSION_USE,
    SHARED_KINDS,
    STEPS,
    TRANSFER_WEB_APP,
    UNFINISHED,
    WORKSPACES,
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
TOKEN_KINDS = frozenset({"token", AWS_LOGIN_KIND})
STEP_KINDS = TOKEN_KINDS | {"factor", "saml-role", "console-link"}
AMBIGUOUS_KINDS = STEP_KINDS | SHARED_KINDS  # the names of their events do not decide all
CONSOLE_PATH = PATHS["signin", "consolelogin"]
FACTOR_PATH = PATHS["signin", "credentialverification"]
PROVIDER_ROLE_KINDS = ("saml-role", "web-identity")  # the request names the role that is taken
# The factors of CredentialType that AWS documents. Some of them show that the person has a device.
POSSESSION_FACTORS = frozenset({"TOTP", "RESYNC_TOTP", "WEBAUTHN"})
KNOWN_FACTORS = POSSESSION_FACTORS | {"PASSWORD", "EMAIL_OTP"}
# Regular expressions. They are compiled when they are first needed, which few sign-ins do.
# The URLs (LoginTo) of services other than the portal. The name of the group is a key of
# PATH_BY_SERVICE. Userinfo, other ports and other hosts do not match: they may be anybody's.
OTHER_SERVICE_URL_PATTERN = (
    r"(?ai)https://(?:"
    r"(?P<workspaces>clients\.amazonaws\.com(?::443)?/workspaces(?:/[\w-]+)*"
    r"|skylight\.local(?::443)?(?:/[\w-]+)*)"
    r"|(?P<transfer>[\w-]+(?:\.vpce-\w+)?\.transfer-webapp(?:-fips)?\.[\w-]+"
    r"\.on\.(?:aws|amazonwebservices\.com\.cn|amazonwebservices\.eu)(?::443)?(?:/[\w-]+)*)"
    r")/?(?:[?#].*)?"
)
PATH_BY_SERVICE = {"workspaces": WORKSPACES, "transfer": TRANSFER_WEB_APP}
PORTAL_URL_ENDS = (".awsapps.com/start/", ".awsapps.com/start")  # the usual ones
# The OAuth client ids of the AWS CLI (AWS Sign-In API Reference, AuthorizeOAuth2Access, clientId).
# Their form in the other partitions is inferred.
CLI_CLIENTS = frozenset(
    f"arn:{partition}:signin:::devtools/{client}"
    for partition in ("aws", "aws-cn", "aws-us-gov")
    for client in ("same-device", "cross-device")
)
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
AWS_WEB_DOMAINS = (".aws.amazon.com", ".amazonaws.com", ".amazonaws.cn", ".amazonaws-us-gov.com")
CLIENT_KEYS = ("redirect_uri", "redirectUri", "client_id", "clientId")  # in this order
URL_HOST_PATTERN = r"[A-Za-z][\w+.-]*://(?:[^/?#\\]*@)?(\[[^\]]*\]|[^/?#\\:@]+)"
ACCOUNT_ID_LENGTH = 12  # digits
# Identity Center creates its roles under a path that is reserved for AWS.
IDENTITY_CENTER_ROLE_START = "role/aws-reserved/sso.amazonaws.com/"
AWS_SERVICE_SUFFIXES = (".amazonaws.com", ".amazonaws.com.cn")
# The portal makes a console link with a role session that it opened in the same click.
PORTAL_SESSION_MAX_SECONDS = 120
ENDPOINT_KEY = "x-amzn-vpce-id"  # in additionalEventData; in lower case
UNREADABLE_ENDPOINT = "an unreadable VPC endpoint"
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
    client: str = ""  # the host of the application that was authorised (OAuth), else its id

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
        """Where it came from: the network of a home or an office, and the VPC endpoint."""
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
    user_id: str = ""  # only of an Identity Center user


ParsedEvent = SignIn | Step | NotASignIn | Unreadable  # the result of read
IsAwsAddress = Callable[[str], bool]


def know_no_aws_address(_source: str) -> bool:
    """Return False: without a list of AWS's addresses, any address counts as a person's."""
    return False


def read(event: object, is_aws_address: IsAwsAddress = know_no_aws_address) -> ParsedEvent:
    """Parse an EventBridge event or a bare CloudTrail record.

    ``is_aws_address`` says whether a source is one of AWS's own addresses. It is asked only about
    events that may come from the backend of Identity Center or from a person.
    Never raises: an event that cannot be parsed is returned as Unreadable.
    """
    try:
        return _read_record(open_record(event), is_aws_address)
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
        vpc_endpoint=_read_vpc_endpoint(record),
    )


def _read_record(record: Record, is_aws_address: IsAwsAddress) -> ParsedEvent:
    """Parse any record: find the path that it is on, and return what it is there."""
    detail_type = record.envelope.get("detail-type")
    if isinstance(detail_type, str) and detail_type.lower() == ANOMALY_TYPE:
        return _read_sign_in(ANOMALY, record, grant="")
    if not record.detail:
        return _make_unreadable(record, "the event holds no CloudTrail record")
    path = PATHS_BY_EXACT_NAME.get((record.service, record.name))
    if path is None:  # names in another case, or an event that is not on a path
        # "signin" of "signin.amazonaws.com"
        service = record.service.strip().lower().partition(".")[0]
        event_name = record.name.strip().lower()
        path = PATHS.get((service, event_name))
        if path is None:
            return _read_other_event(service, event_name, record)
    if path.kind not in AMBIGUOUS_KINDS:  # as most sign-ins, so this comes first
        return _read_sign_in(path, record, grant="")
    return _read_ambiguous_event(path, record, is_aws_address)


def _read_ambiguous_event(
    path: SignInPath, record: Record, is_aws_address: IsAwsAddress
) -> ParsedEvent:
    """Parse a record whose names leave open whether it is a step, or on which path it is.

    Its content decides. ``path`` is the one that its names stand for.
    """
    grant = _read_grant(record) if path.kind in TOKEN_KINDS else ""
    step_reason = _find_step_reason(path, record, grant) if path.kind in STEP_KINDS else ""
    if path.kind in SHARED_KINDS:
        path = _find_path_by_content(path, record)
    # An application's refreshed token is no step: a person did not run a command to get it.
    if step_reason and path is not APPLICATION:
        if _is_session_use(path, record, is_aws_address):
            return _read_session_use(path, record)
        return _make_step(record, step_reason, is_right_password=path is FACTOR_PATH)
    if path.kind == AWS_LOGIN_KIND:
        grant = ""  # it says only whether a token was refreshed, and that is a step
    return _read_sign_in(path, record, grant)


def _find_path_by_content(path: SignInPath, record: Record) -> SignInPath:
    """Return the path of an event whose names several paths share; ``path`` if no other is certain.

    Only a URL of another service, or a client other than the AWS CLI, makes one certain.
    """
    if path.kind == AWS_LOGIN_KIND:
        return APPLICATION if _is_of_application(record) else path
    login_to = record.extra.get("LoginTo")
    if not isinstance(login_to, str) or login_to.endswith(PORTAL_URL_ENDS):
        return path
    match = re.fullmatch(OTHER_SERVICE_URL_PATTERN, login_to)
    return PATH_BY_SERVICE[str(match.lastgroup)] if match else path  # the group that has matched


def _read_other_event(service: str, event_name: str, record: Record) -> ParsedEvent:
    """Parse an event that is not in PATHS.

    Return a Step, Unreadable if a path's event comes from an unusual service, else NotASignIn.
    ``service`` and ``event_name`` are in lower case: "sts", "assumerole".
    """
    name = (service, event_name)
    if not (service and event_name):
        return _make_unreadable(record, _describe_missing_name(service, event_name))
    if reason := STEPS.get(name):
        is_right_password = False
        if name == CHECK_MFA:
            is_right_password = _read_outcome_under_event_name(record) == "success"
        return _make_step(record, reason, is_right_password=is_right_password)
    if service in SERVICES and event_name in EVENT_NAMES:
        return _make_unreadable(record, "the event comes from an unusual service")
    return NotASignIn(record.event_id, record.name, record.account)


def _describe_missing_name(service: str, event_name: str) -> str:
    """Return which of the two names a record lacks."""
    if service:
        return "the record names no event"
    if event_name:
        return "the record names no service"
    return "the record names no service or event"


def _read_sign_in(path: SignInPath, record: Record, grant: str) -> SignIn | Unreadable:
    """Parse a record on ``path``.

    ``grant`` is how a token of Identity Center or an application was obtained (SignIn.grant); empty
    on other paths. Return Unreadable if the record lacks its source address or its outcome.
    """
    outcome = _read_outcome(path, record)
    # The fields of an anomaly event are undocumented, so its source may be missing.
    if not record.source and path is not ANOMALY:
        return _make_unreadable(record, "the record names no source address", path)
    if not outcome:
        return _make_unreadable(record, "the record tells no outcome", path)
    return _make_sign_in(path, record, grant, outcome)


def _read_session_use(path: SignInPath, record: Record) -> SignIn | Unreadable:
    """Parse a record on ``path`` that is a session use. Return Unreadable if it has no source."""
    if not record.source:
        return _make_unreadable(record, "the record names no source address", path)
    return _make_sign_in(path, record, grant="", outcome="success", is_session_use=True)


def _make_sign_in(
    path: SignInPath, record: Record, grant: str, outcome: str, *, is_session_use: bool = False
) -> SignIn:
    """Return the SignIn of a record on ``path``."""
    if is_session_use:
        kind, what = SESSION_USE, WHAT_BY_USED_KIND[path.kind]
    else:
        kind, what = path.kind, ""
    identity = _read_identity(path, record)
    user_id, identity_store_id = "", ""
    if identity == IDENTITY_CENTER:
        user_id, identity_store_id = _read_identity_center_ids(record)
    role, target_account = _read_role(path, identity, record)
    # In the order of SignIn's fields: SignIn(...) would make read slower.
    values = (
        record.event_id,
        record.name or get_string(record.envelope, "detail-type"),
        kind,
        what or _describe(path, identity, record, grant),
        _read_who(record, identity, user_id),
        identity,
        record.account,
        record.region,
        record.source,
        outcome,
        _read_mfa(path, identity, record),
        record.time,
        grant,
        user_id,
        identity_store_id,
        role,
        _read_vpc_endpoint(record),
        target_account,
        _read_origin_account(path, record),
        _read_client(record) if path is APPLICATION else "",
    )
    return tuple.__new__(SignIn, values)


def _make_unreadable(record: Record, reason: str, path: SignInPath = CONSOLE_PATH) -> Unreadable:
    """Return the record as Unreadable, with the fields that can be read.

    If its path is not known, it is read like one on CONSOLE_PATH, which any kind of user can take.
    """
    user_id, _ = _read_identity_center_ids(record)
    identity = _read_identity(path, record)
    return Unreadable(
        event_id=record.event_id,
        event_name=record.name,
        account=record.account,
        region=record.region,
        source=record.source,
        time=record.time,
        who=_read_who(record, identity, user_id),
        reason=reason,
        user_id=user_id,
    )


# Steps


def _make_step(record: Record, reason: str, *, is_right_password: bool) -> Step:
    """Return the record as a Step; ``reason`` says why it is not a sign-in.

    ``is_right_password``: it records a right password, and the sign-in should still follow.
    """
    return Step(record.event_id, record.name, record.account, reason, is_right_password)


def _find_step_reason(path: SignInPath, record: Record, grant: str) -> str:
    """Return why a record on a path of STEP_KINDS is only a step; empty if it is a sign-in.

    Identity Center opens an account with a role of its own. That is a step, because the portal
    sign-in before it has a record too.
    """
    if path.kind in TOKEN_KINDS:
        return _find_token_step_reason(path, record, grant)
    if path.kind == "factor":
        is_passed = _read_outcome(path, record) == "success"
        return "a factor was passed" if is_passed else ""
    if path.kind == "saml-role":
        role_arn = get_string(record.get_object("requestParameters"), "roleArn")
    else:  # a console link
        role_arn = _read_session_role_arn(record)
    return "Identity Center opened an account" if _is_identity_center_role(role_arn) else ""


def _find_token_step_reason(path: SignInPath, record: Record, grant: str) -> str:
    """Return why a token event is only a step; empty if a sign-in obtained the token."""
    if grant == "refresh":
        return "a token was refreshed"
    if path.kind == "token" and record.detail.get("errorCode") in DEVICE_CODE_PENDING_ERRORS:
        return "a program asked whether its device code is approved"
    return ""


def _read_grant(record: Record) -> str:
    """Return how a token was obtained: a value of GRANT_BY_TYPE; empty if that is not known."""
    for fields in (record.get_object("requestParameters"), record.extra):
        grant_type = get_string(fields, "grantType") or get_string(fields, "grant_type")
        if grant_type:
            return GRANT_BY_TYPE.get(grant_type.lower(), "")
    return ""


def _is_session_use(path: SignInPath, record: Record, is_aws_address: IsAwsAddress) -> bool:
    """Return whether a step is a session use: one that a person made, with success.

    The backend of Identity Center takes a role by SAML and makes a console link when somebody opens
    an account in the portal. Both come from an address of AWS, so from any other a person made
    them. From one of AWS too, if it came through a VPC endpoint, or (a console link) with a session
    that is too old for the backend's.
    """
    if path.kind not in WHAT_BY_USED_KIND or _read_outcome(path, record) == "failure":
        return False
    if _is_aws_source(record.source):
        return False
    if path.kind in TOKEN_KINDS or _read_vpc_endpoint(record) or _has_older_session(record):
        return True
    return not is_aws_address(record.source)


def _is_aws_source(source: str) -> bool:
    """Return whether a source is AWS's own: the name of a service, or "AWS Internal"."""
    name = source.lower()
    if "," in name:  # a list, which may hold a person's address too
        return False
    return name.startswith("aws internal") or name.endswith(AWS_SERVICE_SUFFIXES)


def _has_older_session(record: Record) -> bool:
    """Return whether the role session was at least PORTAL_SESSION_MAX_SECONDS old at the event.

    AWS STS records when it was opened, so nobody can forge that. Without a time, return False.
    """
    session = as_object(record.user.get("sessionContext"))
    creation_date = get_string(as_object(session.get("attributes")), "creationDate")
    if not creation_date:
        return False
    opened_at, event_time = parse_time(creation_date), parse_time(record.time)
    if opened_at is None or event_time is None:
        return False
    return (event_time - opened_at).total_seconds() >= PORTAL_SESSION_MAX_SECONDS


# OAuth clients


def _is_of_application(record: Record) -> bool:
    """Return whether the OAuth client in a record is another program than the AWS CLI.

    Several fields may name it; one that does not name the CLI is enough. The CLI never names the
    resource that a token is for, and is called back at this computer or at AWS alone.
    """
    for fields in filter(None, (record.get_object("requestParameters"), record.extra)):
        get = fields.get
        client, url = get("client_id") or get("clientId"), get("redirect_uri") or get("redirectUri")
        if get("resource") or _is_other_client(client) or (url and _is_other_host(url)):
            return True
    return False


def _is_other_client(client: object) -> bool:
    """Return whether there is a client, and it is not the AWS CLI. One that is no text is not."""
    if isinstance(client, str):
        return client != "" and client not in CLI_CLIENTS
    return bool(client)


def _is_other_host(url: object) -> bool:
    """Return whether there is a URL, and it leads neither to this computer nor to AWS."""
    if not isinstance(url, str) or not url:
        return bool(url)
    match = re.match(URL_HOST_PATTERN, url)
    host = match[1].lower() if match else url
    return host not in LOOPBACK_HOSTS and not f".{host}".endswith(AWS_WEB_DOMAINS)


def _read_client(record: Record) -> str:
    """Return the host of the URL that an application is called back at, such as "claude.ai".

    A token's record has no such URL: then return the last part of the client id. Empty if unknown.
    """
    fields = {**record.extra, **record.get_object("requestParameters")}
    values = map(fields.get, CLIENT_KEYS)
    client = next(filter(None, values), "")  # the first that is not empty: a URL or a client id
    if not isinstance(client, str):
        return ""
    if "://" not in client:
        return client.rpartition("/")[2]
    match = re.match(URL_HOST_PATTERN, client)
    return match[1] if match else ""


# Outcome


def _read_outcome(path: SignInPath, record: Record) -> str:
    """Return "success" or "failure"; empty if the record does not say.

    A record with both a success and an error counts as a success, because a missed success is
    worse than a false alert.
    """
    if path.outcome_location == OUTCOME_UNDER_EVENT_NAME:
        recorded = _read_outcome_under_event_name(record)
    else:
        field = record.extra.get("success")
        recorded = OUTCOME_BY_SUCCESS_FIELD.get(_read_lower_case(field), "")
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
            if isinstance(value, str) and key.lower() == event_name:
                outcome = value.strip().lower()
                if outcome == "success":
                    return outcome
    return outcome


# Identity: the kind of user, its name, its ids, its role


def _read_identity(path: SignInPath, record: Record) -> str:
    """Return the kind of user (SignIn.identity): the path's own, or what userIdentity says.

    The path decides if only one kind of user can take it. On any other path it is root if either
    the type or the ARN says so.
    """
    if path.user:
        return path.user
    identity = IDENTITY_BY_USER_TYPE.get(get_string(record.user, "type").lower())
    arn = record.user.get("arn")
    if not isinstance(arn, str):
        arn = ""
    if arn[-5:].lower() == ":root":
        return "root"  # before all else, so that an alert about root is never missed
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
        or _read_principal_name(record.user)
        or "unknown"
    )


def _read_name(fields: dict[str, Any], key: str) -> str:
    """Return the name at ``key``; empty if it is hidden, invisible or ASCII punctuation."""
    name = fields.get(key)
    if not isinstance(name, str) or name == HIDDEN_NAME:
        return ""
    # Almost always the first character is enough, and checking it is faster than any().
    if name[:1].isalnum() or any(map(str.isalnum, name)):
        return name.strip()
    if name.isascii():
        return ""
    from signwatch.gsm7 import is_symbol  # few names are so odd

    return name.strip() if is_symbol(name) else ""


def _read_arn_name(user: dict[str, Any]) -> str:
    """Return the last part of the ARN: the user's name without its path, or a session's name.

    For ``"arn:aws:iam::111122223333:user/team/anaya"`` it is "anaya"; without a slash, empty.
    """
    arn = user.get("arn")
    if not isinstance(arn, str) or "/" not in arn:
        return ""
    name = arn.rpartition("/")[2]
    return "" if name == HIDDEN_NAME else name


def _read_principal_name(user: dict[str, Any]) -> str:
    """Return the name of a session in principalId, else the whole of it; empty for an account id.

    ``"AROAEXAMPLE:anaya" -> "anaya"`` (a role session), ``"111122223333:anaya" -> "anaya"`` (a
    federated user), ``"AIDAEXAMPLE" -> "AIDAEXAMPLE"`` (an IAM user).
    """
    name = _read_name(user, "principalId")
    first, _, session = name.partition(":")
    if _is_account_id(first) or first.startswith("AROA"):
        name = session or first
    return "" if _is_account_id(name) else name


def _is_account_id(text: str) -> bool:
    """Return whether a text looks like the id of an AWS account: 12 digits."""
    return len(text) == ACCOUNT_ID_LENGTH and text.isdigit()


def _read_identity_center_ids(record: Record) -> tuple[str, str]:
    """Return the user id and the id of its identity store (user directory); "" for each missing."""
    user = record.user.get("onBehalfOf")
    if not isinstance(user, dict):
        return "", ""
    store_arn = get_string(user, "identityStoreArn")  # "arn:...:identitystore/d-1234567890"
    return get_string(user, "userId"), store_arn.rpartition("/")[2]


def _read_role(path: SignInPath, identity: str, record: Record) -> tuple[str, str]:
    """Return the name of the role that is taken, or whose session signs in, and its account id.

    Both are empty if there is none. For AssumeRoot, return no role, and the account whose root
    session is opened.
    """
    if path.kind == "role-keys":
        return _read_role_of_keys(record)
    if path.kind == "assume-root":
        target = get_string(record.get_object("requestParameters"), "targetPrincipal")
        return "", _read_arn_account(target) or target  # an ARN or an account id
    if identity != "federated":
        return "", ""
    if path.kind in PROVIDER_ROLE_KINDS:
        role_arn = get_string(record.get_object("requestParameters"), "roleArn")
        return role_arn.rpartition("/")[2], _read_arn_account(role_arn)
    session_arn = get_string(record.user, "arn")  # "arn:...:assumed-role/role/session"
    role = session_arn.partition(":assumed-role/")[2].partition("/")[0]
    return role, _read_arn_account(session_arn) if role else ""


def _read_role_of_keys(record: Record) -> tuple[str, str]:
    """Return the name and the account id of the role whose keys Identity Center gave out.

    AWS writes "role_name" and "account_id" into serviceEventDetails. The parameters of the API call
    are "roleName" and "accountId" (Portal API Reference, GetRoleCredentials). Any spelling is read
    in both places, and an account id that is a number.
    """
    details = record.get_object("serviceEventDetails")
    role, account = get_string(details, "role_name"), get_string(details, "account_id")
    if role and account:  # as in AWS's usual form
        return role, account
    for section in (details, record.get_object("requestParameters")):
        fields = {key.replace("_", "").lower(): value for key, value in section.items()}
        if type(fields.get("accountid")) is int:  # without its leading zeros; a bool is no id
            fields["accountid"] = str(fields["accountid"]).zfill(ACCOUNT_ID_LENGTH)
        role = role or get_string(fields, "rolename")
        account = account or get_string(fields, "accountid")
    return role, account


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
    """Return the account in an ARN; empty if ``arn`` is not an ARN or has no account.

    ``"arn:aws:iam::111122223333:user/anaya" -> "111122223333"``.
    """
    parts = arn.split(":", 5)
    return parts[4] if len(parts) == 6 else ""  # noqa: PLR2004 - the parts of an ARN


def _is_identity_center_role(arn: str) -> bool:
    """Return whether ``arn`` is that of a role that Identity Center made, with its path."""
    parts = arn.split(":", 5)  # "arn", partition, service, Region, account, resource
    if not parts[-1].startswith(IDENTITY_CENTER_ROLE_START):
        return False
    return parts[0] == "arn" and parts[2:4] == ["iam", ""] and _is_account_id(parts[4])


def _read_session_role_arn(record: Record) -> str:
    """Return the ARN, with its path, of the role whose session this is; empty for other users."""
    session = as_object(record.user.get("sessionContext"))
    return get_string(as_object(session.get("sessionIssuer")), "arn")


# Description and VPC endpoint


def _describe(path: SignInPath, identity: str, record: Record, grant: str) -> str:
    """Return the description in an alert, such as "Console sign-in".

    ``grant`` says how a token was obtained, and is added: "Command line sign-in (device code)".
    """
    if path.kind == "token" and grant:  # not added for an application, which has grants too
        return f"{path.what} ({grant})"
    if path.what:
        return path.what
    if identity == "federated" and _is_identity_center_role(_read_session_role_arn(record)):
        return WHAT_BY_IDENTITY[IDENTITY_CENTER]
    return WHAT_BY_IDENTITY.get(identity, "Console sign-in")


def _read_vpc_endpoint(record: Record) -> str:
    """Return the id of the VPC endpoint that the sign-in came through; empty if it did not.

    Two fields can hold it. If they differ, return both ids in one string, and if one of them is not
    a string, UNREADABLE_ENDPOINT in its place: neither is the id of an allowed endpoint.
    """
    endpoint = record.detail.get("vpcEndpointId")
    extra = record.extra
    # One search of all keys is faster than a comparison of each, and few records have this one.
    if not endpoint and ENDPOINT_KEY not in "\n".join(extra).lower():
        return ""
    values = [value for key, value in extra.items() if value and key.lower() == ENDPOINT_KEY]
    if endpoint:
        values.append(endpoint)
    if not values:  # AWS Sign-In writes an empty one
        return ""
    ids = {value.strip() if isinstance(value, str) else UNREADABLE_ENDPOINT for value in values}
    ids.discard("")  # of a value that was only whitespace
    return " and ".join(sorted(ids))


# MFA


def _read_mfa(path: SignInPath, identity: str, record: Record) -> str:
    """Return whether MFA (a second factor) was used: "yes", "no", "provider" or "unrecorded".

    "provider" means that only the user's identity provider knows. AWS records MFA only for IAM
    users, root and Identity Center (CloudTrail, sign-in events, MFAUsed), so "no" says nothing
    about a session that a provider began.
    """
    if identity == IDENTITY_CENTER:
        return _derive_mfa(get_string(record.extra, "CredentialType"))
    if identity in ("root", "iam-user"):
        mfa = MFA_BY_TEXT.get(_read_lower_case(record.extra.get("MFAUsed")))
        return mfa or _read_session_mfa(record)
    session_mfa = _read_session_mfa(record)
    if session_mfa == "yes":
        return session_mfa
    if identity == "unknown":
        # "No" says nothing here: it may be a user of an identity provider.
        is_used = _read_lower_case(record.extra.get("MFAUsed")) in ("yes", "true")
        return "yes" if is_used else "unrecorded"
    if path.kind == "switch-role" and not _is_switched_from_provider(record):
        return session_mfa
    return "provider"


def _is_switched_from_provider(record: Record) -> bool:
    """Return whether the session that switched the role was begun by an identity provider."""
    arn = get_string(record.extra, "SwitchFrom")  # "arn:aws:iam::111122223333:user/anaya"
    resource_type = arn.rpartition(":")[2].partition("/")[0]
    return IDENTITY_BY_ARN_RESOURCE.get(resource_type.lower()) == "federated"


def _read_session_mfa(record: Record) -> str:
    """Return whether the session used MFA: "yes", "no" or "unrecorded".

    Records of the ``aws login`` command say so only in sessionContext (AWS Sign-In User Guide).
    """
    session = record.user.get("sessionContext")
    if not isinstance(session, dict):  # as in most records
        return "unrecorded"
    attributes = as_object(session.get("attributes"))
    return MFA_BY_TEXT.get(_read_lower_case(attributes.get("mfaAuthenticated")), "unrecorded")


@functools.lru_cache(maxsize=16)  # an account sees few combinations of factors
def _derive_mfa(credential_type: str) -> str:
    """Return whether factors such as "PASSWORD,TOTP" are MFA, in the words of _read_mfa.

    A passkey (WEBAUTHN) or a code (TOTP) counts as MFA, and so do two factors. With a factor that
    is not in KNOWN_FACTORS, such as SMARTCARD of WorkSpaces, it is "unrecorded". Sources: IAM
    Identity Center User Guide, "CredentialType"; WorkSpaces Administration Guide, "Understanding
    AWS sign-in events".
    """
    factors = set(credential_type.upper().replace(" ", "").split(","))
    factors.discard("")
    if "EXTERNAL_IDP" in factors:
        return "provider"
    if factors & POSSESSION_FACTORS:
        return "yes"
    if not factors or factors - KNOWN_FACTORS:
        return "unrecorded"
    return "yes" if len(factors) > 1 else "no"


def _read_lower_case(value: object) -> str:
    """Return a string or boolean as lower-case text; empty for anything else.

    AWS writes strings now, but may write booleans.
    """
    return str(value).strip().lower() if isinstance(value, (str, bool)) else ""
