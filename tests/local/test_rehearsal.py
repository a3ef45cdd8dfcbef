"""Failures of a rehearsal: no emulator, or no rule that matches a record."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.support.aws import ACCOUNT, REGION, account
from tests.support.repository import ROOT
from tooling.deploy.bootstrap import TerraformPaths
from tooling.errors import FailedError
from tooling.local import rehearsal
from tooling.local.emulator import Emulator, EmulatorError
from tooling.local.rehearsal import LocalDeployment
from tooling.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

RULE = {"Name": "signwatch-console-sign-in", "EventPattern": '{"source": ["aws.signin"]}'}


class FakeEventBridge:
    """EventBridge with one rule, which matches by source only."""

    def list_rules(self, **request: str) -> dict[str, Any]:
        assert request == {"NamePrefix": "signwatch"}
        return {"Rules": [RULE]}

    def test_event_pattern(self, **request: str) -> dict[str, bool]:
        pattern, event = json.loads(request["EventPattern"]), json.loads(request["Event"])
        return {"Result": event["source"] in pattern["source"]}


class FakeEmulator:
    """An emulator that keeps the events it is sent and delivers none of them."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, events: list[Any]) -> list[dict[str, Any]]:
        self.sent += events
        return [{"delivered": False, "reason": "no trail logs here"}]


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> FakeEmulator:
    monkeypatch.setattr(LocalDeployment, "as_owner", lambda _: account(events=FakeEventBridge()))
    return FakeEmulator()


def failing_sign_in(emulator: Any, source: str, name: str) -> FailedError:
    """Send a record that does not reach the function; return the error."""
    twilio_server: Any = SimpleNamespace(messages=[])
    event = rehearsal.as_event_now({"eventSource": source, "eventName": name}, ACCOUNT, REGION)
    settings = Settings(account=ACCOUNT, region=REGION, prefix="signwatch")
    deployment = LocalDeployment(
        emulator, twilio_server, settings, TerraformPaths(Path("terraform"), Path("state"))
    )
    with pytest.raises(FailedError) as raised:
        deployment.sign_in(event)
    return raised.value


def test_record_that_no_rule_matches_fails_before_anything_is_sent(
    emulator: FakeEmulator,
) -> None:
    error = failing_sign_in(emulator, "ec2.amazonaws.com", "RunInstances")
    assert str(error).startswith(
        "RunInstances of ec2.amazonaws.com: no rule hands it to the function"
    )
    assert "./inv coverage" in error.remedy
    assert error.exit_code == 1
    assert emulator.sent == []


def test_record_that_a_rule_matches_is_sent_and_its_failure_is_reported(
    emulator: FakeEmulator,
) -> None:
    error = failing_sign_in(emulator, "signin.amazonaws.com", "ConsoleLogin")
    assert error.what == "was not delivered: no trail logs here"
    assert [event["detail"]["eventName"] for event in emulator.sent] == ["ConsoleLogin"]


def test_emulator_that_does_not_start_is_a_failure_with_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def refuse(*_: Any, **__: Any) -> Iterator[NoReturn]:
        raise EmulatorError("it ended at once; its last lines:\nno such module")
        yield

    monkeypatch.setattr("tooling.environment.ensure", lambda *_: ROOT)
    monkeypatch.setattr(Emulator, "start", refuse)
    with (
        pytest.raises(FailedError, match="the local AWS emulator: it ended at once") as raised,
        rehearsal.start(tmp_path),
    ):
        pass
    assert raised.value.exit_code == 1
    assert "no such module" in raised.value.what
