"""The pipeline: each case ends as its file states; a recognised sign-in makes no AWS call."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.alerting import delivery, message, sms
from signwatch.alerting.delivery import DeliveryError
from signwatch.pipeline import process
from tests.support.deliveries import queue_delivery, trail_batch
from tests.support.dependencies import FIRST, SECOND, TWILIO_SECRET, World
from tests.support.sign_ins import CASES, NETWORKS, event, mutant, read

if TYPE_CHECKING:
    from tests.support.twilio import Twilio


def is_quiet(expected: dict[str, Any]) -> bool:
    """Return whether there is no alert and no address to compare with another event's."""
    if expected["recognised"]["level"] == "alert":
        return False
    if expected.get("outcome") != "success":
        return True
    return expected["kind"] != "identity-center" and "(device code)" not in expected["what"]


RIGHT_PASSWORDS = [
    name for name, case in CASES.items() if getattr(read(case["event"]), "is_right_password", False)
]
QUIET = [
    name
    for name, case in CASES.items()
    if is_quiet(case["expected"]) and name not in RIGHT_PASSWORDS
]


def decision(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (decision_line,) = [line for line in lines if "verdict" in line]
    return dict(decision_line)


@pytest.mark.joint
@pytest.mark.parametrize("place", NETWORKS)
@pytest.mark.parametrize("name", CASES)
def test_case_sends_the_texts_and_emails_that_its_file_states(
    name: str, place: str, world: World, twilio: Twilio
) -> None:
    expected = CASES[name]["expected"][place]
    world.secrets.text = json.dumps({**TWILIO_SECRET, "recipients": [FIRST]})
    dependencies = world.dependencies(known_networks=NETWORKS[place], twilio_base_url=twilio.url)
    result = process(event(name), dependencies)
    assert result["verdict"] == expected["level"]
    assert twilio.recipients == [FIRST] * expected["texts"]
    assert len(world.topic.emails) == expected["emails"]


@pytest.mark.parametrize("name", QUIET)
def test_event_that_does_not_alert_makes_no_aws_client(name: str, world: World) -> None:
    process(event(name), world.dependencies(known_networks=NETWORKS["recognised"]))
    assert world.clients == []


def test_right_password_uses_the_queue_alone(world: World) -> None:
    assert RIGHT_PASSWORDS == ["identity-center-factor-is-right", "second-factor-is-asked-for"]
    for name in RIGHT_PASSWORDS:
        process(event(name), world.dependencies())
    assert world.clients == ["sqs", "sqs"]


def test_decision_is_logged_with_the_documented_keys(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_in = event("iam-user-fails")
    sign_in["detail"]["eventTime"] = "2026-11-26T09:58:45Z"
    process(sign_in, world.dependencies(known_networks=NETWORKS["recognised"]))
    line = decision(capsys)
    expected = {
        "event_id": sign_in["detail"]["eventID"],
        "kind": "Console sign-in",
        "who": "Paulo",
        "source": "203.0.113.10",
        "verdict": "note",
        "reasons": ["failure", "recognised source"],
        "delay_s": 75,
    }
    assert line | expected == line
    assert "vpc_endpoint" not in line
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [["Verdict"]]
    assert (line["Verdict"], line["SignIns"], line["DelaySeconds"]) == ("note", 1.0, 75.0)


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        ("root-signs-in-with-mfa", "high"),
        ("iam-user-signs-in-with-mfa", "normal"),
        ("iam-user-fails", "normal"),
        ("portal-lists-accounts", ""),
    ],
)
def test_severity_is_logged(
    world: World, capsys: pytest.CaptureFixture[str], name: str, severity: str
) -> None:
    world.secrets.text = None
    process(event(name), world.dependencies())
    assert decision(capsys)["severity"] == severity


