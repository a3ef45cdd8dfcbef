"""Each permission of the roles is used by a task, and no task lacks a permission."""

from __future__ import annotations

import copy
import json
import shutil
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.support import second_looks
from tests.support.listener import Listener, confirm_all
from tests.support.sign_ins import CASES
from tooling.deploy import bootstrap, stack
from tooling.errors import PlanShownError, RefusedError
from tooling.local import rehearsal
from tooling.local.demo import SIGN_INS
from tooling.operate import drift, forwarders, networks

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tooling.deploy.account import Account
    from tooling.local.rehearsal import LocalDeployment
    from tooling.local.twilio_server import TwilioServer

pytestmark = pytest.mark.end_to_end

ACCOUNT = "777788889999"
ROLES = ("deploy", "forwarder", "function", "trail")
STACK_ROLES = ("forwarder", "function", "trail")
MIN_USED_GRANTS = 38  # distinct pairs of role and action that the run must use
EXCEPTIONS_FILE = Path(__file__).with_name("unseen_grants.toml")
EXCEPTIONS = {
    (entry["role"], entry["action"]): entry["reason"]
    for entry in tomllib.loads(EXCEPTIONS_FILE.read_text(encoding="utf-8"))["grant"]
}
RECORDS = json.loads(SIGN_INS.read_text(encoding="utf-8"))
IAM_USER, IDENTITY_CENTER = RECORDS[1]["event"], RECORDS[3]["event"]


class Run(NamedTuple):
    """What the roles may do, what their boundary allows, and what the policy engine decided."""

    granted: set[tuple[str, str]]
    boundary: set[str]
    decisions: list[dict[str, Any]]

    def used(self) -> set[tuple[str, str]]:
        return {
            (role_of(decision), decision["action"])
            for decision in self.decisions
            if decision["allowed"]
        }

    def refused(self) -> list[tuple[str, str, str]]:
        return [
            (role_of(decision), decision["action"], decision["resource"])
            for decision in self.decisions
            if role_of(decision) in ROLES and not decision["allowed"]
        ]

    def unused(self) -> set[tuple[str, str]]:
        return self.granted - self.used() - set(EXCEPTIONS)


