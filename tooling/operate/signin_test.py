"""``invoke signin-test``: follows a real sign-in from CloudTrail to the owner's phone and inbox.

A person signs in while the task waits. What the stack leaves behind is polled: the raw copy of the
event, which a rule writes to a log group, and the function's log lines, one with the verdict and
one with the delivery. The event's id connects them. If nothing arrives, CloudTrail's event history
of the Regions that record sign-ins says where the sign-in was recorded.

Requests are made with the person's own rights: logs:FilterLogEvents, sns:ListSubscriptionsByTopic
and cloudtrail:LookupEvents.

Facts: CloudTrail API Reference, LookupEvents (two requests a second, one attribute each).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from signwatch.detection.record import open_record
from signwatch.detection.signin import SignIn, Unreadable, read
from tooling.deploy.aws_ranges import is_aws_address
from tooling.errors import FailedError, RefusedError
from tooling.invocation import spell
from tooling.operate import open_points
from tooling.terminal.untrusted import escape_unprintable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tooling.deploy.account import Account

POLL_SECONDS = 3.0
PROGRESS_SECONDS = 30.0  # between two lines that say that the task still waits
# One sign-in makes several events. After the first that alerts nobody, the others may still come.
GRACE_SECONDS = 60.0
MAX_MINUTES = 60
CLOCK_DIFFERENCE_SECONDS = 5  # between this machine and AWS
HISTORY_EVENT_NAMES = ("ConsoleLogin", "UserAuthentication", "CreateToken", "AuthorizeOAuth2Access")
# Beside the home Region: docs/alerts.md, "Regions"
HISTORY_REGIONS = ("us-east-1", "us-east-2", "eu-north-1", "ap-southeast-2")
HISTORY_PAUSE_SECONDS = 0.5


class Clock(NamedTuple):
    """The time in seconds since 1970, and how to wait."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


@dataclass
class FollowedSignIn:
    """What is known of one sign-in; None where nothing was seen yet."""

    event_id: str
    record: Mapping[str, Any] | None = None  # the raw copy of its event
    decision: Mapping[str, Any] | None = None  # the log entry with the verdict
    delivery: Mapping[str, Any] | None = None  # the log entry about texts and e-mail

    @property
    def is_sign_in(self) -> bool:
        """Return whether the event is a sign-in, readable or not, and no step or other event."""
        if self.record is None:
            return False
        return isinstance(read(self.record, is_aws_address), (SignIn, Unreadable))

    @property
    def alerts(self) -> bool:
        """Return whether the verdict is an alert."""
        return self.decision is not None and self.decision.get("verdict") == "alert"


@dataclass
class Result:
    """How the test ended: whether a person was reached, and what to try if not."""

    reached_somebody: bool
    lines: list[str]


@dataclass
class _Watch:
    """Polls the two log groups, and prints each step of each sign-in once."""

    aws: Account
    outputs: Mapping[str, str]
    announce: Callable[[str], None]
    started_at: float  # in seconds since 1970
    has_confirmed_email: bool
    sign_ins: dict[str, FollowedSignIn] = field(default_factory=dict)
    earlier_ids: set[str] = field(default_factory=set)  # of events before the test
    printed: set[tuple[str, str]] = field(default_factory=set)  # event id and step

    def __post_init__(self) -> None:
        self.logs = self.aws.client("logs")

    def skip_earlier(self) -> None:
        """Leave out from now on what is in the log groups already."""
        self._read_groups()
        self.earlier_ids = set(self.sign_ins)
        self.sign_ins.clear()

    def poll(self, now: float) -> None:
        """Read what is new in the log groups, and print each new step."""
        self._read_groups()
        for sign_in in self.sign_ins.values():
            if sign_in.is_sign_in:
                self._print_steps(sign_in, now)

    def _read_groups(self) -> None:
        """Read the log groups since the start, and keep what each event led to."""
        for event in self._read_entries(self.outputs["RawEventLogGroupName"]):
            record_id = open_record(event).event_id
            if record_id and record_id not in self.earlier_ids:
                self._follow(record_id).record = event
        for entry in self._read_entries(self.outputs["FunctionLogGroupName"]):
            event_id = entry.get("event_id")
            if not isinstance(event_id, str) or event_id in ("", *self.earlier_ids):
                continue
            if "verdict" in entry:
                self._follow(event_id).decision = entry
            elif "delivery" in entry:
                self._follow(event_id).delivery = entry

    def find_reached(self) -> FollowedSignIn | None:
        """Return a sign-in whose alert reached a person; None if there is none yet."""
        return next((one for one in self._list_sign_ins() if self._reached_somebody(one)), None)

    def find_furthest(self) -> FollowedSignIn | None:
        """Return the sign-in that got furthest; None if none was seen."""
        sign_ins = list(self._list_sign_ins())
        by_progress = sorted(sign_ins, key=lambda one: (bool(one.delivery), one.alerts))
        return by_progress[-1] if by_progress else None

    def has_only_quiet_verdicts(self) -> bool:
        """Return whether every sign-in seen was judged, and none of them alerts."""
        sign_ins = list(self._list_sign_ins())
        return bool(sign_ins) and all(one.decision and not one.alerts for one in sign_ins)

    def _list_sign_ins(self) -> Iterator[FollowedSignIn]:
        """Yield the events that are sign-ins."""
        return (one for one in self.sign_ins.values() if one.is_sign_in)

    def _reached_somebody(self, sign_in: FollowedSignIn) -> bool:
        """Return whether Twilio accepted a text, or an e-mail went to a confirmed address."""
        delivery = sign_in.delivery or {}
        has_text = bool(delivery.get("TextsSent"))
        return has_text or (delivery.get("email") == "sent" and self.has_confirmed_email)

    def _follow(self, event_id: str) -> FollowedSignIn:
        """Return what is known of an event, from now on."""
        return self.sign_ins.setdefault(event_id, FollowedSignIn(event_id))

    def _read_entries(self, group: str) -> Iterator[dict[str, Any]]:
        """Yield the JSON objects in a log group since the start of the test."""
        start_ms = int((self.started_at - CLOCK_DIFFERENCE_SECONDS) * 1000)
        pages = self.logs.get_paginator("filter_log_events").paginate(
            logGroupName=group, startTime=start_ms
        )
        for page in pages:
            for line in page["events"]:
                try:
                    entry = json.loads(line["message"])
                except ValueError:
                    continue  # such as the runtime's own lines
                if isinstance(entry, dict):
                    yield entry

    def _print_steps(self, sign_in: FollowedSignIn, now: float) -> None:
        """Print the steps of a sign-in that were not printed yet."""
        for step, text in _describe_steps(sign_in, has_confirmed_email=self.has_confirmed_email):
            if (sign_in.event_id, step) not in self.printed:
                self.printed.add((sign_in.event_id, step))
                self.announce(f"  {step:<10}  {text}  ({now - self.started_at:.0f} s)")


