"""``coverage``: every way in has its row, and one that no rule hands to the function is named and ends in 1."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.detection import networks, sign_in_paths, signin
from signwatch.detection.record import open_record
from tests.support.emulator import EmulatorAccount
from tests.support.refusals import refusal_of
from tests.support.repository import ROOT, blocks
from tooling.analysis import coverage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tooling.local.emulator import Emulator

WAYS = {path.name: path for path in coverage.paths()}
WITH_READS = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
TYPES = {  # CloudTrail's eventType: EventBridge's detail-type
    "AwsConsoleSignIn": "AWS Console Sign In via CloudTrail",
    "AwsApiCall": "AWS API Call via CloudTrail",
    "AwsServiceEvent": "AWS Service Event via CloudTrail",
}
ROOT_USER, KEYS, ANOMALY = (
    "console: root",
    "aws sso login: keys of a role",
    "AWS's own anomaly alert",
)
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


def by_name(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Stands for EventBridge where a pattern is a list of event names, the anomaly's detail-type among them."""
    return event["detail"].get("eventName", event["detail-type"]) in pattern["names"]


def row(name: str, state: str = WITH_READS, *names: str) -> coverage.Row:
    """The row of one way in, with one rule in this state that takes events of these names."""
    (found,) = coverage.build_rows(
        [WAYS[name]], [coverage.Rule("Rule", state, {"names": names})], by_name
    )
    return found


def folder_of(tmp_path: Path, text: str) -> Path:
    (tmp_path / "eventbridge.yaml").write_text(text)
    return tmp_path


class TestPaths:
    def test_every_path_that_the_function_reads_has_a_row(self) -> None:
        """Nobody can teach the function a way in, or a step, without saying how it comes through."""
        records = [open_record(way.event) for way in WAYS.values()]
        seen = {(each.service.partition(".")[0], each.name.lower()) for each in records}
        assert {*sign_in_paths.PATHS, *sign_in_paths.STEPS} - seen == set()
        assert sign_in_paths.ANOMALY_TYPE in {
            str(each.envelope.get("detail-type")).lower() for each in records
        }

    def test_each_has_a_name_of_its_own(self) -> None:
        assert len(WAYS) == len(coverage.paths())

    @pytest.mark.parametrize("name", WAYS)
    def test_it_says_where_it_is_recorded_and_how_sure_that_is(self, name: str) -> None:
        assert WAYS[name].regions
        assert WAYS[name].certainty in ("documented", "inferred")

    @pytest.mark.parametrize("name", WAYS)
    def test_the_function_can_read_it(self, name: str) -> None:
        assert not isinstance(signin.read(WAYS[name].event), signin.Unreadable)

    @pytest.mark.parametrize("name", [name for name in WAYS if name != ANOMALY])
    def test_its_envelope_is_the_one_that_cloudtrail_gives_it(self, name: str) -> None:
        event = WAYS[name].event
        assert event["source"] == f"aws.{event['detail']['eventSource'].partition('.')[0]}"
        assert event["detail-type"] == TYPES[event["detail"]["eventType"]]

    @pytest.mark.parametrize("name", [name for name in WAYS if name not in (ANOMALY, NO_ADDRESS)])
    def test_its_source_is_one_that_the_recognised_verdict_is_asked_with(self, name: str) -> None:
        known = networks.parse(coverage.EXAMPLES)
        assert networks.recognises(known, WAYS[name].event["detail"]["sourceIPAddress"])


class TestGate:
    """Amazon EventBridge User Guide, "Receiving read-only management events from AWS services"."""

    @pytest.mark.parametrize(
        ("name", "event", "state", "comes_through"),
        [
            (ROOT_USER, "ConsoleLogin", WITH_READS, True),
            (ROOT_USER, "ConsoleLogin", "ENABLED", True),
            (ROOT_USER, "ConsoleLogin", "DISABLED", False),
            (KEYS, "GetRoleCredentials", WITH_READS, True),
            (KEYS, "GetRoleCredentials", "ENABLED", False),
            (KEYS, "GetRoleCredentials", "DISABLED", False),
            (ANOMALY, "Sign-in Anomaly Alert", WITH_READS, True),
            (ANOMALY, "Sign-in Anomaly Alert", "ENABLED", True),
            (ANOMALY, "Sign-in Anomaly Alert", "DISABLED", False),
        ],
    )
    def test_a_rule_hears_what_its_state_lets_it_hear(
        self, name: str, event: str, state: str, comes_through: bool
    ) -> None:
        found = row(name, state, event)
        assert found.falls_through is not comes_through
        assert (found.through, found.deaf) == (
            (("Rule",), ()) if comes_through else ((), (f"Rule is {state}",))
        )

    def test_an_event_that_aws_sends_without_cloudtrail_never_only_reads(self) -> None:
        event = {**WAYS[ANOMALY].event, "detail": {"readOnly": True}}
        assert not coverage.SignInPath("x", ("us-east-1",), "inferred", event).only_reads


