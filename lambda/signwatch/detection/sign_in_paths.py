"""The ways into an account, as CloudTrail records them: service (the first label of the event source) and event name.

Facts: AWS CloudTrail User Guide, "AWS Management Console sign-in events"; IAM Identity Center User Guide,
"Understanding sign-in events" and "CloudTrail use cases"; AWS Sign-In User Guide, on logging with CloudTrail; IAM User
Guide, "Logging IAM and AWS STS API calls with AWS CloudTrail" and "Track privileged tasks in CloudTrail".
"""

from __future__ import annotations

from typing import NamedTuple

OUTCOME_UNDER_EVENT_NAME, OUTCOME_IN_SUCCESS_FIELD, OUTCOME_BY_ABSENT_ERROR = (
    "named",
    "told",
    "done",
)  # where the outcome stands; see Path
IDENTITY_CENTER = "identity-center"
UNFINISHED = (
    "unfinished"  # the kind and the outcome of a right password after which no sign-in came
)
CHECK_MFA = ("signin", "checkmfa")  # the step after a right password in the console


class Path(NamedTuple):
    """One way in.

    ``what`` is its name for people, empty where the kind of user decides it. ``outcome`` says where the outcome stands:
    ``named`` under the event's own name, ``told`` as success in the additional data, ``done`` nowhere: a call that is
    recorded without an error was done. ``user`` is the kind of user where the path alone decides it.
    """

    kind: str
    what: str
    outcome: str
    user: str = ""


PATHS_AS_WRITTEN = {  # as AWS writes them today
    ("signin", "ConsoleLogin"): Path("console", "", OUTCOME_UNDER_EVENT_NAME),
    ("signin", "SwitchRole"): Path(
        "switch-role", "Role switched in the console", OUTCOME_UNDER_EVENT_NAME
    ),
    ("signin", "GetSigninToken"): Path(
        "console-link", "Console link made by federation", OUTCOME_UNDER_EVENT_NAME
    ),
    ("signin", "PasswordRecoveryRequested"): Path(
        "password-recovery", "Root password recovery", OUTCOME_UNDER_EVENT_NAME, "root"
    ),
    ("signin", "UserAuthentication"): Path(
        IDENTITY_CENTER, "Identity Center sign-in", OUTCOME_UNDER_EVENT_NAME, IDENTITY_CENTER
    ),
    ("signin", "CredentialVerification"): Path(
        "factor", "Identity Center sign-in", OUTCOME_UNDER_EVENT_NAME, IDENTITY_CENTER
    ),
    ("signin", "ExternalIdPDirectoryLogin"): Path(
        "provider", "Identity Center sign-in by provider", OUTCOME_UNDER_EVENT_NAME, IDENTITY_CENTER
    ),
    ("signin", "AuthorizeOAuth2Access"): Path(
        "aws-login", "Command line sign-in (aws login)", OUTCOME_IN_SUCCESS_FIELD
    ),
    ("signin", "CreateOAuth2Token"): Path(
        "aws-login", "Command line sign-in (aws login, token)", OUTCOME_IN_SUCCESS_FIELD
    ),
    ("sso", "CreateToken"): Path(
        "token", "Command line sign-in", OUTCOME_BY_ABSENT_ERROR, IDENTITY_CENTER
    ),
    ("sso-oauth", "CreateToken"): Path(
        "token", "Command line sign-in", OUTCOME_BY_ABSENT_ERROR, IDENTITY_CENTER
    ),
    ("sso", "GetRoleCredentials"): Path(
        "role-keys", "Role keys by Identity Center", OUTCOME_BY_ABSENT_ERROR, IDENTITY_CENTER
    ),
    ("sts", "AssumeRoleWithSAML"): Path("saml-role", "Role taken by SAML", OUTCOME_BY_ABSENT_ERROR),
    ("sts", "AssumeRoot"): Path(
        "assume-root", "Root session by AssumeRoot", OUTCOME_BY_ABSENT_ERROR
    ),
    ("sts", "GetFederationToken"): Path(
        "federation-token", "Federation token made", OUTCOME_BY_ABSENT_ERROR
    ),
}
PATHS = {(service, name.lower()): path for (service, name), path in PATHS_AS_WRITTEN.items()}
PATHS_BY_EXACT_NAME = {
    (f"{service}.amazonaws.com", name): path for (service, name), path in PATHS_AS_WRITTEN.items()
}  # to be found at once
ANOMALY = Path(
    "anomaly", "AWS's own sign-in anomaly alert", OUTCOME_BY_ABSENT_ERROR
)  # AWS Sign-In sends it to EventBridge by itself
ANOMALY_TYPE = "sign-in anomaly alert"  # the detail-type of the envelope, in lower case
STEPS = {  # what AWS records beside the event that tells of the sign-in itself
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
SERVICES = frozenset(
    service for service, _ in PATHS
)  # AWS may record an event under another one of them
NAMES = frozenset(name for _, name in (*PATHS, CHECK_MFA))  # of the events that a rule takes
