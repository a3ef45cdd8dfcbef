"""Each case file is read as it says, and no mutant of one is lost."""

from __future__ import annotations

import random
from typing import Any

import pytest

from signwatch.detection import sign_in_paths, signin
from tests.support.sign_ins import CASES, event, mutant

ANAYA_ID = "544894e8-80c1-707f-60e3-3ba6510dfac1"
ENDPOINT = "vpce-0123456789abcdef0"


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
    reading = signin.read(event(name))
    assert type(reading).__name__ == expected.pop("class")
    assert {field: getattr(reading, field) for field in expected} == expected


def test_every_class_and_every_kind_of_sign_in_has_a_case() -> None:
    expected = [case["expected"] for case in CASES.values()]
    sign_ins = [case for case in expected if case["class"] == "SignIn"]
    paths = (*sign_in_paths.PATHS.values(), sign_in_paths.ANOMALY)
    assert {case["class"] for case in expected} == {"SignIn", "Step", "NotASignIn", "Unreadable"}
    kinds = {path.kind for path in paths} | {sign_in_paths.SESSION_USE}
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
        ("identity-center-user-signs-in-with-totp", {"type": "Root"}),
    ],
)
def test_any_hint_at_root_is_read_as_root(name: str, user: dict[str, str]) -> None:
    changed = event(name)
    changed["detail"]["userIdentity"] = user
    reading = read_sign_in(changed)
    assert (reading.identity, reading.who) == ("root", "root")


@pytest.mark.parametrize(
    ("arn", "role"),
    [
        ("arn:aws:sts::111122223333:assumed-role/Admin/anaya@example.com", "Admin"),
        ("arn:aws:iam::111122223333:user/Admin/anaya", ""),
        ("arn:aws:sts::111122223333:federated-user/Admin", ""),
        ("Admin", ""),
        ("", ""),
    ],
)
def test_only_a_session_of_a_role_has_a_role(arn: str, role: str) -> None:
    changed = event("federated-user-signs-in")
    changed["detail"]["userIdentity"]["arn"] = arn
    assert read_sign_in(changed).role == role


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("federated-user-takes-a-role-by-saml", "SamlAdmin"),
        ("command-line-gets-role-keys", "AdministratorAccess"),
    ],
)
def test_role_is_read_on_a_path_that_hands_one_out(name: str, role: str) -> None:
    assert read_sign_in(event(name)).role == role


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


@pytest.mark.parametrize(("recorded", "endpoint"), [(ENDPOINT, ENDPOINT), (None, "")])
def test_vpc_endpoint_is_read_if_the_record_names_one(recorded: str | None, endpoint: str) -> None:
    changed = event("iam-user-signs-in-from-a-private-address")
    changed["detail"]["vpcEndpointId"] = recorded
    assert read_sign_in(changed).vpc_endpoint == endpoint


def test_aws_login_names_its_vpc_endpoint_in_another_field() -> None:
    changed = event("aws-login-is-approved-in-the-browser")
    changed["detail"]["additionalEventData"]["x-amzn-vpce-id"] = ENDPOINT
    assert read_sign_in(changed).vpc_endpoint == ENDPOINT


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


def test_fault_in_the_code_is_an_alert_and_no_exception() -> None:
    reading = signin.read({"detail": BrokenObject(eventName="ConsoleLogin")})
    assert isinstance(reading, signin.Unreadable)
    assert reading.reason == "reading it failed (RuntimeError)"


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


@pytest.mark.parametrize("detail_type", ["Sign-in Anomaly Alert", "SIGN-IN ANOMALY ALERT"])
def test_anomaly_alert_is_recognised_by_its_detail_type_alone(detail_type: str) -> None:
    changed = event("aws-itself-sees-an-anomaly")
    changed |= {"detail-type": detail_type, "detail": {"whatever": ["it", "holds"]}}
    reading = read_sign_in(changed)
    assert reading.kind == "anomaly"
    assert reading.event_name == detail_type
    assert reading.account == "111122223333"


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
    assert isinstance(signin.read(changed), signin.Step)
    changed["detail"]["requestParameters"]["roleArn"] = arn
    assert isinstance(signin.read(changed), signin.SignIn)


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


@pytest.mark.parametrize("source", ["AWS Internal", "AWS Internal/3", "q.amazonaws.com"])
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
    assert isinstance(signin.read(changed), signin.Unreadable)


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
    reading = signin.read(changed)
    assert isinstance(reading, signin.SignIn)
    assert (reading.kind, reading.outcome) == ("session-use", "success")
    assert reading.what.endswith("with Identity Center")


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
    assert isinstance(signin.read(changed), signin.Step) is is_portal


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
    ],
)
def test_name_of_invisible_characters_is_ignored(
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
