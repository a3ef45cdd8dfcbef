"""checkov's JSON, judged: what it passes over in silence is a finding here."""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.repository import ROOT
from tooling.checks import checkov_results
from tooling.checks.checkov_results import Expected
from tooling.environment import ensure

if TYPE_CHECKING:
    from pathlib import Path

REASON = "calls api.twilio.com and uses no VPC resource"
SUMMARY = {
    "passed": 0,
    "failed": 0,
    "skipped": 0,
    "parsing_errors": 0,
    "resource_count": 0,
    "checkov_version": "3",
}
REVIEWED = Expected(reviewed=frozenset({("CKV_AWS_27", "Queue")}))


def check(path: str = "/cfn/queue.yaml", **more: Any) -> dict[str, Any]:
    return {
        "check_id": "CKV_AWS_27",
        "check_name": "Sealed",
        "file_path": path,
        "resource": "Queue",
        **more,
    }


def skip(reason: str | None, **more: Any) -> dict[str, Any]:
    return check(check_result={"result": "SKIPPED", "suppress_comment": reason}, **more)


def report(framework: str = "cloudformation", /, **results: Any) -> dict[str, Any]:
    found = {"passed_checks": [check()], **results}
    return {"check_type": framework, "summary": {"resource_count": 42}, "results": found}


def judge(
    *told: Any, wanted: Expected | None = None, settings: str = "", log: str = ""
) -> checkov_results.Judgement:
    return checkov_results.judge(told, wanted or Expected(), settings, log)


# what checkov 3.3.30 logs: alarm.py fails for nothing but what kept monitor_policy.py from being loaded
LOG = """\
2026-01-01 12:00:00,000 [MainThread  ] [ERROR]  Cannot load external check 'trail' from cfn/policies/trail.py
Traceback (most recent call last):
  File "/x/.venv-scan/lib/checkov/common/checks/base_check_registry.py", line 298, in _load_external_checks_from_disk
    self._exec_check_from_disk(check_name, check_full_path)
  File "/x/cfn/policies/trail.py", line 7, in <module>
    from monitor_policy import Policy
  File "/x/cfn/policies/monitor_policy.py", line 107
    x = (
        ^
SyntaxError: '(' was never closed
2026-01-01 12:00:00,001 [MainThread  ] [ERROR]  Cannot load external check 'alarm' from cfn/policies/alarm.py
Traceback (most recent call last):
  File "/x/cfn/policies/alarm.py", line 7, in <module>
    from monitor_policy import Policy
ImportError: cannot import name 'Policy' from 'monitor_policy' (/x/cfn/policies/monitor_policy.py)
"""


