"""What the tests of the tooling share: a root stack on stand-ins."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from tests.support.aws import CloudFormation
from tests.support.deployment import TOPIC, World
from tests.support.listener import Listener
from tooling import templates

if TYPE_CHECKING:
    from pathlib import Path

read_once = functools.cache(templates.load)  # parsing the parent takes most of a deploy here


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(templates, "load", read_once)
    return World(tmp_path, CloudFormation(changes=[TOPIC]))


@pytest.fixture
def deployed(world: World) -> World:
    """The same after a first deploy; what was said and asked until then is forgotten."""
    world.deploy()
    world.cloudformation.ends = "UPDATE_COMPLETE"
    world.cloudformation.calls.clear()
    world.s3.uploads.clear()
    world.listener = Listener()
    return world
