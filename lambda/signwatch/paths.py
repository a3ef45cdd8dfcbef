"""The ways into an account, as CloudTrail records them: service (the first label of the event source) and event name.

Facts: AWS CloudTrail User Guide, "AWS Management Console sign-in events"; IAM Identity Center User Guide,
"Understanding sign-in events" and "CloudTrail use cases"; AWS Sign-In User Guide, on logging with CloudTrail; IAM User
Guide, "Logging IAM and AWS STS API calls with AWS CloudTrail" and "Track privileged tasks in CloudTrail".
"""

from __future__ import annotations

from typing import NamedTuple

NAMED, TOLD, DONE = "named", "told", "done"  # where the outcome stands; see Path
CENTER = "identity-center"
UNFINISHED = "unfinished"  # the kind and the outcome of a right password after which no sign-in came
CHECKED = ("signin", "checkmfa")  # the step after a right password in the console


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


PATHS = {
    ("signin", "consolelogin"): Path("console", "", NAMED),
    ("signin", "switchrole"): Path("switch-role", "Role switched in the console", NAMED),
    ("signin", "getsignintoken"): Path("console-link", "Console link made by federation", NAMED),
    ("signin", "passwordrecoveryrequested"): Path("password-recovery", "Root password recovery", NAMED, "root"),
    ("signin", "userauthentication"): Path(CENTER, "Identity Center sign-in", NAMED, CENTER),
    ("signin", "credentialverification"): Path("factor", "Identity Center sign-in", NAMED, CENTER),
    ("signin", "externalidpdirectorylogin"): Path("provider", "Identity Center sign-in by provider", NAMED, CENTER),
    ("signin", "authorizeoauth2access"): Path("aws-login", "Command line sign-in (aws login)", TOLD),
    ("signin", "createoauth2token"): Path("aws-login", "Command line sign-in (aws login, token)", TOLD),
    ("sso", "createtoken"): Path("token", "Command line sign-in", DONE, CENTER),
    ("sso-oauth", "createtoken"): Path("token", "Command line sign-in", DONE, CENTER),
    ("sso", "getrolecredentials"): Path("role-keys", "Role keys by Identity Center", DONE, CENTER),
    ("sts", "assumerolewithsaml"): Path("saml-role", "Role taken by SAML", DONE),
    ("sts", "assumeroot"): Path("assume-root", "Root session by AssumeRoot", DONE),
    ("sts", "getfederationtoken"): Path("federation-token", "Federation token made", DONE),
}
ANOMALY = Path("anomaly", "AWS's own sign-in anomaly alert", DONE)  # AWS Sign-In sends it to EventBridge by itself
ANOMALY_TYPE = "sign-in anomaly alert"  # the detail-type of the envelope, in lower case
STEPS = {  # what AWS records beside the event that tells of the sign-in itself
    CHECKED: "the second factor was asked for",
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
SERVICES = frozenset(service for service, _ in PATHS)  # AWS may record an event under another one of them
NAMES = frozenset(name for _, name in (*PATHS, CHECKED))  # of the events that a rule takes
