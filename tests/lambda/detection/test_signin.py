"""Each case file is read as it says, and no mutant of one is lost."""

from __future__ import annotations

import random
from typing import Any

import pytest

from signwatch.detection import networks, sign_in_paths, signin
from tests.support.sign_ins import ALL_PATHS, CASES, event, mutant, read

ANAYA_ID = "544894e8-80c1-707f-60e3-3ba6510dfac1"
ENDPOINT, STRANGE_ENDPOINT = "vpce-0123456789abcdef0", "vpce-0fedcba9876543210"
PORTAL_SIGN_IN = "identity-center-user-signs-in-with-totp"


class BrokenObject(dict[str, object]):
    """An object that raises when a field is read."""

    def get(self, *_: object) -> None:
        raise RuntimeError("no")


def read_sign_in(record: Any) -> signin.SignIn:
    reading = signin.read(record)
    assert isinstance(reading, signin.SignIn)
    return reading


@pytest.mark.parametrize("name", CASES)
def test_case_is_read_as_expected(name: str) -> None:
    expected = dict(CASES[name]["expected"])
    del expected["anywhere"], expected["recognised"]  # the verdicts
    reading = read(event(name))
    assert type(reading).__name__ == expected.pop("class")
    assert {field: getattr(reading, field) for field in expected} == expected


def test_every_class_and_every_kind_of_sign_in_has_a_case() -> None:
    expected = [case["expected"] for case in CASES.values()]
    sign_ins = [case for case in expected if case["class"] == "SignIn"]
    assert {case["class"] for case in expected} == {"SignIn", "Step", "NotASignIn", "Unreadable"}
    kinds = {path.kind for path in ALL_PATHS} | {sign_in_paths.SESSION_USE}
    assert {case["kind"] for case in sign_ins} == kinds
    identities = {"root", "iam-user", "federated", "identity-center", "unknown"}
    assert {*signin.IDENTITY_BY_USER_TYPE.values(), "unknown"} == identities
    assert {case["identity"] for case in sign_ins} == identities
    assert {case["mfa"] for case in sign_ins} == {"yes", "no", "provider", "unrecorded"}


def test_every_path_and_every_step_has_a_case() -> None:
    events = [case["event"] for case in CASES.values() if isinstance(case["event"], dict)]
    records = [event["detail"] for event in events if isinstance(event.get("detail"), dict)]
    names_with_a_case = {
        (
            str(record.get("eventSource")).partition(".")[0].lower(),
            str(record.get("eventName")).lower(),
        )
        for record in records
    }
    assert set(sign_in_paths.PATHS) | set(sign_in_paths.STEPS) <= names_with_a_case


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            {"awsRegion": "eu-west-3", "eventTime": "2026-11-20T09:59:00Z", "eventID": "e"},
            ("eu-west-3", "2026-11-20T09:59:00Z", "e", "111122223333"),
        ),
        (
            {"awsRegion": "", "eventTime": None, "eventID": 7, "recipientAccountId": ""},
            ("us-east-1", "2026-11-20T10:00:00Z", "envelope", "999999999999"),
        ),
    ],
    ids=["the record before the envelope", "the envelope for what the record lacks"],
)
def test_region_time_id_and_account_come_from_record_or_envelope(
    record: dict[str, object], expected: tuple[str, ...]
) -> None:
    changed = event("iam-user-signs-in-with-mfa")
    changed["detail"] |= record
    changed |= {
        "region": "us-east-1",
        "time": "2026-11-20T10:00:00Z",
        "id": "envelope",
        "account": "999999999999",
    }
    reading = read_sign_in(changed)
    assert (reading.region, reading.time, reading.event_id, reading.account) == expected


def test_success_counts_before_an_error_beside_it() -> None:
    changed = event("iam-user-signs-in-with-mfa")
    changed["detail"]["errorMessage"] = "Failed authentication"
    changed["detail"]["responseElements"] = {"consolelogin": "Failure", "ConsoleLogin": "Success"}
    assert read_sign_in(changed).outcome == "success"


def test_unreadable_record_keeps_what_could_be_read() -> None:
    reading = signin.read(event("record-without-an-outcome"))
    assert isinstance(reading, signin.Unreadable)
    assert (reading.account, reading.who, reading.source, reading.reason) == (
        "111122223333",
        "Anaya",
        "203.0.113.10",
        "the record tells no outcome",
    )


