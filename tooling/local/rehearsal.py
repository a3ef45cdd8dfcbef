"""Signwatch on the local AWS emulator, deployed by the code that deploys to a real account.

The demo shows it to a person, and the end-to-end tests use it. Nothing here touches a real account.
The loopback Twilio is a server of this machine that keeps the texts instead of sending them.
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
from urllib.parse import urlsplit

from tooling import environment, invocation
from tooling.deploy import account, bootstrap, package, secret, stack
from tooling.errors import FailedError
from tooling.local.emulator import Emulator, EmulatorError
from tooling.local.twilio_server import TwilioServer
from tooling.settings import ROOT, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tooling.deploy.account import Account
    from tooling.deploy.package import Artifacts
    from tooling.deploy.stack import Display

ACCOUNT = "111122223333"
TWILIO: dict[str, Any] = {
    "account_sid": "AC" + "0" * 31 + "1",
    "api_key_sid": "SK" + "0" * 31 + "2",
    "api_key_secret": "-".join(("for", "the", "loopback", "only")),
    "sender": "+15005550006",
    "recipients": ["+15005550009"],
}
# CloudTrail User Guide, "AWS Management Console sign-in events"
SIMULATED_RECORD: dict[str, Any] = {
    "eventSource": "signin.amazonaws.com",
    "eventName": "ConsoleLogin",
    "eventType": "AwsConsoleSignIn",
    "sourceIPAddress": "192.0.2.200",
    "responseElements": {"ConsoleLogin": "Success"},
    "additionalEventData": {"MFAUsed": "Yes"},
}
SIGN_IN_TIMEOUT_SECONDS = 30.0  # from the event bus to the function's log line
LOG_LINES_IN_ERRORS = 20
MAILBOX_NAME = "demo-mailbox"


@dataclass(frozen=True)
class SignInResult:
    """What one sign-in led to.

    rules: the names of the rules that match.
    raw_copies: how many copies of the event the log group of raw events has.
    decision: the function's log entry with the verdict.
    texts: the texts that were sent.
    seconds: from the event to the decision.
    """

    event_id: str
    rules: tuple[str, ...]
    raw_copies: int
    decision: Mapping[str, Any]
    texts: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Mailbox:
    """A queue that gets what the e-mail subscribers of the topic get."""

    sqs: Any  # a boto3 client
    url: str

    @classmethod
    def subscribe(cls, aws: Account, topic_arn: str) -> Mailbox:
        """Return a new mailbox that is subscribed to the topic."""
        sqs = aws.client("sqs")
        arn = f"arn:aws:sqs:{aws.region}:{aws.account}:{MAILBOX_NAME}"
        allow = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        queue = sqs.create_queue(QueueName=MAILBOX_NAME, Attributes={"Policy": policy})
        url = queue["QueueUrl"]
        aws.client("sns").subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn)
        return cls(sqs, url)

    def take(self) -> list[dict[str, str]]:
        """Remove and return the e-mails, as objects with ``Subject`` and ``Message``."""
        messages = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)
        emails = []
        for message in messages.get("Messages", []):
            self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
            emails.append(json.loads(message["Body"]))
        return emails


@dataclass(frozen=True)
class LocalDeployment:
    """One account on a local AWS emulator, with a loopback Twilio server and its settings."""

    emulator: Emulator
    twilio_server: TwilioServer
    settings: Settings
    paths: bootstrap.TerraformPaths

    def as_owner(self) -> Account:
        """Return a connection to the account with the rights of its root user."""
        return account.open(self.settings)

    def as_deployer(self) -> tuple[Account, bootstrap.Bootstrap]:
        """Return a connection with the rights of the deploy role, and the bootstrap's outputs."""
        aws = self.as_owner()
        outputs = bootstrap.outputs(aws, self.settings.prefix)
        return account.assume_role(aws, outputs.deploy_role_arn), outputs

    def bootstrap(
        self,
        announce: Callable[[str], None],
        show: Callable[[list[bootstrap.Change]], None],
        *,
        adopt: bool = False,
    ) -> bootstrap.Bootstrap:
        """Make the buckets and roles that a deployment needs, with Terraform; return the outputs.

        ``show`` gets the planned changes, ``announce`` each line of progress. With ``adopt``, what
        exists is imported into the state.
        """
        return bootstrap.apply(
            self.settings,
            self.as_owner(),
            self.paths,
            announce=announce,
            show=show,
            approve=approve,
            adopt=adopt,
        )

    def deploy(self, artifacts: Artifacts, display: Display) -> dict[str, str]:
        """Deploy the stack with the settings' parameters; return its outputs."""
        aws, outputs = self.as_deployer()
        return stack.deploy(aws, self.settings, outputs, artifacts, display=display)

    def fill_secret(self, **changes: Any) -> None:
        """Put the loopback Twilio's credentials, with ``changes``, into the stack's secret."""
        aws, _ = self.as_deployer()
        secret.put(aws, stack.outputs(aws, self.settings)["TwilioSecretArn"], {**TWILIO, **changes})

    def sign_in(self, event: Mapping[str, Any]) -> SignInResult:
        """Let CloudTrail record ``event``, and wait for the function's decision.

        Raises FailedError if no rule matches (the event is then not sent), if no trail delivers the
        event, or if the function does not decide in time.
        """
        rules = self._matching_rules(event)
        if not rules:
            raise _no_rule_error(event["detail"])
        start, texts_before = time.monotonic(), len(self.twilio_server.messages)
        [answer] = self.emulator.send([dict(event)])
        event_id = str(event["detail"].get("eventID", ""))
        if not answer["delivered"]:
            what = f"was not delivered: {answer['reason']}"
            raise FailedError(f"event {event_id}", what, "is the trail logging?")
        aws = self.as_owner()
        outputs, logs = stack.outputs(aws, self.settings), aws.client("logs")
        decision = self._wait_for_decision(logs, outputs["FunctionLogGroupName"], event_id)
        seconds = time.monotonic() - start
        raw_group = outputs["RawEventLogGroupName"]
        raw_copies = self.wait_until(lambda: _read_log_lines(logs, raw_group, event_id))
        texts = tuple(message["body"] for message in self.twilio_server.messages[texts_before:])
        return SignInResult(event_id, rules, len(raw_copies), decision, texts, seconds)

    def log_lines(self) -> list[str]:
        """Return all log lines of the function."""
        aws = self.as_owner()
        group = stack.outputs(aws, self.settings)["FunctionLogGroupName"]
        return _read_log_lines(aws.client("logs"), group)

    def _wait_for_decision(self, logs: Any, group: str, event_id: str) -> Mapping[str, Any]:
        """Wait for the function's log entry with its verdict on this event."""

        def find_decisions() -> list[dict[str, Any]]:
            """Return the log entries so far that have a verdict on this event."""
            entries = [_parse_log_line(line) for line in _read_log_lines(logs, group, event_id)]
            return [
                entry
                for entry in entries
                if entry.get("event_id") == event_id and "verdict" in entry
            ]

        decisions = self.wait_until(find_decisions)
        if not decisions:
            last_lines = "\n".join(_read_log_lines(logs, group)[-LOG_LINES_IN_ERRORS:])
            limit = f"{SIGN_IN_TIMEOUT_SECONDS:.0f} s"
            what = f"the function made no decision within {limit}; it logged:\n{last_lines}"
            raise FailedError(f"event {event_id}", what, "read the log above")
        decision: Mapping[str, Any] = decisions[-1]
        return decision

    def _matching_rules(self, event: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of this stack's rules that match the event."""
        events, text = self.as_owner().client("events"), json.dumps(event)
        return tuple(
            rule["Name"]
            for rule in events.list_rules(NamePrefix=self.settings.prefix)["Rules"]
            if events.test_event_pattern(EventPattern=rule["EventPattern"], Event=text)["Result"]
        )

    @staticmethod
    def wait_until(find: Callable[[], list[Any]]) -> list[Any]:
        """Call ``find`` until its list is not empty, or time is up; return the last list."""
        end = time.monotonic() + SIGN_IN_TIMEOUT_SECONDS
        while True:
            results = find()
            if results or time.monotonic() >= end:
                return results
            time.sleep(0.05)


@contextmanager
def start(
    folder: Path,
    *,
    root: Path = ROOT,
    port: int = 0,
    parameters: Mapping[str, str] | None = None,
) -> Iterator[LocalDeployment]:
    """Start the local AWS emulator and the loopback Twilio; stop both at the end.

    All their files are below ``folder``. Meanwhile this process's AWS settings point at the
    emulator only. Raises FailedError if the emulator does not start, or fails later.
    """
    credentials = {TWILIO["api_key_sid"]: TWILIO["api_key_secret"]}
    with (
        _start_emulator(folder, root, port) as emulator,
        TwilioServer.start(credentials=credentials) as twilio_server,
        use_account(emulator, twilio_server, folder, root=root, parameters=parameters) as local,
    ):
        yield local


@contextmanager
def use_account(
    emulator: Emulator,
    twilio_server: TwilioServer,
    folder: Path,
    *,
    root: Path = ROOT,
    account_id: str = ACCOUNT,
    parameters: Mapping[str, str] | None = None,
) -> Iterator[LocalDeployment]:
    """Yield an account of a running emulator; this process's AWS settings point at it meanwhile.

    ``parameters`` are the stack's, in addition to those that every local deployment needs.
    """
    settings = Settings.load(account=account_id, config=os.devnull, root=root)
    stack_parameters = {
        "AlertEmail": "owner@example.com",
        "TwilioBaseUrl": twilio_server.url,
        **(parameters or {}),
    }
    bootstrap_variables = {
        "trusted_principal_arns": [f"arn:aws:iam::{account_id}:root"],
        "old_version_days": 0,
    }
    settings = replace(settings, parameters=stack_parameters, bootstrap=bootstrap_variables)
    paths = bootstrap.TerraformPaths(folder / "terraform", folder / "terraform.tfstate")
    with _aws_environment(emulator.environment(account_id, settings.region), folder):
        yield LocalDeployment(emulator, twilio_server, settings, paths)


def find_simulator(aws: Account) -> Callable[[], None] | None:
    """Return a function that simulates an alerting sign-in, if ``aws`` is on the local emulator.

    Return None for AWS itself.
    """
    endpoint = aws.client("events").meta.endpoint_url
    if urlsplit(endpoint).hostname != "127.0.0.1":
        return None

    def simulate() -> None:
        """Send a console sign-in from an address that no example network has."""
        record = {**SIMULATED_RECORD, "userIdentity": {"type": "IAMUser", "userName": "Anaya"}}
        Emulator(endpoint).send([as_event_now(record, aws.account, aws.region)])

    return simulate


@contextmanager
def open_eventbridge() -> Iterator[Any]:
    """Yield an EventBridge client of an empty local AWS emulator, and stop the emulator at the end.

    Raises FailedError as ``start`` does.
    """
    settings = Settings.load(account=ACCOUNT, config=os.devnull)
    with tempfile.TemporaryDirectory(prefix="signwatch-coverage-") as name:
        folder = Path(name)
        with (
            _start_emulator(folder, ROOT, port=0) as emulator,
            _aws_environment(emulator.environment(ACCOUNT, settings.region), folder),
        ):
            yield account.open(settings).client("events")


@contextmanager
def _start_emulator(folder: Path, root: Path, port: int) -> Iterator[Emulator]:
    """Run the emulator below ``folder``; ``port`` 0 takes a free one.

    Raises FailedError if it does not start or fails later.
    """
    emulator_python = environment.ensure("local", root)
    runtime_python = environment.ensure("runtime", root)
    try:
        with Emulator.start(
            emulator_python, runtime_python, folder / "emulator", port=port
        ) as emulator:
            yield emulator
    except EmulatorError as error:
        remedy = "read the emulator's last log lines, then run the same task again"
        raise FailedError("the local AWS emulator", str(error), remedy) from error


def approve(_question: str) -> None:
    """Approve everything: nothing here is a real account."""


def build_artifacts(root: Path, announce: Callable[[str], None]) -> Artifacts:
    """Build the zips as ``invoke package`` does."""
    return package.build(root, root / "dist", announce=announce)


def as_event_now(record: Mapping[str, Any], account_id: str, region: str) -> dict[str, Any]:
    """Return ``record`` (an event or a bare CloudTrail record) as an EventBridge event of now.

    It gets a new id, the current time, and this account and Region; the rest is unchanged.
    """
    detail = dict(record.get("detail", record))
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    detail |= {
        "eventID": str(uuid.uuid4()),
        "eventTime": now,
        "recipientAccountId": account_id,
        "awsRegion": region,
    }
    # EventBridge's detail-type depends on CloudTrail's eventType.
    kinds = {"awsapicall": "AWS API Call", "awsserviceevent": "AWS Service Event"}
    event_type = str(detail.get("eventType", "")).lower()
    kind = kinds.get(event_type, "AWS Console Sign In")
    service = str(detail.get("eventSource", "")).partition(".")[0]
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": record.get("detail-type", f"{kind} via CloudTrail"),
        "source": record.get("source", f"aws.{service}"),
        "account": account_id,
        "time": now,
        "region": region,
        "resources": [],
        "detail": detail,
    }


