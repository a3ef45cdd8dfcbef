"""``invoke coverage``: each way into an account, and whether the rules of the templates hand it to the function.

What a pattern matches is asked of EventBridge (TestEventPattern): the laptop's, or that of an account which is named.
Class and verdict are the function's own. Nothing is remembered: the ways stand in ``sign_in_paths.json``, the rules in
the templates, and the rest is worked out at each call.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signwatch.detection import networks
from signwatch.detection.record import as_object
from signwatch.detection.signin import SignIn, Step, read
from signwatch.detection.verdict import judge
from tooling import templates
from tooling.analysis.explain import CLASSES
from tooling.errors import FailedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from signwatch.detection.verdict import Verdict
    from tooling.terminal.screen import Screen

    Matches = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]  # of a pattern and an event

PATHS = Path(__file__).with_name("sign_in_paths.json")
RULE = "AWS::Events::Rule"
FUNCTION = {"Ref": "FunctionArn"}  # one idea has one name in every template
WITH_READS = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
LIVE = ("ENABLED", WITH_READS)
EXAMPLES = "192.0.2.0/24,198.51.100.0/24,203.0.113.0/24,2001:db8::/32"  # RFC 5737 and 3849
COLUMNS = ("sign-in path", "certainty", "rule", "class", "unrecognised", "recognised", "Region")


@dataclass(frozen=True)
class SignInPath:
    """One way in: its name for people, where AWS records it, how sure that is, and an event as EventBridge gets it."""

    name: str
    regions: tuple[str, ...]
    certainty: str  # documented, or inferred from what is
    event: Mapping[str, Any]

    @property
    def only_reads(self) -> bool:
        """Whether it comes through CloudTrail as a call that changes nothing."""
        through = str(self.event["detail-type"]).endswith("via CloudTrail")
        return through and self.event["detail"].get("readOnly") is True


@dataclass(frozen=True)
class Rule:
    """One rule that has the function as a target."""

    name: str
    state: str
    pattern: Mapping[str, Any]

    def hears(self, path: SignInPath) -> bool:
        """Say whether the rule's state lets it see the event at all.

        Amazon EventBridge User Guide, "Receiving read-only management events from AWS services".
        """
        return self.state in LIVE and (self.state == WITH_READS or not path.only_reads)


@dataclass(frozen=True)
class Row:
    """What becomes of one way in: class, a verdict by each kind of source, the rules that pass it on or fail to.

    ``through`` names the rules that hand it to the function, ``deaf`` those whose pattern takes it and whose state not.
    """

    path: SignInPath
    kind: str
    unrecognised: str
    recognised: str
    through: tuple[str, ...]
    deaf: tuple[str, ...]
    pending: bool = False  # a step that is looked at a second time

    @property
    def counts(self) -> bool:
        """Whether the function has to hear of it: most steps and all other events need not come through."""
        return self.pending or (self.unrecognised, self.recognised) != ("ignored", "ignored")

    @property
    def falls_through(self) -> bool:
        """Whether the function should hear of it and does not."""
        return self.counts and not self.through

    def cells(self) -> tuple[str, ...]:
        """Return what the table shows of it, a cell a column."""
        rule = ", ".join(self.through) or "; ".join(self.deaf) or ("none" if self.counts else "-")
        regions = ", ".join(self.path.regions)
        return (
            self.path.name,
            self.path.certainty,
            rule,
            self.kind,
            self.unrecognised,
            self.recognised,
            regions,
        )


def paths(file: Path = PATHS) -> list[SignInPath]:
    """Return every way in, in the order of the file, with the envelope that EventBridge puts around a record."""
    return [
        SignInPath(found["name"], tuple(found["regions"]), found["certainty"], _event(found))
        for found in json.loads(file.read_text(encoding="utf-8"))
    ]


def _event(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a whole event: TestEventPattern refuses one that lacks a field (EventBridge API reference)."""
    return {
        "version": "0",
        "id": "00000000-0000-0000-0000-000000000000",
        "detail-type": found["detail-type"],
        "source": found["source"],
        "account": "111122223333",
        "time": "2026-11-20T10:00:00Z",
        "region": found["detail"].get("awsRegion", "us-east-1"),
        "resources": [],
        "detail": found["detail"],
    }


