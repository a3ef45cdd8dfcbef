"""Bursts: what strangers can cause ends in few messages, and a success is never lost in them."""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.alerting.delivery import DeliveryError
from signwatch.enrichment import text_budget
from signwatch.enrichment.burst_store import BurstStore, Count
from signwatch.enrichment.state import State
from signwatch.pipeline import process
from tests.support.dependencies import NOW, SETTINGS, TWILIO_SECRET, Table, World
from tests.support.sign_ins import event

if TYPE_CHECKING:
    from tests.support.twilio import Twilio

HOUR = 3600
QUARTER = 900
RECIPIENT = "+15005550019"  # of no other test, whose texts may come late
LEASE = 120  # longer than an invocation keeps an alert to itself
KINDS = (
    "iam-user-fails",
    "root-fails",
    "root-asks-for-a-new-password",
    "record-without-an-outcome",
)
SUCCESS = "iam-user-signs-in-with-mfa"
PORTAL = "identity-center-user-signs-in-with-totp"


def make_event(name: str, event_id: str, at: float, **detail: Any) -> dict[str, Any]:
    """Return the event of a case file with an id and a time."""
    record: dict[str, Any] = event(name)
    time = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    record["detail"] |= {"eventID": event_id, "eventTime": time, **detail}
    return record


def make_delivery(body: str) -> dict[str, Any]:
    """Return the event with which the mapping of the queue ``later`` calls the function."""
    arn = "arn:aws:sqs:us-east-1:111122223333:signwatch-later"
    message = {"eventSource": "aws:sqs", "eventSourceARN": arn, "messageId": "message-1"}
    return {"Records": [message | {"body": body}]}


@dataclass
class Scene:
    """The pipeline with a clock, a Twilio server, and the queue ``later``, which delivers."""

    world: World
    twilio: Twilio
    settings: dict[str, str] = field(default_factory=dict)
    delivered: int = 0  # messages of the queue that were looked at
    waiting: list[tuple[float, str]] = field(default_factory=list)  # when due, and the body
    sent: list[tuple[float, int, int]] = field(default_factory=list)  # time, texts, e-mails
    is_slow: bool = False  # a text may be sent again, because its answer took too long

    def process(self, record: object) -> dict[str, Any]:
        """Process an event now, and note how many messages it made."""
        before = self.texts, self.emails
        try:
            dependencies = self.world.dependencies(twilio_base_url=self.twilio.url, **self.settings)
            return process(record, dependencies)
        finally:
            texts, emails = self.texts - before[0], self.emails - before[1]
            if texts or emails:
                self.sent.append((self.world.now, texts, emails))
            new = self.world.queue.messages[self.delivered :]
            bodies = self.world.queue.bodies[self.delivered :]
            self.waiting += [
                (self.world.now + delay, body) for (_, delay), body in zip(new, bodies, strict=True)
            ]
            self.delivered = len(self.world.queue.messages)

    def move_to(self, now: float) -> None:
        """Let the time pass until ``now``; the queue delivers what is due."""
        while self.waiting and min(self.waiting)[0] <= now:
            due, body = min(self.waiting)
            self.waiting.remove((due, body))
            self.world.now = max(self.world.now, due)
            result = self.process(make_delivery(body))
            if "batchItemFailures" in result:
                assert result == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
                self.waiting.append((self.world.now + QUARTER, body))
        self.world.now = now

    @property
    def texts(self) -> int:
        return len(set(self.bodies) if self.is_slow else self.bodies)

    @property
    def bodies(self) -> list[str]:
        return [each["body"] for each in self.twilio.messages if each["to"] == RECIPIENT]

    @property
    def emails(self) -> int:
        return len(self.world.topic.emails)

    @property
    def subjects(self) -> list[str]:
        return [email["Subject"].partition(": ")[2] for email in self.world.topic.emails]

    @property
    def last_email(self) -> str:
        return self.world.topic.emails[-1]["Message"]

    def count_in_worst_hour(self) -> tuple[int, int]:
        """Return the most texts, and the most e-mails, within any hour."""
        hours = [
            [entry for entry in self.sent if start <= entry[0] < start + HOUR]
            for start, *_ in self.sent
        ]
        texts, emails = (
            max(sum(entry[part] for entry in hour) for hour in hours) for part in (1, 2)
        )
        return int(texts), int(emails)


