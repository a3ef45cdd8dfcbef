"""Repeated bootstraps and deploys: what changes, what does not, and rollbacks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.support.emulator import policy, wait_until
from tests.support.listener import Listener
from tooling import templates
from tooling.deploy import account, bootstrap, stack
from tooling.errors import FailedError, PlanShownError, RefusedError
from tooling.local import rehearsal
from tooling.operate import drift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tooling.local.rehearsal import LocalDeployment
    from tooling.settings import Settings

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


def add_resource(checkout: LocalDeployment, template: str, kind: str, name: str) -> None:
    """Add a resource ``Taken`` with this name to a template of the copy."""
    path = checkout.settings.root / "cfn" / template
    resource = f"  Taken:\n    Type: {kind}\n    Properties: {{{name}}}\n"
    path.write_text(path.read_text().replace("Resources:\n", f"Resources:\n{resource}", 1))


def trail_buckets(s3: Any) -> set[str]:
    return {
        bucket["Name"] for bucket in s3.list_buckets()["Buckets"] if "trailbucket" in bucket["Name"]
    }


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
    caller = account.assume_role(owner, arn)
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
    add_resource(checkout, "lambda.yaml", "AWS::SQS::Queue", "QueueName: taken")
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


def test_an_early_validation_that_fails_is_named(
    bootstrapped: LocalDeployment, checkout: LocalDeployment
) -> None:
    """CloudFormation itself says only that DescribeEvents knows the reason."""
    deploy(bootstrapped)
    owner, contract = bootstrapped.as_owner(), bootstrapped.as_deployer()[1]
    owner.client("s3").create_bucket(Bucket="taken-name")
    add_resource(checkout, "parent.yaml", "AWS::S3::Bucket", "BucketName: taken-name")
    listener = Listener()
    artifacts = rehearsal.build_artifacts(checkout.settings.root, listener.announce)
    with pytest.raises(FailedError) as failure:
        stack.deploy(owner, checkout.settings, contract, artifacts, display=listener.stack())
    reason, validation = failure.value.what.splitlines()
    assert "Call DescribeEvents" in reason
    assert validation.startswith("  Taken (AWS::S3::Bucket) fails NAME_CONFLICT_VALIDATION: ")


def test_what_a_failed_first_deploy_leaves_is_shown_and_its_command_removes_it(
    bootstrapped: LocalDeployment, checkout: LocalDeployment
) -> None:
    """The trail writes to its bucket before a later resource fails, so the bucket stays."""
    aws, contract = bootstrapped.as_deployer()
    owner = bootstrapped.as_owner()
    if stack.describe(aws, "signwatch"):
        stack.destroy(aws, bootstrapped.settings, contract, display=Listener().stack())
    s3 = owner.client("s3")
    earlier = trail_buckets(s3)
    owner.client("sqs").create_queue(QueueName="taken-too")
    add_resource(checkout, "alarms.yaml", "AWS::SQS::Queue", "QueueName: taken-too")
    listener = Listener()
    artifacts = rehearsal.build_artifacts(checkout.settings.root, listener.announce)

    def write_records() -> str:
        (bucket,) = wait_until(lambda: trail_buckets(s3) - earlier)
        for body in (b"one version", b"another"):
            s3.put_object(Bucket=bucket, Key="record", Body=body)
        return str(bucket)

    with ThreadPoolExecutor(1) as trail:
        writing = trail.submit(write_records)
        for _ in range(3):  # on a busy machine, the records may be too late for the first deploy
            with pytest.raises(FailedError, match="because Taken") as failure:
                stack.deploy(aws, checkout.settings, contract, artifacts, display=listener.stack())
            if "ROLLBACK_FAILED" in str(failure.value):
                break
    assert "ended in ROLLBACK_FAILED because Taken" in str(failure.value)
    bucket = writing.result()
    lines = [line for line in listener.lines if line.startswith("Left in the account: ")]
    (bucket_line,) = [line for line in lines if f"AWS::S3::Bucket {bucket} (" in line]
    assert [line for line in lines if "AWS::KMS::Key" in line]
    command = bucket_line.partition("to remove it: ")[2]
    subprocess.run(command.replace(".venv/bin/python", sys.executable), shell=True, check=True)  # noqa: S602 - the command that the tool prints
    with pytest.raises(ClientError, match="404"):
        s3.head_bucket(Bucket=bucket)
    deploy(bootstrapped)


def test_plan_alone_leaves_no_stack_and_no_change_set(bootstrapped: LocalDeployment) -> None:
    aws, contract = bootstrapped.as_deployer()
    if stack.describe(aws, "signwatch"):
        stack.destroy(aws, bootstrapped.settings, contract, display=Listener().stack())

    def stop() -> None:
        raise PlanShownError

    listener = Listener(answer=stop)
    artifacts = rehearsal.build_artifacts(bootstrapped.settings.root, listener.announce)
    with pytest.raises(PlanShownError):
        bootstrapped.deploy(artifacts, listener.stack())
    assert listener.changes
    assert listener.questions == ["Execute this change set on stack signwatch?"]
    assert {key.partition("/")[0] for key in uploads(listener)} & {"function", "layer"} == set()
    assert stack.describe(aws, "signwatch") is None
    deploy(bootstrapped)
    bootstrapped = replace(bootstrapped, settings=with_label(bootstrapped, "another"))
    with pytest.raises(PlanShownError):
        bootstrapped.deploy(artifacts, listener.stack())
    cloudformation = bootstrapped.as_owner().client("cloudformation")
    change_sets = cloudformation.list_change_sets(StackName="signwatch")["Summaries"]
    assert "AVAILABLE" not in {change_set["ExecutionStatus"] for change_set in change_sets}
    live = stack.describe(aws, "signwatch")
    assert live is not None
    assert live.parameters["AccountLabel"] == "test"


def with_label(deployment: LocalDeployment, label: str) -> Settings:
    """Return the settings with another label of the account."""
    parameters = {**deployment.settings.parameters, "AccountLabel": label}
    return replace(deployment.settings, parameters=parameters)


def test_deploy_destroy_deploy_works(bootstrapped: LocalDeployment) -> None:
    deploy(bootstrapped)
    aws, made = bootstrapped.as_deployer()
    listener = Listener()
    stack.destroy(aws, bootstrapped.settings, made, display=listener.stack())
    kept = [line for line in listener.lines if "to remove it: " in line]
    assert {line.split()[4] for line in kept} == {"AWS::S3::Bucket", "AWS::KMS::Key"}
    assert stack.describe(aws, "signwatch") is None
    logs = aws.client("logs")
    trail_group = "/aws/cloudtrail/signwatch"
    assert logs.describe_log_groups(logGroupNamePrefix=trail_group)["logGroups"] == []
    parameters = {**bootstrapped.settings.parameters, "TrailLogGroupMode": "none"}
    settings = replace(bootstrapped.settings, parameters=parameters)
    deploy(replace(bootstrapped, settings=settings))
    assert logs.describe_log_groups(logGroupNamePrefix=trail_group)["logGroups"] == []
    live = stack.describe(aws, "signwatch")
    assert live is not None
    assert live.status == "CREATE_COMPLETE"
