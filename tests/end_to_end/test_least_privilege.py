"""Each right of the roles is used by what the words do, and nothing that they do lacks a right."""

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
from tests.support.listener import Listener
from tests.support.sign_ins import CASES
from tooling.deploy import bootstrap, stack
from tooling.errors import RefusedError
from tooling.local import rehearsal
from tooling.local.demo import SIGN_INS
from tooling.operate import drift, networks

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tooling.deploy.account import Account
    from tooling.local.rehearsal import LocalDeployment
    from tooling.local.twilio_server import TwilioServer

pytestmark = pytest.mark.end_to_end

ACCOUNT = "777788889999"
ROLES = ("deploy", "function", "trail")
SEEN_AT_LEAST = 36  # distinct pairs of role and action that the run must show
TABLE = tomllib.loads(Path(__file__).with_name("unseen_grants.toml").read_text(encoding="utf-8"))
UNSEEN = {(entry["role"], entry["action"]): entry["reason"] for entry in TABLE["grant"]}
RECORDS = json.loads(SIGN_INS.read_text(encoding="utf-8"))
IAM_USER, IDENTITY_CENTER = RECORDS[1]["event"], RECORDS[3]["event"]


class Run(NamedTuple):
    """What the roles may do, what their boundary allows, and what the policy engine decided."""

    granted: set[tuple[str, str]]
    boundary: set[str]
    decisions: list[dict[str, Any]]

    def used(self) -> set[tuple[str, str]]:
        return {(role_of(found), found["action"]) for found in self.decisions if found["allowed"]}

    def refused(self) -> list[tuple[str, str, str]]:
        return [
            (role_of(found), found["action"], found["resource"])
            for found in self.decisions
            if role_of(found) in ROLES and not found["allowed"]
        ]

    def unused(self) -> set[tuple[str, str]]:
        return self.granted - self.used() - set(UNSEEN)


