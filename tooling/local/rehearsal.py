"""Signwatch on the local AWS emulator: brought up by the same code that serves a real account, then watched at work.

The demo shows it to a person and the end-to-end tests ask it questions. Nothing here is used for a real account.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooling.deploy import account, bootstrap, package, secret, stack
from tooling.environment import ensure
from tooling.errors import FailedError
from tooling.local.emulator import Emulator, EmulatorError
from tooling.local.twilio_server import TwilioServer
from tooling.settings import ROOT, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tooling.deploy.account import Account
    from tooling.deploy.package import Artifacts
    from tooling.deploy.stack import Console

ACCOUNT = "111122223333"
TWILIO: dict[str, Any] = {
    "account_sid": "AC" + "0" * 31 + "1",
    "api_key_sid": "SK" + "0" * 31 + "2",
    "api_key_secret": "-".join(("for", "the", "loopback", "only")),
    "sender": "+15005550006",
    "recipients": ["+15005550009"],
}
LONGEST = 30.0  # seconds that a sign-in may take from the bus to the function's log line


@dataclass(frozen=True)
class Passage:
    """One sign-in's way through: the rules that matched, the raw copies, the function's decision, the texts."""

    event_id: str
    rules: tuple[str, ...]
    raw_copies: int
    decision: Mapping[str, Any]
    texts: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Rehearsal:
    """A local AWS emulator, a loopback Twilio, and the settings of one account on them."""

    emulator: Emulator
    twilio_server: TwilioServer
    settings: Settings
    place: bootstrap.Place

    def enter(self) -> Account:
        """Open the account as the person who owns it."""
        return account.open(self.settings)

    def as_deployer(self) -> tuple[Account, bootstrap.Bootstrap]:
        """Open the account as the deploy role that the bootstrap made."""
        aws = self.enter()
        made = bootstrap.outputs(aws, self.settings.prefix)
        return account.assume(aws, made.deploy_role_arn), made

    def bootstrap(
        self, announce: Callable[[str], None], show: Callable[[list[bootstrap.Change]], None]
    ) -> bootstrap.Bootstrap:
        """Run the bootstrap."""
        return bootstrap.apply(
            self.settings, self.enter(), self.place, announce=announce, show=show
        )

    def deploy(self, artifacts: Artifacts, console: Console, **parameters: str) -> dict[str, str]:
        """Deploy the stack with the settings' parameters and these; return its outputs."""
        aws, made = self.as_deployer()
        chosen = replace(self.settings, parameters={**self.settings.parameters, **parameters})
        return stack.deploy(aws, chosen, made, artifacts, console=console)

    def fill_secret(self, **changes: Any) -> None:
        """Put the loopback Twilio's credentials into the stack's secret."""
        aws, _ = self.as_deployer()
        secret.put(aws, stack.outputs(aws, self.settings)["TwilioSecretArn"], {**TWILIO, **changes})

    def sign_in(self, event: Mapping[str, Any]) -> Passage:
        """Let CloudTrail record ``event`` and follow it to the function's decision.

        Raises FailedError when it does not come through; where no rule takes it, before it is sent and waited for.
        """
        rules = self._matching(event)
        if not rules:
            raise _unheard(event["detail"])
        start, before = time.monotonic(), len(self.twilio_server.messages)
        sent = self.emulator.send([dict(event)])[0]
        event_id = str(event["detail"].get("eventID", ""))
        if not sent["delivered"]:
            raise FailedError(
                f"event {event_id}", f"was not delivered: {sent['reason']}", "is the trail logging?"
            )
        outputs = stack.outputs(self.enter(), self.settings)
        logs = self.enter().client("logs")
        decision = self._decision(logs, outputs["FunctionLogGroupName"], event_id)
        seconds = time.monotonic() - start
        copies = self._until(lambda: _lines(logs, outputs["RawEventLogGroupName"], event_id))
        texts = tuple(message["body"] for message in self.twilio_server.messages[before:])
        return Passage(event_id, rules, len(copies), decision, texts, seconds)

    def log_lines(self) -> list[str]:
        """Return everything that the function has logged."""
        aws = self.enter()
        return _lines(
            aws.client("logs"), stack.outputs(aws, self.settings)["FunctionLogGroupName"], ""
        )

    def _decision(self, logs: Any, group: str, event_id: str) -> Mapping[str, Any]:
        def look() -> list[Any]:
            lines = (_json(line) for line in _lines(logs, group, event_id))
            return [
                line for line in lines if line.get("event_id") == event_id and "verdict" in line
            ]

        found = self._until(look)
        if not found:
            said = "\n".join(_lines(logs, group, "")[-20:])
            what = f"the function made no decision within {LONGEST:.0f} s; it logged:\n{said}"
            raise FailedError(f"event {event_id}", what, "read the log above")
        decision: Mapping[str, Any] = found[-1]
        return decision

    def _matching(self, event: Mapping[str, Any]) -> tuple[str, ...]:
        events = self.enter().client("events")
        rules = events.list_rules(NamePrefix=self.settings.prefix)["Rules"]
        told = json.dumps(event)
        asked = [
            (rule, events.test_event_pattern(EventPattern=rule["EventPattern"], Event=told))
            for rule in rules
        ]
        return tuple(rule["Name"] for rule, answer in asked if answer["Result"])

    @staticmethod
    def _until(look: Callable[[], list[Any]]) -> list[Any]:
        end = time.monotonic() + LONGEST
        while not (found := look()) and time.monotonic() < end:
            time.sleep(0.05)
        return found


