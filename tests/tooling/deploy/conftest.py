"""A root stack on fake AWS clients, before and after its first deploy."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from tests.support.aws import CloudFormation
from tests.support.deployment import NEW_TOPIC, FakeDeployment
from tests.support.listener import Listener
from tooling import templates

if TYPE_CHECKING:
    from pathlib import Path

load_once = functools.cache(templates.load)  # parsing the parent takes most of a deploy here


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDeployment:
    monkeypatch.setattr(templates, "load", load_once)
    return FakeDeployment(tmp_path, CloudFormation(changes=[NEW_TOPIC]))


@pytest.fixture
def deployed(deployment: FakeDeployment) -> FakeDeployment:
    """The same after a first deploy, with nothing recorded yet."""
    deployment.deploy()
    deployment.cloudformation.end_status = "UPDATE_COMPLETE"
    deployment.cloudformation.calls.clear()
    deployment.s3.uploads.clear()
    deployment.listener = Listener()
    return deployment
