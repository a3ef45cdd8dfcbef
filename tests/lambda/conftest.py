"""What the tests of the function share: a loopback Twilio, and a world of stand-ins with an empty cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from signwatch.alerting import sms
from signwatch.enrichment import allowance_store, identity_store
from tests.support.dependencies import KEYS, World
from tests.support.twilio import Twilio
from tooling.local.twilio_server import TwilioServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def loopback() -> Iterator[TwilioServer]:
    with TwilioServer.start(accounts=KEYS) as running:
        yield running


@pytest.fixture
def twilio(loopback: TwilioServer) -> Twilio:
    return Twilio(loopback, len(loopback.messages))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret, no network and no name from an earlier test, and no waiting between two attempts."""
    monkeypatch.setattr(identity_store, "_cache", {})
    monkeypatch.setattr(sms, "_cache", {})
    monkeypatch.setattr(allowance_store, "_copies", {})
    monkeypatch.setattr(sms, "PAUSE", 0.0)