@pytest.fixture(scope="module")
def run(
    bootstrap_account: Callable[..., AbstractContextManager[LocalDeployment]],
    twilio_server: TwilioServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    with bootstrap_account(ACCOUNT, label="") as deployment:
        deployment.as_owner().client("iam").create_account_alias(AccountAlias="acme-prod")
        make_another_trail(deployment.as_owner())
        show_plan_of_first_deploy(deployment)
        deploy(deployment)
        live = stack.describe(deployment.as_owner(), "signwatch")
        assert live
        assert live.parameters["AccountLabel"] == "acme-prod"
        deploy(deployment)  # without a change: it looks for the objects in the bucket
        send_sign_ins(deployment, twilio_server)
        aws, outputs = deployment.as_deployer()
        forward_from_another_region(deployment)
        # The flag --no-assume-role reads the outputs as this role.
        assert bootstrap.outputs(aws, deployment.settings.prefix) == outputs
        assert stack.outputs(aws, deployment.settings)["FunctionName"]
        allowance = networks.make_allowance("198.51.100.7", "hotel", None, 3600, time.time())
        networks.allow(aws, deployment.settings, allowance, time.time(), confirm_all)
        networks.revoke(
            aws, deployment.settings, time.time(), confirm_all, cidr=None, label="hotel", id=None
        )
        assert drift.detect(aws, deployment.settings, announce=lambda _: None).drifts == ()
        checkout = changed_checkout(deployment, tmp_path_factory.mktemp("checkout"))
        try_to_deploy_without_nested_stack(checkout)
        deploy(checkout)
        owner = deployment.as_owner()
        granted = {(role, action) for role in ROLES for action in allowed_actions(owner, role)}
        boundary = set().union(*(actions(boundary_of(owner, role)) for role in STACK_ROLES))
        stack.destroy(aws, deployment.settings, outputs, display=Listener().stack())
        return Run(granted, boundary, deployment.emulator.decisions(ACCOUNT))


def make_another_trail(aws: Account) -> None:
    """Make a trail that the account has before its first deploy, which looks at it."""
    aws.client("s3").create_bucket(Bucket="audit-records")
    cloudtrail = aws.client("cloudtrail")
    cloudtrail.create_trail(Name="audit", S3BucketName="audit-records", IsMultiRegionTrail=True)
    cloudtrail.start_logging(Name="audit")


def deploy(deployment: LocalDeployment) -> None:
    deployment.deploy(
        rehearsal.build_artifacts(deployment.settings.root, Listener().announce), Listener().stack()
    )


def show_plan_of_first_deploy(deployment: LocalDeployment) -> None:
    """Make the change set of a first deploy; it is deleted with its empty stack."""

    def stop() -> None:
        raise PlanShownError

    listener = Listener(answer=stop)
    artifacts = rehearsal.build_artifacts(deployment.settings.root, listener.announce)
    with pytest.raises(PlanShownError):
        deployment.deploy(artifacts, listener.stack())
    assert stack.describe(deployment.as_owner(), "signwatch") is None


def try_to_deploy_without_nested_stack(checkout: LocalDeployment) -> None:
    """Deploy a parent that lacks a nested stack: the change set is made, refused and deleted."""
    parent = checkout.settings.root / "cfn" / "parent.yaml"
    text = parent.read_text()
    parent.write_text(text.replace("AlarmsStack", "OthersStack"))
    with pytest.raises(RefusedError, match="AlarmsStack"):
        deploy(checkout)
    parent.write_text(text)


def changed_checkout(deployment: LocalDeployment, folder: Path) -> LocalDeployment:
    """Return the same account with a copy of the sources that has another line of code."""
    root = deployment.settings.root
    for source in ("cfn", "lambda", "layer"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / source, folder / source, ignore=ignore)
    # This saves the download of the layer's wheels.
    shutil.copytree(root / "dist" / "layer", folder / "dist" / "layer")
    with (folder / "lambda" / "signwatch" / "handler.py").open("a") as file:
        file.write("# another line\n")
    return replace(deployment, settings=replace(deployment.settings, root=folder))


def send_sign_ins(deployment: LocalDeployment, twilio_server: TwilioServer) -> None:
    """Send each kind of sign-in that needs permissions of its own, and one event that fails."""
    event = make_event(deployment)
    deployment.sign_in(make_event(deployment))  # with an empty secret
    deployment.fill_secret()
    assert len(deployment.sign_in(event).texts) == 1
    deployment.emulator.send([event])  # a duplicate
    assert len(deployment.sign_in(make_event(deployment, IDENTITY_CENTER)).texts) == 1
    deployment.sign_in(make_event(deployment, sourceIPAddress="203.0.113.10"))
    step = rehearsal.as_event_now(
        CASES["second-factor-is-asked-for"]["event"], ACCOUNT, deployment.settings.region
    )
    deployment.sign_in(step)
    assert second_looks.redeliver(deployment, step)["verdict"] == "note"
    twilio_server.fail(503, times=100)
    deployment.emulator.send([make_event(deployment)])
    assert deployment.wait_until(lambda: dead_letter_decisions(deployment))
    while twilio_server.take_failure().status:
        """Remove the remaining failures, so that no other test gets them."""


def forward_from_another_region(deployment: LocalDeployment) -> None:
    """Make a forwarder, let it send a sign-in to the home Region, and delete it."""
    aws, contract = deployment.as_deployer()
    settings, ignore = replace(deployment.settings, regions="eu-north-1"), Listener().announce
    content = forwarders.make_content(settings, contract.service_role_arn, None)
    plan = forwarders.make_plan(settings, forwarders.survey(aws, settings, ignore), content)
    forwarders.apply(aws, plan, content, ignore).refuse_failures()
    event = rehearsal.as_event_now(copy.deepcopy(IAM_USER), ACCOUNT, "eu-north-1")
    deployment.sign_in(event)
    removal = forwarders.plan_removal(forwarders.survey(aws, settings, ignore))
    assert removal.changes == {"eu-north-1": "delete"}
    forwarders.apply(aws, removal, content, ignore).refuse_failures()


def dead_letter_decisions(deployment: LocalDeployment) -> list[dict[str, Any]]:
    return [
        decision
        for decision in deployment.emulator.decisions(ACCOUNT)
        if decision["action"] == "sqs:SendMessage"
        and decision["resource"].endswith(":signwatch-failed-events")
    ]


def make_event(
    deployment: LocalDeployment, record: dict[str, Any] = IAM_USER, **changes: str
) -> dict[str, Any]:
    event = rehearsal.as_event_now(copy.deepcopy(record), ACCOUNT, deployment.settings.region)
    event["detail"] |= changes
    return event


def allowed_actions(owner: Account, role: str) -> set[str]:
    """Return the actions of the role's policies, except the one for drift detection."""
    iam, name = owner.client("iam"), f"signwatch-{role}"
    policy_names = set(iam.list_role_policies(RoleName=name)["PolicyNames"]) - {"drift"}
    assert policy_names
    inline = [
        iam.get_role_policy(RoleName=name, PolicyName=policy_name)["PolicyDocument"]
        for policy_name in policy_names
    ]
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    documents = [*inline, *(managed_policy(owner, policy["PolicyArn"]) for policy in attached)]
    return {action for document in documents for action in actions(document)}


def boundary_of(owner: Account, role: str) -> dict[str, Any]:
    response = owner.client("iam").get_role(RoleName=f"signwatch-{role}")
    boundary = response["Role"]["PermissionsBoundary"]
    return managed_policy(owner, boundary["PermissionsBoundaryArn"])


def managed_policy(owner: Account, arn: str) -> dict[str, Any]:
    iam = owner.client("iam")
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    response = iam.get_policy_version(PolicyArn=arn, VersionId=version)
    document: dict[str, Any] = response["PolicyVersion"]["Document"]
    return document


def actions(document: dict[str, Any]) -> set[str]:
    names: set[str] = set()
    for statement in document["Statement"]:
        if statement["Effect"] == "Allow":
            action = statement["Action"]
            names.update([action] if isinstance(action, str) else action)
    return names


def role_of(decision: dict[str, Any]) -> str:
    return str(decision["role"]).removeprefix("signwatch-")


def test_no_permission_is_unused_and_none_is_missing(run: Run) -> None:
    used = run.used()
    for role, action in sorted(run.granted):
        state = "not checked here" if (role, action) in EXCEPTIONS else "unused"
        print(f"{role} {action} {'used' if (role, action) in used else state}")
    unused, missing, seen = run.unused(), run.refused(), used & run.granted
    counts = f"unused grants {len(unused)}, missing grants {len(missing)}"
    print(f"{counts}, distinct actions seen {len(seen)}")
    assert unused == set()
    assert missing == []
    assert len(seen) >= MIN_USED_GRANTS


def test_no_permission_is_a_wildcard(run: Run) -> None:
    assert [grant for grant in run.granted if "*" in grant[1]] == []


def test_boundary_allows_exactly_what_the_stacks_roles_may_do(run: Run) -> None:
    assert run.boundary == {action for role, action in run.granted if role in STACK_ROLES}


def test_exception_has_a_reason_and_is_still_needed(run: Run) -> None:
    """Remove an exception with its permission, or once the emulator checks it."""
    assert set(EXCEPTIONS) <= run.granted
    assert set(EXCEPTIONS) & run.used() == set()
    assert [grant for grant, reason in EXCEPTIONS.items() if not reason.endswith(".")] == []
