"""Checks that our policies catch every mutation, a single fault put into a copy of the templates.

The mutations are the ``[[fault]]`` tables of tests/cfn/faults.toml.
"""

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

MUTATIONS_FILE = Path("tests/cfn/faults.toml")
CASE_RUNNER = Path("cfn/policies/case_runner.py")


@dataclass(frozen=True)
class Mutation:
    """One edit of one template, which ``policy`` must catch.

    - with ``remove``: the resource of that logical id is removed
    - with ``after``: the first ``old`` behind the text ``after`` becomes ``new``
    - else: ``old``, which must appear only once, becomes ``new``
    """

    name: str
    file: str
    policy: str
    old: str = ""
    new: str = ""
    after: str = ""
    remove: str = ""

    def apply(self, text: str) -> str:
        """Return the template's text with the mutation applied.

        Raises RefusedError if there is nothing to edit, or, without ``after``, ``old`` is repeated.
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
        return RefusedError(
            self.name, f"{what} in {self.file}", f"fix this fault in {MUTATIONS_FILE}"
        )


@dataclass(frozen=True)
class Outcome:
    """What the policies say of one mutation.

    failed: the ids of the policies that failed.
    failed_without: those that failed in a second run, which left out the mutation's own policy.
    unreadable: the files that checkov could not read.
    """

    mutation: Mutation
    failed: tuple[str, ...]
    failed_without: tuple[str, ...]
    unreadable: tuple[str, ...]

    @property
    def is_caught(self) -> bool:
        """Only the mutation's own policy failed, and without that policy nothing fails."""
        is_failed_by_policy_alone = self.failed == (self.mutation.policy,)
        return is_failed_by_policy_alone and not self.failed_without and not self.unreadable

    def describe(self) -> str:
        """Return a sentence that says which policies failed, for a mutation that is not caught."""
        failed = ", ".join(self.failed) or "no policy"
        failed_without = ", ".join(self.failed_without) or "no policy"
        sentence = (
            f"{self.mutation.name}: only {self.mutation.policy} should fail, but {failed} failed, "
            f"and without that policy {failed_without} failed"
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
        """Every mutation was caught, there was at least one, and the unchanged templates pass."""
        are_caught = all(outcome.is_caught for outcome in self.outcomes)
        return bool(self.outcomes) and are_caught and not self.false_alarms

    def format_lines(self) -> list[str]:
        """Return a sentence for each failure, then a line with the totals."""
        missed = [outcome.describe() for outcome in self.outcomes if not outcome.is_caught]
        false_alarms = [f"the unchanged templates: {alarm}" for alarm in self.false_alarms]
        caught = f"{len(self.outcomes) - len(missed)}/{len(self.outcomes)}"
        total = f"mutations caught {caught}, false alarms on the base {len(self.false_alarms)}"
        return [*missed, *false_alarms, total]


def load(path: Path) -> list[Mutation]:
    """Return the mutations described in a TOML file, one for each ``[[fault]]`` table."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))["fault"]
    return [Mutation(**table) for table in tables]


def run(root: Path, python: Path, announce: Callable[[str], None]) -> Report:
    """Try every mutation on a copy of ``cfn/``, with the ``python`` that has checkov."""
    mutations = load(root / MUTATIONS_FILE)
    templates = sorted((root / "cfn").glob("*.yaml"))
    base = {path.name: path.read_text(encoding="utf-8") for path in templates}
    announce(f"trying {len(mutations)} faults on a copy of cfn/ ...")
    cases = [(base, "")]
    for mutation in mutations:
        changed = {**base, mutation.file: mutation.apply(base[mutation.file])}
        cases.append((changed, mutation.policy))
    unchanged, *results = run_policies(root, python, cases)
    outcomes = [
        Outcome(
            mutation,
            tuple(result["failed"]),
            tuple(result["failed_without"]),
            tuple(result["unreadable"]),
        )
        for mutation, result in zip(mutations, results, strict=True)
    ]
    false_alarms = (*unchanged["failed"], *unchanged["unreadable"])
    return Report(tuple(outcomes), false_alarms, tuple(unchanged["passed"]))


def run_policies(
    root: Path, python: Path, cases: Sequence[tuple[dict[str, str], str]]
) -> list[dict[str, Any]]:
    """Return the policies' results for each case; ``case_runner.py`` describes them.

    A case is the templates' contents by file name, and the id of the policy that the second run
    leaves out. Raises RefusedError if the case runner fails.
    """
    request = json.dumps([{"files": files, "without": without} for files, without in cases])
    command = [str(python), str(root / CASE_RUNNER)]
    # A case has six small files: starting further processes would take longer than checking them.
    settings = {"CHECKOV_PARALLELIZATION_TYPE": "none", "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.run(
        command,
        cwd=root,
        input=request,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **settings},
    )
    if process.returncode or not process.stdout:
        what = f"could not be run ({process.stderr[-2000:]})"
        raise RefusedError(str(CASE_RUNNER.parent), what, "fix them, then try again")
    results: list[dict[str, Any]] = json.loads(process.stdout)
    return results
