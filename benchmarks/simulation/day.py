"""A day of sign-ins around the function, and the time until all is delivered."""

from __future__ import annotations

import importlib
import json
import pkgutil
import random
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import signwatch
from benchmarks.simulation.aws import Bus, Function, Queue, Trail
from benchmarks.simulation.scheduler import Scheduler
from benchmarks.simulation.stack import StackSettings
from benchmarks.simulation.threads import replace_time_and_threads
from benchmarks.simulation.traffic import SimulatedSignIn, make_sign_ins
from benchmarks.simulation.twilio import Twilio
from tests.support.dependencies import NOW, Topic, World
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

DAY_SECONDS = 24 * 3600.0
OUTAGE_START_SECONDS, OUTAGE_SECONDS = 10 * 3600.0, 3600.0  # of Twilio, in the day
NO_PERMISSION_START_SECONDS, NO_PERMISSION_SECONDS = 5 * 3600.0, 600.0  # of the rules
AWS_CALL_SECONDS = (0.005, 0.03)
CHANGED_SETTINGS = {
    "twilio_base_url": "https://api.twilio.com",
    "texts_an_hour": "1000000",  # a day has more sign-ins than a person is to be texted
}


class TimedClient:
    """An AWS client whose calls take simulated time; half of it passes before the effect."""

    def __init__(self, client: Any, scheduler: Scheduler, rng: random.Random) -> None:
        self._client = client
        self._scheduler = scheduler
        self._rng = rng

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        if name == "exceptions":
            return value

        def call(**request: Any) -> Any:
            half = self._rng.uniform(*AWS_CALL_SECONDS) / 2
            self._scheduler.sleep(half)
            response = value(**request)
            self._scheduler.sleep(half)
            return response

        return call


class TimedTopic(Topic):
    """The topic of the e-mails, with the time of each."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self.times: list[float] = []
        self._scheduler = scheduler

    def publish(self, **request: str) -> None:
        """Send an e-mail."""
        super().publish(**request)
        self.times.append(self._scheduler.now)


class SqsClient:
    """The client with which the function sends to its one queue."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def send_message(self, **request: Any) -> None:
        """Put a message into the queue."""
        self._queue.send(request["MessageBody"], request.get("DelaySeconds", 0))


class Day:
    """The simulated AWS and Twilio, with the function in them.

    ``without`` leaves out one of ``stack.PARTS``, to show what it is worth.
    """

    def __init__(self, sign_in_count: int, seed: int, without: str = "") -> None:
        rng = random.Random(seed)  # noqa: S311 - the same day for the same seed
        random.seed(seed)  # for the jitter of the function's own pauses
        outage_start = NOW + OUTAGE_START_SECONDS
        self.sign_ins = make_sign_ins(sign_in_count, NOW, DAY_SECONDS, rng)
        self.scheduler = Scheduler(NOW)
        self.twilio = Twilio(self.scheduler, rng, (outage_start, outage_start + OUTAGE_SECONDS))
        self.topic = TimedTopic(self.scheduler)
        self.world = World(topic=self.topic)
        self.logged_problems: Counter[str] = Counter()
        stack = StackSettings.load(ROOT / "cfn").leave_out(without)
        self.function = Function(self.scheduler, stack, self._handle, rng, self._send_dead_letter)
        self.queues = {
            name: Queue(settings, self.function, self._find_queue)
            for name, settings in stack.queues.items()
        }
        self.dead_letters = self.queues[stack.async_dead_letter_queue]
        undelivered_events = self.queues[stack.rule_dead_letter_queue]
        (later,) = set(self.queues.values()) - {self.dead_letters, undelivered_events}
        self.bus = Bus(self.function, undelivered_events, rng)
        self.trail = Trail(self.function, rng)
        self._sqs = SqsClient(later)
        self._rng = rng

    def run(self) -> None:
        """Run until nothing is left to do."""
        self._load_function()
        self.twilio.install()
        for sign_in in self.sign_ins:
            self.scheduler.at(sign_in.seconds, partial(self._record, sign_in))
        start = NOW + NO_PERMISSION_START_SECONDS
        self.scheduler.at(start, self.bus.remove_permission)
        self.scheduler.at(start + NO_PERMISSION_SECONDS, self.bus.restore_permission)
        self.scheduler.run()

    def _find_queue(self, name: str) -> Queue:
        """Return the queue with a logical name, such as FailedEventsQueue."""
        return self.queues[name]

    def _record(self, sign_in: SimulatedSignIn) -> None:
        """Send the record of a sign-in both ways, as CloudTrail does."""
        self.bus.put(sign_in.event)
        self.trail.put(sign_in.event["detail"])

    def _handle(self, event: Any, seconds_left: Callable[[], float]) -> dict[str, Any]:
        """Process an event as the function's handler does, but with simulated dependencies."""
        from signwatch.pipeline import process

        dependencies = self.world.dependencies(**CHANGED_SETTINGS)._replace(
            clock=lambda: self.scheduler.now,
            client=self._get_client,
            seconds_left=seconds_left,
        )
        return process(event, dependencies)

    def _get_client(self, service: str, **options: Any) -> TimedClient:
        """Return an AWS client, as signwatch.dependencies.get_client does."""
        client = self._sqs if service == "sqs" else self.world.client(service, **options)
        return TimedClient(client, self.scheduler, self._rng)

    def _send_dead_letter(self, event: Any) -> None:
        """Put an event that Lambda gave up into the dead-letter queue."""
        self.dead_letters.send(json.dumps(event))

    def _load_function(self) -> None:
        """Import all modules of the function; give them simulated time, threads and log."""
        modules = {
            name: importlib.import_module(name)
            for _, name, _ in pkgutil.walk_packages(signwatch.__path__, "signwatch.")
        }
        replace_time_and_threads(self.scheduler, modules.values())
        vars(modules["signwatch.log"])["print"] = self._read_log_line  # hides the builtin

    def _read_log_line(self, line: str, **_: Any) -> None:
        """Count the problems that the function logs."""
        values = json.loads(line)
        if "problem" in values:
            self.logged_problems[f"{values['problem']} {values.get('error', '')}"] += 1
