"""Delivers an alert by two full channels, text and e-mail, so that losing one silences nobody.

A channel is marked in the ledger after it was used. A crash in between repeats a message, which is
better than losing one.
"""

from __future__ import annotations

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
    """The alert has not reached everybody yet; raised so that Lambda retries."""


class Report(NamedTuple):
    """The result of the texts.

    ``sent`` counts the texts of this invocation, ``reached`` the recipients reached now or before;
    ``failures`` holds a sentence each. ``can_retry`` says that a retry may help.
    """

    sent: int = 0
    reached: int = 0
    failures: tuple[str, ...] = ()
    can_retry: bool = False


EMAIL_ONLY = Report()  # for an alert that is not texted


def deliver(
    message: Message, key: str, dependencies: Dependencies, *, send_text: bool = True
) -> None:
    """Text each recipient and e-mail the topic; a channel that has the alert is left out.

    ``key`` is the alert's key in the ledger, empty for an event without an id. Without
    ``send_text`` only the e-mail is sent. Raises DeliveryError if a retry may help.
    """
    ledger = _SafeLedger(key, dependencies)
    if ledger.entry.finished:
        return
    report = _send_texts(message, ledger, dependencies) if send_text else EMAIL_ONLY
    email = _send_email(message, report, ledger, dependencies)
    _log(ledger.event_id, report, email, dependencies)
    if report.can_retry or email == "failed":
        raise DeliveryError("; ".join((*report.failures, f"e-mail: {email}")))
    ledger.finish()


def channel_name(recipient: str) -> str:
    """Return the name of a recipient's channel in the ledger; a digest, to store no number."""
    return f"text_{digest(recipient, 12)}"


class _SafeLedger:
    """The ledger; its failures are logged and never stop an alert."""

    def __init__(self, key: str, dependencies: Dependencies) -> None:
        self.event_id = key.partition("#")[2]
        self.now = dependencies.clock()
        self.entry = Entry()
        self._ledger: Ledger | None = None
        try:
            dynamodb = dependencies.client("dynamodb")
            ledger = Ledger(dynamodb, dependencies.settings.ledger_table_name, key)
            self.entry = ledger.claim(self.now)
            self._ledger = ledger  # a ledger that failed is not used again: it would only wait
        except Exception as error:  # noqa: BLE001 - a failed ledger must never stop an alert
            self.log_failure("ledger", error)

    def has(self, channel: str) -> bool:
        """Return whether ``channel`` had the alert before."""
        return channel in self.entry.channels

    def mark(self, channel: str) -> None:
        self._write(lambda ledger: ledger.mark(channel))

    def finish(self) -> None:
        self._write(Ledger.finish)

    def log_failure(self, problem: str, error: Exception) -> None:
        log.failure(problem, error, self.now, event_id=self.event_id)

    def _write(self, write: Callable[[Ledger], None]) -> None:
        if self._ledger is None:
            return
        try:
            write(self._ledger)
        except Exception as error:  # noqa: BLE001 - the next write may still succeed
            self.log_failure("ledger", error)
            if type(error).__name__.endswith("TimeoutError"):
                self._ledger = None  # a second wait would take the time of a text or the e-mail


def _send_texts(message: Message, ledger: _SafeLedger, dependencies: Dependencies) -> Report:
    """Text everybody. No failure here stops the e-mail."""
    try:
        return _text_everybody(message.text, ledger, dependencies)
    except Exception as error:  # noqa: BLE001 - even if the layer cannot be imported
        ledger.log_failure("texts", error)
        failure = f"the texts failed ({type(error).__name__})"
        return Report(failures=(failure,), can_retry=True)


def _text_everybody(text: str, ledger: _SafeLedger, dependencies: Dependencies) -> Report:
    from signwatch.alerting import sms

    arn = dependencies.settings.twilio_secret_arn
    try:
        secret = sms.load_secret(dependencies.client, arn, ledger.now)
    except sms.NoSecretError as error:
        return Report(failures=(f"no text was sent: {error}",), can_retry=error.can_retry)
    recipients = secret.recipients
    sent, failures, can_retry = 0, [], False
    for number, recipient in enumerate(recipients, 1):
        channel = channel_name(recipient)
        if ledger.has(channel):
            continue
        outcome, secret = _send_text(text, recipient, secret, dependencies)
        if outcome.state == "accepted":
            sent += 1
            ledger.mark(channel)
            continue
        is_transient = outcome.state == "transient"
        retry = ", and is tried again" if is_transient else ""
        place = f"recipient {number} of {len(recipients)}"  # no number in a log
        failures.append(f"the text to {place} was not sent{retry}: {outcome.why}")
        can_retry = can_retry or is_transient
    return Report(sent, len(recipients) - len(failures), tuple(failures), can_retry)


def _send_text(
    text: str, recipient: str, secret: Secret, dependencies: Dependencies
) -> tuple[Outcome, Secret]:
    """Send one text; return its outcome and the secret to use from now on.

    If Twilio refuses the credentials, the secret is read again, since it may have been rotated.
    """
    from signwatch.alerting import sms

    settings, seconds_left = dependencies.settings, dependencies.seconds_left
    outcome = sms.send(secret, recipient, text, settings.twilio_base_url, seconds_left)
    if outcome.state != "credentials":
        return outcome, secret
    now = dependencies.clock()
    try:
        rotated = sms.load_secret(
            dependencies.client, settings.twilio_secret_arn, now, use_cache=False
        )
    except sms.NoSecretError:
        return outcome, secret
    if rotated != secret:
        outcome = sms.send(rotated, recipient, text, settings.twilio_base_url, seconds_left)
    return outcome, rotated


def _send_email(
    message: Message, report: Report, ledger: _SafeLedger, dependencies: Dependencies
) -> str:
    """E-mail the alert and the failures of the texts; return "sent", "had" (before) or "failed"."""
    if ledger.has(EMAIL):
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
    ledger.mark(EMAIL)
    return "sent"


def _log(event_id: str, report: Report, email: str, dependencies: Dependencies) -> None:
    metrics = {"TextsSent": float(report.sent)}
    if report.failures:
        metrics["TextsFailed"] = float(len(report.failures))
    if email == "sent" and not report.reached and report is not EMAIL_ONLY:
        metrics["FallbackUsed"] = 1.0
    values = {
        "level": "ERROR" if report.failures else "INFO",
        "event_id": event_id,
        "delivery": list(report.failures) or "complete",
        "email": email,
    }
    log.write(values, metrics, dependencies.clock())
