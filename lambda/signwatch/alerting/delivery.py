"""Delivering: ledger, texts, e-mail, marks. Two full channels, so that one lost phone or one lost key silences nobody.

Order: send, then mark. A crash in between repeats a text, which is the right direction.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from signwatch import log
from signwatch.alerting.ledger import Entry, Ledger

if TYPE_CHECKING:
    from signwatch.alerting.message import Message
    from signwatch.alerting.sms import Outcome, Secret
    from signwatch.dependencies import Dependencies

EMAIL = "email"


class DeliveryError(Exception):
    """The alert has not reached everybody yet; raised so that Lambda tries again."""


class Report(NamedTuple):
    """What became of the texts: sent now, reached now or before, a sentence for each failure, worth another try."""

    sent: int = 0
    reached: int = 0
    failed: tuple[str, ...] = ()
    again: bool = False


NONE_MEANT = Report()  # of an alert that goes out by e-mail alone


def deliver(
    message: Message, key: str, dependencies: Dependencies, *, send_text: bool = True
) -> None:
    """Send the text to each recipient and the e-mail to the topic; what a channel already has is not repeated.

    ``key`` is the alert's in the ledger, empty for an event without an id; without ``send_text`` the e-mail is all. Raises
    DeliveryError when trying again may still help.
    """
    book = _SafeLedger(key, dependencies)
    if book.entry.finished:
        return
    report = _texts(message, book, dependencies) if send_text else NONE_MEANT
    mailed = _email(message, report, book, dependencies)
    _log(key, report, dependencies, mailed=mailed)
    if report.again or mailed == "failed":
        raise DeliveryError("; ".join((*report.failed, f"e-mail: {mailed}")))
    book.finish()


def channel_name(recipient: str) -> str:
    """Return the name of a recipient's channel in the ledger: a digest, so that no number is stored."""
    return f"text_{hashlib.sha256(recipient.encode()).hexdigest()[:12]}"


class _SafeLedger:
    """The ledger, with its own faults written down and never in the way."""

    def __init__(self, key: str, dependencies: Dependencies) -> None:
        self.key, self.now, self.entry = key, dependencies.clock(), Entry()
        self.ledger: Ledger | None = None
        try:
            self.ledger = Ledger(
                dependencies.client("dynamodb"), dependencies.settings.ledger_table_name, key
            )
            self.entry = self.ledger.claim(self.now)
        except Exception as error:  # noqa: BLE001 - a ledger that is down must never cost an alert
            self._complain(error)

    def has(self, channel: str) -> bool:
        return channel in self.entry.channels

    def mark(self, channel: str) -> None:
        try:
            if self.ledger:
                self.ledger.mark(channel)
        except Exception as error:  # noqa: BLE001 - the next channel's mark may still succeed
            _complain(self.key, "ledger", error, self.now)
            if type(error).__name__.endswith("TimeoutError"):
                self.ledger = (
                    None  # to wait so long once more would cost the time of a text or of the e-mail
                )

    def finish(self) -> None:
        try:
            if self.ledger:
                self.ledger.finish()
        except Exception as error:  # noqa: BLE001 - everybody has the alert; a repetition is harmless
            _complain(self.key, "ledger", error, self.now)

    def _complain(self, error: Exception) -> None:
        self.ledger = None  # no more calls that would only wait
        _complain(self.key, "ledger", error, self.now)


def _texts(message: Message, book: _SafeLedger, dependencies: Dependencies) -> Report:
    """Text everybody; whatever goes wrong in here, the e-mail still has its turn."""
    try:
        return _text_everybody(message, book, dependencies)
    except Exception as error:  # noqa: BLE001 - even a layer that cannot be imported must leave the other channel
        _complain(book.key, "texts", error, book.now)
        return Report(failed=(f"the texts failed ({type(error).__name__})",), again=True)


def _text_everybody(message: Message, book: _SafeLedger, dependencies: Dependencies) -> Report:
    from signwatch.alerting import sms

    try:
        given = sms.load_secret(
            dependencies.client, dependencies.settings.twilio_secret_arn, book.now
        )
    except sms.NoSecretError as error:
        return Report(failed=(f"no text was sent: {error}",), again=error.passing)
    recipients, sent, failed, again = given.recipients, 0, [], False
    waiting = [recipient for recipient in recipients if not book.has(channel_name(recipient))]
    for recipient in waiting:
        outcome, given = _text(message.text, recipient, given, dependencies)
        if outcome.state == "accepted":
            sent += 1
            book.mark(channel_name(recipient))
        else:
            failed.append(_sentence(recipients.index(recipient) + 1, len(recipients), outcome))
            again = again or outcome.state == "transient"
    return Report(sent, len(recipients) - len(failed), tuple(failed), again)


def _sentence(place: int, number: int, outcome: Outcome) -> str:
    """Say what failed, naming a recipient by its place alone."""
    hope = ", and is tried again" if outcome.state == "transient" else ""
    return f"the text to recipient {place} of {number} was not sent{hope}: {outcome.why}"


def _text(
    text: str, recipient: str, given: Secret, dependencies: Dependencies
) -> tuple[Outcome, Secret]:
    """Send one text; refused credentials are read afresh once, since they may have been rotated."""
    from signwatch.alerting import sms

    settings, left = dependencies.settings, dependencies.seconds_left
    outcome = sms.send(given, recipient, text, settings.twilio_base_url, left)
    if outcome.state != "credentials":
        return outcome, given
    try:
        fresh = sms.load_secret(
            dependencies.client, settings.twilio_secret_arn, dependencies.clock(), fresh=True
        )
    except sms.NoSecretError:
        return outcome, given
    if fresh == given:
        return outcome, given
    return sms.send(fresh, recipient, text, settings.twilio_base_url, left), fresh


def _email(message: Message, texts: Report, book: _SafeLedger, dependencies: Dependencies) -> str:
    """Publish the alert to the topic, with what became of the texts; return sent, had (before) or failed."""
    if book.has(EMAIL):
        return "had"
    told = [sentence[:1].upper() + sentence[1:] + "." for sentence in texts.failed]
    body = "\n".join([message.body, "", *told] if told else [message.body])
    try:
        sns: Any = dependencies.client("sns")
        sns.publish(
            TopicArn=dependencies.settings.alert_topic_arn, Subject=message.subject, Message=body
        )
    except Exception as error:  # noqa: BLE001 - the text may have gone out; what is missing is raised by the caller
        _complain(book.key, "e-mail", error, book.now)
        return "failed"
    book.mark(EMAIL)
    return "sent"


def _log(key: str, texts: Report, dependencies: Dependencies, *, mailed: str) -> None:
    metrics = {"TextsSent": float(texts.sent)}
    if texts.failed:
        metrics["TextsFailed"] = float(len(texts.failed))
    if mailed == "sent" and not texts.reached and texts is not NONE_MEANT:
        metrics["FallbackUsed"] = 1.0
    values = {
        "level": "ERROR" if texts.failed else "INFO",
        "event_id": _event_id(key),
        "delivery": list(texts.failed) or "complete",
        "email": mailed,
    }
    log.write(values, metrics, dependencies.clock())


def _complain(key: str, problem: str, error: Exception, now: float) -> None:
    values = {
        "level": "ERROR",
        "event_id": _event_id(key),
        "problem": problem,
        "error": type(error).__name__,
    }
    log.write(values, {}, now)


def _event_id(key: str) -> str:
    return key.partition("#")[2]
