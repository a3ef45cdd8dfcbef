"""Single faults that silence a monitor, each put into a copy of the templates and looked for by the own policies."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FAULTS = Path("tests/cfn/faults.toml")
RUNNER = Path("cfn/policies/case_runner.py")


@dataclass(frozen=True)
class Fault:
    """One edit of one template: ``old`` becomes ``new``, the first time after ``after``; or a resource is removed."""

    name: str
    file: str
    policy: str
    old: str = ""
    new: str = ""
    after: str = ""
    remove: str = ""

    def apply(self, text: str) -> str:
        """Return the template with the fault; RefusedError when its text is not found, or more than once."""
        if self.remove:
            changed = re.sub(
                rf"(?ms)^  {re.escape(self.remove)}:.*?(?=^  \w|^\w|\Z)", "", text, count=1
            )
        else:
            before, anchor, rest = text.partition(self.after) if self.after else ("", "", text)
            if not self.after and text.count(self.old) > 1:
                raise self._refusal("is found more than once")
            changed = before + anchor + rest.replace(self.old, self.new, 1)
        if changed == text:
            raise self._refusal("changes nothing")
        return changed

    def _refusal(self, what: str) -> RefusedError:
        return RefusedError(self.name, f"{what} in {self.file}", f"mend its line in {FAULTS}")


@dataclass(frozen=True)
class Outcome:
    """What the policies said of one fault: all of them, and all but the named one."""

    fault: Fault
    failed: tuple[str, ...]
    without: tuple[str, ...]
    unread: tuple[str, ...]

    @property
    def caught(self) -> bool:
        """The named policy alone noticed, and the fault passes once that policy is gone."""
        return self.failed == (self.fault.policy,) and not self.without and not self.unread

    def sentence(self) -> str:
        """Say what went wrong."""
        said = ", ".join(self.failed) or "nothing"
        left = ", ".join(self.without) or "nothing"
        unread = f"; not readable: {', '.join(self.unread)}" if self.unread else ""
        return f"{self.fault.name}: {self.fault.policy} should catch it alone; {said} did, without it {left}{unread}"


@dataclass(frozen=True)
class Report:
    """All outcomes, and what the policies hold against the untouched templates."""

    outcomes: tuple[Outcome, ...]
    false_alarms: tuple[str, ...]
    seen: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """There were faults, every one was caught, and the untouched templates pass."""
        return (
            bool(self.outcomes)
            and all(found.caught for found in self.outcomes)
            and not self.false_alarms
        )

    def lines(self) -> list[str]:
        """Return a sentence for each failure, then the sum."""
        missed = [found.sentence() for found in self.outcomes if not found.caught]
        false = [f"the untouched templates: {alarm}" for alarm in self.false_alarms]
        caught = f"{len(self.outcomes) - len(missed)}/{len(self.outcomes)}"
        return [
            *missed,
            *false,
            f"mutations caught {caught}, false alarms on the base {len(self.false_alarms)}",
        ]


def load(path: Path) -> list[Fault]:
    """Read the faults; one more ``[[fault]]`` is one more fault."""
    return [Fault(**entry) for entry in tomllib.loads(path.read_text(encoding="utf-8"))["fault"]]


def run(root: Path, python: Path, announce: Callable[[str], None]) -> Report:
    """Try every fault on a copy of ``cfn/``, with the ``python`` that has checkov."""
    faults = load(root / FAULTS)
    base = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted((root / "cfn").glob("*.yaml"))
    }
    announce(f"trying {len(faults)} faults on a copy of cfn/ ...")
    changed = [{**base, fault.file: fault.apply(base[fault.file])} for fault in faults]
    cases = [(files, fault.policy) for fault, files in zip(faults, changed, strict=True)]
    untouched, *said = judge(root, python, [(base, ""), *cases])
    outcomes = [_outcome(fault, answer) for fault, answer in zip(faults, said, strict=True)]
    return Report(
        tuple(outcomes), (*untouched["failed"], *untouched["unread"]), tuple(untouched["passed"])
    )


def judge(
    root: Path, python: Path, cases: Sequence[tuple[dict[str, str], str]]
) -> list[dict[str, Any]]:
    """Ask the policies about each (templates, policy left out); RefusedError when checkov does not answer."""
    asked = json.dumps([{"files": files, "without": without} for files, without in cases])
    command = [str(python), str(root / RUNNER)]
    quick = {
        **os.environ,
        "CHECKOV_PARALLELIZATION_TYPE": "none",
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # six small files a case
    done = subprocess.run(
        command, cwd=root, input=asked, capture_output=True, text=True, check=False, env=quick
    )
    if done.returncode or not done.stdout:
        raise RefusedError(
            "the policies", f"did not run ({done.stderr[-2000:]})", "mend them, then try again"
        )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _outcome(fault: Fault, said: dict[str, Any]) -> Outcome:
    return Outcome(fault, tuple(said["failed"]), tuple(said["without"]), tuple(said["unread"]))