def _describe_steps(
    sign_in: FollowedSignIn, *, has_confirmed_email: bool
) -> Iterator[tuple[str, str]]:
    """Yield the name of each step that a sign-in has taken, and a sentence about it."""
    if sign_in.record:
        record = open_record(sign_in.record)
        name, source = escape_unprintable(record.name), escape_unprintable(record.source)
        region, recorded_at = escape_unprintable(record.region), escape_unprintable(record.time)
        yield "CloudTrail", f"recorded {name} from {source or 'no address'} at {recorded_at}"
        yield "rule", f"matched it in {region}"
    if sign_in.decision:
        reasons = sign_in.decision.get("reasons")
        reason = "; ".join(map(str, reasons)) if isinstance(reasons, list) else ""
        who = escape_unprintable(str(sign_in.decision.get("who", "")))
        yield "function", f"read it as {escape_unprintable(str(sign_in.decision.get('kind')))}"
        verdict = escape_unprintable(str(sign_in.decision.get("verdict")))
        yield "verdict", f'{verdict} for "{who}": {escape_unprintable(reason)}'
    if sign_in.delivery:
        sent = sign_in.delivery.get("TextsSent") or 0
        failures = sign_in.delivery.get("delivery")
        text = f"Twilio accepted {sent:.0f}"
        if isinstance(failures, list):
            text += "; " + escape_unprintable("; ".join(map(str, failures)))
        yield "text", text
        email = escape_unprintable(str(sign_in.delivery.get("email")))
        if not has_confirmed_email:
            email += ", but no address has confirmed its subscription"
        yield "e-mail", email


def parse_minutes(text: str) -> int:
    """Return the value of --minutes. Raises RefusedError unless it is from 1 to MAX_MINUTES."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_MINUTES):
        what = "is not a number of minutes that the task can wait"
        raise RefusedError(f"--minutes {text}", what, f"give a number from 1 to {MAX_MINUTES}")
    return int(text)


def run(
    aws: Account,
    outputs: Mapping[str, str],
    minutes: int,
    announce: Callable[[str], None],
    simulate: Callable[[], None] | None = None,
    clock: Clock | None = None,
) -> Result:
    """Wait for a sign-in and show each step of it, until it reached a person or time is up.

    ``outputs`` are the stack's. ``simulate`` sends a sign-in; without it, the person is asked to
    sign in. Raises FailedError if the log groups cannot be read.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    clock = clock or Clock()
    try:
        subscriptions = open_points.list_subscription_arns(aws, outputs["AlertTopicArn"])
        has_confirmed_email = any(arn != open_points.UNCONFIRMED for arn in subscriptions)
        watch = _Watch(aws, outputs, announce, clock.now(), has_confirmed_email)
        watch.skip_earlier()  # before the person is asked, so that missing rights show at once
        if simulate:
            announce("This is the local AWS emulator: a sign-in is simulated.")
            simulate()
        else:
            announce(_ask_to_sign_in(aws, minutes))
        _wait(watch, minutes, clock)
        return _make_result(watch, minutes, clock)
    except (ClientError, BotoCoreError) as error:
        what = f"could not be followed ({error})"
        remedy = "use a profile that may call logs:FilterLogEvents and sns:ListSubscriptionsByTopic"
        raise FailedError("the sign-in", what, remedy) from error


