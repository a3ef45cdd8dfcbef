"""Checks that the scan catches every mutation: a single fault, put into a copy of the repository.

A mutation names what must catch it: one of our checkov policies, which check the templates, or a
finding of ``grants``, which checks rights. The mutations are the ``[[fault]]`` tables of
tests/cfn/faults.toml. The base is the repository without a mutation; what is reported about it is a
false alarm.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooling.checks import grants
from tooling.checks.authorization_reference import Reference
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MUTATIONS_FILE = Path("tests/cfn/faults.toml")
CASE_RUNNER = Path("cfn/policies/case_runner.py")
FOLDERS = {".yaml": Path("cfn"), ".tf": Path("terraform-bootstrap")}  # by the suffix of its files


@dataclass(frozen=True)
class Mutation:
    """One edit of a template or of a file of the bootstrap.

    The checkov policy ``policy`` must catch it, or ``grants`` must print ``finding``. ``file`` is
    the name of the edited file, without its folder.

    - with ``remove``: the resource with that logical id is removed from a template
    - with ``after``: the first ``old`` behind the text ``after`` becomes ``new``
    - else: ``old``, which must appear only once, becomes ``new``
    """

    name: str
    file: str
    policy: str = ""
    finding: str = ""
    old: str = ""
    new: str = ""
    after: str = ""
    remove: str = ""

    @property
    def path(self) -> Path:
        """The file to edit, relative to the repository's root."""
        return FOLDERS[Path(self.file).suffix] / self.file

    def apply(self, text: str) -> str:
        """Return the file's text with the mutation applied.

        Raises RefusedError if there is nothing to edit, or, without ``after``, ``old`` is repeated.
        """
        if self.remove:
            # From the line with the logical id to the next resource or section, or to the end.
            resource = rf"(?ms)^  {re.escape(self.remove)}:.*?(?=^  \w|^\w|\Z)"
            changed = re.sub(resource, "", text, count=1)
        elif self.after:
            before, anchor, rest = text.partition(self.after)
            changed = before + anchor + rest.replace(self.old, self.new, 1)
        elif text.count(self.old) > 1:
            raise self._make_error("is found more than once")
        else:
            changed = text.replace(self.old, self.new)
        if changed == text:
            raise self._make_error("changes nothing")
        return changed

    def _make_error(self, what: str) -> RefusedError:
        """Return the error that the mutation cannot be applied; ``what`` says why."""
        return RefusedError(
            self.name, f"{what} in {self.file}", f"fix this fault in {MUTATIONS_FILE}"
        )


@dataclass(frozen=True)
class PolicyOutcome:
    """What the policies say of one mutation.

    failed: the ids of the policies that failed.
    failed_without: those that failed in a second run, which left out the mutation's own policy.
    unreadable: the names of the files that checkov could not read.
    """

    mutation: Mutation
    failed: tuple[str, ...]
    failed_without: tuple[str, ...]
    unreadable: tuple[str, ...]

    @property
    def is_caught(self) -> bool:
        """Whether its own policy alone failed, nothing failed without it, and all was readable."""
        has_only_own_failure = self.failed == (self.mutation.policy,)
        return has_only_own_failure and not self.failed_without and not self.unreadable

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
class GrantsOutcome:
    """What ``grants`` finds in a copy of the repository with one mutation."""

    mutation: Mutation
    findings: tuple[str, ...]

    @property
    def is_caught(self) -> bool:
        """Whether some finding contains the text that the mutation names."""
        return any(self.mutation.finding in finding for finding in self.findings)

    def describe(self) -> str:
        """Return a sentence that says what was found, for a mutation that is not caught."""
        found = "; ".join(self.findings) or "nothing"
        return f'{self.mutation.name}: grants should say "{self.mutation.finding}", found {found}'


