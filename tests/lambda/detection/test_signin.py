"""Reading: each case file is read as it says, and no mutant of one is lost."""

from __future__ import annotations

import random

import pytest

from signwatch.detection import sign_in_paths, signin
from signwatch.detection.record import parse_time
from tests.support.sign_ins import CASES, event, mutant


class Trap(dict[str, object]):
    """An object that fails when it is looked into."""

    def get(self, *_: object) -> None:
        raise RuntimeError("no")


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_read_as_it_says(name: str) -> None:
    expected = {
        key: value
        for key, value in CASES[name]["expected"].items()
        if key not in ("anywhere", "recognised")
    }
    reading = signin.read(event(name))
    assert type(reading).__name__ == expected.pop("class")
    assert {field: getattr(reading, field) for field in expected} == expected


def test_every_class_and_every_kind_of_sign_in_has_a_case() -> None:
    expected = [case["expected"] for case in CASES.values()]
    assert {one["class"] for one in expected} == {"SignIn", "Step", "NotASignIn", "Unreadable"}
    sign_ins = [one for one in expected if one["class"] == "SignIn"]
    assert {one["kind"] for one in sign_ins} == {
        path.kind for path in (*sign_in_paths.PATHS.values(), sign_in_paths.ANOMALY)
    }
    assert {one["identity"] for one in sign_ins} == {*signin.TYPES.values(), "unknown"}
    assert {one["mfa"] for one in sign_ins} == {"yes", "no", "provider", "unrecorded"}


def test_every_event_that_counts_as_a_sign_in_or_a_step_has_a_case() -> None:
    records = [
        case["event"].get("detail", {})
        for case in CASES.values()
        if isinstance(case["event"], dict)
    ]
    seen = {
        (
            str(record.get("eventSource")).partition(".")[0].lower(),
            str(record.get("eventName")).lower(),
        )
        for record in records
        if isinstance(record, dict)
    }
    assert set(sign_in_paths.PATHS) | set(sign_in_paths.STEPS) <= seen


@pytest.mark.parametrize(
    ("record", "told"),
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
def test_where_and_when_are_read_from(record: dict[str, object], told: tuple[str, ...]) -> None:
    given = event("iam-user-signs-in-with-mfa")
    given["detail"] |= record
    given |= {
        "region": "us-east-1",
        "time": "2026-11-20T10:00:00Z",
        "id": "envelope",
        "account": "999999999999",
    }
    reading = signin.read(given)
    assert isinstance(reading, signin.SignIn)
    assert (reading.region, reading.time, reading.event_id, reading.account) == told


def test_a_success_is_believed_before_an_error_that_stands_beside_it() -> None:
    told = event("iam-user-signs-in-with-mfa")
    told["detail"]["errorMessage"] = "Failed authentication"
    told["detail"]["responseElements"] = {"consolelogin": "Failure", "ConsoleLogin": "Success"}
    reading = signin.read(told)
    assert isinstance(reading, signin.SignIn)
    assert reading.outcome == "success"


def test_an_unreadable_record_still_tells_what_it_can() -> None:
    reading = signin.read(event("record-without-an-outcome"))
    assert isinstance(reading, signin.Unreadable)
    assert (reading.account, reading.who, reading.source) == (
        "111122223333",
        "Anaya",
        "203.0.113.10",
    )
    assert reading.why == "the record tells no outcome"


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
def test_whatever_hints_at_root_is_read_as_root(name: str, user: dict[str, str]) -> None:
    told = event(name)
    told["detail"]["userIdentity"] = user
    reading = signin.read(told)
    assert isinstance(reading, signin.SignIn)
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
def test_the_role_is_told_of_a_session_of_one_alone(arn: str, role: str) -> None:
    told = event("federated-user-signs-in")
    told["detail"]["userIdentity"]["arn"] = arn
    reading = signin.read(told)
    assert isinstance(reading, signin.SignIn)
    assert reading.role == role


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("federated-user-takes-a-role-by-saml", "SamlAdmin"),
        ("command-line-gets-role-keys", "AdministratorAccess"),
    ],
)
def test_the_role_is_told_of_a_path_that_hands_one_out(name: str, role: str) -> None:
    reading = signin.read(event(name))
    assert isinstance(reading, signin.SignIn)
    assert reading.role == role


