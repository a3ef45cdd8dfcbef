"""The templates of this repository: as written, and as CloudFormation deploys them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from tests.support.repository import ROOT
from tooling import resolved_templates, templates
from tooling.checks.iam_policies import as_list

if TYPE_CHECKING:
    from tooling.resolved_templates import Stack

FOLDER = ROOT / "cfn"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


@functools.cache
def load(name: str) -> dict[str, Any]:
    """The template as written; not to be changed."""
    return templates.load(FOLDER / f"{name}.yaml")


@functools.cache
def text(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text()


@functools.cache
def installation(**changes: str) -> dict[str, Stack]:
    """Each template's stack, deployed with ``changes`` to the parent's parameters."""
    return resolved_templates.resolve(FOLDER, changes)


def resources_of(kind: str, **changes: str) -> list[dict[str, Any]]:
    """The properties of each resource of ``kind`` in all stacks."""
    stacks = installation(**changes).values()
    return [properties for stack in stacks for properties in stack.of_type(kind).values()]


def statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The statements of a policy, with Action and Resource as lists."""
    return [
        {
            key: as_list(value) if key in ("Action", "Resource") else value
            for key, value in statement.items()
        }
        for statement in as_list(document["Statement"])
    ]


def find_statement(document: dict[str, Any], sid: str) -> dict[str, Any]:
    (statement,) = [part for part in statements(document) if part.get("Sid") == sid]
    return statement
