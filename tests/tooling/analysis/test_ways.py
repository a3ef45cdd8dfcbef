"""``coverage`` on templates with a fault: a way that brings nothing is a finding with its remedy.

EventBridge of the local AWS emulator says what a pattern matches. A fault is made in the templates
as data, so that it does not depend on how they are written.
"""

from __future__ import annotations

import functools
import shutil
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.emulator import EmulatorAccount
from tests.support.repository import ROOT
from tooling import templates
from tooling.analysis import coverage
from tooling.errors import FailedError
from tooling.resolved_templates import ACCOUNT, REGION
from tooling.terminal.screen import Screen

if TYPE_CHECKING:
    from pathlib import Path

    from tooling.local.emulator import Emulator

pytestmark = pytest.mark.local

FILTER, PERMISSION = "AWS::Logs::SubscriptionFilter", "AWS::Lambda::Permission"
TRAIL, RULE = "AWS::CloudTrail::Trail", "AWS::Events::Rule"
BUS_POLICY, ROLE = "AWS::Events::EventBusPolicy", "AWS::IAM::Role"
TRAIL_FILE, RULE_FILE, FORWARDER_FILE = "cloudtrail.yaml", "eventbridge.yaml", "forwarder.yaml"
ALL_PATHS_BY_TRAIL = "37 sign-in paths have no way by the trail: "
ANOTHER_GROUP_ARN = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/another:*"
ANOTHER_BUS_ARN = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/another"
FORWARDING_RULE = "ForwardingRule"
Resources = dict[str, Any]


class Events:
    """EventBridge of the emulator; it is asked once for each pattern and event."""

    def __init__(self, client: Any) -> None:
        self.test_event_pattern = functools.cache(client.test_event_pattern)