@pytest.mark.parametrize(
    ("name", "user"),
    [
        (
            "iam-user-signs-in-with-mfa",
            {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:root"},
        ),
        (
            "iam-user-signs-in-with-mfa",
            {"type": "Root", "arn": "arn:aws:iam::111122223333:user/Anaya"},
        ),
        (
            "iam-user-signs-in-with-mfa",
            {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:ROOT"},
        ),
        ("aws-login-is-approved-in-the-browser", {"type": "Root"}),
        ("application-is-authorised-in-the-browser", {"type": "Root"}),
        ("record-without-an-identity", {"type": "Root"}),
    ],
)
def test_any_hint_at_root_is_read_as_root_where_root_can_sign_in(
    name: str, user: dict[str, str]
) -> None:
    changed = event(name)
    changed["detail"]["userIdentity"] = user
    reading = read_sign_in(changed)
    assert (reading.identity, reading.who) == ("root", "root")


def test_account_of_a_bare_record_without_one_is_that_of_its_user() -> None:
    record = event("iam-user-signs-in-with-mfa")["detail"]
    del record["recipientAccountId"]
    record["userIdentity"]["accountId"] = "444455556666"
    assert read_sign_in(record).account == "444455556666"


@pytest.mark.parametrize(
    ("arn", "identity"),
    [
        ("arn:aws:iam::111122223333:USER/anaya", "iam-user"),
        ("arn:aws:sts::111122223333:assumed-role/Admin/anaya", "federated"),
        ("arn:aws:sts::111122223333:federated-user/anaya", "federated"),
        ("arn:aws:iam::111122223333:role/Admin", "unknown"),
        ("root", "root"),
        (7, "unknown"),
    ],
)
def test_kind_of_user_is_read_from_the_arn_if_the_type_does_not_say_it(
    arn: object, identity: str
) -> None:
    changed = event("iam-user-signs-in-with-mfa")
    changed["detail"]["userIdentity"] = {"type": "Another", "arn": arn}
    assert read_sign_in(changed).identity == identity


def test_password_recovery_is_of_root_whatever_the_record_says() -> None:
    changed = event("root-asks-for-a-new-password")
    for user in ({}, {"type": "IAMUser", "userName": "anaya"}):
        changed["detail"]["userIdentity"] = user
        reading = read_sign_in(changed)
        assert (reading.identity, reading.who) == ("root", "root")


@pytest.mark.parametrize(
    ("user_type", "identity"),
    [
        ("Root", "root"),
        ("IAMUser", "iam-user"),
        ("AssumedRole", "federated"),
        ("FederatedUser", "federated"),
        ("SAMLUser", "federated"),
        ("WebIdentityUser", "federated"),
        ("IdentityCenterUser", "identity-center"),
        ("AWSAccount", "unknown"),
        ("", "unknown"),
    ],
)
def test_kind_of_user_is_read_from_the_type(user_type: str, identity: str) -> None:
    changed = event("iam-user-signs-in-with-mfa")
    changed["detail"]["userIdentity"] = {"type": user_type}
    assert read_sign_in(changed).identity == identity


def test_only_a_user_of_identity_center_has_an_id_in_an_identity_store() -> None:
    recorded = event(PORTAL_SIGN_IN)["detail"]["userIdentity"]["onBehalfOf"]
    for name, user, ids in (
        (PORTAL_SIGN_IN, recorded, (ANAYA_ID, "d-1234567890")),
        (PORTAL_SIGN_IN, None, ("", "")),
        ("iam-user-signs-in-with-mfa", recorded, ("", "")),
    ):
        changed = event(name)
        changed["detail"]["userIdentity"]["onBehalfOf"] = user
        reading = read_sign_in(changed)
        assert (reading.user_id, reading.identity_store_id) == ids


@pytest.mark.parametrize(
    ("arn", "role", "account"),
    [
        (
            "arn:aws:sts::444455556666:assumed-role/Admin/anaya@example.com",
            "Admin",
            "444455556666",
        ),
        ("arn:aws:sts::444455556666:assumed-role/Admin/a:b", "Admin", "444455556666"),
        ("arn:aws:iam::111122223333:user/Admin/anaya", "", ""),
        ("arn:aws:sts::111122223333:federated-user/Admin", "", ""),
        ("Admin", "", ""),
        ("", "", ""),
    ],
)
def test_only_a_session_of_a_role_has_a_role(arn: str, role: str, account: str) -> None:
    changed = event("federated-user-signs-in")
    changed["detail"]["userIdentity"]["arn"] = arn
    reading = read_sign_in(changed)
    assert (reading.role, reading.target_account) == (role, account)


def test_user_of_identity_center_signs_in_without_a_role() -> None:
    changed = event(PORTAL_SIGN_IN)
    changed["detail"]["userIdentity"]["arn"] = "arn:aws:sts::444455556666:assumed-role/Admin/anaya"
    reading = read_sign_in(changed)
    assert (reading.event_name, reading.role, reading.target_account) == (
        "UserAuthentication",
        "",
        "",
    )


@pytest.mark.parametrize("target", ["222233334444", "arn:aws:iam::222233334444:root"])
def test_root_session_is_in_the_account_of_its_target(target: str) -> None:
    changed = event("organisation-takes-a-root-session")
    changed["detail"]["requestParameters"]["targetPrincipal"] = target
    reading = read_sign_in(changed)
    assert (reading.role, reading.target_account) == ("", "222233334444")


@pytest.mark.parametrize("field", ["errorCode", "errorMessage"])
def test_call_with_either_mark_of_an_error_failed(field: str) -> None:
    changed = event("federated-user-takes-a-role-by-saml")
    changed["detail"][field] = "AccessDenied"
    assert read_sign_in(changed).outcome == "failure"


def test_aws_login_has_neither_a_grant_nor_a_client() -> None:
    for name in ("aws-login-is-approved-in-the-browser", "aws-login-gets-a-token"):
        changed = event(name)
        parameters = changed["detail"].get("requestParameters") or {}
        parameters |= {"redirect_uri": "http://127.0.0.1:60432/", "client_id": CLI_CLIENT}
        parameters["grant_type"] = "authorization_code"
        changed["detail"]["requestParameters"] = parameters
        reading = read_sign_in(changed)
        assert (reading.kind, reading.grant, reading.client) == ("aws-login", "", "")


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("federated-user-takes-a-role-by-saml", "SamlAdmin"),
        ("role-is-taken-by-web-identity", "Deploy"),
        ("command-line-gets-role-keys", "AdministratorAccess"),
    ],
)
def test_role_is_read_on_a_path_that_hands_one_out(name: str, role: str) -> None:
    assert read_sign_in(event(name)).role == role


@pytest.mark.parametrize(
    ("details", "parameters", "role", "account"),
    [
        (None, {"roleName": "Audit", "accountId": "222233334444"}, "Audit", "222233334444"),
        (None, {"role_name": "Audit", "account_id": 11122223333}, "Audit", "011122223333"),
        ({"RoleName": " Audit ", "AccountID": "222233334444 "}, None, "Audit", "222233334444"),
        ({"roleName": "Audit"}, {"accountId": 222233334444}, "Audit", "222233334444"),
        ({"role_name": "Audit"}, {"roleName": "Other", "accountId": "1"}, "Audit", "1"),
        ({"account_id": "1"}, {"roleName": "Audit", "accountId": "2"}, "Audit", "1"),
        ({"role_name": 7, "account_id": True}, {"roleName": "Audit"}, "Audit", ""),
        ({"role_name": "", "account_id": []}, {"accountId": {}}, "", ""),
        (None, None, "", ""),
    ],
)
def test_role_of_keys_is_read_in_any_spelling(
    details: object, parameters: object, role: str, account: str
) -> None:
    changed = event("command-line-gets-role-keys")
    changed["detail"]["serviceEventDetails"] = details
    changed["detail"]["requestParameters"] = parameters
    sign_in = read_sign_in(changed)
    assert (sign_in.role, sign_in.target_account) == (role, account)


@pytest.mark.parametrize("recorded", ["No", "NO", "no ", "false", "False", False])
def test_missing_mfa_is_read_in_any_spelling(recorded: object) -> None:
    changed = event("iam-user-signs-in-with-mfa")
    changed["detail"]["additionalEventData"]["MFAUsed"] = recorded
    assert read_sign_in(changed).mfa == "no"


@pytest.mark.parametrize(
    ("recorded", "mfa"), [(True, "yes"), ("true", "yes"), (False, "no"), ("x", "unrecorded")]
)
def test_mfa_of_a_session_is_read_as_a_text_or_a_boolean(recorded: object, mfa: str) -> None:
    changed = event("aws-login-is-approved-in-the-browser")
    changed["detail"]["userIdentity"] = {
        "type": "IAMUser",
        "userName": "Anaya",
        "sessionContext": {"attributes": {"mfaAuthenticated": recorded}},
    }
    assert read_sign_in(changed).mfa == mfa


SIGN_INS = [name for name, case in CASES.items() if case["expected"]["class"] == "SignIn"]


