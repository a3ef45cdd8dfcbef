"""Delivers an alert by text and by e-mail, so that the failure of one does not stop the other.

The e-mail and each recipient of texts are channels. The ledger, a DynamoDB table, records what
became of an alert in each. It is written after a delivery: a crash in between repeats a message,
which is better than losing one.

The texts are sent side by side, the e-mail after them, because it says what became of them. Each
step ends in time for the next, by the clock on the wall: up to 15 seconds for the claim in the
ledger, which can be three calls, 5 for the secret, TEXTS_SECONDS, or what is left of them before
EMAIL_SECONDS, and EMAIL_SECONDS. What may then not fit into the function's time is the last mark,
without which the next invocation waits for the end of the lease.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from signwatch import later, log, time_limit
from signwatch.alerting.ledger import Channel, Entry, LeaseHeldError, Ledger
from signwatch.alerting.message import SUBJECT_MAX_CHARS
from signwatch.detection.envelope import TEXT_OUTCOME
from signwatch.detection.record import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from signwatch.alerting.message import Message
    from signwatch.alerting.sms import Secret
    from signwatch.dependencies import Dependencies

EMAIL = "email"
TEXTS_SECONDS = 20.0  # for the texts to all recipients
# Left after the texts, 5 for each: their marks, the queue "later", the e-mail, and its mark.
EMAIL_SECONDS = 20.0
TEXT_PREFIX = "text_"  # of a recipient's channel
# While Twilio cannot be asked whether it accepted a text, none is sent again; after this it is.
ASK_SECONDS = 24 * 3600
OUTCOME_DELAY_SECONDS = 15 * 60  # then Twilio is asked what became of a text
# An event comes both ways, and each is retried by itself. After so many tries, a text is tried at
# most once in this time, so that one of the ways tries it in each quarter of an hour.
QUICK_TRIES, RETRY_SECONDS = 3, 600
ANNOUNCED = "announced"  # reason in the e-mail's channel: it says that texts are tried again
CREDENTIALS_SECONDS = 3600  # after this, credentials that Twilio refuses are not tried again
TEXTS_WAIT = "the texts are tried again later, since those of another alert failed or took long"


class DeliveryError(Exception):
    """The alert has not reached everybody yet; raised so that Lambda retries.

    ``reached_somebody`` says that a text or the e-mail was sent, now or by an earlier invocation;
    it is None if another invocation is sending the alert at this moment.
    """

    def __init__(
        self,
        reason: str,
        *,
        reached_somebody: bool | None,
        is_mailed: bool = False,
        have_texts_failed: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reached_somebody = reached_somebody
        self.is_mailed, self.have_texts_failed = is_mailed, have_texts_failed


class TextReport(NamedTuple):
    """What became of the texts, after this invocation and all earlier ones."""

    sent_count: int = 0  # texts sent by this invocation
    reached_recipients: int = 0  # those who have the text
    failures: tuple[str, ...] = ()  # one clause for each, such as "no text was sent: ..."
    can_retry: bool = False  # a retry may help


NO_TEXTS_WANTED = TextReport()  # for an alert by e-mail only


def deliver(
    message: Message,
    key: str,
    dependencies: Dependencies,
    *,
    send_text: bool = True,
    is_quiet: bool = False,
    on_first: Callable[[], None] = lambda: None,
) -> None:
    """Send the texts and the e-mail, except to the channels that already have the alert.

    ``key`` is the alert's key in the ledger, empty for an event without an id. If ``send_text`` is
    false, only the e-mail is sent, unless an earlier invocation began to send texts. An alert that
    is quiet, since strangers can cause it, brings no second e-mail: nobody asks what became of its
    texts, and none says that they were sent in the end. ``on_first`` is called if the ledger did
    not have the alert, so that it is counted once. Raises DeliveryError if a retry may help, or
    while another invocation delivers the alert.
    """
    ledger = SafeLedger(key, dependencies, is_quiet=is_quiet)
    ledger.claim()
    if ledger.entry.is_first:
        on_first()
    if ledger.entry.finished:
        return
    report = NO_TEXTS_WANTED
    # What an e-mail announced is sent, even if there have been too many texts since.
    if send_text or ledger.list_texts() or ledger.get(EMAIL).reason == ANNOUNCED:
        report = _try_texts(message, ledger, dependencies)
    email_outcome = send_email(message, report, ledger, dependencies)
    _log_delivery(ledger.event_id, report, email_outcome, dependencies)
    if report.can_retry or email_outcome == "failed":
        ledger.release()
        reason = "; ".join((*report.failures, f"e-mail: {email_outcome}"))
        is_mailed = email_outcome != "failed"
        raise DeliveryError(
            reason,
            reached_somebody=report.reached_recipients > 0 or is_mailed,
            is_mailed=is_mailed,
            have_texts_failed=report.can_retry,
        )
    ledger.finish()


def format_channel(recipient: str) -> str:
    """Return the name of a recipient's channel in the ledger, such as "text_0123456789ab".

    It contains a hash, so that the phone number itself is not stored.
    """
    return f"{TEXT_PREFIX}{digest(recipient, length=12)}"


class SafeLedger:
    """A Ledger whose errors are logged, so that they do not stop the alert.

    ``is_quiet`` is that of deliver.
    """

    def __init__(self, key: str, dependencies: Dependencies, *, is_quiet: bool = False) -> None:
        self.key, self.is_quiet = key, is_quiet
        self.event_id = key.partition("#")[2]
        self.now = dependencies.clock()
        self.entry = Entry({})
        self._dependencies = dependencies
        self._ledger: Ledger | None = None  # None if it cannot be used

    @property
    def can_be_used(self) -> bool:
        """Whether what is written is found again by the next invocation."""
        return self._ledger is not None and bool(self.key)

    def list_texts(self) -> list[Channel]:
        """Return what became of the alert in the channels of texts."""
        channels = self.entry.channels.items()
        return [channel for name, channel in channels if name.startswith(TEXT_PREFIX)]

    def claim(self) -> None:
        """Lease the alert's entry. Raises DeliveryError if another invocation has the lease."""
        try:
            self.entry = self._open().claim(self.now)
        except LeaseHeldError:
            reason = "another invocation is sending this alert"
            raise DeliveryError(reason, reached_somebody=None) from None
        except Exception as error:  # noqa: BLE001 - a failed ledger must never stop an alert
            self._ledger = None  # a second failure would waste time
            self.log_failure("ledger", error)

    def read(self) -> None:
        """Read what became of the alert, without a lease."""
        try:
            self.entry = Entry(self._open().get_channels())
        except Exception as error:  # noqa: BLE001 - as above
            self._ledger = None
            self.log_failure("ledger", error)

    def get(self, name: str) -> Channel:
        """Return what became of the alert in a channel."""
        return self.entry.channels.get(name, Channel())

    def put(self, name: str, channel: Channel) -> None:
        """Record what became of the alert in a channel."""
        self.entry.channels[name] = channel
        self._write(lambda ledger: ledger.put_channel(name, channel))

    def release(self) -> None:
        """Let a retry deliver the alert at once."""
        self._write(Ledger.release)

    def finish(self) -> None:
        """Record that nothing is left to send or to retry."""
        self._write(Ledger.finish)

    def log_failure(self, problem: str, error: Exception) -> None:
        """Log an error of this alert's delivery; ``problem`` names the part that failed."""
        log.write_failure(problem, error, self.now, event_id=self.event_id)

    def _open(self) -> Ledger:
        table = self._dependencies.settings.ledger_table_name
        self._ledger = Ledger(self._dependencies.client("dynamodb"), table, self.key)
        return self._ledger

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
                self._ledger = None  # another wait would leave no time for the e-mail


