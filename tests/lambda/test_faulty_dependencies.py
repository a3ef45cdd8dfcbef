"""Whatever one dependency does, an unrecognised sign-in brings a text or an e-mail in time.

Each cell of a table is one dependency with one fault. The real clients talk to loopback servers,
which really trickle, reset and hang. All limits are shortened by the same factor, the function's
timeout too. tests/lambda/test_dependencies.py and others pin the real ones.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from signwatch import dependencies
from signwatch.alerting import delivery, sms
from signwatch.dependencies import Dependencies
from signwatch.enrichment import identity_store, second_look
from signwatch.pipeline import process
from signwatch.settings import Settings
from tests.support import faulty_server, loopback_aws
from tests.support.deliveries import queue_delivery
from tests.support.dependencies import ENVIRONMENT, KEYS, NOW, World
from tests.support.sign_ins import event
from tooling.local.twilio_server import TwilioServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.joint

SCALE = 0.2  # a second of the function takes so many seconds here
FUNCTION_SECONDS = 60.0
SLOW_SECONDS = 4.0  # more than a quick client waits for
FAULTS = ("down", "slow", "trickling", "accepted-then-reset", "garbage", "denied")
# The AWS services of each dependency; "twilio" and "clock" are not AWS's.
DEPENDENCIES = {
    "ledger and state": ("dynamodb",),
    "secret": ("secretsmanager",),
    "SSM": ("ssm",),
    "main key": ("dynamodb", "secretsmanager"),
    "topic": ("sns",),
    "Twilio": ("twilio",),
    "identity store": ("identitystore",),
    "logs": ("logs",),
    "queue": ("sqs",),
    "clock": ("clock",),
    # Two that fail at once: no channel is left.
    "topic and secret": ("sns", "secretsmanager"),
    "topic and Twilio": ("sns", "twilio"),
}
NO_CHANNEL_LEFT = {  # where nothing can be sent, with the reason
    ("topic and secret", fault): "the e-mail has no topic and Twilio no credentials"
    for fault in FAULTS
    if fault != "slow"
} | {
    ("topic and Twilio", fault): "neither the e-mail nor the texts leave"
    for fault in FAULTS
    if fault != "slow"
}
CLOCK_FAULTS: dict[str, Callable[[], Callable[[], float]]] = {
    "down": lambda: lambda: 0.0,  # it stands still in 1970
    "slow": lambda: lambda: NOW - 3600,
    "trickling": lambda: itertools.count(NOW, -7.0).__next__,  # it runs backwards
    "accepted-then-reset": lambda: itertools.chain([NOW], itertools.repeat(0.0)).__next__,
    "garbage": lambda: lambda: 1e11,  # the year 5138
    "denied": lambda: lambda: -1.0,
}
TWILIO_ANSWERS: dict[str, dict[str, Any]] = {  # the answer: arguments of TwilioServer.fail
    "401 (key revoked)": {"status": 401, "code": 20003},
    "403 (account suspended)": {"status": 403, "code": 20005},
    "400 (STOP, 21610)": {"status": 400, "code": 21610},
    "400 (no number, 21211)": {"status": 400, "code": 21211},
    "400 (queue full, 21611)": {"status": 400, "code": 21611},
    "408": {"status": 408},
    "429": {"status": 429},
    "429 (Retry-After 3600)": {"status": 429, "retry_after": 3600},
    "500": {"status": 500},
    "503": {"status": 503},
    "504": {"status": 504},
}


class Cell(NamedTuple):
    """What one sign-in brought."""

    texts: int
    emails: int
    seconds: float  # of the function
    is_retried: bool  # the function raised, so that Lambda tries again

    @property
    def has_channel(self) -> bool:
        return self.texts + self.emails > 0 and self.seconds < FUNCTION_SECONDS

    def __str__(self) -> str:
        what = "+".join(
            name for name, count in (("text", self.texts), ("mail", self.emails)) if count
        )
        retry = "*" if self.is_retried else ""
        return f"{what or '-'}{retry} {self.seconds:.0f}s"


@pytest.fixture(autouse=True)
def scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten all limits by the same factor."""
    for module, names in (
        (dependencies, ("CALL_SECONDS", "QUICK_CALL_SECONDS", "SEARCH_CALL_SECONDS")),
        (delivery, ("TEXTS_SECONDS", "EMAIL_SECONDS")),
        (sms, ("ATTEMPT_SECONDS", "MIN_ATTEMPT_SECONDS")),
        (sms, ("CONNECT_TIMEOUT_SECONDS", "READ_TIMEOUT_SECONDS")),
        (identity_store, ("MIN_SECONDS_FOR_LOOKUP",)),
        (second_look, ("MIN_SECONDS_FOR_PAGE",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name) * SCALE)
    monkeypatch.setattr(sms, "PAUSE_SECONDS", SCALE)
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


class Installation:
    """The function with its real clients of AWS; each service is at an address of its own."""

    lock = threading.Lock()  # around the environment variable
    numbers = itertools.count(1)

    def __init__(self, stack: ExitStack, services: tuple[str, ...], fault: str) -> None:
        self.number = next(self.numbers)
        self.world = World()
        self.world.logs.raw_copies = [event("iam-user-signs-in-with-mfa")]
        self.world.identity_stores.names[self.store, self.user] = "anaya"
        self.twilio = stack.enter_context(TwilioServer.start(credentials=KEYS))
        self.clock: Callable[[], float] = lambda: NOW
        self.clients: dict[Any, Any] = {}
        aws = loopback_aws.serve(loopback_aws.LoopbackAws(self.world))
        self.urls: dict[str, str] = {"": stack.enter_context(aws)}
        self.twilio_url = self.twilio.url
        for service in services:
            self._break(stack, service, fault)
        for service in ("dynamodb", "secretsmanager", "sns", "ssm", "sqs", "logs"):
            self.client(service)
            self.client(service, quick=True)
        self.client("identitystore", region="eu-west-1", quick=True)

    @property
    def store(self) -> str:
        return f"d-{self.number:010}"

    @property
    def user(self) -> str:
        return "544894e8-80c1-707f-60e3-3ba6510dfac1"

    def _break(self, stack: ExitStack, service: str, fault: str) -> None:
        if service == "clock":
            self.clock = CLOCK_FAULTS[fault]()
        elif service == "twilio" and fault == "slow":
            self.twilio.fail(delay_seconds=SLOW_SECONDS * SCALE, times=2)
        elif service == "twilio" and fault == "denied":
            self.twilio.fail(401, 20003, times=9)
        elif service == "twilio":
            self.twilio_url = stack.enter_context(faulty_server.start(fault)).url
        elif fault == "slow":
            aws = loopback_aws.LoopbackAws(self.world, SLOW_SECONDS * SCALE)
            self.urls[service] = stack.enter_context(loopback_aws.serve(aws))
        else:
            self.urls[service] = stack.enter_context(faulty_server.start(fault)).url

    def client(self, service: str, *, region: str = "", quick: bool = False) -> Any:
        key = (service, region, quick)
        with self.lock:
            if key not in self.clients:
                os.environ["AWS_ENDPOINT_URL"] = self.urls.get(service, self.urls[""])
                try:
                    self.clients[key] = dependencies._make_client(service, region, quick=quick)
                finally:
                    del os.environ["AWS_ENDPOINT_URL"]
        return self.clients[key]

    def receive(self, sign_in: Any) -> Cell:
        """Process an event as Lambda would; count what it brought."""
        start = time.monotonic()

        def seconds_left() -> float:
            return FUNCTION_SECONDS * SCALE - (time.monotonic() - start)

        own = {
            "NAME_PREFIX": f"installation-{self.number}",
            "TWILIO_SECRET_ARN": f"{ENVIRONMENT['TWILIO_SECRET_ARN']}-{self.number}",
            "TWILIO_BASE_URL": self.twilio_url,
        }
        settings = Settings.load({**ENVIRONMENT, **own})
        is_retried = False
        try:
            process(sign_in, Dependencies(settings, self.clock, self.client, seconds_left))
        except Exception:  # noqa: BLE001 - any error makes Lambda retry
            is_retried = True
        seconds = (time.monotonic() - start) / SCALE
        return Cell(len(self.twilio.messages), len(self.world.topic.emails), seconds, is_retried)


def make_sign_in(installation: Installation, services: tuple[str, ...]) -> Any:
    """Return a sign-in that uses everything; for the logs, a right password's second look."""
    if services == ("logs",):
        step = event("second-factor-is-asked-for")
        step["detail"]["sourceIPAddress"] = "192.0.2.66"
        return queue_delivery({"later": "second-look", "content": step}, "later")
    sign_in = event("identity-center-user-signs-in-with-totp")
    arn = f"arn:aws:identitystore::444455556666:identitystore/{installation.store}"
    sign_in["detail"]["userIdentity"]["onBehalfOf"]["identityStoreArn"] = arn
    sign_in["detail"]["sourceIPAddress"] = "192.0.2.66"
    return sign_in


def try_fault(name: str, fault: str) -> Cell:
    with ExitStack() as stack:
        installation = Installation(stack, DEPENDENCIES[name], fault)
        return installation.receive(make_sign_in(installation, DEPENDENCIES[name]))


def try_answer(name: str) -> Cell:
    with ExitStack() as stack:
        installation = Installation(stack, (), "")
        installation.twilio.fail(**TWILIO_ANSWERS[name], times=9)
        return installation.receive(make_sign_in(installation, ()))


@contextlib.contextmanager
def show(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    with capsys.disabled():
        print()
        yield


def print_table(cells: dict[tuple[str, str], Cell]) -> None:
    width = max(map(len, DEPENDENCIES))
    print(" " * width, *(f"{fault:>20}" for fault in FAULTS))
    for name in DEPENDENCIES:
        print(f"{name:{width}}", *(f"{cells[name, fault]!s:>20}" for fault in FAULTS))
    silent = [key for key, cell in cells.items() if not cell.has_channel]
    print("* the function raised: Lambda tries again")
    unexpected = [key for key in silent if key not in NO_CHANNEL_LEFT]
    print(f"neither text nor e-mail: {len(unexpected)} of {len(cells) - len(NO_CHANNEL_LEFT)};")
    for key in silent:
        print(f"  no channel can work, and it is retried: {', '.join(key)}: {NO_CHANNEL_LEFT[key]}")


def test_no_fault_of_one_dependency_keeps_both_channels_silent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys = list(itertools.product(DEPENDENCIES, FAULTS))
    with ThreadPoolExecutor(16) as pool:
        cells = dict(zip(keys, pool.map(lambda key: try_fault(*key), keys), strict=True))
    with show(capsys):
        print_table(cells)
    for key, cell in cells.items():
        assert cell.seconds < FUNCTION_SECONDS, key
        assert cell.has_channel is (key not in NO_CHANNEL_LEFT), key
        if not cell.has_channel:
            assert cell.is_retried, key
    both = Cell(2, 1, 0, is_retried=False)
    for name in ("SSM", "identity store", "logs", "queue", "ledger and state"):
        for fault in FAULTS:  # none of them is needed for an alert
            assert cells[name, fault][:2] == both[:2], (name, fault)
    for fault in FAULTS:
        assert cells["topic", fault].texts == 2
        assert cells["secret", fault].emails == 1
        assert cells["Twilio", fault].emails == 1


def test_no_answer_of_twilio_keeps_the_email_back(capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(16) as pool:
        cells = dict(zip(TWILIO_ANSWERS, pool.map(try_answer, TWILIO_ANSWERS), strict=True))
    with show(capsys):
        for name, cell in cells.items():
            print(f"Twilio answers {name:24} {cell}")
    for name, cell in cells.items():
        assert cell.has_channel, name
        assert (cell.texts, cell.emails) == (0, 1), name
        is_transient = name.startswith(("401", "403", "408", "429", "5")) or "21611" in name
        assert cell.is_retried is is_transient, name