@pytest.mark.parametrize("key", ["x-amzn-vpce-id", "X-Amzn-Vpce-Id"])
@pytest.mark.parametrize("name", SIGN_INS)
def test_vpc_endpoint_is_read_from_both_fields_on_every_path(name: str, key: str) -> None:
    changed = event(name)
    detail = changed.get("detail", changed)
    detail["additionalEventData"] = (detail.get("additionalEventData") or {}) | {key: ""}
    detail["vpcEndpointId"] = ENDPOINT
    assert read_sign_in(changed).vpc_endpoint == ENDPOINT
    detail["additionalEventData"].pop("x-amzn-vpce-id", None)
    detail["additionalEventData"] |= {key: ENDPOINT}
    assert read_sign_in(changed).vpc_endpoint == ENDPOINT
    detail["vpcEndpointId"] = None
    assert read_sign_in(changed).vpc_endpoint == ENDPOINT


@pytest.mark.parametrize(
    ("first", "second"),
    [(ENDPOINT, STRANGE_ENDPOINT), (STRANGE_ENDPOINT, ENDPOINT), (ENDPOINT, [ENDPOINT]), (7, "")],
)
def test_two_endpoints_or_an_unreadable_one_recognise_nothing(
    first: object, second: object
) -> None:
    changed = event("iam-user-signs-in-with-mfa")
    changed["detail"]["vpcEndpointId"] = first
    changed["detail"]["additionalEventData"]["x-amzn-vpce-id"] = second
    sign_in = read_sign_in(changed)
    known, allowed = networks.parse_list(sign_in.source), (ENDPOINT, STRANGE_ENDPOINT)
    assert networks.recognises(known, sign_in.source)
    endpoint = sign_in.vpc_endpoint
    assert not networks.recognises_sign_in(known, sign_in.source, endpoint, allowed)
    assert not networks.can_be_recognised(sign_in.source, endpoint, allowed)


def test_two_endpoints_are_both_shown() -> None:
    changed = event("iam-user-signs-in-with-mfa")
    changed["detail"]["vpcEndpointId"] = STRANGE_ENDPOINT
    changed["detail"]["additionalEventData"]["x-amzn-vpce-id"] = ENDPOINT
    assert read_sign_in(changed).vpc_endpoint == f"{ENDPOINT} and {STRANGE_ENDPOINT}"
    changed["detail"]["vpcEndpointId"] = 7
    assert read_sign_in(changed).vpc_endpoint == f"an unreadable VPC endpoint and {ENDPOINT}"


@pytest.mark.parametrize("recorded", [None, "", " ", [], {}])
def test_empty_endpoint_is_none(recorded: object) -> None:
    changed = event("iam-user-signs-in-with-mfa")
    changed["detail"]["vpcEndpointId"] = recorded
    assert read_sign_in(changed).vpc_endpoint == ""


@pytest.mark.parametrize(
    "agent",
    [
        "Jersey/${project.version}",
        "AWS Internal",
        "aws-internal/3 aws-sdk-java/1.12 Jersey/2.0 signin.amazonaws.com",
        "",
    ],
)
def test_user_agent_changes_nothing(agent: str) -> None:
    """The person who signs in chooses it (CloudTrail record contents, userAgent)."""
    for name in CASES:
        changed = event(name)
        if isinstance(changed, dict) and isinstance(changed.get("detail"), dict):
            changed["detail"]["userAgent"] = agent
            assert signin.read(changed) == signin.read(event(name))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("application-changes-a-token", "an application changed a token for another"),
        ("aws-service-refreshes-a-token", "a token was refreshed"),
        (
            "command-line-waits-for-its-device-code",
            "a program asked whether its device code is approved",
        ),
        ("identity-center-asks-for-a-factor", "a factor was asked for"),
        ("identity-center-factor-is-right", "a factor was passed"),
        ("identity-center-opens-an-account-by-saml", "Identity Center opened an account"),
        ("identity-center-prepares-a-console-session", "Identity Center opened an account"),
        ("portal-lists-accounts", "the portal listed accounts"),
        ("portal-lists-applications", "the portal listed applications"),
        ("portal-lists-profiles", "the portal listed profiles"),
        ("portal-lists-roles", "the portal listed roles"),
        ("portal-opens-an-account", "the portal opened an account or application"),
        ("portal-session-begins", "the portal session began"),
        ("portal-session-ends", "the portal session ended"),
        ("role-session-goes-on", "a console session of a role went on"),
        ("second-factor-is-asked-for", "the second factor was asked for"),
        ("detail-is-no-record", "the event holds no CloudTrail record"),
        ("record-without-a-source", "the record names no source address"),
        ("token-comes-from-an-unusual-service", "the event comes from an unusual service"),
    ],
)
def test_step_and_unreadable_record_say_why(name: str, reason: str) -> None:
    reading = read(event(name))
    assert isinstance(reading, signin.Step | signin.Unreadable)
    assert reading.reason == reason


def test_right_password_without_a_sign_in_has_its_user_and_its_endpoint() -> None:
    changed = event("second-factor-is-asked-for")
    changed["detail"]["vpcEndpointId"] = ENDPOINT
    factor = event("identity-center-factor-is-right")
    changed["detail"]["userIdentity"]["onBehalfOf"] = factor["detail"]["userIdentity"]["onBehalfOf"]
    reading = signin.read_unfinished(changed)
    assert (reading.kind, reading.outcome) == ("unfinished", "unfinished")
    assert reading.what == "Right password, no sign-in after it"
    assert (reading.user_id, reading.identity_store_id) == ("", "")
    assert (reading.mfa, reading.vpc_endpoint) == ("unrecorded", ENDPOINT)
    assert (reading.grant, reading.role, reading.client) == ("", "", "")
    assert (reading.target_account, reading.origin_account) == ("", "")
    reading = signin.read_unfinished(factor)
    assert (reading.identity, reading.user_id) == ("identity-center", ANAYA_ID)
    assert reading.identity_store_id == "d-1234567890"


def test_fault_in_the_code_is_an_alert_and_no_exception() -> None:
    reading = signin.read({"detail": BrokenObject(eventName="ConsoleLogin")})
    reason = "reading it failed (RuntimeError)"
    assert reading == signin.Unreadable("", "", "", "", "", "", "unknown", reason)


@pytest.mark.parametrize(
    "value", [None, 7, [], {}, "", "{}", b"x", float("nan"), [[]], {"detail": None}]
)
def test_value_that_is_no_event_is_unreadable(value: object) -> None:
    assert isinstance(signin.read(value), signin.Unreadable)


