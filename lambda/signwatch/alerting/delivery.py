"""Delivers an alert by text and by e-mail, so that the failure of one does not stop the other.

The e-mail and each recipient of texts are channels. The ledger, a DynamoDB table, records which of
them have an alert. It is written after a delivery: a crash in between repeats a message, which is
better than losing one.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from signwatch import log
from signwatch.alerting.ledger import Entry, Ledger
from signwatch.detection.record import digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from signwatch.alerting.message import Message
    from signwatch.alerting.sms import Outcome, Secret
    from signwatch.dependencies import Dependencies

EMAIL = "email"


class DeliveryError(Exception):
    """The alert has not reached everybody yet; raised so that Lambda retries.

    ``reached_somebody`` says that a text or the e-mail was sent, now or by an earlier invocation.
    """

    def __init__(self, reason: str, *, reached_somebody: bool) -> None:
        super().__init__(reason)
        self.reached_somebody = reached_somebody


class TextReport(NamedTuple):
    """The result of sending the texts."""

    sent_count: int = 0  # texts sent by this invocation
    reached_recipients: int = 0  # those who have the text, from this or an earlier invocation
    failures: tuple[str, ...] = ()  # one clause for each, such as "no text was sent: ..."
    can_retry: bool = False  # a retry may help


NO_TEXTS_WANTED = TextReport()  # for an alert by e-mail only


def deliver(
    message: Message,
    key: str,
    dependencies: Dependencies,
    *,
    send_text: bool = True,
    on_first: Callable[[], None] = lambda: None,
) -> None:
    """Send the texts and the e-mail, except to the channels that already have the alert.

    ``key`` is the alert's key in the ledger, empty for an event without an id. If ``send_text`` is
    false, only the e-mail is sent. ``on_first`` is called if the ledger did not have the alert, so
    that it is counted once. Raises DeliveryError if a retry may help.
    """
    ledger = _SafeLedger(key, dependencies)
    if ledger.entry.is_first:
        on_first()
    if ledger.entry.finished:
        return
    report = _try_texts(message, ledger, dependencies) if send_text else NO_TEXTS_WANTED
    email_outcome = _send_email(message, report, ledger, dependencies)
    _log_delivery(ledger.event_id, report, email_outcome, dependencies)
    if report.can_retry or email_outcome == "failed":
        reason = "; ".join((*report.failures, f"e-mail: {email_outcome}"))
        reached_somebody = report.reached_recipients > 0 or email_outcome != "failed"
        raise DeliveryError(reason, reached_somebody=reached_somebody)
    ledger.finish()


def format_channel(recipient: str) -> str:
    """Return the name of a recipient's channel in the ledger, such as "text_0123456789ab".

    It contains a hash, so that the phone number itself is not stored.
    """
    return f"text_{digest(recipient, length=12)}"


class _SafeLedger:
    """A Ledger that never raises: its errors are logged, so that they do not stop the alert."""

    def __init__(self, key: str, dependencies: Dependencies) -> None:
        self.event_id = key.partition("#")[2]
        self.now = dependencies.clock()
        self.entry = Entry()
        self._ledger: Ledger | None = None  # None if it cannot be used
        try:
            dynamodb = dependencies.client("dynamodb")
            ledger = Ledger(dynamodb, dependencies.settings.ledger_table_name, key)
            self.entry = ledger.claim(self.now)
            self._ledger = ledger  # only after success: a second failure would waste time
        except Exception as error:  # noqa: BLE001 - a failed ledger must never stop an alert
            self.log_failure("ledger", error)

    def has_delivered(self, channel: str) -> bool:
        """Return whether an earlier invocation delivered the alert to ``channel``."""
        return channel in self.entry.channels

    def mark_delivered(self, channel: str) -> None:
        """Record that ``channel`` received the alert."""
        self._write(lambda ledger: ledger.mark_delivered(channel))

    def finish(self) -> None:
        """Record that nothing is left to send or to retry."""
        self._write(Ledger.finish)

    def log_failure(self, problem: str, error: Exception) -> None:
        """Log an error of this alert's delivery; ``problem`` names the part that failed."""
        log.write_failure(problem, error, self.now, event_id=self.event_id)

    def _write(self, write: Callable[[Ledger], None]) -> None:
        """Call ``write`` with the ledger, unless it cannot be used; log the error if it fails."""
        if self._ledger is None:
            return
        try:
            write(self._ledger)
        except Exception as error:  # noqa: BLE001 - the next write may still succeed
            self.log_failure("ledger", error)
            is_timeout = type(error).__name__.endswith("TimeoutError")
            if is_timeout:
                self._ledger = None  # another wait would leave no time for a text or the e-mail