class TestJudge:
    def test_what_passed_and_was_skipped_with_a_reason_is_counted_and_fine(self) -> None:
        wanted = replace(
            REVIEWED,
            files=frozenset({"cfn/queue.yaml"}),
            skips=frozenset({("cfn/queue.yaml", "CKV_AWS_27")}),
        )
        found = judge(report(skipped_checks=[skip(REASON)]), report("terraform"), wanted=wanted)
        assert found == checkov_results.Judgement(2, 1, ())

    def test_a_failed_check_says_where_and_what(self) -> None:
        assert judge(report(failed_checks=[check()])).findings == (
            "cfn/queue.yaml: Queue: CKV_AWS_27 Sealed",
        )

    def test_a_file_that_cannot_be_parsed_is_a_finding(self) -> None:
        assert judge(report(parsing_errors=["/cfn/x.yaml"])).findings == (
            "/cfn/x.yaml: could not be parsed",
        )

    def test_a_file_that_could_not_be_read_beforehand_is_told_and_nothing_that_may_follow_from_it(
        self,
    ) -> None:
        fault = "cfn/x.yaml: is no YAML"
        told = report(
            failed_checks=[check()], skipped_checks=[skip(None)], parsing_errors=["/cfn/y.yaml"]
        )
        wanted = Expected(
            faults=(fault,), policies=frozenset({"CKV_SIGNWATCH_1"}), resources=(("terraform", 1),)
        )
        found = judge(told, wanted=wanted, settings="soft-fail: true")
        assert (found.passed, found.skipped) == (0, 0)
        setting, *rest = found.findings
        assert setting.startswith(".checkov.yaml: soft-fail could hide findings")
        assert rest == [fault, "/cfn/y.yaml: could not be parsed", checkov_results.NOT_JUDGED]

    def test_a_file_that_does_not_appear_is_a_finding(self) -> None:
        found = judge(report(), wanted=Expected(files=frozenset({"cfn/queue.yaml", "roles.tf"})))
        assert found.findings == ("roles.tf: does not appear in the results",)

    def test_a_file_that_is_known_to_be_passed_over_need_not_appear_and_must_not(self) -> None:
        wanted = Expected(files=frozenset({"deploy.yml"}), unread=frozenset({"deploy.yml"}))
        assert judge(report(), wanted=wanted).findings == ()
        (finding,) = judge(report(passed_checks=[check("/deploy.yml")]), wanted=wanted).findings
        assert finding.endswith("deploy.yml is read by now: take it out")

    def test_a_file_that_is_none_of_the_repositorys_is_a_finding(self) -> None:
        stale = report("terraform", passed_checks=[check("/dist/bootstrap/x/main.tf")])
        wanted = Expected(ours=frozenset({"cfn/queue.yaml"}))
        (finding,) = judge(report(), stale, wanted=wanted).findings
        assert finding.startswith("dist/bootstrap/x/main.tf: is none of the repository's files")
        assert judge(report(), wanted=wanted).findings == ()

    @pytest.mark.parametrize("kind", ["passed_checks", "failed_checks", "skipped_checks"])
    def test_a_file_appears_by_any_result(self, kind: str) -> None:
        there = report(**{kind: [skip(REASON, file_path="/roles.tf")]})
        found = judge(report(), there, wanted=replace(REVIEWED, files=frozenset({"roles.tf"})))
        assert not [finding for finding in found.findings if "does not appear" in finding]

    def test_a_policy_of_ours_that_nothing_answered_for_is_a_finding(self) -> None:
        (finding,) = judge(
            report(), wanted=Expected(policies=frozenset({"CKV_AWS_27", "CKV_SIGNWATCH_1"}))
        ).findings
        assert finding.startswith("CKV_SIGNWATCH_1: was not run; cfn/policies could not be loaded")

    def test_the_cause_is_told_once_for_all_policies_that_were_not_run(self) -> None:
        wanted = Expected(policies=frozenset({"CKV_AWS_27", "CKV_SIGNWATCH_1", "CKV_SIGNWATCH_2"}))
        (finding,) = judge(report(), wanted=wanted, log=LOG).findings
        assert finding == (
            "cfn/policies/monitor_policy.py:107: SyntaxError: '(' was never closed: "
            "a policy could not be loaded, and 2 of 3 were not run"
        )

    def test_what_else_checkov_logs_is_no_cause(self) -> None:
        assert (
            judge(
                report(), log="2026-01-01 12:00:00,000 [MainThread  ] [WARNI]  No guidelines\n"
            ).findings
            == ()
        )

    @pytest.mark.parametrize(("least", "fine"), [(43, False), (42, True), (41, True)])
    def test_fewer_resources_than_the_files_hold_are_a_finding(
        self, least: int, fine: bool
    ) -> None:
        found = judge(report(), wanted=Expected(resources=(("cloudformation", least),)))
        assert found.findings == (
            () if fine else ("cloudformation: 42 resources were looked at, the files hold 43",)
        )

    def test_a_framework_that_did_not_run_looked_at_nothing(self) -> None:
        found = judge(report(), wanted=Expected(resources=(("terraform", 1),)))
        assert found.findings == ("terraform: 0 resources were looked at, the files hold 1",)

    @pytest.mark.parametrize(
        "told", [(), (SUMMARY,), (report(passed_checks=[]),)], ids=["nothing", "summary", "none"]
    )
    def test_a_scan_that_looked_at_nothing_is_a_finding(self, told: tuple[Any, ...]) -> None:
        assert "checkov passed no check at all: it looked at nothing" in judge(*told).findings

    @pytest.mark.parametrize(
        "setting",
        [
            "skip-check: [CKV_AWS_27]",
            "soft-fail: true",
            "skip_check: x",
            "check: [CKV_AWS_27]",
            "- a",
            "a: [",
        ],
    )
    def test_a_setting_that_could_hide_findings_is_a_finding(self, setting: str) -> None:
        (finding,) = judge(report(), settings=setting).findings
        assert finding.startswith(".checkov.yaml: ")

    def test_settings_that_hide_nothing_are_fine(self) -> None:
        assert judge(report(), settings="compact: true\nquiet: false\n").findings == ()