def test_vpc_endpoint_is_logged(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.secrets.text = None
    sign_in = event("iam-user-signs-in-with-mfa")
    sign_in["detail"]["vpcEndpointId"] = "vpce-0123456789abcdef0"
    process(sign_in, world.dependencies(known_networks=NETWORKS["recognised"]))
    line = decision(capsys)
    assert (line["verdict"], line["vpc_endpoint"]) == ("alert", "vpce-0123456789abcdef0")
    assert "recognised_by" not in line
    email = world.topic.emails[0]["Message"]
    assert "Via vpce-0123456789abcdef0" in email
    assert "add the address" not in email


def test_sources_in_the_text_begin_with_the_unrecognised_one(world: World, twilio: Twilio) -> None:
    sign_in = event("iam-user-signs-in-with-mfa")
    sign_in["detail"]["sourceIPAddress"] = ", ".join(
        (*[f"203.0.113.{number}" for number in range(10, 20)], "192.0.2.7")
    )
    process(
        sign_in,
        world.dependencies(known_networks="203.0.113.0/24", twilio_base_url=twilio.url),
    )
    assert "From: 192.0.2.7, 203.0.113.10 and 9 more" in twilio.messages[0]["body"]


def test_unreadable_record_is_logged_with_its_readable_fields(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.secrets.text = None
    process(event("record-without-an-outcome"), world.dependencies())
    line = decision(capsys)
    assert (line["kind"], line["level"]) == ("Unreadable", "WARNING")
    assert (line["who"], line["source"]) == ("Anaya", "203.0.113.10")
    assert line["delay_s"] == 6 * 86_400


def test_event_that_is_no_sign_in_is_logged_without_a_person(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    process(event("portal-lists-accounts"), world.dependencies())
    line = decision(capsys)
    assert (line["kind"], line["level"]) == ("Step", "INFO")
    assert (line["who"], line["source"], line["grouped"]) == ("", "", "")
    assert line["delay_s"] is None
    assert "recognised_by" not in line


@pytest.mark.parametrize("time", ["soon", "", None, "2026-11-26T09:58:45"])
def test_delay_is_unknown_if_the_time_cannot_be_read(
    world: World, capsys: pytest.CaptureFixture[str], time: str | None
) -> None:
    sign_in = event("iam-user-fails")
    sign_in["detail"]["eventTime"] = sign_in["time"] = time
    process(sign_in, world.dependencies(known_networks=NETWORKS["recognised"]))
    line = decision(capsys)
    assert line["delay_s"] is None
    assert "DelaySeconds" not in line


def test_delay_of_a_sign_in_in_the_future_is_zero(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_in = event("iam-user-fails")
    sign_in["detail"]["eventTime"] = "2030-01-01T00:00:00Z"
    process(sign_in, world.dependencies(known_networks=NETWORKS["recognised"]))
    assert decision(capsys)["delay_s"] == 0


def test_unusable_network_is_logged_and_recognises_nothing(
    world: World, capsys: pytest.CaptureFixture[str], twilio: Twilio
) -> None:
    sign_in, networks = event("iam-user-signs-in-with-mfa"), "0.0.0.0/0,203.0.113.0/99"
    process(sign_in, world.dependencies(known_networks=networks, twilio_base_url=twilio.url))
    line = decision(capsys)
    assert line["verdict"] == "alert"
    assert line["unusable_networks"] == ["0.0.0.0/0", "203.0.113.0/99"]
    assert (line["level"], line["problem"]) == ("ERROR", "networks")
    assert sorted(twilio.recipients) == [FIRST, SECOND]


def test_ledger_key_is_the_account_and_the_event_id(world: World, twilio: Twilio) -> None:
    sign_in = event("iam-user-signs-in-with-mfa")
    result = process(sign_in, world.dependencies(twilio_base_url=twilio.url))
    assert result == {"event_id": sign_in["detail"]["eventID"], "verdict": "alert"}
    assert f"111122223333#{sign_in['detail']['eventID']}" in world.table.items


def test_text_has_the_accounts_label_and_the_delay(world: World, twilio: Twilio) -> None:
    sign_in = event("iam-user-signs-in-with-mfa")
    sign_in["detail"]["eventTime"] = "2026-11-26T09:55:00Z"
    process(sign_in, world.dependencies(twilio_base_url=twilio.url))
    lines = twilio.messages[0]["body"].splitlines()
    assert lines[0] == "AWS SIGN-IN ALERT account production"
    assert lines[-2].endswith("2026-11-26 09:55:00 UTC, 5 min ago")


@pytest.mark.parametrize(
    ("labels", "shown"), [("444455556666=Payroll", "Payroll"), ("", "...6666"), ("1=x", "...6666")]
)
def test_text_about_another_account_has_that_accounts_label(
    world: World, twilio: Twilio, labels: str, shown: str
) -> None:
    sign_in = event("iam-user-signs-in-with-mfa")
    sign_in["detail"]["recipientAccountId"] = "444455556666"
    process(sign_in, world.dependencies(twilio_base_url=twilio.url, account_labels=labels))
    first_line = twilio.messages[0]["body"].splitlines()[0]
    assert first_line.removeprefix("AWS SIGN-IN ALERT account ") == shown


def test_alert_whose_cause_is_switched_off_is_a_note(world: World) -> None:
    off = world.dependencies(alert_off="no-mfa,unrecognised-source")
    assert process(event("iam-user-signs-in-with-mfa"), off)["verdict"] == "note"
    assert world.topic.emails == []


def test_alert_has_the_local_time_of_the_time_zone(world: World) -> None:
    world.secrets.text = None
    process(event("iam-user-signs-in-with-mfa"), world.dependencies(time_zone="Europe/Berlin"))
    email = world.topic.emails[0]["Message"]
    assert "\neu-north-1 2026-11-20 10:00:00 UTC (11:00 +0100)," in email


def test_event_without_an_id_is_not_recorded_and_is_sent_each_time(world: World) -> None:
    world.secrets.text = None
    sign_in = event("iam-user-signs-in-with-mfa") | {"id": ""}
    sign_in["detail"]["eventID"] = ""
    for _ in range(2):
        process(sign_in, world.dependencies())
    assert len(world.topic.emails) == 2
    assert world.table.items == {}


def test_error_is_raised_if_the_alert_did_not_reach_everybody(
    world: World,
) -> None:
    world.topic.fails = {"publish"}
    with pytest.raises(DeliveryError):
        process(event("iam-user-signs-in-with-mfa"), world.dependencies())


def test_error_in_the_alert_is_raised_as_it_is_and_suppresses_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ArithmeticError

    known = world.dependencies(known_networks=NETWORKS["recognised"])
    monkeypatch.setattr(message, "compose", fail)
    with pytest.raises(ArithmeticError):
        process(event("iam-user-signs-in-without-mfa"), known)
    monkeypatch.undo()
    world.secrets.text = None
    another = event("iam-user-signs-in-without-mfa")
    another["detail"]["eventID"] = "another"
    assert process(another, known)["verdict"] == "alert"
    assert len(world.topic.emails) == 1


def test_no_mutant_raises_and_each_alert_is_emailed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The secret is empty, so that only e-mail is sent; each mutant has an empty ledger."""
    chance, world.secrets.text = random.Random(19), None  # noqa: S311 - the same mutants each time
    for _ in range(1000):
        world.table.items.clear()
        world.topic.emails.clear()
        result = process(mutant(chance), world.dependencies(known_networks=NETWORKS["recognised"]))
        assert decision(capsys)["verdict"] == result["verdict"]
        assert len(world.topic.emails) == int(result["verdict"] == "alert")


def test_copy_of_an_alert_that_is_being_sent_releases_no_claim(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways bring it at once, and meanwhile another one that is sent once a day."""
    world.secrets.text = None
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    first, other = (event("iam-user-signs-in-without-mfa") for _ in range(2))
    other["detail"]["eventID"] = "another"
    verdicts: list[str] = []
    send_email = delivery.send_email

    def send_meanwhile(*arguments: Any, **options: Any) -> str:
        monkeypatch.setattr(delivery, "send_email", send_email)
        with pytest.raises(DeliveryError, match="another invocation"):
            process(first, known)
        verdicts.append(process(other, known)["verdict"])
        return send_email(*arguments, **options)

    monkeypatch.setattr(delivery, "send_email", send_meanwhile)
    process(first, known)
    assert verdicts == ["note"]
    assert len(world.topic.emails) == 1


def metrics(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the metrics that were counted since the last call."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = ("SignIns", "RecoveredSignIns")
    return [
        f"{name} {line.get('Verdict', '')}".strip()
        for line in lines
        for name in names
        if name in line
    ]


class TestCounting:
    BUS = event("iam-user-signs-in-without-mfa")
    TRAIL = trail_batch(json.dumps(BUS["detail"]))
    FAILED = queue_delivery(BUS, "failed-events")
    UNDELIVERED = queue_delivery(BUS, "undelivered-events")

    @pytest.mark.parametrize(
        ("ways", "counted"),
        [
            ([BUS, TRAIL], ["SignIns alert"]),
            ([TRAIL, BUS], ["SignIns alert", "RecoveredSignIns"]),
            ([TRAIL, TRAIL, FAILED], ["SignIns alert", "RecoveredSignIns"]),
            ([UNDELIVERED, TRAIL], ["SignIns alert"]),
        ],
    )
    def test_alert_counts_once_whichever_way_comes_first(
        self,
        world: World,
        capsys: pytest.CaptureFixture[str],
        ways: list[Any],
        counted: list[str],
    ) -> None:
        world.secrets.text = None
        for way in ways:
            assert process(way, world.dependencies())["verdict"] == "alert"
        assert metrics(capsys) == counted
        assert len(world.topic.emails) == 1

    def test_alert_that_fails_at_first_counts_once(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.secrets.text = None
        world.topic.fails = {"publish"}
        for way in (self.BUS, self.TRAIL):
            with pytest.raises(DeliveryError):
                process(way, world.dependencies())
            world.now += 60  # the lease of the delivery has ended
        world.topic.fails = set()
        process(self.FAILED, world.dependencies())
        assert metrics(capsys) == ["SignIns alert"]

    def test_decision_without_an_alert_is_counted_by_the_bus_and_logged_with_its_way(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        recognised = event("iam-user-signs-in-with-mfa")
        trail = trail_batch(json.dumps(recognised["detail"]))
        known = world.dependencies(known_networks=NETWORKS["recognised"])
        for way, via, counts in (
            (recognised, "bus", True),
            (trail, "trail", False),
            (queue_delivery(recognised, "undelivered-events"), "queue", True),
            (queue_delivery(trail, "failed-events"), "trail", False),
            (queue_delivery(recognised, "later"), "later", False),
        ):
            process(way, known)
            line = decision(capsys)
            assert (line["via"], line["verdict"]) == (via, "recognised")
            assert ("SignIns" in line) is ("DelaySeconds" in line) is counts
        assert world.clients == []


@pytest.mark.parametrize("queue", ["failed-events", "undelivered-events", "later"])
def test_age_of_an_event_that_a_queue_brings_back_is_measured(
    world: World, capsys: pytest.CaptureFixture[str], queue: str
) -> None:
    """CloudWatch's own metric leaves out a message that was received three times."""
    world.topic.fails = {"publish"}
    world.secrets.text = None
    attributes = {"SentTimestamp": str(int((world.now - 1801) * 1000))}
    sign_in = event("root-signs-in-without-mfa")
    with pytest.raises(DeliveryError):
        process(queue_delivery(sign_in, queue, attributes=attributes), world.dependencies())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    ages = [line["RetryAgeSeconds"] for line in lines if "RetryAgeSeconds" in line]
    assert ages == ([] if queue == "later" else [1801.0])


class TestBatch:
    def records(self, count: int) -> list[dict[str, Any]]:
        sign_in = event("root-signs-in-without-mfa")["detail"]
        return [{**sign_in, "eventID": f"id-{number}"} for number in range(count)]

    def test_each_record_of_a_trail_batch_alerts_once(self, world: World, twilio: Twilio) -> None:
        dependencies = world.dependencies(twilio_base_url=twilio.url)
        batch = trail_batch(*map(json.dumps, self.records(3)))
        for _ in range(2):
            decisions = process(batch, dependencies)["decisions"]
            assert sorted(decision["event_id"] for decision in decisions) == [
                "id-0",
                "id-1",
                "id-2",
            ]
        assert len(world.topic.emails) == 3

    def test_control_message_makes_no_decision(self, world: World) -> None:
        batch = trail_batch("", kind="CONTROL_MESSAGE")
        assert process(batch, world.dependencies()) == {"decisions": []}

    def test_failure_of_one_does_not_stop_the_others(
        self, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.secrets.text = None
        compose = message.compose

        def fail_for_the_second(sign_in: Any, *args: Any, **kwargs: Any) -> Any:
            if sign_in.event_id == "id-1":
                raise KeyError
            return compose(sign_in, *args, **kwargs)

        monkeypatch.setattr(message, "compose", fail_for_the_second)
        batch = trail_batch(*map(json.dumps, self.records(4)))
        for emails in (3, 3):  # the retry sends nothing again
            with pytest.raises(KeyError):
                process(batch, world.dependencies())
            assert len(world.topic.emails) == emails
        assert capsys.readouterr().out.count('"problem": "batch", "error": "KeyError"') == 2
        monkeypatch.undo()
        process(batch, world.dependencies())
        assert len(world.topic.emails) == 4

    def test_batch_stops_before_the_timeout_and_goes_on_elsewhere(self, world: World) -> None:
        world.secrets.text = None
        batch = trail_batch(*map(json.dumps, self.records(3)))
        for _ in range(100):
            emails, seconds_left = len(world.topic.emails), iter((60.0, 24.9))
            world.seconds_left = lambda left=seconds_left: next(left)  # type: ignore[misc] # a method
            with pytest.raises(TimeoutError):
                process(batch, world.dependencies())
            assert len(world.topic.emails) - emails <= 1
        assert len(world.topic.emails) == 3

    @pytest.mark.parametrize("seconds", [0, 20])
    def test_alerts_after_one_whose_texts_failed_are_mailed_at_once(
        self, world: World, twilio: Twilio, monkeypatch: pytest.MonkeyPatch, seconds: int
    ) -> None:
        """The first may take so long that no other one could wait for its texts too."""
        tries: list[float] = []

        def hang(*_: Any) -> sms.Outcome:
            tries.append(world.now)
            world.now = start + seconds
            return sms.Outcome("unclear", "no answer")

        send_text = sms.send
        monkeypatch.setattr(sms, "send", hang)
        start = world.now
        world.seconds_left = lambda: 60 - (world.now - start)
        batch = trail_batch(*map(json.dumps, self.records(6)))
        with pytest.raises(DeliveryError):
            process(batch, world.dependencies())
        assert len(world.topic.emails) == 6
        assert len(tries) == 2
        monkeypatch.setattr(sms, "send", send_text)
        world.seconds_left = lambda: 60.0
        process(batch, world.dependencies(twilio_base_url=twilio.url))
        assert len(twilio.messages) == 12
        assert len(world.topic.emails) == 12

    def test_no_text_begins_if_it_could_keep_an_email_back(
        self, world: World, twilio: Twilio
    ) -> None:
        world.seconds_left = lambda: 44.9
        dependencies = world.dependencies(twilio_base_url=twilio.url)
        with pytest.raises(DeliveryError):
            process(trail_batch(*map(json.dumps, self.records(2))), dependencies)
        assert len(world.topic.emails) == 2
        assert twilio.messages == []

    def test_batch_that_is_too_large_for_one_invocation_ends(self, world: World) -> None:
        """All its alerts are out, but to ask the ledger about each of them takes too long."""
        world.secrets.text = None
        records = self.records(600)
        batch = trail_batch(*map(json.dumps, records))
        for record in records:
            process({"detail": record}, world.dependencies())
        call = world.table.call

        def call_slowly(name: str) -> None:
            world.now += 0.035
            call(name)

        world.table.call = call_slowly  # type: ignore[method-assign] # every call takes time
        emails, invocations = len(world.topic.emails), 0
        while True:
            start, invocations = world.now, invocations + 1
            world.seconds_left = lambda start=start: 60 - (world.now - start)  # type: ignore[misc] # a method
            try:
                process(batch, world.dependencies())
                break
            except TimeoutError:
                (progress,) = (item for key, item in world.table.items.items() if "kept#" in key)
                assert progress["value"]["S"].count("d") > 325
                assert invocations < 5
        assert invocations > 1
        assert len(world.topic.emails) == emails == 600

    def test_small_batch_leaves_no_progress(self, world: World) -> None:
        world.topic.fails, world.secrets.text = {"publish"}, None
        with pytest.raises(DeliveryError):
            process(trail_batch(*map(json.dumps, self.records(3))), world.dependencies())
        assert not [key for key in world.table.items if key.startswith("kept#")]
