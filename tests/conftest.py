"""What holds for every test: no way into a real AWS account, and one local AWS emulator a test process."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import botocore.httpsession
import pytest

from tests.support.measured import Floors
from tests.support.repository import ROOT
from tooling.environment import ensure
from tooling.signals import ENDING_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tooling.local.emulator import Emulator
    from tooling.local.twilio_server import TwilioServer

SLOW = ("terraform", "scan", "end_to_end", "local")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class RealEndpointError(BaseException):
    """A test tried to reach something that is not on this machine; nothing may catch that."""


def pytest_configure(config: pytest.Config) -> None:
    """Settle what holds for the whole process.

    Ctrl-C reaches what the tests start: a shell's background job is begun with it ignored, and hands that on.
    Garbage is looked for less often: with a thousand tests in memory that takes a fifth of the time.
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("cov_source", None) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Floors(ROOT / "dist" / "coverage"))


@pytest.hookimpl(tryfirst=True)  # before marks choose
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count a test that talks to the loopback Twilio as one of parts held together: the unit tests go without.

    Files with slow tests come first, so that no process has one left when the others are done.
    """
    for item in items:
        if "loopback" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.joint)
    slow = {item.path for item in items if any(map(item.get_closest_marker, SLOW))}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Ctrl-C as Python has it, the others as deadly as they are; whatever a test does to them ends with it.

    Whoever runs the tests may ignore some of them, as nohup does.
    """
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    for number in ENDING_SIGNALS:
        signal.signal(
            number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        )
    yield
    for number, old in before.items():
        signal.signal(number, old)


@pytest.fixture(scope="session", autouse=True)
def no_real_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the AWS configuration of the person who runs the tests, and refuse every endpoint but loopback."""
    folder = tmp_path_factory.mktemp("aws")
    sent = botocore.httpsession.URLLib3Session.send

    def send(session: Any, request: Any) -> Any:
        if urlsplit(request.url).hostname not in LOOPBACK:
            raise RealEndpointError(request.url)
        return sent(session, request)

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, str(folder / "none"))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setattr(botocore.httpsession.URLLib3Session, "send", send)
        yield


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The local AWS emulator; a test takes an account of its own on it."""
    from tooling.local.emulator import Emulator

    folder = tmp_path_factory.mktemp("cloud")
    with Emulator.start(ensure("local"), ensure("runtime"), folder / "state") as running:
        yield running


@pytest.fixture(scope="session")
def twilio_server() -> Iterator[TwilioServer]:
    """The loopback Twilio."""
    from tooling.local import rehearsal
    from tooling.local.twilio_server import TwilioServer

    with TwilioServer.start(
        accounts={rehearsal.TWILIO["api_key_sid"]: rehearsal.TWILIO["api_key_secret"]}
    ) as running:
        yield running