class _Credentials:
    """What all recipients' threads share: the secret, and whether Twilio's list answers.

    The secret is read again once if Twilio refuses it.
    """

    def __init__(self, secret: Secret, dependencies: Dependencies) -> None:
        self.secret = secret
        self._dependencies = dependencies
        self._lock, self._is_fresh = Lock(), False
        self.may_be_old = False
        self.list_lock, self.is_list_down = Lock(), False

    def read_again(self) -> Secret:
        """Return the secret as Secrets Manager has it; the present one if it cannot be read.

        ``may_be_old`` then says that it could not.
        """
        from signwatch.alerting import sms

        with self._lock:
            if not self._is_fresh:
                self._is_fresh = True
                arn, now = self._dependencies.settings.twilio_secret_arn, self._dependencies.clock()
                try:
                    self.secret = sms.load_secret(
                        self._dependencies.client, arn, now, prefer_cache=False
                    )
                except sms.NoSecretError as error:
                    self.may_be_old = error.can_retry
            return self.secret


class _Texter(NamedTuple):
    """Sends the text of one alert; each recipient is in a thread of its own."""

    message: Message
    credentials: _Credentials
    ledger: SafeLedger
    dependencies: Dependencies
    deadline: float  # of time.monotonic
    instead_of: str  # as in send_texts

    def send(self, recipient: str, position: str) -> None:
        """Send the text to one recipient and record what became of it. Never raises.

        ``position`` is such as "1 of 2".
        """
        name = _name_channel(recipient, self.instead_of)
        before = self.ledger.get(name)
        try:
            channel = self._send(recipient, before)
        except Exception as error:  # noqa: BLE001 - the other recipients and the e-mail follow
            self.ledger.log_failure("texts", error)
            channel = before._replace(state="transient", reason=type(error).__name__)
        self.ledger.put(name, channel)
        if channel.has_alert and not (self.instead_of or self.ledger.is_quiet):
            self._ask_later(name, channel, position)

    def _send(self, recipient: str, before: Channel) -> Channel:
        """Send the text; if Twilio refuses the credentials, once more with those of today.

        If an earlier one may have been sent, Twilio is asked before.
        """
        from signwatch.alerting import sms

        secret, base_url = self.credentials.secret, self.dependencies.settings.twilio_base_url
        now, unclear = int(self.dependencies.clock()), before.unclear
        if before.text:
            with self.credentials.list_lock:  # one asks first, and if that fails, no other one
                found = sms.Outcome("unclear")
                if not self.credentials.is_list_down:
                    found = sms.find_text(
                        secret, recipient, before.text, before.since, base_url, self.deadline
                    )
                self.credentials.is_list_down = found.state == "unclear"
            if found.state == "sent":
                return Channel("sent", now, found.sid, tries=before.tries)
            if found.state == "unclear" and now < before.at + ASK_SECONDS:
                return before
            if found.state == "absent":
                unclear = 0
        attempts = 1 if before.tries else sms.MAX_ATTEMPTS  # after a failure, Twilio may be down
        outcome = sms.send(secret, recipient, self.message.text, base_url, self.deadline, attempts)
        if outcome.state == "credentials":
            new_secret = self.credentials.read_again()
            if new_secret != secret:
                text = self.message.text
                outcome = sms.send(new_secret, recipient, text, base_url, self.deadline)
        tries = before.tries + outcome.tries
        if outcome.state == "sent":
            return Channel("sent", now, outcome.sid, tries=tries)
        state, is_unclear = outcome.state, outcome.state == "unclear"
        since = before.since if state == before.state else now
        may_be_old = self.credentials.may_be_old
        if state == "credentials" and now >= since + CREDENTIALS_SECONDS and not may_be_old:
            state = "failed"
        return Channel(
            state,
            now,
            "",
            outcome.reason,
            tries,
            since,
            unclear + is_unclear,
            before.unclear_in_all + is_unclear,
            sms.make_mark(self.message.text) if is_unclear else "",
        )

    def _ask_later(self, name: str, channel: Channel, position: str) -> None:
        """Queue the question what became of the text; its content is that of follow_up."""
        content = {
            "key": self.ledger.key,
            "channel": name,
            "position": position,
            "sid": channel.sid,
            "sent_at": channel.at,
            **self.message._asdict(),
        }
        later.enqueue(
            TEXT_OUTCOME,
            content,
            OUTCOME_DELAY_SECONDS,
            self.ledger.now,
            self.dependencies,
            event_id=self.ledger.event_id,
        )


