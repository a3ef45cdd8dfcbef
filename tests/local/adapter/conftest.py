"""Fixtures of the adapter's tests: a fresh account on the local AWS emulator, and its stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.emulator import EmulatorAccount
from tests.support.stacks import Stacks

if TYPE_CHECKING:
    from tooling.local.emulator import Emulator


@pytest.fixture
def account(emulator: Emulator) -> EmulatorAccount:
    return EmulatorAccount.on(emulator)


@pytest.fixture
def stacks(account: EmulatorAccount) -> Stacks:
    return Stacks(account)
