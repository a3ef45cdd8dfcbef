"""``coverage``: each sign-in path has its row, and a path that no rule hands over is a finding."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.detection import networks, sign_in_paths, signin
from signwatch.detection.record import open_record
from tests.support.emulator import EmulatorAccount
from tests.support.refusals import refusal_of
from tests.support.repository import ROOT, blocks
from tooling.analysis import coverage
from tooling.analysis.forwarding import FORWARDED_REGIONS
from tooling.deploy.aws_ranges import is_aws_address
from tooling.operate.forwarders import SIGN_IN_REGIONS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tooling.local.emulator import Emulator

PATHS = {path.name: path for path in coverage.load_paths()}
WITH_READS = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
DETAIL_TYPES = {  # by CloudTrail's eventType
    "AwsConsoleSignIn": "AWS Console Sign In via CloudTrail",
    "AwsApiCall": "AWS API Call via CloudTrail",
    "AwsServiceEvent": "AWS Service Event via CloudTrail",
}
ROOT_USER = "console: root"
ROLE_KEYS = "aws sso login: keys of a role"
ANOMALY = "AWS's own anomaly alert"
NO_ADDRESS = "Identity Center: from AWS Internal"
TEMPLATE = """
Resources:
  Rule:
    Type: AWS::Events::Rule
    Properties:
      State: ENABLED
      EventPattern: {source: [aws.signin]}
      Targets: [{Id: function, Arn: !Ref FunctionArn}]
"""


def matches_name(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Match by a list of event names, in place of EventBridge; the anomaly has its detail-type."""
    return event["detail"].get("eventName", event["detail-type"]) in pattern["names"]


def row(name: str, state: str = WITH_READS, *events: str) -> coverage.Row:
    """The row of one sign-in path, with one rule in this state that matches these events."""
    return row_with({"names": events}, name, state)


def row_with(pattern: Mapping[str, Any], name: str, state: str = WITH_READS) -> coverage.Row:
    rule = coverage.Rule("Rule", state, pattern)
    (only,) = coverage.build_rows([PATHS[name]], [rule], matches_name)
    return only


def write_template(folder: Path, old: str = "", new: str = "") -> Path:
    """Write the template with one edit, and return its folder."""
    assert old in TEMPLATE
    (folder / "eventbridge.yaml").write_text(TEMPLATE.replace(old, new) if old else TEMPLATE)
    return folder


class TestPaths:
    def test_every_path_and_step_that_the_function_reads_has_a_row(self) -> None:
        """Nobody can add a sign-in path to the function without saying how its event arrives."""
        records = [open_record(path.event) for path in PATHS.values()]
        names = {(record.service.partition(".")[0], record.name.lower()) for record in records}
        assert {*sign_in_paths.PATHS, *sign_in_paths.STEPS} - names == set()
        detail_types = {str(record.envelope.get("detail-type")).lower() for record in records}
        assert sign_in_paths.ANOMALY_TYPE in detail_types

    def test_each_name_is_unique(self) -> None:
        assert len(PATHS) == len(coverage.load_paths())

    @pytest.mark.parametrize("name", PATHS)
    def test_each_path_has_regions_and_a_certainty_and_can_be_read(self, name: str) -> None:
        path = PATHS[name]
        assert path.regions
        assert path.certainty in ("documented", "inferred")
        assert not isinstance(signin.read(path.event), signin.Unreadable)

    @pytest.mark.parametrize("name", [name for name in PATHS if name != ANOMALY])
    def test_each_envelope_fits_the_record(self, name: str) -> None:
        event = PATHS[name].event
        assert event["source"] == f"aws.{event['detail']['eventSource'].partition('.')[0]}"
        assert event["detail-type"] == DETAIL_TYPES[event["detail"]["eventType"]]

    @pytest.mark.parametrize("name", [name for name in PATHS if name not in (ANOMALY, NO_ADDRESS)])
    def test_each_source_is_in_the_example_networks_or_is_of_aws(self, name: str) -> None:
        known = networks.parse_list(coverage.EXAMPLE_NETWORKS)
        source = PATHS[name].event["detail"]["sourceIPAddress"]
        is_of_portal = name in (
            "portal: role taken for the user",
            "portal: console session prepared",
        )
        assert networks.recognises(known, source) is not is_of_portal
        assert is_aws_address(source) is is_of_portal


