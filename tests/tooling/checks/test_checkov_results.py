"""checkov's JSON reports: what checkov ignores without a word is a finding."""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.repository import ROOT
from tooling.checks import checkov_results
from tooling.checks.checkov_results import Expectation, Result
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
REVIEWED = Expectation(reviewed=frozenset({("CKV_AWS_27", "Queue")}))


def check(path: str = "/cfn/queue.yaml", **more: Any) -> dict[str, Any]:
    return {
        "check_id": "CKV_AWS_27",
        "check_name": "Encrypted",
        "file_path": path,
        "resource": "Queue",
        **more,
    }


def skip(reason: str | None, **more: Any) -> dict[str, Any]:
    return check(check_result={"result": "SKIPPED", "suppress_comment": reason}, **more)


def report(framework: str = "cloudformation", /, **results: Any) -> dict[str, Any]:
    results = {"passed_checks": [check()], **results}
    return {"check_type": framework, "summary": {"resource_count": 42}, "results": results}


def evaluate(
    *output: Any, expectation: Expectation | None = None, settings: str = "", log: str = ""
) -> Result:
    return checkov_results.evaluate(output, expectation or Expectation(), settings, log)


# What checkov 3.3.30 logs: alarm.py fails only because policy_base.py could not be loaded.
LOG = """\
2026-01-01 12:00:00,000 [MainThread  ] [ERROR]  Cannot load external check 'trail' \
from cfn/policies/trail.py
Traceback (most recent call last):
  File "/x/.venv-scan/lib/checkov/common/checks/base_check_registry.py", line 298, \
in _load_external_checks_from_disk
    self._exec_check_from_disk(check_name, check_full_path)
  File "/x/cfn/policies/trail.py", line 7, in <module>
    from policy_base import Policy
  File "/x/cfn/policies/policy_base.py", line 107
    x = (
        ^
SyntaxError: '(' was never closed
2026-01-01 12:00:00,001 [MainThread  ] [ERROR]  Cannot load external check 'alarm' \
from cfn/policies/alarm.py
Traceback (most recent call last):
  File "/x/cfn/policies/alarm.py", line 7, in <module>
    from policy_base import Policy
ImportError: cannot import name 'Policy' from 'policy_base' (/x/cfn/policies/policy_base.py)
"""


