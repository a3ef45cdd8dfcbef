"""The case files: documented and made-up sign-ins with what is expected of each, and mutants of them."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from tests.support.repository import ROOT

if TYPE_CHECKING:
    import random

CASES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text())
    for path in sorted((ROOT / "tests" / "sign_ins").glob("*.json"))
}
RECOGNISED = (
    "203.0.113.0/24,198.51.100.0/24,2001:db8::/32"  # the networks of "recognised" in the case files
)
NETWORKS = {"anywhere": "", "recognised": RECOGNISED}
ODDITIES: tuple[Any, ...] = (
    None,
    "",
    7,
    True,
    [],
    {},
    ["x"],
    "\u202e" * 3,
    "a" * 9000,
    {"a": {"b": None}},
    "\ud800",
    1e999,
)


def event(name: str) -> Any:
    """A copy of a case's event, to be changed at will."""
    return copy.deepcopy(CASES[name]["event"])


def mutant(chance: random.Random) -> Any:
    """A case's event in which one field somewhere is dropped or made into something of another kind."""
    changed = event(chance.choice(list(CASES)))
    node = changed
    while isinstance(node, dict) and node:
        key = chance.choice(sorted(node))
        if not isinstance(node[key], dict) or chance.random() < 0.2:
            _spoil(node, key, chance)
            break
        node = node[key]
    return changed


def _spoil(node: dict[str, Any], key: str, chance: random.Random) -> None:
    if chance.random() < 0.2:
        del node[key]
    else:
        node[key] = copy.deepcopy(chance.choice(ODDITIES))
