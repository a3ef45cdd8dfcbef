"""Bootstrap and deploy, again and again: what changes, what does not, and what a failure leaves behind."""

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

from tests.support.emulator import policy, until
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

    from tooling.local.rehearsal import Rehearsal

pytestmark = pytest.mark.end_to_end

SOURCES = ("cfn", "lambda", "layer", "terraform-bootstrap")


@pytest.fixture(scope="module")
def bootstrapped(
    prepare: Callable[[str], AbstractContextManager[Rehearsal]],
) -> Iterator[Rehearsal]:
    with prepare("333344445555") as stage:
        yield stage


@pytest.fixture
def checkout(bootstrapped: Rehearsal, tmp_path: Path) -> Rehearsal:
    """The same account, deployed from a copy of the sources that a test may change."""
    root = bootstrapped.settings.root
    for source in SOURCES:
        shutil.copytree(
            root / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__", "state")
        )
    (tmp_path / "dist").mkdir()
    if (root / "dist" / "layer").is_dir():  # the layer's wheels need not be fetched again
        shutil.copytree(root / "dist" / "layer", tmp_path / "dist" / "layer")
    return replace(bootstrapped, settings=replace(bootstrapped.settings, root=tmp_path))


def deploy(stage: Rehearsal) -> Listener:
    listener = Listener()
    stage.deploy(
        rehearsal.build_artifacts(stage.settings.root, listener.announce), listener.stack()
    )
    return listener


def add_resource(checkout: Rehearsal, template: str, kind: str, name: str) -> None:
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


def test_a_second_bootstrap_changes_nothing(bootstrapped: Rehearsal) -> None:
    listener = Listener()
    bootstrapped.bootstrap(listener.announce, listener.plan)
    assert listener.planned == []
    assert listener.lines[-1].startswith("No changes")


def test_a_role_below_a_path_is_trusted_as_iam_knows_it(bootstrapped: Rehearsal) -> None:
    """Where it may not ask IAM, it is refused: a trust in the ARN without the path would be refused by IAM."""
    owner, nobody = bootstrapped.enter(), replace(bootstrapped.settings, bootstrap={})
    iam = owner.client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": owner.account}, "Action": "sts:AssumeRole"}
    asked = {"Path": "/team/build/", "AssumeRolePolicyDocument": policy(trust)}
    arn = iam.create_role(RoleName="ci", **asked)["Role"]["Arn"]
    acting = account.assume(owner, arn)
    assert "/team/" not in acting.caller_arn
    with pytest.raises(
        RefusedError, match=r"is a session of role ci, and IAM did not return .*AccessDenied"
    ):
        bootstrap.resolve_variables(nobody, acting)
    right = {"Effect": "Allow", "Action": "iam:GetRole", "Resource": "*"}
    iam.put_role_policy(RoleName="ci", PolicyName="look", PolicyDocument=policy(right))
    assert bootstrap.resolve_variables(nobody, acting)["trusted_principal_arns"] == [arn]


def test_a_second_deploy_says_one_sentence_and_uploads_nothing(bootstrapped: Rehearsal) -> None:
    deploy(bootstrapped)
    again = deploy(bootstrapped)
    assert uploads(again) == []
    assert again.events == []
    assert len([line for line in again.lines if line.startswith("Nothing changed")]) == 1


def test_the_first_deploy_switches_termination_protection_on(bootstrapped: Rehearsal) -> None:
    deploy(bootstrapped)
    found = (
        bootstrapped.enter()
        .client("cloudformation")
        .describe_stacks(StackName="signwatch")["Stacks"][0]
    )
    assert found["EnableTerminationProtection"] is True


def test_a_changed_line_of_code_uploads_the_code_alone(
    bootstrapped: Rehearsal, checkout: Rehearsal
) -> None:
    deploy(bootstrapped)
    with (checkout.settings.root / "lambda" / "signwatch" / "handler.py").open("a") as file:
        file.write("# another line\n")
    changed = deploy(checkout)
    assert [key.partition("/")[0] for key in uploads(changed)] == ["function"]
    assert {event.resource for event in changed.events if event.status == "UPDATE_COMPLETE"} >= {
        "Function"
    }


def test_a_child_that_fails_is_rolled_back_and_named(
    bootstrapped: Rehearsal, checkout: Rehearsal
) -> None:
    deploy(bootstrapped)
    before = stack.describe(bootstrapped.enter(), "signwatch")
    bootstrapped.enter().client("sqs").create_queue(QueueName="taken")
    add_resource(checkout, "lambda.yaml", "AWS::SQS::Queue", "QueueName: taken")
    with pytest.raises(FailedError) as failure:
        deploy(checkout)
    assert failure.value.exit_code == 1
    assert "Taken" in failure.value.what
    assert "already exists" in failure.value.what
    after = stack.describe(bootstrapped.enter(), "signwatch")
    assert before is not None
    assert after is not None
    assert after.status == "UPDATE_ROLLBACK_COMPLETE"
    assert after.outputs == before.outputs