class TestEvaluate:
    def test_passed_and_skipped_checks_are_counted(self) -> None:
        expectation = replace(
            REVIEWED,
            files=frozenset({"cfn/queue.yaml"}),
            skips=frozenset({("cfn/queue.yaml", "CKV_AWS_27")}),
        )
        result = evaluate(
            report(skipped_checks=[skip(REASON)]), report("terraform"), expectation=expectation
        )
        assert result == Result(2, 1, ())

    def test_failed_check_is_a_finding_with_its_place(self) -> None:
        assert evaluate(report(failed_checks=[check()])).findings == (
            "cfn/queue.yaml: Queue: CKV_AWS_27 Encrypted",
        )

    def test_file_that_cannot_be_parsed_is_a_finding(self) -> None:
        assert evaluate(report(parsing_errors=["/cfn/x.yaml"])).findings == (
            "/cfn/x.yaml: could not be parsed",
        )

    def test_unreadable_template_hides_findings_that_may_follow_from_it(
        self,
    ) -> None:
        fault = "cfn/x.yaml: is no YAML"
        output = report(
            failed_checks=[check()], skipped_checks=[skip(None)], parsing_errors=["/cfn/y.yaml"]
        )
        expectation = Expectation(
            unreadable=(fault,),
            policies=frozenset({"CKV_SIGNWATCH_1"}),
            resources=(("terraform", 1),),
        )
        result = evaluate(output, expectation=expectation, settings="soft-fail: true")
        assert (result.passed, result.skipped) == (0, 0)
        setting, *rest = result.findings
        assert setting.startswith(".checkov.yaml: soft-fail could hide findings")
        assert rest == [fault, "/cfn/y.yaml: could not be parsed", checkov_results.NOT_CHECKED]

    def test_file_that_does_not_appear_is_a_finding(self) -> None:
        result = evaluate(
            report(), expectation=Expectation(files=frozenset({"cfn/queue.yaml", "roles.tf"}))
        )
        assert result.findings == ("roles.tf: does not appear in the results",)

    def test_file_listed_as_not_scanned_must_not_appear(self) -> None:
        expectation = Expectation(
            files=frozenset({"deploy.yml"}), not_scanned=frozenset({"deploy.yml"})
        )
        assert evaluate(report(), expectation=expectation).findings == ()
        (finding,) = evaluate(
            report(passed_checks=[check("/deploy.yml")]), expectation=expectation
        ).findings
        assert finding.endswith("deploy.yml is scanned now; delete it from [not_scanned]")

    def test_file_outside_the_repository_is_a_finding(self) -> None:
        stale = report("terraform", passed_checks=[check("/dist/bootstrap/x/main.tf")])
        expectation = Expectation(repository_files=frozenset({"cfn/queue.yaml"}))
        (finding,) = evaluate(report(), stale, expectation=expectation).findings
        assert finding.startswith("dist/bootstrap/x/main.tf: was scanned but is not a file")
        assert evaluate(report(), expectation=expectation).findings == ()

    @pytest.mark.parametrize("kind", ["passed_checks", "failed_checks", "skipped_checks"])
    def test_any_kind_of_result_counts_as_appearance(self, kind: str) -> None:
        appearing = report(**{kind: [skip(REASON, file_path="/roles.tf")]})
        result = evaluate(
            report(), appearing, expectation=replace(REVIEWED, files=frozenset({"roles.tf"}))
        )
        assert not [finding for finding in result.findings if "does not appear" in finding]

    def test_policy_of_ours_that_did_not_run_is_a_finding(self) -> None:
        (finding,) = evaluate(
            report(), expectation=Expectation(policies=frozenset({"CKV_AWS_27", "CKV_SIGNWATCH_1"}))
        ).findings
        assert finding.startswith("CKV_SIGNWATCH_1: did not run; cfn/policies could not be loaded")

    def test_load_error_is_one_finding_for_all_policies(self) -> None:
        expectation = Expectation(
            policies=frozenset({"CKV_AWS_27", "CKV_SIGNWATCH_1", "CKV_SIGNWATCH_2"})
        )
        (finding,) = evaluate(report(), expectation=expectation, log=LOG).findings
        assert finding == (
            "cfn/policies/policy_base.py:107: SyntaxError: '(' was never closed: "
            "a policy could not be loaded, and 2 of 3 did not run"
        )

    def test_other_lines_of_the_log_are_ignored(self) -> None:
        assert (
            evaluate(
                report(), log="2026-01-01 12:00:00,000 [MainThread  ] [WARNI]  No guidelines\n"
            ).findings
            == ()
        )

    @pytest.mark.parametrize(("minimum", "is_enough"), [(43, False), (42, True), (41, True)])
    def test_too_few_resources_are_a_finding(self, minimum: int, is_enough: bool) -> None:
        result = evaluate(
            report(), expectation=Expectation(resources=(("cloudformation", minimum),))
        )
        assert result.findings == (
            ()
            if is_enough
            else ("cloudformation: 42 resources were checked, but the files have 43",)
        )

    def test_framework_that_did_not_run_is_a_finding(self) -> None:
        result = evaluate(report(), expectation=Expectation(resources=(("terraform", 1),)))
        assert result.findings == ("terraform: 0 resources were checked, but the files have 1",)

    @pytest.mark.parametrize(
        "output", [(), (SUMMARY,), (report(passed_checks=[]),)], ids=["nothing", "summary", "none"]
    )
    def test_scan_without_a_passed_check_is_a_finding(self, output: tuple[Any, ...]) -> None:
        assert "checkov passed no check: it looked at nothing" in evaluate(*output).findings

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
    def test_setting_that_could_hide_findings_is_a_finding(self, setting: str) -> None:
        (finding,) = evaluate(report(), settings=setting).findings
        assert finding.startswith(".checkov.yaml: ")

    def test_harmless_settings_are_allowed(self) -> None:
        assert evaluate(report(), settings="compact: true\nquiet: false\n").findings == ()