def test_no_mutant_raises_and_every_field_is_a_text_or_a_boolean() -> None:
    rng = random.Random(7)  # noqa: S311 - the same mutants each time, no secret among them
    for _ in range(1000):
        reading = signin.read(mutant(rng))
        assert isinstance(
            reading, signin.SignIn | signin.Step | signin.NotASignIn | signin.Unreadable
        )
        assert all(isinstance(value, (str, bool)) for value in reading)
        if isinstance(reading, signin.SignIn):
            assert all((reading.source or reading.kind == "anomaly", reading.who, reading.what))
            assert reading.outcome in ("success", "failure")


@pytest.mark.parametrize(
    "login_to",
    [
        "https://clients.amazonaws.com/workspaces",
        "HTTPS://Clients.AmazonAWS.com:443/workspaces/?region=us-east-1#x",
        "https://clients.amazonaws.com/workspaces/login",
        "https://skylight.local",
        "https://skylight.local/",
        "https://SKYLIGHT.local/?x=1",
    ],
)
def test_sign_in_to_workspaces_is_told_by_its_url(login_to: str) -> None:
    changed = event(PORTAL_SIGN_IN)
    changed["detail"]["additionalEventData"]["LoginTo"] = login_to
    assert read_sign_in(changed).what == "WorkSpaces sign-in"


@pytest.mark.parametrize(
    "login_to",
    [
        "https://webapp-c7bf3423.transfer-webapp.us-east-2.on.aws",
        "https://vpce-05668789767a-fh45z079.vpce-mq.transfer-webapp.us-east-1.on.aws/",
        "https://webapp-c7bf3423.transfer-webapp-fips.us-gov-west-1.on.aws:443/?x",
        "https://webapp-c7bf3423.transfer-webapp.cn-north-1.on.amazonwebservices.com.cn",
    ],
)
def test_sign_in_to_a_transfer_web_app_is_told_by_its_url(login_to: str) -> None:
    changed = event(PORTAL_SIGN_IN)
    changed["detail"]["additionalEventData"]["LoginTo"] = login_to
    assert read_sign_in(changed).what == "Transfer web app sign-in"


@pytest.mark.parametrize(
    "login_to",
    [
        None,
        7,
        ["https://skylight.local"],
        "",
        "https://example.awsapps.com/start/",
        "https://d-1234567890.awsapps.com/start/?login=https://skylight.local",
        "https://ssoins-1234567890abcdef.portal.eu-west-1.app.aws",
        "https://clients.amazonaws.com.evil.example/workspaces",
        "https://clients.amazonaws.com@evil.example/workspaces",
        "https://evil.example@clients.amazonaws.com/workspaces",
        "https://clients.amazonaws.com:8443/workspaces",
        "https://clients.amazonaws.com\\@evil.example/workspaces",
        "https://clients.amazonaws.com/workspacesx",
        "https://clients.amazonaws.com/workspaces/../start",
        "https://clients.amazonaws.com/start?to=/workspaces",
        "https://clients.amazonaws.com.",
        "http://clients.amazonaws.com/workspaces",
        "https://evil.example/https://clients.amazonaws.com/workspaces",
        "https://s\u212aylight.local",
        "https://xskylight.local",
        "https://skylight.local.evil.example",
        "https://skylight.local/?x=.awsapps.com/start",
        "https://skylight.local/?x=.awsapps.com/start/",
        "https://skylight.local\nx",
        "https://transfer-webapp.us-east-2.on.aws",
        "https://a.b.transfer-webapp.us-east-2.on.aws",
        "https://x.lambda-url.us-east-2.on.aws/transfer-webapp",
        "https://webapp-1.transfer-webapp.us-east-2.on.aws.evil.example",
        "https://webapp-1.transfer-webapp.us-east-2.on.awsx",
    ],
)
def test_any_other_url_is_a_sign_in_to_the_portal(login_to: object) -> None:
    changed = event(PORTAL_SIGN_IN)
    changed["detail"]["additionalEventData"]["LoginTo"] = login_to
    assert read_sign_in(changed).kind == "identity-center"


@pytest.mark.parametrize(
    "login_to", ["https://skylight.local", "https://example.awsapps.com/start/", ""]
)
def test_right_factor_waits_for_a_sign_in_whatever_service_asked_for_it(login_to: str) -> None:
    changed = event("identity-center-factor-is-right")
    changed["detail"]["additionalEventData"]["LoginTo"] = login_to
    reading = signin.read(changed)
    assert isinstance(reading, signin.Step)
    assert reading.is_right_password


@pytest.mark.parametrize("change", [{"vpcEndpointId": ENDPOINT}, {"sourceIPAddress": "10.0.0.7"}])
def test_right_factor_is_no_use_of_a_session(change: dict[str, str]) -> None:
    changed = event("identity-center-factor-is-right")
    changed["detail"] |= change
    reading = signin.read(changed)
    assert isinstance(reading, signin.Step)
    assert reading.is_right_password


CLI_CLIENT = "arn:aws:signin:::devtools/same-device"
OTHER_CLIENT = "arn:aws:signin:us-west-2::external-client/dcr/b3f2c8a1-9d4e-4f7a-8c6b-2e1f5a3d9b7c"


@pytest.mark.parametrize(
    ("names", "class_name"),
    [
        ({"eventName": " "}, "Unreadable"),
        ({"eventSource": " "}, "Unreadable"),
        ({"eventName": "ConsoleLogin "}, "Unreadable"),  # its outcome has another name
        ({"eventSource": " signin.amazonaws.com"}, "SignIn"),
    ],
)
def test_blanks_around_a_name_hide_no_sign_in(names: dict[str, str], class_name: str) -> None:
    changed = event("iam-user-signs-in-with-mfa")
    changed["detail"] |= names
    assert type(signin.read(changed)).__name__ == class_name