def test_a_rule_that_somebody_switched_off_is_drift(bootstrapped: Rehearsal) -> None:
    deploy(bootstrapped)
    aws, _ = bootstrapped.as_deployer()
    settings = bootstrapped.settings
    assert drift.detect(aws, settings, announce=lambda _: None).drifts == ()
    events = bootstrapped.enter().client("events")
    events.disable_rule(Name="signwatch-console-sign-in")
    try:
        (found,) = drift.detect(aws, settings, announce=lambda _: None).drifts
    finally:
        template = templates.load(settings.root / "cfn" / "eventbridge.yaml")["Resources"][
            "ConsoleSignInRule"
        ]["Properties"]
        events.put_rule(
            Name="signwatch-console-sign-in",
            EventPattern=json.dumps(template["EventPattern"]),
            State=template["State"],
        )
    assert (found.resource, found.status) == ("ConsoleSignInRule", "MODIFIED")
    assert found.differences == (
        "/State: DISABLED, not ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS",
    )


def test_an_early_validation_that_fails_is_named(
    bootstrapped: Rehearsal, checkout: Rehearsal
) -> None:
    """CloudFormation itself says only that DescribeEvents knows the reason."""
    deploy(bootstrapped)
    owner, contract = bootstrapped.enter(), bootstrapped.as_deployer()[1]
    owner.client("s3").create_bucket(Bucket="taken-name")
    add_resource(checkout, "parent.yaml", "AWS::S3::Bucket", "BucketName: taken-name")
    listener = Listener()
    artifacts = rehearsal.build_artifacts(checkout.settings.root, listener.announce)
    with pytest.raises(FailedError) as failure:
        stack.deploy(owner, checkout.settings, contract, artifacts, console=listener.stack())
    reason, validation = failure.value.what.splitlines()
    assert "Call DescribeEvents" in reason
    assert validation.startswith("  Taken (AWS::S3::Bucket) fails NAME_CONFLICT_VALIDATION: ")


def test_what_a_failed_first_deploy_leaves_is_shown_and_its_command_removes_it(
    bootstrapped: Rehearsal, checkout: Rehearsal
) -> None:
    """The trail writes to its bucket before a later resource fails, so the bucket stays."""
    aws, contract = bootstrapped.as_deployer()
    owner = bootstrapped.enter()
    if stack.describe(aws, "signwatch"):
        stack.destroy(aws, bootstrapped.settings, contract, console=Listener().stack())
    s3 = owner.client("s3")
    earlier = trail_buckets(s3)
    owner.client("sqs").create_queue(QueueName="taken-too")
    add_resource(checkout, "alarms.yaml", "AWS::SQS::Queue", "QueueName: taken-too")
    listener = Listener()
    artifacts = rehearsal.build_artifacts(checkout.settings.root, listener.announce)

    def write_records() -> str:
        (bucket,) = until(lambda: trail_buckets(s3) - earlier)
        for body in (b"one version", b"another"):
            s3.put_object(Bucket=bucket, Key="record", Body=body)
        return bucket

    with ThreadPoolExecutor(1) as trail:
        writing = trail.submit(write_records)
        with pytest.raises(FailedError, match="ended in ROLLBACK_FAILED because Taken"):
            stack.deploy(aws, checkout.settings, contract, artifacts, console=listener.stack())
    bucket = writing.result()
    lines = [line for line in listener.lines if line.startswith("Left in the account: ")]
    (bucket_line,) = [line for line in lines if f"AWS::S3::Bucket {bucket} (" in line]
    assert [line for line in lines if "AWS::KMS::Key" in line]
    command = bucket_line.partition("to remove it: ")[2]
    subprocess.run(command.replace(".venv/bin/python", sys.executable), shell=True, check=True)  # noqa: S602 - the command that the tool prints
    with pytest.raises(ClientError, match="404"):
        s3.head_bucket(Bucket=bucket)
    deploy(bootstrapped)


def test_deploy_destroy_deploy_works(bootstrapped: Rehearsal) -> None:
    deploy(bootstrapped)
    aws, made = bootstrapped.as_deployer()
    listener = Listener()
    stack.destroy(aws, bootstrapped.settings, made, console=listener.stack())
    kept = [line for line in listener.lines if "to remove it: " in line]
    assert {line.split()[4] for line in kept} == {"AWS::S3::Bucket", "AWS::KMS::Key"}
    assert stack.describe(aws, "signwatch") is None
    deploy(bootstrapped)
    live = stack.describe(aws, "signwatch")
    assert live is not None
    assert live.status == "CREATE_COMPLETE"
