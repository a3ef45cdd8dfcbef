"""Each event comes by the bus and by the trail, and the bus loses some: each alert is sent once."""

from __future__ import annotations

import bisect
import heapq
import itertools
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from signwatch.detection.envelope import BURST_END, SECOND_LOOK
from signwatch.pipeline import process
from tests.support.deliveries import queue_delivery, trail_batch
from tests.support.dependencies import NOW, SETTINGS, World
from tests.support.sign_ins import NETWORKS, event

pytestmark = pytest.mark.joint

ABROAD, AT_HOME = "192.0.2.66", "203.0.113.10"  # the second is recognised
BUS_SECONDS, TRAIL_SECONDS = (0.5, 60.0), (120.0, 800.0)  # how late each way is
SPACING_SECONDS = 90.0  # so few that strangers' events are not only counted
VISIBILITY_SECONDS = 900.0  # of the queue ``later``
TRAIL_GROUP = "/aws/cloudtrail/signwatch"


@dataclass
class LogGroups:
    """CloudWatch Logs: when each line arrived in each of the two groups, in milliseconds."""

    lines: dict[str, list[tuple[float, str]]] = field(default_factory=dict)

    def add(self, group: str, now: float, line: str) -> None:
        self.lines.setdefault(group, []).append((now * 1000, line))

    def filter_log_events(self, **request: Any) -> dict[str, Any]:
        lines = self.lines.get(request["logGroupName"], [])
        recent = lines[bisect.bisect(lines, (request["startTime"], "")) :]
        return {
            "events": [{"message": line} for _, line in recent if request["filterPattern"] in line]
        }


