"""The ways to sign in to an account (paths), by service and event name in CloudTrail.

The service is the first label of the event source: "signin" for "signin.amazonaws.com".

Facts: AWS CloudTrail User Guide, "AWS Management Console sign-in events"; IAM Identity Center User
Guide, "Understanding sign-in events" and "CloudTrail use cases"; AWS Sign-In User Guide, on logging
with CloudTrail; IAM User Guide, "Logging IAM and AWS STS API calls with AWS CloudTrail" and "Track
privileged tasks in CloudTrail". Some events are recorded for several kinds of sign-in, which only
their content tells apart: WorkSpaces Administration Guide, "Understanding AWS sign-in events for
WorkSpaces Personal users"; AWS Sign-In User Guide, "Configure OAuth access to AWS MCP Server".
"""

from typing import NamedTuple

# Where a record holds the outcome: in a field that has the event's own name, in the field "success"
# of additionalEventData, or, if it has no such field, nowhere (a call that is recorded without an
# error was successful).
OUTCOME_UNDER_EVENT_NAME = "under-event-name"
OUTCOME_IN_SUCCESS_FIELD = "success-field"
OUTCOME_BY_ABSENT_ERROR = "absent-error"

IDENTITY_CENTER = "identity-center"
AWS_LOGIN_KIND = "aws-login"
UNFINISHED = "unfinished"  # kind and outcome of a right password without a sign-in after it
SESSION_USE = "session-use"  # kind of an event that uses a session which a sign-in opened
CHECK_MFA_NAME = "checkmfa"  # the event after a right password in the console
CHECK_MFA = ("signin", CHECK_MFA_NAME)
ANOMALY_TYPE = "sign-in anomaly alert"  # the envelope's detail-type, in lower case


class SignInPath(NamedTuple):
    """One way to sign in."""

    kind: str  # paths that are judged alike have the same kind
    what: str  # the description in an alert; empty if it depends on the kind of user
    outcome_location: str = OUTCOME_UNDER_EVENT_NAME  # one of the three constants above
    user: str = ""  # the kind of user; empty if only the record says it


def _identity_center_path(
    kind: str, what: str, outcome_location: str = OUTCOME_UNDER_EVENT_NAME
) -> SignInPath:
    """Return a path that only users of Identity Center take."""
    return SignInPath(kind, what, outcome_location, IDENTITY_CENTER)


def _api_call_path(kind: str, what: str) -> SignInPath:
    """Return a path that is one API call, which was successful unless it has an error."""
    return SignInPath(kind, what, OUTCOME_BY_ABSENT_ERROR)


def _provider_path(kind: str, what: str) -> SignInPath:
    """Return a path that is one API call of a user whom an identity provider vouches for."""
    return SignInPath(kind, what, OUTCOME_BY_ABSENT_ERROR, "federated")


