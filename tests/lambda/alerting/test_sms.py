"""Texts: the secret, what Twilio's answers mean, the timeouts, and that nothing of it is written down."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from signwatch.alerting import sms
from tests.support.dependencies import FILLED, FIRST, KEY_SECRET, NOW, SETTINGS, World

if TYPE_CHECKING:
    from tests.support.twilio import Twilio

GIVEN = sms.parse_secret(json.dumps(FILLED))
ARN = SETTINGS.twilio_secret_arn


def plenty() -> float:
    return 60.0


def send(twilio: Twilio, given: sms.Secret = GIVEN, recipient: str = FIRST) -> sms.Outcome:
    return sms.send(given, recipient, "hello", twilio.url, plenty)


class TestSecret:
    def test_it_is_read_once_in_five_minutes(self, world: World) -> None:
        for now in (NOW, NOW + 299):
            assert sms.load_secret(world.client, ARN, now) == GIVEN
        assert world.secrets.calls == ["get_secret_value"]
        sms.load_secret(world.client, ARN, NOW + 301)
        assert len(world.secrets.calls) == 2

    def test_it_is_read_afresh_on_request(self, world: World) -> None:
        sms.load_secret(world.client, ARN, NOW)
        world.secrets.text = json.dumps({**FILLED, "api_key_secret": "rotated"})
        assert sms.load_secret(world.client, ARN, NOW, fresh=True).api_key_secret == "rotated"

    def test_the_last_one_is_believed_while_it_cannot_be_read(self, world: World) -> None:
        sms.load_secret(world.client, ARN, NOW)
        world.secrets.fails = {"get_secret_value"}
        assert sms.load_secret(world.client, ARN, NOW + 3600) == GIVEN

    def test_a_secret_that_cannot_be_read_is_none(self, world: World) -> None:
        world.secrets.fails = {"get_secret_value"}
        with pytest.raises(sms.NoSecretError, match=r"could not be read \(AccessDeniedError\)"):
            sms.load_secret(world.client, ARN, NOW)

    @pytest.mark.parametrize("text", [None, ""])
    def test_a_secret_that_was_never_filled_is_called_empty(
        self, world: World, text: str | None
    ) -> None:
        world.secrets.text = text
        with pytest.raises(sms.NoSecretError, match="still empty"):
            sms.load_secret(world.client, ARN, NOW)

    @pytest.mark.parametrize(
        "changes",
        [
            {"recipients": []},
            {"recipients": "+15005550009"},
            {"recipients": [None]},
            {"recipients": None},
            {"recipients": [["+15005550009"]]},
            {"sender": ""},
            {"sender": None},
            {"account_sid": 7},
        ],
    )
    def test_a_secret_with_a_value_missing_or_of_another_kind_is_none(
        self, changes: dict[str, Any]
    ) -> None:
        with pytest.raises(sms.NoSecretError, match="names no recipient or lacks a value"):
            sms.parse_secret(json.dumps({**FILLED, **changes}))

    @pytest.mark.parametrize(
        "text", [KEY_SECRET, "[]", "{}", "null", '"x"', "[" * 100_000], ids=lambda text: text[:9]
    )
    def test_what_is_no_such_json_is_none_and_is_never_repeated(self, text: str) -> None:
        with pytest.raises(sms.NoSecretError) as caught:
            sms.parse_secret(text)
        assert str(caught.value) == "the secret is not the JSON object that invoke secret writes"
        assert caught.value.__suppress_context__

    def test_a_recipient_who_is_named_twice_is_texted_once(self) -> None:
        assert sms.parse_secret(
            json.dumps({**FILLED, "recipients": [FIRST, FIRST]})
        ).recipients == (FIRST,)


class TestSending:
    def test_a_text_goes_out_from_the_sender_to_the_recipient(self, twilio: Twilio) -> None:
        assert send(twilio) == sms.Outcome("accepted", "")
        (message,) = twilio.messages
        found = (message["account_sid"], message["from"], message["to"], message["body"])
        assert found == (GIVEN.account_sid, GIVEN.sender, FIRST, "hello")

    def test_a_messaging_service_is_named_as_one(self, twilio: Twilio) -> None:
        service = "MG" + "0" * 32
        send(twilio, GIVEN._replace(sender=service))
        (message,) = twilio.messages
        assert (message["messaging_service_sid"], message["from"]) == (service, None)

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_a_passing_fault_is_tried_once_more(self, twilio: Twilio, status: int) -> None:
        twilio.fail(status)
        assert send(twilio).state == "accepted"
        twilio.fail(status, times=2)
        assert send(twilio) == sms.Outcome(
            "transient", f"Twilio answered {status}, error {20_000 + status}"
        )
        assert len(twilio.messages) == 1

    def test_a_connection_that_breaks_is_a_passing_fault(self, twilio: Twilio) -> None:
        twilio.fail(reset=True, times=2)
        assert send(twilio) == sms.Outcome(
            "transient", "Twilio could not be reached (ConnectionError)"
        )

    def test_nobody_listening_is_a_passing_fault(self) -> None:
        outcome = sms.send(GIVEN, FIRST, "hello", SETTINGS.twilio_base_url, plenty)
        assert outcome == sms.Outcome("transient", "Twilio could not be reached (ConnectionError)")

    def test_an_answer_that_comes_too_late_is_not_waited_for_and_the_text_not_sent_again_at_once(
        self, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sms, "READ", 0.05)
        twilio.fail(delay_seconds=30.0)
        start = time.monotonic()
        assert send(twilio) == sms.Outcome("transient", sms.UNANSWERED)
        assert time.monotonic() - start < 2
        monkeypatch.undo()
        assert send(twilio).state == "accepted"  # the only fault that was left was the one above

    def test_every_request_has_the_two_timeouts(
        self, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []
        ours = requests.Session.send

        def spy(session: Any, request: Any, **given: Any) -> Any:
            seen.append(given["timeout"])
            return ours(session, request, **given)

        monkeypatch.setattr(requests.Session, "send", spy)
        twilio.fail(500)
        send(twilio)
        assert seen == [(3.0, 7.0)] * 2

    def test_a_permanent_refusal_is_tried_once(self, twilio: Twilio) -> None:
        refused = send(twilio, recipient="+15005550004")
        assert refused == sms.Outcome("permanent", "Twilio answered 400, error 21610")
        twilio.fail(400, 21617)
        assert send(twilio).state == "permanent"
        assert twilio.messages == []

    def test_refused_credentials_are_told_apart(self, twilio: Twilio) -> None:
        refused = send(twilio, GIVEN._replace(api_key_secret="revoked"))
        assert refused == sms.Outcome("credentials", "Twilio answered 401, error 20003")

    @pytest.mark.parametrize(
        ("status", "state"),
        [
            (400, "permanent"),
            (404, "permanent"),
            (302, "permanent"),
            (401, "credentials"),
            (403, "credentials"),
        ],
    )
    def test_each_status_has_its_meaning(self, status: int, state: str) -> None:
        assert sms.classify(status, None) == sms.Outcome(state, f"Twilio answered {status}")

    def test_no_attempt_is_begun_that_would_cost_the_e_mail_its_time(self, twilio: Twilio) -> None:
        outcome = sms.send(GIVEN, FIRST, "hello", twilio.url, lambda: sms.NEEDED - 0.1)
        assert outcome == sms.Outcome("transient", "there was no time left")
        assert twilio.messages == []

    def test_there_is_no_second_attempt_without_the_time_for_it(self, twilio: Twilio) -> None:
        left = iter([60.0, sms.NEEDED - 0.1])
        twilio.fail(503)
        assert sms.send(GIVEN, FIRST, "hello", twilio.url, lambda: next(left)).state == "transient"
        assert twilio.messages == []

    @pytest.mark.parametrize(
        "url",
        [
            "http://api.twilio.com",
            "http://127.0.0.1.evil.example",
            "ftp://127.0.0.1",
            "",
            "127.0.0.1",
        ],
    )
    def test_credentials_never_leave_this_machine_unencrypted(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            requests.Session, "send", lambda *_, **__: pytest.fail("something was sent")
        )
        assert (
            sms.send(GIVEN, FIRST, "hello", url, plenty).why
            == "Twilio could not be reached (ValueError)"
        )

    def test_the_host_of_the_base_url_is_the_one_that_is_asked(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []

        def refuse(_: Any, request: Any, **__: Any) -> None:
            asked.append(request.url)
            raise requests.ConnectionError

        monkeypatch.setattr(requests.Session, "send", refuse)
        sms.send(GIVEN, FIRST, "hello", "https://api.dublin.ie1.twilio.com", plenty)
        path = f"/2010-04-01/Accounts/{GIVEN.account_sid}/Messages.json"
        assert set(asked) == {f"https://api.dublin.ie1.twilio.com{path}"}

    def test_twilios_own_log_stays_silent_about_accounts_and_numbers(
        self, twilio: Twilio, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        logging.getLogger("twilio.http_client").setLevel(logging.NOTSET)
        send(twilio)
        assert [record for record in caplog.records if record.name.startswith("twilio")] == []
