"""``invoke coverage``: shows each sign-in path, and how its event reaches the function.

There are three ways: a rule on the home Region's bus sends it to the function, a forwarder of
another Region brings it to that rule, and the filter on the trail's log group hands it on some
minutes later.

A sign-in path is one way to sign in; ``sign_in_paths.json`` has them, each with an example of its
event. A rule of EventBridge sends the events that its pattern matches to its targets; the templates
have the rules. EventBridge tells which events a pattern matches (TestEventPattern): that of the
local AWS emulator, or of an account.

A rule on another bus than the default one receives only what a rule of the default bus forwards to
it. Both are judged: with the rules on the default bus, and on one with a name (``buses``).

The function's own modules tell the class of an event (sign-in, step, other, unreadable) and the
verdict on it, such as "alert high". The verdict also depends on whether the source, the address
that the person signs in from, is recognised. ``as_object`` returns {} for what is not a mapping.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signwatch.detection import networks
from signwatch.detection.record import as_object
from signwatch.detection.signin import SignIn, Step, read
from signwatch.detection.verdict import judge
from tooling import resolved_templates, templates
from tooling.analysis import buses, forwarding, trail_filter
from tooling.analysis.explain_report import CLASS_NAMES, format_level
from tooling.deploy.aws_ranges import is_aws_address
from tooling.errors import FailedError, RefusedError
from tooling.progress import Ongoing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from signwatch.detection.signin import ParsedEvent
    from tooling.terminal.screen import Screen

    # Gets a pattern and an event, and returns whether the pattern matches the event.
    Matcher = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]

PATHS_FILE = Path(__file__).with_name("sign_in_paths.json")
FUNCTION_ARN = {"Ref": "FunctionArn"}  # the parameter has this name in every template
ENABLED_WITH_READS = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
# All addresses in the examples are in these networks (RFC 5737 and 3849, for documentation).
EXAMPLE_NETWORKS = "192.0.2.0/24,198.51.100.0/24,203.0.113.0/24,2001:db8::/32"
COLUMNS = ("sign-in path", "rule", "class", "unrecognised", "recognised", "Region: its ways")
HOME_BUS, FORWARDER, TRAIL = "home bus", "forwarder", "trail"  # the ways
FORWARDER_IF_ANY = "forwarder if any"
# The choices of an owner for which the ways are judged; the first are the defaults.
MODES: dict[str, dict[str, str]] = {
    "": {},
    "with EventBusName set, ": {"EventBusName": buses.CUSTOM_BUS},
    "with TrailMode existing, ": {"TrailMode": "existing", "TrailLogGroupName": "/a/trail"},
    "with OrganizationId set, ": {"OrganizationId": "o-a1b2c3d4e5"},
}


@dataclass(frozen=True)
class SignInPath:
    """One way to sign in."""

    name: str
    regions: tuple[str, ...]  # where AWS records it: "us-east-1", or in words "the console's"
    certainty: str  # "documented" by AWS, or "inferred"
    event: Mapping[str, Any]  # an example of its event, as EventBridge delivers it

    @property
    def mark(self) -> str:
        """What follows its name in the table: it is marked unless AWS documents it."""
        return "" if self.certainty == "documented" else f" ({self.certainty})"

    @property
    def is_read_only(self) -> bool:
        """Whether its event is of an API call that changes nothing."""
        is_from_cloudtrail = str(self.event["detail-type"]).endswith("via CloudTrail")
        return is_from_cloudtrail and self.event["detail"].get("readOnly") is True


@dataclass(frozen=True)
class Rule:
    """One rule that has the function as a target, or that forwards to another bus.

    ``forwarding_rules`` are those of the default bus that forward to its bus, if that is another.
    """

    name: str
    state: str  # ENABLED, DISABLED or ENABLED_WITH_READS
    pattern: Mapping[str, Any]
    bus: str = buses.DEFAULT_BUS
    forwarding_rules: tuple[Rule, ...] = ()

    def can_receive(self, path: SignInPath) -> bool:
        """Return whether the rule's state lets it receive the path's event.

        A rule in the state ENABLED receives no events of read-only calls (Amazon EventBridge User
        Guide, "Receiving read-only management events from AWS services").
        """
        if self.state == "ENABLED":
            return not path.is_read_only
        return self.state == ENABLED_WITH_READS

    def explain_loss(self, path: SignInPath, matches: Matcher) -> str:
        """Return why the rule, which matches the path's event, does not get it; "" if it does."""
        if not self.can_receive(path):
            return f"{self.name} is {self.state}"
        if self.bus == buses.DEFAULT_BUS:
            return ""
        if not self.forwarding_rules:
            return f"{self.name} is on bus {self.bus}, which receives nothing"
        matching = [rule for rule in self.forwarding_rules if matches(rule.pattern, path.event)]
        losses = [rule.explain_loss(path, matches) for rule in matching]
        if not matching:
            return f"nothing forwards it to {self.name} on bus {self.bus}"
        return "" if "" in losses else losses[0]


