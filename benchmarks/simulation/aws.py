"""Lambda, SQS, EventBridge and the trail, as far as they decide when the function runs.

Sources: Lambda developer guide, "How Lambda handles errors and retries with asynchronous
invocation", "Using Lambda with Amazon SQS" and "Lambda execution environment"; EventBridge user
guide, "How EventBridge retries delivering events"; Amazon SQS developer guide, "Amazon SQS
visibility timeout" and "Using dead-letter queues"; CloudWatch Logs user guide, "Log group-level
subscription filters".
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.simulation.scheduler import Process, Scheduler

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from benchmarks.simulation.stack import QueueSettings, StackSettings

    # Called with an event and a function that returns the seconds left; returns an answer.
    Handler = Callable[[Any, Callable[[], float]], dict[str, Any]]
    Result = Literal["done", "kept", "failed", "throttled"]  # kept: a message is to return
    Report = Callable[[Result], None]

COLD_START_SECONDS = 0.8
ENVIRONMENT_IDLE_SECONDS = 600.0  # Lambda keeps an idle environment for some minutes
ASYNC_DUPLICATES = 0.005  # share of the asynchronous events that run twice
ASYNC_RETRY_PAUSES_SECONDS = (60.0, 120.0)
THROTTLE_PAUSE_SECONDS, THROTTLE_MAX_PAUSE_SECONDS = 1.0, 300.0
BUS_LOSSES, BUS_FAILURES = 0.01, 0.005  # shares of the events, and of the tries to hand one over
LATE_EVENTS = 0.01  # share of the bus's events that come as late as the trail's
BUS_DELAY_SECONDS = (1.0, 20.0)
RULE_PAUSE_SECONDS, RULE_MAX_PAUSE_SECONDS = 1.0, 600.0  # not documented
TRAIL_DELAY_SECONDS = (120.0, 900.0)
BATCH_MAX_EVENTS, BATCH_MAX_WAIT_SECONDS = 10, 60.0
CONTROL_MESSAGES = 0.02  # as a share of the batches


class Function:
    """The function and its execution environments."""

    def __init__(
        self,
        scheduler: Scheduler,
        stack: StackSettings,
        handler: Handler,
        rng: random.Random,
        send_dead_letter: Callable[[Any], None],
    ) -> None:
        self.scheduler = scheduler
        self.stack = stack
        self.handler = handler
        self.counts: Counter[str] = Counter()
        self.longest_seconds = 0.0
        self.running_count = 0
        self._rng = rng
        self._send_dead_letter = send_dead_letter
        self._idle: list[tuple[Process, float]] = []  # with the time since which each is idle

    def invoke(self, event: Any, report: Report) -> None:
        """Start the function; ``report`` is called with the result."""
        if self.running_count >= self.stack.concurrency:
            self.counts["throttled"] += 1
            report("throttled")
            return
        _Invocation(self, event, report)

    def invoke_later(self, event: Any) -> None:
        """Invoke the function asynchronously: from Lambda's own queue, with retries."""
        copies = 2 if self._rng.random() < ASYNC_DUPLICATES else 1
        for _ in range(copies):
            self._try_event(event, self.scheduler.now)

    def _try_event(
        self, event: Any, accepted_at: float, failures: int = 0, throttles: int = 0
    ) -> None:
        """Invoke the function with an event from Lambda's own queue."""

        def report(result: Result) -> None:
            if result == "failed" and failures < self.stack.max_async_retries:
                pause = ASYNC_RETRY_PAUSES_SECONDS[failures]
                retry = (event, accepted_at, failures + 1, throttles)
            elif result == "failed":
                self.counts["dead letters"] += 1
                self._send_dead_letter(event)
                return
            elif result == "throttled":
                pause = min(THROTTLE_PAUSE_SECONDS * 2**throttles, THROTTLE_MAX_PAUSE_SECONDS)
                retry = (event, accepted_at, failures, throttles + 1)
            else:
                return
            self.scheduler.after(pause, lambda: self._try_event(*retry))

        if self.scheduler.now - accepted_at > self.stack.max_async_age:
            self.counts["dead letters"] += 1
            self._send_dead_letter(event)
        else:
            self.invoke(event, report)

    def take_environment(self) -> tuple[Process, float]:
        """Return an environment, and the seconds until its code runs."""
        while self._idle:
            environment, idle_since = self._idle.pop()
            environment.thaw()
            if self.scheduler.now - idle_since < ENVIRONMENT_IDLE_SECONDS:
                return environment, 0.0
            environment.kill()
        return Process(self.scheduler), COLD_START_SECONDS

    def release_environment(self, environment: Process) -> None:
        """Freeze an environment, threads that still run included, until the next invocation."""
        environment.freeze()
        self._idle.append((environment, self.scheduler.now))


