"""``invoke demo``: shows the whole chain on this machine.

Steps: start the local AWS emulator, bootstrap, package, deploy, fill the secret, send sign-ins,
print the outputs. A sign-in has a ``title``, an ``event`` (from EventBridge, or a bare CloudTrail
record), and the expected number of ``texts``, the messages to the owner's phone.
"""

from __future__ import annotations

import itertools
import json
import shutil
import socket
import tempfile
import textwrap
import time
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooling.deploy.stack import Display, InterruptedWatchError
from tooling.errors import FailedError, RefusedError
from tooling.invocation import spell_program
from tooling.local import phone_picture, rehearsal
from tooling.signals import treat_as_ctrl_c

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tooling.deploy.bootstrap import Change
    from tooling.local.rehearsal import LocalDeployment, SignInResult
    from tooling.terminal.screen import Screen

RECOGNISED_NETWORKS = "203.0.113.0/24,2001:db8:1::/48"
PARAMETERS = {"KnownNetworks": RECOGNISED_NETWORKS, "AccountLabel": "demo"}
LOG_FIELDS = ("verdict", "severity", "who", "source", "reasons", "recognised_by")
DETAIL_CHARS = 96  # on a line about a sign-in
STOPPED_MESSAGE = "everything that the demo started was stopped, and its files were removed"
REQUIRED_KEYS = ("eventSource", "eventName")  # the rules compare them
SIGN_INS = Path(__file__).with_name("demo_sign_ins.json")
REAL_ACCOUNT_COMMANDS = """\
  {inv} bootstrap -p NAME -a ID
  {inv} deploy -p NAME -a ID --set AlertEmail=you@example.com --set KnownNetworks=YOUR.ADDRESS/32
  {inv} secret -p NAME -a ID
  {inv} outputs -p NAME -a ID
  {inv} signin-test -p NAME -a ID"""


@dataclass(frozen=True)
class Show:
    """Prints the steps of the demo: a line for each, or all that they say (``verbose``)."""

    screen: Screen
    deployment: LocalDeployment
    verbose: bool

    @contextmanager
    def step(self, title: str) -> Iterator[Callable[[str], None]]:
        """Print a step; yield the function that says what it does now."""
        if self.verbose:
            self.screen.print_heading(title)
            yield self.screen.announce
            return
        with self.screen.show_step(title) as announce:
            yield announce

    def print_plan(self, changes: Sequence[Change]) -> None:
        """Print the changes of Terraform, if the demo is verbose."""
        if self.verbose:
            self.screen.print_plan(changes)

    def make_display(self, announce: Callable[[str], None]) -> Display:
        """Return what shows the operation on the stack."""
        if self.verbose:
            return self.screen.make_display(rehearsal.approve)
        return Display(
            announce,
            show_changes=lambda _changes: None,
            show_event=lambda event: announce(f"{event.resource} {event.status}"),
            approve=rehearsal.approve,
        )


def run(
    root: Path,
    screen: Screen,
    *,
    keep: bool = False,
    event: str | None = None,
    port: int = 0,
    picture: str | None = None,
    verbose: bool = False,
) -> None:
    """Show the whole chain; stop and remove everything at the end, also after an interruption.

    ``keep`` waits for Ctrl-C before the end. ``event`` is the path of a file with a record to send
    instead of the usual sign-ins. ``port`` is the emulator's, 0 any free one. ``picture`` is the
    path of an SVG file to write, which shows the texts on a phone. ``verbose`` shows each line of
    Terraform and CloudFormation.
    Raises RefusedError if the file ``event`` has no record, FailedError if a sign-in has an
    unexpected result, and KeyboardInterrupt with a message if interrupted.
    """
    sign_ins = json.loads(SIGN_INS.read_text(encoding="utf-8"))
    if event is not None:
        sign_ins = [_read_sign_in(Path(event))]
    with treat_as_ctrl_c():
        folder = Path(tempfile.mkdtemp(prefix="signwatch-demo-"))
        try:
            options = _Options(root, keep=keep, port=port, picture=picture, verbose=verbose)
            _run_demo(screen, folder, sign_ins, options)
            screen.announce(f"{STOPPED_MESSAGE.capitalize()}.")
        except (KeyboardInterrupt, InterruptedWatchError):
            # InterruptedWatchError says that the deployment continues; the emulator ends here.
            raise KeyboardInterrupt(STOPPED_MESSAGE) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Options:
    """The arguments of ``run`` that its steps need."""

    root: Path
    _: KW_ONLY
    keep: bool
    port: int
    picture: str | None
    verbose: bool


