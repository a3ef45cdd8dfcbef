"""Repeated bootstraps and deploys: what changes, what does not, and rollbacks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.emulator import policy
from tests.support.listener import Listener
from tooling import templates
from tooling.deploy import account, bootstrap, stack
from tooling.errors import FailedError, RefusedError
from tooling.local import rehearsal
from tooling.operate import drift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tooling.local.rehearsal import LocalDeployment

pytestmark = pytest.mark.end_to_end

SOURCES = ("cfn", "lambda", "layer", "terraform-bootstrap")


@pytest.fixture(scope="module")
def bootstrapped(
    bootstrap_account: Callable[[str], AbstractContextManager[LocalDeployment]],
) -> Iterator[LocalDeployment]:
    with bootstrap_account("333344445555") as deployment:
        yield deployment


@pytest.fixture
def checkout(bootstrapped: LocalDeployment, tmp_path: Path) -> LocalDeployment:
    """The same account, deployed from a copy of the sources that a test can change."""
    root = bootstrapped.settings.root
    for source in SOURCES:
        ignore = shutil.ignore_patterns("__pycache__", "state")
        shutil.copytree(root / source, tmp_path / source, ignore=ignore)
    (tmp_path / "dist").mkdir()
    if (root / "dist" / "layer").is_dir():  # saves the download of the layer's wheels
        shutil.copytree(root / "dist" / "layer", tmp_path / "dist" / "layer")
    return replace(bootstrapped, settings=replace(bootstrapped.settings, root=tmp_path))


def deploy(deployment: LocalDeployment) -> Listener:
    listener = Listener()
    deployment.deploy(
        rehearsal.build_artifacts(deployment.settings.root, listener.announce), listener.stack()
    )
    return listener


def uploads(listener: Listener) -> list[str]:
    return [line.split()[1] for line in listener.lines if line.startswith("uploading ")]


def test_second_bootstrap_changes_nothing(bootstrapped: LocalDeployment) -> None:
    listener = Listener()
    bootstrapped.bootstrap(listener.announce, listener.plan)
    assert listener.planned == []
    assert listener.lines[-1].startswith("No changes")


def test_role_with_a_path_is_trusted_by_its_full_arn(bootstrapped: LocalDeployment) -> None:
    """Without permission to read the role's path from IAM, bootstrap refuses."""
    owner, settings = bootstrapped.as_owner(), replace(bootstrapped.settings, bootstrap={})
    iam = owner.client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": owner.account}, "Action": "sts:AssumeRole"}
    request = {"Path": "/team/build/", "AssumeRolePolicyDocument": policy(trust)}
    arn = iam.create_role(RoleName="ci", **request)["Role"]["Arn"]
    caller = account.assume(owner, arn)
    assert "/team/" not in caller.caller_arn
    with pytest.raises(
        RefusedError, match=r"is a session of role ci, and IAM did not return .*AccessDenied"
    ):
        bootstrap.resolve_variables(settings, caller)
    allow = {"Effect": "Allow", "Action": "iam:GetRole", "Resource": "*"}
    iam.put_role_policy(RoleName="ci", PolicyName="look", PolicyDocument=policy(allow))
    assert bootstrap.resolve_variables(settings, caller)["trusted_principal_arns"] == [arn]


def test_second_deploy_says_that_nothing_changed_and_uploads_nothing(
    bootstrapped: LocalDeployment,
) -> None:
    deploy(bootstrapped)
    second = deploy(bootstrapped)
    assert uploads(second) == []
    assert second.events == []
    assert len([line for line in second.lines if line.startswith("Nothing changed")]) == 1


def test_first_deploy_enables_termination_protection(bootstrapped: LocalDeployment) -> None:
    deploy(bootstrapped)
    cloudformation = bootstrapped.as_owner().client("cloudformation")
    live = cloudformation.describe_stacks(StackName="signwatch")["Stacks"][0]
    assert live["EnableTerminationProtection"] is True


def test_changed_line_of_code_uploads_only_the_code(
    bootstrapped: LocalDeployment, checkout: LocalDeployment
) -> None:
    deploy(bootstrapped)
    with (checkout.settings.root / "lambda" / "signwatch" / "handler.py").open("a") as file:
        file.write("# another line\n")
    changed = deploy(checkout)
    assert [key.partition("/")[0] for key in uploads(changed)] == ["function"]
    assert {event.resource for event in changed.events if event.status == "UPDATE_COMPLETE"} >= {
        "Function"
    }


def test_failing_child_is_rolled_back_and_named(
    bootstrapped: LocalDeployment, checkout: LocalDeployment
) -> None:
    deploy(bootstrapped)
    before = stack.describe(bootstrapped.as_owner(), "signwatch")
    bootstrapped.as_owner().client("sqs").create_queue(QueueName="taken")
    template = checkout.settings.root / "cfn" / "lambda.yaml"
    taken = (
        "Resources:\n  Taken:\n    Type: AWS::SQS::Queue\n    Properties:\n      QueueName: taken\n"
    )
    template.write_text(template.read_text().replace("Resources:\n", taken, 1))
    with pytest.raises(FailedError) as failure:
        deploy(checkout)
    assert failure.value.exit_code == 1
    assert "Taken" in failure.value.what
    assert "already exists" in failure.value.what
    after = stack.describe(bootstrapped.as_owner(), "signwatch")
    assert before is not None
    assert after is not None
    assert after.status == "UPDATE_ROLLBACK_COMPLETE"
    assert after.outputs == before.outputs


def test_disabled_rule_is_drift(bootstrapped: LocalDeployment) -> None:
    deploy(bootstrapped)
    aws, _ = bootstrapped.as_deployer()
    settings = bootstrapped.settings
    assert drift.detect(aws, settings, announce=lambda _: None).drifts == ()
    events = bootstrapped.as_owner().client("events")
    events.disable_rule(Name="signwatch-console-sign-in")
    try:
        (difference,) = drift.detect(aws, settings, announce=lambda _: None).drifts
    finally:
        template = templates.load(settings.root / "cfn" / "eventbridge.yaml")
        rule = template["Resources"]["ConsoleSignInRule"]["Properties"]
        events.put_rule(
            Name="signwatch-console-sign-in",
            EventPattern=json.dumps(rule["EventPattern"]),
            State=rule["State"],
        )
    assert (difference.resource, difference.status) == ("ConsoleSignInRule", "MODIFIED")
    assert difference.differences == (
        "/State: DISABLED, not ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS",
    )


def test_deploy_destroy_deploy_works(bootstrapped: LocalDeployment) -> None:
    deploy(bootstrapped)
    aws, outputs = bootstrapped.as_deployer()
    retained = stack.destroy(aws, bootstrapped.settings, outputs, console=Listener().stack())
    assert {text.split()[0] for text in retained} == {"AWS::S3::Bucket", "AWS::KMS::Key"}
    assert stack.describe(aws, "signwatch") is None
    deploy(bootstrapped)
    live = stack.describe(aws, "signwatch")
    assert live is not None
    assert live.status == "CREATE_COMPLETE"