@pytest.mark.parametrize("told", ["No", "NO", "no ", "false", "False", False])
def test_a_missing_second_factor_is_read_however_it_is_written(told: object) -> None:
    given = event("iam-user-signs-in-with-mfa")
    given["detail"]["additionalEventData"]["MFAUsed"] = told
    reading = signin.read(given)
    assert isinstance(reading, signin.SignIn)
    assert reading.mfa == "no"


@pytest.mark.parametrize(
    ("recorded", "endpoint"), [("vpce-0123456789abcdef0", "vpce-0123456789abcdef0"), (None, "")]
)
def test_the_vpc_endpoint_is_read_where_the_record_names_one(
    recorded: str | None, endpoint: str
) -> None:
    told = event("iam-user-signs-in-from-a-private-address")
    told["detail"]["vpcEndpointId"] = recorded
    reading = signin.read(told)
    assert isinstance(reading, signin.SignIn)
    assert reading.endpoint == endpoint


def test_aws_login_names_its_endpoint_in_another_place() -> None:
    told = event("aws-login-is-approved-in-the-browser")
    told["detail"]["additionalEventData"]["x-amzn-vpce-id"] = "vpce-0123456789abcdef0"
    reading = signin.read(told)
    assert isinstance(reading, signin.SignIn)
    assert reading.endpoint == "vpce-0123456789abcdef0"


def test_the_user_agent_changes_nothing() -> None:
    told = event("iam-user-signs-in-without-mfa")
    plain = signin.read(told)
    for agent in ("Jersey/${project.version}", "AWS Internal", "signin.amazonaws.com", ""):
        told["detail"]["userAgent"] = agent
        assert signin.read(told) == plain


def test_a_fault_of_our_own_is_an_alert_and_not_an_exception() -> None:
    reading = signin.read({"detail": Trap(eventName="ConsoleLogin")})
    assert isinstance(reading, signin.Unreadable)
    assert reading.why == "reading it failed (RuntimeError)"


@pytest.mark.parametrize(
    "value", [None, 7, [], {}, "", "{}", b"x", float("nan"), [[]], {"detail": None}]
)
def test_what_is_no_event_at_all_is_unreadable(value: object) -> None:
    assert isinstance(signin.read(value), signin.Unreadable)


def test_no_mutant_raises_and_every_field_of_a_reading_is_a_text_or_says_yes_or_no() -> None:
    chance = random.Random(7)  # noqa: S311 - the same mutants each time, no secret among them
    for _ in range(1000):
        reading = signin.read(mutant(chance))
        assert isinstance(
            reading, signin.SignIn | signin.Step | signin.NotASignIn | signin.Unreadable
        )
        assert all(isinstance(value, str) for value in reading if not isinstance(value, bool))
        if isinstance(reading, signin.SignIn):
            assert all((reading.source or reading.kind == "anomaly", reading.who, reading.what))
            assert reading.outcome in ("success", "failure")


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-11-20", "2026-11-20T10:00:00", "0001-01-01T00:00:00+23:59"]
)
def test_a_time_that_names_no_moment_is_none(text: str) -> None:
    assert parse_time(text) is None


def test_a_time_as_cloudtrail_writes_it_is_a_moment() -> None:
    found = parse_time("1970-01-02T00:00:01Z")
    assert found
    assert found.timestamp() == 86401


def test_a_change_of_the_user_agent_changes_nothing() -> None:
    """Whoever signs in chooses it (CloudTrail record contents, userAgent)."""
    for name in CASES:
        told = event(name)
        if isinstance(told, dict) and isinstance(told.get("detail"), dict):
            told["detail"]["userAgent"] = (
                "aws-internal/3 aws-sdk-java/1.12 Jersey/2.0 signin.amazonaws.com"
            )
            assert signin.read(told) == signin.read(event(name))