def _try_texts(message: Message, ledger: _SafeLedger, dependencies: Dependencies) -> TextReport:
    """Send the texts that are missing. Never raises, so that the e-mail is sent in any case."""
    try:
        return _send_texts(message.text, ledger, dependencies)
    except Exception as error:  # noqa: BLE001 - including an ImportError if the layer is missing
        ledger.log_failure("texts", error)
        failure = f"the texts failed ({type(error).__name__})"
        return TextReport(failures=(failure,), can_retry=True)


def _send_texts(text: str, ledger: _SafeLedger, dependencies: Dependencies) -> TextReport:
    """Send the text to every recipient who does not have it; may raise anything."""
    # Twilio's client imports requests, which warns that no package for guessing character sets is
    # installed. Twilio answers in UTF-8, and that package would take a tenth of a cold start.
    with warnings.catch_warnings(action="ignore"):
        from signwatch.alerting import sms

    arn = dependencies.settings.twilio_secret_arn
    try:
        secret = sms.load_secret(dependencies.client, arn, ledger.now)
    except sms.NoSecretError as error:
        return TextReport(failures=(f"no text was sent: {error}",), can_retry=error.can_retry)
    recipients = secret.recipients
    sent_count, failures, can_retry = 0, [], False
    for number, recipient in enumerate(recipients, 1):
        channel = format_channel(recipient)
        if ledger.has_delivered(channel):
            continue
        outcome, secret = _send_text(text, recipient, secret, dependencies)
        if outcome.state == "accepted":
            sent_count += 1
            ledger.mark_delivered(channel)
            continue
        position = f"{number} of {len(recipients)}"  # no phone number in the log
        failures.append(_describe_failure(outcome, position))
        can_retry = can_retry or outcome.state == "transient"
    reached_recipients = len(recipients) - len(failures)
    return TextReport(sent_count, reached_recipients, tuple(failures), can_retry)


def _describe_failure(outcome: Outcome, position: str) -> str:
    """Return a clause that says why a text was not sent, or may not have been.

    ``position`` is such as "1 of 2".
    """
    what = "may not have been sent" if outcome.may_be_sent else "was not sent"
    retry = ", and is tried again" if outcome.state == "transient" else ""
    return f"the text to recipient {position} {what}{retry}: {outcome.reason}"


def _send_text(
    text: str, recipient: str, secret: Secret, dependencies: Dependencies
) -> tuple[Outcome, Secret]:
    """Send one text; return its outcome and the secret to use from now on.

    If Twilio refuses the credentials, the secret is read again. If it has changed, the text is sent
    with the new one.
    """
    from signwatch.alerting import sms

    settings, seconds_left = dependencies.settings, dependencies.seconds_left
    outcome = sms.send(secret, recipient, text, settings.twilio_base_url, seconds_left)
    if outcome.state != "credentials":
        return outcome, secret
    arn, now = settings.twilio_secret_arn, dependencies.clock()
    try:
        new_secret = sms.load_secret(dependencies.client, arn, now, prefer_cache=False)
    except sms.NoSecretError:
        return outcome, secret
    if new_secret != secret:
        outcome = sms.send(new_secret, recipient, text, settings.twilio_base_url, seconds_left)
    return outcome, new_secret


def _send_email(
    message: Message, report: TextReport, ledger: _SafeLedger, dependencies: Dependencies
) -> str:
    """E-mail the alert and the failures of the texts.

    Return "sent", "failed", or "had" if an earlier invocation sent it. Never raises.
    """
    if ledger.has_delivered(EMAIL):
        return "had"
    body = message.body
    if report.failures:
        sentences = [failure[:1].upper() + failure[1:] + "." for failure in report.failures]
        body = "\n".join([body, "", *sentences])
    topic = dependencies.settings.alert_topic_arn
    try:
        sns: Any = dependencies.client("sns")
        sns.publish(TopicArn=topic, Subject=message.subject, Message=body)
    except Exception as error:  # noqa: BLE001 - the caller raises after the outcome is logged
        ledger.log_failure("e-mail", error)
        return "failed"
    ledger.mark_delivered(EMAIL)
    return "sent"


def _log_delivery(
    event_id: str, report: TextReport, email_outcome: str, dependencies: Dependencies
) -> None:
    """Log how an alert was delivered. ``email_outcome`` is the result of _send_email.

    FallbackUsed counts an alert that only the e-mail delivered, although texts were wanted.
    """
    metrics = {"TextsSent": float(report.sent_count)}
    if report.failures:
        metrics["TextsFailed"] = float(len(report.failures))
    texts_were_wanted = report is not NO_TEXTS_WANTED
    nobody_has_text = report.reached_recipients == 0
    if texts_were_wanted and nobody_has_text and email_outcome == "sent":
        metrics["FallbackUsed"] = 1.0
    values = {
        "level": "ERROR" if report.failures else "INFO",
        "event_id": event_id,
        "delivery": list(report.failures) or "complete",
        "email": email_outcome,
    }
    log.write(values, metrics, dependencies.clock())