@dataclass(frozen=True)
class Row:
    """One sign-in path with its class, both verdicts, and the rules that match its event."""

    path: SignInPath
    class_name: str
    unrecognised: str  # the verdict if the source is not recognised
    recognised: str  # the verdict if it is
    rules: tuple[str, ...]  # the names of those that send the event to the function
    disabled_rules: tuple[str, ...]  # "NAME is DISABLED": why others that match do not get it
    is_pending: bool = False  # a step that the function checks again later
    is_forwarded: bool = False  # a forwarder sends the event from its Region
    is_by_trail: bool = False  # the trail's log group hands it on

    @property
    def is_required(self) -> bool:
        """Whether the function needs the event; it ignores most steps and other events."""
        is_ignored = self.unrecognised == self.recognised == "ignored"
        return self.is_pending or not is_ignored

    @property
    def is_lost(self) -> bool:
        """Whether the function needs the event (``is_required``) and no rule sends it."""
        return self.is_required and not self.rules

    @property
    def event_name(self) -> str:
        """The name of its event; AWS's own alert has none."""
        return str(self.path.event["detail"].get("eventName", ""))

    @property
    def is_recorded(self) -> bool:
        """Whether the trail can bring its event; of AWS's own alert, no trail has a record."""
        return trail_filter.is_recorded(self.path.event)

    def list_ways(self, region: str) -> list[str]:
        """Return by which ways the event comes if ``region`` is where AWS records it.

        A Region that only words describe has a forwarder only if the owner has chosen it.
        """
        ways = [HOME_BUS] if self.rules else []
        if self.is_forwarded:
            has_forwarder = region in forwarding.FORWARDED_REGIONS
            ways.append(FORWARDER if has_forwarder else FORWARDER_IF_ANY)
        return [*ways, TRAIL] if self.is_by_trail else ways

    def list_regions_without_way(self) -> list[str]:
        """Return the Regions whose sign-ins are lost, unless that Region is the home Region."""
        if not (self.is_required and self.is_recorded):
            return []
        certain = {FORWARDER, TRAIL}
        return [
            name for name in self.path.regions if not certain.intersection(self.list_ways(name))
        ]

    def format_cells(self) -> tuple[str, ...]:
        """Return one cell for each of COLUMNS."""
        rules = ", ".join(self.rules) or "; ".join(self.disabled_rules)
        if not rules:
            rules = "none" if self.is_required else "-"
        return (
            self.path.name + self.path.mark,
            rules,
            self.class_name,
            self.unrecognised,
            self.recognised,
            self._format_regions(),
        )

    def _format_regions(self) -> str:
        """Return the Regions, each with its ways; those with the same ways stand together."""
        if not self.is_required:
            return ", ".join(self.path.regions)
        regions_by_ways: dict[str, list[str]] = {}
        for region in self.path.regions:
            ways = ", ".join(self.list_ways(region)) or "none"
            regions_by_ways.setdefault(ways, []).append(region)
        return "; ".join(f"{', '.join(names)}: {ways}" for ways, names in regions_by_ways.items())


def load_paths(file: Path = PATHS_FILE) -> list[SignInPath]:
    """Return every sign-in path in the order of the file."""
    return [
        SignInPath(path["name"], tuple(path["regions"]), path["certainty"], _build_event(path))
        for path in json.loads(file.read_text(encoding="utf-8"))
    ]