class TestRow:
    def test_a_sign_in_that_no_rule_takes_falls_through(self) -> None:
        found = row(ROOT_USER, WITH_READS, "SwitchRole")
        assert found.falls_through
        assert found.cells() == (
            ROOT_USER,
            "documented",
            "none",
            "sign-in",
            "alert high",
            "alert high",
            "us-east-1",
        )

    @pytest.mark.parametrize(
        ("name", "kind"),
        [("console: role session goes on", "step"), ("root: password changed", "other")],
    )
    def test_what_is_no_sign_in_need_not_come_through(self, name: str, kind: str) -> None:
        found = row(name)
        assert not found.falls_through
        assert found.cells()[2:6] == ("-", kind, "ignored", "ignored")

    @pytest.mark.parametrize(
        "name", ["console: second factor asked for", "Identity Center: factor right"]
    )
    def test_a_step_that_is_looked_at_a_second_time_has_to_come_through(self, name: str) -> None:
        assert row(name).falls_through
        assert row(name).cells()[2:4] == ("none", "step")

    def test_a_failure_has_to_come_through(self) -> None:
        found = row("Identity Center: factor wrong")
        assert (found.unrecognised, found.recognised, found.falls_through) == (
            "alert",
            "note",
            True,
        )

    def test_a_rule_without_a_pattern_is_asked_nothing(self) -> None:
        (found,) = coverage.build_rows(
            [WAYS[ROOT_USER]], [coverage.Rule("Rule", WITH_READS, {})], by_name
        )
        assert found.falls_through


class TestRules:
    def test_a_rule_is_read_as_it_is_written(self, tmp_path: Path) -> None:
        rule = coverage.Rule("Rule", "ENABLED", {"source": ["aws.signin"]})
        assert coverage.rules(folder_of(tmp_path, TEMPLATE)) == [rule]

    def test_a_rule_is_enabled_where_nothing_is_said(self, tmp_path: Path) -> None:
        """CloudFormation's reference of AWS::Events::Rule, and PutRule: the default is ENABLED."""
        (rule,) = coverage.rules(folder_of(tmp_path, TEMPLATE.replace("State: ENABLED", "Name: x")))
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
    def test_a_rule_that_does_not_surely_serve_the_function_is_none(
        self, tmp_path: Path, old: str, new: str
    ) -> None:
        assert coverage.rules(folder_of(tmp_path, TEMPLATE.replace(old, new))) == []

    @pytest.mark.parametrize(
        ("old", "new", "function"),
        [
            ("[aws.signin]", '[!Sub "aws.${Service}"]', "Fn::Sub"),
            ("[aws.signin]", "!Ref Sources", "Ref"),
            ("State: ENABLED", "State: !If [HasRules, ENABLED, DISABLED]", "Fn::If"),
        ],
    )
    def test_what_only_cloudformation_can_work_out_is_refused(
        self, tmp_path: Path, old: str, new: str, function: str
    ) -> None:
        folder = folder_of(tmp_path, TEMPLATE.replace(old, new))
        said = refusal_of(lambda: coverage.rules(folder))
        assert (
            f"eventbridge.yaml: rule Rule holds {function}, which only CloudFormation can work out"
            in said
        )

    def test_a_folder_without_templates_is_refused(self, tmp_path: Path) -> None:
        assert "holds no template" in refusal_of(lambda: coverage.rules(tmp_path))

    def test_the_templates_have_rules(self) -> None:
        assert [rule.state for rule in coverage.rules(ROOT / "cfn")] == [WITH_READS] * 3