class TestRuleState:
    """Amazon EventBridge User Guide, "Receiving read-only management events from AWS services"."""

    @pytest.mark.parametrize(
        ("name", "event", "state", "is_received"),
        [
            (ROOT_USER, "ConsoleLogin", WITH_READS, True),
            (ROOT_USER, "ConsoleLogin", "ENABLED", True),
            (ROOT_USER, "ConsoleLogin", "DISABLED", False),
            (ROLE_KEYS, "GetRoleCredentials", WITH_READS, True),
            (ROLE_KEYS, "GetRoleCredentials", "ENABLED", False),
            (ROLE_KEYS, "GetRoleCredentials", "DISABLED", False),
            (ANOMALY, "Sign-in Anomaly Alert", WITH_READS, True),
            (ANOMALY, "Sign-in Anomaly Alert", "ENABLED", True),
            (ANOMALY, "Sign-in Anomaly Alert", "DISABLED", False),
        ],
    )
    def test_the_state_of_a_rule_decides_which_events_it_receives(
        self, name: str, event: str, state: str, is_received: bool
    ) -> None:
        only = row(name, state, event)
        assert only.is_lost is not is_received
        assert only.rules == (("Rule",) if is_received else ())
        assert only.disabled_rules == (() if is_received else (f"Rule is {state}",))

    def test_an_event_that_is_not_from_cloudtrail_is_never_read_only(self) -> None:
        event = {**PATHS[ANOMALY].event, "detail": {"readOnly": True}}
        assert not coverage.SignInPath("x", ("us-east-1",), "inferred", event).is_read_only


class TestRow:
    def test_a_sign_in_without_a_matching_rule_is_lost(self) -> None:
        lost = row(ROOT_USER, WITH_READS, "SwitchRole")
        assert lost.is_lost
        verdicts = ("alert high", "alert high")
        cells = (ROOT_USER, "none", "sign-in", *verdicts, "us-east-1: none")
        assert lost.format_cells() == cells

    def test_a_path_whose_record_aws_does_not_document_is_marked(self) -> None:
        name = "console: role session goes on"
        assert row(name).format_cells()[0] == f"{name} (inferred)"

    @pytest.mark.parametrize(
        ("name", "class_name"),
        [("console: role session goes on", "step"), ("root: password changed", "other")],
    )
    def test_an_event_that_is_no_sign_in_is_not_required(self, name: str, class_name: str) -> None:
        assert not row(name).is_lost
        assert row(name).format_cells()[1:5] == ("-", class_name, "ignored", "ignored")

    @pytest.mark.parametrize(
        "name", ["console: second factor asked for", "Identity Center: factor right"]
    )
    def test_a_step_that_the_function_looks_at_twice_is_required(self, name: str) -> None:
        assert row(name).is_lost
        assert row(name).format_cells()[1:3] == ("none", "step")

    @pytest.mark.parametrize(
        ("is_forwarded", "is_by_trail", "cell", "without_way"),
        [
            (
                True,
                True,
                (
                    "us-east-1: home bus, forwarder, trail; "
                    "the SAML endpoint's: home bus, forwarder if any, trail"
                ),
                [],
            ),
            (False, True, "us-east-1, the SAML endpoint's: home bus, trail", []),
            (
                True,
                False,
                "us-east-1: home bus, forwarder; the SAML endpoint's: home bus, forwarder if any",
                ["the SAML endpoint's"],
            ),
            (
                False,
                False,
                "us-east-1, the SAML endpoint's: home bus",
                ["us-east-1", "the SAML endpoint's"],
            ),
        ],
    )
    def test_each_region_has_its_ways(
        self, is_forwarded: bool, is_by_trail: bool, cell: str, without_way: list[str]
    ) -> None:
        sent = row("console: federated user", WITH_READS, "ConsoleLogin")
        judged = replace(sent, is_forwarded=is_forwarded, is_by_trail=is_by_trail)
        assert judged.format_cells()[-1] == cell
        assert judged.list_regions_without_way() == without_way

    def test_the_anomaly_alert_of_aws_is_in_no_trail(self) -> None:
        assert not row(ANOMALY).is_recorded
        assert row(ANOMALY).list_regions_without_way() == []

    def test_the_regions_with_a_forwarder_are_those_of_a_deploy(self) -> None:
        assert (*SIGN_IN_REGIONS, "the instance's") == FORWARDED_REGIONS

    def test_a_failed_sign_in_is_required(self) -> None:
        lost = row("Identity Center: factor wrong")
        assert (lost.unrecognised, lost.recognised, lost.is_lost) == ("alert", "note", True)

    def test_a_rule_without_a_pattern_matches_nothing(self) -> None:
        assert row_with({}, ROOT_USER).is_lost


