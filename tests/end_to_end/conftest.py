"""A bootstrapped account for each test module, on the local AWS emulator of the test process."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.listener import Listener
from tooling.local import rehearsal
from tooling.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tooling.local.emulator import Emulator
    from tooling.local.rehearsal import LocalDeployment
    from tooling.local.twilio_server import TwilioServer

RECOGNISED_NETWORKS = "203.0.113.0/24,2001:db8:1::/48"


@pytest.fixture(scope="module")
def bootstrap_account(
    emulator: Emulator, twilio_server: TwilioServer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., AbstractContextManager[LocalDeployment]]:
    """A function that bootstraps the account with this id and, if not empty, this label."""

    @contextmanager
    def bootstrap(account_id: str, label: str = "test") -> Iterator[LocalDeployment]:
        folder = tmp_path_factory.mktemp("account")
        # The tests of a module share an account; all of their texts are sent.
        parameters = {"KnownNetworks": RECOGNISED_NETWORKS, "TextsAnHour": "200"}
        if label:
            parameters["AccountLabel"] = label
        with rehearsal.use_account(
            emulator, twilio_server, folder, root=ROOT, account_id=account_id, parameters=parameters
        ) as deployment:
            deployment.bootstrap(Listener().announce, Listener().plan)
            yield deployment

    return bootstrap
