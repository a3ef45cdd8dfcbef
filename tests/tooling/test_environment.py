"""The environments: made on first use, made anew when their requirements change, made once by two at once."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.repository import ROOT
from tooling import environment
from tooling.environment import ENVIRONMENTS, STAMP, BrokenEnvironmentError, ensure

if TYPE_CHECKING:
    from collections.abc import Callable

DONE = subprocess.CompletedProcess([], 0, "", "")


class Builder:
    """Stands for venv and pip: counts what is made, and lets a test wait or fail inside."""

    def __init__(self) -> None:
        self.made: list[Path] = []
        self.commands: list[list[str]] = []
        self.venv = self.pip = DONE
        self.while_making: Callable[[], object] = lambda: None

    def fill(self, folder: Path) -> None:
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        (folder / "bin" / "python").touch()

    def run(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        if "venv" not in command:
            return self.pip
        self.made.append(Path(command[-1]))
        self.while_making()
        if not self.venv.returncode:
            self.fill(Path(command[-1]))
        return self.venv


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "requirements").mkdir()
    for made in ENVIRONMENTS.values():
        (tmp_path / made.requirements).write_text("tiny==1.0 --hash=sha256:0\n")
    return tmp_path


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    builder = Builder()
    monkeypatch.setattr(subprocess, "run", builder.run)
    return builder


class TestEnsure:
    def test_it_is_made_on_first_use_with_one_line_a_step(
        self, root: Path, builder: Builder, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert ensure("tasks", root) == root / ".venv" / "bin" / "python"
        assert builder.made == [root / ".venv"]
        out, said = capsys.readouterr()
        assert out == ""
        assert [line.split(" (")[0].split(" in ")[0] for line in said.splitlines()] == [
            "inv: making .venv for tasks and tests ...",
            "inv: made .venv",
        ]

    def test_pip_takes_hashed_wheels_alone_and_no_dependencies(
        self, root: Path, builder: Builder
    ) -> None:
        ensure("tasks", root)
        _, pip = builder.commands
        assert pip[0] == str(root / ".venv" / "bin" / "python")
        assert {"--require-hashes", "--no-deps", "--only-binary", ":all:", "-I"} <= set(pip)
        assert pip[-2:] == ["-r", str(root / "requirements" / "tasks.txt")]

    def test_a_second_use_makes_nothing_and_says_nothing(
        self, root: Path, builder: Builder, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ensure("tasks", root)
        capsys.readouterr()
        ensure("tasks", root)
        assert len(builder.made) == 1
        assert capsys.readouterr() == ("", "")

    def test_other_requirements_make_it_anew(self, root: Path, builder: Builder) -> None:
        ensure("tasks", root)
        (root / "requirements" / "tasks.txt").write_text("tiny==1.1 --hash=sha256:1\n")
        ensure("tasks", root)
        ensure("tasks", root)
        assert len(builder.made) == 2

    def test_a_folder_that_was_moved_is_made_anew(
        self, root: Path, builder: Builder, tmp_path: Path
    ) -> None:
        ensure("tasks", root)
        moved = root.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))
        ensure("tasks", moved)
        assert builder.made == [root / ".venv", moved / ".venv"]

    def test_a_python_that_is_gone_is_made_anew(self, root: Path, builder: Builder) -> None:
        ensure("tasks", root).unlink()
        ensure("tasks", root)
        assert len(builder.made) == 2

    def test_what_was_interrupted_is_not_taken_for_made(self, root: Path, builder: Builder) -> None:
        def pressed() -> None:
            raise KeyboardInterrupt

        builder.while_making = pressed
        with pytest.raises(KeyboardInterrupt):
            ensure("tasks", root)
        builder.while_making = lambda: None
        ensure("tasks", root)
        assert len(builder.made) == 2

    def test_what_a_link_points_at_is_never_emptied(
        self, root: Path, builder: Builder, tmp_path: Path
    ) -> None:
        theirs = tmp_path / "theirs"
        builder.fill(theirs)
        (root / ".venv").symlink_to(theirs)
        with pytest.raises(
            BrokenEnvironmentError, match=f"link to {theirs}.*\nTry: remove the link .venv"
        ):
            ensure("tasks", root)
        assert builder.made == []

    def test_each_has_a_folder_of_its_own(self, root: Path, builder: Builder) -> None:
        assert {ensure(name, root).parents[1] for name in ("tasks", "scan", "local")} == set(
            builder.made
        )
        assert len({made.folder for made in ENVIRONMENTS.values()}) == len(ENVIRONMENTS)

    def test_the_runtime_is_made_with_the_newest_python(
        self, root: Path, builder: Builder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(environment, "find_newest_python", lambda: "python9")
        ensure("runtime", root)
        assert builder.commands[0] == [
            "python9",
            "-m",
            "venv",
            "--clear",
            str(root / ".venv-runtime"),
        ]

    def test_what_pip_said_is_in_the_sentence_and_the_next_use_tries_again(
        self, root: Path, builder: Builder
    ) -> None:
        builder.pip = subprocess.CompletedProcess([], 1, "", "ERROR: no such wheel\n")
        with pytest.raises(BrokenEnvironmentError) as broken:
            ensure("local", root)
        said = str(broken.value)
        assert said.startswith(
            ".venv-local: the packages of requirements/local.txt could not be installed:\nERROR: no such"
        )
        assert "\nTry: check that pip reaches its package index" in said
        builder.pip = DONE
        ensure("local", root)
        assert (root / ".venv-local" / STAMP).exists()

    def test_without_the_venv_module_what_python_said_and_what_to_install_is_the_sentence(
        self, root: Path, builder: Builder
    ) -> None:
        builder.venv = subprocess.CompletedProcess([], 1, "ensurepip is not available\n", "")
        with pytest.raises(BrokenEnvironmentError) as broken:
            ensure("tasks", root)
        said = str(broken.value)
        assert said.startswith(
            ".venv: could not be made:\nensurepip is not available\nTry: install Python's venv module"
        )
        assert "apt install python3-venv" in said

    def test_two_at_once_make_it_once(
        self, root: Path, builder: Builder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = [
            threading.Event(),
            threading.Event(),
        ]  # set when the first, and when the second asks for the lock
        flock, lock = fcntl.flock, threading.Lock()

        def watched(file: Any, operation: int) -> None:
            with lock:
                next(event for event in asked if not event.is_set()).set()
            flock(file, operation)

        monkeypatch.setattr(fcntl, "flock", watched)
        second_waits: list[bool] = []
        builder.while_making = lambda: second_waits.append(asked[1].wait(5))
        found: list[Path] = []
        threads = [
            threading.Thread(target=lambda: found.append(ensure("tasks", root))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert second_waits == [True]
        assert builder.made == [root / ".venv"]
        assert found == [root / ".venv" / "bin" / "python"] * 2


class TestNewestPython:
    @pytest.fixture(autouse=True)
    def only(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))

    def script(self, folder: Path, name: str, code: int) -> str:
        (folder / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (folder / name).chmod(0o755)
        return str(folder / name)

    def test_the_newest_that_starts_is_taken(self, tmp_path: Path) -> None:
        self.script(tmp_path, "python3.11", 0)
        newest = self.script(tmp_path, "python3.13", 0)
        assert environment.find_newest_python() == newest

    def test_a_stand_in_that_does_not_start_is_passed_over(self, tmp_path: Path) -> None:
        self.script(tmp_path, "python3.14", 127)
        real = self.script(tmp_path, "python3.12", 0)
        assert environment.find_newest_python() == real

    def test_with_none_on_path_the_running_one_serves(self) -> None:
        assert environment.find_newest_python() == sys.executable


class TestMain:
    def test_it_prints_the_python_alone(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(environment, "ensure", lambda name: Path(f"{name}/bin/python"))
        assert environment.main(["tasks"]) == 0
        assert capsys.readouterr().out == "tasks/bin/python\n"

    @pytest.mark.parametrize(
        "error",
        [BrokenEnvironmentError(".venv: no"), FileNotFoundError(2, "No such file", "x.txt")],
    )
    def test_a_failure_is_a_sentence_and_2(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
    ) -> None:
        def fail(_: str) -> Path:
            raise error

        monkeypatch.setattr(environment, "ensure", fail)
        assert environment.main(["tasks"]) == 2
        assert capsys.readouterr() == ("", f"inv: {error}\n")

    def test_ctrl_c_is_a_sentence_and_130(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def pressed(_: str) -> Path:
            raise KeyboardInterrupt

        monkeypatch.setattr(environment, "ensure", pressed)
        assert environment.main(["tasks"]) == 130
        assert capsys.readouterr() == ("", "\ninv: interrupted; run the same command again\n")


def test_without_a_usable_python_inv_says_what_to_install(tmp_path: Path) -> None:
    for name in ("python3", "python3.12"):  # stand-ins as version managers leave them
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "dirname").symlink_to("/usr/bin/dirname")
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "inv"), "demo"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(
        "inv: no Python 3.11 or newer with its venv module was found on PATH: install one"
    )


@pytest.mark.local
def test_a_real_environment_holds_the_locked_package_and_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "RECORD": "",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "NUMBER = 7\n")
        for name, text in about.items():
            archive.writestr(f"tiny-1.0.dist-info/{name}", text)
    (tmp_path / "requirements").mkdir()
    checksum = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (tmp_path / "requirements" / "tasks.txt").write_text(f"tiny==1.0 --hash=sha256:{checksum}\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    python = ensure("tasks", tmp_path)
    told = subprocess.run(
        [python, "-I", "-c", "import tiny; print(tiny.NUMBER)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "7\n"