_TOKEN = _identity_center_path("token", "Command line sign-in", OUTCOME_BY_ABSENT_ERROR)
PATHS_AS_WRITTEN = {  # with the names in the case that AWS uses today
    ("signin", "ConsoleLogin"): SignInPath("console", ""),
    # Root cannot switch roles (IAM User Guide, "Switch from a user to an IAM role").
    ("signin", "SwitchRole"): SignInPath(
        "switch-role", "Role switched in the console", user="federated"
    ),
    # Nor can a session of root make a link (IAM User Guide, "Compare AWS STS credentials").
    ("signin", "GetSigninToken"): SignInPath(
        "console-link", "Console link made by federation", user="federated"
    ),
    ("signin", "PasswordRecoveryRequested"): SignInPath(
        "password-recovery", "Root password recovery", user="root"
    ),
    ("signin", "UserAuthentication"): _identity_center_path(
        IDENTITY_CENTER, "Identity Center sign-in"
    ),
    ("signin", "CredentialVerification"): _identity_center_path(
        "factor", "Identity Center sign-in"
    ),
    ("signin", "ExternalIdPDirectoryLogin"): _identity_center_path(
        "provider", "Identity Center sign-in by provider"
    ),
    ("signin", "AuthorizeOAuth2Access"): SignInPath(
        AWS_LOGIN_KIND, "Command line sign-in (aws login)", OUTCOME_IN_SUCCESS_FIELD
    ),
    ("signin", "CreateOAuth2Token"): SignInPath(
        AWS_LOGIN_KIND, "Command line sign-in (aws login, token)", OUTCOME_IN_SUCCESS_FIELD
    ),
    ("signin", "CreateOAuth2TokenWithTokenExchange"): _api_call_path(
        "token-exchange", "Token by token exchange (OAuth)"
    ),
    ("sso", "CreateToken"): _TOKEN,
    ("sso-oauth", "CreateToken"): _TOKEN,
    ("sso", "GetRoleCredentials"): _identity_center_path(
        "role-keys", "Role keys by Identity Center", OUTCOME_BY_ABSENT_ERROR
    ),
    ("sts", "AssumeRoleWithSAML"): _provider_path("saml-role", "Role taken by SAML"),
    ("sts", "AssumeRoleWithWebIdentity"): _provider_path(
        "web-identity", "Role taken by web identity"
    ),
    ("sts", "GetDelegatedAccessToken"): _api_call_path(
        "delegated-access", "Keys by delegated access"
    ),
    ("sts", "AssumeRoot"): _api_call_path("assume-root", "Root session by AssumeRoot"),
    ("sts", "GetFederationToken"): _api_call_path("federation-token", "Federation token made"),
}
# The keys in lower case, because the case of an event's names is ignored.
PATHS = {(service, name.lower()): path for (service, name), path in PATHS_AS_WRITTEN.items()}
# The keys exactly as in a record: one look-up finds almost every event, without lower().
PATHS_BY_EXACT_NAME = {
    (f"{service}.amazonaws.com", name): path for (service, name), path in PATHS_AS_WRITTEN.items()
}
# Paths whose events have the names of another path: UserAuthentication, AuthorizeOAuth2Access, ...
WORKSPACES = _identity_center_path("workspaces", "WorkSpaces sign-in")
TRANSFER_WEB_APP = _identity_center_path("transfer-web-app", "Transfer web app sign-in")
APPLICATION = SignInPath("application", "Application authorised (OAuth)", OUTCOME_IN_SUCCESS_FIELD)
PATHS_BY_CONTENT = (WORKSPACES, TRANSFER_WEB_APP, APPLICATION)
# The kinds of the paths by name whose events may be on one of these paths instead.
SHARED_KINDS = frozenset({IDENTITY_CENTER, AWS_LOGIN_KIND})
# AWS Sign-In sends this event to EventBridge directly, not through CloudTrail.
ANOMALY = _api_call_path("anomaly", "AWS's own sign-in anomaly alert")

STEPS = {  # events that AWS records in addition to the sign-in itself
    CHECK_MFA: "the second factor was asked for",
    ("signin", "credentialchallenge"): "a factor was asked for",
    ("signin", "renewrole"): "a console session of a role went on",
    ("sso", "authenticate"): "the portal session began",
    ("sso", "federate"): "the portal opened an account or application",
    ("sso", "listaccounts"): "the portal listed accounts",
    ("sso", "listaccountroles"): "the portal listed roles",
    ("sso", "listapplications"): "the portal listed applications",
    ("sso", "listprofilesforapplication"): "the portal listed profiles",
    ("sso", "logout"): "the portal session ended",
    ("sso-oauth", "createtokenwithiam"): "an application changed a token for another",
}
# signin reports one of these events that comes from another of these services as Unreadable.
SERVICES = frozenset(service for service, _ in PATHS)
EVENT_NAMES = frozenset(name for _, name in (*PATHS, CHECK_MFA))