def _build_event(path: Mapping[str, Any]) -> dict[str, Any]:
    """Return the example event of a path, which is one object of the file.

    TestEventPattern requires all fields that an event has around its ``detail`` (Amazon EventBridge
    API Reference).
    """
    return {
        "version": "0",
        "id": "00000000-0000-0000-0000-000000000000",
        "detail-type": path["detail-type"],
        "source": path["source"],
        "account": "111122223333",
        "time": "2026-11-20T10:00:00Z",
        "region": path["detail"].get("awsRegion", "us-east-1"),
        "resources": [],
        "detail": path["detail"],
    }


def load_rules(folder: Path, bus_name: str = buses.DEFAULT_BUS) -> list[Rule]:
    """Return the rules in the templates of ``folder`` that have the function as a target.

    ``bus_name`` is the value of EventBusName. A rule with another condition is left out, since it
    may not exist. Raises RefusedError for a folder without templates, an unreadable template, and a
    rule whose pattern or state only CloudFormation can resolve.
    """
    files = sorted(folder.glob("*.yaml"))
    if not files:
        remedy = "name a folder like cfn with --templates"
        raise RefusedError(str(folder), "contains no template", remedy)
    rules = []
    for file in files:
        template = buses.Template(templates.load(file), bus_name)
        rules += _load_rules(file, template)
    return rules


def _load_rules(file: Path, template: buses.Template) -> list[Rule]:
    """Return the rules of one template, whose content is ``template``."""
    bodies = {
        name: body
        for name, body in template.resources.items()
        if body.get("Type") == buses.RULE_TYPE
    }
    forwarding = [
        (_build_rule(file, name, body["Properties"]), template.list_forwarded_buses(body))
        for name, body in bodies.items()
        if template.find_bus(body) == buses.DEFAULT_BUS and template.list_forwarded_buses(body)
    ]
    rules = []
    for name, body in bodies.items():
        if _sends_to_function(body):
            bus = template.find_bus(body)
            sources = tuple(rule for rule, reached in forwarding if bus in reached)
            rule = _build_rule(file, name, body["Properties"])
            rules.append(replace(rule, bus=bus, forwarding_rules=sources))
    return rules


def _sends_to_function(resource: Mapping[str, Any]) -> bool:
    """Return whether a rule has the function as a target."""
    targets = as_object(resource.get("Properties")).get("Targets")
    if not isinstance(targets, list):
        return False
    return any(as_object(target).get("Arn") == FUNCTION_ARN for target in targets)


def _build_rule(file: Path, name: str, properties: Mapping[str, Any]) -> Rule:
    """Return the rule called ``name`` in the template ``file``.

    Raises RefusedError if only CloudFormation can resolve its pattern or its state.
    """
    state, pattern = properties.get("State", "ENABLED"), properties.get("EventPattern", {})
    function = _find_intrinsic_function([state, pattern])
    if function:
        what = f"rule {name} contains {function}, which only CloudFormation can resolve"
        raise RefusedError(str(file), what, "write its pattern and its state as plain values")
    return Rule(name, str(state), as_object(pattern))


def _find_intrinsic_function(node: object) -> str:
    """Return the name of the first intrinsic function in ``node``, such as "Fn::Sub", or "".

    ``node`` is a part of a template: a mapping, a list or a single value. Its children are searched
    too.
    """
    children: list[object] = []
    if isinstance(node, dict):
        for key in map(str, node):
            if key == "Ref" or key.startswith("Fn::"):
                return key
        children = list(node.values())
    elif isinstance(node, list):
        children = node
    for child in children:
        function = _find_intrinsic_function(child)
        if function:
            return function
    return ""


def build_rows(paths: Sequence[SignInPath], rules: Sequence[Rule], matches: Matcher) -> list[Row]:
    """Return a row for each sign-in path; ``matches`` says if a pattern matches an event."""
    return [_build_row(path, rules, matches) for path in paths]


def _build_row(path: SignInPath, rules: Sequence[Rule], matches: Matcher) -> Row:
    """Judge the example event of a path as the function does, and match each rule against it."""
    parsed_event = read(path.event, is_aws_address)
    # approved_elsewhere=False: a device code was used from the address where it was approved.
    unrecognised = judge(parsed_event, recognised=False, approved_elsewhere=False)
    is_recognised = _can_be_recognised(parsed_event)
    recognised = judge(parsed_event, recognised=is_recognised, approved_elsewhere=False)
    receiving, disabled = [], []
    for rule in rules:
        if not (rule.pattern and matches(rule.pattern, path.event)):
            continue
        if loss := rule.explain_loss(path, matches):
            disabled.append(loss)
        else:
            receiving.append(rule.name)
    return Row(
        path,
        CLASS_NAMES[type(parsed_event)],
        unrecognised=format_level(unrecognised),
        recognised=format_level(recognised),
        rules=tuple(receiving),
        disabled_rules=tuple(disabled),
        is_pending=isinstance(parsed_event, Step) and parsed_event.is_right_password,
    )


