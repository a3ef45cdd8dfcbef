"""grants on this repository: no finding, and every fault in a copy is named."""

from __future__ import annotations

import pytest

from tests.support.repository import ROOT
from tests.support.templates import NAMES, installation, load
from tooling.checks import iam_policies, mutations
from tooling.environment import ensure
from tooling.resolved_templates import OPTIONAL_VALUES, walk

pytestmark = pytest.mark.joint

FAULTS = [entry for entry in mutations.load(ROOT / mutations.MUTATIONS_FILE) if entry.finding]


@pytest.fixture(scope="module")
def report() -> mutations.Report:
    """The faults in templates alone: ./inv test --mutations plans those in the bootstrap too."""
    in_templates = [entry for entry in FAULTS if entry.path.suffix == ".yaml"]
    return mutations.run_grants_mutations(ROOT, ensure("scan", ROOT), in_templates)


@pytest.mark.terraform
def test_repository_has_no_finding_without_a_review(report: mutations.Report) -> None:
    assert report.false_alarms == ()


@pytest.mark.terraform
def test_each_fault_in_a_template_is_named(report: mutations.Report) -> None:
    assert len(report.outcomes) >= 12
    assert [outcome.describe() for outcome in report.outcomes if not outcome.is_caught] == []


def test_each_fault_in_the_bootstrap_changes_its_file() -> None:
    in_bootstrap = [entry for entry in FAULTS if entry.path.suffix == ".tf"]
    assert len({entry.file for entry in in_bootstrap}) >= 4
    for entry in in_bootstrap:
        text = (ROOT / entry.path).read_text(encoding="utf-8")
        assert entry.apply(text) != text


def test_policies_of_every_stack_are_collected() -> None:
    collection = iam_policies.collect_stacks(installation())
    assert {policy.name for policy in collection.policies} >= {
        "foundation.MainKey",
        "foundation.AlertTopicPolicy",
        "foundation.FailedEventsQueuePolicy",
        "cloudtrail.TrailBucketPolicy",
        "cloudtrail.TrailRole",
        "cloudtrail.TrailRole.logs",
        "lambda.Role.alerts",
        "lambda.LaterQueuePolicy",
        "eventbridge.RawEventLogPolicy",
        "eventbridge.UndeliveredEventsQueuePolicy",
    }
    assert {role.name: len(role.identity_policies) for role in collection.roles} == {
        "signwatch-trail": 1,
        "signwatch-function": 3,
        "signwatch-forwarder": 1,
    }


def test_placeholders_become_arns_such_as_aws_generates() -> None:
    collection = iam_policies.collect_stacks(installation())
    assert [policy.name for policy in collection.policies if "<" in str(policy.document)] == []
    arns = {policy.name: policy.resource_arn for policy in collection.policies}
    prefix = "arn:aws:sqs:eu-central-1:111122223333:signwatch"
    assert arns["foundation.FailedEventsQueuePolicy"] == f"{prefix}-failed-events"
    assert arns["eventbridge.UndeliveredEventsQueuePolicy"] == f"{prefix}-undelivered-events"
    assert arns["cloudtrail.TrailBucketPolicy"].startswith("arn:aws:s3:::")
    assert arns["lambda.Role"] == "arn:aws:iam::111122223333:role/signwatch-function"


def test_optional_values_switch_every_condition() -> None:
    """So that grants checks both branches of each Fn::If."""
    used = {
        node["Ref"]
        for name in NAMES
        if name != "forwarder"  # its own role is for accounts without the bootstrap
        for node in walk(load(name).get("Conditions", {}))
        if isinstance(node, dict) and "Ref" in node
    }
    assert used == set(OPTIONAL_VALUES)
    defaults = load("parent")["Parameters"]
    assert [name for name in used if defaults[name]["Default"] == OPTIONAL_VALUES[name]] == []