class TestSkips:
    @pytest.mark.parametrize(
        "reason", [None, "", "No comment provided", "false positive", " " * 40]
    )
    def test_one_without_a_reason_worth_the_name_is_a_finding(self, reason: str | None) -> None:
        found = judge(report(skipped_checks=[skip(reason)]), wanted=REVIEWED)
        assert found.findings == (
            "cfn/queue.yaml: Queue: CKV_AWS_27 is skipped without a reason of 20 characters",
        )

    def test_one_that_nobody_reviewed_is_a_finding(self) -> None:
        (finding,) = judge(report(skipped_checks=[skip(REASON)])).findings
        assert finding.startswith(
            "cfn/queue.yaml: Queue: CKV_AWS_27 is skipped and not among the reviewed skips"
        )

    def test_one_that_was_reviewed_for_another_resource_is_a_finding(self) -> None:
        findings = judge(
            report(skipped_checks=[skip(REASON, resource="Other")]), wanted=REVIEWED
        ).findings
        assert len(findings) == 2
        assert "Other: CKV_AWS_27 is skipped and not among" in findings[0]
        assert findings[1].endswith("CKV_AWS_27 of Queue is skipped nowhere: take it out")

    def test_the_instances_of_a_resource_are_reviewed_as_one(self) -> None:
        skips = [skip(REASON, resource=f'Queue["{key}"]') for key in ("a", "b")]
        assert judge(report(skipped_checks=skips), wanted=REVIEWED).findings == ()

    def test_one_of_a_policy_that_keeps_the_monitor_alive_is_never_allowed(self) -> None:
        wanted = Expected(reviewed=frozenset({("CKV_SIGNWATCH_1", "Queue")}))
        (finding,) = judge(
            report(skipped_checks=[skip(REASON, check_id="CKV_SIGNWATCH_1")]), wanted=wanted
        ).findings
        assert finding.endswith("CKV_SIGNWATCH_1 keeps the monitor alive and is never skipped")

    def test_one_of_an_unknown_check_skips_nothing_and_is_a_finding(self) -> None:
        found = judge(
            report(), wanted=Expected(skips=frozenset({("cfn/queue.yaml", "CKV_AWS_99999")}))
        )
        assert found.findings == (
            "cfn/queue.yaml: the skip of CKV_AWS_99999 skips nothing: there is no such check, or not for this",
        )


class TestExpected:
    def test_it_is_read_from_the_repositorys_own_files(self) -> None:
        wanted = checkov_results.expected(ROOT)
        assert {f"cfn/{name}.yaml" for name in ("parent", "alarms", "cloudtrail")} <= wanted.files
        assert "terraform-bootstrap/main.tf" in wanted.files
        assert "terraform-bootstrap/variables.tf" not in wanted.files
        assert dict(wanted.resources)["cloudformation"] > 40
        assert dict(wanted.resources)["terraform"] > 15
        assert len(wanted.policies) > 40
        assert ("cfn/lambda.yaml", "CKV_AWS_117") in wanted.skips
        assert ("terraform-bootstrap/main.tf", "CKV_AWS_18") in wanted.skips
        assert wanted.faults == ()
        assert wanted.ours is not None
        assert wanted.files < wanted.ours
        assert not [path for path in wanted.ours if path.startswith(("dist/", ".git/", ".venv"))]

    def test_at_most_six_checks_are_skipped_in_all(self) -> None:
        wanted = checkov_results.expected(ROOT)
        assert {check_id for _, check_id in wanted.skips} == {
            check_id for check_id, _ in wanted.reviewed
        }
        assert len({check_id for check_id, _ in wanted.reviewed}) <= 6

    def test_a_file_that_is_passed_over_has_a_reason(self) -> None:
        reasons = tomllib.loads((ROOT / checkov_results.REVIEWED).read_text())["unread"]
        assert all(len(reason) >= checkov_results.SHORTEST_REASON for reason in reasons.values())
        assert checkov_results.expected(ROOT).unread == set(reasons)

    def test_a_template_that_cannot_be_read_and_one_with_a_key_twice_are_faults(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "cfn").mkdir()
        (tmp_path / "cfn" / "broken.yaml").write_text("Resources: [\n")
        (tmp_path / "cfn" / "twice.yaml").write_text("Resources:\n  A: {Type: x}\n  A: {Type: y}\n")
        broken, twice = checkov_results.expected(tmp_path).faults
        assert broken.startswith("cfn/broken.yaml: cannot be read")
        assert "the key 'A' stands twice" in twice