def _run_demo(
    screen: Screen, folder: Path, sign_ins: list[dict[str, Any]], options: _Options
) -> None:
    """Start the emulator, take every step of the demo, and stop the emulator."""
    with rehearsal.start(
        folder, root=options.root, port=options.port, parameters=PARAMETERS
    ) as deployment:
        show = Show(screen, deployment, verbose=options.verbose)
        _take_steps(show, sign_ins, options)


def _take_steps(show: Show, sign_ins: list[dict[str, Any]], options: _Options) -> None:
    """Take every step of the demo.

    Raises FailedError if a sign-in leads to another number of texts than expected.
    """
    screen, deployment = show.screen, show.deployment
    aws_url, twilio_url = deployment.emulator.endpoint, deployment.twilio_server.url
    screen.announce(f"The local AWS emulator listens at {aws_url}, Twilio's at {twilio_url}.")
    outputs = _deploy(options.root, show)
    mailbox = rehearsal.Mailbox.subscribe(deployment.as_owner(), outputs["AlertTopicArn"])
    screen.announce(f"Recognised networks: {RECOGNISED_NETWORKS}")
    problems = _send_sign_ins(show, mailbox, sign_ins)
    if problems:
        raise FailedError("demo", "; ".join(problems), "read the function's log lines above")
    if show.verbose:
        screen.print_heading("Outputs of the stack")
        screen.print_pairs(outputs)
    screen.print_heading("The same in a real account")
    screen.announce(REAL_ACCOUNT_COMMANDS.format(inv=spell_program()))
    if options.picture:
        texts = [message["body"] for message in deployment.twilio_server.messages]
        Path(options.picture).write_text(phone_picture.draw(texts), encoding="utf-8")
        screen.announce(f"The picture of the phone is in {options.picture}.")
    if options.keep:
        _wait_for_ctrl_c(screen, deployment)


def _deploy(root: Path, show: Show) -> Mapping[str, str]:
    """Bootstrap, package, deploy and fill the secret; return the stack's outputs by name."""
    deployment = show.deployment
    with show.step("Bootstrap: Terraform makes the buckets and roles") as announce:
        deployment.bootstrap(announce, show.print_plan)
    with show.step("Package: the function and its layer") as announce:
        artifacts = rehearsal.build_artifacts(root, announce)
    with show.step("Deploy: CloudFormation makes the stacks") as announce:
        outputs = deployment.deploy(artifacts, show.make_display(announce))
    with show.step("Secret: Twilio's key goes where only the function reads it"):
        deployment.fill_secret()
    return outputs


def _send_sign_ins(
    show: Show, mailbox: rehearsal.Mailbox, sign_ins: list[dict[str, Any]]
) -> list[str]:
    """Send each sign-in and print its result; return a sentence for each unexpected result."""
    problems = []
    for number, sign_in in enumerate(sign_ins, 1):
        show.screen.print_heading(f"{number}. {sign_in['title']}")
        result = _send_sign_in(show.deployment, sign_in)
        emails = []
        if result.decision["verdict"] == "alert":
            emails = show.deployment.wait_until(mailbox.take)
        _print_result(show, result, emails)
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


def _print_result(show: Show, result: SignInResult, emails: list[dict[str, str]]) -> None:
    """Print the way of one sign-in: the rule, the fields of the log line, text and e-mail."""
    values = dict(result.decision)
    values["reasons"] = ", ".join(values.get("reasons", ()))
    fields = [f"{name}: {values[name]}" for name in LOG_FIELDS if values.get(name)]
    fields += [f"rule: {', '.join(result.rules)}", f"after {result.seconds:.2f} s"]
    for line in textwrap.wrap("; ".join(fields), DETAIL_CHARS):
        show.screen.announce(f"   {line}")
    if show.verbose:
        show.screen.announce(f"   {result.raw_copies} raw copy in the log group")
        show.screen.announce(f"   {json.dumps(dict(result.decision))}")
    texts = result.texts or ("",)
    bodies = [_format_email(email, texts[0], verbose=show.verbose) for email in emails] or [""]
    for text, email in itertools.zip_longest(texts, bodies, fillvalue=""):
        if text or email:
            show.screen.print_alert(text, email)


def _format_email(email: Mapping[str, str], text: str, *, verbose: bool) -> str:
    """Return an e-mail with its subject; unless ``verbose``, without the lines of the text."""
    lines = email["Message"].splitlines()
    if not verbose:
        shown = set(text.splitlines())
        lines = [line for line in lines if line and line not in shown]
    return "\n".join([f"Subject: {email['Subject']}", *lines])


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
