"""What the tests of the tooling share: the command line with a loopback AWS."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from tooling import terraform

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.command_line import Aws, Ended, Run

pytest.register_assert_rewrite(
    "tests.support.command_line"
)  # so that an end that is not as expected says what it was
read_defaults = functools.cache(
    terraform.load_defaults
)  # every word reads the Terraform files, and here there are many


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Aws]:
    """Credentials of a made-up user, and every service on the loopback AWS."""
    from botocore.loaders import Loader

    from tests.support.command_line import Aws, ReadOnce, served

    aws = Aws()
    monkeypatch.setattr(Loader, "FILE_LOADER_CLASS", ReadOnce)
    (tmp_path / "aws-config").write_text("[profile known]\nregion = us-east-1\n")
    with served(aws) as url:
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
    """Run a word as the command line does, in a folder of its own and with no signwatch.toml of anybody."""
    from invoke import Program

    from tests.support.command_line import HELP, NAMESPACE, Ended

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(terraform, "load_defaults", read_defaults)
    monkeypatch.delenv("SIGNWATCH_DEBUG", raising=False)
    (tmp_path / "empty.toml").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "terraform").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "terraform").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def run(*typed: str) -> Ended:
        for word, sentences in HELP.items():
            NAMESPACE[word].help = dict(sentences)
        capsys.readouterr()
        code: Any = 0
        try:
            Program(namespace=NAMESPACE).run(["inv", *typed])
        except SystemExit as left:
            code = left.code
        return Ended(code or 0, *capsys.readouterr())

    return run
