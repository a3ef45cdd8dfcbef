"""Sign-ins of other Regions: each reaches the function once, in both modes of the bus."""

from __future__ import annotations

import itertools
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.listener import Listener
from tests.support.sign_ins import event as make_event
from tooling.deploy import changeset, stack
from tooling.local import rehearsal
from tooling.operate import forwarders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tooling.local.rehearsal import LocalDeployment

pytestmark = pytest.mark.end_to_end

ACCOUNT = "121212121212"
HOME = "us-east-1"
NUMBERS = itertools.count(1)  # the last part of an address that nobody has signed in from yet
OTHER_REGIONS = ("ap-southeast-2", "eu-north-1", "us-east-2")


@pytest.fixture(scope="module")
def bootstrapped(
    bootstrap_account: Callable[[str], AbstractContextManager[LocalDeployment]],
) -> Iterator[LocalDeployment]:
    with bootstrap_account(ACCOUNT) as deployment:
        yield deployment


def deploy(deployment: LocalDeployment, bus: str) -> Listener:
    """Deploy the main stack with this bus, and the forwarders, as the deploy role."""
    listener = Listener()
    parameters = {**deployment.settings.parameters, "EventBusName": bus}
    deployment = replace(deployment, settings=replace(deployment.settings, parameters=parameters))
    artifacts = rehearsal.build_artifacts(deployment.settings.root, listener.announce)
    outputs = deployment.deploy(artifacts, listener.stack())
    content = content_of(deployment)
    # the forwarders' parameters are computed, not read
    for name in ("EventBusArn", "ForwarderRoleArn"):
        assert content.parameters[name] == outputs[name]
    apply(deployment, listener)
    return listener


def content_of(deployment: LocalDeployment) -> forwarders.Content:
    aws, contract = deployment.as_deployer()
    live = stack.describe(aws, deployment.settings.stack)
    return forwarders.make_content(deployment.settings, contract.service_role_arn, live)


def apply(deployment: LocalDeployment, listener: Listener) -> None:
    aws, _ = deployment.as_deployer()
    content = content_of(deployment)
    found = forwarders.survey(aws, deployment.settings, listener.announce)
    plan = forwarders.make_plan(deployment.settings, found, content)
    forwarders.apply(aws, plan, content, listener.announce).refuse_failures()


def list_forwarders(deployment: LocalDeployment) -> list[str]:
    aws, _ = deployment.as_deployer()
    return forwarders.survey(aws, deployment.settings, Listener().announce).list_regions()


def texts_of_sign_in(deployment: LocalDeployment, region: str) -> tuple[str, ...]:
    event = rehearsal.as_event_now(make_event("iam-user-signs-in-with-mfa"), ACCOUNT, region)
    event["detail"]["sourceIPAddress"] = f"198.51.100.{next(NUMBERS)}"
    result = deployment.sign_in(event)
    return result.texts


@pytest.mark.parametrize("bus", ["default", "signwatch-own"])
def test_sign_in_of_each_region_is_one_text_in_both_modes(
    bootstrapped: LocalDeployment, bus: str
) -> None:
    deploy(bootstrapped, bus)
    bootstrapped.fill_secret()
    assert list_forwarders(bootstrapped) == list(OTHER_REGIONS)
    for region in (HOME, *OTHER_REGIONS):
        texts = texts_of_sign_in(bootstrapped, region)
        assert len(texts) == 1, region
        assert region in texts[0]


def test_bus_is_renamed_and_second_deploy_changes_no_forwarder(
    bootstrapped: LocalDeployment,
) -> None:
    deploy(bootstrapped, "signwatch-other")
    assert len(texts_of_sign_in(bootstrapped, "us-east-2")) == 1
    lines = deploy(bootstrapped, "signwatch-other").lines
    assert [line for line in lines if line.startswith("forwarders in")] == []


def test_deploy_goes_on_after_it_was_killed_between_two_regions(
    bootstrapped: LocalDeployment,
) -> None:
    deploy(bootstrapped, "default")
    remove(bootstrapped)
    assert list_forwarders(bootstrapped) == []
    killed = os.fork()
    if not killed:
        deploy_until_killed(bootstrapped)
    _, status = os.waitpid(killed, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert 0 < len(list_forwarders(bootstrapped)) < len(OTHER_REGIONS)
    deploy(bootstrapped, "default")
    assert list_forwarders(bootstrapped) == list(OTHER_REGIONS)
    assert len(texts_of_sign_in(bootstrapped, "us-east-2")) == 1


def deploy_until_killed(deployment: LocalDeployment) -> None:
    """In a process of its own: make one forwarder after another, and die within the second."""
    create = changeset.create
    made: list[str] = []

    def create_and_die(
        cloudformation: Any, request: changeset.Request, *, announce: Callable[[str], None]
    ) -> changeset.ChangeSet:
        change_set = create(cloudformation, request, announce=announce)
        made.append(change_set.arn)
        if len(made) == len(OTHER_REGIONS) - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return change_set

    changeset.create = create_and_die
    forwarders.MAX_WORKERS = 1
    try:
        apply(deployment, Listener())
    finally:
        os._exit(1)


def remove(deployment: LocalDeployment) -> None:
    aws, _ = deployment.as_deployer()
    found = forwarders.survey(aws, deployment.settings, Listener().announce)
    plan = forwarders.plan_removal(found)
    content = content_of(deployment)
    forwarders.apply(aws, plan, content, Listener().announce).refuse_failures()