@dataclass(frozen=True)
class Report:
    """All outcomes, and what is reported about the base.

    false_alarms: the ids of the policies that fail on it, its unreadable files, and the findings of
        ``grants`` about it.
    passed_policies: the ids of the policies that pass on it.
    """

    outcomes: tuple[PolicyOutcome | GrantsOutcome, ...]
    false_alarms: tuple[str, ...]
    passed_policies: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether there was a mutation, all were caught, and there is no false alarm."""
        are_all_caught = all(outcome.is_caught for outcome in self.outcomes)
        return bool(self.outcomes) and are_all_caught and not self.false_alarms

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
    """Try every mutation on a copy of the repository at ``root``.

    ``python`` is the program of the scan environment. ``announce`` shows a line to the user. Raises
    ToolError if a mutation cannot be applied or checked.
    """
    mutations = load(root / MUTATIONS_FILE)
    announce(f"trying {len(mutations)} faults on a copy of cfn/ and terraform-bootstrap/ ...")
    for_policies = [mutation for mutation in mutations if not mutation.finding]
    for_grants = [mutation for mutation in mutations if mutation.finding]
    policy_report = run_policy_mutations(root, python, for_policies)
    grants_report = run_grants_mutations(root, python, for_grants)
    return Report(
        policy_report.outcomes + grants_report.outcomes,
        policy_report.false_alarms + grants_report.false_alarms,
        policy_report.passed_policies,
    )


def run_policy_mutations(root: Path, python: Path, mutations: Sequence[Mutation]) -> Report:
    """Try mutations that a checkov policy must catch. Raises RefusedError on failure."""
    templates = sorted((root / "cfn").glob("*.yaml"))
    base = {path.name: path.read_text(encoding="utf-8") for path in templates}
    cases = [(base, "")]
    for mutation in mutations:
        changed = {**base, mutation.file: mutation.apply(base[mutation.file])}
        cases.append((changed, mutation.policy))
    base_result, *results = run_policies(root, python, cases)
    outcomes = [
        PolicyOutcome(
            mutation,
            tuple(result["failed"]),
            tuple(result["failed_without"]),
            tuple(result["unreadable"]),
        )
        for mutation, result in zip(mutations, results, strict=True)
    ]
    false_alarms = (*base_result["failed"], *base_result["unreadable"])
    return Report(tuple(outcomes), false_alarms, tuple(base_result["passed"]))


def run_grants_mutations(root: Path, python: Path, mutations: Sequence[Mutation]) -> Report:
    """Try mutations that ``grants`` must find. Raises ToolError if one of them cannot be planned.

    Each has its own copy of the files that ``grants`` reads. Terraform takes seconds for a plan, so
    the copies with a changed bootstrap are planned together, and the others use the base's plan.
    """
    reference = Reference.load(python)
    with tempfile.TemporaryDirectory(prefix="signwatch-faults-") as folder:
        base = Path(folder) / "base"
        _copy_files_of_grants(root, base)
        copies = [Path(folder) / f"fault_{number}" for number in range(len(mutations))]
        for mutation, copy in zip(mutations, copies, strict=True):
            _copy_files_of_grants(root, copy)
            path = copy / mutation.path
            path.write_text(mutation.apply(path.read_text(encoding="utf-8")), encoding="utf-8")
        with_changed_bootstrap = [
            copy
            for mutation, copy in zip(mutations, copies, strict=True)
            if mutation.path.suffix == ".tf"
        ]
        bootstraps = grants.plan_bootstraps([base, *with_changed_bootstrap], os.environ)
        base_result, *results = [
            grants.check_repository(copy, bootstraps.get(copy, bootstraps[base]), reference)
            for copy in (base, *copies)
        ]
    outcomes = [
        GrantsOutcome(mutation, result.findings)
        for mutation, result in zip(mutations, results, strict=True)
    ]
    return Report(tuple(outcomes), base_result.findings, passed_policies=())


def _copy_files_of_grants(root: Path, copy: Path) -> None:
    """Copy the files that ``grants`` reads from ``root`` to the folder ``copy``."""
    files = [grants.REVIEWED_GRANTS, grants.HANDLER_PERMISSIONS]
    for suffix, folder in FOLDERS.items():
        files += [path.relative_to(root) for path in (root / folder).glob(f"*{suffix}")]
    for file in files:
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / file, copy / file)


def run_policies(
    root: Path, python: Path, cases: Sequence[tuple[dict[str, str], str]]
) -> list[dict[str, Any]]:
    """Check each case with our checkov policies, and return a dictionary of lists for each.

    A case is the templates' contents by file name, and the id of the policy that must catch its
    fault, or "". Each case is checked twice: with all policies, and without that one, to show that
    no other catches the fault. Its result has the ids of the policies that ``passed`` and
    ``failed`` in the first run, those that ``failed_without`` that policy in the second, and the
    ``unreadable`` files. Raises RefusedError if the case runner fails.
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
        raise RefusedError(str(CASE_RUNNER.parent), what, "fix the policies, then try again")
    results: list[dict[str, Any]] = json.loads(process.stdout)
    return results