@pytest.mark.scan
class TestWithTheProgram:
    """The real checkov over a copy of the repository's own files, with one thing wrong in it."""

    @pytest.fixture
    def copy(self, tmp_path: Path) -> Path:
        for folder in ("cfn", "terraform-bootstrap"):
            shutil.copytree(
                ROOT / folder,
                tmp_path / folder,
                ignore=shutil.ignore_patterns(".terraform*", "__pycache__"),
            )
        for file in (".checkov.yaml", str(checkov_results.REVIEWED)):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, tmp_path / file)
        return tmp_path

    @staticmethod
    def scan(root: Path) -> checkov_results.Judgement:
        (root / "out").mkdir(exist_ok=True)
        return checkov_results.run(root, ensure("scan"), root / "out")

    def test_what_it_passes_over_in_silence_fails_the_scan(
        self, copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All at once, for each start of checkov takes seconds; each has its own sentence.

        The settings of the person who runs it, at home and in the environment, would hide one of them.
        """
        (copy / "home").mkdir()
        (copy / "home" / ".checkov.yaml").write_text("skip-check: [CKV_AWS_21]\n")
        monkeypatch.setenv("HOME", str(copy / "home"))
        monkeypatch.setenv("CKV_SKIP_CHECK", "CKV_AWS_21")
        trail = copy / "cfn" / "cloudtrail.yaml"
        trail.write_text(trail.read_text().replace("Status: Enabled", "Status: Suspended"))
        rules = copy / "cfn" / "eventbridge.yaml"
        rules.write_text(rules.read_text().replace("State: ENABLED", "State: DISABLED", 1))
        main = copy / "terraform-bootstrap" / "main.tf"
        unknown = "#checkov:skip=CKV_AWS_99999:a reason of more than twenty characters\n  #checkov:skip=CKV_AWS_144:short"
        main.write_text(
            main.read_text().replace(
                "#checkov:skip=CKV_AWS_144:templates are", f"{unknown}\n  # templates are"
            )
        )
        key, value = (
            "".join(parts)
            for parts in (
                ("AKIA", "Z7YQ2X3M4N5P6R7S"),
                ("wJalrXUtnFEMI/K7MDENG", "/bPxRfiCYzz9kQm3LtW"),
            )
        )
        (copy / "leak.py").write_text(
            f'aws_access_key_id = "{key}"\naws_secret_access_key = "{value}"\n'
        )
        found = self.scan(copy).findings
        assert any(
            "cfn/eventbridge.yaml" in finding and "CKV_SIGNWATCH_" in finding for finding in found
        )
        assert any("CKV_AWS_21" in finding for finding in found)
        assert any("the skip of CKV_AWS_99999 skips nothing" in finding for finding in found)
        assert any(
            "aws_s3_bucket.templates: CKV_AWS_144 is skipped without a reason" in finding
            for finding in found
        )
        assert any(
            finding.startswith("leak.py: ") and "CKV_SECRET_" in finding for finding in found
        )
        assert {path.name for path in (copy / "out").iterdir()} >= {"checkov.json", "checkov.sarif"}

    def test_templates_that_cannot_be_read_fail_the_scan_and_accuse_no_sound_one(
        self, copy: Path
    ) -> None:
        (copy / "cfn" / "broken.yaml").write_text("Resources: [\n")
        (copy / "cfn" / "twice.yaml").write_text("Resources:\n  A: {Type: x}\n  A: {Type: y}\n")
        *found, last = self.scan(copy).findings
        assert any(finding.startswith("cfn/broken.yaml: cannot be read") for finding in found)
        assert any("the key 'A' stands twice" in finding for finding in found)
        assert {finding.partition(":")[0].removeprefix("./") for finding in found} <= {
            "cfn/broken.yaml",
            "cfn/twice.yaml",
        }
        assert last == checkov_results.NOT_JUDGED

    @pytest.mark.parametrize("modules", ["trail_policies.py", "*.py"])
    def test_policies_that_cannot_be_imported_fail_the_scan_with_the_cause(
        self, copy: Path, modules: str
    ) -> None:
        shutil.rmtree(copy / "terraform-bootstrap")  # the policies are none of Terraform's
        for module in (copy / "cfn" / "policies").glob(modules):
            module.write_text("import nothing_of_this_name\n")
        found = self.scan(copy).findings
        (cause,) = (finding for finding in found if "nothing_of_this_name" in finding)
        assert (
            "ModuleNotFoundError: No module named 'nothing_of_this_name': a policy could not be loaded"
            in cause
        )
        assert not [finding for finding in found if "CKV_SIGNWATCH_" in finding]

    def test_what_is_made_in_dist_is_passed_over_and_a_folder_of_that_name_elsewhere_is_not(
        self, copy: Path
    ) -> None:
        before = self.scan(copy)
        bootstrap = copy / "dist" / "bootstrap" / "111122223333-eu-central-1-signwatch"
        shutil.copytree(copy / "terraform-bootstrap", bootstrap)
        main = bootstrap / "main.tf"
        main.write_text(main.read_text().replace('status = "Enabled"', 'status = "Suspended"'))
        shutil.copy(copy / "cfn" / "alarms.yaml", copy / "dist")
        assert self.scan(copy) == before
        (copy / "cfn" / "dist").mkdir()
        shutil.copy(
            copy / "cfn" / "alarms.yaml", copy / "cfn" / "dist"
        )  # where its alarms find no topic
        found = [
            one for one in self.scan(copy).findings if one.startswith("cfn/dist/alarms.yaml: ")
        ]
        assert any("CKV_SIGNWATCH_" in finding for finding in found)

    def test_a_folder_with_nothing_in_it_is_no_success(self, tmp_path: Path) -> None:
        (tmp_path / "cfn").mkdir()
        shutil.copy(ROOT / ".checkov.yaml", tmp_path)
        assert self.scan(tmp_path).findings
