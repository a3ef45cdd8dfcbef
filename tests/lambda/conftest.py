"""Fixtures of the function's tests: a loopback Twilio server, stand-ins for AWS, empty caches."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest

from signwatch import dependencies
from signwatch.alerting import sms
from signwatch.enrichment import allowance_store, correlation, identity_store
from tests.support.dependencies import KEYS, NOW, World
from tests.support.twilio import Twilio
from tooling.local.twilio_server import TwilioServer

if TYPE_CHECKING:
    from collections.abc import Iterator

LATER = NOW + 365 * 24 * 3600


@pytest.fixture(scope="session")
def twilio_server() -> Iterator[TwilioServer]:
    with TwilioServer.start(credentials=KEYS) as server:
        yield server


@pytest.fixture
def twilio(twilio_server: TwilioServer, monkeypatch: pytest.MonkeyPatch) -> Twilio:
    """Return the server without messages; its clock is ahead of that of every test."""
    twilio_server.forget_messages()  # the function looks for its texts in Twilio's list
    monkeypatch.setattr("tooling.local.twilio_server.formatdate", lambda: formatdate(LATER))
    return Twilio(twilio_server)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def clear_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what an earlier test cached, and the pauses between attempts."""
    monkeypatch.setattr(dependencies, "_clients", {})
    monkeypatch.setattr(identity_store, "_cache", {})
    monkeypatch.setattr(correlation, "_uncounted_alerts", {})
    monkeypatch.setattr(sms, "_cache", {})
    monkeypatch.setattr(allowance_store, "_cache", {})
    monkeypatch.setattr(sms, "PAUSE_SECONDS", 0.0)
