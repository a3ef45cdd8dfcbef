"""``invoke demo``: shows the whole chain on this machine.

Steps: start the local AWS emulator, bootstrap, package, deploy, fill the secret, send sign-ins,
print the outputs. A sign-in has a ``title``, an ``event`` (from EventBridge, or a bare CloudTrail
record), and the expected number of ``texts``, the messages to the owner's phone.
"""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooling.deploy.stack import InterruptedWatchError
from tooling.errors import FailedError, RefusedError
from tooling.invocation import spell_program
from tooling.local import phone_picture, rehearsal
from tooling.signals import treat_as_ctrl_c

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tooling.local.rehearsal import LocalDeployment, SignInResult
    from tooling.terminal.screen import Screen

RECOGNISED_NETWORKS = "203.0.113.0/24,2001:db8:1::/48"
STOPPED_MESSAGE = "everything that the demo started was stopped, and its files were removed"
REQUIRED_KEYS = ("eventSource", "eventName")  # the rules compare them
SIGN_INS = Path(__file__).with_name("demo_sign_ins.json")
REAL_ACCOUNT_COMMANDS = """\
  {inv} bootstrap -p PROFILE -a ACCOUNT
  {inv} deploy -p PROFILE -a ACCOUNT --set AlertEmail=YOU@EXAMPLE.COM \
--set KnownNetworks=YOUR.ADDRESS/32
  {inv} secret -p PROFILE -a ACCOUNT
  {inv} outputs -p PROFILE -a ACCOUNT
  {inv} signin-test -p PROFILE -a ACCOUNT"""


@dataclass
class Steps:
    """Prints the heading of each step and measures its duration; ``seconds`` is by heading."""

    screen: Screen
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print the title, and measure how long the body takes."""
        self.screen.print_heading(title)
        start = time.monotonic()
        yield
        self.seconds[title] = time.monotonic() - start


def run(
    root: Path,
    screen: Screen,
    *,
    keep: bool = False,
    event: str | None = None,
    port: int = 0,
    picture: str | None = None,
) -> None:
    """Show the whole chain; stop and remove everything at the end, also after an interruption.

    ``keep`` waits for Ctrl-C before the end. ``event`` is the path of a file with a record to send
    instead of the usual sign-ins. ``port`` is the emulator's, 0 any free one. ``picture`` is the
    path of an SVG file to write, which shows the texts on a phone.
    Raises RefusedError if the file ``event`` has no record, FailedError if a sign-in has an
    unexpected result, and KeyboardInterrupt with a message if interrupted.
    """
    sign_ins = json.loads(SIGN_INS.read_text(encoding="utf-8"))
    if event is not None:
        sign_ins = [_read_sign_in(Path(event))]
    with treat_as_ctrl_c():
        folder = Path(tempfile.mkdtemp(prefix="signwatch-demo-"))
        try:
            _run_demo(root, screen, folder, sign_ins, keep=keep, port=port, picture=picture)
        except (KeyboardInterrupt, InterruptedWatchError):
            # InterruptedWatchError says that the deployment continues; the emulator ends here.
            raise KeyboardInterrupt(STOPPED_MESSAGE) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _run_demo(
    root: Path,
    screen: Screen,
    folder: Path,
    sign_ins: list[dict[str, Any]],
    *,
    keep: bool,
    port: int,
    picture: str | None,
) -> None:
    """Take every step of the demo.

    Raises FailedError if a sign-in leads to another number of texts than expected.
    """
    steps = Steps(screen)
    parameters = {"KnownNetworks": RECOGNISED_NETWORKS, "AccountLabel": "demo"}
    with rehearsal.start(folder, root=root, port=port, parameters=parameters) as deployment:
        screen.announce(f"The local AWS emulator listens at {deployment.emulator.endpoint}.")
        screen.announce(f"The loopback Twilio listens at {deployment.twilio_server.url}.")
        outputs = _deploy(root, screen, deployment, steps)
        with steps.step(f"Sign-ins (recognised: {RECOGNISED_NETWORKS})"):
            problems = _send_sign_ins(screen, deployment, sign_ins)
        if problems:
            raise FailedError("demo", "; ".join(problems), "read the function's log lines above")
        _print_summary(screen, steps, outputs)
        if picture:
            texts = [message["body"] for message in deployment.twilio_server.messages]
            Path(picture).write_text(phone_picture.draw(texts), encoding="utf-8")
            screen.announce(f"\nThe picture of the phone is in {picture}.")
        if keep:
            _wait_for_ctrl_c(screen, deployment)
    screen.announce(f"\n{STOPPED_MESSAGE.capitalize()}.")


def _deploy(
    root: Path, screen: Screen, deployment: LocalDeployment, steps: Steps
) -> Mapping[str, str]:
    """Bootstrap, package, deploy and fill the secret; return the stack's outputs by name."""
    with steps.step("Bootstrap: Terraform makes the buckets and roles"):
        deployment.bootstrap(screen.announce, screen.print_plan)
    with steps.step("Package: the function and its layer"):
        artifacts = rehearsal.build_artifacts(root, screen.announce)
        screen.announce(f"{artifacts.code.key}, {artifacts.layer.key}")
    with steps.step("Deploy: CloudFormation makes the stacks"):
        outputs = deployment.deploy(artifacts, screen.make_display(rehearsal.approve))
    with steps.step("Secret: Twilio's key goes where only the function reads it"):
        deployment.fill_secret()
        screen.announce("filled")
    return outputs


