"""Asks what became of a text that Twilio accepted, a quarter of an hour later.

A carrier can drop a text after Twilio accepted it; nothing but the text's status tells. The
question waits in the queue ``later``. If the text failed, the other recipients get it with the
reason, and so does the e-mail. While its fate is open, the question returns to the queue; after two
hours an e-mail says so.

Sources: Twilio docs, "Messages resource" (status) and "Error and warning dictionary".
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple, Self

from signwatch import gsm7, later, log
from signwatch.alerting.delivery import SafeLedger, publish, send_texts
from signwatch.alerting.message import TEXT_MAX_SEPTETS, Message
from signwatch.detection.record import get_string

if TYPE_CHECKING:
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
    if channel.state in ("delivered", "failed") and channel.sid == question.sid:
        return channel.state  # the queue delivered the question twice
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
        ledger.entry.channels[question.channel] = failed
        _tell_failure(question, reason, ledger, dependencies)
        ledger.put(question.channel, failed)
        return "failed"
    if ledger.now < question.sent_at + OPEN_SECONDS:
        raise later.NotYetError(status)
    reason = reason or STATUS_MEANINGS.get(status) or f"Twilio reports it as {status}"
    _email(
        question,
        f"is not known to have arrived after two hours: {reason}",
        "",
        ledger,
        dependencies,
    )
    _log(question, status, ledger.now, reason)
    return "open"


def _tell_failure(
    question: Question, reason: str, ledger: SafeLedger, dependencies: Dependencies
) -> None:
    """Send the text to the other recipients, and e-mail why it failed.

    Raises NotYetError if the e-mail cannot be sent.
    """
    text = f"Recipient {question.position} did not get this ({reason}): {question.message.text}"
    message = question.message._replace(text=gsm7.truncate(text, TEXT_MAX_SEPTETS))
    report = send_texts(message, ledger, dependencies, instead_of=question.channel)
    others = "\n".join(failure[:1].upper() + failure[1:] + "." for failure in report.failures)
    if report.sent_count:
        others = "The other recipients have now got a text about this.\n" + others
    _log(question, "failed", ledger.now, reason, texts_sent=report.sent_count)
    _email(question, f"did not arrive: {reason}", others, ledger, dependencies)


def _email(
    question: Question, what: str, more: str, ledger: SafeLedger, dependencies: Dependencies
) -> None:
    """E-mail what became of the text. Raises NotYetError if that fails."""
    subject, body = f"Text: {question.message.subject}", question.message.body
    sentence = f"The text to recipient {question.position} of this alert {what}."
    if not publish(subject, f"{sentence}\n{more}\n{body}", ledger, dependencies):
        raise later.NotYetError("the e-mail failed")


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