@pytest.fixture(scope="module")
def events(emulator: Emulator) -> Events:
    return Events(EmulatorAccount.on(emulator).client("events"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the templates."""
    copy = tmp_path / "templates"
    shutil.copytree(ROOT / "cfn", copy, ignore=shutil.ignore_patterns("policies"))
    return copy


def names_of(resources: Resources, kind: str) -> list[str]:
    return [name for name, body in resources.items() if body["Type"] == kind]


def edit(folder: Path, file: str) -> tuple[dict[str, Any], Path]:
    """A template as data, and where to write it back."""
    return templates.load(folder / file), folder / file


def set_property(folder: Path, file: str, name: str, key: str, value: object) -> None:
    """Set a property of a resource; None removes it. The key ``Targets.X`` is that of a target."""
    template, path = edit(folder, file)
    properties = template["Resources"][name]["Properties"]
    if key.startswith("Targets."):
        (properties,) = properties["Targets"]
        key = key.removeprefix("Targets.")
    assert key in properties or value is not None
    properties[key] = value
    if value is None:
        del properties[key]
    path.write_text(yaml.safe_dump(template))


def remove(folder: Path, file: str, *names: str) -> None:
    template, path = edit(folder, file)
    for name in names:
        del template["Resources"][name]
    path.write_text(yaml.safe_dump(template))


def resources(folder: Path, file: str) -> Resources:
    found: Resources = templates.load(folder / file)["Resources"]
    return found


def run(folder: Path, events: Events) -> None:
    coverage.run(folder, "the emulator", nullcontext(events), Screen())


def finding(folder: Path, events: Events) -> FailedError:
    with pytest.raises(FailedError) as caught:
        run(folder, events)
    assert caught.value.exit_code == 1
    assert caught.value.remedy
    return caught.value


class TestTrail:
    def test_every_filter_removed(self, folder: Path, events: Events) -> None:
        remove(folder, TRAIL_FILE, *names_of(resources(folder, TRAIL_FILE), FILTER))
        error = finding(folder, events)
        assert "no filter hands the trail's sign-ins to the function" in error.what
        assert ALL_PATHS_BY_TRAIL in error.what

    def test_filter_of_the_default_mode_removed(self, folder: Path, events: Events) -> None:
        remove(folder, TRAIL_FILE, names_of(resources(folder, TRAIL_FILE), FILTER)[0])
        assert ALL_PATHS_BY_TRAIL in finding(folder, events).what

    def test_each_filter_must_have_each_name(self, folder: Path, events: Events) -> None:
        for name in names_of(resources(folder, TRAIL_FILE), FILTER):
            original = (folder / TRAIL_FILE).read_text()
            pattern = resources(folder, TRAIL_FILE)[name]["Properties"]["FilterPattern"]
            narrowed = pattern.replace("($.eventName = ConsoleLogin) || ", "")
            assert narrowed != pattern
            set_property(folder, TRAIL_FILE, name, "FilterPattern", narrowed)
            error = finding(folder, events)
            assert f"{name} lacks ConsoleLogin" in error.what
            assert error.remedy == "give the filter each event name of the rules"
            (folder / TRAIL_FILE).write_text(original)

    @pytest.mark.parametrize(
        "pattern",
        [
            "{ ($.eventName = ConsoleLogin) && ($.eventName = CheckMfa) }",
            "{ ($.eventName = ConsoleLogin) || CheckMfa }",
            "($.eventName = ConsoleLogin)",
        ],
    )
    def test_pattern_of_another_form(self, folder: Path, events: Events, pattern: str) -> None:
        (name, *_) = names_of(resources(folder, TRAIL_FILE), FILTER)
        set_property(folder, TRAIL_FILE, name, "FilterPattern", pattern)
        error = finding(folder, events)
        assert f"{name} lacks AssumeRoleWithSAML, " in error.what
        assert ALL_PATHS_BY_TRAIL in error.what

    @pytest.mark.parametrize(
        ("key", "value", "what"),
        [
            ("LogGroupName", "/another", "is on another log group than the trail's"),
            ("DestinationArn", ANOTHER_GROUP_ARN, "does not hand its events to the function"),
        ],
    )
    def test_filter_between_wrong_ends(
        self, folder: Path, events: Events, key: str, value: str, what: str
    ) -> None:
        for name in names_of(resources(folder, TRAIL_FILE), FILTER):
            original = (folder / TRAIL_FILE).read_text()
            set_property(folder, TRAIL_FILE, name, key, value)
            assert f"{name} {what}" in finding(folder, events).what
            (folder / TRAIL_FILE).write_text(original)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            (None, None),
            ("Principal", "events.amazonaws.com"),
            ("Action", "lambda:GetFunction"),
            ("FunctionName", "another"),
            ("SourceArn", ANOTHER_GROUP_ARN),
            ("SourceArn", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/cloudtrail/signwatch"),
            ("SourceAccount", "444455556666"),
        ],
    )
    def test_each_filter_needs_its_permission(
        self, folder: Path, events: Events, key: str | None, value: str | None
    ) -> None:
        for name in names_of(resources(folder, TRAIL_FILE), PERMISSION):
            original = (folder / TRAIL_FILE).read_text()
            if key:
                set_property(folder, TRAIL_FILE, name, key, value)
            else:
                remove(folder, TRAIL_FILE, name)
            error = finding(folder, events)
            assert "no permission lets " in error.what
            assert "logs.amazonaws.com" in error.remedy
            (folder / TRAIL_FILE).write_text(original)

    @pytest.mark.parametrize(
        ("key", "value", "what"),
        [
            ("IsLogging", False, "IsLogging of Trail is not true: it records nothing"),
            ("IsMultiRegionTrail", False, "IsMultiRegionTrail of Trail is not true: it misses"),
            ("IsMultiRegionTrail", None, "IsMultiRegionTrail of Trail is not true: it misses"),
            ("IncludeGlobalServiceEvents", False, "IncludeGlobalServiceEvents of Trail is not"),
            ("EventSelectors", [{"ReadWriteType": "WriteOnly"}], "events that are reads"),
            ("EventSelectors", [{"ReadWriteType": "ReadOnly"}], "events that are writes"),
            ("EventSelectors", [{"IncludeManagementEvents": False}], "events that are reads"),
            ("AdvancedEventSelectors", [], "events that are reads"),
            ("CloudWatchLogsLogGroupArn", None, "Trail writes to no log group"),
            ("CloudWatchLogsRoleArn", None, "Trail writes to no log group"),
            ("CloudWatchLogsLogGroupArn", ANOTHER_GROUP_ARN, "is on another log group"),
        ],
    )
    def test_trail_that_does_not_record_sign_ins(
        self, folder: Path, events: Events, key: str, value: object, what: str
    ) -> None:
        set_property(folder, TRAIL_FILE, "Trail", key, value)
        error = finding(folder, events)
        assert what in error.what
        assert ALL_PATHS_BY_TRAIL in error.what

    def test_trail_removed(self, folder: Path, events: Events) -> None:
        remove(folder, TRAIL_FILE, "Trail")
        assert "there is no trail" in finding(folder, events).what

    def test_two_selectors_may_share_the_events(self, folder: Path, events: Events) -> None:
        halves = [{"ReadWriteType": "WriteOnly"}, {"ReadWriteType": "ReadOnly"}]
        set_property(folder, TRAIL_FILE, "Trail", "EventSelectors", halves)
        run(folder, events)

    def test_one_filter_may_serve_both_modes(self, folder: Path, events: Events) -> None:
        template, path = edit(folder, TRAIL_FILE)
        parts: Resources = template["Resources"]
        (name, *other_filters) = names_of(parts, FILTER)
        (permission, *other_permissions) = names_of(parts, PERMISSION)
        for other in (*other_filters, *other_permissions):
            del parts[other]
        for body in (parts[name], parts[permission]):
            body.pop("Condition", None)
        parts[name]["Properties"]["LogGroupName"] = {"Ref": "TrailLogGroupName"}
        start = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:"
        source = {"Fn::Sub": start + "${TrailLogGroupName}:*"}
        parts[permission]["Properties"]["SourceArn"] = source
        path.write_text(yaml.safe_dump(template))
        run(folder, events)
        set_property(folder, TRAIL_FILE, name, "LogGroupName", "/aws/cloudtrail/signwatch")
        error = finding(folder, events)
        assert f"with TrailMode existing, {TRAIL_FILE}: {name} is on another log" in error.what


class TestForwarder:
    def test_template_removed(self, folder: Path, events: Events) -> None:
        (folder / FORWARDER_FILE).unlink()
        error = finding(folder, events)
        assert "forwarder.yaml: is missing, so no deploy can make a forwarder" in error.what
        assert error.remedy == "restore the file with git"

    @pytest.mark.parametrize(
        ("key", "value", "what"),
        [
            ("State", "ENABLED", f"{coverage.load_paths()[13].name} (ForwarderRule is ENABLED)"),
            ("State", "DISABLED", "console: root (ForwarderRule is DISABLED)"),
            ("EventBusName", "own", "no rule on the default bus sends to the bus of the rules"),
            ("Targets.Arn", ANOTHER_BUS_ARN, "no rule on the default bus sends to the bus of the"),
            ("Targets.RoleArn", None, "ForwarderRule has no RoleArn, so it cannot send to bus"),
        ],
    )
    def test_rule_that_sends_too_little(
        self, folder: Path, events: Events, key: str, value: str | None, what: str
    ) -> None:
        set_property(folder, FORWARDER_FILE, "ForwarderRule", key, value)
        error = finding(folder, events)
        assert what in error.what
        assert "no way by the trail" not in error.what

    def test_name_missing_in_the_pattern_leaves_the_trail(
        self, folder: Path, events: Events, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = (folder / FORWARDER_FILE).read_text()
        (folder / FORWARDER_FILE).write_text(text.replace("- SwitchRole\n", "- AssumeRoot\n"))
        error = finding(folder, events)
        lost = "console: role switched (no rule of forwarder.yaml sends it)"
        assert error.what == f"1 sign-in paths have no way by a forwarder: {lost}"
        assert "ForwardingRule" in error.remedy
        shown = " ".join(capsys.readouterr().out.split())
        assert "by a Region's forwarder, at once: 37/38" in shown
        assert "by the trail, some minutes later: 37/37" in shown

    def test_region_without_any_way(self, folder: Path, events: Events) -> None:
        remove(folder, TRAIL_FILE, "Trail")
        (folder / FORWARDER_FILE).unlink()
        what = finding(folder, events).what
        _, _, lost = what.partition("37 sign-in paths have no way at all from another Region: ")
        assert lost.startswith("console: IAM user (us-east-1); console: IAM user, account alias")


class TestBuses:
    def test_forwarding_rule_without_a_role(self, folder: Path, events: Events) -> None:
        set_property(folder, RULE_FILE, FORWARDING_RULE, "Targets.RoleArn", None)
        error = finding(folder, events)
        what = f"{FORWARDING_RULE} has no RoleArn, so it cannot send to bus own"
        assert error.what == f"with EventBusName set, {RULE_FILE}: {what}"
        assert error.remedy == "give its target a role that may put events on own"

    @pytest.mark.parametrize(
        "value", [f"arn:aws:iam::{ACCOUNT}:role/another", {"Fn::GetAtt": ["CustomBus", "Arn"]}]
    )
    def test_role_that_nothing_makes(self, folder: Path, events: Events, value: object) -> None:
        set_property(folder, RULE_FILE, FORWARDING_RULE, "Targets.RoleArn", value)
        what = f"the role of {FORWARDING_RULE} may not put events on bus own"
        assert what in finding(folder, events).what

    def test_role_without_the_right(self, folder: Path, events: Events) -> None:
        (name,) = names_of(resources(folder, RULE_FILE), ROLE)
        set_property(folder, RULE_FILE, name, "Policies", [])
        what = finding(folder, events).what
        assert "the role of ForwarderRule may not put events on bus default" in what

    def test_each_bus_policy_is_needed(self, folder: Path, events: Events) -> None:
        for name in names_of(resources(folder, RULE_FILE), BUS_POLICY):
            original = (folder / RULE_FILE).read_text()
            remove(folder, RULE_FILE, name)
            error = finding(folder, events)
            assert "policy" in error.what
            assert error.remedy
            (folder / RULE_FILE).write_text(original)

    @pytest.mark.parametrize(
        ("key", "value"), [("Action", "events:PutRule"), ("Resource", ANOTHER_BUS_ARN)]
    )
    def test_bus_policy_that_admits_nobody(
        self, folder: Path, events: Events, key: str, value: str
    ) -> None:
        template, path = edit(folder, RULE_FILE)
        for name in names_of(template["Resources"], BUS_POLICY):
            template["Resources"][name]["Properties"]["Statement"][key] = value
        path.write_text(yaml.safe_dump(template))
        what = finding(folder, events).what
        assert "no policy of bus default admits the role of ForwarderRule" in what
        assert "no bus policy admits the accounts of the organisation" in what


def test_the_templates_as_they_are_have_no_finding(folder: Path, events: Events) -> None:
    run(folder, events)
