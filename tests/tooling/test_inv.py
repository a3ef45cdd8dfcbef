"""The script ./inv in odd surroundings: streams, variables, settings, folders, a broken .venv."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tomllib
import zipfile
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from tests.support.repository import ROOT
from tooling.environment import STAMP_FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

INV = str(ROOT / "inv")
VERSION = (
    f"signwatch {tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['version']}\n"
)
# Modules that Python, Invoke, pip or the tasks import.
SHADOWS = (
    *(
        "copy",
        "yaml",
        "token",
        "invoke",
        "tasks",
        "tooling",
        "signwatch",
        "venv",
        "pip",
        "ensurepip",
    ),
    *("sitecustomize", "usercustomize", "re", "os", "json", "subprocess", "tomllib"),
)
NO_SPACE = "inv: standard output: No space left on device\nTry: write to a file"
Result = subprocess.CompletedProcess[str]


def run(
    command: str,
    *arguments: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Result:
    """Run a command of the shell, with ``inv`` as $0 and the arguments as $1 and so on."""
    return subprocess.run(
        ["/bin/sh", "-c", command, INV, *arguments], cwd=cwd, env=env,
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def write_shadows(folder: Path) -> Path:
    """Write files with the names of modules that fail when they are run; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name}.py was run')\n")
    return folder


