"""signin-test: shows each step, says where a sign-in stopped, and passes only if a person knows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.support.aws import account
from tests.support.sign_ins import event
from tooling.errors import FailedError, RefusedError
from tooling.operate import signin_test

if TYPE_CHECKING:
    from collections.abc import Iterator

RAW, FUNCTION = "/aws/events/signwatch", "/aws/lambda/signwatch-function"
OUTPUTS = {
    "RawEventLogGroupName": RAW,
    "FunctionLogGroupName": FUNCTION,
    "AlertTopicArn": "arn:aws:sns:us-east-1:111122223333:signwatch-alerts",
}
SIGN_IN = event("iam-user-signs-in-without-mfa")
EVENT_ID = SIGN_IN["detail"]["eventID"]
ALERT = {"event_id": EVENT_ID, "kind": "Console sign-in", "who": "Anaya", "verdict": "alert"}
DECISION = {**ALERT, "reasons": ["unrecognised source", "no MFA"]}
DELIVERY = {"event_id": EVENT_ID, "delivery": "complete", "email": "sent", "TextsSent": 2.0}
START = 1_795_000_000.0


class FakeClock:
    """A clock that only ``sleep`` moves; entries of the logs appear at their times."""

    def __init__(self) -> None:
        self.seconds = START
        self.entries: list[tuple[float, str, object]] = []

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def appear(self, after: float, group: str, entry: object) -> None:
        """Let an entry appear in a log group so many seconds after the start."""
        self.entries.append((START + after, group, entry))


class Logs:
    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    def get_paginator(self, name: str) -> Any:
        assert name == "filter_log_events"
        return SimpleNamespace(paginate=self.paginate)

    def paginate(self, *, logGroupName: str, startTime: int) -> Iterator[Any]:  # noqa: N803 - boto3's own names
        assert startTime == (START - 5) * 1000
        for appears_at, group, entry in self.clock.entries:
            if group == logGroupName and appears_at <= self.clock.seconds:
                message = entry if isinstance(entry, str) else json.dumps(entry)
                yield {"events": [{"message": message}]}


class Topic:
    def __init__(self, arn: str) -> None:
        self.arn = arn

    def get_paginator(self, _: str) -> Any:
        page = {"Subscriptions": [{"SubscriptionArn": self.arn}]}
        return SimpleNamespace(paginate=lambda **_: [page])


class History:
    """CloudTrail's event history with one console sign-in in one Region."""

    def __init__(self, region: str | None) -> None:
        self.region = region

    def lookup_events(self, **request: Any) -> dict[str, Any]:
        name = request["LookupAttributes"][0]["AttributeValue"]
        time = datetime(2026, 11, 24, 10, 12, 31, tzinfo=UTC)
        is_here = name == "ConsoleLogin" and self.region is not None
        return {"Events": [{"EventTime": time}] if is_here else []}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def run(
    clock: FakeClock, *, subscription: str = "arn:x", recorded_in: str = "", minutes: int = 5
) -> tuple[signin_test.Result, list[str]]:
    """Run the test; return its result and the lines that it announced."""
    aws = account(logs=Logs(clock), sns=Topic(subscription))
    client = aws.client

    def make_client(service: str, region: str | None = None) -> Any:
        if service != "cloudtrail":
            return client(service)
        return History(region if region == recorded_in else None)

    object.__setattr__(aws, "client", make_client)
    lines: list[str] = []
    watch_clock = signin_test.Clock(clock.now, clock.sleep)
    result = signin_test.run(aws, OUTPUTS, minutes, lines.append, clock=watch_clock)
    return result, lines


def test_each_step_is_shown_once_with_its_time(clock: FakeClock) -> None:
    clock.appear(40, RAW, SIGN_IN)
    clock.appear(44, FUNCTION, "START RequestId: 1")
    clock.appear(44, FUNCTION, DECISION)
    clock.appear(50, FUNCTION, DELIVERY)
    result, lines = run(clock)
    assert (result.reached_somebody, result.lines) == (
        True,
        ["A person was reached, 51 s after the start of the test."],
    )
    time = SIGN_IN["detail"]["eventTime"]
    assert [line for line in lines[1:] if "waiting" not in line] == [
        f"  CloudTrail  recorded ConsoleLogin from 203.0.113.10 at {time}  (42 s)",
        f"  rule        matched it in {SIGN_IN['detail']['awsRegion']}  (42 s)",
        "  function    read it as Console sign-in  (45 s)",
        '  verdict     alert for "Anaya": unrecognised source; no MFA  (45 s)',
        "  text        Twilio accepted 2  (51 s)",
        "  e-mail      sent  (51 s)",
    ]
    assert lines[0].startswith("Sign in to account 111122223333 now")