def _can_be_recognised(parsed_event: ParsedEvent) -> bool:
    """Return whether it is a sign-in whose source is an address, and not "AWS Internal".

    All addresses in the examples are in EXAMPLE_NETWORKS; one outside of them is no address.
    """
    return isinstance(parsed_event, SignIn) and networks.recognises_sign_in(
        networks.parse_list(EXAMPLE_NETWORKS),
        parsed_event.source,
        parsed_event.vpc_endpoint,
        allowed_endpoints=(),
    )


def make_matcher(events: Any) -> Matcher:
    """Return a matcher that asks EventBridge; ``events`` is a boto3 client of it.

    It asks once for each pattern and event.
    """

    @functools.cache
    def ask(pattern: str, event: str) -> bool:
        """Return EventBridge's answer on a pattern and an event, both as JSON."""
        return bool(events.test_event_pattern(EventPattern=pattern, Event=event)["Result"])

    def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
        """Return EventBridge's answer: whether the pattern matches the event."""
        return ask(json.dumps(pattern), json.dumps(event))

    return matches


def run(
    folder: Path, account_label: str, eventbridge: AbstractContextManager[Any], screen: Screen
) -> None:
    """Show all sign-in paths and the rules in the templates of ``folder`` that match them.

    ``eventbridge`` yields a boto3 client. ``account_label`` says where its requests go:
    "account 111122223333" or "the local AWS emulator".
    Raises RefusedError as ``load_rules`` does, and if the templates cannot be resolved. Raises
    FailedError if a required event is lost by a rule, by a forwarder or by the trail: each of the
    last two is the only way for what another Region's bus, or any bus, loses.
    """
    paths, rules = load_paths(), load_rules(folder)
    rules_on_custom_bus = load_rules(folder, buses.CUSTOM_BUS)
    deployments = {
        mode: resolved_templates.resolve(folder, changes) for mode, changes in MODES.items()
    }
    stacks = deployments[""]
    forwarders = [
        _build_rule(folder, name, properties)
        for name, properties in forwarding.list_forwarders(stacks).items()
    ]
    counts = f"{len(paths)} paths, {len(rules)} rules"
    screen.announce(Ongoing(f"asking EventBridge of {account_label}: {counts}"))
    with eventbridge as client:
        matches = make_matcher(client)
        rows = build_rows(paths, rules, matches)
        rows_on_custom_bus = build_rows(paths, rules_on_custom_bus, matches)
        forwarded_rows = build_rows(paths, forwarders, matches)
    names = _list_names_for_trail(rows)
    handed_on, _ = trail_filter.judge(stacks, names)
    rows = [
        replace(
            row,
            is_forwarded=bool(forwarded.rules),
            is_by_trail=row.is_recorded and row.event_name in handed_on,
        )
        for row, forwarded in zip(rows, forwarded_rows, strict=True)
    ]
    _show(screen, rows)
    if rules_on_custom_bus != rules:
        screen.announce(f"with EventBusName set, {_format_total(rows_on_custom_bus)}")
    screen.announce(_format_total(rows))
    _refuse_dead_buses(folder, [*rules, *rules_on_custom_bus])
    _refuse_losses(folder, {"": rows, "with EventBusName set, ": rows_on_custom_bus})
    _refuse_dead_ways(folder, rows, forwarded_rows, _find_problems(deployments, names))


def _list_names_for_trail(rows: Sequence[Row]) -> frozenset[str]:
    """Return the event names that the trail must hand to the function."""
    return frozenset(row.event_name for row in rows if row.is_required and row.is_recorded)