@pytest.fixture
def scene(world: World, twilio: Twilio) -> Scene:
    world.secrets.text = json.dumps({**TWILIO_SECRET, "recipients": [RECIPIENT]})
    return Scene(world, twilio)


def send_failures(
    scene: Scene, times: list[float], name: str = "iam-user-fails", prefix: str = "f"
) -> None:
    for number, at in enumerate(times):
        scene.move_to(at)
        scene.process(make_event(name, f"{prefix}-{number}", at))


@pytest.mark.joint
@pytest.mark.parametrize(
    ("seed", "start"), [(1, NOW), (2, NOW + 13.5 * HOUR)], ids=["in the day", "over midnight"]
)
def test_ten_thousand_events_make_few_messages_and_the_success_is_told_at_once(
    scene: Scene, seed: int, start: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tenth comes twice, by the bus and later by the trail; the order of arrival is random."""
    scene.is_slow = True
    chance = random.Random(seed)  # noqa: S311 - the same burst each time
    arrivals = []
    for number in range(10_000):
        at = start + chance.random() * HOUR
        record = make_event(
            chance.choice(KINDS),
            f"event-{number}",
            at,
            sourceIPAddress=f"198.51.100.{number % 256}",
        )
        arrivals.append((at + chance.random() * 10, record))
        if chance.random() < 0.1:
            arrivals.append((at + 300, record))
    success = make_event(SUCCESS, "success", start + chance.random() * HOUR)
    arrivals.append((start + chance.uniform(600, 3000), success))
    for at, record in sorted(arrivals, key=lambda arrival: arrival[0]):
        scene.move_to(at)
        before = scene.texts, scene.emails
        scene.process(record)
        if record is success:
            assert (scene.texts, scene.emails) == (before[0] + 1, before[1] + 1)
            assert "FAILED" not in scene.bodies[-1]
            assert "Who: " in scene.bodies[-1]
    scene.move_to(start + 3 * HOUR)
    texts, emails = scene.count_in_worst_hour()
    calls = Counter(scene.world.table.calls)
    item = max(len(json.dumps(item)) for item in scene.world.table.items.values())
    problems = [line for line in capsys.readouterr().out.splitlines() if '"problem"' in line]
    with capsys.disabled():
        print(
            f"\n{len(arrivals)} arrivals of 10,000 events and 1 success: {texts} texts and "
            f"{emails} e-mails in the worst hour; {scene.texts} and {scene.emails} with the "
            f"closing ones; {calls.total() / len(arrivals):.2f} calls of DynamoDB an arrival, "
            f"largest item {item} characters"
        )
    assert not problems
    assert texts <= 12
    assert emails <= 16
    assert scene.texts <= 12
    assert scene.emails <= 16
    body = scene.last_email
    numbers = re.findall(r"^[A-Z][a-z -]+: (\d+) in [12] h$", body, re.MULTILINE)
    assert len(numbers) == len(KINDS)
    assert sum(map(int, numbers)) == 10_000
    assert calls.total() / len(arrivals) < 3
    assert item < 20_000


def test_failures_are_told_at_the_first_third_tenth_and_so_on(scene: Scene) -> None:
    send_failures(scene, [NOW + number for number in range(100)])
    assert [part for part in scene.sent if part[1]] == [
        (NOW + number - 1, 1, 1) for number in (3, 10, 30, 100)
    ]
    assert scene.sent[0] == (NOW, 0, 1)
    assert scene.subjects == [
        "Console sign-in FAILED",
        *[f"Console sign-in FAILED, {number} in 1 h" for number in (3, 10, 30, 100)],
    ]
    assert "Console sign-in FAILED, 100 in 1 h" in scene.bodies[-1]


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("iam-user-fails", 0),
        ("root-fails", 1),
        ("root-asks-for-a-new-password", 1),
        ("record-without-an-outcome", 1),
    ],
)
def test_first_event_of_root_and_unreadable_one_is_texted(
    scene: Scene, name: str, texts: int
) -> None:
    for number in (1, 2):
        scene.process(make_event(name, f"event-{number}", NOW))
    assert (scene.texts, scene.emails) == (texts, 1)
    scene.process(make_event(name, "event-3", NOW))
    assert (scene.texts, scene.emails) == (texts + 1, 2)


def test_event_that_is_repeated_or_comes_both_ways_counts_once(scene: Scene) -> None:
    for _ in range(5):
        for event_id in ("event-1", "event-2"):
            scene.process(make_event("iam-user-fails", event_id, NOW))
    assert (scene.texts, scene.emails) == (0, 1)
    for _ in range(2):
        scene.process(make_event("iam-user-fails", "event-3", NOW))
    assert (scene.texts, scene.emails) == (1, 2)


def test_order_of_arrival_changes_neither_number_nor_count(scene: Scene) -> None:
    times = [NOW - number * 60 for number in range(30)]
    for number, at in enumerate(times):
        scene.process(make_event("iam-user-fails", f"f-{number}", at))
    assert (scene.texts, scene.emails) == (3, 4)
    scene.move_to(NOW + 2 * HOUR)
    assert "Failed sign-ins: 30 in " not in scene.subjects[3]
    assert scene.subjects[-1].startswith("Failed sign-ins: 30 in ")


def test_retry_of_the_event_that_reached_a_level_sends_its_message(scene: Scene) -> None:
    send_failures(scene, [NOW, NOW + 1])
    third = make_event("iam-user-fails", "third", NOW + 2)
    scene.world.topic.fails = {"publish"}
    with pytest.raises(DeliveryError):
        scene.process(third)
    send_failures(scene, [NOW + 3, NOW + 4], prefix="later")  # they do not take its place
    scene.world.topic.fails = set()
    scene.move_to(NOW + LEASE)
    assert scene.process(third)["verdict"] == "alert"
    assert scene.subjects == ["Console sign-in FAILED", "Console sign-in FAILED, 3 in 1 h"]
    assert scene.texts == 1


@pytest.mark.parametrize("step", range(1, 6))
def test_event_that_is_killed_while_it_is_counted_claims_its_level_when_retried(step: int) -> None:
    """The process ends before one of the calls of the third event; a fourth one comes as well."""
    table = Table()
    store = BurstStore(table, SETTINGS.ledger_table_name, "111122223333")

    def count(event_id: str) -> Count:
        return store.count_event("others", event_id, 1, NOW, origin=("198.51.100.7", "Anaya"))

    count("first"), count("second")
    calls = 0

    def kill(name: str) -> None:
        nonlocal calls
        calls += 1
        if calls == step:
            raise KeyboardInterrupt(name)

    table.call = kill  # type: ignore[method-assign] # the kill
    with contextlib.suppress(KeyboardInterrupt):
        count("third")
    step = 0
    levels = [count(event_id).level for event_id in ("third", "fourth", "third", "fourth")]
    assert levels in ([3, 0, 3, 0], [0, 3, 0, 3])


def test_only_one_of_events_at_once_is_told(scene: Scene) -> None:
    """While the third event claims the level, a fourth does so too."""
    send_failures(scene, [NOW, NOW + 1])
    update_item, nested = scene.world.table.update_item, list[str]()

    def interrupt(**request: Any) -> Any:
        if "told_others" in request["UpdateExpression"] and not nested:
            nested.append("fourth")
            scene.process(make_event("iam-user-fails", "fourth", NOW + 2))
        return update_item(**request)

    scene.world.table.update_item = interrupt  # type: ignore[method-assign] # the race
    scene.process(make_event("iam-user-fails", "third", NOW + 2))
    assert nested
    assert (scene.texts, scene.emails) == (1, 2)


def test_closing_message_has_number_addresses_and_names(scene: Scene) -> None:
    for number in range(25):
        failure = make_event(
            "iam-user-fails", f"f-{number}", NOW, sourceIPAddress=f"198.51.100.{number}"
        )
        failure["detail"]["userIdentity"]["userName"] = f"user{number}"
        scene.process(failure)
    texts = scene.texts
    scene.move_to(NOW + 74 * 60)
    assert ": 25 in" not in scene.last_email
    scene.move_to(NOW + 2 * HOUR)
    assert scene.subjects[-1] == "Failed sign-ins: 25 in 1 h"
    assert "198.51.100.0, 198.51.100.1, 198.51.100.2" in scene.last_email
    assert '"user0", "user1", "user2"' in scene.last_email
    assert "198.51.100.10" not in scene.last_email
    assert "somebody is guessing passwords" in scene.last_email
    assert scene.texts == texts + 1
    assert "Failed sign-ins: 25 in 1 h" in scene.bodies[-1]
    assert "user0" not in str(scene.world.table.items)
    assert scene.waiting == []


def test_single_event_has_no_closing_message(scene: Scene) -> None:
    send_failures(scene, [NOW])
    scene.move_to(NOW + 3 * HOUR)
    assert (scene.emails, scene.world.queue.messages) == (1, [])


def test_repeat_after_the_closing_message_starts_no_other(scene: Scene) -> None:
    send_failures(scene, [NOW] * 5)
    scene.move_to(NOW + 80 * 60)
    emails = scene.emails
    scene.process(make_event("iam-user-fails", "f-3", NOW))
    scene.move_to(NOW + 4 * HOUR)
    assert (emails, scene.emails) == (3, 3)


def test_closing_message_that_fails_is_sent_later_and_once(scene: Scene) -> None:
    send_failures(scene, [NOW, NOW + 1])
    scene.move_to(NOW + 70 * 60)
    scene.world.topic.fails = {"publish"}
    with pytest.raises(DeliveryError):
        scene.move_to(NOW + 80 * 60)
    scene.world.topic.fails = set()
    body = scene.world.queue.bodies[0]
    for _ in range(3):
        scene.waiting.append((scene.world.now + LEASE, body))
    scene.move_to(NOW + 2 * HOUR)
    assert scene.subjects == ["Console sign-in FAILED", "Failed sign-ins: 2 in 1 h"]


def test_slow_guessing_is_texted_and_makes_few_emails(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    send_failures(scene, [NOW + number * 480 for number in range(100)])
    scene.move_to(scene.world.now + 3 * HOUR)
    capsys.readouterr()
    with capsys.disabled():
        print(f"\n100 guesses 8 minutes apart: {scene.texts} texts, {scene.emails} e-mails")
    assert scene.texts == 4
    assert scene.emails <= 20
    assert "Console sign-in FAILED, 100 in 14 h" in scene.subjects


def test_second_burst_of_a_day_is_told_again(scene: Scene) -> None:
    send_failures(scene, [NOW + number for number in range(12)])
    evening = NOW + 8 * HOUR
    scene.move_to(evening)
    before = scene.texts
    send_failures(scene, [evening + number for number in range(3)], prefix="evening")
    assert scene.texts == before + 1
    assert scene.subjects[-1] == "Console sign-in FAILED, 3 in 1 h"


@pytest.mark.joint
@pytest.mark.parametrize(("seed", "accounts"), [(4, 1), (5, 12)])
def test_no_input_of_strangers_makes_thirty_emails_in_an_hour(
    scene: Scene, seed: int, accounts: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two days of bursts and pauses in all streams and many accounts."""
    scene.is_slow = True
    chance = random.Random(seed)  # noqa: S311 - the same bursts each time
    at, number = NOW, 0
    while at < NOW + 48 * HOUR:
        account, name = f"{chance.randrange(accounts):012}", chance.choice(KINDS)
        for _ in range(chance.choice((1, 1, 3, 10, 40))):
            number += 1
            at += chance.random() * 20
            scene.move_to(at)
            scene.process(make_event(name, f"event-{number}", at, recipientAccountId=account))
        at += chance.choice((0, 60, 600, 3600, 7200)) * chance.random()
    texts, emails = scene.count_in_worst_hour()
    capsys.readouterr()
    with capsys.disabled():
        print(
            f"\n{number} events in 48 h, {accounts} accounts: worst hour {texts} texts, "
            f"{emails} e-mails"
        )
    assert emails < 30


class TestTextsAnHour:
    def test_texts_of_successes_stop_at_the_limit_and_a_closing_text_follows(
        self, scene: Scene
    ) -> None:
        scene.settings = {"texts_an_hour": "5"}
        for number in range(8):
            source = f"192.0.2.{number}"
            scene.process(make_event(SUCCESS, f"s-{number}", NOW, sourceIPAddress=source))
        assert (scene.texts, scene.emails) == (5, 8)
        assert "too many texts" in scene.last_email
        scene.move_to(NOW + 2 * HOUR)
        assert (scene.texts, scene.emails) == (6, 9)
        assert "Alerts without a text: 3" in scene.bodies[-1]
        scene.process(make_event(SUCCESS, "later", scene.world.now))
        assert scene.texts == 7

    def test_root_assume_root_and_anomaly_have_no_limit(self, scene: Scene) -> None:
        scene.settings = {"texts_an_hour": "1"}
        names = (
            SUCCESS,
            "root-signs-in-with-mfa",
            "organisation-takes-a-root-session",
            "aws-itself-sees-an-anomaly",
        )
        for number in range(3):
            for name in names:
                scene.process(make_event(name, f"{name}-{number}", NOW))
        assert scene.texts == 1 + 3 * 3

    def test_failures_leave_half_of_the_texts_to_successes(self, scene: Scene) -> None:
        scene.settings = {"texts_an_hour": "6"}
        for name in KINDS:
            send_failures(scene, [NOW] * 30, name, prefix=name)
        assert scene.texts == 3
        for number in range(4):
            scene.process(make_event(SUCCESS, f"s-{number}", NOW))
        assert scene.texts == 6

    def test_retry_is_granted_the_same_within_three_hours(self) -> None:
        state = State(Table(), SETTINGS.ledger_table_name)

        def grant(event_id: str, now: float) -> str:
            closings: list[str] = []
            return text_budget.grant(
                event_id, "success", now, 1, state, lambda: closings.append(""), wants_text=True
            )

        granted = [grant(event_id, NOW) for event_id in ("first", "second", "first", "second")]
        assert granted == ["text", "email", "text", "email"]
        assert grant("third", NOW + HOUR) == "text"
        assert [grant(event_id, NOW + HOUR + 1) for event_id in ("first", "second", "fourth")] == [
            "text",
            "email",
            "email",
        ]

    def test_limit_that_is_no_number_is_the_default(self, scene: Scene) -> None:
        scene.settings = {"texts_an_hour": "many"}
        for number in range(22):
            scene.process(make_event(SUCCESS, f"s-{number}", NOW))
        assert (scene.texts, scene.emails) == (20, 22)


class TestIdentityCenterSignIn:
    COMMAND_LINE = "command-line-gets-a-token-by-authorization-code"
    CONSOLE = "identity-center-user-lands-in-the-console"
    KEYS = "command-line-gets-role-keys"

    @staticmethod
    def of_one_person(
        name: str, event_id: str, at: float = NOW, source: str = "192.0.2.7", who: str = ""
    ) -> dict[str, Any]:
        record = make_event(name, event_id, at, sourceIPAddress=source)
        if who:
            record["detail"]["userIdentity"]["onBehalfOf"]["userId"] = who
        return record

    def test_it_is_one_text_and_a_closing_email_tells_the_rest(self, scene: Scene) -> None:
        user_id = event(PORTAL)["detail"]["userIdentity"]["onBehalfOf"]["userId"]
        store = event(PORTAL)["detail"]["userIdentity"]["onBehalfOf"]["identityStoreArn"]
        scene.world.identity_stores.names = {
            (store.rpartition("/")[2], user_id): "jdoe@example.com"
        }
        first = self.of_one_person(PORTAL, "11111111-2222")
        verdicts = [scene.process(first)["verdict"]]
        for name in (self.COMMAND_LINE, self.CONSOLE, self.KEYS):
            for _ in range(2):
                record = self.of_one_person(name, name, NOW + 60)
                verdicts.append(scene.process(record)["verdict"])
        assert verdicts == ["alert", *["note"] * 6]
        assert (scene.texts, scene.emails) == (1, 1)
        scene.move_to(NOW + HOUR)
        assert (scene.texts, scene.emails) == (1, 2)
        assert scene.subjects[-1] == "Further events of the sign-in with Id 11111111: 3"
        assert "Role keys by Identity Center" in scene.last_email
        assert "192.0.2.7" in scene.last_email
        assert 'Who: "jdoe at example. com"' in scene.last_email
        assert "jdoe" not in str(scene.world.table.items)

    def test_new_source_new_person_and_stronger_reason_are_texted(self, scene: Scene) -> None:
        scene.process(self.of_one_person(PORTAL, "1"))
        scene.process(self.of_one_person(self.COMMAND_LINE, "2", source="192.0.2.8"))
        assert scene.texts == 2
        scene.process(self.of_one_person(self.COMMAND_LINE, "3", who="another"))
        assert scene.texts == 3
        code = "command-line-gets-a-token-by-device-code"
        scene.process(self.of_one_person(code, "4", source="192.0.2.9"))
        assert scene.bodies[-1].startswith("HIGH ")
        scene.process(self.of_one_person(self.COMMAND_LINE, "5", NOW + 901))
        assert scene.texts == 5

    def test_more_severe_event_of_the_same_sign_in_is_texted(self, scene: Scene) -> None:
        scene.process(self.of_one_person(self.COMMAND_LINE, "1"))
        code = "command-line-gets-a-token-by-device-code"
        scene.process(self.of_one_person(code, "2", NOW + 9, source="192.0.2.9"))
        scene.process(self.of_one_person(PORTAL, "3", NOW + 8))
        assert scene.texts == 3
        assert scene.bodies[-1].startswith("HIGH ")

    def test_it_is_texted_if_the_closing_message_cannot_be_queued(self, scene: Scene) -> None:
        scene.process(self.of_one_person(PORTAL, "1"))
        scene.world.queue.fails = {"send_message"}
        for event_id in ("2", "2", "3"):
            scene.process(self.of_one_person(self.COMMAND_LINE, event_id))
        assert scene.texts == 3


class TestTableDown:
    def test_first_failures_are_told_and_the_process_limits_the_rest(
        self, scene: Scene, capsys: pytest.CaptureFixture[str]
    ) -> None:
        scene.world.missing = {"dynamodb"}
        send_failures(scene, [NOW + number for number in range(50)])
        assert (scene.texts, scene.emails) == (3, 3)
        assert '"not counted"' in capsys.readouterr().out
        scene.process(make_event("iam-user-fails", "f-1", NOW))  # a retry
        assert scene.emails == 4
        scene.move_to(NOW + HOUR + 60)
        scene.process(make_event("iam-user-fails", "next hour", NOW))
        assert scene.emails == 5

    def test_successes_are_all_sent(self, scene: Scene) -> None:
        scene.world.missing = {"dynamodb"}
        for number in range(30):
            scene.process(make_event(PORTAL, f"s-{number}", NOW))
        assert (scene.texts, scene.emails) == (30, 30)

    def test_failure_is_told_if_the_closing_message_cannot_be_queued(self, scene: Scene) -> None:
        scene.world.queue.fails = {"send_message"}
        send_failures(scene, [NOW, NOW + 1])
        assert scene.emails == 2
        scene.world.queue.fails = set()
        send_failures(scene, [NOW + 2, NOW + 3], prefix="later")
        assert "burst-end" in scene.world.queue.kinds
