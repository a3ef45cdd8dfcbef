"""Checks every policy statement against AWS's Service Authorization Reference.

A statement can be valid JSON and still grant nothing: the action does not exist, the action has no
resource-level permissions, the resource belongs to another action, or a request for this action
never carries the condition key. Such a deploy fails in the middle, or a part of it does nothing.

The policies are those of a collection: of the bootstrap as Terraform plans it, and of the stacks as
CloudFormation resolves their templates. A finding is a sentence about one thing to fix.
``reviewed_grants.toml`` lists the findings that a person reviewed and accepted.
"""

from __future__ import annotations

import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooling import invocation, resolved_templates
from tooling.checks import iam_policies, role_checks, statement_checks
from tooling.checks.authorization_reference import Reference
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tooling.checks.iam_policies import Collection

HANDLER_PERMISSIONS = Path("tooling/checks/handler_permissions.toml")
REVIEWED_GRANTS = Path("tooling/checks/reviewed_grants.toml")
REASON_MIN_CHARS = 20


@dataclass(frozen=True)
class Result:
    """How many policies were checked, and a sentence for each thing to fix."""

    passed: int
    findings: tuple[str, ...]


def run(root: Path, python: Path, environment: Mapping[str, str]) -> Result:
    """Check the repository at ``root``.

    ``python`` is the program of the scan environment, which has the reference. ``environment`` has
    the variables with which Terraform is started.
    Raises ToolError if Terraform cannot plan the bootstrap, or something cannot be read.
    """
    reference = Reference.load(python)
    (bootstrap,) = plan_bootstraps([root], environment).values()
    return check_repository(root, bootstrap, reference)


def plan_bootstraps(
    roots: Sequence[Path], environment: Mapping[str, str]
) -> dict[Path, Collection]:
    """Return the planned bootstrap of each of these copies of the repository, by its root.

    Raises ToolError if Terraform cannot plan one of them.
    """
    names = {f"copy_{number}": root for number, root in enumerate(roots)}
    sources = {name: root / "terraform-bootstrap" for name, root in names.items()}
    with tempfile.TemporaryDirectory(prefix="signwatch-grants-") as folder:
        planned = iam_policies.plan_bootstraps(sources, Path(folder), environment)
    return {root: planned[name] for name, root in names.items()}


def check_repository(root: Path, bootstrap: Collection, reference: Reference) -> Result:
    """Check the policies of the bootstrap, and of the stacks in ``root``/cfn.

    The stacks are checked twice: with the default of each parameter, and with values that switch
    every condition. Raises RefusedError if something cannot be read.
    """
    try:
        return _check_repository(root, bootstrap, reference)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        what = f"a policy, or what belongs to it, has an unknown form ({error!r})"
        remedy = f"fix what this names: {invocation.spell('scan', '--only cfn-lint')}"
        raise RefusedError("grants", what, remedy) from error


def _check_repository(root: Path, bootstrap: Collection, reference: Reference) -> Result:
    """Do as ``check_repository``, but raise any error that an unknown form causes."""
    handlers = tomllib.loads((root / HANDLER_PERMISSIONS).read_text(encoding="utf-8"))
    reviewed = tomllib.loads((root / REVIEWED_GRANTS).read_text(encoding="utf-8"))["reviewed"]
    findings: dict[str, None] = {}  # the keys are the findings, in order and each once
    policy_names: set[str] = set()
    for changes in ({}, resolved_templates.OPTIONAL_VALUES):
        stacks = resolved_templates.resolve(root / "cfn", changes)
        collection = bootstrap + iam_policies.collect_stacks(stacks)
        kinds = {
            resource["Type"] for stack in stacks.values() for resource in stack.resources.values()
        }
        findings |= dict.fromkeys(check_collection(collection, reference))
        findings |= dict.fromkeys(
            role_checks.check_handlers(collection, kinds, handlers, reference)
        )
        policy_names |= {policy.name for policy in collection.policies}
    return Result(len(policy_names), tuple(apply_reviews([*findings], reviewed)))


def apply_reviews(findings: Sequence[str], reviewed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the findings that no review accepts, and a finding for each useless part of a review.

    A review is ``{"findings": [...], "reason": "..."}``. Its reason may be too short, or what it
    accepts may not be found any longer.
    """
    accepted = {finding for review in reviewed for finding in review["findings"]}
    yield from (finding for finding in findings if finding not in accepted)
    for review in reviewed:
        if len(review["reason"]) < REASON_MIN_CHARS:
            first = review["findings"][0]
            yield f"{REVIEWED_GRANTS}: no reason of at least {REASON_MIN_CHARS} characters: {first}"
    for finding in sorted(accepted - set(findings)):
        yield f"{REVIEWED_GRANTS}: found no longer, delete it: {finding}"


def check_collection(collection: Collection, reference: Reference) -> list[str]:
    """Return what is wrong with the statements, and with the rights of each role together."""
    findings = [
        finding
        for policy in collection.policies
        for statement in policy.statements
        for finding in statement_checks.check_statement(policy, statement, reference)
    ]
    return [*findings, *role_checks.check_roles(collection, reference)]
