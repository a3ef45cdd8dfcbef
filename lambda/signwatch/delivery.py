"""Delivering: ledger, texts, e-mail, marks. Two full channels, so that one lost phone or one lost key silences nobody.

Order: send, then mark. A crash in between repeats a text, which is the right direction.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from signwatch import journal
from signwatch.ledger import Ledger

if TYPE_CHECKING:
    from signwatch.message import Message
    from signwatch.pipeline import Dependencies
    from signwatch.sms import Outcome, Secret

EMAIL = "email"


class DeliveryError(Exception):
    """The alert has not reached everybody yet; raised so that Lambda tries again."""


class Report(NamedTuple):
    """What became of the texts: how many were accepted, and a sentence for each that was not."""

    accepted: int
    failed: tuple[str, ...]
    again: bool


def deliver(message: Message, key: str, dependencies: Dependencies) -> None:
    """Send the text to each recipient and the e-mail to the topic; what a channel already has is not repeated.

    Raises DeliveryError when trying again may still help.
    """
    book = _Book(key, dependencies)
    texts = _texts(message, book, dependencies)
    mailed = _email(message, texts, book, dependencies)
    _log(texts, dependencies, mailed=mailed)
    if texts.again or not mailed:
        raise DeliveryError("; ".join((*texts.failed, *(() if mailed else ("the e-mail could not be sent",)))))
    book.finish()


def channel_of(recipient: str) -> str:
    """Return the name of a recipient's channel in the ledger: a digest, so that no number is stored."""
    return f"text_{hashlib.sha256(recipient.encode()).hexdigest()[:12]}"


class _Book:
    """The ledger, with its own faults written down and never in the way."""

    def __init__(self, key: str, dependencies: Dependencies) -> None:
        self.now, self.ledger = dependencies.clock(), None
        self.done: frozenset[str] = frozenset()
        try:
            table = dependencies.settings.ledger_table_name
            self.ledger = Ledger(dependencies.client("dynamodb"), table, key)
            self.done = self.ledger.delivered(self.now)
        except Exception as error:  # noqa: BLE001 - a ledger that is down must never cost an alert
            self._complain(error)

    def mark(self, channel: str) -> None:
        self._try("mark", channel)

    def finish(self) -> None:
        self._try("finish")

    def _try(self, method: str, *arguments: str) -> None:
        try:
            if self.ledger:
                getattr(self.ledger, method)(*arguments)
        except Exception as error:  # noqa: BLE001 - a ledger that is down must never cost an alert
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        journal.write({"level": "ERROR", "problem": "ledger", "error": type(error).__name__}, {}, self.now)
        self.ledger = None


def _texts(message: Message, book: _Book, dependencies: Dependencies) -> Report:
    from signwatch import sms

    arn, now = dependencies.settings.twilio_secret_arn, dependencies.clock()
    try:
        given = sms.secret(dependencies.client, arn, now)
    except sms.NoSecretError as error:
        return Report(0, (f"no text was sent: {error}",), again=False)
    accepted, failed, again = 0, [], False
    for place, recipient in enumerate(given.recipients, 1):
        channel = channel_of(recipient)
        if channel in book.done:
            accepted += 1
            continue
        outcome, given = _text(message.text, recipient, given, dependencies)
        if outcome.state == "accepted":
            accepted += 1
            book.mark(channel)
        else:
            failed.append(f"the text to recipient {place} of {len(given.recipients)} was not sent: {outcome.why}")
            again = again or outcome.state == "transient"
    return Report(accepted, tuple(failed), again)


def _text(text: str, recipient: str, given: Secret, dependencies: Dependencies) -> tuple[Outcome, Secret]:
    """Send one text; refused credentials are read afresh once, since they may have been rotated."""
    from signwatch import sms

    url, left = dependencies.settings.twilio_base_url, dependencies.seconds_left
    outcome = sms.send(given, recipient, text, url, left)
    if outcome.state == "credentials":
        try:
            given = sms.secret(
                dependencies.client, dependencies.settings.twilio_secret_arn, dependencies.clock(), fresh=True
            )
        except sms.NoSecretError:
            return outcome, given
        outcome = sms.send(given, recipient, text, url, left)
    return outcome, given


def _email(message: Message, texts: Report, book: _Book, dependencies: Dependencies) -> bool:
    """Publish the alert to the topic, with what became of the texts; say whether it has been published."""
    if EMAIL in book.done:
        return True
    told = (
        "\n".join(("", *(sentence[:1].upper() + sentence[1:] + "." for sentence in texts.failed)))
        if texts.failed
        else ""
    )
    try:
        sns: Any = dependencies.client("sns")
        sns.publish(
            TopicArn=dependencies.settings.alert_topic_arn, Subject=message.subject, Message=message.body + told
        )
    except Exception as error:  # noqa: BLE001 - the text may have gone out; what is missing is raised by the caller
        values = {"level": "ERROR", "problem": "e-mail", "error": type(error).__name__}
        journal.write(values, {}, dependencies.clock())
        return False
    book.mark(EMAIL)
    return True


def _log(texts: Report, dependencies: Dependencies, *, mailed: bool) -> None:
    metrics: dict[str, float] = {"TextsSent": float(texts.accepted)}
    if texts.failed and texts.accepted + len(texts.failed):
        metrics["TextsFailed"] = float(len(texts.failed))
    if mailed and not texts.accepted:
        metrics["FallbackUsed"] = 1.0
    values = {
        "level": "ERROR" if texts.failed else "INFO",
        "delivery": list(texts.failed) or "complete",
        "mailed": mailed,
    }
    journal.write(values, metrics, dependencies.clock())