@pytest.mark.parametrize("name", ["aws-login-is-approved-in-the-browser", "aws-login-gets-a-token"])
@pytest.mark.parametrize(
    ("parameters", "extra", "kind"),
    [
        ({"client_id": CLI_CLIENT}, {}, "aws-login"),
        ({"client_id": "arn:aws:signin:::devtools/cross-device"}, {}, "aws-login"),
        ({"clientId": "arn:aws-us-gov:signin:::devtools/same-device"}, {}, "aws-login"),
        ({"client_id": CLI_CLIENT, "resource": "x"}, {}, "application"),
        ({"redirect_uri": "https://evil.example/cb"}, {}, "application"),
        ({"redirectUri": "https://evil.example", "client_id": CLI_CLIENT}, {}, "application"),
        ({"redirect_uri": "https://amazonaws.com.evil.example/"}, {}, "application"),
        ({"redirect_uri": "http://127.0.0.1.evil.example/"}, {}, "application"),
        ({"redirect_uri": ["http://127.0.0.1/"]}, {}, "application"),
        ({"redirect_uri": "http://127.0.0.1:53037/oauth/callback"}, {}, "aws-login"),
        ({"redirect_uri": "https://eu-west-1.signin.aws.amazon.com/x"}, {}, "aws-login"),
        ({"redirect_uri": "http://localhost:53037/oauth/callback"}, {}, "aws-login"),
        ({"redirect_uri": "http://[::1]:53037/oauth/callback"}, {}, "aws-login"),
        ({"redirect_uri": "https://signin.amazonaws.com/x"}, {}, "aws-login"),
        ({"redirect_uri": "https://signin.amazonaws.cn/x"}, {}, "aws-login"),
        ({"redirect_uri": "https://signin.amazonaws-us-gov.com/x"}, {}, "aws-login"),
        ({"redirect_uri": "urn:ietf:wg:oauth:2.0:oob"}, {}, "application"),
        ({"client_id": "arn:aws-cn:signin:::devtools/cross-device"}, {}, "aws-login"),
        ({}, {"client_id": CLI_CLIENT}, "aws-login"),
        (None, {}, "aws-login"),
        ({"clientId": ""}, {"client_id": CLI_CLIENT}, "aws-login"),
        ({}, {"clientId": OTHER_CLIENT}, "application"),
        ({"client_id": OTHER_CLIENT}, {}, "application"),
        ({"clientId": OTHER_CLIENT}, {}, "application"),
        ({}, {"client_id": OTHER_CLIENT}, "application"),
        ({"client_id": CLI_CLIENT}, {"client_id": OTHER_CLIENT}, "application"),
        ({"client_id": OTHER_CLIENT}, {"client_id": CLI_CLIENT}, "application"),
        ({"client_id": f"{CLI_CLIENT}/x"}, {}, "application"),
        ({"client_id": f"x{CLI_CLIENT}"}, {}, "application"),
        ({"client_id": f"{CLI_CLIENT}\n"}, {}, "application"),
        ({"client_id": "arn:aws:signin:::devtools/another"}, {}, "application"),
        ({"client_id": "arn:aws:signin:::client-credentials/sigv4"}, {}, "application"),
        ({"client_id": [CLI_CLIENT]}, {}, "application"),
        ({"resource": "https://aws-mcp.us-west-2.api.aws/mcp"}, {}, "application"),
        ({}, {"resource": "https://aws-mcp.us-west-2.api.aws/mcp"}, "application"),
    ],
)
def test_only_the_client_of_the_command_line_is_aws_login(
    name: str, parameters: dict[str, object] | None, extra: dict[str, object], kind: str
) -> None:
    changed = event(name)
    changed["detail"]["requestParameters"] = parameters
    changed["detail"]["additionalEventData"] |= extra
    assert read_sign_in(changed).kind == kind


@pytest.mark.parametrize(
    ("parameters", "client"),
    [
        ({"redirect_uri": "https://claude.ai/api/mcp/auth_callback"}, "claude.ai"),
        ({"redirect_uri": "http://127.0.0.1:60432/oauth/callback"}, "127.0.0.1"),
        ({"redirect_uri": "http://[::1]:60432/oauth/callback"}, "[::1]"),
        ({"redirectUri": "cursor://anysphere.cursor-mcp/oauth"}, "anysphere.cursor-mcp"),
        ({"redirect_uri": "https://claude.ai@evil.example/x"}, "evil.example"),
        ({"redirect_uri": "https://evil.example\\@claude.ai/x"}, "evil.example"),
        ({"redirect_uri": "https:///x"}, ""),
        ({"redirect_uri": 7}, ""),
        ({}, "b3f2c8a1-9d4e-4f7a-8c6b-2e1f5a3d9b7c"),
        ({"client_id": "https://client.example/metadata.json"}, "client.example"),
        ({"client_id": 7}, ""),
    ],
)
def test_application_is_named_by_its_host_or_its_id(
    parameters: dict[str, object], client: str
) -> None:
    changed = event("application-is-authorised-in-the-browser")
    changed["detail"]["requestParameters"] = {"client_id": OTHER_CLIENT} | parameters
    assert read_sign_in(changed).client == client


def test_application_without_a_client_has_no_name() -> None:
    changed = event("application-is-authorised-in-the-browser")
    changed["detail"]["requestParameters"] = {"resource": "https://aws-mcp.us-west-2.api.aws/mcp"}
    reading = read_sign_in(changed)
    assert (reading.kind, reading.client) == ("application", "")
    changed["detail"]["requestParameters"] = {"clientId": OTHER_CLIENT}
    assert read_sign_in(changed).client == "b3f2c8a1-9d4e-4f7a-8c6b-2e1f5a3d9b7c"


@pytest.mark.parametrize(
    ("success", "error", "outcome"),
    [("true", "", "success"), (False, "", "failure"), ("", "", "success"), ("", "X", "failure")],
)
def test_exchange_of_a_token_is_a_success_unless_the_record_says_otherwise(
    success: object, error: str, outcome: str
) -> None:
    changed = event("application-exchanges-a-token")
    changed["detail"] |= {"additionalEventData": {"success": success}, "errorCode": error}
    assert read_sign_in(changed).outcome == outcome


@pytest.mark.parametrize(
    ("principal_id", "who"),
    [
        ("444455556666", "unknown"),
        ("444455556666:", "unknown"),
        ("444455556666:444455556666", "unknown"),
        ("444455556666:anaya", "anaya"),
        ("4444:anaya", "4444:anaya"),
        ("4444", "4444"),
        ("twelveletter:anaya", "twelveletter:anaya"),
        ("AROAEXAMPLE0000000001:anaya@example.com", "anaya@example.com"),
        ("AROAEXAMPLE0000000001:", "AROAEXAMPLE0000000001"),
        ("AIDAEXAMPLE0000000001", "AIDAEXAMPLE0000000001"),
        ("HIDDEN_DUE_TO_SECURITY_REASONS", "unknown"),
        ("accounts.google.com:app:user-1", "accounts.google.com:app:user-1"),
        (None, "unknown"),
    ],
)
@pytest.mark.parametrize("kind", ["Unknown", "IAMUser", "AssumedRole"])
def test_account_is_never_the_name_of_a_person(
    kind: str, principal_id: str | None, who: str
) -> None:
    changed = event("iam-user-signs-in-with-mfa")
    changed["detail"]["userIdentity"] = {"type": kind, "arn": "", "principalId": principal_id}
    assert read_sign_in(changed).who == who


@pytest.mark.parametrize("name", ["_anaya", "+1 anaya", "-a-", " anaya "])
def test_name_may_begin_with_a_sign(name: str) -> None:
    changed = event("iam-user-signs-in-with-mfa")
    changed["detail"]["userIdentity"] = {"type": "IAMUser", "userName": name}
    assert read_sign_in(changed).who == name.strip()


