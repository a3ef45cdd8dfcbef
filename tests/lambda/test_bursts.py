"""Bursts: what strangers can cause ends in few messages, and a success is never lost in them."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.alerting import delivery, sms
from signwatch.alerting.delivery import DeliveryError
from signwatch.enrichment import text_budget
from signwatch.enrichment.burst_store import BurstStore, Count
from signwatch.enrichment.correlation import NotCountedError
from signwatch.enrichment.state import State
from signwatch.pipeline import process
from tests.support.dependencies import FIRST, NOW, SETTINGS, TWILIO_SECRET, Table, World
from tests.support.sign_ins import event

if TYPE_CHECKING:
    from signwatch.alerting.message import Message
    from tests.support.twilio import Twilio

HOUR = 3600
DAY = 24 * HOUR
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
STEP = "second-factor-is-asked-for"
REFUSED_ROOT_SESSION = "organisation-is-refused-a-root-session"
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
    receives: Counter[str] = field(default_factory=Counter)  # of each message of the queue, by body
    is_slow: bool = False  # a text may be sent again, because its answer took too long
    phones_fail: bool = False  # Twilio accepts the texts, and no phone gets them

    def process(self, record: object) -> dict[str, Any]:
        """Process an event now, and note how many messages it made."""
        before = self.texts, self.emails
        try:
            dependencies = self.world.dependencies(twilio_base_url=self.twilio.url, **self.settings)
            return process(record, dependencies)
        finally:
            for message in self.twilio.messages if self.phones_fail else ():
                self.twilio.twilio_server.set_status(message["sid"], "undelivered", 30003)
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
            self.receives[body] += 1
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


def test_closing_message_has_the_label_of_its_account(scene: Scene) -> None:
    scene.settings = {"account_labels": "222233334444=Payroll"}
    for number in range(2):
        scene.process(
            make_event("iam-user-fails", f"f-{number}", NOW, recipientAccountId="222233334444")
        )
    scene.move_to(NOW + 2 * HOUR)
    assert scene.last_email.startswith("AWS SIGN-IN ALERT account Payroll\n")


def send_from(scene: Scene, event_id: str, at: float, source: str, who: str) -> None:
    scene.move_to(at)
    failure = make_event("iam-user-fails", event_id, at, sourceIPAddress=source)
    failure["detail"]["userIdentity"]["userName"] = who
    scene.process(failure)


def test_closing_message_has_no_addresses_and_names_of_other_days(scene: Scene) -> None:
    for number in range(12):
        send_from(scene, f"d-{number}", NOW + number * DAY, f"192.0.2.{number}", f"user{number}")
    assert "user9" not in str(scene.world.table.items)
    start = NOW + 11 * DAY + 8 * HOUR
    for number in range(4):
        send_from(scene, f"a-{number}", start + number, "198.51.100.66", "victim")
    scene.move_to(start + 2 * HOUR)
    assert "From, the latest few: 198.51.100.66\n" in scene.last_email
    assert 'Who, the latest few: "victim"\n' in scene.last_email


def test_addresses_and_names_before_the_attack_do_not_take_its_place(scene: Scene) -> None:
    for number in range(10):
        send_from(scene, f"d-{number}", NOW + number, f"192.0.2.{number}", f"decoy{number}")
    send_from(scene, "real", NOW + 90, "198.51.100.66", "victim")
    scene.move_to(NOW + 2 * HOUR)
    assert "198.51.100.66" in scene.last_email
    assert '"victim"' in scene.last_email
    assert '"decoy0"' not in scene.last_email


def test_origins_of_streams_without_a_new_event_are_forgotten_too(scene: Scene) -> None:
    send_from(scene, "f", NOW, "192.0.2.9", "Paulo")
    assert "192.0.2.9" in str(scene.world.table.items)
    scene.move_to(NOW + 25 * HOUR)
    scene.process(make_event("root-fails", "r", scene.world.now))
    assert "192.0.2.9" not in str(scene.world.table.items)


def fail_during_the_closing_message(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Count two failures, and let ``count`` more come while their closing message is sent."""
    send_failures(scene, [NOW, NOW + 1])
    real_deliver = delivery.deliver

    def deliver(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(delivery, "deliver", real_deliver)
        for number in range(count):
            scene.process(make_event("iam-user-fails", f"meanwhile-{number}", NOW + HOUR))
        real_deliver(*arguments, **options)

    scene.move_to(NOW + 70 * 60)
    monkeypatch.setattr(delivery, "deliver", deliver)
    scene.move_to(NOW + 80 * 60)


def test_events_counted_while_the_closing_message_is_sent_are_told_after_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_during_the_closing_message(scene, monkeypatch, 3)
    scene.process(make_event("iam-user-fails", "soon after", NOW + HOUR))
    scene.move_to(NOW + 4 * HOUR)
    assert scene.subjects == [
        "Console sign-in FAILED",
        "Console sign-in FAILED, 3 in 2 h",
        "Failed sign-ins: 2 in 1 h",
        "Failed sign-ins: 6 in 2 h",
    ]
    send_failures(scene, [scene.world.now] * 2, prefix="late")
    scene.move_to(scene.world.now + 2 * HOUR)
    assert scene.subjects[-1] == "Failed sign-ins: 2 in 1 h"
    assert scene.waiting == []


def test_event_that_was_told_itself_during_the_closing_message_is_not_told_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_during_the_closing_message(scene, monkeypatch, 1)
    scene.move_to(NOW + 4 * HOUR)
    assert scene.subjects[1:] == ["Console sign-in FAILED, 3 in 2 h", "Failed sign-ins: 2 in 1 h"]
    assert scene.waiting == []


def test_closing_message_that_is_late_tells_the_burst_and_the_new_one(scene: Scene) -> None:
    send_failures(scene, [NOW + number for number in range(9)])
    scene.waiting.clear()
    (body,) = (body for body in scene.world.queue.bodies if "burst-end" in body)
    scene.world.now = NOW + 2 * HOUR
    scene.process(make_event("iam-user-fails", "new", scene.world.now))
    scene.process(make_delivery(body))
    assert scene.subjects[-1] == "Failed sign-ins: 1 in 1 h; Failed sign-ins: 9 in 1 h"


def test_closing_messages_of_many_accounts_are_sent_before_the_queue_gives_them_up(
    scene: Scene,
) -> None:
    accounts = [f"{number:012}" for number in range(20)]
    for account in accounts:
        for number in range(2):
            scene.process(
                make_event("iam-user-fails", f"{account}-{number}", NOW, recipientAccountId=account)
            )
    scene.move_to(NOW + 8 * HOUR)
    told = [s for s in scene.subjects if s == "Failed sign-ins: 2 in 1 h"]
    assert len(told) == len(accounts)
    assert scene.waiting == []
    assert max(scene.receives.values()) < 10  # maxReceiveCount
    assert scene.count_in_worst_hour()[1] < 30


def test_flood_of_hours_has_a_closing_message_an_hour(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While each is sent, further events are counted."""
    real_deliver, number = delivery.deliver, itertools.count()

    def deliver(message: Message, key: str, *arguments: Any, **options: Any) -> None:
        real_deliver(message, key, *arguments, **options)
        if "closing" in key:
            fail()

    def fail() -> None:
        at = scene.world.now
        scene.process(make_event("iam-user-fails", f"flood-{next(number)}", at))

    monkeypatch.setattr(delivery, "deliver", deliver)
    for minute in range(0, 8 * 60, 5):
        scene.move_to(NOW + minute * 60)
        fail()
    told = [s for s in scene.subjects if s.startswith("Failed sign-ins:")]
    assert 4 <= len(told) <= 7
    assert max(scene.receives.values()) < 10
    assert any(json.loads(body)["content"]["at"] != str(int(NOW)) for body in scene.receives)


def test_level_that_was_not_sent_is_not_told(scene: Scene) -> None:
    """Other accounts have used up the messages of the hour; so the closing message is texted."""
    for number in range(60):
        account = f"{number // 10:012}"
        scene.process(make_event("root-fails", f"r-{number}", NOW, recipientAccountId=account))
    texts, emails = scene.texts, scene.emails
    for _ in range(2):  # both ways
        send_failures(scene, [NOW + 1] * 15)
    assert (scene.texts, scene.emails) == (texts, emails + 2)
    scene.move_to(NOW + 3 * HOUR)
    assert "Failed sign-ins: 15 in 1 h" in scene.subjects
    assert any("Failed sign-ins: 15 in 1 h" in body for body in scene.bodies)


def test_closing_message_after_levels_that_were_sent_is_not_texted(scene: Scene) -> None:
    send_failures(scene, [NOW] * 15)
    texts = scene.texts
    scene.move_to(NOW + 3 * HOUR)
    assert scene.subjects[-1] == "Failed sign-ins: 15 in 1 h"
    assert scene.texts == texts


class TestCredentials:
    """Events that need credentials are told whatever others cause."""

    @staticmethod
    def second_look(event_id: str, **detail: Any) -> dict[str, Any]:
        record = make_event(STEP, event_id, NOW, **detail)
        return make_delivery(json.dumps({"later": "second-look", "content": record}))

    def test_right_password_is_told_beside_failures_in_many_accounts(self, scene: Scene) -> None:
        for number in range(60):
            account = f"{number // 3:012}"
            scene.process(
                make_event("iam-user-fails", f"f-{number}", NOW, recipientAccountId=account)
            )
        assert scene.emails == text_budget.MAX_BURST_EMAILS
        before = scene.texts, scene.emails
        scene.move_to(NOW + QUARTER)
        for number in range(2):
            scene.process(self.second_look(f"pw-{number}"))
        assert (scene.texts, scene.emails) == (before[0] + 1, before[1] + 1)
        scene.move_to(NOW + QUARTER + 76 * 60)
        assert any("Right passwords without a sign-in: 2 in 1 h" in s for s in scene.subjects)

    def test_right_passwords_in_many_accounts_are_all_mailed(self, scene: Scene) -> None:
        scene.settings = {"texts_an_hour": "4"}
        for number in range(30):
            scene.process(self.second_look(f"pw-{number}", recipientAccountId=f"{number:012}"))
        assert (scene.texts, scene.emails) == (4, 30)
        scene.move_to(NOW + 2 * HOUR)
        assert "Alerts without a text: 26" in scene.bodies[-1]

    def test_refused_root_sessions_are_counted_and_successes_are_not(self, scene: Scene) -> None:
        for number in range(60):
            scene.process(make_event(REFUSED_ROOT_SESSION, f"r-{number}", NOW + number))
        assert (scene.texts, scene.emails) == (4, 4)
        for number in range(5):
            scene.process(make_event("organisation-takes-a-root-session", f"s-{number}", NOW))
        assert (scene.texts, scene.emails) == (9, 9)
        scene.move_to(NOW + 2 * HOUR)
        assert scene.subjects[-1] == "Refused root sessions: 60 in 1 h"
        assert "take the right to call AssumeRoot away" in scene.last_email


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
@pytest.mark.parametrize(
    ("seed", "accounts", "phones_fail"), [(4, 1, False), (5, 12, False), (5, 12, True)]
)
def test_no_input_of_strangers_makes_thirty_emails_in_an_hour(
    scene: Scene, seed: int, accounts: int, capsys: pytest.CaptureFixture[str], *, phones_fail: bool
) -> None:
    """Two days of bursts and pauses in all streams and many accounts."""
    scene.is_slow = True
    if phones_fail:
        recipients = [RECIPIENT, FIRST]
        scene.world.secrets.text = json.dumps({**TWILIO_SECRET, "recipients": recipients})
        scene.phones_fail = True
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
            f"{emails} e-mails{', although all phones are off' * phones_fail}"
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

    def test_failures_take_no_text_of_a_success(self, scene: Scene) -> None:
        scene.settings = {"texts_an_hour": "6"}
        for name in KINDS:
            send_failures(scene, [NOW] * 30, name, prefix=name)
        assert scene.texts == 3
        for number in range(7):
            scene.process(make_event(SUCCESS, f"s-{number}", NOW))
        assert scene.texts == 3 + 6

    def test_successes_take_no_text_of_a_failure(self, scene: Scene) -> None:
        scene.settings = {"texts_an_hour": "4"}
        for number in range(4):
            scene.process(make_event(SUCCESS, f"s-{number}", NOW))
        for name in KINDS:
            send_failures(scene, [NOW] * 3, name, prefix=name)
        assert scene.texts == 4 + 2

    def test_retry_is_granted_the_same_for_as_long_as_a_queue_keeps_it(self) -> None:
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
        assert grant("second", NOW + 13 * DAY) == "email"

    def test_texts_left_out_while_the_closing_text_is_sent_are_told_after_it(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scene.settings = {"texts_an_hour": "1"}
        for number in range(3):
            scene.process(make_event(SUCCESS, f"s-{number}", NOW))

        def deliver(*arguments: Any, **options: Any) -> None:
            monkeypatch.setattr(delivery, "deliver", real_deliver)
            for number in range(3):
                scene.process(make_event(SUCCESS, f"meanwhile-{number}", NOW))
            real_deliver(*arguments, **options)

        real_deliver = delivery.deliver
        scene.move_to(NOW + HOUR - 2)
        monkeypatch.setattr(delivery, "deliver", deliver)
        scene.move_to(NOW + 3 * HOUR)
        told = [body for body in scene.bodies if "Alerts without a text" in body]
        assert [body.splitlines()[1] for body in told] == [
            "Alerts without a text: 2",
            "Alerts without a text: 2",  # and one had the text of the new hour
        ]
        for number in range(3):
            scene.process(make_event(SUCCESS, f"late-{number}", scene.world.now))
        scene.move_to(scene.world.now + 2 * HOUR)
        assert "Alerts without a text: 2" in scene.bodies[-1]
        assert scene.waiting == []

    def test_closing_text_is_sent_after_hours_without_twilio(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scene.settings = {"texts_an_hour": "1"}
        for number in range(3):
            scene.process(make_event(SUCCESS, f"s-{number}", NOW))
        scene.world.now += 5 * HOUR
        (body,) = (body for body in scene.world.queue.bodies if "burst-end" in body)
        with monkeypatch.context() as patch:
            patch.setattr(sms, "send", lambda *_: sms.Outcome("transient", "down"))
            with pytest.raises(DeliveryError):
                scene.process(make_delivery(body))
        scene.world.now += 24 * HOUR
        scene.process(make_delivery(body))
        assert "Alerts without a text: 2" in scene.bodies[-1]

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

    def test_retry_is_texted_although_a_more_severe_event_replaced_its_group(
        self, scene: Scene
    ) -> None:
        first = self.of_one_person(self.COMMAND_LINE, "first")
        scene.twilio.fail(503, times=3)
        with pytest.raises(DeliveryError):
            scene.process(first)
        code = "command-line-gets-a-token-by-device-code"
        scene.world.now += 10
        scene.process(self.of_one_person(PORTAL, "portal", NOW + 8, source="192.0.2.9"))
        scene.process(self.of_one_person(code, "code", NOW + 9))
        assert scene.bodies[-1].startswith("HIGH ")
        texts = scene.texts
        scene.world.now += LEASE
        assert scene.process(first)["verdict"] == "alert"
        assert scene.texts == texts + 1

    def test_late_older_event_does_not_replace_the_group(self, scene: Scene) -> None:
        scene.process(self.of_one_person(PORTAL, "1"))
        scene.process(self.of_one_person(PORTAL, "old", NOW - 2 * HOUR))
        assert scene.texts == 2
        assert scene.process(self.of_one_person(self.KEYS, "2", NOW + 5))["verdict"] == "note"

    def test_repeat_days_later_is_no_new_sign_in(self, scene: Scene) -> None:
        for event_id in ("1", "2"):
            scene.process(self.of_one_person(PORTAL, event_id))
        scene.move_to(NOW + 13 * DAY)
        scene.process(self.of_one_person(PORTAL, "later", scene.world.now))
        for event_id in ("2", "1"):
            scene.process(self.of_one_person(PORTAL, event_id))
        assert scene.texts == 2

    def test_closing_email_is_sent_after_a_day_without_the_topic(self, scene: Scene) -> None:
        for event_id in ("1", "2"):
            scene.process(self.of_one_person(PORTAL, event_id))
        (body,) = (body for body in scene.world.queue.bodies if "burst-end" in body)
        scene.world.topic.fails = {"publish"}
        scene.world.now += HOUR
        with pytest.raises(DeliveryError):
            scene.process(make_delivery(body))
        scene.world.topic.fails = set()
        scene.world.now += DAY
        scene.process(make_delivery(body))
        assert scene.subjects[-1].startswith("Further events of the sign-in")

    def test_sign_ins_without_an_address_are_all_texted(self, scene: Scene) -> None:
        for event_id in ("1", "2"):
            scene.process(make_event("identity-center-sign-in-from-aws-internal", event_id, NOW))
        assert scene.texts == 2

    def test_it_is_texted_if_the_closing_message_cannot_be_queued(self, scene: Scene) -> None:
        scene.process(self.of_one_person(PORTAL, "1"))
        scene.world.queue.fails = {"send_message"}
        for event_id in ("2", "2", "3"):
            scene.process(self.of_one_person(self.COMMAND_LINE, event_id))
        assert scene.texts == 3


class TestTableDown:
    def test_each_event_is_told_or_comes_back_until_it_is_counted(self, scene: Scene) -> None:
        scene.world.missing = {"dynamodb"}
        uncounted = []
        for number in range(50):
            failure = make_event("iam-user-fails", f"f-{number}", NOW + number)
            try:
                scene.process(failure)
            except NotCountedError:
                uncounted.append(failure)
        assert (scene.texts, scene.emails, len(uncounted)) == (3, 3, 47)
        scene.process(make_event("iam-user-fails", "f-1", NOW))  # a retry
        scene.process(make_event("root-fails", "other stream", NOW))
        assert scene.emails == 5
        scene.world.missing = set()
        scene.world.now += QUARTER
        for failure in uncounted:
            scene.process(failure)
        scene.move_to(NOW + 3 * HOUR)
        assert "Failed sign-ins: 47 in 1 h" in scene.subjects

    def test_right_passwords_are_all_sent(self, scene: Scene) -> None:
        scene.world.missing = {"dynamodb"}
        for number in range(9):
            scene.process(TestCredentials.second_look(f"pw-{number}"))
        assert (scene.texts, scene.emails) == (9, 9)

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