def _send_sign_ins(
    screen: Screen, deployment: LocalDeployment, sign_ins: list[dict[str, Any]]
) -> list[str]:
    """Send each sign-in and print its result; return a sentence for each unexpected result."""
    problems = []
    for number, sign_in in enumerate(sign_ins, 1):
        screen.print_heading(f"{number}. {sign_in['title']}")
        result = _send_sign_in(deployment, sign_in)
        _print_result(screen, result)
        count = len(result.texts)
        expected = sign_in.get("texts", count)  # a person's own record expects no number
        if count != expected:
            problems.append(f"sign-in {number} led to {count} texts, not {expected}")
    return problems


def _send_sign_in(deployment: LocalDeployment, sign_in: Mapping[str, Any]) -> SignInResult:
    """Send the sign-in's event with a new id and the current time; return what it led to."""
    settings = deployment.settings
    event = rehearsal.as_event_now(sign_in["event"], settings.account, settings.region)
    return deployment.sign_in(event)


def _print_result(screen: Screen, result: SignInResult) -> None:
    """Print the way of one sign-in: rule, raw copy, decision, texts and duration."""
    screen.announce(f"   rule      {', '.join(result.rules)}")
    screen.announce(f"   raw copy  {result.raw_copies} in the log group")
    screen.announce(f"   function  {json.dumps(dict(result.decision))}")
    for text in result.texts:
        screen.print_text_message(text)
    if not result.texts:
        screen.announce("   no text")
    screen.announce(f"   {result.seconds:.2f} s from the event to the decision")


def _print_summary(screen: Screen, steps: Steps, outputs: Mapping[str, str]) -> None:
    """Print the stack's outputs, each step's duration, and the commands for a real account."""
    screen.print_heading("Outputs of the stack")
    screen.print_pairs(outputs)
    screen.print_heading("Duration")
    for title, seconds in steps.seconds.items():
        screen.announce(f"{seconds:6.1f} s  {title}")
    screen.print_heading("The same in a real account")
    screen.announce(REAL_ACCOUNT_COMMANDS.format(inv=spell_program()))


def _wait_for_ctrl_c(screen: Screen, deployment: LocalDeployment) -> None:
    """Show how to use the running emulator, and wait for Ctrl-C, also while showing it."""
    settings = deployment.settings
    variables = deployment.emulator.environment(settings.account, settings.region)
    try:
        screen.print_heading(
            "Still running (--keep): use it from another terminal; Ctrl-C here stops it"
        )
        for name, value in variables.items():
            screen.announce(f"  export {name}={value}")
        screen.announce(f"  {spell_program()} outputs -a {settings.account}")
        screen.announce(f"  {spell_program()} signin-test -a {settings.account}")
        screen.announce(f"  {spell_program()} secret -a {settings.account} --check")
        screen.announce("  aws cloudformation describe-stacks --query 'Stacks[].StackName'")
        screen.announce(f"  curl {deployment.twilio_server.url}/__messages")
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        screen.announce("\nStopping.")


def parse_port(text: str | None) -> int:
    """Return the port that the flag --port names, or 0 (any free port) if it is not given.

    Raises RefusedError if the value is not a port, or the port is in use.
    """
    try:
        port = int(text or 0)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (ValueError, OSError, OverflowError) as error:
        what = f"cannot be used ({error})"
        raise RefusedError(f"--port {text}", what, "leave --port out for a free one") from error
    return port


def _read_sign_in(path: Path) -> dict[str, Any]:
    """Return the record in the user's own file as a sign-in without an expected number of texts.

    Raises RefusedError if the file has none.
    """
    try:
        event = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        what = f"cannot be read as JSON ({error})"
        raise RefusedError(str(path), what, "give one CloudTrail record") from error
    except RecursionError as error:
        what = "holds JSON that nests too deeply"
        raise RefusedError(str(path), what, "give one CloudTrail record") from error
    record = event.get("detail", event) if isinstance(event, dict) else None
    if not isinstance(record, dict) or not all(
        isinstance(record.get(key), str) for key in REQUIRED_KEYS
    ):
        what = f"holds no CloudTrail record with {' and '.join(REQUIRED_KEYS)} as strings"
        remedy = "give one EventBridge event or one CloudTrail record as JSON"
        raise RefusedError(str(path), what, remedy)
    return {"title": f"{record['eventName']} from {path.name}", "event": event}