def test_hidden_name_in_an_arn_is_ignored() -> None:
    changed = event("iam-user-signs-in-with-mfa")
    arn = "arn:aws:iam::111122223333:user/HIDDEN_DUE_TO_SECURITY_REASONS"
    changed["detail"]["userIdentity"] = {"type": "IAMUser", "arn": arn}
    assert read_sign_in(changed).who == "unknown"


@pytest.mark.parametrize("user", [{"type": "Root"}, {"arn": "arn:aws:iam::444455556666:root"}])
@pytest.mark.parametrize(
    "name",
    [
        "identity-center-user-signs-in-with-totp",
        "identity-center-factor-is-wrong",
        "identity-center-provider-is-refused",
        "command-line-gets-role-keys",
        "command-line-gets-a-token-by-device-code",
        "federated-user-takes-a-role-by-saml",
        "role-is-taken-by-web-identity",
        "workspaces-user-signs-in",
    ],
)
def test_path_that_root_cannot_take_wins_over_a_recorded_root(
    name: str, user: dict[str, str]
) -> None:
    expected = read_sign_in(event(name))
    changed = event(name)
    changed["detail"]["userIdentity"] |= user
    reading = read_sign_in(changed)
    assert reading.identity == expected.identity != "root"
    assert reading.who != "root"


def test_unreadable_record_of_identity_center_does_not_name_root_either() -> None:
    changed = event(PORTAL_SIGN_IN)
    changed["detail"]["userIdentity"]["type"] = "Root"
    changed["detail"]["serviceEventDetails"] = None
    reading = signin.read(changed)
    assert isinstance(reading, signin.Unreadable)
    assert reading.who == reading.user_id == ANAYA_ID


@pytest.mark.parametrize(
    ("credential_type", "mfa"),
    [
        ("PASSWORD", "no"),
        ("PASSWORD,", "no"),
        ("EMAIL_OTP", "no"),
        ("PASSWORD,EMAIL_OTP", "yes"),
        ("PASSWORD,TOTP", "yes"),
        ("TOTP", "yes"),
        ("RESYNC_TOTP", "yes"),
        ("webauthn", "yes"),
        ("PASSWORD, SMARTCARD, TOTP", "yes"),
        ("SMARTCARD", "unrecorded"),
        ("PASSWORD,SMARTCARD", "unrecorded"),
        ("A_NEW_FACTOR", "unrecorded"),
        ("EXTERNAL_IDP", "provider"),
        ("", "unrecorded"),
    ],
)
def test_only_a_known_factor_says_whether_mfa_was_used(credential_type: str, mfa: str) -> None:
    changed = event(PORTAL_SIGN_IN)
    changed["detail"]["additionalEventData"]["CredentialType"] = credential_type
    assert read_sign_in(changed).mfa == mfa


@pytest.mark.parametrize(
    ("name", "mfa_used", "session", "mfa"),
    [
        ("unknown-kind-of-user-fails", "Yes", None, "yes"),
        ("unknown-kind-of-user-fails", " YES", None, "yes"),
        ("unknown-kind-of-user-fails", True, None, "yes"),
        ("unknown-kind-of-user-fails", "No", None, "unrecorded"),
        ("unknown-kind-of-user-fails", "No", "false", "unrecorded"),
        ("unknown-kind-of-user-fails", "No", "true", "yes"),
        ("unknown-kind-of-user-fails", None, "false", "unrecorded"),
        ("aws-login-of-an-unknown-kind-of-user-refreshes-its-token", None, "false", "unrecorded"),
        ("federated-user-signs-in", "No", "false", "provider"),
    ],
)
def test_missing_mfa_of_a_user_who_may_have_a_provider_is_not_told(
    name: str, mfa_used: object, session: str | None, mfa: str
) -> None:
    """AWS records it only for IAM users and root."""
    changed = event(name)
    changed["detail"]["additionalEventData"]["MFAUsed"] = mfa_used
    user = changed["detail"].setdefault("userIdentity", {})
    user["sessionContext"] = {"attributes": {"mfaAuthenticated": session}}
    assert read_sign_in(changed).mfa == mfa


@pytest.mark.parametrize(
    "name",
    [
        "console-session-is-prepared",
        "federated-user-takes-a-role-by-saml",
        "role-is-taken-by-web-identity",
        "role-is-switched",
        "identity-center-user-signs-in-with-totp",
        "command-line-gets-role-keys",
    ],
)
@pytest.mark.parametrize("field", [{"type": "Root"}, {"arn": "arn:aws:iam::111122223333:root"}])
def test_root_is_not_believed_on_a_path_that_it_cannot_take(
    name: str, field: dict[str, str]
) -> None:
    changed = event(name)
    expected = read_sign_in(event(name)).identity
    changed["detail"]["userIdentity"] |= field
    sign_in = read_sign_in(changed)
    assert sign_in.identity == expected != "root"
    assert sign_in.who != "root"


FEDERATED = [name for name in SIGN_INS if CASES[name]["expected"]["identity"] == "federated"]


@pytest.mark.parametrize("name", FEDERATED)
def test_session_with_mfa_says_so_on_every_path(name: str) -> None:
    changed = event(name)
    user = changed.get("detail", changed)["userIdentity"]
    user["sessionContext"] = {"attributes": {"mfaAuthenticated": "true"}}
    assert read_sign_in(changed).mfa == "yes"


@pytest.mark.parametrize(
    ("switch_from", "recorded", "mfa"),
    [
        ("arn:aws:iam::444455556666:user/team/Alice", None, "unrecorded"),
        ("arn:aws:iam::444455556666:user/Alice", "false", "no"),
        ("", None, "unrecorded"),
        (None, "true", "yes"),
        ("arn:aws:sts::444455556666:assumed-role/Admin/Alice", None, "provider"),
        ("arn:aws:sts::444455556666:federated-user/Alice", "false", "provider"),
        ("arn:aws:sts::444455556666:Assumed-Role/Admin/Alice", "false", "provider"),
        ("arn:aws:sts::444455556666:assumed-role/Admin/Alice", "true", "yes"),
    ],
)
def test_mfa_of_a_switched_role_is_that_of_the_session_before(
    switch_from: str | None, recorded: str | None, mfa: str
) -> None:
    changed = event("role-is-switched")
    changed["detail"]["additionalEventData"]["SwitchFrom"] = switch_from
    session = {"attributes": {"mfaAuthenticated": recorded}}
    changed["detail"]["userIdentity"]["sessionContext"] = session
    assert read_sign_in(changed).mfa == mfa


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ({"eventName": "ConsoleLogin"}, "the record names no service"),
        (
            {"eventName": "ConsoleLogin", "eventSource": ".amazonaws.com"},
            "the record names no service",
        ),
        ({"eventSource": "signin.amazonaws.com"}, "the record names no event"),
        ({"eventSource": "signin.amazonaws.com", "eventName": 7}, "the record names no event"),
        ({"eventSource": None, "eventName": ""}, "the record names no service or event"),
    ],
)
def test_unreadable_record_says_which_name_is_missing(
    names: dict[str, object], reason: str
) -> None:
    reading = signin.read({"detail": {"sourceIPAddress": "203.0.113.10", **names}})
    assert isinstance(reading, signin.Unreadable)
    assert reading.reason == reason


