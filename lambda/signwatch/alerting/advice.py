"""Says in an e-mail what to do about an alert, by its reasons and the kind of sign-in. Pure.

A device code signs in a program, after a person approved it in the portal of IAM Identity Center.

Sources: IAM User Guide, "Revoke IAM role temporary security credentials" and "Root user best
practices"; IAM Identity Center User Guide, "Delete active user sessions"; AWS Sign-In User Guide,
"AWS MCP Server", and API Reference, RevokeOAuth2TokenWithIAM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signwatch.detection.networks import is_private, pack_address
from signwatch.detection.sign_in_paths import IDENTITY_CENTER
from signwatch.detection.signin import SignIn
from signwatch.detection.verdict import (
    ALWAYS_ALERT_BY_KIND,
    APPROVAL_UNKNOWN,
    DEVICE_CODE,
    NO_MFA,
    RECOVERIES,
    REFUSED_ROOT_SESSIONS,
    RIGHT_PASSWORD,
    RIGHT_PASSWORDS,
    SESSION_ELSEWHERE,
    SOURCE_INSIDE_AWS,
    UNREADABLE_EVENTS,
    UNRECOGNISED_SOURCE,
)

if TYPE_CHECKING:
    from signwatch.detection.signin import Unreadable
    from signwatch.detection.verdict import Verdict

UNREADABLE = "Look the event up in CloudTrail: it may be a sign-in in a form that is not known yet."
ADD_ADDRESS = "If this was you or somebody you know, add the address to the recognised networks."
VPC_ENDPOINT = (
    "It came through a VPC endpoint, so the address says little: anybody's VPC may use the same "
    "one. If the endpoint is yours, name it in AllowedVpcEndpointIds, and have its network "
    "recognised."
)
PRIVATE_ADDRESS = (
    "A private address is recognised only through a VPC endpoint in AllowedVpcEndpointIds."
)
INSIDE_AWS = "AWS recorded no address, so there is none to add to the recognised networks."
SWITCH_ON_MFA = "Switch on MFA for this user."
NOBODY_GOT_IN = (
    "Nobody got in. If it was nobody you know, somebody may be guessing: make sure that MFA is on, "
    "and that the password is used nowhere else."
)
ROOT_RECOVERY = (
    "If you did not ask for it: somebody may have the mailbox of root's e-mail address. Secure the "
    "mailbox, then root's password and MFA devices."
)
ASSUME_ROOT = (
    "If nobody of your organisation did this: look up the caller in the management account, and "
    "take the right to call AssumeRoot away."
)
ANOMALY = "AWS says no more than this. Look at the recent sign-ins in CloudTrail."
DEVICE_CODE_PHISHING = (
    "If you did not start a command line sign-in: somebody may have had you approve theirs. End "
    "the person's sessions in IAM Identity Center, and revoke the active sessions of their roles."
)
SESSION_USE = (
    "A computer that was carried to another network does the same. If it was not: somebody may "
    "have copied the token. End the person's sessions in IAM Identity Center or IAM, and revoke "
    "the active sessions of their roles."
)
PASSWORD_KNOWN = "If this was not you: somebody knows the password. Change it now."  # noqa: S105 - advice
ROOT = (
    "If this was not you: change root's password, check its MFA devices, delete its access keys, "
    "and open a case with AWS Support."
)
IDENTITY_CENTER_USER = (
    "If it was nobody you know: end the person's sessions in IAM Identity Center, reset the "
    "password and the MFA devices, and revoke the active sessions of their roles."
)
APPLICATION = (
    "If you did not authorise this application, revoke its access: in IAM, deny the person the "
    "actions of AWS Sign-In (AuthorizeOAuth2Access, CreateOAuth2Token), so that it gets no further "
    "token. A token that it has works for up to one hour; a policy with the condition key "
    "SignInSessionArn ends that session at once."
)
APPLICATION_OF_ROOT = (
    "If you did not authorise this application, revoke its access. No policy of IAM limits root: "
    "have a service control policy of your organisation deny CreateOAuth2Token of AWS Sign-In if "
    "the account is a member of one, else open a case with AWS Support. Change root's password, "
    "check its MFA devices, and delete its access keys."
)
FEDERATION_TOKEN = (
    "If it was nobody you know: delete the access keys of the user who made the token."  # noqa: S105 - advice
)
ROLE = (
    "If it was nobody you know: revoke the active sessions of the role in IAM, and block the "
    "person where they came from: the identity provider, or the account or user that may take it."
)
FOREIGN_ACCOUNT = (
    "If you do not know the account that it came from: remove that account from the role's trust "
    "policy, and revoke the active sessions of the role."
)
IAM_USER = (
    "If it was nobody you know: change the password, delete the user's access keys, and end the "
    "sessions."
)
GUESSING = (
    "If you do not know these addresses: somebody is guessing passwords. Nobody got in by these. "
    "Make sure that MFA is on for everybody, and that no password is used elsewhere."
)
TOO_MANY_TEXTS = (
    "Read the e-mails of the last hour now. TextsAnHour sets how many texts are sent in an hour."
)
LOOK_UP = "In any case, look up in CloudTrail what was done."


def advise_on_stream(stream: str) -> str:
    """Return what to do about many events of a stream (verdict.STREAMS)."""
    advice = {
        RECOVERIES: ROOT_RECOVERY,
        UNREADABLE_EVENTS: UNREADABLE,
        RIGHT_PASSWORDS: PASSWORD_KNOWN,
        REFUSED_ROOT_SESSIONS: ASSUME_ROOT,
    }
    return advice.get(stream, GUESSING)


def advise(sign_in: SignIn | Unreadable, verdict: Verdict) -> list[str]:
    """Return what to do about an alert, one or more sentences a line."""
    if not isinstance(sign_in, SignIn):
        return [UNREADABLE]
    lines = [
        _advise_about_source(sign_in, verdict),
        SWITCH_ON_MFA if NO_MFA in verdict.reasons else "",
        _advise_about_access(sign_in, verdict),
        LOOK_UP,
    ]
    return [line for line in lines if line]


def _advise_about_source(sign_in: SignIn, verdict: Verdict) -> str:
    """Return how the source could be recognised; empty if that would not end the alert."""
    alerts_from_everywhere = sign_in.identity == "root" or sign_in.kind in ALWAYS_ALERT_BY_KIND
    # What matters about an application is whose it is, wherever it runs.
    is_application = sign_in.kind == "application"
    if alerts_from_everywhere or is_application or _is_about_device_code(verdict):
        return ""
    if SOURCE_INSIDE_AWS in verdict.reasons:
        return INSIDE_AWS
    if UNRECOGNISED_SOURCE not in verdict.reasons:
        return ""
    if sign_in.vpc_endpoint:
        return VPC_ENDPOINT
    if is_private(sign_in.source):
        return PRIVATE_ADDRESS
    return ADD_ADDRESS if pack_address(sign_in.source) else ""


def _advise_about_access(sign_in: SignIn, verdict: Verdict) -> str:
    """Return how to take the access away if the person should not have it.

    It is the first advice whose condition is true, so the special cases come first.
    """
    is_federated = sign_in.identity == "federated"
    is_from_foreign_account = sign_in.origin_account not in ("", sign_in.account)
    advice_and_conditions = (
        (ROOT_RECOVERY, sign_in.kind == "password-recovery"),
        (ASSUME_ROOT, sign_in.kind == "assume-root"),
        (ANOMALY, sign_in.kind == "anomaly"),
        (NOBODY_GOT_IN, sign_in.outcome == "failure"),
        (DEVICE_CODE_PHISHING, _is_about_device_code(verdict)),
        (APPLICATION_OF_ROOT, sign_in.kind == "application" and sign_in.identity == "root"),
        (APPLICATION, sign_in.kind == "application"),
        (SESSION_USE, SESSION_ELSEWHERE in verdict.reasons and sign_in.identity != "root"),
        (PASSWORD_KNOWN, RIGHT_PASSWORD in verdict.reasons),
        (ROOT, sign_in.identity == "root"),
        (IDENTITY_CENTER_USER, sign_in.identity == IDENTITY_CENTER),
        (FEDERATION_TOKEN, sign_in.kind == "federation-token"),
        (FOREIGN_ACCOUNT, sign_in.kind == "switch-role" and is_from_foreign_account),
        (ROLE, is_federated),
        (IAM_USER, True),
    )
    return next(advice for advice, applies in advice_and_conditions if applies)


def _is_about_device_code(verdict: Verdict) -> bool:
    """Return whether the alert is about the addresses of a device code.

    The code was used from another address than it was approved from, or that is unknown.
    """
    return DEVICE_CODE in verdict.reasons or APPROVAL_UNKNOWN in verdict.reasons
