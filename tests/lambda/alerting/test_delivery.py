"""Delivery: each channel is tried even if the other fails, and nobody gets a text twice."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.alerting import delivery, sms
from signwatch.alerting.delivery import DeliveryError, deliver, format_channel
from signwatch.alerting.message import Message
from tests.support.dependencies import (
    FIRST,
    KEY_SECRET,
    NOW,
    SECOND,
    SETTINGS,
    TWILIO_SECRET,
    AccessDeniedError,
    World,
)

if TYPE_CHECKING:
    from tests.support.twilio import Twilio

MESSAGE = Message("the text", "the subject", "the body")
KEY = "111122223333#8a1edcc0"
UNSUBSCRIBED = "+15005550004"  # Twilio docs, "Test credentials"


def send(world: World, twilio: Twilio, key: str = KEY) -> bool:
    """Deliver the alert; return whether it is counted as a new one."""
    calls: list[None] = []
    dependencies = world.dependencies(twilio_base_url=twilio.url)
    deliver(MESSAGE, key, dependencies, on_first=lambda: calls.append(None))
    return len(calls) == 1


def retry(world: World, twilio: Twilio) -> None:
    """Deliver the alert again, as a queue does."""
    world.now += 900
    send(world, twilio)


def questions(world: World) -> list[dict[str, Any]]:
    """Return the questions that were queued about texts."""
    assert set(world.queue.kinds) <= {"text-outcome"}
    assert {delay for _, delay in world.queue.messages} <= {900}
    return [content for content, _ in world.queue.messages]


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
        assert sorted(twilio.recipients) == [FIRST, SECOND]
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
        state = {"state": {"S": "sent"}, "at": {"N": str(int(NOW))}, "tries": {"N": "1"}}
        sids = {message["to"]: {"S": message["sid"]} for message in twilio.messages}
        assert item["channels"]["M"] == {
            format_channel(FIRST): {"M": {**state, "sid": sids[FIRST]}},
            format_channel(SECOND): {"M": {**state, "sid": sids[SECOND]}},
            "email": {"M": state},
        }
        assert format_channel(FIRST) == "text_4f7127bfa5e2"
        assert FIRST not in json.dumps(item)

    def test_caller_is_told_whether_the_alert_is_new(self, world: World, twilio: Twilio) -> None:
        assert send(world, twilio)
        assert not send(world, twilio)
        world.table.items.clear()
        world.table.fails = {"put_item"}
        assert send(world, twilio)

    def test_what_became_of_each_text_is_asked_later(self, world: World, twilio: Twilio) -> None:
        send(world, twilio)
        by_position = {question.pop("position"): question for question in questions(world)}
        sids = {message["to"]: message["sid"] for message in twilio.messages}
        for position, recipient in (("1 of 2", FIRST), ("2 of 2", SECOND)):
            assert by_position[position] == {
                "key": KEY,
                "channel": format_channel(recipient),
                "sid": sids[recipient],
                "sent_at": int(NOW),
                "text": "the text",
                "subject": "the subject",
                "body": "the body",
            }

    def test_alert_is_sent_although_nothing_can_be_asked_later(
        self, world: World, twilio: Twilio
    ) -> None:
        world.queue.fails = {"send_message"}
        send(world, twilio)
        assert sorted(twilio.recipients) == [FIRST, SECOND]
        assert world.table.items[KEY]["state"] == {"S": "done"}

    def test_texts_do_not_wait_for_each_other(self, world: World, twilio: Twilio) -> None:
        twilio.fail(delay_seconds=0.5, to=FIRST)
        twilio.fail(delay_seconds=0.5, to=SECOND)
        start = time.monotonic()
        send(world, twilio)
        assert time.monotonic() - start < 0.9
        assert sorted(twilio.recipients) == [FIRST, SECOND]

    def test_recipients_take_turns_in_being_first(self) -> None:
        recipients = ["a", "b", "c"]
        orders = {tuple(delivery._take_turns(recipients, KEY, tries)) for tries in range(1, 7)}
        assert orders == {("a", "b", "c"), ("b", "c", "a"), ("c", "a", "b")}
        keys = [f"1#{n}" for n in range(9)]
        assert {delivery._take_turns(recipients, key, 1)[0] for key in keys} == set(recipients)
        assert delivery._take_turns([], KEY, 1) == []

    def test_text_is_sent_before_it_is_marked(self, world: World, twilio: Twilio) -> None:
        world.table.fails = {"update_item"}
        send(world, twilio)
        assert sorted(twilio.recipients) == [FIRST, SECOND]
        assert world.table.items[KEY]["channels"] == {"M": {}}

    def test_repeated_event_sends_nothing_again(self, world: World, twilio: Twilio) -> None:
        for _ in range(3):
            send(world, twilio)
        assert sorted(twilio.recipients) == [FIRST, SECOND]
        assert len(world.topic.emails) == 1
        assert world.secrets.calls == ["get_secret_value"]

    def test_event_without_an_id_is_sent_each_time(self, world: World, twilio: Twilio) -> None:
        for _ in range(2):
            send(world, twilio, key="")
        assert sorted(twilio.recipients) == [FIRST, FIRST, SECOND, SECOND]
        assert world.table.items == {}


class TestPartialFailure:
    def test_retry_texts_only_recipients_not_reached_before(
        self, world: World, twilio: Twilio, capsys: pytest.CaptureFixture[str]
    ) -> None:
        twilio.fail(503, times=2, to=FIRST)
        with pytest.raises(
            DeliveryError, match="recipient 1 of 2 was not sent, and is tried again"
        ):
            send(world, twilio)
        assert twilio.recipients == [SECOND]
        assert metrics(capsys) == {"TextsSent": 1.0, "TextsFailed": 1.0}
        retry(world, twilio)
        assert twilio.recipients == [SECOND, FIRST]
        (line,) = log_lines(capsys)
        assert (line["TextsSent"], line["delivery"], line["email"]) == (1.0, "complete", "sent")

    def test_email_that_announced_a_retry_is_closed_by_a_last_one(
        self, world: World, twilio: Twilio
    ) -> None:
        twilio.fail(503, times=3, to=FIRST)
        for _ in range(2):
            with pytest.raises(DeliveryError):
                retry(world, twilio)
            assert len(world.topic.emails) == 1
        for _ in range(2):
            retry(world, twilio)
        first, last = world.topic.emails
        assert "recipient 1 of 2 was not sent, and is tried again" in first["Message"]
        assert last["Subject"] == "Texts of: the subject"
        assert last["Message"] == "All texts of this alert have now been sent.\n\nthe text"

    def test_last_email_says_which_text_was_given_up_and_why(
        self, world: World, twilio: Twilio
    ) -> None:
        twilio.fail(503, times=2, to=FIRST)
        with pytest.raises(DeliveryError):
            send(world, twilio)
        twilio.fail(400, 30034, to=FIRST)
        retry(world, twilio)
        assert world.topic.emails[1]["Message"] == (
            "No text of this alert is tried again.\n"
            "The text to recipient 1 of 2 was not sent: Twilio answered 400, error 30034 "
            "(the US sender is not registered (A2P 10DLC)).\n\nthe text"
        )

    def test_last_email_is_tried_again_if_it_fails(self, world: World, twilio: Twilio) -> None:
        twilio.fail(503, times=2, to=FIRST)
        with pytest.raises(DeliveryError):
            send(world, twilio)
        world.topic.fails = {"publish"}
        with pytest.raises(DeliveryError, match="e-mail: failed"):
            retry(world, twilio)
        world.topic.fails = set()
        retry(world, twilio)
        assert len(world.topic.emails) == 2
        assert sorted(twilio.recipients) == [FIRST, SECOND]

    def test_text_that_may_have_been_sent_is_tried_twice_if_twilio_does_not_list_texts(
        self, world: World, twilio: Twilio
    ) -> None:
        twilio.fail(reset=True, times=5, to=FIRST)
        with pytest.raises(DeliveryError):
            send(world, twilio)
        twilio.fail(403, 20003)
        for _ in range(3):
            retry(world, twilio)
        failures_left = 0
        while twilio.twilio_server.take_failure(FIRST).reset:
            failures_left += 1
        assert failures_left == 3
        last_email = world.topic.emails[-1]["Message"]
        assert "recipient 1 of 2 may not have been sent, and is given up: " in last_email
        assert len(world.topic.emails) == 2

    def test_text_that_may_have_been_sent_is_given_up_after_six_tries(
        self, world: World, twilio: Twilio
    ) -> None:
        """Although Twilio's list is each time without it."""
        twilio.fail(500, times=7, to=FIRST)  # two of them at the first try
        for _ in range(5):
            with pytest.raises(DeliveryError):
                retry(world, twilio)
        for _ in range(2):
            retry(world, twilio)
        assert twilio.recipients == [SECOND]
        last_email = world.topic.emails[-1]["Message"]
        assert "recipient 1 of 2 may not have been sent, and is given up: " in last_email
        assert len(world.topic.emails) == 2

    def test_text_that_twilio_accepted_without_an_answer_is_not_sent_again(
        self, world: World, twilio: Twilio
    ) -> None:
        twilio.fail(reset=True, to=FIRST)
        with pytest.raises(DeliveryError):
            send(world, twilio)
        form = {"To": FIRST, "From": "+15005550006", "Body": MESSAGE.text}
        account_sid = str(TWILIO_SECRET["account_sid"])
        sid = twilio.twilio_server.receive(account_sid, form)["sid"]
        retry(world, twilio)
        assert sorted(twilio.recipients) == [FIRST, SECOND]
        assert sid in [question["sid"] for question in questions(world)]

    def test_text_that_twilio_did_not_accept_is_sent_until_it_does(
        self, world: World, twilio: Twilio
    ) -> None:
        twilio.fail(reset=True, times=5, to=FIRST)
        for _ in range(5):
            with pytest.raises(DeliveryError):
                retry(world, twilio)
        retry(world, twilio)
        assert sorted(twilio.recipients) == [FIRST, SECOND]

    def test_text_waits_for_a_day_while_twilio_cannot_be_asked_about_it(
        self, world: World, twilio: Twilio
    ) -> None:
        twilio.fail(reset=True, to=FIRST)
        with pytest.raises(DeliveryError):
            send(world, twilio)
        twilio.fail(503, times=2)
        for _ in range(2):
            with pytest.raises(DeliveryError):
                retry(world, twilio)
        assert twilio.recipients == [SECOND]
        world.now += 86_400
        retry(world, twilio)
        assert twilio.recipients == [SECOND, FIRST]

    def test_outage_does_not_use_up_the_tries_of_a_text(self, world: World, twilio: Twilio) -> None:
        twilio.fail(503, times=11, to=FIRST)
        for _ in range(10):
            with pytest.raises(DeliveryError):
                retry(world, twilio)
        retry(world, twilio)
        assert sorted(twilio.recipients) == [FIRST, SECOND]

    def test_text_that_may_have_been_sent_is_not_repeated_without_the_ledger(
        self, world: World, twilio: Twilio
    ) -> None:
        """Nobody counts the tries then; the e-mail is out."""
        world.missing = {"dynamodb"}
        twilio.fail(reset=True, to=FIRST)
        send(world, twilio)
        (email,) = world.topic.emails
        assert "recipient 1 of 2 may not have been sent, and is given up: " in email["Message"]

    def test_text_that_may_have_been_sent_is_not_called_unsent(
        self, world: World, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sms, "READ_TIMEOUT_SECONDS", 0.05)
        twilio.fail(delay_seconds=3600.0, to=FIRST)
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
        retry(world, twilio)
        assert sorted(twilio.recipients) == [FIRST, SECOND]

    def test_text_is_tried_again_although_a_later_one_failed_for_good(
        self, world: World, twilio: Twilio
    ) -> None:
        fill(world, recipients=[FIRST, UNSUBSCRIBED])
        twilio.fail(503, times=2, to=FIRST)
        with pytest.raises(DeliveryError, match="recipient 1 of 2 was not sent, and is tried"):
            send(world, twilio)
        retry(world, twilio)
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
            "The text to recipient 2 of 2 was not sent: Twilio answered 400, error 21610 "
            "(the recipient answered STOP)."
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
        retry(world, twilio)
        assert sorted(twilio.recipients) == [FIRST, SECOND]
        assert len(world.topic.emails) == 1

    def test_other_marks_are_written_if_one_fails(self, world: World, twilio: Twilio) -> None:
        """Otherwise one error of the table would text everybody again on the next retry."""
        update_item, errors = world.table.update_item, [AccessDeniedError()]

        def fail_once(**request: Any) -> dict[str, Any]:
            with contextlib.suppress(IndexError):
                raise errors.pop()
            return update_item(**request)

        world.table.update_item = fail_once  # type: ignore[method-assign] # only one call fails
        send(world, twilio)
        assert len(world.table.items[KEY]["channels"]["M"]) == 2


