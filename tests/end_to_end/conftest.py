"""An account of its own for each rehearsal, on the laptop's AWS of the test process."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.listener import Listener
from tooling import rehearsal
from tooling.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tooling.local.cloud import Cloud
    from tooling.local.phone import Phone
    from tooling.rehearsal import Rehearsal

KNOWN = "203.0.113.0/24,2001:db8:1::/48"


@pytest.fixture(scope="module")
def prepare(
    cloud: Cloud, phone: Phone, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., AbstractContextManager[Rehearsal]]:
    """Return a function that prepares a bootstrapped account with this id, to be called by this label if it has one."""

    @contextmanager
    def prepared(account_id: str, label: str = "test") -> Iterator[Rehearsal]:
        folder = tmp_path_factory.mktemp("account")
        parameters = {"KnownNetworks": KNOWN} | ({"AccountLabel": label} if label else {})
        with rehearsal.prepared(cloud, phone, folder, root=ROOT, account_id=account_id, parameters=parameters) as stage:
            stage.bootstrap(Listener().announce, Listener().plan)
            yield stage

    return prepared