class _Invocation:
    """One run of the function."""

    def __init__(self, function: Function, event: Any, report: Report) -> None:
        self.function = function
        self.scheduler = function.scheduler
        self.event = event
        self.report = report
        self.result: Result = "done"
        function.running_count += 1
        function.counts["invocations"] += 1
        self.environment, self.start_seconds = function.take_environment()
        self.started_at = self.scheduler.now + self.start_seconds
        self.deadline = self.started_at + function.stack.function_timeout
        self.timeout = self.scheduler.at(self.deadline, self.kill)
        self.environment.start(self.run)

    def run(self) -> None:
        """Call the handler, in a task of the environment."""
        self.scheduler.sleep(self.start_seconds)
        try:
            answer = self.function.handler(self.event, self.compute_seconds_left)
            if answer.get("batchItemFailures"):
                self.result = "kept"
        except Exception as error:  # noqa: BLE001 - Lambda reports any
            self.result = "failed"
            self.function.counts[f"raised {type(error).__name__}"] += 1
        self.timeout.cancel()
        self.scheduler.after(0, self.end)

    def compute_seconds_left(self) -> float:
        """Return the time until the function's timeout."""
        return self.deadline - self.scheduler.now

    def end(self) -> None:
        """Report the result; what the handler left running is frozen."""
        self.function.running_count -= 1
        seconds = self.scheduler.now - self.started_at
        self.function.longest_seconds = max(self.function.longest_seconds, seconds)
        self.function.release_environment(self.environment)
        self.report(self.result)

    def kill(self) -> None:
        """End the environment at the function's timeout."""
        self.function.running_count -= 1
        self.function.counts["killed at the timeout"] += 1
        self.environment.kill()
        self.report("failed")


class Message:
    """A message of a queue. Its age counts from the first queue that it was in."""

    def __init__(self, message_id: str, body: str, sent_at: float) -> None:
        self.message_id = message_id
        self.body = body
        self.sent_at = sent_at
        self.receptions = 0


class Queue:
    """An SQS queue, with the mapping that hands its messages to the function."""

    def __init__(
        self,
        settings: QueueSettings,
        function: Function,
        find_queue: Callable[[str], Queue],
    ) -> None:
        self.settings = settings
        self.counts: Counter[str] = Counter()
        self._function = function
        self._find_queue = find_queue
        self._visible: deque[Message] = deque()
        self._handed_over_count = 0

    def send(self, body: str, delay_seconds: float = 0.0) -> None:
        """Put a new message into the queue."""
        self.counts["sent"] += 1
        message = Message(f"message-{self.counts['sent']}", body, self._function.scheduler.now)
        self._function.scheduler.after(delay_seconds, lambda: self.show(message))

    def show(self, message: Message) -> None:
        """Make a message visible."""
        self._visible.append(message)
        self._hand_over()

    def _hand_over(self) -> None:
        """Hand visible messages to the function, as many at once as the mapping may."""
        if not self.settings.has_mapping:
            self.counts["not received"] += 1
            return
        while self._visible and self._handed_over_count < self.settings.max_concurrency:
            self._receive(self._visible.popleft())

    def _receive(self, message: Message) -> None:
        """Hand one message over, or move it or drop it."""
        scheduler = self._function.scheduler
        if scheduler.now - message.sent_at > self.settings.retention:
            self.counts["too old"] += 1
            return
        message.receptions += 1
        if message.receptions > self.settings.max_receives:
            self.counts["moved to the dead letters"] += 1
            message.receptions = 0
            self._find_queue(self.settings.dead_letter_queue).show(message)
            return
        self._handed_over_count += 1
        is_visible_at = scheduler.now + self.settings.visibility_timeout

        def report(result: Result) -> None:
            self._handed_over_count -= 1
            if result == "kept":
                self.counts["kept"] += 1
            is_kept = result == "kept" and self.settings.takes_item_failures
            if is_kept or result in ("failed", "throttled"):
                scheduler.at(is_visible_at, lambda: self.show(message))
            scheduler.after(0, self._hand_over)

        record = {
            "messageId": message.message_id,
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:us-east-1:111122223333:{self.settings.name}",
            "body": message.body,
            "attributes": {
                "ApproximateReceiveCount": str(message.receptions),
                "SentTimestamp": str(int(message.sent_at * 1000)),
            },
        }
        self._function.invoke({"Records": [record]}, report)


