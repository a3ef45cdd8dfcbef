"""Our policies in the real checkov: their examples, and every fault that they must catch."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import Any

import pytest

from tests.support.repository import ROOT
from tests.support.templates import NAMES, load
from tooling import environment
from tooling.checks import mutations
from tooling.errors import RefusedError

pytestmark = pytest.mark.joint

POLICIES = ROOT / "cfn" / "policies"
EXAMPLES = sorted((POLICIES / "examples").glob("*.toml"))
FAULTS = [entry for entry in mutations.load(ROOT / mutations.MUTATIONS_FILE) if not entry.finding]
BASE = {
    path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "cfn").glob("*.yaml"))
}


def policies() -> dict[str, str]:
    """The id and the sentence of each policy, from the source, as they cannot be imported here."""
    sentences = {}
    for path in POLICIES.glob("*_policies.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.decorator_list:
                decorator: Any = node.decorator_list[0]
                sentences[decorator.args[0].value] = ast.get_docstring(node) or ""
    return sentences


def fault(**changes: str) -> mutations.Mutation:
    fields: dict[str, Any] = {"name": "x", "file": "x.yaml", "policy": "CKV_SIGNWATCH_1", **changes}
    return mutations.Mutation(**fields)


def run_policies(*cases: tuple[dict[str, str], str]) -> list[dict[str, Any]]:
    return mutations.run_policies(ROOT, environment.ensure("scan", ROOT), cases)


@pytest.fixture(scope="module")
def examples() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """For each policy, the results for its passing and for its failing example."""
    cases = []
    for path in EXAMPLES:
        example = tomllib.loads(path.read_text(encoding="utf-8"))
        edit = mutations.Mutation(name=path.stem, policy=path.stem, **example["failing"])
        files = example["passing"]
        cases += [(files, ""), ({**files, edit.file: edit.apply(files[edit.file])}, path.stem)]
    results = iter(run_policies(*cases))
    return {path.stem: (next(results), next(results)) for path in EXAMPLES}


@pytest.fixture(scope="module")
def report() -> mutations.Report:
    return mutations.run_policy_mutations(ROOT, environment.ensure("scan", ROOT), FAULTS)


def test_each_policy_has_a_sentence_an_example_and_a_fault() -> None:
    sentences = policies()
    assert set(sentences) == {path.stem for path in EXAMPLES}
    assert set(sentences) == {entry.policy for entry in FAULTS}
    assert [sentence for sentence in sentences.values() if not sentence.endswith(".")] == []


@pytest.mark.scan
@pytest.mark.parametrize("policy", [path.stem for path in EXAMPLES])
def test_policy_passes_its_good_example_and_fails_its_bad_one(
    policy: str, examples: dict[str, Any]
) -> None:
    good, bad = examples[policy]
    assert policy in good["passed"]
    assert policy not in good["failed"]
    assert policy in bad["failed"]
    assert policy not in bad["failed_without"]
    assert good["unreadable"] == bad["unreadable"] == []


@pytest.mark.scan
def test_each_fault_is_caught_by_its_policy_alone(report: mutations.Report) -> None:
    assert [outcome.describe() for outcome in report.outcomes if not outcome.is_caught] == []


@pytest.mark.scan
def test_templates_pass_every_policy(report: mutations.Report) -> None:
    assert report.false_alarms == ()
    assert set(report.passed_policies) == set(policies())


@pytest.mark.scan
def test_condition_on_any_kind_of_resource_is_caught() -> None:
    places = {
        body["Type"]: (name, logical_id)
        for name in NAMES
        for logical_id, body in load(name)["Resources"].items()
    }
    cases = []
    for name, logical_id in places.values():
        head = re.compile(
            rf"^(  {logical_id}:.*\n    Type: .*\n)(    Condition: .*\n)?", re.MULTILINE
        )
        text = head.sub(lambda match: f"{match[1]}    Condition: Chosen\n", BASE[f"{name}.yaml"])
        cases.append(({**BASE, f"{name}.yaml": text}, "CKV_SIGNWATCH_100"))
    for kind, result in zip(places, run_policies(*cases), strict=True):
        assert result["failed"] == ["CKV_SIGNWATCH_100"], kind
    assert "AWS::Lambda::EventSourceMapping" in places


@pytest.mark.scan
def test_last_line_counts_the_caught_faults(report: mutations.Report) -> None:
    assert len(FAULTS) >= 40
    caught = f"{len(FAULTS)}/{len(FAULTS)}"
    assert report.format_lines()[-1] == f"mutations caught {caught}, false alarms on the base 0"


@pytest.mark.scan
def test_unreadable_template_is_never_a_caught_fault() -> None:
    broken = {**BASE, "alarms.yaml": "Resources: {"}
    policy = "CKV_SIGNWATCH_85"
    (result,) = run_policies((broken, policy))
    assert result["unreadable"] == ["alarms.yaml"]
    outcome = mutations.PolicyOutcome(fault(policy=policy), (policy,), (), ("alarms.yaml",))
    assert not outcome.is_caught
    assert "not readable: alarms.yaml" in outcome.describe()


def test_fault_that_two_policies_catch_fails_the_report() -> None:
    both = ("CKV_SIGNWATCH_1", "CKV_SIGNWATCH_2")
    outcome = mutations.PolicyOutcome(fault(), both, ("CKV_SIGNWATCH_2",), ())
    report = mutations.Report((outcome,), ("CKV_SIGNWATCH_3",), ())
    assert not report.passed
    assert report.format_lines()[-1] == "mutations caught 0/1, false alarms on the base 1"


def test_report_counts_the_findings_of_grants_too() -> None:
    caught = mutations.PolicyOutcome(fault(), ("CKV_SIGNWATCH_1",), (), ())
    named = mutations.GrantsOutcome(fault(policy="", finding="is wrong"), ("a: b is wrong",))
    missed = mutations.GrantsOutcome(fault(policy="", finding="is wrong"), ("a: c",))
    assert mutations.Report((caught, named), (), ()).passed
    report = mutations.Report((caught, named, missed), (), ())
    assert not report.passed
    assert report.format_lines() == [
        'x: grants should say "is wrong", found a: c',
        "mutations caught 2/3, false alarms on the base 0",
    ]


@pytest.mark.parametrize(
    ("file", "path"),
    [("lambda.yaml", "cfn/lambda.yaml"), ("roles.tf", "terraform-bootstrap/roles.tf")],
)
def test_fault_is_in_a_file_of_cfn_or_of_the_bootstrap(file: str, path: str) -> None:
    assert fault(file=file).path.as_posix() == path


def test_report_without_faults_fails() -> None:
    assert not mutations.Report((), (), ()).passed


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"old": "gone", "new": "x"}, "changes nothing"),
        ({"old": "a", "new": "b"}, "more than once"),
        ({"after": "nowhere", "old": "a", "new": "b"}, "changes nothing"),
        ({"remove": "Absent"}, "changes nothing"),
    ],
)
def test_fault_whose_text_is_not_found_once_is_refused(
    changes: dict[str, str], sentence: str
) -> None:
    with pytest.raises(RefusedError, match=sentence):
        fault(**changes).apply("Resources:\n  A: a a\n")


def test_fault_edits_the_first_place_after_its_anchor() -> None:
    assert fault(after="B:", old="1", new="2").apply("A: 1\nB: 1\nC: 1\n") == "A: 1\nB: 2\nC: 1\n"


def test_fault_removes_the_lines_of_a_resource_only() -> None:
    text = "Resources:\n  A:\n    Type: X\n\n  B:\n    Type: Y\nOutputs:\n  C: 1\n"
    assert fault(remove="A").apply(text) == "Resources:\n  B:\n    Type: Y\nOutputs:\n  C: 1\n"
    assert fault(remove="B").apply(text) == "Resources:\n  A:\n    Type: X\n\nOutputs:\n  C: 1\n"