@contextmanager
def begin(
    folder: Path,
    *,
    root: Path = ROOT,
    account_id: str = ACCOUNT,
    port: int = 0,
    parameters: Mapping[str, str] | None = None,
) -> Iterator[Rehearsal]:
    """Start the local AWS emulator and the loopback Twilio with all their files below ``folder``; stop both at the end.

    Meanwhile this process's own AWS settings point at the laptop alone. Raises FailedError when the local AWS emulator does
    not start, or dies on the way.
    """
    keys = {TWILIO["api_key_sid"]: TWILIO["api_key_secret"]}
    with (
        _cloud(folder, root, port) as emulator,
        TwilioServer.start(accounts=keys) as twilio_server,
        prepare(
            emulator, twilio_server, folder, root=root, account_id=account_id, parameters=parameters
        ) as rehearsal,
    ):
        yield rehearsal


@contextmanager
def open_empty_emulator(folder: Path, *, root: Path = ROOT) -> Iterator[Account]:
    """Start the local AWS emulator with nothing on it, its files below ``folder``, for one who only asks it; stop it after.

    Meanwhile this process's own AWS settings point at it alone. Raises FailedError as ``begin`` does.
    """
    settings = Settings.load(account=ACCOUNT, config=os.devnull, root=root)
    with (
        _cloud(folder, root, 0) as emulator,
        _environment(emulator.environment(settings.account, settings.region), folder),
    ):
        yield account.open(settings)


@contextmanager
def open_eventbridge() -> Iterator[Any]:
    """Yield an EventBridge client of an empty local AWS emulator that runs meanwhile."""
    with (
        tempfile.TemporaryDirectory(prefix="signwatch-coverage-") as folder,
        open_empty_emulator(Path(folder)) as aws,
    ):
        yield aws.client("events")


@contextmanager
def _cloud(folder: Path, root: Path, port: int) -> Iterator[Emulator]:
    local, runtime = ensure("local", root), ensure("runtime", root)
    try:
        with Emulator.start(local, runtime, folder / "cloud", port=port) as emulator:
            yield emulator
    except EmulatorError as error:
        raise FailedError(
            "the local AWS emulator", str(error), "read what it said, then run the same word again"
        ) from error


@contextmanager
def prepare(
    emulator: Emulator,
    twilio_server: TwilioServer,
    folder: Path,
    *,
    root: Path = ROOT,
    account_id: str = ACCOUNT,
    parameters: Mapping[str, str] | None = None,
) -> Iterator[Rehearsal]:
    """Prepare an account on a local AWS emulator that runs already."""
    settings = Settings.load(account=account_id, config=os.devnull, root=root)
    mine = {
        "AlertEmail": "owner@example.com",
        "TwilioBaseUrl": twilio_server.url,
        **(parameters or {}),
    }
    trust = {"trusted_principal_arns": [f"arn:aws:iam::{account_id}:root"], "old_version_days": 0}
    settings = replace(settings, parameters=mine, bootstrap=trust)
    place = bootstrap.Place(folder / "terraform", folder / "terraform.tfstate")
    with _environment(emulator.environment(account_id, settings.region), folder):
        yield Rehearsal(emulator, twilio_server, settings, place)


def build_artifacts(root: Path, announce: Callable[[str], None]) -> Artifacts:
    """Build the zips as ``invoke package`` does."""
    return package.build(root, root / "dist", announce=announce)


def as_event_now(record: Mapping[str, Any], account_id: str, region: str) -> dict[str, Any]:
    """Return an EventBridge event that carries ``record`` (an event or a bare CloudTrail record) as if it happened now.

    The record keeps who and where; it gets a new id, this moment, and the account and Region of the rehearsal.
    """
    detail = dict(record.get("detail", record))
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    detail |= {
        "eventID": str(uuid.uuid4()),
        "eventTime": moment,
        "recipientAccountId": account_id,
        "awsRegion": region,
    }
    kinds = {"awsapicall": "AWS API Call", "awsserviceevent": "AWS Service Event"}
    kind = kinds.get(str(detail.get("eventType", "")).lower(), "AWS Console Sign In")
    service = str(detail.get("eventSource", "")).partition(".")[0]
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": record.get("detail-type", f"{kind} via CloudTrail"),
        "source": record.get("source", f"aws.{service}"),
        "account": account_id,
        "time": moment,
        "region": region,
        "resources": [],
        "detail": detail,
    }


def _unheard(record: Mapping[str, Any]) -> FailedError:
    name = f"{record.get('eventName')} of {record.get('eventSource')}"
    what = "no rule hands it to the function, so nothing is decided and nobody is told"
    return FailedError(name, what, "./inv coverage shows which sign-ins come through")


def _lines(logs: Any, group: str, text: str) -> list[str]:
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
    return [
        event["message"] for page in pages for event in page["events"] if text in event["message"]
    ]


def _json(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def _environment(values: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Replace every AWS setting of this process by ``values``, and put the old ones back."""
    (folder / "aws-config").write_text("")
    kept = dict(os.environ)
    for name in [
        name for name in os.environ if name.startswith("AWS_") and name != "AWS_CA_BUNDLE"
    ]:
        del os.environ[name]
    files = {
        name: str(folder / "aws-config")
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
    }
    os.environ.update({**values, **files})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)
