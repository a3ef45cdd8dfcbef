"""A process of its own that processes one event, and servers that kill it at a chosen step.

A step is a request to AWS or Twilio, just before the server acts on it, or just after.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from tests.support import loopback_aws
from tests.support.dependencies import ENVIRONMENT, KEYS, World
from tooling.local.twilio_server import TwilioServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["boto3", "requests", "twilio.rest"])
UNREACHED_STEP = -1
CHILD_SECONDS = 60.0


class Steps:
    """Counts the steps of one process, and kills the process at one of them."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.kill_at = UNREACHED_STEP
        self.pid = 0
        self.has_started = threading.Event()
        self.active = 0
        self._lock = threading.Lock()

    def take(self, name: str) -> None:
        """Take a step; kill the process if it is the chosen one."""
        self.has_started.wait(CHILD_SECONDS)
        with self._lock:
            self.names.append(name)
            if len(self.names) - 1 == self.kill_at:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)

    @contextlib.contextmanager
    def around(self, name: str) -> Iterator[None]:
        """Take a step before and one after what the server does."""
        with self._lock:
            self.active += 1
        try:
            self.take(f"before {name}")
            yield
            self.take(f"after {name}")
        finally:
            with self._lock:
                self.active -= 1


class KillingAws(loopback_aws.LoopbackAws):
    """The World's AWS; its steps are named by the operation."""

    def __init__(self, world: World, steps: Steps) -> None:
        super().__init__(world)
        self.steps = steps

    def answer(self, target: str, body: str) -> tuple[int, str]:
        with self.steps.around(target.partition(".")[2] or "Publish"):
            return super().answer(target, body)


class KillingTwilio(TwilioServer):
    """The loopback Twilio server, whose steps are the texts."""

    steps: Steps

    def receive(self, account_sid: str, form: Mapping[str, str]) -> dict[str, Any]:
        with self.steps.around("text"):
            return super().receive(account_sid, form)


class Servers:
    """AWS and Twilio for processes, one after the other."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.world, self.steps = World(), Steps()
        aws = KillingAws(self.world, self.steps)
        self.aws_url = stack.enter_context(loopback_aws.serve(aws))
        self.twilio: TwilioServer = stack.enter_context(KillingTwilio.start(credentials=KEYS))
        self.twilio.steps = self.steps  # type: ignore[attr-defined] # it is a KillingTwilio

    def run(self, event: Any, now: float, kill_at: int = UNREACHED_STEP) -> int:
        """Process an event at the time ``now``; return the exit code: 0, 1 after an error, or -9.

        The process is killed at the step ``kill_at``, counted from 0.
        """
        self.steps.names, self.steps.kill_at = [], kill_at
        self.steps.has_started.clear()
        process = PROCESSES.Process(
            target=process_event, args=(event, now, self.aws_url, self.twilio.url)
        )
        process.start()
        self.steps.pid = process.pid or 0
        self.steps.has_started.set()
        process.join(CHILD_SECONDS)
        assert process.exitcode is not None
        while self.steps.active:
            time.sleep(0.005)  # a server still acts on a request of the killed process
        return process.exitcode


def process_event(event: Any, now: float, aws_url: str, twilio_url: str) -> None:
    """Process an event with the real clients; runs in the process."""
    os.environ |= {
        "AWS_ENDPOINT_URL": aws_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    from signwatch import dependencies
    from signwatch.pipeline import process
    from signwatch.settings import Settings

    settings = Settings.load({**ENVIRONMENT, "TWILIO_BASE_URL": twilio_url})
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123 - no path
        process(
            event,
            dependencies.Dependencies(
                settings, lambda: now, dependencies.get_client, lambda: CHILD_SECONDS
            ),
        )