def _try_texts(message: Message, ledger: SafeLedger, dependencies: Dependencies) -> TextReport:
    """Send the texts that are missing. Never raises, so that the e-mail is sent in any case."""
    if dependencies.texts_wait:
        reached_recipients = sum(channel.has_alert for channel in ledger.list_texts())
        return TextReport(0, reached_recipients, (TEXTS_WAIT,), can_retry=True)
    try:
        return send_texts(message, ledger, dependencies)
    except Exception as error:  # noqa: BLE001 - including an ImportError if the layer is missing
        ledger.log_failure("texts", error)
        failure = f"the texts failed, and are tried again ({type(error).__name__})"
        return TextReport(failures=(failure,), can_retry=True)


def send_texts(
    message: Message, ledger: SafeLedger, dependencies: Dependencies, *, instead_of: str = ""
) -> TextReport:
    """Send the text to every recipient who does not have it; may raise anything.

    ``instead_of`` is the channel of a recipient whom the alert did not reach: then the text is for
    the others, and about that.
    """
    # Twilio's client imports requests, which warns that no package for guessing character sets is
    # installed. Twilio answers in UTF-8, and that package would take a tenth of a cold start.
    with warnings.catch_warnings(action="ignore"):
        from signwatch.alerting import sms

    arn = dependencies.settings.twilio_secret_arn
    try:
        secret = sms.load_secret(dependencies.client, arn, ledger.now)
    except sms.NoSecretError as error:
        retry = ", and is tried again" if error.can_retry else ""
        failure = f"no text was sent{retry}: {error}"
        return TextReport(failures=(failure,), can_retry=error.can_retry)
    count = len(secret.recipients)
    positions = {
        recipient: f"{number} of {count}"
        for number, recipient in enumerate(secret.recipients, 1)
        if not (instead_of and ledger.get(format_channel(recipient)).state == "failed")
    }
    channels = {each: _name_channel(each, instead_of) for each in positions}
    missing = [each for each, name in channels.items() if not ledger.get(name).is_settled]
    pause = RETRY_SECONDS if ledger.entry.tries > QUICK_TRIES else 0
    due = [each for each in missing if ledger.now >= ledger.get(channels[each]).at + pause]
    seconds = min(TEXTS_SECONDS, dependencies.seconds_left() - EMAIL_SECONDS)
    texter = _Texter(
        message,
        _Credentials(secret, dependencies),
        ledger,
        dependencies,
        time.monotonic() + seconds,
        instead_of,
    )
    with contextlib.suppress(Exception):  # it fails again in the threads, where it is logged
        dependencies.client("sqs")  # made here, because threads cannot share the making of clients
    time_limit.call_side_by_side(
        [
            partial(texter.send, each, positions[each])
            for each in _take_turns(due, ledger.key, ledger.entry.tries)
        ]
    )
    results = {positions[each]: ledger.get(name) for each, name in channels.items()}
    report = _report(results, can_count=ledger.can_be_used)
    return report._replace(sent_count=sum(ledger.get(channels[each]).has_alert for each in missing))


