"""Delivering: both channels are tried whatever becomes of the other, and nobody who was reached is texted again."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.alerting import sms
from signwatch.alerting.delivery import DeliveryError, channel_name, deliver
from signwatch.alerting.message import Message
from tests.support.dependencies import FILLED, FIRST, KEY_SECRET, SECOND, World

if TYPE_CHECKING:
    from tests.support.twilio import Twilio

MESSAGE = Message("the text", "the subject", "the body")
KEY = "111122223333#8a1edcc0"
UNSUBSCRIBED = "+15005550004"  # Twilio docs, "Test credentials"


def send(world: World, twilio: Twilio, key: str = KEY) -> None:
    deliver(MESSAGE, key, world.dependencies(twilio_base_url=twilio.url))


def fill(world: World, **changes: Any) -> None:
    world.secrets.text = json.dumps({**FILLED, **changes})


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def metrics(capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """The metrics of the last delivery's line, as CloudWatch would read them."""
    line = [one for one in logged(capsys) if "_aws" in one][-1]
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == ("Signwatch", [[]])
    return {metric["Name"]: line[metric["Name"]] for metric in directive["Metrics"]}


class TestBothChannels:
    def test_everybody_is_texted_and_the_topic_gets_the_e_mail(
        self, world: World, twilio: Twilio, capsys: pytest.CaptureFixture[str]
    ) -> None:
        send(world, twilio)
        assert twilio.reached == [FIRST, SECOND]
        assert {message["body"] for message in twilio.messages} == {"the text"}
        assert world.topic.mails == [{"Subject": "the subject", "Message": "the body"}]
        assert metrics(capsys) == {"TextsSent": 2.0}

    def test_the_ledger_has_a_state_per_recipient_and_no_number(
        self, world: World, twilio: Twilio
    ) -> None:
        send(world, twilio)
        item = world.table.items[KEY]
        assert item["state"] == {"S": "done"}
        delivered = {
            channel: {"S": "delivered"}
            for channel in (channel_name(FIRST), channel_name(SECOND), "email")
        }
        assert item["channels"] == {"M": delivered}
        assert FIRST not in json.dumps(item)

    def test_it_sends_and_then_marks(self, world: World, twilio: Twilio) -> None:
        world.table.fails = {"update_item"}
        send(world, twilio)
        assert twilio.reached == [FIRST, SECOND]
        assert world.table.items[KEY]["channels"] == {"M": {}}

    def test_an_event_that_comes_again_repeats_nothing(self, world: World, twilio: Twilio) -> None:
        for _ in range(3):
            send(world, twilio)
        assert twilio.reached == [FIRST, SECOND]
        assert len(world.topic.mails) == 1
        assert world.secrets.calls == ["get_secret_value"]

    def test_an_event_without_an_id_is_sent_each_time(self, world: World, twilio: Twilio) -> None:
        for _ in range(2):
            send(world, twilio, key="")
        assert twilio.reached == [FIRST, SECOND] * 2
        assert world.table.items == {}


