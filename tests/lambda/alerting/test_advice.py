"""What an e-mail advises: it fits the reason of the alert and the kind of sign-in."""

from __future__ import annotations

import pytest

from signwatch.alerting import advice
from signwatch.detection import signin, verdict
from tests.support.sign_ins import CASES, event

ADDRESS = advice.ADD_ADDRESS


def advise(name: str, *, recognised: bool = False, **fields: str) -> list[str]:
    sign_in = signin.read(event(name))
    if fields:
        assert isinstance(sign_in, signin.SignIn)
        sign_in = sign_in._replace(**fields)
    assert isinstance(sign_in, (signin.SignIn, signin.Unreadable))
    return advice.advise(sign_in, verdict.judge(sign_in, recognised=recognised))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("iam-user-signs-in-with-mfa", [ADDRESS, advice.IAM_USER]),
        ("iam-user-signs-in-without-mfa", [ADDRESS, advice.SWITCH_ON_MFA, advice.IAM_USER]),
        ("iam-user-fails", [ADDRESS, advice.NOBODY_GOT_IN]),
        ("root-signs-in-with-mfa", [advice.ROOT]),
        ("root-fails", [advice.NOBODY_GOT_IN]),
        ("root-asks-for-a-new-password", [advice.ROOT_RECOVERY]),
        ("organisation-takes-a-root-session", [advice.ASSUME_ROOT]),
        ("aws-itself-sees-an-anomaly", [advice.ANOMALY]),
        ("command-line-gets-a-token-by-device-code", [advice.DEVICE_CODE_PHISHING]),
        ("command-line-refreshes-its-token", [ADDRESS, advice.SESSION_USE]),
        ("command-line-gets-role-keys", [ADDRESS, advice.IDENTITY_CENTER_USER]),
        (
            "identity-center-sign-in-from-aws-internal",
            [advice.INSIDE_AWS, advice.IDENTITY_CENTER_USER],
        ),
        ("role-is-switched", [ADDRESS, advice.FOREIGN_ACCOUNT]),
        ("federated-user-signs-in", [ADDRESS, advice.ROLE]),
        ("federation-token-is-made", [ADDRESS, advice.FEDERATION_TOKEN]),
        ("application-is-authorised-in-the-browser", [advice.APPLICATION]),
        ("application-refreshes-its-token", [advice.APPLICATION]),
        ("application-of-root-refreshes-its-token", [advice.APPLICATION_OF_ROOT]),
        ("aws-login-of-root-refreshes-its-token", [advice.ROOT]),
        ("iam-user-signs-in-from-a-private-address", [advice.PRIVATE_ADDRESS, advice.IAM_USER]),
    ],
)
def test_advice_fits_the_reason(name: str, expected: list[str]) -> None:
    assert advise(name) == [*expected, advice.LOOK_UP]


@pytest.mark.parametrize(
    ("line", "beginning"),
    [
        (advice.UNREADABLE, "Look the event up in CloudTrail: "),
        (advice.ADD_ADDRESS, "If this was you or somebody you know, add the address "),
        (advice.VPC_ENDPOINT, "It came through a VPC endpoint, so the address says little: "),
        (advice.PRIVATE_ADDRESS, "A private address is recognised only through a VPC endpoint "),
        (advice.INSIDE_AWS, "AWS recorded no address, so there is none to add "),
        (advice.SWITCH_ON_MFA, "Switch on MFA for this user."),
        (advice.NOBODY_GOT_IN, "Nobody got in. "),
        (advice.APPLICATION, "If you did not authorise this application, revoke its access: "),
        (
            advice.APPLICATION_OF_ROOT,
            "If you did not authorise this application, revoke its access. No ",
        ),
        (advice.ROOT_RECOVERY, "If you did not ask for it: somebody may have the mailbox "),
        (advice.ASSUME_ROOT, "If nobody of your organisation did this: look up the caller "),
        (advice.ANOMALY, "AWS says no more than this. Look at the recent sign-ins "),
        (advice.DEVICE_CODE_PHISHING, "If you did not start a command line sign-in: "),
        (advice.SESSION_USE, "A computer that was carried to another network does the same. "),
        (advice.PASSWORD_KNOWN, "If this was not you: somebody knows the password. Change it now."),
        (advice.ROOT, "If this was not you: change root's password, "),
        (advice.IDENTITY_CENTER_USER, "If it was nobody you know: end the person's sessions "),
        (advice.FEDERATION_TOKEN, "If it was nobody you know: delete the access keys of the user "),
        (advice.ROLE, "If it was nobody you know: revoke the active sessions of the role "),
        (advice.FOREIGN_ACCOUNT, "If you do not know the account that it came from: remove "),
        (advice.IAM_USER, "If it was nobody you know: change the password, "),
        (advice.LOOK_UP, "In any case, look up in CloudTrail what was done."),
    ],
)
def test_advice_begins_with_what_matters_most(line: str, beginning: str) -> None:
    assert line.startswith(beginning)


def test_unreadable_record_is_looked_up() -> None:
    assert advise("record-without-an-outcome") == [advice.UNREADABLE]


def test_foreign_vpc_endpoint_is_no_reason_to_add_the_address() -> None:
    name = "iam-user-signs-in-with-mfa"
    lines = advise(name, source="203.0.113.10", vpc_endpoint="vpce-0123456789abcdef0")
    assert lines[0] == advice.VPC_ENDPOINT
    assert ADDRESS not in lines


def test_missing_mfa_from_a_recognised_network_is_no_reason_to_add_the_address() -> None:
    lines = advise("iam-user-signs-in-without-mfa", recognised=True)
    assert lines == [advice.SWITCH_ON_MFA, advice.IAM_USER, advice.LOOK_UP]


def test_list_of_addresses_cannot_be_added() -> None:
    lines = advise("iam-user-signs-in-with-mfa", source="198.51.100.7, 192.0.2.1")
    assert lines == [advice.IAM_USER, advice.LOOK_UP]


@pytest.mark.parametrize("approved_elsewhere", [True, None])
def test_device_code_ends_the_sessions_and_adds_no_address(
    *, approved_elsewhere: bool | None
) -> None:
    sign_in = signin.read(event("command-line-gets-a-token-by-device-code"))
    assert isinstance(sign_in, signin.SignIn)
    decision = verdict.judge(sign_in, recognised=False, approved_elsewhere=approved_elsewhere)
    assert advice.advise(sign_in, decision) == [advice.DEVICE_CODE_PHISHING, advice.LOOK_UP]


def test_role_that_is_switched_within_the_account_has_no_foreign_account() -> None:
    lines = advise("role-is-switched", origin_account="111122223333")
    assert lines == advise("role-is-switched", origin_account="")
    assert advice.ROLE in lines
    assert advice.FOREIGN_ACCOUNT not in lines


def test_only_a_switched_role_can_lose_the_trust_of_a_foreign_account() -> None:
    lines = advise("federated-user-signs-in", origin_account="444455556666")
    assert lines == [ADDRESS, advice.ROLE, advice.LOOK_UP]


def test_right_password_is_changed() -> None:
    unfinished = signin.read_unfinished(event("second-factor-is-asked-for"))
    decision = verdict.judge(unfinished, recognised=False)
    assert advice.PASSWORD_KNOWN in advice.advise(unfinished, decision)


@pytest.mark.parametrize("name", CASES)
def test_every_case_that_may_alert_has_advice(name: str) -> None:
    if isinstance(signin.read(event(name)), signin.SignIn | signin.Unreadable):
        assert advise(name)
