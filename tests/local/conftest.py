"""Fixtures of the sandbox's tests: sandboxes on each of the two runtime clients."""

from __future__ import annotations

import sys
import threading
import venv
from typing import TYPE_CHECKING

import pytest

from tests.support.sandbox import CODE, zip_files
from tooling.environment import ensure
from tooling.local.sandbox.execution_environment import Sandbox
from tooling.local.sandbox.function import Function, Package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.sandbox import MakeSandbox

CLIENTS = ["awslambdaric", "plain"]


@pytest.fixture(scope="session")
def pythons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Python with awslambdaric, and one without."""
    folder = tmp_path_factory.mktemp("python")
    venv.create(folder, symlinks=True)
    return {"awslambdaric": ensure("runtime"), "plain": folder / "bin" / "python"}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    """Each of the two clients."""
    name: str = request.param
    if name == "awslambdaric" and sys.platform != "linux":
        pytest.skip("there is no wheel of awslambdaric for this system")
    return name


@pytest.fixture
def make_sandbox(client: str, pythons: dict[str, Path], tmp_path: Path) -> Iterator[MakeSandbox]:
    """A function that makes a sandbox; afterwards no thread and no folder is left."""
    sandboxes: list[Sandbox] = []
    threads_before = set(threading.enumerate())

    def make(
        handler: str = "function.echo",
        code: bytes | Path | None = None,
        layers: tuple[bytes | Path, ...] = (),
        timeout: float = 10.0,
        **environment: str,
    ) -> Sandbox:
        function = Function(
            "watch",
            "111122223333",
            "eu-west-1",
            handler,
            timeout_seconds=timeout,
            memory_mb=256,
            environment=environment,
        )
        package = Package(zip_files({"function.py": CODE}) if code is None else code, layers)
        sandboxes.append(Sandbox(package, function, pythons[client], tmp_path / "sandboxes"))
        return sandboxes[-1]

    yield make
    for sandbox in sandboxes:
        sandbox.close()
    assert set(threading.enumerate()) <= threads_before
    assert not (tmp_path / "sandboxes").exists()
