"""Asks what became of a text that Twilio accepted, a quarter of an hour later.

A carrier can drop a text after Twilio accepted it; nothing but the text's status tells. The
question waits in the queue ``later``. If the text failed, the other recipients get it with the
reason, and so does the e-mail; while one of these texts is tried again, the question returns to the
queue. So it does while the fate of the first text is open; after two hours an e-mail says so.

Sources: Twilio docs, "Messages resource" (status) and "Error and warning dictionary".
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple, Self

from signwatch import gsm7, later, log
from signwatch.alerting.delivery import (
    ANNOUNCED,
    EMAIL,
    SafeLedger,
    publish,
    send_email,
    send_texts,
)
from signwatch.alerting.message import TEXT_MAX_SEPTETS, Message
from signwatch.detection.record import get_string

if TYPE_CHECKING:
    from signwatch.alerting.ledger import Channel
    from signwatch.dependencies import Dependencies

OPEN_SECONDS = 2 * 3600  # then an e-mail says that nobody knows what became of the text
GOOD_STATUSES = ("delivered", "read")
BAD_STATUSES = ("failed", "undelivered", "canceled")
STATUS_MEANINGS = {"sent": "the carrier took it, but has not confirmed its delivery"}


class Question(NamedTuple):
    """The content of a message of the kind "text-outcome": a text, and the alert it is of."""

    key: str  # the alert's key in the ledger
    channel: str  # in the ledger
    position: str  # of the recipient, such as "1 of 2"
    sid: str  # Twilio's id of the text
    sent_at: int  # in seconds since 1970
    message: Message

    @property
    def email_channel(self) -> str:
        """The channel of the e-mail about the text, in the ledger."""
        return f"{EMAIL}_{self.channel}"

    @classmethod
    def parse(cls, content: object) -> Self:
        """Read the content of a message, as delivery wrote it."""
        fields = content if isinstance(content, dict) else {}
        texts = {name: get_string(fields, name) for name in (*cls._fields[:4], *Message._fields)}
        message = Message(*(texts.pop(name) for name in Message._fields))
        return cls(**texts, sent_at=int(fields.get("sent_at") or 0), message=message)


def ask(content: object, dependencies: Dependencies) -> str:
    """Ask what became of a text, and act on it. Return "delivered", "failed" or "open".

    Raises NotYetError if it is to be asked again.
    """
    with warnings.catch_warnings(action="ignore"):  # as delivery does
        from signwatch.alerting import sms

    question = Question.parse(content)
    ledger = SafeLedger(question.key, dependencies)
    ledger.read()
    channel = ledger.get(question.channel)
    is_known = channel.state in ("delivered", "failed") and channel.sid == question.sid
    if is_known and ledger.get(question.email_channel).reason != ANNOUNCED:
        return channel.state  # the queue delivered the question twice
    if is_known:
        _tell_failure(question, channel, ledger, dependencies)
        return "failed"
    arn, base_url = dependencies.settings.twilio_secret_arn, dependencies.settings.twilio_base_url
    try:
        secret = sms.load_secret(dependencies.client, arn, ledger.now)
        status, reason = sms.find_status(secret, question.sid, base_url)
    except sms.NoSecretError as error:
        status, reason = "", str(error)
    channel = channel._replace(sid=question.sid, reason=reason)
    if status in GOOD_STATUSES:
        ledger.put(question.channel, channel._replace(state="delivered", reason=""))
        _log(question, status, ledger.now)
        return "delivered"
    if status in BAD_STATUSES:
        reason = reason or f"Twilio reports it as {status}"
        failed = channel._replace(state="failed", reason=reason)
        _tell_failure(question, failed, ledger, dependencies)
        return "failed"
    if ledger.now < question.sent_at + OPEN_SECONDS:
        raise later.NotYetError(status)
    reason = reason or STATUS_MEANINGS.get(status) or f"Twilio reports it as {status}"
    email = _compose(question, f"is not known to have arrived after two hours: {reason}")
    if not publish(*email, ledger, dependencies):
        raise later.NotYetError("the e-mail failed")
    _log(question, status, ledger.now, reason)
    return "open"


def _tell_failure(
    question: Question, failed: Channel, ledger: SafeLedger, dependencies: Dependencies
) -> None:
    """Send the text to the other recipients, and e-mail why it failed.

    Raises NotYetError if the e-mail or one of the texts is to be tried again.
    """
    name, reason = question.email_channel, failed.reason
    is_first = not ledger.get(name).has_alert
    text = f"Recipient {question.position} did not get this ({reason}): {question.message.text}"
    message = question.message._replace(text=gsm7.truncate(text, TEXT_MAX_SEPTETS))
    ledger.entry.channels[question.channel] = failed
    report = send_texts(message, ledger, dependencies, instead_of=question.channel)
    others = "The other recipients have now got a text about this.\n" if report.sent_count else ""
    _log(question, "failed", ledger.now, reason * is_first, texts_sent=report.sent_count)
    subject, body = _compose(question, f"did not arrive: {reason}", others)
    message = message._replace(subject=subject, body=body)
    if send_email(message, report, ledger, dependencies, name=name) == "failed":
        raise later.NotYetError("the e-mail failed")
    ledger.put(question.channel, failed)
    if report.can_retry and ledger.can_be_used:  # else every retry would e-mail it again
        raise later.NotYetError("a text failed")


def _compose(question: Question, what: str, more: str = "") -> tuple[str, str]:
    """Return subject and body of an e-mail that says what became of the text."""
    sentence = f"The text to recipient {question.position} of this alert {what}."
    return f"Text: {question.message.subject}", f"{sentence}\n{more}\n{question.message.body}"


def _log(
    question: Question, status: str, now: float, reason: str = "", *, texts_sent: int = 0
) -> None:
    """Log what became of the text; TextsFailed counts one that did not arrive."""
    values = {
        "level": "ERROR" if reason else "INFO",
        "event_id": question.key.partition("#")[2],
        "text": status,
        "reason": reason,
    }
    metrics = {"TextsSent": float(texts_sent)} if texts_sent else {}
    if reason:
        metrics["TextsFailed"] = 1.0
    log.write(values, metrics, now)
