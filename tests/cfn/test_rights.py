"""The rights that the laptop's AWS never checks, held by a table of what CloudFormation's handlers call."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from tests.support.repository import ROOT
from tests.support.templates import NAMES, installation, load, statements
from tooling.terraform import parsed_text

pytestmark = pytest.mark.joint

TABLE = tomllib.loads((ROOT / "tests" / "cfn" / "handler_permissions.toml").read_text(encoding="utf-8"))
TYPES = {kind: entry for kind, entry in TABLE.items() if kind.startswith("AWS::")}
BEYOND = {entry["action"]: entry["reason"] for entry in TABLE["beyond_the_schemas"]}
STEPS = ("create", "read", "update", "delete")
STACK = "AWS::CloudFormation::Stack"  # drift detection leaves nested stacks to themselves
USED = {body["Type"] for name in NAMES for body in load(name)["Resources"].values()}


def allowed(*documents: str) -> set[str]:
    """The actions that these policy documents of the bootstrap allow, whatever their conditions."""
    files = [parsed_text(path.read_text(encoding="utf-8")) for path in (ROOT / "terraform-bootstrap").glob("*.tf")]
    blocks = [block for parsed in files for block in parsed.get("data", ())]
    bodies = [block["aws_iam_policy_document"] for block in blocks if "aws_iam_policy_document" in block]
    found = [body[name] for body in bodies for name in documents if name in body]
    assert len(found) == len(documents)
    parts = [part for body in found for part in body["statement"] if part.get("effect", "Allow") == "Allow"]
    return {action for part in parts for action in part["actions"]}


def needed(*steps: str, kinds: set[str] = USED) -> set[str]:
    return {action for kind in kinds for step in steps for action in TYPES[kind][step]}


def test_the_table_holds_each_resource_type_of_the_templates_and_no_other() -> None:
    assert set(TYPES) == USED


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_each_type_names_its_steps_and_its_source(kind: str) -> None:
    entry: dict[str, Any] = TYPES[kind]
    assert set(entry) - {"left_out"} == {*STEPS, "source"}
    assert entry["source"]
    assert set(entry.get("left_out", ())).isdisjoint(needed(*STEPS, kinds={kind}))


def test_cloudformation_may_do_what_its_handlers_need() -> None:
    assert needed(*STEPS) - allowed("service_resources", "service_foundation") == set()


def test_cloudformation_may_do_nothing_else_but_for_a_reason() -> None:
    beyond = allowed("service_resources", "service_foundation") - needed(*STEPS)
    assert beyond == set(BEYOND)
    assert [action for action, reason in BEYOND.items() if not reason.endswith(".")] == []


def test_drift_may_read_what_the_read_handlers_ask_for_and_nothing_else() -> None:
    assert allowed("drift") == needed("read", kinds=USED - {STACK})


def test_no_role_of_the_templates_may_do_anything_to_all_resources() -> None:
    """Every API that the function and the trail call knows a resource."""
    roles = [role for made in installation().values() for role in made.of_type("AWS::IAM::Role").values()]
    found = [part for role in roles for policy in role["Policies"] for part in statements(policy["PolicyDocument"])]
    assert len(roles) == 2
    assert [part for part in found if "*" in part["Resource"] or any("*" in action for action in part["Action"])] == []
