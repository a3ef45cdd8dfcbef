"""The way back: old builds are removed, a lost state is made again.

The tests build on each other, on one account.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.listener import Listener
from tooling.deploy import bootstrap, buckets, cleanup, destruction, stack
from tooling.errors import PlanShownError, RefusedError
from tooling.local import rehearsal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tooling.deploy.account import Account
    from tooling.local.rehearsal import LocalDeployment

pytestmark = pytest.mark.end_to_end

ACCOUNT = "555566667777"
OLD_DIGESTS = [f"{number:032x}" for number in range(1, 8)]  # the oldest first


@pytest.fixture(scope="module")
def deployment(
    bootstrap_account: Callable[..., AbstractContextManager[LocalDeployment]],
) -> Iterator[LocalDeployment]:
    with bootstrap_account(ACCOUNT) as bootstrapped:
        deploy(bootstrapped)
        yield bootstrapped


def deploy(deployment: LocalDeployment) -> Listener:
    listener = Listener()
    artifacts = rehearsal.build_artifacts(deployment.settings.root, listener.announce)
    deployment.deploy(artifacts, listener.stack())
    return listener


def stop(error: BaseException) -> Callable[[], None]:
    """Return an answer that stops the task with this error."""

    def answer() -> None:
        raise error

    return answer


DECLINED = stop(RefusedError("the plan", "was declined", "answer yes"))


@pytest.fixture(scope="module")
def contents(deployment: LocalDeployment) -> Callable[[], set[str]]:
    """What both buckets hold: the live build, seven newer functions, and somebody's file."""
    aws, contract = deployment.as_owner(), deployment.as_deployer()[1]
    s3, bucket = aws.client("s3"), contract.artifact_bucket_name
    for digest in OLD_DIGESTS:
        for body in (b"one version", b"another"):
            s3.put_object(Bucket=bucket, Key=key_of(digest), Body=body)
    s3.put_object(Bucket=bucket, Key="notes.txt", Body=b"mine")

    def list_keys() -> set[str]:
        names = (bucket, contract.template_bucket_name)
        return {version.key for name in names for version in buckets.list_versions(aws, name)}

    return list_keys


class TestClean:
    def run(self, deployment: LocalDeployment, answer: Callable[[], None]) -> Listener:
        aws, contract = deployment.as_owner(), deployment.as_deployer()[1]
        listener = Listener(answer=answer)
        cleanup.clean(
            aws,
            deployment.settings,
            contract,
            announce=listener.announce,
            approve=listener.approve,
        )
        return listener

    @pytest.mark.parametrize("answer", [DECLINED, stop(PlanShownError())])
    def test_nothing_is_deleted_unless_it_is_approved(
        self,
        deployment: LocalDeployment,
        contents: Callable[[], set[str]],
        answer: Callable[[], None],
    ) -> None:
        before = contents()
        with pytest.raises((RefusedError, PlanShownError)):
            self.run(deployment, answer)
        assert contents() == before

    def test_a_build_of_a_change_set_that_is_not_executed_is_kept(
        self, deployment: LocalDeployment, contents: Callable[[], set[str]]
    ) -> None:
        aws = deployment.as_owner()
        change_set = make_change_set(aws, CodeKey=key_of(OLD_DIGESTS[0]))
        listener = self.run(deployment, answer=lambda: None)
        assert key_of(OLD_DIGESTS[0]) in contents()
        (line,) = [line for line in listener.lines if line.startswith("  - ")]
        assert OLD_DIGESTS[1] in line
        changeset_address = {"ChangeSetName": change_set, "StackName": "signwatch"}
        aws.client("cloudformation").delete_change_set(**changeset_address)

    def test_all_versions_of_builds_that_nothing_refers_to_are_deleted(
        self, deployment: LocalDeployment, contents: Callable[[], set[str]]
    ) -> None:
        """The live function is older than the five newest builds, and is kept."""
        live = stack.describe(deployment.as_owner(), "signwatch")
        assert live
        before = contents()
        listener = self.run(deployment, answer=lambda: None)
        assert before - contents() == {key_of(OLD_DIGESTS[0])}
        assert {live.parameters["CodeKey"], "notes.txt"} <= contents()
        (line,) = [line for line in listener.lines if line.startswith("  - ")]
        assert line.startswith(f"  - function   {OLD_DIGESTS[0]} ")
        second = self.run(deployment, answer=DECLINED)
        assert second.lines[-1].startswith("Nothing to remove: ")
        assert second.questions == []

    def test_the_live_stack_needs_nothing_that_was_deleted(
        self, deployment: LocalDeployment
    ) -> None:
        lines = deploy(deployment).lines
        assert not [line for line in lines if line.startswith("uploading ")]