def _name_channel(recipient: str, instead_of: str) -> str:
    """Return the name of a recipient's channel for an alert, or for a text about a lost one."""
    name = format_channel(recipient)
    return f"{instead_of}_{name}" if instead_of else name


def _take_turns(recipients: Sequence[str], key: str, tries: int) -> list[str]:
    """Return the recipients in an order that is another one for the next alert and the next try.

    A sender's texts leave one after the other, so one of the recipients has to wait.
    """
    start = (sum(key.encode()) + tries) % len(recipients) if recipients else 0
    return [*recipients[start:], *recipients[:start]]


def _report(channels: dict[str, Channel], *, can_count: bool) -> TextReport:
    """Return what became of the texts; ``channels`` are by position, such as "1 of 2".

    No phone number is in the report, which is logged and mailed. ``can_count`` says that the ledger
    counts how often a text may have been sent; without it, such a text is not tried again.
    """
    failures, can_retry = [], False
    for position, channel in channels.items():
        is_last_try = channel.is_settled or (channel.state == "unclear" and not can_count)
        can_retry = can_retry or not is_last_try
        if not channel.has_alert:
            failures.append(_describe_failure(channel, position, is_last_try=is_last_try))
    reached_recipients = len(channels) - len(failures)
    return TextReport(0, reached_recipients, tuple(failures), can_retry)


def _describe_failure(channel: Channel, position: str, *, is_last_try: bool) -> str:
    """Return a clause that says why a text was not sent, or may not have been.

    ``position`` is such as "1 of 2".
    """
    may_be_sent = channel.state == "unclear"
    what = "may not have been sent" if may_be_sent else "was not sent"
    if may_be_sent and is_last_try:
        what += ", and is given up"
    retry = "" if is_last_try else ", and is tried again"
    return f"the text to recipient {position} {what}{retry}: {channel.reason}"


def send_email(
    message: Message,
    report: TextReport,
    ledger: SafeLedger,
    dependencies: Dependencies,
    *,
    name: str = EMAIL,
) -> str:
    """E-mail the alert and the failures of the texts; or later, how the announced texts ended.

    ``name`` is the e-mail's channel. Return "sent", "failed", or "had" if an earlier invocation
    sent it. Never raises.
    """
    before = ledger.get(name)
    is_closing = before.has_alert and before.reason == ANNOUNCED and not report.can_retry
    sentences = [failure[:1].upper() + failure[1:] + "." for failure in report.failures]
    if before.has_alert and (not is_closing or (ledger.is_quiet and not sentences)):
        return "had"
    if is_closing:
        is_complete = not sentences
        summary = "All texts of this alert have now been sent."
        if not is_complete:
            summary = "No text of this alert is tried again."
        subject, lines = f"Texts of: {message.subject}", [summary, *sentences, "", message.text]
    else:
        subject, lines = message.subject, [message.body]
        if sentences:
            lines += ["", *sentences]
    if not publish(subject, "\n".join(lines), ledger, dependencies):
        return "failed"
    reason = ANNOUNCED if report.can_retry else ""
    ledger.put(
        name, Channel("sent", int(dependencies.clock()), reason=reason, tries=before.tries + 1)
    )
    return "sent"


def publish(subject: str, body: str, ledger: SafeLedger, dependencies: Dependencies) -> bool:
    """Send an e-mail to the topic's subscribers; return whether it was sent. Never raises."""
    topic = dependencies.settings.alert_topic_arn
    try:
        sns: Any = dependencies.client("sns")
        sns.publish(TopicArn=topic, Subject=subject[:SUBJECT_MAX_CHARS], Message=body)
    except Exception as error:  # noqa: BLE001 - the caller raises after the outcome is logged
        ledger.log_failure("e-mail", error)
        return False
    return True


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
