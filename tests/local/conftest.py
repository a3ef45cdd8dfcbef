"""What the tests of the laptop's Lambda share: sandboxes, on each of the two clients of the runtime."""

from __future__ import annotations

import sys
import threading
import venv
from typing import TYPE_CHECKING

import pytest

from tests.support.sandbox import CODE, zipped
from tooling.environment import ensure
from tooling.local.sandbox.runtime import Function, Package, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.sandbox import Make

CLIENTS = ["awslambdaric", "plain"]


@pytest.fixture(scope="session")
def pythons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Python with awslambdaric, and one without."""
    bare = tmp_path_factory.mktemp("bare")
    venv.create(bare, symlinks=True)
    return {"awslambdaric": ensure("runtime"), "plain": bare / "bin" / "python"}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    """Each of the two clients."""
    name: str = request.param
    if name == "awslambdaric" and sys.platform != "linux":
        pytest.skip("there is no wheel of awslambdaric for this system")
    return name


@pytest.fixture
def make(client: str, pythons: dict[str, Path], tmp_path: Path) -> Iterator[Make]:
    """Return a function that makes a sandbox; all of them leave no thread and no folder."""
    made: list[Sandbox] = []
    before = set(threading.enumerate())

    def sandbox(
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
            timeout=timeout,
            memory=256,
            environment=environment,
        )
        package = Package(zipped({"function.py": CODE}) if code is None else code, layers)
        made.append(Sandbox(package, function, pythons[client], tmp_path / "sandboxes"))
        return made[-1]

    yield sandbox
    for one in made:
        one.close()
    assert set(threading.enumerate()) <= before
    assert not (tmp_path / "sandboxes").exists()
