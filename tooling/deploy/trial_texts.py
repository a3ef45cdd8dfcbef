"""Sends a trial text to each recipient, and says what became of it, in Twilio's words.

Twilio accepts a text before a carrier takes it: a sender that is not registered, for example, is
only reported by the text's status (error 30034). So the status is read until it is final.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from tooling.deploy.phone_numbers import mask
from tooling.deploy.twilio_api import MessageStatus, TwilioApi, TwilioError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TEXT = "Signwatch: trial text. Alerts about sign-ins to your AWS account will reach this phone."
POLL_SECONDS = 1.0
STATUS_TIMEOUT_SECONDS = 20.0  # for all recipients together
# Twilio docs, "Messages resource", status values of outbound messages. What the carrier does after
# "sent" is not always reported.
FAILED_STATUSES = ("undelivered", "failed", "canceled")
FINAL_STATUSES = ("delivered", "read", *FAILED_STATUSES)


class Clock(NamedTuple):
    """The time in seconds, and how to wait."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


CLOCK = Clock()


def send(
    api: TwilioApi,
    secret: Mapping[str, Any],
    announce: Callable[[str], None],
    clock: Clock = CLOCK,
) -> int:
    """Send the trial text to each recipient, print what became of each; return how many failed."""
    recipients = secret["recipients"]
    sids: dict[str, str] = {}  # the SID of a text -> its recipient, as it is shown
    for position, recipient in enumerate(recipients, 1):
        shown = f"recipient {position} of {len(recipients)} ({mask(recipient)})"
        try:
            sids[api.send(secret["sender"], recipient, TEXT)] = shown
        except TwilioError as error:
            announce(f"  {shown}: not sent: {error.what}. Try: {error.remedy}")
            continue
        announce(f"  {shown}: Twilio accepted the trial text")
    statuses = _follow(api, sids, announce, clock)
    failed = sum(status.status in FAILED_STATUSES for status in statuses)
    return len(recipients) - len(sids) + failed


def _follow(
    api: TwilioApi, sids: Mapping[str, str], announce: Callable[[str], None], clock: Clock
) -> list[MessageStatus]:
    """Read the status of each text until it is final or time is up; print and return the last."""
    end = clock.now() + STATUS_TIMEOUT_SECONDS
    waiting, last = dict(sids), dict[str, MessageStatus]()
    while waiting:
        for sid, shown in list(waiting.items()):
            try:
                last[sid] = api.read_status(sid)
            except TwilioError as error:
                announce(f"  {shown}: what became of it cannot be read: {error.what}")
                del waiting[sid]
                continue
            if last[sid].status in FINAL_STATUSES:
                announce(f"  {shown}: {_describe(last[sid])}")
                del waiting[sid]
        if waiting and clock.now() >= end:
            break
        if waiting:
            clock.sleep(POLL_SECONDS)
    for sid, shown in waiting.items():
        announce(f"  {shown}: {_describe(last[sid])} after {STATUS_TIMEOUT_SECONDS:.0f} s")
    return list(last.values())


def _describe(status: MessageStatus) -> str:
    """Return a status in Twilio's words."""
    return ", ".join(filter(None, status))
