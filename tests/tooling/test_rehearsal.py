"""The rehearsal's own faults: an emulator that does not come up is a sentence and no traceback."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.support.repository import ROOT
from tooling import rehearsal
from tooling.errors import FailedError
from tooling.local.cloud import Cloud, CloudError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_an_emulator_that_does_not_start_is_a_failure_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def refuse(*_: Any, **__: Any) -> Iterator[NoReturn]:
        raise CloudError("it ended at once; its last lines:\nno such module")
        yield

    monkeypatch.setattr(rehearsal, "ensure", lambda *_: ROOT)
    monkeypatch.setattr(Cloud, "start", refuse)
    with pytest.raises(FailedError, match="the laptop's AWS: it ended at once") as failed, rehearsal.begin(tmp_path):
        pass
    assert failed.value.exit_code == 1
    assert "no such module" in failed.value.what