class Bus:
    """EventBridge, which loses some events, and hands the others to the function by a rule."""

    def __init__(self, function: Function, undelivered: Queue, rng: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self._function = function
        self._scheduler = function.scheduler
        self._undelivered = undelivered
        self._rng = rng
        self.has_permission = True

    def remove_permission(self) -> None:
        """Let Lambda refuse the rules' events from now on."""
        self.has_permission = False

    def restore_permission(self) -> None:
        """Let Lambda accept the rules' events again."""
        self.has_permission = True

    def put(self, event: Any) -> None:
        """Take an event, which reaches the rule some seconds later."""
        if self._rng.random() < BUS_LOSSES:
            self.counts["lost"] += 1
            return
        taken_at = self._scheduler.now
        is_late = self._rng.random() < LATE_EVENTS
        delay = self._rng.uniform(*(TRAIL_DELAY_SECONDS if is_late else BUS_DELAY_SECONDS))
        self._scheduler.after(delay, lambda: self._deliver(event, taken_at, failures=0))

    def _deliver(self, event: Any, taken_at: float, failures: int) -> None:
        """Hand an event to Lambda; without permission, it goes to the queue at once."""
        stack = self._function.stack
        age = self._scheduler.now - taken_at
        is_given_up = failures > stack.rule_max_retries or age > stack.rule_max_age
        if is_given_up or not self.has_permission:
            self.counts["undelivered"] += 1
            self._undelivered.send(json.dumps(event))
        elif self._rng.random() < BUS_FAILURES:
            self.counts["retries"] += 1
            pause = min(RULE_PAUSE_SECONDS * 2**failures, RULE_MAX_PAUSE_SECONDS)
            self._scheduler.after(pause, lambda: self._deliver(event, taken_at, failures + 1))
        else:
            self._function.invoke_later(event)


class Trail:
    """The trail's log group, whose subscription hands batches of records to the function."""

    def __init__(self, function: Function, rng: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self._function = function
        self._scheduler = function.scheduler
        self._rng = rng
        self._batch: list[Any] = []
        self._batch_size = 1
        self._batch_number = 0

    def put(self, record: Any) -> None:
        """Take a record, which reaches the log group minutes later."""
        if self._function.stack.has_subscription:
            delay = self._rng.uniform(*TRAIL_DELAY_SECONDS)
            self._scheduler.after(delay, lambda: self._collect(record))

    def _collect(self, record: Any) -> None:
        """Add a record to the next batch, which is sent when it is full or has waited enough."""
        if not self._batch:
            self._batch_size = self._rng.randint(1, BATCH_MAX_EVENTS)
            number = self._batch_number
            self._scheduler.after(BATCH_MAX_WAIT_SECONDS, lambda: self._send_batch(number))
        self._batch.append(record)
        if len(self._batch) == self._batch_size:
            self._send_batch(self._batch_number)

    def _send_batch(self, number: int) -> None:
        """Invoke the function with the batch of this number, unless it was sent before."""
        if number != self._batch_number:
            return
        self.counts["batches"] += 1
        self._batch_number += 1
        batch, self._batch = self._batch, []
        self._function.invoke_later(_make_payload("DATA_MESSAGE", map(json.dumps, batch)))
        if self._rng.random() < CONTROL_MESSAGES:
            text = "CWL CONTROL MESSAGE: Checking health of destination"
            self._function.invoke_later(_make_payload("CONTROL_MESSAGE", [text]))


def _make_payload(message_type: str, lines: Any) -> dict[str, Any]:
    """Return a payload of a subscription: base64 of gzip of JSON."""
    content = {
        "messageType": message_type,
        "owner": "111122223333",
        "logGroup": "signwatch-trail",
        "logStream": "111122223333_CloudTrail_us-east-1",
        "subscriptionFilters": ["signwatch-sign-ins"],
        "logEvents": [
            {"id": str(number), "timestamp": 0, "message": line}
            for number, line in enumerate(lines)
        ],
    }
    packed = gzip.compress(json.dumps(content).encode(), compresslevel=1)
    return {"awslogs": {"data": base64.b64encode(packed).decode()}}