def rules(folder: Path) -> list[Rule]:
    """Read from the templates in ``folder`` the rules that have the function as a target.

    A rule that is made on a condition is left out: nobody knows here whether it exists. Raises RefusedError for a
    folder without templates, for one that cannot be read, and for a rule whose pattern or state only AWS can work out.
    """
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise RefusedError(
            str(folder), "holds no template", "name a folder like cfn with --templates"
        )
    bodies = [
        (file, name, as_object(body))
        for file in files
        for name, body in as_object(templates.load(file).get("Resources")).items()
    ]
    return [_rule(file, name, body) for file, name, body in bodies if _serves(body)]


def _serves(body: Mapping[str, Any]) -> bool:
    targets = as_object(body.get("Properties")).get("Targets")
    given = (
        [as_object(target).get("Arn") for target in targets] if isinstance(targets, list) else []
    )
    return body.get("Type") == RULE and "Condition" not in body and FUNCTION in given


def _rule(file: Path, name: str, body: Mapping[str, Any]) -> Rule:
    state, pattern = (
        body["Properties"].get(key, other)
        for key, other in (("State", "ENABLED"), ("EventPattern", {}))
    )
    for part in (state, pattern):
        if function := _function_in(part):
            what = f"rule {name} holds {function}, which only CloudFormation can work out"
            raise RefusedError(str(file), what, "write its pattern and its state as plain values")
    return Rule(name, str(state), as_object(pattern))


def _function_in(node: object) -> str:
    """Return the first function of CloudFormation in what a template says, or nothing."""
    if isinstance(node, list):
        return next((found for found in map(_function_in, node) if found), "")
    if not isinstance(node, dict):
        return ""
    own = next((str(key) for key in node if key == "Ref" or str(key).startswith("Fn::")), "")
    return own or _function_in(list(node.values()))


def build_rows(ways: Sequence[SignInPath], given: Sequence[Rule], matches: Matches) -> list[Row]:
    """Work out a row for each way in; ``matches`` says whether a pattern takes an event."""
    return [_row(path, given, matches) for path in ways]


def _row(path: SignInPath, given: Sequence[Rule], matches: Matches) -> Row:
    reading = read(path.event)
    known = networks.parse(EXAMPLES)
    inside = isinstance(reading, SignIn) and networks.recognises_sign_in(
        known, reading.source, reading.endpoint, allowed_endpoints=()
    )
    taking = [rule for rule in given if rule.pattern and matches(rule.pattern, path.event)]
    return Row(
        path,
        CLASSES[type(reading)],
        unrecognised=_level(judge(reading, recognised=False, approved_elsewhere=False)),
        recognised=_level(judge(reading, recognised=inside, approved_elsewhere=False)),
        through=tuple(rule.name for rule in taking if rule.hears(path)),
        deaf=tuple(f"{rule.name} is {rule.state}" for rule in taking if not rule.hears(path)),
        pending=isinstance(reading, Step) and reading.pending,
    )


def _level(verdict: Verdict) -> str:
    return f"{verdict.level} high" if verdict.severity == "high" else verdict.level


def make_matcher(events: Any) -> Matches:
    """Return a matcher that asks EventBridge, ``events`` being its client."""

    def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
        asked = {"EventPattern": json.dumps(pattern), "Event": json.dumps(event)}
        return bool(events.test_event_pattern(**asked)["Result"])

    return matches


def run(folder: Path, owner: str, eventbridge: AbstractContextManager[Any], screen: Screen) -> None:
    """Show the whole matrix; ``eventbridge`` yields the EventBridge client of ``owner`` ("account 111122223333").

    Raises RefusedError as ``rules`` does, FailedError with the names of the paths that reach no function.
    """
    ways, given = paths(), rules(folder)
    screen.announce(f"asking EventBridge of {owner}: {len(ways)} paths, {len(given)} rules ...")
    with eventbridge as client:
        found = build_rows(ways, given, make_matcher(client))
    screen.matrix(COLUMNS, [row.cells() for row in found], [row.falls_through for row in found])
    wanted, lost = [row for row in found if row.counts], [row for row in found if row.falls_through]
    screen.announce(
        f"coverage {len(wanted) - len(lost)}/{len(wanted)} sign-in paths reach the function"
    )
    if lost:
        raise _finding(folder, lost)


def _finding(folder: Path, lost: Sequence[Row]) -> FailedError:
    named = "; ".join(
        f"{row.path.name} ({', '.join(row.deaf) or 'no rule takes it'})" for row in lost
    )
    what = f"{len(lost)} sign-in path{'s fall' if len(lost) > 1 else ' falls'} through: {named}"
    return FailedError(
        str(folder), what, f"widen a pattern, or set the rule's state to {WITH_READS}"
    )