@dataclass
class Ways:
    """A simulation of both ways; the bus loses a share of the events."""

    rng: random.Random
    bus_loss: float
    world: World = field(default_factory=World)
    logs: LogGroups = field(default_factory=LogGroups)
    order: Any = field(default_factory=itertools.count)
    arrivals: list[tuple[float, int, str, Any]] = field(default_factory=list)
    alerts: Counter[str] = field(default_factory=Counter)

    def record(self, sign_in: Any, seconds: float, **detail: Any) -> None:
        """Let CloudTrail record a sign-in ``seconds`` after the start."""
        time = datetime.fromtimestamp(NOW + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        sign_in["detail"] |= {"eventTime": time, **detail}
        if self.rng.random() >= self.bus_loss:
            self.add(seconds + self.rng.uniform(*BUS_SECONDS), "bus", sign_in)
        self.add(seconds + self.rng.uniform(*TRAIL_SECONDS), "trail", sign_in["detail"])

    def add(self, seconds: float, way: str, content: Any) -> None:
        heapq.heappush(self.arrivals, (NOW + seconds, next(self.order), way, content))

    def run(self) -> None:
        """Let everything arrive, the second looks too, and collect the events that alerted."""
        world, client = self.world, self.world.client
        world.secrets.text = None
        world.client = (  # type: ignore[method-assign] # logs by their group
            lambda service, **kwargs: self.logs if service == "logs" else client(service, **kwargs)
        )
        while self.arrivals:
            world.now, _, way, content = heapq.heappop(self.arrivals)
            emails = len(world.topic.emails)
            result = process(
                self.wrap(way, content),
                world.dependencies(
                    known_networks=NETWORKS["recognised"], trail_log_group_name=TRAIL_GROUP
                ),
            )
            if "batchItemFailures" in result:
                self.add(world.now - NOW + VISIBILITY_SECONDS, way, content)
                continue
            self.alerts[result["event_id"]] += len(world.topic.emails) - emails
            queue = world.queue
            for kind, (content, delay) in zip(queue.kinds, queue.messages, strict=True):
                if kind in (SECOND_LOOK, BURST_END):
                    body = {"later": kind, "content": content}
                    self.add(world.now - NOW + delay, "later", body)
            queue.kinds.clear()
            queue.messages.clear()

    def wrap(self, way: str, content: Any) -> Any:
        if way == "later":
            return queue_delivery(content, "later")
        group = TRAIL_GROUP if way == "trail" else SETTINGS.raw_event_log_group_name
        text = json.dumps(content)
        self.logs.add(group, self.world.now, text)
        return trail_batch(text) if way == "trail" else json.loads(text)


def sign_in(ways: Ways, number: int, seconds: float) -> set[str]:
    """Record a sign-in from abroad; it alerts."""
    who = {"userIdentity": {"type": "IAMUser", "userName": f"user-{number}"}}
    names = ("iam-user-signs-in-with-mfa", "iam-user-signs-in-without-mfa", "iam-user-fails")
    account = f"{number:012}"  # failures are counted by account
    ways.record(
        event(ways.rng.choice(names)),
        seconds,
        eventID=f"sign-in-{number}",
        sourceIPAddress=ABROAD,
        recipientAccountId=account,
        **who,
    )
    return {f"sign-in-{number}"}


def recognised_sign_in(ways: Ways, number: int, seconds: float) -> set[str]:
    ways.record(event("iam-user-signs-in-with-mfa"), seconds, eventID=f"known-{number}")
    return set()


def right_password(ways: Ways, number: int, seconds: float) -> set[str]:
    """Record a right password from abroad; either it alerts, or the sign-in that follows it."""
    detail = {
        "userIdentity": {"type": "IAMUser", "userName": f"user-{number}"},
        "sourceIPAddress": ABROAD,
    }
    detail["recipientAccountId"] = f"{number:012}"  # they are counted by account
    step = event("second-factor-is-asked-for")
    ways.record(step, seconds, eventID=f"step-{number}", **detail)
    if ways.rng.random() < 0.5:
        return {f"step-{number}"}
    success = event("iam-user-signs-in-with-mfa")
    ways.record(success, seconds + 9, eventID=f"done-{number}", **detail)
    return {f"done-{number}"}


def device_code(ways: Ways, number: int, seconds: float) -> set[str]:
    """Record an approval in the portal and the use of its code; one of the two alerts if stolen."""
    is_stolen = ways.rng.random() < 0.5
    source = ABROAD if is_stolen else AT_HOME
    for name, offset, prefix, address in (
        ("identity-center-user-signs-in-with-totp", 0, "portal", AT_HOME),
        ("command-line-gets-a-token-by-device-code", 20, "code", source),
    ):
        record = event(name)
        record["detail"]["userIdentity"]["onBehalfOf"]["userId"] = f"person-{number}"
        ways.record(record, seconds + offset, eventID=f"{prefix}-{number}", sourceIPAddress=address)
    return {f"pair-{number}"} if is_stolen else set()


@pytest.mark.parametrize(("bus_loss", "count"), [(0.0, 400), (0.1, 2000), (1.0, 400)])
def test_every_sign_in_alerts_once_although_the_bus_loses_some(bus_loss: float, count: int) -> None:
    ways = Ways(random.Random(14), bus_loss)  # noqa: S311 - the same each time
    scenarios = (sign_in, sign_in, recognised_sign_in, right_password, device_code)
    expected: set[str] = set()
    for number in range(count):
        expected |= scenarios[number % len(scenarios)](ways, number, number * SPACING_SECONDS)
    ways.run()
    alerted = {name: number for name, number in (+ways.alerts).items() if "closing" not in name}
    pairs = {
        f"pair-{name.partition('-')[2]}" for name in alerted if name.startswith(("portal", "code"))
    }
    others = {name for name in alerted if not name.startswith(("portal", "code"))}
    assert pairs | others == expected
    assert len(expected) > count / 2
    assert set(alerted.values()) == {1}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bus_loss", [0.1, 1.0])
def test_failures_of_one_account_are_counted_as_if_the_bus_lost_none(
    seed: int, bus_loss: float
) -> None:
    """100 failures in 50 minutes: the same numbers, levels and messages, in whatever order."""
    messages = []
    for loss in (0.0, bus_loss):
        ways = Ways(random.Random(seed), loss)  # noqa: S311 - the same each time
        for number in range(100):
            name = "root-fails" if number % 4 else "iam-user-fails"
            seconds = number * 30.0
            ways.record(event(name), seconds, eventID=f"f-{number}", sourceIPAddress=ABROAD)
        ways.run()
        messages.append(sorted(email["Subject"] for email in ways.world.topic.emails))
        assert set((+ways.alerts).values()) == {1}
    assert messages[0] == messages[1]
    told = [subject.partition(": ")[2] for subject in messages[0]]
    assert told == [
        "Console sign-in FAILED",
        *(f"Console sign-in FAILED, {number} in 1 h" for number in (10, 3)),
        "Failed sign-ins of root: 75 in 1 h; Failed sign-ins: 25 in 1",  # cut: SUBJECT_MAX_CHARS
        "Root console sign-in FAILED",
        *(f"Root console sign-in FAILED, {number} in 1 h" for number in (10, 3, 30)),
    ]
