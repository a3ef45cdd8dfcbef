"""The same event many times, at once, and with the process killed at each step: nothing is lost.

A duplicate comes only of a kill between sending and marking, and at most one in each channel.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from signwatch.alerting.delivery import DeliveryError, format_channel
from signwatch.pipeline import process
from tests.support.dependencies import FIRST, NOW, SECOND, World
from tests.support.killable import Servers
from tests.support.sign_ins import event

if TYPE_CHECKING:
    from tests.support.twilio import Twilio

pytestmark = pytest.mark.joint

SIGN_IN = event("iam-user-signs-in-without-mfa")
LEASE_SECONDS = 60
CHANNELS = {FIRST: format_channel(FIRST), SECOND: format_channel(SECOND), "email": "email"}
KILLED = -9


def count_messages(world: World, recipients: list[str]) -> Counter[str]:
    """Return how often each channel got the alert."""
    return Counter([*recipients, *["email"] * len(world.topic.emails)])


@pytest.mark.parametrize("times", [2, 5, 50])
def test_event_that_comes_again_and_again_is_sent_once(
    world: World, twilio: Twilio, times: int
) -> None:
    for _ in range(times):
        process(SIGN_IN, world.dependencies(twilio_base_url=twilio.url))
        world.now += 1
    assert count_messages(world, twilio.recipients) == dict.fromkeys(CHANNELS, 1)


@pytest.mark.parametrize("times", [2, 5, 50])
def test_event_that_comes_many_times_at_once_is_sent_once(
    world: World, twilio: Twilio, times: int
) -> None:
    def deliver() -> bool:
        try:
            process(SIGN_IN, world.dependencies(twilio_base_url=twilio.url))
        except DeliveryError:
            return False
        return True

    with ThreadPoolExecutor(times) as pool:
        ends = [future.result() for future in [pool.submit(deliver) for _ in range(times)]]
    assert any(ends)
    assert count_messages(world, twilio.recipients) == dict.fromkeys(CHANNELS, 1)
    world.now += LEASE_SECONDS
    for is_done in ends:
        assert is_done or deliver()  # Lambda's retry finds the alert finished
    assert count_messages(world, twilio.recipients) == dict.fromkeys(CHANNELS, 1)


def find_unmarked(servers: Servers) -> set[str]:
    """Return the channels that have the alert although the ledger does not say so."""
    marked: set[str] = set()
    for item in servers.world.table.items.values():
        marked |= set(item.get("channels", {}).get("M", {}))
    recipients = [message["to"] for message in servers.twilio.messages]
    sent = count_messages(servers.world, recipients)
    return {channel for channel in sent if CHANNELS[channel] not in marked}


def kill_at(step: int) -> tuple[str, set[str], Counter[str]]:
    """Kill the process at a step, then let Lambda retry.

    Return the step's name, the channels that the kill left unmarked, and what each channel got.
    """
    with contextlib.ExitStack() as stack:
        servers = Servers(stack)
        assert servers.run(SIGN_IN, NOW, step) == KILLED
        name, unmarked = servers.steps.names[step], find_unmarked(servers)
        for number in (1, 2):
            if servers.run(SIGN_IN, NOW + number * (LEASE_SECONDS + 1)) == 0:
                break
        recipients = [message["to"] for message in servers.twilio.messages]
        return name, unmarked, count_messages(servers.world, recipients)


def test_kill_at_any_step_loses_nothing_and_repeats_only_what_was_not_marked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with contextlib.ExitStack() as stack:
        servers = Servers(stack)
        assert servers.run(SIGN_IN, NOW) == 0
        step_count = len(servers.steps.names)
    # The last step is the end: the process may be over before the kill.
    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(kill_at, range(step_count - 1)))
    lost = sum(any(got[channel] == 0 for channel in CHANNELS) for _, _, got in ends)
    duplicates = sum(got[channel] - 1 for _, _, got in ends for channel in CHANNELS)
    with capsys.disabled():
        print(f"\nkilled at {len(ends)} steps: lost {lost}, duplicates {duplicates}")
    assert lost == 0
    for name, unmarked, got in ends:
        for channel in CHANNELS:
            assert 1 <= got[channel] <= 1 + (channel in unmarked), (name, channel)
    assert {name for name, _, _ in ends} >= {"after text", "before Publish", "after UpdateItem"}
