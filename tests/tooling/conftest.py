"""Fixtures of the tooling's tests: a command line on a loopback AWS."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from tooling import terraform

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.command_line import Aws, Run, TaskEnd

# Every task reads the Terraform files.
load_defaults_once = functools.cache(terraform.load_defaults)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Aws]:
    """Credentials of a made-up user, and every service on the loopback AWS."""
    from botocore.loaders import Loader

    from tests.support.command_line import Aws, CachingLoader, serve

    aws = Aws()
    monkeypatch.setattr(Loader, "FILE_LOADER_CLASS", CachingLoader)
    (tmp_path / "aws-config").write_text("[profile known]\nregion = us-east-1\n")
    with serve(aws) as url:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_CONFIG_FILE": str(tmp_path / "aws-config"),
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "made-up",
            "NO_PROXY": "127.0.0.1",
        }.items():
            monkeypatch.setenv(name, value)
        yield aws


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a task as the command line does, in a folder of its own and without a signwatch.toml."""
    from tests.support.command_line import TaskEnd, make_program

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(terraform, "load_defaults", load_defaults_once)
    monkeypatch.delenv("SIGNWATCH_DEBUG", raising=False)
    monkeypatch.setenv("SIGNWATCH_PROGRAM", "./inv")
    (tmp_path / "empty.toml").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "terraform").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "terraform").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def run(*command_line: str) -> TaskEnd:
        capsys.readouterr()
        code: Any = 0
        try:
            make_program().run(["./inv", *command_line])
        except SystemExit as exit_:
            code = exit_.code
        return TaskEnd(code or 0, *capsys.readouterr())

    return run