class TestLoadRules:
    def test_a_rule_has_the_name_state_and_pattern_of_the_template(self, tmp_path: Path) -> None:
        rule = coverage.Rule("Rule", "ENABLED", {"source": ["aws.signin"]})
        assert coverage.load_rules(write_template(tmp_path)) == [rule]

    def test_a_rule_without_a_state_is_enabled(self, tmp_path: Path) -> None:
        """CloudFormation's reference of AWS::Events::Rule, and PutRule: the default is ENABLED."""
        (rule,) = coverage.load_rules(write_template(tmp_path, "State: ENABLED", "Name: x"))
        assert rule.state == "ENABLED"

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("!Ref FunctionArn", "!Ref AlertTopicArn"),
            ("Targets: [{Id: function, Arn: !Ref FunctionArn}]", "Name: x"),
            ("Type: AWS::Events::Rule", "Type: AWS::Events::EventBus"),
            ("Type: AWS::Events::Rule", "Type: AWS::Events::Rule\n    Condition: HasCustomBus"),
        ],
    )
    def test_a_resource_that_may_not_invoke_the_function_is_left_out(
        self, tmp_path: Path, old: str, new: str
    ) -> None:
        assert coverage.load_rules(write_template(tmp_path, old, new)) == []

    @pytest.mark.parametrize(
        ("old", "new", "function"),
        [
            ("[aws.signin]", '[!Sub "aws.${Service}"]', "Fn::Sub"),
            ("[aws.signin]", "!Ref Sources", "Ref"),
            ("State: ENABLED", "State: !If [HasRules, ENABLED, DISABLED]", "Fn::If"),
        ],
    )
    def test_a_value_that_only_cloudformation_can_resolve_is_refused(
        self, tmp_path: Path, old: str, new: str, function: str
    ) -> None:
        message = refusal_of(lambda: coverage.load_rules(write_template(tmp_path, old, new)))
        what = f"rule Rule contains {function}, which only CloudFormation can resolve"
        assert f"eventbridge.yaml: {what}" in message

    def test_a_folder_without_templates_is_refused(self, tmp_path: Path) -> None:
        assert "contains no template" in refusal_of(lambda: coverage.load_rules(tmp_path))

    def test_the_real_templates_have_three_rules(self) -> None:
        assert [rule.state for rule in coverage.load_rules(ROOT / "cfn")] == [WITH_READS] * 3


