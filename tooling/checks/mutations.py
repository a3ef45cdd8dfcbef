"""Puts one fault at a time into a copy of the templates and checks that our policies catch it."""

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
CASE_RUNNER = Path("cfn/policies/case_runner.py")


@dataclass(frozen=True)
class Fault:
    """One edit of one template, which ``policy`` must catch.

    Either ``old`` becomes ``new`` at its first place after ``after``, or the resource ``remove``
    is removed.
    """

    name: str
    file: str
    policy: str
    old: str = ""
    new: str = ""
    after: str = ""
    remove: str = ""

    def apply(self, text: str) -> str:
        """Return the template with the fault.

        Raises RefusedError when the text to replace is not there, or more than once.
        """
        if self.remove:
            resource = rf"(?ms)^  {re.escape(self.remove)}:.*?(?=^  \w|^\w|\Z)"
            changed = re.sub(resource, "", text, count=1)
        elif self.after:
            before, anchor, rest = text.partition(self.after)
            changed = before + anchor + rest.replace(self.old, self.new, 1)
        elif text.count(self.old) > 1:
            raise self._error("is found more than once")
        else:
            changed = text.replace(self.old, self.new)
        if changed == text:
            raise self._error("changes nothing")
        return changed

    def _error(self, what: str) -> RefusedError:
        return RefusedError(self.name, f"{what} in {self.file}", f"fix this fault in {FAULTS}")


@dataclass(frozen=True)
class Outcome:
    """The policies that failed on one fault: of all policies, and of all but the named one."""

    fault: Fault
    failed: tuple[str, ...]
    without: tuple[str, ...]
    unreadable: tuple[str, ...]

    @property
    def is_caught(self) -> bool:
        """Only the named policy failed, and without it nothing does."""
        return self.failed == (self.fault.policy,) and not self.without and not self.unreadable

    def describe(self) -> str:
        """Return a sentence that says which policies failed, for a fault that was not caught."""
        failed = ", ".join(self.failed) or "no policy"
        without = ", ".join(self.without) or "no policy"
        sentence = (
            f"{self.fault.name}: only {self.fault.policy} should fail, but {failed} failed, "
            f"and without it {without}"
        )
        if self.unreadable:
            sentence += f"; not readable: {', '.join(self.unreadable)}"
        return sentence


@dataclass(frozen=True)
class Report:
    """All outcomes, and the policies that fail or pass on the unchanged templates."""

    outcomes: tuple[Outcome, ...]
    false_alarms: tuple[str, ...]
    passed_policies: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """There were faults, all were caught, and the unchanged templates pass."""
        are_caught = all(outcome.is_caught for outcome in self.outcomes)
        return bool(self.outcomes) and are_caught and not self.false_alarms

    def lines(self) -> list[str]:
        """Return a sentence for each failure, then the sum."""
        missed = [outcome.describe() for outcome in self.outcomes if not outcome.is_caught]
        false_alarms = [f"the unchanged templates: {alarm}" for alarm in self.false_alarms]
        caught = f"{len(self.outcomes) - len(missed)}/{len(self.outcomes)}"
        total = f"mutations caught {caught}, false alarms on the base {len(self.false_alarms)}"
        return [*missed, *false_alarms, total]


def load(path: Path) -> list[Fault]:
    """Return the faults of a TOML file, one for each ``[[fault]]``."""
    return [Fault(**entry) for entry in tomllib.loads(path.read_text(encoding="utf-8"))["fault"]]


def run(root: Path, python: Path, announce: Callable[[str], None]) -> Report:
    """Try every fault on a copy of ``cfn/``, with the ``python`` that has checkov."""
    faults = load(root / FAULTS)
    templates = sorted((root / "cfn").glob("*.yaml"))
    base = {path.name: path.read_text(encoding="utf-8") for path in templates}
    announce(f"trying {len(faults)} faults on a copy of cfn/ ...")
    cases = [(base, "")]
    for fault in faults:
        changed = {**base, fault.file: fault.apply(base[fault.file])}
        cases.append((changed, fault.policy))
    unchanged, *results = run_policies(root, python, cases)
    outcomes = [
        Outcome(
            fault, tuple(result["failed"]), tuple(result["without"]), tuple(result["unreadable"])
        )
        for fault, result in zip(faults, results, strict=True)
    ]
    false_alarms = (*unchanged["failed"], *unchanged["unreadable"])
    return Report(tuple(outcomes), false_alarms, tuple(unchanged["passed"]))


def run_policies(
    root: Path, python: Path, cases: Sequence[tuple[dict[str, str], str]]
) -> list[dict[str, Any]]:
    """Return the policies' results for each case: templates, and the id of a policy to leave out.

    Raises RefusedError when checkov does not answer.
    """
    request = json.dumps([{"files": files, "without": without} for files, without in cases])
    command = [str(python), str(root / CASE_RUNNER)]
    # A case has six small files, for which further processes are not worth their start.
    settings = {"CHECKOV_PARALLELIZATION_TYPE": "none", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command,
        cwd=root,
        input=request,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **settings},
    )
    if done.returncode or not done.stdout:
        what = f"could not be run ({done.stderr[-2000:]})"
        raise RefusedError(str(CASE_RUNNER.parent), what, "fix them, then try again")
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results