def test_a_matcher_asks_eventbridge_with_the_pattern_and_the_event() -> None:
    class Events:
        def test_event_pattern(self, **asked: str) -> dict[str, bool]:
            assert json.loads(asked["EventPattern"]) == {"source": ["aws.signin"]}
            return {"Result": json.loads(asked["Event"])["source"] == "aws.signin"}

    matches = coverage.make_matcher(Events())
    assert [
        matches({"source": ["aws.signin"]}, WAYS[name].event) for name in (ROOT_USER, KEYS)
    ] == [True, False]


@pytest.mark.local
class TestWord:
    """The word as a person types it, in a process of its own."""

    @pytest.fixture
    def laptop(self, emulator: Emulator) -> EmulatorAccount:
        """An account that is named with --account, so that its EventBridge is asked."""
        return EmulatorAccount.on(emulator)

    @pytest.mark.usefixtures("laptop")  # so that its environment is made before the word speaks
    def test_every_sign_in_comes_through_and_the_readme_shows_it(self, tmp_path: Path) -> None:
        done = in_a_process(tmp_path, {})
        assert (done.returncode, done.stderr) == (0, "")
        (shown,) = [
            block
            for block in blocks((ROOT / "README.md").read_text(), "text")
            if "sign-in paths reach" in block
        ]
        assert shown == done.stdout

    def test_narrowed_patterns_end_in_1_and_name_what_they_lost(
        self, laptop: EmulatorAccount, tmp_path: Path
    ) -> None:
        flags, templates = (
            changed(tmp_path, "            - ConsoleLogin\n", ""),
            tmp_path / "templates",
        )
        rules = templates / "eventbridge.yaml"
        for old, new in (
            ("GetRoleCredentials", "GetRole"),
            ("equals-ignore-case: Sign-in Anomaly Alert", "prefix: Nothing"),
        ):
            assert old in rules.read_text()
            rules.write_text(rules.read_text().replace(old, new, 1))
        done = in_a_process(tmp_path, flags, laptop)
        assert done.returncode == 1
        assert done.stdout.startswith(f"asking EventBridge of account {laptop.account_id}: ")
        for named in ("console: IAM user", ROOT_USER, KEYS, ANOMALY):
            assert f"{named} (no rule takes it)" in done.stderr
        assert done.stderr.startswith(f"invoke coverage: {templates}: ")
        assert "Traceback" not in done.stderr

    def test_a_downgraded_state_ends_in_1_and_names_what_it_lost(
        self, laptop: EmulatorAccount, tmp_path: Path
    ) -> None:
        templates = changed(tmp_path, f"State: {WITH_READS}", "State: ENABLED")
        done = in_a_process(tmp_path, templates, laptop)
        assert done.returncode == 1
        assert "aws login: token (ConsoleSignInRule is ENABLED)" in done.stderr
        assert f"{KEYS} (IdentityCenterSignInRule is ENABLED)" in done.stderr
        assert ROOT_USER not in done.stderr

    def test_one_that_falls_through_stands_in_the_table_with_its_reason(
        self, laptop: EmulatorAccount, tmp_path: Path
    ) -> None:
        done = in_a_process(tmp_path, changed(tmp_path, "GetRoleCredentials", "GetRole"), laptop)
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(KEYS)]
        assert line.removeprefix(KEYS).split()[:2] == ["documented", "none"]
        wanted = sum(
            found.counts for found in coverage.build_rows(list(WAYS.values()), [], by_name)
        )
        assert (
            done.stdout.splitlines()[-1]
            == f"coverage {wanted - 1}/{wanted} sign-in paths reach the function"
        )


def changed(tmp_path: Path, old: str, new: str) -> dict[str, str]:
    """A copy of the templates with one edit of the rules, as the word takes it."""
    copy = tmp_path / "templates"
    shutil.copytree(ROOT / "cfn", copy, ignore=shutil.ignore_patterns("policies"))
    text = (copy / "eventbridge.yaml").read_text()
    assert old in text
    (copy / "eventbridge.yaml").write_text(text.replace(old, new))
    return {"--templates": str(copy)}


def in_a_process(
    tmp_path: Path, flags: dict[str, str], laptop: EmulatorAccount | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "PYTHONDONTWRITEBYTECODE": "1"}
    if laptop:
        (tmp_path / "empty.toml").touch()
        flags = {
            **flags,
            "--account": laptop.account_id,
            "--region": laptop.region,
            "--config": "empty.toml",
        }
        environment |= laptop.emulator.environment(laptop.account_id, laptop.region)
    typed = [part for flag in flags.items() for part in flag]
    command = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), "coverage", *typed]
    return subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
