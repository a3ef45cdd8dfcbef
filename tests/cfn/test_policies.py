"""The own policies, run by the real checkov in one process: their examples, and every fault that must not pass."""

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
FAULTS = mutations.load(ROOT / mutations.FAULTS)
BASE = {
    path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "cfn").glob("*.yaml"))
}


def classes() -> dict[str, str]:
    """The id and the sentence of each policy, read from the source, as checkov lives in another environment."""
    found = {}
    for path in POLICIES.glob("*_policies.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                lines: list[Any] = [line for line in node.body if is_number(line)]
                number = ast.literal_eval(lines[0].value.elts[0])
                found[f"CKV_SIGNWATCH_{number}"] = ast.get_docstring(node) or ""
    return found


def is_number(line: ast.stmt) -> bool:
    return isinstance(line, ast.Assign) and isinstance(line.value, ast.Tuple)


def fault(**changes: str) -> mutations.Fault:
    given: dict[str, Any] = {"name": "x", "file": "x.yaml", "policy": "CKV_SIGNWATCH_1", **changes}
    return mutations.Fault(**given)


@pytest.fixture(scope="module")
def examples() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """For each policy, what the policies say of its passing and of its failing example."""
    cases = []
    for path in EXAMPLES:
        example = tomllib.loads(path.read_text(encoding="utf-8"))
        edit = mutations.Fault(name=path.stem, policy=path.stem, **example["failing"])
        files = example["passing"]
        cases += [(files, ""), ({**files, edit.file: edit.apply(files[edit.file])}, path.stem)]
    said = mutations.judge(ROOT, environment.ensure("scan", ROOT), cases)
    return {path.stem: (said[2 * i], said[2 * i + 1]) for i, path in enumerate(EXAMPLES)}


@pytest.fixture(scope="module")
def report() -> mutations.Report:
    return mutations.run(ROOT, environment.ensure("scan", ROOT), lambda _line: None)


def test_each_policy_has_a_sentence_an_example_and_a_fault() -> None:
    found = classes()
    assert set(found) == {path.stem for path in EXAMPLES}
    assert set(found) == {entry.policy for entry in FAULTS}
    assert [sentence for sentence in found.values() if not sentence.endswith(".")] == []


@pytest.mark.scan
@pytest.mark.parametrize("policy", [path.stem for path in EXAMPLES])
def test_a_policy_passes_its_good_example_and_fails_its_bad_one(
    policy: str, examples: dict[str, Any]
) -> None:
    good, bad = examples[policy]
    assert policy in good["passed"]
    assert policy not in good["failed"]
    assert policy in bad["failed"]
    assert policy not in bad["without"]
    assert good["unread"] == bad["unread"] == []


@pytest.mark.scan
def test_each_fault_is_caught_by_its_named_policy_and_by_no_other(report: mutations.Report) -> None:
    assert [found.sentence() for found in report.outcomes if not found.caught] == []


@pytest.mark.scan
def test_the_templates_pass_every_policy(report: mutations.Report) -> None:
    assert report.false_alarms == ()
    assert set(report.seen) == set(classes())


@pytest.mark.scan
def test_no_kind_of_resource_of_the_templates_may_hang_on_a_condition() -> None:
    places = {
        body["Type"]: (name, logical_id)
        for name in NAMES
        for logical_id, body in load(name)["Resources"].items()
    }
    cases = []
    for name, logical_id in places.values():
        head = re.compile(rf"^  {logical_id}:.*\n", re.MULTILINE)
        text = head.sub(lambda found: f"{found[0]}    Condition: Chosen\n", BASE[f"{name}.yaml"])
        cases.append(({**BASE, f"{name}.yaml": text}, "CKV_SIGNWATCH_100"))
    said = mutations.judge(ROOT, environment.ensure("scan", ROOT), cases)
    passed = [
        kind
        for kind, answer in zip(places, said, strict=True)
        if answer["failed"] != ["CKV_SIGNWATCH_100"]
    ]
    assert passed == []
    assert "AWS::Lambda::EventSourceMapping" in places


@pytest.mark.scan
def test_the_last_line_counts_what_was_caught(report: mutations.Report) -> None:
    assert len(FAULTS) >= 40
    assert (
        report.lines()[-1]
        == f"mutations caught {len(FAULTS)}/{len(FAULTS)}, false alarms on the base 0"
    )


@pytest.mark.scan
def test_a_template_that_cannot_be_read_is_never_a_fault_that_was_caught() -> None:
    broken = {**BASE, "alarms.yaml": "Resources: {"}
    (said,) = mutations.judge(
        ROOT, environment.ensure("scan", ROOT), [(broken, "CKV_SIGNWATCH_85")]
    )
    assert said["unread"] == ["alarms.yaml"]
    outcome = mutations.Outcome(
        fault(policy="CKV_SIGNWATCH_85"), ("CKV_SIGNWATCH_85",), (), tuple(said["unread"])
    )
    assert not outcome.caught
    assert "not readable: alarms.yaml" in outcome.sentence()


def test_a_fault_that_two_policies_notice_is_not_caught_by_the_named_one_alone() -> None:
    both = ("CKV_SIGNWATCH_1", "CKV_SIGNWATCH_2")
    outcome = mutations.Outcome(fault(), both, ("CKV_SIGNWATCH_2",), ())
    told = mutations.Report((outcome,), ("CKV_SIGNWATCH_3",), ())
    assert not told.passed
    assert told.lines()[-1] == "mutations caught 0/1, false alarms on the base 1"


def test_no_faults_at_all_do_not_pass() -> None:
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
def test_a_fault_whose_text_is_not_found_once_is_refused(
    changes: dict[str, str], sentence: str
) -> None:
    with pytest.raises(RefusedError, match=sentence):
        fault(**changes).apply("Resources:\n  A: a a\n")


def test_a_fault_edits_the_first_place_after_its_anchor() -> None:
    assert fault(after="B:", old="1", new="2").apply("A: 1\nB: 1\nC: 1\n") == "A: 1\nB: 2\nC: 1\n"


def test_a_resource_is_removed_with_its_lines_and_nothing_else() -> None:
    text = "Resources:\n  A:\n    Type: X\n\n  B:\n    Type: Y\nOutputs:\n  C: 1\n"
    assert fault(remove="A").apply(text) == "Resources:\n  B:\n    Type: Y\nOutputs:\n  C: 1\n"
    assert fault(remove="B").apply(text) == "Resources:\n  A:\n    Type: X\n\nOutputs:\n  C: 1\n"
