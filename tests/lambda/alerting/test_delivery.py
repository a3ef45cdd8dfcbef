"""Delivery: each channel is tried even if the other fails, and nobody gets a text twice."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.alerting import sms
from signwatch.alerting.delivery import DeliveryError, deliver, format_channel
from signwatch.alerting.message import Message
from tests.support.dependencies import (
    FIRST,
    KEY_SECRET,
    NOW,
    SECOND,
    SETTINGS,
    TWILIO_SECRET,
    World,
)

if TYPE_CHECKING:
    from tests.support.twilio import Twilio

MESSAGE = Message("the text", "the subject", "the body")
KEY = "111122223333#8a1edcc0"
UNSUBSCRIBED = "+15005550004"  # Twilio docs, "Test credentials"


def send(world: World, twilio: Twilio, key: str = KEY) -> None:
    deliver(MESSAGE, key, world.dependencies(twilio_base_url=twilio.url))


def fill(world: World, **changes: Any) -> None:
    world.secrets.text = json.dumps({**TWILIO_SECRET, **changes})


def log_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def metrics(capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """Return the metrics of the last delivery, as CloudWatch reads them."""
    line = [line for line in log_lines(capsys) if "_aws" in line][-1]
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == ("Signwatch", [[]])
    return {metric["Name"]: line[metric["Name"]] for metric in directive["Metrics"]}


class TestBothChannels:
    def test_everybody_is_texted_and_the_topic_gets_the_email(
        self, world: World, twilio: Twilio, capsys: pytest.CaptureFixture[str]
    ) -> None:
        send(world, twilio)
        assert twilio.recipients == [FIRST, SECOND]
        assert {message["body"] for message in twilio.messages} == {"the text"}
        assert world.topic.emails == [{"Subject": "the subject", "Message": "the body"}]
        (line,) = log_lines(capsys)
        assert (line["level"], line["event_id"], line["TextsSent"]) == ("INFO", "8a1edcc0", 2.0)
        assert (line["delivery"], line["email"]) == ("complete", "sent")

    def test_ledger_has_a_state_per_recipient_and_no_number(
        self, world: World, twilio: Twilio
    ) -> None:
        send(world, twilio)
        item = world.table.items[KEY]
        assert item["state"] == {"S": "done"}
        delivered = {
            channel: {"S": "delivered"}
            for channel in (format_channel(FIRST), format_channel(SECOND), "email")
        }
        assert item["channels"] == {"M": delivered}
        assert format_channel(FIRST) == "text_4f7127bfa5e2"
        assert FIRST not in json.dumps(item)

    def test_text_is_sent_before_it_is_marked(self, world: World, twilio: Twilio) -> None:
        world.table.fails = {"update_item"}
        send(world, twilio)
        assert twilio.recipients == [FIRST, SECOND]
        assert world.table.items[KEY]["channels"] == {"M": {}}

    def test_repeated_event_sends_nothing_again(self, world: World, twilio: Twilio) -> None:
        for _ in range(3):
            send(world, twilio)
        assert twilio.recipients == [FIRST, SECOND]
        assert len(world.topic.emails) == 1
        assert world.secrets.calls == ["get_secret_value"]

    def test_event_without_an_id_is_sent_each_time(self, world: World, twilio: Twilio) -> None:
        for _ in range(2):
            send(world, twilio, key="")
        assert twilio.recipients == [FIRST, SECOND] * 2
        assert world.table.items == {}


class TestPartialFailure:
    def test_retry_texts_only_recipients_not_reached_before(
        self, world: World, twilio: Twilio, capsys: pytest.CaptureFixture[str]
    ) -> None:
        twilio.fail(503, times=2)
        with pytest.raises(
            DeliveryError, match="recipient 1 of 2 was not sent, and is tried again"
        ):
            send(world, twilio)
        assert twilio.recipients == [SECOND]
        assert metrics(capsys) == {"TextsSent": 1.0, "TextsFailed": 1.0}
        send(world, twilio)
        assert twilio.recipients == [SECOND, FIRST]
        (line,) = log_lines(capsys)
        assert (line["TextsSent"], line["delivery"], line["email"]) == (1.0, "complete", "had")
        assert len(world.topic.emails) == 1

    def test_text_that_may_have_been_sent_is_not_called_unsent(
        self, world: World, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sms, "READ_TIMEOUT_SECONDS", 0.05)
        twilio.fail(delay_seconds=30.0)
        with pytest.raises(DeliveryError):
            send(world, twilio)
        (email,) = world.topic.emails
        assert (
            "The text to recipient 1 of 2 may not have been sent, and is tried again: "
            "Twilio did not answer in time."
        ) in email["Message"].splitlines()

    def test_failing_recipient_does_not_make_others_get_the_text_twice(
        self, world: World, twilio: Twilio
    ) -> None:
        fill(world, recipients=[UNSUBSCRIBED, FIRST, SECOND])
        send(world, twilio)
        send(world, twilio)
        assert twilio.recipients == [FIRST, SECOND]

    def test_text_is_tried_again_although_a_later_one_failed_for_good(
        self, world: World, twilio: Twilio
    ) -> None:
        fill(world, recipients=[FIRST, UNSUBSCRIBED])
        twilio.fail(503, times=2)
        with pytest.raises(DeliveryError, match="recipient 1 of 2 was not sent, and is tried"):
            send(world, twilio)
        send(world, twilio)
        assert twilio.recipients == [FIRST]

    def test_text_to_one_recipient_has_reached_somebody(self, world: World, twilio: Twilio) -> None:
        world.topic.fails = {"publish"}
        fill(world, recipients=[FIRST])
        with pytest.raises(DeliveryError) as error:
            send(world, twilio)
        assert error.value.reached_somebody
        assert str(error.value) == "e-mail: failed"

    def test_permanent_failure_is_in_the_email_and_is_not_retried(
        self, world: World, twilio: Twilio, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fill(world, recipients=[FIRST, UNSUBSCRIBED])
        send(world, twilio)
        (email,) = world.topic.emails
        assert email["Message"] == (
            "the body\n\n"
            "The text to recipient 2 of 2 was not sent: Twilio answered 400, error 21610."
        )
        assert metrics(capsys) == {"TextsSent": 1.0, "TextsFailed": 1.0}
        send(world, twilio)
        assert log_lines(capsys) == []
        assert world.table.items[KEY]["state"] == {"S": "done"}

    def test_failed_email_is_retried_without_the_texts(self, world: World, twilio: Twilio) -> None:
        world.topic.fails = {"publish"}
        with pytest.raises(DeliveryError, match="e-mail: failed"):
            send(world, twilio)
        world.topic.fails = set()
        send(world, twilio)
        assert twilio.recipients == [FIRST, SECOND]
        assert len(world.topic.emails) == 1

    def test_other_marks_are_written_if_one_fails(self, world: World, twilio: Twilio) -> None:
        """Otherwise one error of the table would text everybody again on the next retry."""
        twilio.fail(503, times=4)
        with pytest.raises(DeliveryError):
            send(world, twilio)
        assert set(world.table.items[KEY]["channels"]["M"]) == {"email"}
        update_item, world.table.fails = world.table.update_item, {"update_item"}

        def fail_once(**request: Any) -> None:
            try:
                update_item(**request)
            finally:
                world.table.fails = set()

        world.table.update_item = fail_once  # type: ignore[method-assign] # only one call fails
        send(world, twilio)
        assert set(world.table.items[KEY]["channels"]["M"]) == {"email", format_channel(SECOND)}


class TestFallback:
    @pytest.mark.parametrize(
        ("fault", "sentence"),
        [
            ("empty", "No text was sent: the secret is still empty (ResourceNotFoundException)."),
            (
                "malformed",
                "No text was sent: the secret is not the JSON object that invoke secret writes.",
            ),
        ],
    )
    def test_email_is_sent_alone_without_a_secret(
        self,
        world: World,
        twilio: Twilio,
        capsys: pytest.CaptureFixture[str],
        fault: str,
        sentence: str,
    ) -> None:
        world.secrets.text = {"empty": None, "malformed": KEY_SECRET}.get(fault, world.secrets.text)
        send(world, twilio)
        assert twilio.messages == []
        assert [email["Message"] for email in world.topic.emails] == [f"the body\n\n{sentence}"]
        assert metrics(capsys) == {"TextsSent": 0.0, "TextsFailed": 1.0, "FallbackUsed": 1.0}

    def test_email_is_the_fallback_if_every_text_fails_for_good(
        self, world: World, twilio: Twilio, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fill(world, recipients=[UNSUBSCRIBED])
        send(world, twilio)
        assert metrics(capsys) == {"TextsSent": 0.0, "TextsFailed": 1.0, "FallbackUsed": 1.0}

    def test_email_that_failed_too_is_no_fallback(
        self, world: World, twilio: Twilio, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.secrets.text, world.topic.fails = None, {"publish"}
        with pytest.raises(DeliveryError) as error:
            send(world, twilio)
        assert not error.value.reached_somebody
        failure = "no text was sent: the secret is still empty (ResourceNotFoundException)"
        assert str(error.value) == f"{failure}; e-mail: failed"
        failed_email, delivery = log_lines(capsys)
        assert (failed_email["problem"], failed_email["error"]) == ("e-mail", "AccessDeniedError")
        assert (delivery["level"], delivery["event_id"]) == ("ERROR", "8a1edcc0")
        assert (delivery["delivery"], delivery["email"]) == ([failure], "failed")
        assert "FallbackUsed" not in delivery

    @pytest.mark.parametrize("fault", ["unreadable", "no client"])
    def test_email_is_sent_first_and_the_text_on_retry_if_the_secret_cannot_be_read(
        self, world: World, twilio: Twilio, fault: str
    ) -> None:
        world.secrets.fails = {"get_secret_value"} if fault == "unreadable" else set()
        world.missing = {"secretsmanager"} if fault == "no client" else set()
        with pytest.raises(DeliveryError, match="the secret could not be read"):
            send(world, twilio)
        sentence = "No text was sent: the secret could not be read (AccessDeniedError)."
        assert [email["Message"] for email in world.topic.emails] == [f"the body\n\n{sentence}"]
        world.secrets.fails, world.missing = set(), set()
        send(world, twilio)
        assert twilio.recipients == [FIRST, SECOND]
        assert len(world.topic.emails) == 1

    def test_rotated_credentials_are_read_again_once(self, world: World, twilio: Twilio) -> None:
        fill(world, api_key_secret="revoked")
        fill_cache = world.dependencies(twilio_base_url=twilio.url, ledger_table_name="none")
        deliver(MESSAGE, "1#warm", fill_cache)
        assert twilio.messages == []
        world.topic.emails.clear()
        world.secrets.calls.clear()
        fill(world)
        send(world, twilio)
        assert twilio.recipients == [FIRST, SECOND]
        assert world.secrets.calls == ["get_secret_value"]

    def test_email_is_sent_if_the_credentials_are_revoked(
        self, world: World, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(world, api_key_secret="revoked")
        recipients, send_text = [], sms.send

        def spy(*arguments: Any) -> sms.Outcome:
            recipients.append(arguments[1])
            return send_text(*arguments)

        monkeypatch.setattr(sms, "send", spy)
        send(world, twilio)
        assert recipients == [FIRST, SECOND]  # the same credentials are not tried twice
        assert twilio.messages == []
        body = world.topic.emails[0]["Message"]
        assert "recipient 1 of 2 was not sent: Twilio answered 401" in body
        assert KEY_SECRET not in body

    def test_refusal_is_in_the_email_if_the_new_secret_is_malformed(
        self, world: World, twilio: Twilio
    ) -> None:
        fill(world, api_key_secret="revoked")
        sms.load_secret(world.client, SETTINGS.twilio_secret_arn, NOW)
        world.secrets.text = "{}"
        send(world, twilio)
        body = world.topic.emails[0]["Message"]
        for number in (1, 2):
            assert f"recipient {number} of 2 was not sent: Twilio answered 401" in body

    def test_email_is_sent_if_the_layer_cannot_be_imported(
        self,
        world: World,
        twilio: Twilio,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setitem(sys.modules, "signwatch.alerting.sms", None)
        monkeypatch.delattr("signwatch.alerting.sms")
        with pytest.raises(DeliveryError, match="the texts failed"):
            send(world, twilio)
        assert len(world.topic.emails) == 1
        problem = log_lines(capsys)[0]
        assert (problem["problem"], problem["event_id"]) == ("texts", "8a1edcc0")

    def test_email_is_sent_if_no_time_is_left_for_the_texts(
        self, world: World, twilio: Twilio
    ) -> None:
        world.seconds_left = lambda: 16.0
        with pytest.raises(DeliveryError, match="there was no time left"):
            send(world, twilio)
        assert twilio.messages == []
        assert len(world.topic.emails) == 1


class TestFailures:
    @pytest.mark.parametrize("fault", ["put_item", "get_item", "update_item", "no client"])
    def test_alert_is_sent_if_the_ledger_fails(
        self, world: World, twilio: Twilio, capsys: pytest.CaptureFixture[str], fault: str
    ) -> None:
        if fault == "get_item":  # called only for a known alert
            world.table.items[KEY] = {"alert": {"S": KEY}}
        world.table.fails, world.missing = {fault}, {"dynamodb"} if fault == "no client" else set()
        send(world, twilio)
        assert twilio.recipients == [FIRST, SECOND]
        assert len(world.topic.emails) == 1
        problems = [line for line in log_lines(capsys) if line.get("problem")]
        marks = 4 if fault == "update_item" else 1  # the others fail once, before any mark
        assert len(problems) == marks
        assert (problems[0]["problem"], problems[0]["error"]) == ("ledger", "AccessDeniedError")
        assert problems[0]["event_id"] == "8a1edcc0"

    @pytest.mark.parametrize("ledger", [True, False])
    @pytest.mark.parametrize("secret", [True, False])
    @pytest.mark.parametrize("texts", [True, False])
    @pytest.mark.parametrize("topic", [True, False])
    def test_every_working_channel_is_used(
        self, world: World, twilio: Twilio, *, ledger: bool, secret: bool, texts: bool, topic: bool
    ) -> None:
        works = {"dynamodb": ledger, "secretsmanager": secret, "sns": topic}
        world.missing = {name for name, is_up in works.items() if not is_up}
        if secret and not texts:
            twilio.fail(500, times=4)
        if topic and secret and texts:
            send(world, twilio)
        else:
            with pytest.raises(DeliveryError):
                send(world, twilio)
        assert len(world.topic.emails) == int(topic)
        assert twilio.recipients == ([FIRST, SECOND] if secret and texts else [])


def test_hanging_ledger_is_waited_for_once(
    world: World, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReadTimeoutError(Exception):
        """Named as botocore names it."""

    marks: list[str] = []

    def hang(**request: Any) -> None:
        marks.append(request["ExpressionAttributeNames"]["#name"])
        raise ReadTimeoutError

    monkeypatch.setattr(world.table, "update_item", hang)
    send(world, twilio)
    assert marks == [format_channel(FIRST)]
    assert twilio.recipients == [FIRST, SECOND]
    assert len(world.topic.emails) == 1


def test_no_number_and_no_credential_is_in_the_log_or_an_error(
    world: World, twilio: Twilio, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(world, recipients=[FIRST, UNSUBSCRIBED, SECOND])
    twilio.fail(503, times=2)
    world.topic.fails = {"publish"}
    with pytest.raises(DeliveryError) as error:
        send(world, twilio)
    output = capsys.readouterr().out + str(error.value)
    credentials = (TWILIO_SECRET["account_sid"], TWILIO_SECRET["api_key_sid"], KEY_SECRET)
    for value in (FIRST, SECOND, UNSUBSCRIBED, *credentials):
        assert str(value).lstrip("+") not in output
