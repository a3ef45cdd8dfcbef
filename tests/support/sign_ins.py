"""The case files: sign-ins with the expected verdicts, and mutants of them."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from signwatch.detection import sign_in_paths, signin
from tests.support.repository import ROOT
from tooling.deploy.aws_ranges import is_aws_address

if TYPE_CHECKING:
    import random

CASES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text())
    for path in sorted((ROOT / "tests" / "sign_ins").glob("*.json"))
}
ALL_PATHS = (
    *sign_in_paths.PATHS.values(),
    *sign_in_paths.PATHS_BY_CONTENT,
    sign_in_paths.ANOMALY,
)
# The networks of "recognised" in the case files
RECOGNISED = "203.0.113.0/24,198.51.100.0/24,2001:db8::/32"
NETWORKS = {"anywhere": "", "recognised": RECOGNISED}
ODD_VALUES: tuple[Any, ...] = (
    *(None, 7, True, [], {}, ["x"], 1e999, {"a": {"b": None}}),
    *("", "\u202e" * 3, "a" * 9000, "\ud800"),
)


def event(name: str) -> Any:
    """Return a copy of a case's event."""
    return copy.deepcopy(CASES[name]["event"])


def read(record: object) -> signin.ParsedEvent:
    """Read a record with the list of AWS's own addresses, as the function does."""
    return signin.read(record, is_aws_address)


def mutant(rng: random.Random) -> Any:
    """Return a case's event in which one field is missing or has an odd value."""
    changed = event(rng.choice(list(CASES)))
    node = changed
    while isinstance(node, dict) and node:
        key = rng.choice(sorted(node))
        if not isinstance(node[key], dict) or rng.random() < 0.2:
            if rng.random() < 0.2:
                del node[key]
            else:
                node[key] = copy.deepcopy(rng.choice(ODD_VALUES))
            break
        node = node[key]
    return changed