@pytest.mark.parametrize("detail_type", ["Sign-in Anomaly Alert", "SIGN-IN ANOMALY ALERT"])
def test_anomaly_alert_is_recognised_by_its_detail_type_alone(detail_type: str) -> None:
    changed = event("aws-itself-sees-an-anomaly")
    changed |= {"detail-type": detail_type, "detail": {"whatever": ["it", "holds"]}}
    reading = read_sign_in(changed)
    assert reading.kind == "anomaly"
    assert reading.event_name == detail_type
    assert reading.account == "111122223333"
    assert reading.grant == ""


@pytest.mark.parametrize(
    ("service", "name", "expected"),
    [
        ("codecatalyst.amazonaws.com", "CreateToken", signin.NotASignIn),
        ("sts.amazonaws.com", "CreateToken", signin.Unreadable),
        ("sso.amazonaws.com", "CheckMfa", signin.Unreadable),
        ("sts.amazonaws.com", "GetCallerIdentity", signin.NotASignIn),
    ],
)
def test_event_of_a_path_from_another_service_is_unreadable_only_if_it_has_paths(
    service: str, name: str, expected: type
) -> None:
    changed = event("iam-user-signs-in-with-mfa")
    changed["detail"] |= {"eventSource": service, "eventName": name}
    assert type(signin.read(changed)) is expected


def test_only_a_federated_user_signs_in_to_the_console_with_identity_center() -> None:
    link = event("identity-center-prepares-a-console-session")
    for name, what in (
        ("federated-user-signs-in", "Identity Center console sign-in"),
        ("iam-user-signs-in-with-mfa", "Console sign-in"),
        ("root-signs-in-with-mfa", "Root console sign-in"),
    ):
        changed = event(name)
        session = link["detail"]["userIdentity"]["sessionContext"]
        changed["detail"]["userIdentity"]["sessionContext"] = session
        assert read_sign_in(changed).what == what


@pytest.mark.parametrize("record", [{}, {"detail": {}}, {"detail": "x"}, "x"])
def test_event_without_a_record_says_so(record: object) -> None:
    reading = signin.read(record)
    assert isinstance(reading, signin.Unreadable)
    assert reading.reason == "the event holds no CloudTrail record"


@pytest.mark.parametrize("name", SIGN_INS)
def test_only_a_token_has_a_grant(name: str) -> None:
    reading = read_sign_in(event(name))
    grants = {"device code", "authorization code", "refresh"}
    allowed = grants | {""} if reading.kind in ("token", "application") else {""}
    assert reading.grant in allowed


def test_portal_sign_in_is_no_step_whatever_its_session_is() -> None:
    changed = event(PORTAL_SIGN_IN)
    link = event("identity-center-prepares-a-console-session")
    session = link["detail"]["userIdentity"]["sessionContext"]
    changed["detail"]["userIdentity"]["sessionContext"] = session
    assert read_sign_in(changed).kind == "identity-center"


@pytest.mark.parametrize(
    ("elements", "outcome"),
    [
        ({"CONSOLELOGIN": " success "}, "success"),
        ({"SwitchRole": "Success", "consolelogin": "Failure"}, "failure"),
        ({"CONSOLELOGIN": "success", "consolelogin": "failure"}, "success"),
        ({"CONSOLELOGIN": "failure", "consolelogin": "success"}, "success"),
        ({"SwitchRole": "Success"}, None),
        ({"ConsoleLogin": ["Success"]}, None),
    ],
)
def test_outcome_is_read_under_the_name_of_the_event_alone(
    elements: dict[str, object], outcome: str | None
) -> None:
    changed = event("iam-user-signs-in-with-mfa")
    changed["detail"]["responseElements"] = elements
    reading = signin.read(changed)
    if outcome:
        assert getattr(reading, "outcome", None) == outcome
    else:
        assert getattr(reading, "reason", None) == "the record tells no outcome"


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com.evil/AWSReservedSSO_A_1",
        "arn:aws:iam::111122223333:role/x/role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_A_1",
        "arn:aws:iam::111122223333:role/AWSReservedSSO_A_1",
        "x arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_A_1",
        "",
    ],
)
def test_only_a_role_below_the_reserved_path_is_a_step_of_the_portal(arn: str) -> None:
    changed = event("identity-center-opens-an-account-by-saml")
    assert isinstance(read(changed), signin.Step)
    changed["detail"]["requestParameters"]["roleArn"] = arn
    assert isinstance(read(changed), signin.SignIn)


@pytest.mark.parametrize("grant", ["refresh_token", "REFRESH_TOKEN"])
@pytest.mark.parametrize("part", ["requestParameters", "additionalEventData"])
@pytest.mark.parametrize(
    "name", ["aws-login-gets-a-token", "command-line-gets-a-token-by-device-code"]
)
def test_refresh_of_a_token_is_read_in_either_part(name: str, part: str, grant: str) -> None:
    changed = event(name)
    for other_part in ("requestParameters", "additionalEventData"):
        fields = changed["detail"].get(other_part) or {}
        without_grant = {key: fields[key] for key in fields if "grant" not in key.lower()}
        changed["detail"][other_part] = without_grant
    changed["detail"][part]["grant_type"] = grant
    reading = signin.read(changed)
    assert isinstance(reading, signin.SignIn)
    assert (reading.kind, reading.grant) == ("session-use", "")
    changed["detail"]["sourceIPAddress"] = "sso.amazonaws.com"
    assert isinstance(signin.read(changed), signin.Step)


REFRESHES = ["command-line-refreshes-its-token", "aws-login-refreshes-its-token"]
PORTAL_CALLS = [
    "identity-center-opens-an-account-by-saml",
    "identity-center-prepares-a-console-session",
]
STRANGERS_CALLS = [
    "identity-center-role-is-taken-by-a-stranger",
    "identity-center-console-link-is-made-by-a-stranger",
]


@pytest.mark.parametrize(
    "source", ["AWS Internal", "AWS Internal/3", "q.amazonaws.com", "q.amazonaws.com.cn"]
)
@pytest.mark.parametrize("name", [*REFRESHES, *PORTAL_CALLS])
def test_use_of_a_session_by_aws_itself_is_a_step(name: str, source: str) -> None:
    changed = event(name)
    changed["detail"]["sourceIPAddress"] = source
    assert isinstance(signin.read(changed), signin.Step)