class TestAdopt:
    @pytest.fixture
    def lost(self, deployment: LocalDeployment) -> LocalDeployment:
        """The same account without Terraform's state."""
        deployment.paths.state.unlink()
        return deployment

    def test_a_lost_state_is_named_before_terraform_plans_and_is_made_again(
        self, lost: LocalDeployment
    ) -> None:
        listener = Listener()
        with pytest.raises(RefusedError, match="is missing or empty") as refusal:
            lost.bootstrap(listener.announce, listener.plan)
        assert "bootstrap --adopt" in refusal.value.remedy
        assert listener.lines == []

        # Brought back, it replaces nothing. What is missing in the account is created.
        owner = lost.as_owner()
        owner.client("iam").delete_role_policy(RoleName="signwatch-deploy", PolicyName="drift")
        lost.bootstrap(listener.announce, listener.plan, adopt=True)
        actions = {change.address: change.action for change in listener.planned}
        assert actions.pop("aws_iam_role_policy.drift") == "create"
        assert set(actions.values()) == {"import"}
        assert len(actions) > 30
        assert bootstrap.has_resources(lost.paths.state)


class TestDestroyEverything:
    """The last tests: nothing is left after them."""

    OLD_BUCKET, FOREIGN_BUCKET = "signwatch-old-trailbucket-1", "signwatch-my-trailbucket-2"

    def run(self, deployment: LocalDeployment, listener: Listener) -> None:
        destruction.destroy_everything(
            deployment.as_owner(),
            deployment.settings,
            deployment.paths,
            display=listener.stack(),
        )

    def buckets(self, deployment: LocalDeployment) -> list[str]:
        """The names of all buckets of the account."""
        response = deployment.as_owner().client("s3").list_buckets()
        return [bucket["Name"] for bucket in response["Buckets"]]

    def fill(self, deployment: LocalDeployment) -> str:
        """Add records, an allowance, a log bucket of before, somebody else's; return the key."""
        aws = deployment.as_owner()
        s3, outputs = aws.client("s3"), stack.outputs(aws, deployment.settings)
        for name in (self.OLD_BUCKET, self.FOREIGN_BUCKET):
            s3.create_bucket(Bucket=name)
        tag = {"Key": "signwatch:prefix", "Value": "signwatch"}
        s3.put_bucket_tagging(Bucket=self.OLD_BUCKET, Tagging={"TagSet": [tag]})
        for body in (b"one version", b"another"):
            s3.put_object(Bucket=outputs["TrailBucketName"], Key="record", Body=body)
        name = "/signwatch/networks/x"
        aws.client("ssm").put_parameter(Name=name, Value="{}", Type="String")
        secret = aws.client("secretsmanager").describe_secret(SecretId=outputs["TwilioSecretArn"])
        return str(secret["KmsKeyId"]).rpartition("/")[2]

    def test_all_of_it_goes_after_one_question_even_if_a_run_was_interrupted(
        self, deployment: LocalDeployment
    ) -> None:
        key_id = self.fill(deployment)
        trail_bucket = stack.outputs(deployment.as_owner(), deployment.settings)["TrailBucketName"]
        before = self.buckets(deployment)
        listener = Listener(answer=stop(PlanShownError()))
        with pytest.raises(PlanShownError):
            self.run(deployment, listener)
        assert listener.questions == ["Type the prefix (signwatch) to delete all of it:"]
        plan = listener.text()
        for part in (trail_bucket, self.OLD_BUCKET, key_id, "signwatch-access-logs-", "1 allow"):
            assert part in plan
        assert self.FOREIGN_BUCKET not in plan
        assert self.buckets(deployment) == before

        interrupted = Interrupted()
        with pytest.raises(KeyboardInterrupt):
            self.run(deployment, interrupted)
        owner = deployment.as_owner()
        assert stack.describe(owner, "signwatch") is None
        self.run(deployment, Listener())
        assert self.buckets(deployment) == [self.FOREIGN_BUCKET]
        key = owner.client("kms").describe_key(KeyId=key_id)["KeyMetadata"]
        assert key["KeyState"] == "PendingDeletion"
        roles = owner.client("iam").list_roles()["Roles"]
        assert [role for role in roles if role["RoleName"].startswith("signwatch")] == []
        options = {"Path": "/signwatch", "Recursive": True}
        assert owner.client("ssm").get_parameters_by_path(**options)["Parameters"] == []
        last = Listener()
        self.run(deployment, last)
        assert last.lines[-1] == f"Nothing of signwatch is left in account {ACCOUNT}."
        assert last.questions == []


class Interrupted(Listener):
    """A person who presses Ctrl-C when the second bucket of the bootstrap is emptied."""

    def announce(self, text: str) -> None:
        super().announce(text)
        if text.startswith("emptying signwatch-artifacts"):
            raise KeyboardInterrupt


def key_of(digest: str) -> str:
    """The key of a function's zip."""
    return f"function/{digest}-plain-{'0' * 64}.zip"


def make_change_set(aws: Account, **parameters: str) -> str:
    """Make a change set with these parameters, as another deploy that still asks."""
    cloudformation = aws.client("cloudformation")
    (live,) = cloudformation.describe_stacks(StackName="signwatch")["Stacks"]
    pairs: list[dict[str, Any]] = [
        {"ParameterKey": pair["ParameterKey"], "UsePreviousValue": True}
        for pair in live["Parameters"]
        if pair["ParameterKey"] not in parameters
    ]
    pairs += [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    response = cloudformation.create_change_set(
        StackName="signwatch",
        ChangeSetName="of-somebody-else",
        UsePreviousTemplate=True,
        Parameters=pairs,
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    return str(response["Id"])