@pytest.mark.parametrize("kind", ["Sign-in Anomaly Alert", "SIGN-IN ANOMALY ALERT"])
def test_awss_own_alert_is_told_by_the_detail_type_of_its_envelope_alone(kind: str) -> None:
    told = event("aws-itself-sees-an-anomaly") | {
        "detail-type": kind,
        "detail": {"whatever": ["it", "holds"]},
    }
    reading = signin.read(told)
    assert isinstance(reading, signin.SignIn)
    assert (reading.kind, reading.event_name, reading.account) == ("anomaly", kind, "111122223333")


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
def test_only_a_role_below_awss_own_path_is_a_step_of_the_portal(arn: str) -> None:
    told = event("identity-center-opens-an-account-by-saml")
    assert isinstance(signin.read(told), signin.Step)
    told["detail"]["requestParameters"]["roleArn"] = arn
    assert isinstance(signin.read(told), signin.SignIn)


@pytest.mark.parametrize("grant", ["refresh_token", "REFRESH_TOKEN"])
@pytest.mark.parametrize("place", ["requestParameters", "additionalEventData"])
@pytest.mark.parametrize(
    "name", ["aws-login-gets-a-token", "command-line-gets-a-token-by-device-code"]
)
def test_a_refreshed_token_is_a_step_wherever_its_grant_is_told(
    name: str, place: str, grant: str
) -> None:
    told = event(name)
    for part in ("requestParameters", "additionalEventData"):
        told["detail"][part] = {
            key: value
            for key, value in (told["detail"].get(part) or {}).items()
            if "grant" not in key.lower()
        }
    told["detail"][place]["grant_type"] = grant
    assert isinstance(signin.read(told), signin.Step)


@pytest.mark.parametrize(
    ("name", "user", "extra", "who"),
    [
        ("iam-user-signs-in-with-mfa", {"userName": "\u200b\u2066"}, {}, "Anaya"),
        (
            "identity-center-user-signs-in-with-totp",
            {},
            {"UserName": "\u200b"},
            "544894e8-80c1-707f-60e3-3ba6510dfac1",
        ),
    ],
)
def test_a_name_that_shows_nothing_is_none(
    name: str, user: dict[str, str], extra: dict[str, str], who: str
) -> None:
    told = event(name)
    told["detail"]["userIdentity"] |= (
        {"arn": "arn:aws:iam::111122223333:user/Anaya", **user} if user else {}
    )
    told["detail"]["additionalEventData"] |= extra
    reading = signin.read(told)
    assert isinstance(reading, signin.SignIn)
    assert reading.who == who


@pytest.mark.parametrize("code", signin.WAITING)
def test_only_a_device_code_can_wait(code: str) -> None:
    waits, other = event("command-line-waits-for-its-device-code"), event("aws-login-is-refused")
    waits["detail"]["errorCode"] = other["detail"]["errorCode"] = code
    assert isinstance(signin.read(waits), signin.Step)
    assert isinstance(signin.read(other), signin.SignIn)


def test_the_codes_of_a_code_that_waits_are_those_that_are_documented() -> None:
    assert signin.WAITING == ("AuthorizationPendingException", "SlowDownException")


@pytest.mark.parametrize(
    ("told", "mfa"), [(True, "yes"), ("true", "yes"), (False, "no"), ("x", "unrecorded")]
)
def test_a_session_tells_of_mfa_as_a_text_or_as_a_boolean(told: object, mfa: str) -> None:
    given = event("aws-login-is-approved-in-the-browser")
    given["detail"]["userIdentity"] = {
        "type": "IAMUser",
        "userName": "Anaya",
        "sessionContext": {"attributes": {"mfaAuthenticated": told}},
    }
    reading = signin.read(given)
    assert isinstance(reading, signin.SignIn)
    assert reading.mfa == mfa