class TestSkips:
    @pytest.mark.parametrize(
        "reason", [None, "", "No comment provided", "false positive", " " * 40]
    )
    def test_skip_without_a_real_reason_is_a_finding(self, reason: str | None) -> None:
        result = evaluate(report(skipped_checks=[skip(reason)]), expectation=REVIEWED)
        place = "cfn/queue.yaml: Queue: CKV_AWS_27"
        assert result.findings == (
            f"{place} is skipped without a reason of at least 20 characters",
        )

    def test_skip_that_is_not_reviewed_is_a_finding(self) -> None:
        (finding,) = evaluate(report(skipped_checks=[skip(REASON)])).findings
        assert finding.startswith("cfn/queue.yaml: Queue: CKV_AWS_27 is skipped but not listed in")

    def test_skip_reviewed_for_another_resource_is_a_finding(self) -> None:
        findings = evaluate(
            report(skipped_checks=[skip(REASON, resource="Other")]), expectation=REVIEWED
        ).findings
        assert len(findings) == 2
        assert "Other: CKV_AWS_27 is skipped but not listed" in findings[0]
        assert findings[1].endswith("CKV_AWS_27 of Queue is not skipped anywhere; delete it")

    def test_instances_of_a_resource_are_reviewed_as_one(self) -> None:
        skips = [skip(REASON, resource=f'Queue["{key}"]') for key in ("a", "b")]
        assert evaluate(report(skipped_checks=skips), expectation=REVIEWED).findings == ()

    def test_skip_of_our_own_policy_is_never_allowed(self) -> None:
        expectation = Expectation(reviewed=frozenset({("CKV_SIGNWATCH_1", "Queue")}))
        (finding,) = evaluate(
            report(skipped_checks=[skip(REASON, check_id="CKV_SIGNWATCH_1")]),
            expectation=expectation,
        ).findings
        assert finding.endswith("CKV_SIGNWATCH_1 keeps the monitor alive and must not be skipped")

    def test_skip_without_effect_is_a_finding(self) -> None:
        result = evaluate(
            report(),
            expectation=Expectation(skips=frozenset({("cfn/queue.yaml", "CKV_AWS_99999")})),
        )
        (finding,) = result.findings
        assert finding.startswith("cfn/queue.yaml: the skip of CKV_AWS_99999 has no effect")


class TestReadExpectation:
    def test_expectation_is_read_from_the_repository(self) -> None:
        expectation = checkov_results.read_expectation(ROOT)
        assert {
            f"cfn/{name}.yaml" for name in ("parent", "alarms", "cloudtrail")
        } <= expectation.files
        assert "terraform-bootstrap/main.tf" in expectation.files
        assert "terraform-bootstrap/variables.tf" not in expectation.files
        assert dict(expectation.resources)["cloudformation"] > 40
        assert dict(expectation.resources)["terraform"] > 15
        assert len(expectation.policies) > 40
        assert ("cfn/lambda.yaml", "CKV_AWS_117") in expectation.skips
        assert ("terraform-bootstrap/main.tf", "CKV_AWS_18") in expectation.skips
        assert expectation.unreadable == ()
        assert expectation.repository_files is not None
        assert expectation.files < expectation.repository_files
        assert not [
            path
            for path in expectation.repository_files
            if path.startswith(("dist/", ".git/", ".venv"))
        ]

    def test_at_most_nine_checks_are_skipped(self) -> None:
        """Four of them want a key where a disabled or missing one would stop the alerts."""
        expectation = checkov_results.read_expectation(ROOT)
        assert {check_id for _, check_id in expectation.skips} == {
            check_id for check_id, _ in expectation.reviewed
        }
        assert len({check_id for check_id, _ in expectation.reviewed}) <= 9

    def test_file_that_is_not_scanned_has_a_reason(self) -> None:
        reasons = tomllib.loads((ROOT / checkov_results.REVIEWED_SKIPS).read_text())["not_scanned"]
        assert all(len(reason) >= checkov_results.REASON_MIN_CHARS for reason in reasons.values())
        assert checkov_results.read_expectation(ROOT).not_scanned == set(reasons)

    def test_unreadable_templates_are_listed(self, tmp_path: Path) -> None:
        (tmp_path / "cfn").mkdir()
        (tmp_path / "cfn" / "broken.yaml").write_text("Resources: [\n")
        (tmp_path / "cfn" / "twice.yaml").write_text("Resources:\n  A: {Type: x}\n  A: {Type: y}\n")
        broken, twice = checkov_results.read_expectation(tmp_path).unreadable
        assert broken.startswith("cfn/broken.yaml: cannot be read")
        assert "'A'" in twice