@pytest.mark.joint
class TestStreams:
    @pytest.mark.parametrize(
        ("redirection", "code"),
        [(">&-", 0), ("<&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0), (">/dev/full 2>&-", 1)],
    )
    @pytest.mark.parametrize("arguments", ["--list", "--version", "--help explain"])
    def test_a_closed_stream_is_no_error(self, arguments: str, redirection: str, code: int) -> None:
        end = run(f'"$0" {arguments} {redirection}')
        assert (end.returncode, end.stderr) == (code, "")

    def test_a_task_works_without_streams(self, tmp_path: Path) -> None:
        (tmp_path / "record.json").write_text('{"Records": [{"eventName": "x", "eventID": "x"}]}')
        assert run('"$0" explain record.json <&- >&- 2>&-', cwd=tmp_path).returncode == 0
        end = run('"$0" explain - <&-')
        assert (end.returncode, end.stderr.count("-: contains no record")) == (2, 1)

    @pytest.mark.parametrize(
        "arguments", ["", "--list", "--version", "--print-completion-script bash", "deploy --help"]
    )
    def test_full_output_is_one_message(self, arguments: str) -> None:
        end = run(f'"$0" {arguments} >/dev/full')
        assert end.returncode == 1
        assert end.stderr.startswith(NO_SPACE)
        assert end.stderr.count("\n") == 2

    def test_full_output_does_not_hide_a_mistake(self) -> None:
        end = run('"$0" depoy >/dev/full')
        assert (end.returncode, end.stderr.count("\n")) == (2, 2)

    @pytest.mark.parametrize("arguments", ["explain", "depoy"])
    def test_full_error_output_keeps_the_exit_code_of_a_refusal(self, arguments: str) -> None:
        assert run(f'"$0" {arguments} 2>/dev/full').returncode == 2

    def test_a_reader_that_has_gone_is_no_error(self) -> None:
        end = run('{ "$0" --list; echo "$?" >&2; } | head -n 1')
        assert (end.stdout, end.stderr) == ("Set up:\n", "0\n")

    @pytest.mark.parametrize("task", ["--list", "scan --only shellcheck"])
    def test_a_reader_that_went_before_does_not_change_the_result(self, task: str) -> None:
        end = run(f'{{ sleep 0.2; "$0" {task}; echo "$?" >&2; }} | :', cwd=ROOT)
        assert (end.stdout, end.stderr) == ("", "0\n")


@pytest.mark.joint
class TestSurroundings:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            (".invoke.yaml", "{broken"),
            (".invoke.yaml", "tasks: {auto_dash_names: false, executor_class: no.such.class}"),
            (".invoke.json", "{broken"),
            (".invoke.py", "raise SystemExit('the file was run')"),
            ("invoke.yaml", "{broken"),
            ("tasks.py", "raise SystemExit('the file was run')"),
        ],
    )
    def test_files_of_invoke_are_not_read(self, tmp_path: Path, name: str, text: str) -> None:
        (tmp_path / name).write_text(text)
        variables = {**os.environ, "HOME": str(tmp_path)}
        end = run('"$0" explain - </dev/null', cwd=tmp_path, env=variables)
        assert end.stderr.startswith("invoke explain: -: contains no record\n"), end.stderr

    def test_variables_of_invoke_and_python_change_nothing(self, tmp_path: Path) -> None:
        variables = {
            "INVOKE_RUN_DRY": "1",
            "INVOKE_RUN_ECHO": "nonsense",
            "INVOKE_RUN_WATCHERS": "a list cannot be read from a variable",
            "INVOKE_TASKS_EXECUTOR_CLASS": "no.such.class",
            "INVOKE_TASKS_IGNORE_UNKNOWN_HELP": "x",
            "INVOKE_RUNTIME_CONFIG": str(tmp_path / "nowhere.yaml"),
            "INVOKE_DEBUG": "1",
            "PYTHONPATH": str(write_shadows(tmp_path / "shadows")),
            "PYTHONHOME": str(tmp_path),
            "PYTHONSTARTUP": str(tmp_path / "shadows" / "re.py"),
            "PYTHONINSPECT": "1",
            "PYTHONOPTIMIZE": "2",
            "PYTHONSAFEPATH": "1",
            "PYTHONWARNINGS": "error",
            "VIRTUAL_ENV": str(tmp_path),
        }
        end = run('"$0" --help package', cwd=tmp_path, env={**os.environ, **variables})
        assert (end.returncode, end.stderr) == (0, "")
        assert "Build the zips of the function" in end.stdout
        end = run('"$0" deploy --plan -a 1 --config nowhere.toml', env={**os.environ, **variables})
        assert (end.returncode, end.stderr.count("nowhere.toml: cannot be read")) == (2, 1)
        # This tool of the scan is a script of Python, which a task starts.
        end = run('"$0" scan --only "schema Dependabot"', env={**os.environ, **variables})
        assert (end.returncode, end.stderr) == (0, ""), end.stdout

    @pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
    def test_a_bare_environment_suffices(self, tmp_path: Path, locale: str) -> None:
        end = run(
            'umask 077; "$0" --list', cwd=tmp_path, env={"PATH": os.defpath, "LC_ALL": locale}
        )
        assert (end.returncode, end.stderr) == (0, "")

    @pytest.mark.parametrize("folder", ["plain", "with space", "with:colon", "-dash", "*"])
    def test_nothing_of_the_current_folder_is_run(self, tmp_path: Path, folder: str) -> None:
        shadows = write_shadows(tmp_path / folder)
        (shadows / "records.json").write_text('{"eventName": "x", "eventID": "x"}')
        end = run('"$0" explain records.json', cwd=shadows)
        assert (end.returncode, end.stderr) == (0, "")
        assert not (shadows / "__pycache__").exists()

    @pytest.mark.parametrize(
        "command", ["$1/inv", "inv", "./inv", "sh inv", "sh ./inv", "../bin/inv"]
    )
    def test_inv_may_be_called_through_links(self, tmp_path: Path, command: str) -> None:
        folder = tmp_path / "bin"
        (tmp_path / "way").mkdir()
        folder.mkdir()
        (tmp_path / "way" / "further").symlink_to(INV)
        (folder / "inv").symlink_to("../way/further")
        path = f"{folder}:{os.environ['PATH']}"
        end = run(f"{command} --version", folder, cwd=folder, env={**os.environ, "PATH": path})
        assert (end.stdout, end.stderr) == (VERSION, "")
        end = run(f"{command} depoy", folder, cwd=folder, env={**os.environ, "PATH": path})
        name = {"$1/inv": "inv", "sh inv": "inv", "sh ./inv": "./inv"}.get(command, command)
        assert end.stderr.endswith(f"\nTry: {name} deploy\n")