@pytest.fixture(scope="module")
def run(
    prepare: Callable[..., AbstractContextManager[LocalDeployment]],
    twilio_server: TwilioServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    with prepare(ACCOUNT, label="") as deployment:
        deployment.as_owner().client("iam").create_account_alias(AccountAlias="acme-prod")
        deploy(deployment)
        live = stack.describe(deployment.as_owner(), "signwatch")
        assert live
        assert live.parameters["AccountLabel"] == "acme-prod"
        deploy(deployment)  # nothing changed: the objects are looked at
        send_sign_ins(deployment, twilio_server)
        aws, made = deployment.as_deployer()
        assert (
            bootstrap.outputs(aws, deployment.settings.prefix) == made
        )  # the flag --no-assume-role reads it as this role
        assert stack.outputs(aws, deployment.settings)["FunctionName"]
        one = networks.make_allowance("198.51.100.7", "hotel", None, 3600, time.time(), wide=False)
        networks.allow(aws, deployment.settings, one, time.time())
        networks.revoke(aws, deployment.settings, time.time(), cidr=None, label="hotel", id=None)
        assert drift.detect(aws, deployment.settings, announce=lambda _: None).drifts == ()
        checkout = changed(deployment, tmp_path_factory.mktemp("checkout"))
        deploy_refused(checkout)
        deploy(checkout)
        owner = deployment.as_owner()
        granted = {(role, action) for role in ROLES for action in rights(owner, role)}
        boundary = actions(boundary_of(owner, "function")) | actions(boundary_of(owner, "trail"))
        stack.destroy(aws, deployment.settings, made, console=Listener().stack())
        return Run(granted, boundary, deployment.emulator.decisions(ACCOUNT))


def deploy(deployment: LocalDeployment) -> None:
    deployment.deploy(
        rehearsal.build_artifacts(deployment.settings.root, Listener().announce), Listener().stack()
    )


def deploy_refused(checkout: LocalDeployment) -> None:
    """Deploy what would lose a nested stack: the change set is made, looked at and thrown away."""
    parent = checkout.settings.root / "cfn" / "parent.yaml"
    text = parent.read_text()
    parent.write_text(text.replace("AlarmsStack", "OthersStack"))
    with pytest.raises(RefusedError, match="AlarmsStack"):
        deploy(checkout)
    parent.write_text(text)


def changed(deployment: LocalDeployment, folder: Path) -> LocalDeployment:
    """The same account, from a copy of the sources with another line of code."""
    root = deployment.settings.root
    for source in ("cfn", "lambda", "layer"):
        shutil.copytree(
            root / source, folder / source, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copytree(
        root / "dist" / "layer", folder / "dist" / "layer"
    )  # the wheels need not be fetched again
    with (folder / "lambda" / "signwatch" / "handler.py").open("a") as file:
        file.write("# another line\n")
    return replace(deployment, settings=replace(deployment.settings, root=folder))


def send_sign_ins(deployment: LocalDeployment, twilio_server: TwilioServer) -> None:
    """Unknown with an empty and a filled secret, again, by an id, recognised, a right password, and one given up."""
    event = unknown(deployment)
    deployment.sign_in(unknown(deployment))
    deployment.fill_secret()
    assert len(deployment.sign_in(event).texts) == 1
    deployment.emulator.send([event])
    assert len(deployment.sign_in(unknown(deployment, IDENTITY_CENTER)).texts) == 1
    deployment.sign_in(unknown(deployment, sourceIPAddress="203.0.113.10"))
    step = rehearsal.as_event_now(
        CASES["second-factor-is-asked-for"]["event"], ACCOUNT, deployment.settings.region
    )
    deployment.sign_in(step)
    assert second_looks.decided_again(deployment, step)["verdict"] == "note"
    twilio_server.fail(503, times=100)
    deployment.emulator.send([unknown(deployment)])
    found = deployment.wait_until(
        lambda: [one for one in deployment.emulator.decisions(ACCOUNT) if is_given_up(one)]
    )
    while twilio_server.next_fault().status:
        """The faults that are left over belong to no other test."""
    assert found, "the event that failed was not given up into the queue"


def is_given_up(decision: dict[str, Any]) -> bool:
    return bool(
        decision["action"] == "sqs:SendMessage"
        and decision["resource"].endswith(":signwatch-failed-events")
    )


def unknown(
    deployment: LocalDeployment, record: dict[str, Any] = IAM_USER, **changes: str
) -> dict[str, Any]:
    event = rehearsal.as_event_now(copy.deepcopy(record), ACCOUNT, deployment.settings.region)
    event["detail"] |= changes
    return event


def rights(owner: Account, role: str) -> set[str]:
    """The actions that the role's own and attached policies allow, but for what holds drift detection alone."""
    iam, name = owner.client("iam"), f"signwatch-{role}"
    names = set(iam.list_role_policies(RoleName=name)["PolicyNames"]) - {"drift"}
    assert names
    inline = [
        iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"] for each in names
    ]
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    documents = [*inline, *(managed(owner, policy["PolicyArn"]) for policy in attached)]
    return {action for document in documents for action in actions(document)}


def boundary_of(owner: Account, role: str) -> dict[str, Any]:
    found = owner.client("iam").get_role(RoleName=f"signwatch-{role}")["Role"][
        "PermissionsBoundary"
    ]
    return managed(owner, found["PermissionsBoundaryArn"])


def managed(owner: Account, arn: str) -> dict[str, Any]:
    iam = owner.client("iam")
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    document: dict[str, Any] = iam.get_policy_version(PolicyArn=arn, VersionId=version)[
        "PolicyVersion"
    ]["Document"]
    return document


def actions(document: dict[str, Any]) -> set[str]:
    found = [one["Action"] for one in document["Statement"] if one["Effect"] == "Allow"]
    return {action for one in found for action in ([one] if isinstance(one, str) else one)}


def role_of(decision: dict[str, Any]) -> str:
    return str(decision["role"]).removeprefix("signwatch-")


def test_no_permission_is_unused_and_none_is_missing(run: Run) -> None:
    used = run.used()
    for role, action in sorted(run.granted):
        told = (
            "used"
            if (role, action) in used
            else "unused"
            if (role, action) not in UNSEEN
            else "not checked here"
        )
        print(f"{role} {action} {told}")
    seen = used & run.granted
    print(
        f"unused grants {len(run.unused())}, missing grants {len(run.refused())}, distinct actions seen {len(seen)}"
    )
    assert run.unused() == set()
    assert run.refused() == []
    assert len(seen) >= SEEN_AT_LEAST


def test_no_permission_is_a_wildcard(run: Run) -> None:
    assert [grant for grant in run.granted if "*" in grant[1]] == []


def test_boundary_allows_exactly_what_the_stacks_roles_may_do(run: Run) -> None:
    assert run.boundary == {action for role, action in run.granted if role in ("function", "trail")}


def test_exception_has_a_reason_and_is_still_needed(run: Run) -> None:
    """An entry of the list goes when the right goes, or when the local AWS emulator comes to check it."""
    assert set(UNSEEN) <= run.granted
    assert set(UNSEEN) & run.used() == set()
    assert [grant for grant, reason in UNSEEN.items() if not reason.endswith(".")] == []