@pytest.mark.scan
class TestRun:
    """The real checkov on a copy of the repository's files, with a fault in it."""

    @pytest.fixture
    def copy(self, tmp_path: Path) -> Path:
        for folder in ("cfn", "terraform-bootstrap"):
            shutil.copytree(
                ROOT / folder,
                tmp_path / folder,
                ignore=shutil.ignore_patterns(".terraform*", "__pycache__"),
            )
        for file in (".checkov.yaml", str(checkov_results.REVIEWED_SKIPS)):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, tmp_path / file)
        return tmp_path

    @staticmethod
    def scan(root: Path) -> Result:
        (root / "out").mkdir(exist_ok=True)
        return checkov_results.run(root, ensure("scan"), root / "out")

    def test_silent_problems_fail_the_scan(
        self, copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All in one run, as each start of checkov takes seconds; each has its own finding.

        The user's settings, at home and in the environment, would hide one of them.
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
        unknown = (
            "#checkov:skip=CKV_AWS_99999:a reason of more than twenty characters\n"
            "  #checkov:skip=CKV_AWS_144:short"
        )
        main.write_text(
            main.read_text().replace(
                "#checkov:skip=CKV_AWS_144:templates are", f"{unknown}\n  # templates are"
            )
        )
        # In two parts each, so that the scan of this repository does not find them.
        key_id = "AKIA" + "Z7YQ2X3M4N5P6R7S"
        key = "wJalrXUtnFEMI/K7MDENG" + "/bPxRfiCYzz9kQm3LtW"
        leak = f'aws_access_key_id = "{key_id}"\naws_secret_access_key = "{key}"\n'
        (copy / "leak.py").write_text(leak)
        findings = self.scan(copy).findings
        assert any(
            "cfn/eventbridge.yaml" in finding and "CKV_SIGNWATCH_" in finding
            for finding in findings
        )
        assert any("CKV_AWS_21" in finding for finding in findings)
        assert any("the skip of CKV_AWS_99999 has no effect" in finding for finding in findings)
        assert any(
            "aws_s3_bucket.templates: CKV_AWS_144 is skipped without a reason" in finding
            for finding in findings
        )
        assert any(
            finding.startswith("leak.py: ") and "CKV_SECRET_" in finding for finding in findings
        )
        assert {path.name for path in (copy / "out").iterdir()} >= {"checkov.json", "checkov.sarif"}

    def test_unreadable_templates_fail_without_findings_on_others(self, copy: Path) -> None:
        (copy / "cfn" / "broken.yaml").write_text("Resources: [\n")
        (copy / "cfn" / "twice.yaml").write_text("Resources:\n  A: {Type: x}\n  A: {Type: y}\n")
        *findings, last = self.scan(copy).findings
        assert any(finding.startswith("cfn/broken.yaml: cannot be read") for finding in findings)
        assert any("'A'" in finding for finding in findings)
        assert {finding.partition(":")[0].removeprefix("./") for finding in findings} <= {
            "cfn/broken.yaml",
            "cfn/twice.yaml",
        }
        assert last == checkov_results.NOT_CHECKED

    @pytest.mark.parametrize("modules", ["trail_policies.py", "*.py"])
    def test_policies_that_cannot_be_imported_fail_with_the_cause(
        self, copy: Path, modules: str
    ) -> None:
        shutil.rmtree(copy / "terraform-bootstrap")  # which needs no policies of ours
        for module in (copy / "cfn" / "policies").glob(modules):
            module.write_text("import nothing_of_this_name\n")
        findings = self.scan(copy).findings
        (cause,) = (finding for finding in findings if "nothing_of_this_name" in finding)
        error = "ModuleNotFoundError: No module named 'nothing_of_this_name'"
        assert f"{error}: a policy could not be loaded" in cause
        assert not [finding for finding in findings if "CKV_SIGNWATCH_" in finding]

    def test_only_the_dist_folder_of_the_repository_is_ignored(self, copy: Path) -> None:
        before = self.scan(copy)
        bootstrap = copy / "dist" / "bootstrap" / "111122223333-eu-central-1-signwatch"
        shutil.copytree(copy / "terraform-bootstrap", bootstrap)
        main = bootstrap / "main.tf"
        main.write_text(main.read_text().replace('status = "Enabled"', 'status = "Suspended"'))
        shutil.copy(copy / "cfn" / "alarms.yaml", copy / "dist")
        assert self.scan(copy) == before
        (copy / "cfn" / "dist").mkdir()
        # The copied alarms find no topic in this folder.
        shutil.copy(copy / "cfn" / "alarms.yaml", copy / "cfn" / "dist")
        assert any(
            finding.startswith("cfn/dist/alarms.yaml: ") and "CKV_SIGNWATCH_" in finding
            for finding in self.scan(copy).findings
        )

    def test_empty_folder_fails(self, tmp_path: Path) -> None:
        (tmp_path / "cfn").mkdir()
        shutil.copy(ROOT / ".checkov.yaml", tmp_path)
        assert self.scan(tmp_path).findings
