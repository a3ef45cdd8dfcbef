"""The environments: made on first use with uv or pip, made again when their requirements change."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.repository import ROOT
from tooling import environment
from tooling.environment import (
    BYTE_CODE_FILE,
    ENVIRONMENTS,
    STAMP_FILE_NAME,
    BrokenEnvironmentError,
    ensure,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SUCCESS = subprocess.CompletedProcess([], 0, "", "")
LOCKED = {"--require-hashes", "--no-deps", "--only-binary", ":all:"}


class Programs:
    """Stand-ins for venv, pip and uv. They record their calls; a test sets their results."""

    def __init__(self) -> None:
        self.folders: list[Path] = []
        self.venv: list[str] = []
        self.install: list[str] = []
        self.variables: dict[str, str] = {}
        self.pip_settings = ""  # the output of pip config list
        self.venv_result = self.install_result = self.import_result = SUCCESS
        self.during_venv: Callable[[], object] = lambda: None

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if "venv" in command:
            return self.make_folder(command)
        if "config" in command:
            return subprocess.CompletedProcess([], 0, self.pip_settings, "")
        if "-c" in command and not os.path.lexists(command[0]):
            raise FileNotFoundError(command[0])
        if "install" in command:
            self.install, self.variables = command, options["env"]
            return self.install_result
        return self.import_result if "-c" in command else SUCCESS

    def make_folder(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        folder = Path(command[-1])
        self.venv = command
        self.folders.append(folder)
        self.during_venv()
        if not self.venv_result.returncode:
            fill(folder)
        return self.venv_result


def fill(folder: Path) -> None:
    for name in ("bin", "lib/python3/site-packages"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "bin" / "python").touch()


def write_program(folder: Path, name: str, lines: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "requirements").mkdir()
    for entry in ENVIRONMENTS.values():
        (tmp_path / entry.requirements).write_text("tiny==1.0 --hash=sha256:0\n")
    return tmp_path


@pytest.fixture
def plain_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of pip and uv in the variables of this process."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, plain_variables: None) -> Programs:
    """Stand-ins for the programs, without uv."""
    programs = Programs()
    monkeypatch.setattr(subprocess, "run", programs.run)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    return programs


@pytest.fixture
def uv(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """The same, with uv on PATH."""
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/uv" if name == "uv" else None)
    return programs


class TestEnsure:
    def test_environment_is_made_on_first_use_and_each_step_is_announced(
        self, root: Path, programs: Programs, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert ensure("tasks", root) == root / ".venv" / "bin" / "python"
        assert programs.folders == [root / ".venv"]
        out, err = capsys.readouterr()
        assert out == ""
        assert [line.split(" in ")[0] for line in err.splitlines()] == [
            "inv: making .venv for tasks and tests ...",
            "inv: made .venv",
        ]

    def test_second_use_makes_nothing_and_prints_nothing(
        self, root: Path, programs: Programs, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ensure("tasks", root)
        capsys.readouterr()
        ensure("tasks", root)
        assert len(programs.folders) == 1
        assert capsys.readouterr() == ("", "")

    def test_changed_requirements_make_it_again(self, root: Path, programs: Programs) -> None:
        ensure("tasks", root)
        (root / "requirements" / "tasks.txt").write_text("tiny==1.1 --hash=sha256:1\n")
        ensure("tasks", root)
        ensure("tasks", root)
        assert len(programs.folders) == 2

    def test_moved_folder_makes_it_again(
        self, root: Path, programs: Programs, tmp_path: Path
    ) -> None:
        ensure("tasks", root)
        moved = root.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))
        ensure("tasks", moved)
        assert programs.folders == [root / ".venv", moved / ".venv"]

    def test_missing_python_makes_it_again(self, root: Path, programs: Programs) -> None:
        ensure("tasks", root).unlink()
        ensure("tasks", root)
        assert len(programs.folders) == 2

    def test_missing_module_makes_it_again(self, root: Path, programs: Programs) -> None:
        """As after an upgrade of its Python, which then looks for packages in another folder."""
        ensure("scan", root)
        programs.import_result = subprocess.CompletedProcess([], 1, "", "")

        def install_packages() -> None:
            programs.import_result = SUCCESS

        programs.during_venv = install_packages
        ensure("scan", root)
        assert len(programs.folders) == 2

    @pytest.mark.usefixtures("programs")
    def test_commands_of_the_tasks_are_links_to_inv(self, root: Path) -> None:
        (root / "inv").touch()
        for name in ("tasks", "scan"):
            ensure(name, root)
        links = {path for path in root.glob(".venv*/bin/inv*") if path.samefile(root / "inv")}
        assert links == {root / ".venv" / "bin" / name for name in ("inv", "invoke")}

    def test_path_with_a_colon_is_refused(self, root: Path, programs: Programs) -> None:
        moved = root.rename(root.with_name("a:b"))
        with pytest.raises(BrokenEnvironmentError, match=r"contains ':'.*\nTry: move the checkout"):
            ensure("tasks", moved)
        assert programs.folders == []

    def test_interrupted_environment_is_made_again(self, root: Path, programs: Programs) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        programs.during_venv = interrupt
        with pytest.raises(KeyboardInterrupt):
            ensure("tasks", root)
        programs.during_venv = lambda: None
        ensure("tasks", root)
        assert len(programs.folders) == 2

    @pytest.mark.parametrize(("name", "is_compiled"), [("scan", False), ("runtime", True)])
    def test_only_the_runtime_is_compiled_at_once(
        self, root: Path, programs: Programs, name: str, is_compiled: bool
    ) -> None:
        folder = ensure(name, root).parents[1]
        assert ("--no-compile" in programs.install) != is_compiled
        file = folder / "lib" / "python3" / "site-packages" / BYTE_CODE_FILE
        assert file.exists() != is_compiled

    def test_folder_behind_a_link_is_never_emptied(
        self, root: Path, programs: Programs, tmp_path: Path
    ) -> None:
        target = tmp_path / "target"
        fill(target)
        (root / ".venv").symlink_to(target)
        message = f"(?s)link to {target}.*\nTry: remove the link .venv"
        with pytest.raises(BrokenEnvironmentError, match=message):
            ensure("tasks", root)
        assert programs.folders == []

    def test_each_environment_has_its_own_folder(self, root: Path, programs: Programs) -> None:
        folders = {ensure(name, root).parents[1] for name in ENVIRONMENTS}
        assert folders == set(programs.folders)
        assert len(folders) == len(ENVIRONMENTS)

    def test_runtime_is_made_with_the_newest_python(
        self, root: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(environment, "find_newest_python", lambda: "python9")
        ensure("runtime", root)
        folder = str(root / ".venv-runtime")
        assert programs.venv == ["python9", "-I", "-m", "venv", "--clear", folder]

    def test_failed_install_shows_the_output_of_pip_and_is_repeated_on_the_next_use(
        self, root: Path, programs: Programs
    ) -> None:
        programs.install_result = subprocess.CompletedProcess([], 1, "", "ERROR: no such wheel\n")
        with pytest.raises(BrokenEnvironmentError) as broken:
            ensure("local", root)
        assert str(broken.value).startswith(
            ".venv-local: the packages of requirements/local.txt could not be installed:\n"
            "ERROR: no such wheel\nTry: check that pip reaches its package index"
        )
        programs.install_result = SUCCESS
        ensure("local", root)
        assert (root / ".venv-local" / STAMP_FILE_NAME).exists()

    def test_packages_that_were_installed_elsewhere_are_an_error(
        self, root: Path, programs: Programs
    ) -> None:
        programs.import_result = subprocess.CompletedProcess([], 1, "", "No module named 'invoke'")
        with pytest.raises(BrokenEnvironmentError) as broken:
            ensure("tasks", root)
        assert str(broken.value).startswith(
            ".venv: was made, but invoke cannot be imported from it:\n"
            "No module named 'invoke'\nTry: look for a setting of pip or uv"
        )
        assert not (root / ".venv" / STAMP_FILE_NAME).exists()

    def test_missing_venv_module_says_what_to_install(self, root: Path, programs: Programs) -> None:
        output = "ensurepip is not available\n"
        programs.venv_result = subprocess.CompletedProcess([], 1, output, "")
        with pytest.raises(BrokenEnvironmentError) as broken:
            ensure("tasks", root)
        assert str(broken.value).startswith(
            ".venv: could not be made:\nensurepip is not available\n"
            "Try: install Python's venv module (Debian, Ubuntu: apt install python3-venv)"
        )

    def test_two_processes_at_once_make_it_once(
        self, root: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Set when the first, and when the second thread asks for the lock.
        requests = [threading.Event(), threading.Event()]
        flock, lock = fcntl.flock, threading.Lock()

        def flock_and_record(file: Any, operation: int) -> None:
            with lock:
                next(event for event in requests if not event.is_set()).set()
            flock(file, operation)

        monkeypatch.setattr(fcntl, "flock", flock_and_record)
        second_waits: list[bool] = []
        programs.during_venv = lambda: second_waits.append(requests[1].wait(5))
        pythons: list[Path] = []
        threads = [
            threading.Thread(target=lambda: pythons.append(ensure("tasks", root))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert second_waits == [True]
        assert programs.folders == [root / ".venv"]
        assert pythons == [root / ".venv" / "bin" / "python"] * 2


class TestPip:
    def test_pip_installs_hashed_wheels_alone_and_no_dependencies(
        self, root: Path, programs: Programs
    ) -> None:
        ensure("tasks", root)
        assert programs.install[0] == str(root / ".venv" / "bin" / "python")
        assert {*LOCKED, "-I", "--isolated", "--no-compile"} <= set(programs.install)
        assert programs.install[-2:] == ["-r", str(root / "requirements" / "tasks.txt")]

    def test_pip_keeps_index_settings_and_no_other_setting(
        self, root: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        programs.pip_settings = (
            ":env:.cert='/ignored: variables are read as they are'\n"
            "download.index-url='https://download.example'\n"
            "global.extra-index-url='https://a.example https://b.example'\n"
            "global.index-url='https://global.example'\n"
            "global.proxy='http://proxy.example'\n"
            "global.user='true'\n"
            "install.index-url='https://install.example'\n"
            "install.target='/elsewhere'\n"
        )
        monkeypatch.setenv("PIP_PREFIX", "/elsewhere")
        monkeypatch.setenv("PIP_PROXY", "http://own.example")
        ensure("tasks", root)
        flags = [flag for flag in programs.install if flag.startswith("--") and "=" in flag]
        assert set(flags) == {
            "--index-url=https://install.example",
            "--extra-index-url=https://a.example",
            "--extra-index-url=https://b.example",
            "--proxy=http://own.example",
        }
        pip_variables = {name for name in programs.variables if name.startswith("PIP_")}
        assert pip_variables == {"PIP_CONFIG_FILE"}
        assert programs.variables["PIP_CONFIG_FILE"] == os.devnull

    @pytest.mark.parametrize(("value", "is_set"), [("1", True), ("true", True), ("0", False)])
    def test_no_index_is_a_switch(
        self,
        root: Path,
        programs: Programs,
        monkeypatch: pytest.MonkeyPatch,
        value: str,
        is_set: bool,
    ) -> None:
        monkeypatch.setenv("PIP_NO_INDEX", value)
        ensure("tasks", root)
        assert ("--no-index" in programs.install) == is_set


class TestUv:
    def test_uv_installs_the_same_locked_file(self, root: Path, uv: Programs) -> None:
        python = ensure("tasks", root)
        assert "--without-pip" in uv.venv
        assert uv.install[:3] == ["/bin/uv", "pip", "install"]
        assert {*LOCKED, "--no-compile-bytecode", str(python)} <= set(uv.install)
        assert uv.install[-2:] == ["-r", str(root / "requirements" / "tasks.txt")]

    def test_stamp_is_the_same_whichever_tool_made_it(
        self, root: Path, uv: Programs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ensure("tasks", root)
        monkeypatch.setattr(shutil, "which", lambda _: None)
        ensure("tasks", root)
        assert len(uv.folders) == 1

    def test_uv_that_does_not_start_is_ignored(
        self, root: Path, uv: Programs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
            if command == ["/bin/uv", "--version"]:
                return subprocess.CompletedProcess([], 127, "", "")
            return uv.run(command, **options)

        monkeypatch.setattr(subprocess, "run", run)
        ensure("tasks", root)
        assert "--isolated" in uv.install

    def test_uv_gets_the_index_settings_of_pip_unless_it_has_its_own(
        self, root: Path, uv: Programs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uv.pip_settings = (
            "global.extra-index-url='https://a.example https://b.example'\n"
            "global.find-links='/wheels /more'\n"
            "global.index-url='https://pip.example'\n"
            "install.target='/elsewhere'\n"
        )
        monkeypatch.setenv("UV_DEFAULT_INDEX", "https://uv.example")
        monkeypatch.setenv("UV_SYSTEM_PYTHON", "1")
        ensure("tasks", root)
        variables = {name: text for name, text in uv.variables.items() if name.startswith("UV_")}
        assert variables == {
            "UV_DEFAULT_INDEX": "https://uv.example",
            "UV_FIND_LINKS": "/wheels,/more",
            "UV_INDEX": "https://a.example https://b.example",
        }

    def test_failed_install_names_uv(self, root: Path, uv: Programs) -> None:
        uv.install_result = subprocess.CompletedProcess([], 1, "", "error: no such wheel\n")
        with pytest.raises(BrokenEnvironmentError, match="Try: check that uv reaches its"):
            ensure("tasks", root)

    def test_lock_of_the_tasks_contains_pip_for_the_layer(self) -> None:
        assert "\npip==" in (ROOT / "requirements" / "tasks.txt").read_text()


class TestNewestPython:
    @pytest.fixture(autouse=True)
    def empty_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))

    def test_newest_python_that_starts_is_chosen(self, tmp_path: Path) -> None:
        write_program(tmp_path, "python3.11", "exit 0")
        newest = write_program(tmp_path, "python3.13", "exit 0")
        assert environment.find_newest_python() == newest

    def test_placeholder_that_does_not_start_is_skipped(self, tmp_path: Path) -> None:
        write_program(tmp_path, "python3.14", "exit 127")
        real = write_program(tmp_path, "python3.12", "exit 0")
        assert environment.find_newest_python() == real

    def test_running_python_is_chosen_when_path_has_none(self) -> None:
        assert environment.find_newest_python() == sys.executable


class TestMain:
    def test_main_prints_only_the_path_of_the_python(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(environment, "ensure", lambda name: Path(f"{name}/bin/python"))
        assert environment.main(["tasks"]) == 0
        assert capsys.readouterr().out == "tasks/bin/python\n"

    @pytest.mark.parametrize(
        ("error", "code", "message"),
        [
            (BrokenEnvironmentError(".venv: no"), 2, "inv: .venv: no\n"),
            (
                FileNotFoundError(2, "No such file", "x.txt"),
                2,
                "inv: [Errno 2] No such file: 'x.txt'\n",
            ),
            (KeyboardInterrupt(), 130, "\ninv: interrupted; run the same command again\n"),
        ],
    )
    def test_failure_is_a_sentence_and_an_exit_code(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        error: BaseException,
        code: int,
        message: str,
    ) -> None:
        def fail(_: str) -> Path:
            raise error

        monkeypatch.setattr(environment, "ensure", fail)
        assert environment.main(["tasks"]) == code
        assert capsys.readouterr() == ("", message)


@pytest.mark.usefixtures("programs")
class TestInv:
    """The shell script ``./inv``, in a checkout of its own whose programs are stand-ins."""

    @pytest.fixture
    def checkout(self, root: Path) -> Path:
        """A checkout with a current .venv, whose python prints its arguments."""
        ensure("tasks", root)
        write_program(root / ".venv" / "bin", "python", 'echo "$@"')
        shutil.copy(ROOT / "inv", root / "inv")
        (root / "path").mkdir()
        for name in ("cat", "cmp"):
            (root / "path" / name).symlink_to(f"/usr/bin/{name}")
        return root

    @pytest.fixture
    def run(self, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [str(checkout / "inv"), *arguments],
                env={"PATH": str(checkout / "path")},
                capture_output=True,
                text=True,
                check=False,
            )

        monkeypatch.undo()  # subprocess and shutil are real again
        return run

    def test_inv_starts_the_tasks_at_once_when_the_environment_is_current(
        self, checkout: Path, run: Any
    ) -> None:
        end = run("deploy", "-a", "1")
        assert (end.returncode, end.stderr) == (0, "")
        assert end.stdout == f"-I -B {checkout}/tooling/start.py {checkout}/inv deploy -a 1\n"

    @pytest.mark.parametrize("change", ["requirements", "stamp", "python"])
    def test_inv_makes_an_environment_that_is_not_current(
        self, checkout: Path, run: Any, change: str
    ) -> None:
        if change == "requirements":
            (checkout / "requirements" / "tasks.txt").write_text("tiny==2.0\n")
        elif change == "stamp":
            (checkout / ".venv" / STAMP_FILE_NAME).unlink()
        else:
            (checkout / ".venv" / "bin" / "python").unlink()
        made = write_program(checkout, "new-python", 'echo "new $@"')
        lines = f'case "$*" in *environment.py*) echo "making $@" >&2; echo {made};; esac'
        write_program(checkout / "path", "python3", lines)
        end = run("scan")
        assert end.stderr == f"making -I {checkout}/tooling/environment.py tasks\n"
        assert end.stdout == f"new -I -B {checkout}/tooling/start.py {checkout}/inv scan\n"

    def test_completion_does_not_wait_for_an_environment(self, checkout: Path, run: Any) -> None:
        (checkout / ".venv" / STAMP_FILE_NAME).unlink()
        end = run("--complete", "--", "./inv", "dep")
        assert (end.returncode, end.stdout, end.stderr) == (0, "", "")

    def test_inv_without_a_usable_python_says_what_to_install(
        self, checkout: Path, run: Any
    ) -> None:
        (checkout / ".venv" / STAMP_FILE_NAME).unlink()
        for name in ("python3", "python3.12"):  # placeholders of version managers
            write_program(checkout / "path", name, "exit 1")
        end = run("demo")
        assert (end.returncode, end.stdout) == (2, "")
        assert end.stderr.startswith(
            "inv: no Python 3.11 or newer with its venv module was found on PATH: install one"
        )


@pytest.mark.local
@pytest.mark.usefixtures("plain_variables")
@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_real_environment_has_the_locked_package_despite_settings_that_redirect_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    uv = environment.find_uv()
    if tool == "pip":
        monkeypatch.setattr(environment, "find_uv", lambda: None)
    elif not uv:
        pytest.skip("uv is not on PATH")
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    metadata = {
        "METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "RECORD": "tiny.py,,\n"
        + "".join(f"tiny-1.0.dist-info/{x},,\n" for x in ("METADATA", "WHEEL", "RECORD")),
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "NUMBER = 7\n")
        for name, text in metadata.items():
            archive.writestr(f"tiny-1.0.dist-info/{name}", text)
    (tmp_path / "requirements").mkdir()
    checksum = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (tmp_path / "requirements" / "tasks.txt").write_text(f"tiny==1.0 --hash=sha256:{checksum}\n")
    tiny = ENVIRONMENTS["tasks"]._replace(module="tiny")
    monkeypatch.setitem(ENVIRONMENTS, "tasks", tiny)
    (tmp_path / "pip.conf").write_text(
        f"[global]\nfind-links = {tmp_path}\n[install]\nuser = true\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "copy.py").write_text("raise SystemExit('a file of the current folder was run')\n")
    python = ensure("tasks", tmp_path)
    output = subprocess.check_output(
        [python, "-I", "-c", "import tiny; print(tiny.NUMBER)"], text=True
    )
    assert output == "7\n"
    (tmp_path / "module.py").write_text("")
    subprocess.run([python, "-B", "-c", "import module, tiny"], check=True, cwd=tmp_path)
    assert not (tmp_path / "__pycache__").exists()
    byte_code = [path.name.partition(".")[0] for path in tmp_path.glob(".venv/pycache/**/*.pyc")]
    assert {"module", "tiny"} <= set(byte_code)