class TestPartialFailure:
    def test_a_retry_texts_only_who_was_not_reached(
        self, world: World, twilio: Twilio, capsys: pytest.CaptureFixture[str]
    ) -> None:
        twilio.fail(503, times=2)
        with pytest.raises(
            DeliveryError, match="recipient 1 of 2 was not sent, and is tried again"
        ):
            send(world, twilio)
        assert twilio.reached == [SECOND]
        assert metrics(capsys) == {"TextsSent": 1.0, "TextsFailed": 1.0}
        send(world, twilio)
        assert twilio.reached == [SECOND, FIRST]
        assert metrics(capsys) == {"TextsSent": 1.0}
        assert len(world.topic.mails) == 1

    def test_a_second_phone_that_fails_does_not_cost_the_first_one_a_repetition(
        self, world: World, twilio: Twilio
    ) -> None:
        fill(world, recipients=[UNSUBSCRIBED, FIRST, SECOND])
        send(world, twilio)
        send(world, twilio)
        assert twilio.reached == [FIRST, SECOND]

    def test_a_refusal_for_good_is_told_by_e_mail_and_not_tried_again(
        self, world: World, twilio: Twilio, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fill(world, recipients=[FIRST, UNSUBSCRIBED])
        send(world, twilio)
        (mail,) = world.topic.mails
        assert mail["Message"] == (
            "the body\n\nThe text to recipient 2 of 2 was not sent: Twilio answered 400, error 21610."
        )
        assert metrics(capsys) == {"TextsSent": 1.0, "TextsFailed": 1.0}
        send(world, twilio)
        assert logged(capsys) == []
        assert world.table.items[KEY]["state"] == {"S": "done"}

    def test_an_e_mail_that_fails_is_tried_again_and_the_texts_are_not(
        self, world: World, twilio: Twilio
    ) -> None:
        world.topic.fails = {"publish"}
        with pytest.raises(DeliveryError, match="e-mail: failed"):
            send(world, twilio)
        world.topic.fails = set()
        send(world, twilio)
        assert twilio.reached == [FIRST, SECOND]
        assert len(world.topic.mails) == 1

    def test_a_mark_that_fails_does_not_cost_the_others_theirs(
        self, world: World, twilio: Twilio
    ) -> None:
        """Otherwise one fault of the table would text everybody again at the next retry."""
        twilio.fail(503, times=4)
        with pytest.raises(DeliveryError):
            send(world, twilio)
        assert set(world.table.items[KEY]["channels"]["M"]) == {"email"}
        real, world.table.fails = world.table.update_item, {"update_item"}

        def fail_once(**asked: Any) -> None:
            try:
                real(**asked)
            finally:
                world.table.fails = set()

        world.table.update_item = fail_once  # type: ignore[method-assign] # a fault of one call alone
        send(world, twilio)
        assert set(world.table.items[KEY]["channels"]["M"]) == {"email", channel_name(SECOND)}


class TestFallback:
    @pytest.mark.parametrize(
        ("fault", "told"),
        [
            ("empty", "No text was sent: the secret is still empty (ResourceNotFoundException)."),
            (
                "malformed",
                "No text was sent: the secret is not the JSON object that invoke secret writes.",
            ),
        ],
    )
    def test_without_a_secret_the_e_mail_goes_out_alone(
        self,
        world: World,
        twilio: Twilio,
        capsys: pytest.CaptureFixture[str],
        fault: str,
        told: str,
    ) -> None:
        world.secrets.text = {"empty": None, "malformed": KEY_SECRET}.get(fault, world.secrets.text)
        send(world, twilio)
        assert twilio.messages == []
        assert [mail["Message"] for mail in world.topic.mails] == [f"the body\n\n{told}"]
        assert metrics(capsys) == {"TextsSent": 0.0, "TextsFailed": 1.0, "FallbackUsed": 1.0}

    @pytest.mark.parametrize("fault", ["unreadable", "no client"])
    def test_while_the_secret_cannot_be_read_the_e_mail_goes_out_and_the_text_follows_on_a_retry(
        self, world: World, twilio: Twilio, fault: str
    ) -> None:
        world.secrets.fails = {"get_secret_value"} if fault == "unreadable" else set()
        world.missing = {"secretsmanager"} if fault == "no client" else set()
        with pytest.raises(DeliveryError, match="the secret could not be read"):
            send(world, twilio)
        told = "No text was sent: the secret could not be read (AccessDeniedError)."
        assert [mail["Message"] for mail in world.topic.mails] == [f"the body\n\n{told}"]
        world.secrets.fails, world.missing = set(), set()
        send(world, twilio)
        assert twilio.reached == [FIRST, SECOND]
        assert len(world.topic.mails) == 1

    def test_rotated_credentials_are_read_afresh_once(self, world: World, twilio: Twilio) -> None:
        fill(world, api_key_secret="revoked")
        sends = world.dependencies(twilio_base_url=twilio.url)
        deliver(
            MESSAGE,
            "1#warm",
            sends._replace(settings=sends.settings._replace(ledger_table_name="none")),
        )
        assert twilio.messages == []
        world.topic.mails.clear()
        world.secrets.calls.clear()
        fill(world)
        send(world, twilio)
        assert twilio.reached == [FIRST, SECOND]
        assert world.secrets.calls == ["get_secret_value"]

    def test_revoked_credentials_leave_the_e_mail(
        self, world: World, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(world, api_key_secret="revoked")
        sent, ours = [], sms.send

        def spy(*given: Any) -> sms.Outcome:
            sent.append(given[1])
            return ours(*given)

        monkeypatch.setattr(sms, "send", spy)
        send(world, twilio)
        assert sent == [FIRST, SECOND]  # the same credentials are not tried twice
        assert twilio.messages == []
        assert (
            "recipient 1 of 2 was not sent: Twilio answered 401" in world.topic.mails[0]["Message"]
        )
        assert KEY_SECRET not in world.topic.mails[0]["Message"]

    def test_a_layer_that_cannot_be_imported_leaves_the_e_mail_and_is_tried_again(
        self, world: World, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "signwatch.alerting.sms", None)
        monkeypatch.delattr("signwatch.alerting.sms")
        with pytest.raises(DeliveryError, match="the texts failed"):
            send(world, twilio)
        assert len(world.topic.mails) == 1

    def test_when_time_runs_out_the_e_mail_is_sent_and_the_rest_left_to_the_retry(
        self, world: World, twilio: Twilio
    ) -> None:
        world.seconds_left = lambda: 16.0
        with pytest.raises(DeliveryError, match="there was no time left"):
            send(world, twilio)
        assert twilio.messages == []
        assert len(world.topic.mails) == 1


class TestEverythingDown:
    @pytest.mark.parametrize("fault", ["put_item", "get_item", "update_item", "no client"])
    def test_a_ledger_that_is_down_costs_no_alert(
        self, world: World, twilio: Twilio, capsys: pytest.CaptureFixture[str], fault: str
    ) -> None:
        if fault == "get_item":  # asked only for an alert that is known already
            world.dependencies().client("dynamodb").items[KEY] = {}
        world.table.fails, world.missing = {fault}, {"dynamodb"} if fault == "no client" else set()
        send(world, twilio)
        assert twilio.reached == [FIRST, SECOND]
        assert len(world.topic.mails) == 1
        problem = next(line for line in logged(capsys) if line.get("problem"))
        assert (problem["problem"], problem["error"], problem["event_id"]) == (
            "ledger",
            "AccessDeniedError",
            "8a1edcc0",
        )

    @pytest.mark.parametrize("ledger", [True, False])
    @pytest.mark.parametrize("secret", [True, False])
    @pytest.mark.parametrize("texts", [True, False])
    @pytest.mark.parametrize("topic", [True, False])
    def test_whatever_still_works_is_used(
        self, world: World, twilio: Twilio, *, ledger: bool, secret: bool, texts: bool, topic: bool
    ) -> None:
        world.missing = {
            name
            for name, up in (("dynamodb", ledger), ("secretsmanager", secret), ("sns", topic))
            if not up
        }
        if secret and not texts:
            twilio.fail(500, times=4)
        again = not topic or not secret or not texts
        if again:
            with pytest.raises(DeliveryError):
                send(world, twilio)
        else:
            send(world, twilio)
        assert len(world.topic.mails) == int(topic)
        assert twilio.reached == ([FIRST, SECOND] if secret and texts else [])


def test_a_ledger_that_hangs_is_waited_for_once_and_no_more(
    world: World, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReadTimeoutError(Exception):
        """Named as botocore names it."""

    asked: list[str] = []

    def hang(**request: Any) -> None:
        asked.append(request["ExpressionAttributeNames"]["#name"])
        raise ReadTimeoutError

    monkeypatch.setattr(world.table, "update_item", hang)
    send(world, twilio)
    assert asked == [channel_name(FIRST)]
    assert twilio.reached == [FIRST, SECOND]
    assert len(world.topic.mails) == 1


def test_neither_the_log_nor_an_error_holds_a_number_or_a_credential(
    world: World, twilio: Twilio, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(world, recipients=[FIRST, UNSUBSCRIBED, SECOND])
    twilio.fail(503, times=2)
    world.topic.fails = {"publish"}
    with pytest.raises(DeliveryError) as caught:
        send(world, twilio)
    said = capsys.readouterr().out + str(caught.value)
    for value in (
        FIRST,
        SECOND,
        UNSUBSCRIBED,
        KEY_SECRET,
        FILLED["account_sid"],
        FILLED["api_key_sid"],
    ):
        assert str(value).lstrip("+") not in said