@pytest.fixture(scope="module")
def invoke_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the Invoke that is installed here."""
    distribution = metadata.distribution("invoke")
    wheel = tmp_path_factory.mktemp("wheels") / f"invoke-{distribution.version}-py3-none-any.whl"
    files = [path for path in distribution.files or [] if not str(path).startswith("..")]
    left_out = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
    with zipfile.ZipFile(wheel, "w") as archive:
        kept = [path for path in files if path.name not in left_out and path.suffix != ".pyc"]
        for path in kept:
            archive.write(str(path.locate()), str(path))
        record = f"invoke-{distribution.version}.dist-info/RECORD"
        archive.writestr(record, "".join(f"{path},,\n" for path in [*kept, record]))
    return wheel


def make_checkout(folder: Path, wheel: Path) -> Path:
    """Copy what ./inv needs to the folder, with Invoke as the only requirement."""
    for name in ("inv", "tasks.py", "pyproject.toml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in ("tooling", "lambda"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "requirements").mkdir()
    checksum = hashlib.sha256(wheel.read_bytes()).hexdigest()
    line = f"invoke=={wheel.name.split('-')[1]} --hash=sha256:{checksum}\n"
    (folder / "requirements" / "tasks.txt").write_text(line)
    return folder


@pytest.mark.local
def test_the_environment_is_made_in_any_surroundings_and_made_again_when_it_breaks(
    tmp_path: Path, invoke_wheel: Path
) -> None:
    checkout = make_checkout(tmp_path / "my checkout", invoke_wheel)
    shadows = write_shadows(tmp_path / "a:b c")
    (shadows / "inv").symlink_to(checkout / "inv")
    (tmp_path / "pip.conf").write_text("[install]\nuser = true\ntarget = /nowhere\n")
    variables = {
        "PATH": os.environ["PATH"],
        "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(invoke_wheel.parent),
        "PIP_TARGET": str(tmp_path / "target"),
        "PIP_PREFIX": str(tmp_path / "prefix"),
        "PIP_USER": "1",
        "PYTHONPATH": str(shadows),
        "PYTHONHOME": str(tmp_path),
        "VIRTUAL_ENV": str(tmp_path),
    }
    if "PYENV_VERSION" in os.environ:  # chooses the python of the tests
        variables["PYENV_VERSION"] = os.environ["PYENV_VERSION"]

    def start() -> Result:
        return run("umask 077; ./inv --version", cwd=shadows, env=variables)

    first, second = start(), start()
    assert (first.stdout, second.stdout, second.stderr) == (VERSION, VERSION, ""), first.stderr
    assert re.fullmatch(r"inv: making .venv .*\ninv: made .venv in \d+ s\n", first.stderr)
    assert not [path for path in tmp_path.iterdir() if path.name in ("target", "prefix")]
    # In an activated .venv, inv and invoke are this checkout's, with its completion.
    for name in ("inv", "invoke"):
        assert run('"$1" --version', checkout / ".venv" / "bin" / name).stdout == VERSION

    # An upgraded Python looks for packages in a folder of its own version.
    (packages,) = (checkout / ".venv" / "lib").glob("python3*")
    packages.rename(packages.with_name("python3.10"))
    again = start()
    assert again.stdout == VERSION
    assert "inv: made .venv in" in again.stderr

    # Nothing is written to the checkout from now on, so it may be read-only.
    def list_files() -> set[tuple[str, int]]:
        files = {path for path in checkout.rglob("*") if "pycache" not in str(path)}
        return {(str(path), path.lstat().st_mtime_ns) for path in files}

    before = list_files()
    assert start().stdout == VERSION
    assert list_files() == before

    # A folder of the checkout with the names of modules of Python.
    write_shadows(checkout / "shadows")
    for name in ("copy.py", "token.py", "tomllib.py"):
        shutil.copy(checkout / "shadows" / name, checkout / name)
    assert run("./inv --version", cwd=checkout, env=variables).stdout == VERSION


@pytest.mark.local
def test_a_checkout_below_a_colon_is_refused_and_nothing_is_made(
    tmp_path: Path, invoke_wheel: Path
) -> None:
    checkout = make_checkout(tmp_path / "a:b", invoke_wheel)
    end = run('"$1/inv" --version', checkout)
    assert (end.returncode, end.stdout) == (2, "")
    assert end.stderr.startswith(f"inv: .venv: cannot be made in {checkout}: the path contains ':'")
    assert "\nTry: move the checkout or rename the folder" in end.stderr
    assert not (checkout / ".venv" / STAMP_FILE_NAME).exists()