def _ask_to_sign_in(aws: Account, minutes: int) -> str:
    """Return the request to sign in now."""
    return (
        f"Sign in to account {aws.account} now, from a network that is not recognised (a phone's "
        "hotspot, for example):\n"
        "  in the browser, at https://console.aws.amazon.com or your portal, or\n"
        "  with the AWS CLI: aws sso login, aws login\n"
        f"Waiting up to {minutes} minutes. AWS usually needs one or two. Ctrl-C ends the wait."
    )


def _wait(watch: _Watch, minutes: int, clock: Clock) -> None:
    """Poll until a sign-in reached a person, all sign-ins are quiet, or time is up."""
    end = watch.started_at + minutes * 60
    next_progress = watch.started_at + PROGRESS_SECONDS
    quiet_since: float | None = None
    while True:
        now = clock.now()
        watch.poll(now)
        if watch.find_reached() or now >= end:
            return
        if not watch.has_only_quiet_verdicts():
            quiet_since = None
        elif quiet_since is None:
            quiet_since = now
        elif now - quiet_since >= GRACE_SECONDS:
            return
        if now >= next_progress:
            next_progress = now + PROGRESS_SECONDS
            watch.announce(f"  waiting     {now - watch.started_at:.0f} s so far")
        clock.sleep(POLL_SECONDS)


def _make_result(watch: _Watch, minutes: int, clock: Clock) -> Result:
    """Return how the test ended, and if nobody was reached, where it stopped and what to try."""
    if watch.find_reached():
        seconds = clock.now() - watch.started_at
        line = f"A person was reached, {seconds:.0f} s after the start of the test."
        return Result(reached_somebody=True, lines=[line])
    sign_in = watch.find_furthest()
    lines = _explain_stop(sign_in, watch) if sign_in else _explain_silence(watch, minutes, clock)
    return Result(reached_somebody=False, lines=lines)


def _explain_stop(sign_in: FollowedSignIn, watch: _Watch) -> list[str]:
    """Return at which step a sign-in stopped, and what to try."""
    read_log = f"Try: aws logs tail {watch.outputs['FunctionLogGroupName']} --since 15m"
    if sign_in.decision is None:
        what = "It stopped at the function: the rule handed it over, and no verdict was logged."
        return [what, read_log]
    if not sign_in.alerts:
        what = "It stopped at the verdict: this sign-in makes no alert, so nobody was told."
        remedy = (
            "Try: sign in from a network that is not recognised; this shows both lists:"
            f" {spell('networks')}"
        )
        return [what, remedy]
    if sign_in.delivery is None:
        what = "It stopped at the delivery: the alert was not sent, or is being sent now."
        return [what, read_log]
    what = "It stopped at the delivery: neither a text nor a confirmed e-mail reached anybody."
    remedy = (
        "Try: for the e-mail, click the link in AWS's first mail; for the texts, run:"
        f" {spell('secret')}"
    )
    return [what, remedy]


def _explain_silence(watch: _Watch, minutes: int, clock: Clock) -> list[str]:
    """Return why no sign-in reached a rule, by CloudTrail's event history."""
    watch.announce("No sign-in reached the rules; asking CloudTrail's event history ...")
    home = watch.aws.region
    regions = (home, *(region for region in HISTORY_REGIONS if region != home))
    found, failed = [], []
    for region in regions:
        try:
            found += _look_up(watch, region, clock)
        except Exception as error:  # noqa: BLE001 - a Region may be switched off or denied
            failed.append(f"{region} could not be asked ({type(error).__name__}).")
    lines = [f"It stopped at CloudTrail or the rule: nothing arrived within {minutes} minutes."]
    for region, name, recorded_at in found:
        line = f"CloudTrail recorded {escape_unprintable(name)} at {recorded_at} in {region}"
        is_elsewhere = region != home
        line += f"; the rules exist only in {home}." if is_elsewhere else ", but no rule took it."
        lines.append(line)
    if not found:
        lines.append("Its event history has no sign-in yet; it may be up to 15 minutes late.")
    remedy = (
        "Try: compare the Regions in docs/alerts.md with --region; this shows changed rules:"
        f" {spell('drift')}"
    )
    return [*lines, *failed, remedy]


def _look_up(watch: _Watch, region: str, clock: Clock) -> list[tuple[str, str, str]]:
    """Return Region, name and time of each sign-in in one Region's event history."""
    cloudtrail = watch.aws.client("cloudtrail", region)
    found = []
    for name in HISTORY_EVENT_NAMES:
        answer = cloudtrail.lookup_events(
            LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": name}],
            StartTime=watch.started_at - CLOCK_DIFFERENCE_SECONDS,
        )
        found += [
            (region, name, f"{event['EventTime']:%Y-%m-%d %H:%M:%S}") for event in answer["Events"]
        ]
        clock.sleep(HISTORY_PAUSE_SECONDS)
    return found
