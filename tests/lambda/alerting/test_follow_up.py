"""What became of a text: the other recipients and an e-mail learn that it failed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.alerting import follow_up, sms
from signwatch.alerting.delivery import deliver, format_channel
from signwatch.alerting.message import Message
from signwatch.detection.envelope import TEXT_OUTCOME
from signwatch.later import NotYetError
from signwatch.pipeline import process
from tests.support.deliveries import queue_delivery
from tests.support.dependencies import FIRST, NOW, SECOND, World

if TYPE_CHECKING:
    from tests.support.twilio import Twilio

MESSAGE = Message("the text", "the subject", "the body")
KEY = "111122223333#8a1edcc0"
HOUR = 3600


def send(world: World, twilio: Twilio, status: str, error: int | None = None) -> Any:
    """Deliver an alert; return the question about the text to FIRST, whose status is ``status``."""
    deliver(MESSAGE, KEY, world.dependencies(twilio_base_url=twilio.url))
    world.topic.emails.clear()
    sids = {message["to"]: message["sid"] for message in twilio.messages}
    twilio.twilio_server.set_status(sids[FIRST], status, error)
    contents = {content["sid"]: content for content, _ in world.queue.messages}
    world.queue.messages.clear()
    world.now += 900
    return contents[sids[FIRST]]


def ask(world: World, twilio: Twilio, question: Any) -> str:
    return follow_up.ask(question, world.dependencies(twilio_base_url=twilio.url))


def channel(world: World, recipient: str = FIRST) -> dict[str, Any]:
    fields = world.table.items[KEY]["channels"]["M"][format_channel(recipient)]["M"]
    return {name: next(iter(value.values())) for name, value in fields.items()}


@pytest.mark.parametrize("status", ["delivered", "read"])
def test_text_that_arrived_is_recorded(world: World, twilio: Twilio, status: str) -> None:
    question = send(world, twilio, status)
    assert ask(world, twilio, question) == "delivered"
    assert channel(world) == {
        "state": "delivered",
        "at": str(int(NOW)),
        "sid": question["sid"],
        "tries": "1",
    }
    assert channel(world, SECOND)["state"] == "sent"
    assert world.topic.emails == []
    assert len(twilio.messages) == 2


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        ("undelivered", 30003, "error 30003 (the phone is switched off or out of reach)"),
        ("failed", 30034, "error 30034 (the US sender is not registered (A2P 10DLC))"),
        ("undelivered", 39999, "error 39999"),
        ("canceled", None, "Twilio reports it as canceled"),
    ],
)
def test_text_that_failed_goes_to_the_others_and_the_email_says_why(
    world: World, twilio: Twilio, status: str, error: int | None, reason: str
) -> None:
    question = send(world, twilio, status, error)
    assert ask(world, twilio, question) == "failed"
    notice = twilio.messages[-1]
    assert (len(twilio.messages), notice["to"]) == (3, SECOND)
    assert notice["body"] == f"Recipient 1 of 2 did not get this ({reason}): the text"
    (email,) = world.topic.emails
    assert email["Subject"] == "Text: the subject"
    assert email["Message"] == (
        f"The text to recipient 1 of 2 of this alert did not arrive: {reason}.\n"
        "The other recipients have now got a text about this.\n\nthe body"
    )
    assert (channel(world)["state"], channel(world)["reason"]) == ("failed", reason)
    assert world.queue.messages == []  # no chain of questions


def test_question_that_comes_twice_is_answered_once(world: World, twilio: Twilio) -> None:
    question = send(world, twilio, "undelivered", 30003)
    for _ in range(3):
        assert ask(world, twilio, question) == "failed"
    assert len(world.topic.emails) == 1
    assert len(twilio.messages) == 3


def test_email_about_a_failed_text_is_tried_again_without_the_texts(
    world: World, twilio: Twilio
) -> None:
    question = send(world, twilio, "undelivered", 30003)
    world.topic.fails = {"publish"}
    with pytest.raises(NotYetError):
        ask(world, twilio, question)
    world.topic.fails = set()
    assert ask(world, twilio, question) == "failed"
    assert len(world.topic.emails) == 1
    assert len(twilio.messages) == 3


def test_only_recipient_has_nobody_to_tell(world: World, twilio: Twilio) -> None:
    secret = json.loads(str(world.secrets.text))
    world.secrets.text = json.dumps({**secret, "recipients": [FIRST]})
    question = send(world, twilio, "undelivered", 30007)
    assert ask(world, twilio, question) == "failed"
    assert len(twilio.messages) == 1
    (email,) = world.topic.emails
    assert "The other recipients" not in email["Message"]


@pytest.mark.parametrize("fault", ["ledger", "texts"])
def test_email_is_sent_although_something_else_is_down(
    world: World, twilio: Twilio, fault: str
) -> None:
    question = send(world, twilio, "undelivered", 30003)
    if fault == "ledger":
        world.missing = {"dynamodb"}
    else:
        twilio.fail(503, times=2, to=SECOND)
    if fault == "ledger":
        assert ask(world, twilio, question) == "failed"
    else:
        with pytest.raises(NotYetError):
            ask(world, twilio, question)
    (email,) = world.topic.emails
    assert "did not arrive: error 30003" in email["Message"]
    assert ("recipient 2 of 2 was not sent" in email["Message"]) is (fault == "texts")


def test_text_about_a_failed_one_is_tried_again_and_a_last_email_says_so(
    world: World, twilio: Twilio
) -> None:
    question = send(world, twilio, "undelivered", 30003)
    twilio.fail(503, times=3, to=SECOND)
    for _ in range(2):
        with pytest.raises(NotYetError):
            ask(world, twilio, question)
        assert len(world.topic.emails) == 1
    for _ in range(3):
        assert ask(world, twilio, question) == "failed"
    assert twilio.messages[-1]["body"].startswith("Recipient 1 of 2 did not get this")
    assert len(twilio.messages) == 3
    _, last = world.topic.emails
    assert last["Message"].startswith("All texts of this alert have now been sent.")


@pytest.mark.parametrize("status", ["queued", "accepted", "sending", "sent", ""])
def test_open_question_stays_in_the_queue_and_is_told_after_two_hours(
    world: World, twilio: Twilio, status: str
) -> None:
    question = send(world, twilio, status)

    def set_status() -> None:  # a look-up moves it on
        twilio.twilio_server.set_status(question["sid"], status)

    for seconds in (900, 2 * HOUR - 1):
        world.now = NOW + seconds
        set_status()
        with pytest.raises(NotYetError):
            ask(world, twilio, question)
    assert world.topic.emails == []
    world.now = NOW + 2 * HOUR
    set_status()
    assert ask(world, twilio, question) == "open"
    (email,) = world.topic.emails
    reason = f"Twilio reports it as {status}"
    if status == "sent":
        reason = "the carrier took it, but has not confirmed its delivery"
    sentence = "The text to recipient 1 of 2 of this alert is not known to have arrived"
    assert email["Message"].startswith(f"{sentence} after two hours: {reason}.\n")


@pytest.mark.parametrize("fault", ["twilio", "secret", "unknown"])
def test_question_stays_open_if_it_cannot_be_asked(
    world: World, twilio: Twilio, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = send(world, twilio, "delivered")
    if fault == "twilio":
        twilio.fail(503, times=2)
    elif fault == "secret":
        monkeypatch.setattr(sms, "_cache", {})
        world.secrets.fails = {"get_secret_value"}
    else:
        question["sid"] = "SM" + "0" * 32
    with pytest.raises(NotYetError):
        ask(world, twilio, question)
    world.now = NOW + 2 * HOUR
    assert ask(world, twilio, question) == "open"
    assert len(world.topic.emails) == 1


def test_queue_gets_an_open_question_back(world: World, twilio: Twilio) -> None:
    """A failed message returns after the queue's visibility timeout (partial batch responses)."""
    question = send(world, twilio, "queued")
    dependencies = world.dependencies(twilio_base_url=twilio.url)
    body = {"later": TEXT_OUTCOME, "content": question}
    message = queue_delivery(body, "later", messageId="m-7")
    assert process(message, dependencies) == {"batchItemFailures": [{"itemIdentifier": "m-7"}]}
    with pytest.raises(NotYetError):  # that queue's mapping takes any answer for success
        process(queue_delivery(body, "failed-events"), dependencies)
    twilio.twilio_server.set_status(question["sid"], "delivered")
    assert process(message, dependencies) == {"text": "delivered"}


@pytest.mark.parametrize("content", [None, [], "x", {}, {"sid": 7}, {"sent_at": "x"}])
def test_malformed_question_is_an_email_or_an_error(
    world: World, twilio: Twilio, content: Any
) -> None:
    try:
        assert ask(world, twilio, content) == "open"
    except ValueError:
        return
    assert len(world.topic.emails) == 1


def test_notice_fits_into_two_parts_of_a_text(world: World, twilio: Twilio) -> None:
    question = send(world, twilio, "undelivered", 30006)
    question["text"] = "x" * 306
    ask(world, twilio, question)
    assert twilio.messages[-1]["num_segments"] == "2"