def _no_rule_error(record: Mapping[str, Any]) -> FailedError:
    """Return the error for a record that matches no rule."""
    name = f"{record.get('eventName')} of {record.get('eventSource')}"
    what = "no rule hands it to the function, so no alert can follow"
    return FailedError(
        name, what, f"this shows which sign-ins reach the function: {invocation.spell('coverage')}"
    )


def _read_log_lines(logs: Any, group: str, text: str = "") -> list[str]:
    """Return the lines of a log group that contain ``text``; ``logs`` is a boto3 client."""
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
    lines = [event["message"] for page in pages for event in page["events"]]
    return [line for line in lines if text in line]


def _parse_log_line(line: str) -> dict[str, Any]:
    """Return the JSON object on a log line; empty if there is none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


@contextmanager
def _aws_environment(values: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Replace the AWS variables of this process with ``values``, and restore them at the end.

    AWS_CA_BUNDLE stays: it names the certificates that this machine trusts, and no account. An
    empty file in ``folder`` takes the place of the user's AWS configuration and credentials.
    """
    config = folder / "aws-config"
    config.write_text("")
    before = dict(os.environ)
    for name in before:
        if name.startswith("AWS_") and name != "AWS_CA_BUNDLE":
            del os.environ[name]
    os.environ.update(values)
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(config)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