@pytest.mark.parametrize(
    "source", ["192.0.2.66", "2001:db8::1", "evil.com", "192.0.2.66, q.amazonaws.com"]
)
@pytest.mark.parametrize("name", REFRESHES)
def test_refresh_of_a_token_from_anywhere_else_is_a_session_use(name: str, source: str) -> None:
    changed = event(name)
    changed["detail"]["sourceIPAddress"] = source
    reading = signin.read(changed)
    assert isinstance(reading, signin.SignIn)
    assert (reading.kind, reading.source) == ("session-use", source)


@pytest.mark.parametrize("name", REFRESHES)
def test_refresh_of_a_token_without_a_source_is_unreadable(name: str) -> None:
    changed = event(name)
    del changed["detail"]["sourceIPAddress"]
    reading = signin.read(changed)
    assert isinstance(reading, signin.Unreadable)
    assert reading.reason == "the record names no source address"


@pytest.mark.parametrize("name", [*REFRESHES, *PORTAL_CALLS])
def test_use_of_a_session_that_fails_is_a_step(name: str) -> None:
    changed = event(name)
    changed["detail"] |= {"errorCode": "ExpiredTokenException", "responseElements": None}
    changed["detail"]["additionalEventData"] = {"grant_type": "refresh_token"}
    assert isinstance(signin.read(changed), signin.Step)


@pytest.mark.parametrize("name", PORTAL_CALLS)
@pytest.mark.parametrize(
    "change", [{"vpcEndpointId": "vpce-0123456789abcdef0"}, {"sourceIPAddress": "10.0.0.7"}]
)
def test_call_that_the_portal_cannot_have_made_is_a_session_use(
    name: str, change: dict[str, str]
) -> None:
    changed = event(name)
    changed["detail"] |= change
    reading = read(changed)
    assert isinstance(reading, signin.SignIn)
    assert (reading.kind, reading.outcome) == ("session-use", "success")
    assert reading.what.endswith("with Identity Center")


@pytest.mark.parametrize("name", PORTAL_CALLS)
@pytest.mark.parametrize(
    ("source", "is_step"),
    [
        ("3.5.140.7", True),
        ("2600:1f18::1", True),
        ("::ffff:3.5.140.7", True),
        ("sso.amazonaws.com", True),
        ("AWS Internal", True),
        ("203.0.113.10", False),
        ("2001:db8::1", False),
        ("3.5.140.7, 203.0.113.10", False),
        ("3.5.140.7.example.com", False),
    ],
)
def test_call_is_the_portals_only_from_an_address_of_aws(
    name: str, source: str, *, is_step: bool
) -> None:
    """Whatever user agent it names: anybody can copy that of AWS's backend."""
    changed = event(name)
    changed["detail"]["sourceIPAddress"] = source
    assert isinstance(read(changed), signin.Step) is is_step


@pytest.mark.parametrize("name", PORTAL_CALLS)
def test_without_a_list_a_call_in_the_portals_place_is_a_persons(name: str) -> None:
    reading = signin.read(event(name))
    assert isinstance(reading, signin.SignIn)
    assert reading.kind == "session-use"


@pytest.mark.parametrize("name", CASES)
def test_only_calls_in_the_portals_place_are_looked_up(name: str) -> None:
    """The list is opened for few events, so other ones must not ask."""
    asked = []

    def is_aws_address(source: str) -> bool:
        asked.append(source)
        return False

    signin.read(event(name), is_aws_address)
    assert len(asked) == (name in (*PORTAL_CALLS, *STRANGERS_CALLS))


def test_console_link_without_a_time_is_a_step() -> None:
    changed = event("identity-center-prepares-a-console-session")
    session = changed["detail"]["userIdentity"]["sessionContext"]
    session["attributes"] = {"creationDate": "2026-11-19T22:00:00Z"}
    assert isinstance(read(changed), signin.SignIn)
    changed["time"] = changed["detail"]["eventTime"] = "soon"
    assert isinstance(read(changed), signin.Step)


@pytest.mark.parametrize(
    ("created_at", "is_portal"),
    [
        ("2026-11-20T09:59:59Z", True),
        ("2026-11-20T09:58:01Z", True),
        ("2026-11-20T09:58:00Z", False),
        ("2026-11-19T22:00:00Z", False),
        ("2026-11-20T10:00:05Z", True),
        ("soon", True),
    ],
)
def test_console_link_with_an_older_role_session_is_a_session_use(
    created_at: str, *, is_portal: bool
) -> None:
    changed = event("identity-center-prepares-a-console-session")
    session = changed["detail"]["userIdentity"]["sessionContext"]
    session["attributes"] = {"creationDate": created_at, "mfaAuthenticated": "false"}
    assert isinstance(read(changed), signin.Step) is is_portal


@pytest.mark.parametrize(
    ("name", "user", "extra", "who"),
    [
        (
            "iam-user-signs-in-with-mfa",
            {"arn": "arn:aws:iam::111122223333:user/Anaya", "userName": "\u200b\u2066"},
            {},
            "Anaya",
        ),
        ("identity-center-user-signs-in-with-totp", {}, {"UserName": "\u200b"}, ANAYA_ID),
        ("identity-center-user-signs-in-with-totp", {}, {"UserName": "--"}, ANAYA_ID),
        ("identity-center-user-signs-in-with-totp", {}, {"UserName": " \U0001f98a "}, "\U0001f98a"),
        ("identity-center-user-signs-in-with-totp", {}, {"UserName": "\u3002"}, "\u3002"),
    ],
)
def test_name_is_used_if_it_shows_something(
    name: str, user: dict[str, str], extra: dict[str, str], who: str
) -> None:
    changed = event(name)
    changed["detail"]["userIdentity"] |= user
    changed["detail"]["additionalEventData"] |= extra
    assert read_sign_in(changed).who == who


# OIDC API Reference, CreateToken, errors
PENDING_ERRORS = ("AuthorizationPendingException", "SlowDownException")


@pytest.mark.parametrize("code", PENDING_ERRORS)
def test_pending_error_is_a_step_of_a_device_code_alone(code: str) -> None:
    pending = event("command-line-waits-for-its-device-code")
    refused = event("aws-login-is-refused")
    pending["detail"]["errorCode"] = refused["detail"]["errorCode"] = code
    assert isinstance(signin.read(pending), signin.Step)
    assert isinstance(signin.read(refused), signin.SignIn)


def test_no_other_error_is_pending() -> None:
    assert signin.DEVICE_CODE_PENDING_ERRORS == PENDING_ERRORS
