"""checkov's JSON, judged: what it passes over in silence is a finding here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.repository import ROOT
from tooling import checkov
from tooling.environment import ensure

if TYPE_CHECKING:
    from pathlib import Path

REASON = "calls api.twilio.com and uses no VPC resource"
SUMMARY = {"passed": 0, "failed": 0, "skipped": 0, "parsing_errors": 0, "resource_count": 0, "checkov_version": "3"}
QUEUE = "Resources:\n  Queue:\n    Type: AWS::SQS::Queue\n"


def check(path: str = "/queue.yaml", **more: Any) -> dict[str, Any]:
    return {"check_id": "CKV_AWS_27", "check_name": "Sealed", "file_path": path, "resource": "Queue", **more}


def skip(reason: str | None) -> dict[str, Any]:
    return check(check_result={"result": "SKIPPED", "suppress_comment": reason})


def report(**results: Any) -> dict[str, Any]:
    return {"check_type": "cloudformation", "results": {"passed_checks": [check()], **results}}


def judge(*told: Any, expected: tuple[str, ...] = (), settings: str = "") -> checkov.Judgement:
    return checkov.judge(told, expected, settings)


class TestDocuments:
    def test_one_report_a_list_of_them_and_a_document_a_folder_are_all_read(self) -> None:
        one, two = report(), report(failed_checks=[check()])
        assert checkov.documents(json.dumps(one)) == [one]
        assert checkov.documents(json.dumps([one, two], indent=2)) == [one, two]
        assert checkov.documents(json.dumps(one, indent=2) + "\n" + json.dumps([two])) == [one, two]

    @pytest.mark.parametrize("text", ["", " \n", "Traceback", '{"results": {}} and more'])
    def test_anything_else_and_nothing_at_all_is_no_result(self, text: str) -> None:
        with pytest.raises(ValueError, match="Expecting value"):
            checkov.documents(text)


class TestJudge:
    def test_what_passed_and_was_skipped_with_a_reason_is_counted_and_fine(self) -> None:
        found = judge(report(skipped_checks=[skip(REASON)]), report(), expected=("queue.yaml",))
        assert found == checkov.Judgement(2, 1, ())

    def test_a_failed_check_says_where_and_what(self) -> None:
        assert judge(report(failed_checks=[check()])).findings == ("queue.yaml: Queue: CKV_AWS_27 Sealed",)

    def test_a_file_that_cannot_be_parsed_is_a_finding(self) -> None:
        assert judge(report(parsing_errors=["/cfn/x.yaml"])).findings == ("/cfn/x.yaml: could not be parsed",)

    def test_a_file_that_does_not_appear_is_a_finding(self) -> None:
        found = judge(report(), expected=("queue.yaml", "roles.tf"))
        assert found.findings == ("roles.tf: does not appear in the results",)

    @pytest.mark.parametrize("kind", ["passed_checks", "failed_checks", "skipped_checks"])
    def test_a_file_appears_by_any_result(self, kind: str) -> None:
        found = judge(
            report(),
            report(**{kind: [check("/roles.tf", **skip(REASON) | {"file_path": "/roles.tf"})]}),
            expected=("roles.tf",),
        )
        assert not [finding for finding in found.findings if "does not appear" in finding]

    @pytest.mark.parametrize("reason", [None, "", "No comment provided", "false positive", " " * 40])
    def test_a_skip_without_a_reason_worth_the_name_is_a_finding(self, reason: str | None) -> None:
        found = judge(report(skipped_checks=[skip(reason)]))
        assert found.findings == ("queue.yaml: Queue: CKV_AWS_27 is skipped without a reason of 20 characters",)

    @pytest.mark.parametrize("told", [(), (SUMMARY,), (report(passed_checks=[]),)], ids=["nothing", "summary", "none"])
    def test_a_scan_that_looked_at_nothing_is_a_finding(self, told: tuple[Any, ...]) -> None:
        assert "checkov passed no check at all: it looked at nothing" in judge(*told).findings

    @pytest.mark.parametrize(
        "setting", ["skip-check: [CKV_AWS_27]", "soft-fail: true", "skip_check: x", "soft_fail: x"]
    )
    def test_a_setting_that_would_hide_findings_is_a_finding(self, setting: str) -> None:
        (finding,) = judge(report(), settings=f"compact: true\n{setting}\n").findings
        assert finding.startswith(".checkov.yaml: s")


@pytest.mark.scan
class TestWithTheProgram:
    def test_a_failing_resource_and_a_broken_file_are_found_beside_a_good_one(self, tmp_path: Path) -> None:
        found = _run(
            tmp_path, good="SqsManagedSseEnabled: false", **{"open.yaml": QUEUE, "broken.yaml": "Resources: [\n"}
        )
        assert found.passed > 0
        assert any(finding.startswith("open.yaml: AWS::SQS::Queue.Queue: CKV_AWS_27") for finding in found.findings)
        assert any("broken.yaml" in finding for finding in found.findings)
        assert not any("good.yaml" in finding for finding in found.findings)

    def test_a_folder_with_nothing_in_it_is_no_success(self, tmp_path: Path) -> None:
        (tmp_path / "cfn").mkdir()
        (tmp_path / ".checkov.yaml").write_text((ROOT / ".checkov.yaml").read_text())
        assert checkov.run(tmp_path, ensure("scan"), ("cfn",)).findings


def _run(root: Path, *, good: str, **files: str) -> checkov.Judgement:
    """Run the real checkov over a folder ``cfn`` with a good template and the given ones."""
    (root / "cfn").mkdir()
    (root / ".checkov.yaml").write_text((ROOT / ".checkov.yaml").read_text())
    sealed = f"{QUEUE}    Properties:\n      KmsMasterKeyId: alias/sealed\n      {good}\n"
    for name, text in {"good.yaml": sealed, **files}.items():
        (root / "cfn" / name).write_text(text)
    return checkov.run(root, ensure("scan"), ("cfn",))