class TestLaterInvocations:
    def test_announced_texts_are_sent_although_there_are_too_many_texts_now(
        self, world: World, twilio: Twilio
    ) -> None:
        twilio.fail(503, times=4)
        with pytest.raises(DeliveryError):
            send(world, twilio)
        dependencies = world.dependencies(twilio_base_url=twilio.url)
        deliver(MESSAGE, KEY, dependencies, send_text=False)
        assert sorted(twilio.recipients) == [FIRST, SECOND]
        assert "All texts of this alert have now been sent" in world.topic.emails[1]["Message"]

    def test_texts_that_wait_are_announced_and_sent_by_the_retry(
        self, world: World, twilio: Twilio
    ) -> None:
        dependencies = world.dependencies(twilio_base_url=twilio.url)
        with pytest.raises(DeliveryError) as caught:
            deliver(MESSAGE, KEY, dependencies._replace(texts_wait=True))
        assert caught.value.is_mailed
        assert twilio.messages == []
        assert "The texts are tried again later, since " in world.topic.emails[0]["Message"]
        deliver(MESSAGE, KEY, dependencies, send_text=False)
        assert sorted(twilio.recipients) == [FIRST, SECOND]

    def test_text_is_tried_once_in_a_quarter_of_an_hour_after_the_first_tries(
        self, world: World, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The event comes both ways, and each is retried by itself."""
        times: list[float] = []

        def fail(*_: Any) -> sms.Outcome:
            times.append(world.now - NOW)
            return sms.Outcome("transient", "down")

        monkeypatch.setattr(sms, "send", fail)
        fill(world, recipients=[FIRST])
        for seconds in (0, 60, 180, 200, 300, 360, 480, 490, 1100, 1390, 2000, 2290):
            world.now = NOW + seconds
            with pytest.raises(DeliveryError, match="was not sent, and is tried again: down"):
                send(world, twilio)
        assert times == [0, 60, 180, 1100, 2000]

    def test_silent_list_is_asked_once_for_all_recipients(
        self, world: World, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        twilio.fail(reset=True, times=2)
        with pytest.raises(DeliveryError):
            send(world, twilio)
        asked: list[str] = []
        find_text = sms.find_text

        def ask(_: Any, recipient: str, *__: Any) -> sms.Outcome:
            asked.append(recipient)
            return sms.Outcome("unclear", "TimeoutError")

        monkeypatch.setattr(sms, "find_text", ask)
        with pytest.raises(DeliveryError, match="may not have been sent, and is tried again"):
            retry(world, twilio)
        assert len(asked) == 1
        monkeypatch.setattr(sms, "find_text", find_text)
        retry(world, twilio)
        assert sorted(twilio.recipients) == [FIRST, SECOND]

    def test_retry_makes_one_attempt(self, world: World, twilio: Twilio) -> None:
        fill(world, recipients=[FIRST])
        twilio.fail(503, times=3)  # two attempts, then one
        for _ in range(2):
            with pytest.raises(DeliveryError):
                retry(world, twilio)
        retry(world, twilio)
        assert twilio.recipients == [FIRST]

    def test_quiet_alert_brings_no_question_and_no_second_email(
        self, world: World, twilio: Twilio
    ) -> None:
        """Strangers can cause it, and an hour has so many e-mails."""
        dependencies = world.dependencies(twilio_base_url=twilio.url)
        twilio.fail(503, times=2, to=FIRST)
        with pytest.raises(DeliveryError):
            deliver(MESSAGE, KEY, dependencies, is_quiet=True)
        deliver(MESSAGE, KEY, dependencies, is_quiet=True)
        assert sorted(twilio.recipients) == [FIRST, SECOND]
        assert questions(world) == []
        assert len(world.topic.emails) == 1


def test_client_of_the_queue_is_made_before_the_threads(
    world: World, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3's session makes one client at a time (boto3 guide, "Session reference")."""
    threads: dict[str, threading.Thread] = {}
    make_client = world.client

    def note_thread(service: str, **options: Any) -> Any:
        threads.setdefault(service, threading.current_thread())
        return make_client(service, **options)

    monkeypatch.setattr(world, "client", note_thread)
    send(world, twilio)
    assert threads["sqs"] is threading.main_thread()


class TestLease:
    def test_two_deliveries_at_the_same_moment_send_once(
        self, world: World, twilio: Twilio
    ) -> None:
        twilio.fail(delay_seconds=0.3, to=FIRST)
        twilio.fail(delay_seconds=0.3, to=SECOND)
        with ThreadPoolExecutor(8) as pool:
            ends = [pool.submit(send, world, twilio) for _ in range(8)]
        errors = [end.exception() for end in ends]
        assert errors.count(None) == 1
        texts = {str(error) for error in errors if error}
        assert texts == {"another invocation is sending this alert"}
        assert sorted(twilio.recipients) == [FIRST, SECOND]
        assert len(world.topic.emails) == 1

    def test_delivery_that_failed_can_be_retried_at_once(
        self, world: World, twilio: Twilio
    ) -> None:
        world.topic.fails = {"publish"}
        with pytest.raises(DeliveryError, match="e-mail: failed"):
            send(world, twilio)
        world.topic.fails = set()
        send(world, twilio)
        assert len(world.topic.emails) == 1

    def test_killed_invocation_is_taken_over_after_the_lease(
        self, world: World, twilio: Twilio
    ) -> None:
        def die(*_: Any, **__: Any) -> None:
            raise SystemExit

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(delivery, "_try_texts", die)
            with pytest.raises(SystemExit):
                send(world, twilio)
        with pytest.raises(DeliveryError, match="another invocation"):
            send(world, twilio)
        assert twilio.recipients == []
        retry(world, twilio)
        assert sorted(twilio.recipients) == [FIRST, SECOND]


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
        sentence = (
            "No text was sent, and is tried again: "
            "the secret could not be read (AccessDeniedError)."
        )
        assert [email["Message"] for email in world.topic.emails] == [f"the body\n\n{sentence}"]
        world.secrets.fails, world.missing = set(), set()
        retry(world, twilio)
        assert sorted(twilio.recipients) == [FIRST, SECOND]
        assert len(world.topic.emails) == 2  # the last one closes the first

    def test_rotated_credentials_are_read_again_once(self, world: World, twilio: Twilio) -> None:
        fill(world, api_key_secret="revoked")
        fill_cache = world.dependencies(twilio_base_url=twilio.url, ledger_table_name="none")
        with pytest.raises(DeliveryError):
            deliver(MESSAGE, "1#warm", fill_cache)
        assert twilio.messages == []
        world.topic.emails.clear()
        world.secrets.calls.clear()
        fill(world)
        send(world, twilio)
        assert sorted(twilio.recipients) == [FIRST, SECOND]
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
        with pytest.raises(DeliveryError):
            send(world, twilio)
        assert sorted(recipients) == [FIRST, SECOND]  # the same credentials are not tried twice
        assert twilio.messages == []
        body = world.topic.emails[0]["Message"]
        assert "recipient 1 of 2 was not sent, and is tried again: Twilio answered 401" in body
        assert KEY_SECRET not in body

    def test_revoked_credentials_are_tried_for_an_hour(self, world: World, twilio: Twilio) -> None:
        fill(world, api_key_secret="revoked")
        for seconds in (0, 900, 2700):
            world.now = NOW + seconds
            with pytest.raises(DeliveryError, match="and is tried again: Twilio answered 401"):
                send(world, twilio)
        world.now = NOW + 3600
        send(world, twilio)
        _, last = world.topic.emails
        assert "recipient 1 of 2 was not sent: Twilio answered 401" in last["Message"]

    def test_credentials_are_not_given_up_while_the_secret_cannot_be_read_again(
        self, world: World, twilio: Twilio
    ) -> None:
        fill(world, api_key_secret="revoked")
        sms.load_secret(world.client, SETTINGS.twilio_secret_arn, NOW)
        world.secrets.fails = {"get_secret_value"}
        for seconds in (0, 7200):
            world.now = NOW + seconds
            with pytest.raises(DeliveryError):
                send(world, twilio)
        world.secrets.fails = set()
        fill(world)
        retry(world, twilio)
        assert sorted(twilio.recipients) == [FIRST, SECOND]

    def test_refusal_is_in_the_email_if_the_new_secret_is_malformed(
        self, world: World, twilio: Twilio
    ) -> None:
        fill(world, api_key_secret="revoked")
        sms.load_secret(world.client, SETTINGS.twilio_secret_arn, NOW)
        world.secrets.text = "{}"
        with pytest.raises(DeliveryError):
            send(world, twilio)
        body = world.topic.emails[0]["Message"]
        for number in (1, 2):
            assert f"{number} of 2 was not sent, and is tried again: Twilio answered 401" in body

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
        world.seconds_left = lambda: 23.9
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
        assert sorted(twilio.recipients) == [FIRST, SECOND]
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
            twilio.fail(503, times=4)
        if topic and secret and texts:
            send(world, twilio)
        else:
            with pytest.raises(DeliveryError):
                send(world, twilio)
        assert len(world.topic.emails) == int(topic)
        assert sorted(twilio.recipients) == ([FIRST, SECOND] if secret and texts else [])


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
    assert 1 <= len(marks) <= 2  # those of the texts, side by side; none for the e-mail
    assert set(marks) <= {format_channel(FIRST), format_channel(SECOND)}
    assert sorted(twilio.recipients) == [FIRST, SECOND]
    assert len(world.topic.emails) == 1


def test_no_number_and_no_credential_is_in_the_log_or_an_error(
    world: World, twilio: Twilio, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(world, recipients=[FIRST, UNSUBSCRIBED, SECOND])
    twilio.fail(503, times=2, to=FIRST)
    world.topic.fails = {"publish"}
    with pytest.raises(DeliveryError) as error:
        send(world, twilio)
    output = capsys.readouterr().out + str(error.value)
    credentials = (TWILIO_SECRET["account_sid"], TWILIO_SECRET["api_key_sid"], KEY_SECRET)
    for value in (FIRST, SECOND, UNSUBSCRIBED, *credentials):
        assert str(value).lstrip("+") not in output