def test_a_matcher_asks_eventbridge_with_the_pattern_and_the_event() -> None:
    class Events:
        def test_event_pattern(self, **request: str) -> dict[str, bool]:
            assert json.loads(request["EventPattern"]) == {"source": ["aws.signin"]}
            return {"Result": json.loads(request["Event"])["source"] == "aws.signin"}

    matches = coverage.make_matcher(Events())
    assert matches({"source": ["aws.signin"]}, PATHS[ROOT_USER].event)
    assert not matches({"source": ["aws.signin"]}, PATHS[ROLE_KEYS].event)


def without_seconds(output: str) -> str:
    """The output with a line of progress as it begins, without its dots and its seconds."""
    return re.sub(r" \.{3,}( \d+ s)?\n", " ...\n", output, count=1)


@pytest.mark.local
class TestTask:
    """The task as a person runs it, in a process of its own."""

    @pytest.fixture
    def aws(self, emulator: Emulator) -> EmulatorAccount:
        """An account that is named with --account, so that its EventBridge is asked."""
        return EmulatorAccount.on(emulator)

    @pytest.mark.usefixtures("aws")  # prepares the emulator's environment, which prints
    def test_every_sign_in_reaches_the_function_and_the_docs_show_it(self, tmp_path: Path) -> None:
        process = run_in_process(tmp_path, {})
        assert (process.returncode, process.stderr) == (0, "")
        examples = blocks((ROOT / "docs" / "explain-and-coverage.md").read_text(), "text")
        (example,) = [block for block in examples if "sign-in paths reach" in block]
        assert without_seconds(example) == without_seconds(process.stdout)
        assert max(map(len, process.stdout.splitlines())) <= 100

    def test_narrow_patterns_are_a_finding_with_the_names_of_lost_paths(
        self, aws: EmulatorAccount, tmp_path: Path
    ) -> None:
        templates = copy_templates(tmp_path, "\n            - ConsoleLogin\n", "\n")
        rules = templates / "eventbridge.yaml"
        for old, new in (
            ("GetRoleCredentials", "GetRole"),
            ("equals-ignore-case: Sign-in Anomaly Alert", "prefix: Nothing"),
        ):
            assert old in rules.read_text()
            rules.write_text(rules.read_text().replace(old, new))
        process = run_in_process(tmp_path, {"--templates": str(templates)}, aws)
        assert process.returncode == 1
        assert process.stdout.startswith(f"asking EventBridge of account {aws.account_id}: ")
        for name in ("console: IAM user", ROOT_USER, ROLE_KEYS, ANOMALY):
            assert f"{name} (no rule matches it)" in process.stderr
        assert process.stderr.startswith(f"invoke coverage: {templates}: ")
        assert "Traceback" not in process.stderr

    def test_a_rule_without_read_only_events_is_a_finding_with_the_names_of_lost_paths(
        self, aws: EmulatorAccount, tmp_path: Path
    ) -> None:
        templates = copy_templates(tmp_path, f"State: {WITH_READS}", "State: ENABLED")
        process = run_in_process(tmp_path, {"--templates": str(templates)}, aws)
        assert process.returncode == 1
        assert "aws login: token (ConsoleSignInRule is ENABLED)" in process.stderr
        assert f"{ROLE_KEYS} (IdentityCenterSignInRule is ENABLED)" in process.stderr
        assert ROOT_USER not in process.stderr

    def test_a_path_without_a_way_by_the_trail_is_a_finding(
        self, aws: EmulatorAccount, tmp_path: Path
    ) -> None:
        name = " || ($.eventName = GetRoleCredentials)"
        templates = copy_templates(tmp_path, name, "", "cloudtrail.yaml")
        process = run_in_process(tmp_path, {"--templates": str(templates)}, aws)
        assert process.returncode == 1
        assert f"1 sign-in paths have no way by the trail: {ROLE_KEYS}" in process.stderr
        assert "by the trail, some minutes later: 36/37" in process.stdout

    def test_a_lost_path_is_in_the_table_and_missing_from_the_total(
        self, aws: EmulatorAccount, tmp_path: Path
    ) -> None:
        templates = copy_templates(tmp_path, "GetRoleCredentials", "GetRole")
        process = run_in_process(tmp_path, {"--templates": str(templates)}, aws, width="200")
        lines = process.stdout.splitlines()
        (line,) = [line for line in lines if line.startswith(ROLE_KEYS)]
        assert line.removeprefix(ROLE_KEYS).split()[:2] == ["none", "sign-in"]
        rows = coverage.build_rows(list(PATHS.values()), [], matches_name)
        required = sum(row.is_required for row in rows)
        total = f"{required - 1}/{required}"
        assert lines[-1] == f"coverage {total} sign-in paths reach the function"

    def test_rule_on_a_bus_that_receives_nothing_is_a_finding(
        self, aws: EmulatorAccount, tmp_path: Path
    ) -> None:
        """As the first author's template was: the rules on a bus with a name, and no other."""
        custom_bus = "!If [HasCustomBus, !Ref CustomBus, default]"
        templates = copy_templates(tmp_path, custom_bus, "sign-ins")
        process = run_in_process(tmp_path, {"--templates": str(templates)}, aws)
        assert process.returncode == 1
        what = "rule ConsoleSignInRule is on bus sign-ins, which receives nothing"
        assert f"invoke coverage: {templates}: {what}" in process.stderr

    @pytest.mark.parametrize(
        ("old", "new", "cause"),
        [
            (
                "Condition: HasCustomBus\n    Properties:\n      Name: !Ref ForwardingRuleName",
                "Condition: HasOrganization\n    Properties:\n      Name: !Ref ForwardingRuleName",
                "rule ConsoleSignInRule is on bus own, which receives nothing",
            ),
            (
                "                - SwitchRole\n",
                "",
                "console: role switched (nothing forwards it to ConsoleSignInRule on bus own)",
            ),
            (
                f"default\n      State: {WITH_READS}",
                "default\n      State: ENABLED",
                "aws login: token (ForwardingRule is ENABLED)",
            ),
            (
                "Arn: !GetAtt CustomBus.Arn",
                "Arn: !Sub arn:aws:events:eu-west-1:111122223333:event-bus/another",
                "rule ConsoleSignInRule is on bus own, which receives nothing",
            ),
        ],
    )
    def test_bus_with_a_name_is_judged_by_what_is_forwarded_to_it(
        self, aws: EmulatorAccount, tmp_path: Path, old: str, new: str, cause: str
    ) -> None:
        templates = copy_templates(tmp_path, old, new)
        process = run_in_process(tmp_path, {"--templates": str(templates)}, aws)
        assert process.returncode == 1
        assert cause in process.stderr
        total = re.search(r"coverage (\d+)/(\d+) sign-in paths", process.stdout.splitlines()[-1])
        assert total
        assert total[1] == total[2], "those on the default bus are not concerned"


def copy_templates(tmp_path: Path, old: str, new: str, file: str = "eventbridge.yaml") -> Path:
    """Copy the templates, edit one of them, and return the folder of the copy."""
    templates = tmp_path / "templates"
    shutil.copytree(ROOT / "cfn", templates, ignore=shutil.ignore_patterns("policies"))
    text = (templates / file).read_text()
    assert old in text
    (templates / file).write_text(text.replace(old, new))
    return templates


def run_in_process(
    tmp_path: Path,
    flags: dict[str, str],
    aws: EmulatorAccount | None = None,
    width: str = "100",
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": width, "NO_PROXY": "127.0.0.1"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    if aws:
        (tmp_path / "empty.toml").touch()
        target = {"--account": aws.account_id, "--region": aws.region, "--config": "empty.toml"}
        flags = {**flags, **target}
        environment |= aws.emulator.environment(aws.account_id, aws.region)
    arguments = [part for flag in flags.items() for part in flag]
    command = [str(ROOT / "inv"), "coverage", *arguments]
    return subprocess.run(
        command, cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