@pytest.mark.parametrize(
    ("delivery", "subscription", "reached"),
    [
        ({"TextsSent": 1.0, "email": "failed"}, "arn:x", True),
        ({"TextsSent": 0.0, "email": "sent"}, "arn:x", True),
        ({"TextsSent": 0.0, "email": "sent"}, "PendingConfirmation", False),
        ({"TextsSent": 0.0, "email": "failed"}, "arn:x", False),
        ({"TextsSent": 0.0, "email": "had"}, "arn:x", False),
    ],
)
def test_passes_only_if_a_text_or_a_confirmed_e_mail_went_out(
    clock: FakeClock, delivery: dict[str, Any], subscription: str, *, reached: bool
) -> None:
    clock.appear(1, RAW, SIGN_IN)
    clock.appear(1, FUNCTION, DECISION)
    clock.appear(1, FUNCTION, {**DELIVERY, "delivery": ["no text was sent: x"], **delivery})
    result, lines = run(clock, subscription=subscription)
    assert result.reached_somebody is reached
    if not reached:
        assert result.lines[0].startswith("It stopped at the delivery: neither a text nor")
    has_note = any("no address has confirmed" in line for line in lines)
    assert has_note is (subscription == "PendingConfirmation")


def test_sign_in_before_the_test_does_not_count(clock: FakeClock) -> None:
    clock.appear(-3, RAW, SIGN_IN)
    clock.appear(2, FUNCTION, DECISION)
    clock.appear(2, FUNCTION, DELIVERY)
    result, lines = run(clock, minutes=1)
    assert not result.reached_somebody
    assert not any("verdict" in line for line in lines)


def test_recognised_sign_in_ends_the_wait_after_a_minute(clock: FakeClock) -> None:
    clock.appear(10, RAW, SIGN_IN)
    clock.appear(10, FUNCTION, {**DECISION, "verdict": "recognised"})
    result, _ = run(clock)
    assert not result.reached_somebody
    assert result.lines[0].startswith("It stopped at the verdict: this sign-in makes no alert")
    assert 70 <= clock.seconds - START <= 76


def test_alert_after_a_recognised_sign_in_still_counts(clock: FakeClock) -> None:
    other = {**SIGN_IN, "detail": {**SIGN_IN["detail"], "eventID": "other"}}
    clock.appear(10, RAW, other)
    clock.appear(10, FUNCTION, {**DECISION, "event_id": "other", "verdict": "recognised"})
    clock.appear(60, RAW, SIGN_IN)
    clock.appear(60, FUNCTION, DECISION)
    clock.appear(60, FUNCTION, DELIVERY)
    assert run(clock)[0].reached_somebody


@pytest.mark.parametrize(
    ("entries", "beginning"),
    [
        ([], "It stopped at CloudTrail or the rule: nothing arrived within 5 minutes."),
        ([(RAW, SIGN_IN)], "It stopped at the function: the rule handed it over"),
        ([(RAW, SIGN_IN), (FUNCTION, DECISION)], "It stopped at the delivery: the alert was not"),
        ([(RAW, event("portal-lists-accounts"))], "It stopped at CloudTrail or the rule"),
        ([(FUNCTION, DECISION)], "It stopped at CloudTrail or the rule"),
    ],
)
def test_says_where_it_stopped(
    clock: FakeClock, entries: list[tuple[str, object]], beginning: str
) -> None:
    for group, entry in entries:
        clock.appear(1, group, entry)
    result, lines = run(clock)
    assert not result.reached_somebody
    assert result.lines[0].startswith(beginning)
    assert result.lines[-1].startswith("Try: ")
    assert sum("waiting" in line for line in lines) == 9


def test_event_history_shows_the_region_of_a_sign_in_that_no_rule_saw(clock: FakeClock) -> None:
    result, _ = run(clock, recorded_in="us-east-2", minutes=1)
    expected = "CloudTrail recorded ConsoleLogin at 2026-11-24 10:12:31 in us-east-2; the rules"
    assert [line for line in result.lines if line.startswith(expected)]


def test_untrusted_text_is_escaped(clock: FakeClock) -> None:
    record = {**SIGN_IN, "detail": {**SIGN_IN["detail"], "eventName": "ConsoleLogin"}}
    record["detail"]["sourceIPAddress"] = "\x1b[31m1.2.3.4"
    clock.appear(1, RAW, record)
    clock.appear(1, FUNCTION, {**DECISION, "who": "\x1b]0;x\x07", "reasons": ["\r"]})
    assert "\x1b" not in "".join(run(clock)[1])


@pytest.mark.parametrize("text", ["", "0", "61", "-1", "1.5", "x", "\u0661"])
def test_minutes_are_checked(text: str) -> None:
    with pytest.raises(RefusedError, match="give a number from 1 to 60"):
        signin_test.parse_minutes(text)


def test_missing_rights_are_named(clock: FakeClock) -> None:
    class DeniedLogs(Logs):
        def paginate(self, **_: Any) -> Iterator[Any]:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "x")

    aws = account(logs=DeniedLogs(clock), sns=Topic("arn:x"))
    with pytest.raises(FailedError, match="logs:FilterLogEvents"):
        signin_test.run(aws, OUTPUTS, 1, lambda _: None)


@pytest.mark.parametrize(
    ("name", "is_sign_in"),
    [
        ("iam-user-signs-in-with-mfa", True),
        ("identity-center-role-is-taken-by-a-stranger", True),
        ("identity-center-opens-an-account-by-saml", False),
        ("identity-center-prepares-a-console-session", False),
        ("second-factor-is-asked-for", False),
    ],
)
def test_step_of_the_portal_is_no_sign_in_to_follow(name: str, *, is_sign_in: bool) -> None:
    followed = signin_test.FollowedSignIn("event-1", record=event(name))
    assert followed.is_sign_in is is_sign_in
    assert not signin_test.FollowedSignIn("event-1").is_sign_in