def _show(screen: Screen, rows: Sequence[Row]) -> None:
    """Print the table, and how many of the required events come from other Regions by each way."""
    needs = [row for row in rows if row.is_required]
    is_red = [
        row.is_required
        and (row.is_lost or not row.is_forwarded or row.is_by_trail != row.is_recorded)
        for row in rows
    ]
    screen.print_table(COLUMNS, [row.format_cells() for row in rows], is_red)
    forwarded = sum(row.is_forwarded for row in needs)
    screen.announce(f"by a Region's forwarder, at once: {forwarded}/{len(needs)}")
    by_trail, recorded = (
        sum(row.is_by_trail for row in needs),
        sum(row.is_recorded for row in needs),
    )
    screen.announce(f"by the trail, some minutes later: {by_trail}/{recorded}")


def _format_total(rows: Sequence[Row]) -> str:
    """Return how many of the required events reach the function."""
    required = [row for row in rows if row.is_required]
    covered = sum(not row.is_lost for row in required)
    return f"coverage {covered}/{len(required)} sign-in paths reach the function"


def _refuse_losses(folder: Path, rows_by_mode: Mapping[str, Sequence[Row]]) -> None:
    """Raise FailedError if a required event is lost, with each cause.

    ``rows_by_mode`` has the rows by the words that say on which bus the rules are.
    """
    for mode, rows in rows_by_mode.items():
        causes = [
            f"{row.path.name} ({', '.join(row.disabled_rules) or 'no rule matches it'})"
            for row in rows
            if row.is_lost  # a lost row is always a required one
        ]
        if causes:
            required = sum(row.is_required for row in rows)
            counts = f"{len(causes)} of {required} sign-in paths do not reach the function: "
            remedy = f"widen a pattern, or set the rule's state to {ENABLED_WITH_READS}"
            if any("on bus" in cause for cause in causes):
                remedy = "put the rule on the default bus, or forward every sign-in from there"
            raise FailedError(str(folder), mode + counts + "; ".join(causes), remedy)


def _refuse_dead_buses(folder: Path, rules: Sequence[Rule]) -> None:
    """Raise FailedError if a rule is on a bus that receives nothing, even if no path needs it."""
    for rule in rules:
        if rule.bus != buses.DEFAULT_BUS and not rule.forwarding_rules:
            what = f"rule {rule.name} is on bus {rule.bus}, which receives nothing"
            remedy = "put it on the default bus, or forward every sign-in from there"
            raise FailedError(str(folder), what, remedy)


def _find_problems(
    deployments: Mapping[str, Mapping[str, resolved_templates.Stack]], names: frozenset[str]
) -> dict[str, str]:
    """Return what is wrong with the trail or between buses, with the remedy of each.

    ``deployments`` has the stacks for each of MODES; what is wrong in several is told of the first.
    """
    remedies: dict[str, str] = {}
    found: set[str] = set()
    for mode, stacks in deployments.items():
        _, of_trail = trail_filter.judge(stacks, names)
        for problem in [*of_trail, *forwarding.find_problems(stacks)]:
            text = f"{problem.where}: {problem.what}"
            if text not in found:
                remedies[mode + text] = problem.remedy
            found.add(text)
    return remedies


def _refuse_dead_ways(
    folder: Path, rows: Sequence[Row], forwarded_rows: Sequence[Row], problems: Mapping[str, str]
) -> None:
    """Raise FailedError if a forwarder or the trail does not bring what it must, with each cause.

    ``forwarded_rows`` have the rules of a forwarder. ``problems`` are those of _find_problems.
    """
    required = [row for row in rows if row.is_required]
    without_forwarder = [
        f"{row.path.name} ({', '.join(row.disabled_rules) or 'no rule of forwarder.yaml sends it'})"
        for row in forwarded_rows
        if row.is_lost
    ]
    losses = {
        "by the trail": [row.path.name for row in required if row.is_recorded > row.is_by_trail],
        "by a forwarder": without_forwarder,
        "at all from another Region": [
            f"{row.path.name} ({', '.join(regions)})"
            for row in required
            if (regions := row.list_regions_without_way())
        ],
    }
    counts = [
        f"{len(paths)} sign-in paths have no way {way}: {'; '.join(paths)}"
        for way, paths in losses.items()
        if paths
    ]
    remedies = list(problems.values())
    if without_forwarder and not remedies:
        remedies = ["give the rule in forwarder.yaml the pattern and state of ForwardingRule"]
    if problems or counts:
        what = "; ".join([*problems, *counts])
        raise FailedError(str(folder), what, "; ".join(dict.fromkeys(remedies)))
