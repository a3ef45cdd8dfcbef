"""Set-up of every test: no way into a real AWS account, one local AWS emulator a process."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import botocore.httpsession
import pytest

from tests.support.coverage_floors import CoverageFloors
from tests.support.repository import ROOT
from tooling import provider_mirror
from tooling.checks.authorization_reference import Reference
from tooling.environment import ensure
from tooling.signals import ENDING_SIGNALS
from tooling.terraform import MIRROR_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tooling.local.emulator import Emulator
    from tooling.local.twilio_server import TwilioServer

pytest.register_assert_rewrite("tests.support.command_line")  # its asserts then show their values
SLOW_MARKS = ("terraform", "scan", "end_to_end", "local")
TERRAFORM_MARKS = ("terraform", "end_to_end", "local")
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")


class RealEndpointError(BaseException):
    """A test tried to reach another machine. No code under test may catch this."""


def pytest_configure(config: pytest.Config) -> None:
    """Set up the process.

    A shell starts background jobs with Ctrl-C ignored; programs that tests start would inherit it.
    Garbage is collected less often: with a thousand tests in memory it takes a fifth of the time.
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("cov_source", None) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(CoverageFloors(ROOT / "dist" / "coverage"))


@pytest.hookimpl(tryfirst=True)  # before marks select tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use the loopback Twilio server as joint: the unit tests run without them.

    Files with slow tests come first, so that no process has one left when the others are done.
    """
    for item in items:
        if "loopback" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.joint)
    slow_files = {item.path for item in items if any(map(item.get_closest_marker, SLOW_MARKS))}
    items.sort(key=lambda item: item.path not in slow_files)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Set the default handlers of the ending signals, and restore the present ones after the test.

    The tests may have been started with some of them ignored, as nohup does.
    """
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def reference() -> Reference:
    """AWS's Service Authorization Reference."""
    return Reference.load(ensure("scan", ROOT))


@pytest.fixture(scope="session", autouse=True)
def no_real_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the AWS configuration of this machine, and refuse every endpoint but loopback."""
    folder = tmp_path_factory.mktemp("aws")
    original_send = botocore.httpsession.URLLib3Session.send

    def send(session: Any, request: Any) -> Any:
        if urlsplit(request.url).hostname not in LOOPBACK_HOSTS:
            raise RealEndpointError(request.url)
        return original_send(session, request)

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, str(folder / "none"))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setattr(botocore.httpsession.URLLib3Session, "send", send)
        yield


@pytest.fixture(scope="session", autouse=True)
def terraform_provider(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let all tests take Terraform's provider from one mirror; ``./inv test`` has chosen it."""
    with pytest.MonkeyPatch.context() as patch:
        marks = {mark.name for item in request.session.items for mark in item.iter_markers()}
        if marks.intersection(TERRAFORM_MARKS):
            mirror = provider_mirror.ensure(ROOT, os.environ, announce=print)
            patch.setenv(MIRROR_VARIABLE, str(mirror))
        yield


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The local AWS emulator; a test takes an account of its own on it."""
    from tooling.local.emulator import Emulator

    state = tmp_path_factory.mktemp("cloud") / "state"
    with Emulator.start(ensure("local"), ensure("runtime"), state) as running:
        yield running


@pytest.fixture(scope="session")
def twilio_server() -> Iterator[TwilioServer]:
    """The loopback Twilio server."""
    from tooling.local import rehearsal
    from tooling.local.twilio_server import TwilioServer

    credentials = {rehearsal.TWILIO["api_key_sid"]: rehearsal.TWILIO["api_key_secret"]}
    with TwilioServer.start(credentials=credentials) as running:
        yield running
