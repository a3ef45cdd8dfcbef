"""``invoke demo``: the whole chain on this machine, shown to a person.

Steps: start the local AWS emulator -> bootstrap -> package -> deploy -> fill the secret -> sign-ins -> what was made.
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
from tooling.local import rehearsal
from tooling.signals import treat_as_ctrl_c

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tooling.local.rehearsal import Passage, Rehearsal
    from tooling.terminal.screen import Screen

RECOGNISED = "203.0.113.0/24,2001:db8:1::/48"
STOPPED = "everything that the demo started is stopped, and its files are gone"
NAMES = ("eventSource", "eventName")  # by which the rules know a record
SIGN_INS = Path(__file__).with_name("demo_sign_ins.json")


@dataclass
class Steps:
    """Headings with their times, for the account at the end."""

    screen: Screen
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print the title, and remember how long the body took."""
        self.screen.heading(title)
        start = time.monotonic()
        yield
        self.seconds[title] = time.monotonic() - start


def run(
    root: Path, screen: Screen, *, keep: bool = False, event: str | None = None, port: int = 0
) -> None:
    """Show the whole chain; stop and remove everything at the end, also when it is interrupted.

    Raises RefusedError for a file that holds no record, FailedError when a sign-in did not do what it should, and a
    KeyboardInterrupt that says what became of it.
    """
    sign_ins = (
        [_own(Path(event))]
        if event is not None
        else json.loads(SIGN_INS.read_text(encoding="utf-8"))
    )
    with treat_as_ctrl_c():
        folder = Path(tempfile.mkdtemp(prefix="signwatch-demo-"))
        try:
            _run(root, screen, folder, sign_ins, keep=keep, port=port)
        except (
            KeyboardInterrupt,
            InterruptedWatchError,
        ):  # the latter says that AWS goes on, which ends here with us
            raise KeyboardInterrupt(STOPPED) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _run(
    root: Path,
    screen: Screen,
    folder: Path,
    sign_ins: list[dict[str, Any]],
    *,
    keep: bool,
    port: int,
) -> None:
    steps = Steps(screen)
    parameters = {"KnownNetworks": RECOGNISED, "AccountLabel": "demo"}
    with rehearsal.begin(folder, root=root, port=port, parameters=parameters) as stage:
        screen.announce(
            f"The local AWS emulator listens at {stage.emulator.endpoint}, the loopback Twilio at {stage.twilio_server.url}."
        )
        outputs = _bring_up(root, screen, stage, steps)
        with steps.step(f"Sign-ins (recognised: {RECOGNISED})"):
            wrong = [
                wrong
                for number, sign_in in enumerate(sign_ins, 1)
                if (wrong := _show(screen, stage, number, sign_in))
            ]
        if wrong:
            raise FailedError("demo", "; ".join(wrong), "read the function's log lines above")
        _close(screen, steps, outputs)
        if keep:
            _keep(screen, stage)
    screen.announce(f"\n{STOPPED.capitalize()}.")


def _bring_up(root: Path, screen: Screen, stage: Rehearsal, steps: Steps) -> Mapping[str, str]:
    with steps.step("Bootstrap: Terraform makes the buckets and roles"):
        stage.bootstrap(screen.announce, screen.plan)
    with steps.step("Package: the function and its layer"):
        artifacts = rehearsal.build_artifacts(root, screen.announce)
        screen.announce(f"{artifacts.code.key}, {artifacts.layer.key}")
    with steps.step("Deploy: CloudFormation makes the stacks"):
        outputs = stage.deploy(artifacts, screen.stack())
    with steps.step("Secret: Twilio's key goes where only the function reads it"):
        stage.fill_secret()
        screen.announce("filled")
    return outputs


def _show(screen: Screen, stage: Rehearsal, number: int, sign_in: Mapping[str, Any]) -> str:
    """Send one sign-in and print its way; return what was wrong, or nothing."""
    screen.heading(f"{number}. {sign_in['title']}")
    event = rehearsal.as_event_now(sign_in["event"], stage.settings.account, stage.settings.region)
    passage = stage.sign_in(event)
    _print_way(screen, passage)
    expected = sign_in.get("texts")
    if expected is not None and len(passage.texts) != expected:
        return f"sign-in {number} made {len(passage.texts)} texts, not {expected}"
    return ""


def _print_way(screen: Screen, passage: Passage) -> None:
    screen.announce(f"   rule      {', '.join(passage.rules)}")
    screen.announce(f"   raw copy  {passage.raw_copies} in the log group")
    screen.announce(f"   function  {json.dumps(dict(passage.decision))}")
    for text in passage.texts:
        screen.phone(text)
    if not passage.texts:
        screen.announce("   no text")
    screen.announce(f"   {passage.seconds:.2f} s from the event to the decision")


def _close(screen: Screen, steps: Steps, outputs: Mapping[str, str]) -> None:
    screen.heading("What was made")
    screen.pairs(outputs)
    screen.heading("How long it took")
    for title, seconds in steps.seconds.items():
        screen.announce(f"{seconds:6.1f} s  {title}")
    screen.heading("The same in a real account")
    for line in (
        "./inv bootstrap -p PROFILE -a ACCOUNT",
        "./inv deploy -p PROFILE -a ACCOUNT --set AlertEmail=YOU@EXAMPLE.COM --set KnownNetworks=YOUR.ADDRESS/32",
        "./inv secret -p PROFILE -a ACCOUNT",
        "./inv outputs -p PROFILE -a ACCOUNT",
    ):
        screen.announce(f"  {line}")


def _keep(screen: Screen, stage: Rehearsal) -> None:
    """Show how to talk to it, and wait; the Ctrl-C that is promised counts from the promise on."""
    try:
        screen.heading(
            "Still running (--keep): talk to it from another terminal, Ctrl-C here stops it"
        )
        for name, value in stage.emulator.environment(
            stage.settings.account, stage.settings.region
        ).items():
            screen.announce(f"  export {name}={value}")
        screen.announce("  aws cloudformation describe-stacks --query 'Stacks[].StackName'")
        screen.announce(f"  curl {stage.twilio_server.url}/__messages")
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        screen.announce("\nStopping.")


def free_port(named: str | None) -> int:
    """Return the port that --port names, or 0, which stands for a free one.

    Raises RefusedError for what is no port, and for one that cannot be listened on.
    """
    try:
        port = int(named or 0)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (ValueError, OSError, OverflowError) as error:
        raise RefusedError(
            f"--port {named}", f"cannot be used ({error})", "leave --port out for a free one"
        ) from error
    return port


def _own(path: Path) -> dict[str, Any]:
    """Read the person's own record: an EventBridge event or a bare CloudTrail record."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RefusedError(
            str(path), f"cannot be read as JSON ({error})", "give one CloudTrail record"
        ) from error
    except RecursionError as error:
        raise RefusedError(
            str(path), "holds JSON that nests too deeply", "give one CloudTrail record"
        ) from error
    record = found.get("detail", found) if isinstance(found, dict) else None
    if not isinstance(record, dict) or not all(isinstance(record.get(name), str) for name in NAMES):
        what = f"holds no CloudTrail record with {' and '.join(NAMES)} as texts"
        raise RefusedError(
            str(path), what, "give one EventBridge event or one CloudTrail record as JSON"
        )
    return {"title": f"{record['eventName']} from {path.name}", "event": found}
