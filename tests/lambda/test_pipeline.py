"""The hub: each case ends as its file says, and a recognised sign-in asks nobody anything."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from signwatch import dependencies
from signwatch.alerting.delivery import DeliveryError
from signwatch.dependencies import Dependencies
from signwatch.detection.signin import read
from signwatch.pipeline import process
from tests.support.dependencies import FILLED, FIRST, SECOND, SETTINGS, World
from tests.support.sign_ins import CASES, NETWORKS, event, mutant

if TYPE_CHECKING:
    from tests.support.twilio import Twilio


def is_quiet(expected: dict[str, Any]) -> bool:
    """No alert, and neither a portal sign-in nor a device code, whose addresses are compared."""
    return expected["recognised"]["level"] != "alert" and not (
        expected.get("outcome") == "success"
        and (expected["kind"] == "identity-center" or "(device code)" in expected["what"])
    )


PENDING = [name for name, case in CASES.items() if getattr(read(case["event"]), "pending", False)]
QUIET = [name for name, case in CASES.items() if is_quiet(case["expected"]) and name not in PENDING]


def decision(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    (line,) = [
        one for one in map(json.loads, capsys.readouterr().out.splitlines()) if "verdict" in one
    ]
    return dict(line)


@pytest.mark.joint
@pytest.mark.parametrize("place", NETWORKS)
@pytest.mark.parametrize("name", CASES)
def test_a_case_sends_the_texts_that_it_says(
    name: str, place: str, world: World, twilio: Twilio
) -> None:
    expected = CASES[name]["expected"][place]
    world.secrets.text = json.dumps({**FILLED, "recipients": [FIRST]})
    answer = process(
        event(name), world.dependencies(known_networks=NETWORKS[place], twilio_base_url=twilio.url)
    )
    assert answer["verdict"] == expected["level"]
    assert twilio.reached == [FIRST] * expected["texts"]
    assert len(world.topic.mails) == expected["emails"]


@pytest.mark.parametrize("name", QUIET)
def test_what_does_not_alert_asks_nobody_anything(name: str, world: World) -> None:
    process(event(name), world.dependencies(known_networks=NETWORKS["recognised"]))
    assert world.made == []


def test_a_right_password_asks_the_queue_alone(world: World) -> None:
    assert PENDING == ["identity-center-factor-is-right", "second-factor-is-asked-for"]
    for name in PENDING:
        process(event(name), world.dependencies())
    assert world.made == ["sqs", "sqs"]


def test_the_decision_is_logged_with_the_agreed_keys(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    told = event("iam-user-fails")
    told["detail"]["eventTime"] = "2026-11-26T09:58:45Z"
    process(told, world.dependencies(known_networks=NETWORKS["recognised"]))
    line = decision(capsys)
    assert {
        key: line[key]
        for key in ("event_id", "kind", "who", "source", "verdict", "reasons", "delay_s")
    } == {
        "event_id": told["detail"]["eventID"],
        "kind": "Console sign-in",
        "who": "Paulo",
        "source": "203.0.113.10",
        "verdict": "note",
        "reasons": ["failure", "recognised source"],
        "delay_s": 75,
    }
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [["Verdict"]]
    assert (line["Verdict"], line["SignIns"], line["DelaySeconds"]) == ("note", 1.0, 75.0)


def test_an_unreadable_record_is_logged_with_what_is_known(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.secrets.text = None
    process(event("record-without-an-outcome"), world.dependencies())
    line = decision(capsys)
    assert (line["kind"], line["who"], line["source"], line["level"]) == (
        "Unreadable",
        "Anaya",
        "203.0.113.10",
        "WARNING",
    )


@pytest.mark.parametrize("time", ["soon", "", None, "2026-11-26T09:58:45"])
def test_a_time_that_cannot_be_read_leaves_the_delay_unknown(
    world: World, capsys: pytest.CaptureFixture[str], time: str | None
) -> None:
    told = event("iam-user-fails")
    told["detail"]["eventTime"] = told["time"] = time
    process(told, world.dependencies(known_networks=NETWORKS["recognised"]))
    line = decision(capsys)
    assert line["delay_s"] is None
    assert "DelaySeconds" not in line


def test_a_sign_in_of_the_future_has_no_negative_delay(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    told = event("iam-user-fails")
    told["detail"]["eventTime"] = "2030-01-01T00:00:00Z"
    process(told, world.dependencies(known_networks=NETWORKS["recognised"]))
    assert decision(capsys)["delay_s"] == 0


def test_an_unusable_network_is_logged_and_recognises_nothing(
    world: World, capsys: pytest.CaptureFixture[str], twilio: Twilio
) -> None:
    told, networks = event("iam-user-signs-in-with-mfa"), "0.0.0.0/0,203.0.113.0/99"
    process(told, world.dependencies(known_networks=networks, twilio_base_url=twilio.url))
    line = decision(capsys)
    assert (line["verdict"], line["unusable_networks"]) == (
        "alert",
        ["0.0.0.0/0", "203.0.113.0/99"],
    )
    assert (line["level"], line["problem"]) == ("ERROR", "networks")
    assert twilio.reached == [FIRST, SECOND]


def test_the_alert_is_kept_under_the_account_and_the_event(world: World, twilio: Twilio) -> None:
    told = event("iam-user-signs-in-with-mfa")
    process(told, world.dependencies(twilio_base_url=twilio.url))
    assert list(world.table.items) == [f"111122223333#{told['detail']['eventID']}"]


def test_the_text_bears_the_accounts_label_and_the_delay(world: World, twilio: Twilio) -> None:
    told = event("iam-user-signs-in-with-mfa")
    told["detail"]["eventTime"] = "2026-11-26T09:55:00Z"
    process(told, world.dependencies(twilio_base_url=twilio.url))
    lines = twilio.messages[0]["body"].splitlines()
    assert lines[0] == "AWS SIGN-IN ALERT account production"
    assert lines[-2].endswith("2026-11-26 09:55:00 UTC, 5 min ago")


def test_an_alert_that_did_not_reach_everybody_is_raised_so_that_lambda_tries_again(
    world: World,
) -> None:
    world.topic.fails = {"publish"}
    with pytest.raises(DeliveryError):
        process(event("iam-user-signs-in-with-mfa"), world.dependencies())


def test_no_mutant_raises_and_each_alert_is_mailed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an empty secret, so that the e-mail is the one channel; each has a ledger of its own."""
    chance, world.secrets.text = random.Random(19), None  # noqa: S311 - the same mutants each time
    for _ in range(1000):
        world.table.items.clear()
        world.topic.mails.clear()
        answer = process(mutant(chance), world.dependencies(known_networks=NETWORKS["recognised"]))
        assert decision(capsys)["verdict"] == answer["verdict"]
        assert len(world.topic.mails) == int(answer["verdict"] == "alert")


class TestDependencies:
    def test_the_time_that_lambda_leaves_is_told_in_seconds(self) -> None:
        class Context:
            def get_remaining_time_in_millis(self) -> int:
                return 12_500

        assert Dependencies.make(SETTINGS, Context()).seconds_left() == 12.5
        assert Dependencies.make(SETTINGS, None).seconds_left() == 60.0

    def test_a_real_client_gives_up_soon_enough_for_the_other_channel(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        config = dependencies._client("sns").meta.config
        assert (config.connect_timeout, config.read_timeout) == (2, 5)
        assert config.retries == {"mode": "standard", "total_max_attempts": 2}

    def test_a_quick_client_asks_once_for_two_seconds_in_the_region_that_it_is_told(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        config = dependencies._client("identitystore", region="eu-west-1", quick=True).meta.config
        assert (config.connect_timeout + config.read_timeout, config.region_name) == (
            2,
            "eu-west-1",
        )
        assert config.retries == {"mode": "standard", "total_max_attempts": 1}
