"""The project's virtual environments, each made on first use from its hash-locked requirements.

``./inv`` runs this file by path, before any package is installed, so it imports the standard
library alone. A task makes the other environments through ``ensure`` when it first needs them.

A stamp in each environment says what it was made from: its own path and its requirements. When
either changes, the environment is made again, and so it is when its module is missing, as after an
upgrade of its Python. A lock on the requirements file keeps two processes from making it at once;
no lock file is left behind.
"""

from __future__ import annotations

import ast
import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parent.parent
STAMP_FILE_NAME = "signwatch-stamp.txt"  # ./inv reads it too
PYTHONS_NEWEST_FIRST = ("python3.14", "python3.13", "python3.12", "python3.11")
# Python runs this line of a .pth file when it starts. Compiling all packages takes ten times as
# long as installing them, so byte-code is written when a module is first imported. Where writing
# is off (./inv keeps the checkout clean), it goes to the environment's folder.
BYTE_CODE_FILE = "signwatch-byte-code.pth"
BYTE_CODE_LINE = (
    "import sys; sys.dont_write_bytecode and ("
    "setattr(sys, 'pycache_prefix', sys.prefix + '/pycache'), "
    "setattr(sys, 'dont_write_bytecode', False))\n"
)
LOCKED_FLAGS = ("--require-hashes", "--no-deps", "--only-binary", ":all:")
# pip's settings that say where packages come from. All others are ignored, since some of them
# (target, prefix, user) would install the packages elsewhere.
INDEX_SETTINGS = (
    "index-url",
    "extra-index-url",
    "find-links",
    "no-index",
    "trusted-host",
    "cert",
    "client-cert",
    "proxy",
    "timeout",
    "default-timeout",
    "retries",
    "keyring-provider",
)
FALSE_VALUES = ("0", "f", "false", "n", "no", "off")  # what pip reads as "off" in a switch
LIST_SETTINGS = ("extra-index-url", "find-links", "trusted-host")  # values separated by spaces
# For each setting of pip: the variable that uv reads instead, and the separator of its values.
UV_SETTINGS = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
    "proxy": ("ALL_PROXY", " "),
}
UV_VARIABLE_PREFIXES = (  # how the names of those variables of uv begin that are passed on
    *("UV_DEFAULT_INDEX", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INSECURE_HOST"),
    *("UV_CACHE_DIR", "UV_CONFIG_FILE", "UV_HTTP", "UV_KEYRING", "UV_LINK_MODE", "UV_OFFLINE"),
    *("UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_CONCURRENT"),
)


class Environment(NamedTuple):
    """One virtual environment.

    module: a module whose import shows that the environment works; is_compiled: whether all
    packages are compiled when they are installed, not when they are first imported; commands: of
    its programs, those that start the tasks. They are replaced by links to ``inv``.
    """

    folder: str
    requirements: str
    purpose: str
    module: str
    is_compiled: bool = False
    commands: tuple[str, ...] = ()


ENVIRONMENTS = {
    "tasks": Environment(
        *(".venv", "requirements/tasks.txt", "tasks and tests", "invoke"),
        commands=("inv", "invoke"),
    ),
    "scan": Environment(
        ".venv-scan", "requirements/scan.txt", "checkov, which must live alone", "checkov"
    ),
    "local": Environment(
        ".venv-local", "requirements/local.txt", "the local AWS emulator", "ministack"
    ),
    # Cold starts are measured here with byte-code writing off, so it has no BYTE_CODE_FILE.
    "runtime": Environment(
        *(".venv-runtime", "requirements/runtime.txt", "the function's runtime", "boto3"),
        is_compiled=True,
    ),
}


class BrokenEnvironmentError(Exception):
    """An environment could not be made; the text says where, what, and what to try."""


def ensure(name: str, root: Path = ROOT) -> Path:
    """Return the path of the environment's Python; make the environment first if it is not current.

    Raises BrokenEnvironmentError if its packages cannot be installed, or if its folder is a link.
    """
    if not _is_current(name, root):
        with (root / ENVIRONMENTS[name].requirements).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_current(name, root):  # another process may have made it meanwhile
                _make(name, root)
    return _python_path(root / ENVIRONMENTS[name].folder)


def _is_current(name: str, root: Path = ROOT) -> bool:
    """Return whether the environment exists, made in this folder from the present requirements.

    Its module must be found. An import of it would take longer.
    """
    environment = ENVIRONMENTS[name]
    folder = root / environment.folder
    expected = _expected_stamp(name, root)
    search = f"from importlib import util; exit(util.find_spec({environment.module!r}) is None)"
    try:
        if (folder / STAMP_FILE_NAME).read_bytes() != expected:
            return False
        command = [str(_python_path(folder)), "-I", "-B", "-c", search]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def remove_stamp(name: str, root: Path = ROOT) -> None:
    """Remove the stamp of an environment, so that it is made again on the next use."""
    (root / ENVIRONMENTS[name].folder / STAMP_FILE_NAME).unlink(missing_ok=True)


def find_newest_python() -> str:
    """Return the path of the newest Python from 3.11 to 3.14 on PATH; else of the running one."""
    for name in PYTHONS_NEWEST_FIRST:
        path = _find_program(name, "-I", "-c", "import venv, ensurepip")
        if path:
            return path
    return sys.executable


def find_uv() -> str | None:
    """Return the path of uv if one is on PATH and starts."""
    return _find_program("uv", "--version")


def _find_program(name: str, *arguments: str) -> str | None:
    """Return the path of a program on PATH, or None if it is missing or fails with ``arguments``.

    Version managers leave placeholders on PATH that do not start.
    """
    path = shutil.which(name)
    if not path:
        return None
    process = subprocess.run([path, *arguments], capture_output=True, check=False)
    return path if process.returncode == 0 else None


def _expected_stamp(name: str, root: Path) -> bytes:
    """Return what the stamp of a current environment contains: its path, then its requirements."""
    environment = ENVIRONMENTS[name]
    requirements = (root / environment.requirements).read_bytes()
    return os.fsencode(root / environment.folder) + b"\n" + requirements


def _python_path(folder: Path) -> Path:
    """Return the path of the Python in an environment's folder."""
    return folder / "bin" / "python"


def _make(name: str, root: Path) -> None:
    """Make the environment anew, with uv or else pip; write its stamp last, when all is done.

    Raises BrokenEnvironmentError as ``ensure`` does.
    """
    environment = ENVIRONMENTS[name]
    folder, requirements = root / environment.folder, root / environment.requirements
    if os.pathsep in str(root):  # Python's venv refuses it, as PATH cannot hold it
        raise BrokenEnvironmentError(
            f"{environment.folder}: cannot be made in {root}: the path contains {os.pathsep!r}, "
            f"which separates folders in PATH.\n"
            f"Try: move the checkout or rename the folder, then run ./inv again."
        )
    if folder.is_symlink():  # making it anew would empty the folder behind the link
        raise BrokenEnvironmentError(
            f"{environment.folder}: is out of date, and is a link to {folder.resolve()}, "
            f"which ./inv does not empty.\n"
            f"Try: remove the link {environment.folder}, then run ./inv again."
        )
    start = time.monotonic()
    _announce(f"making {environment.folder} for {environment.purpose} ...")
    base_python = find_newest_python() if name == "runtime" else sys.executable
    uv = find_uv()
    without_pip = ["--without-pip"] if uv else []  # making pip takes longer than all the rest
    _run(
        [base_python, "-I", "-m", "venv", "--clear", *without_pip, str(folder)],
        f"{environment.folder}: could not be made",
        "install Python's venv module (Debian, Ubuntu: apt install python3-venv)",
    )
    if uv:
        tool, compile_flag = "uv", "compile-bytecode"
        install, variables = _uv_install_command(uv, _python_path(folder), base_python, root)
    else:
        tool, compile_flag = "pip", "compile"
        install, variables = pip_install_command(_python_path(folder))
        install.append("-qq")
    install.append(f"--{compile_flag}" if environment.is_compiled else f"--no-{compile_flag}")
    _run(
        [*install, *LOCKED_FLAGS, "-r", str(requirements)],
        f"{environment.folder}: the packages of {environment.requirements} could not be installed",
        f"check that {tool} reaches its package index from this machine",
        variables=variables,
    )
    if not environment.is_compiled:
        for packages in folder.glob("lib/python*/site-packages"):
            (packages / BYTE_CODE_FILE).write_text(BYTE_CODE_LINE)
    _run(
        [str(_python_path(folder)), "-I", "-B", "-c", f"import {environment.module}"],
        f"{environment.folder}: was made, but {environment.module} cannot be imported from it",
        "look for a setting of pip or uv that installs packages elsewhere (pip.conf, uv.toml)",
    )
    for command in environment.commands:
        (folder / "bin" / command).unlink(missing_ok=True)
        (folder / "bin" / command).symlink_to("../../inv")
    (folder / STAMP_FILE_NAME).write_bytes(_expected_stamp(name, root))
    _announce(f"made {environment.folder} in {time.monotonic() - start:.0f} s")


def _uv_install_command(
    uv: str, python: Path, base_python: str, root: Path
) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment variables for uv to install packages for ``python``.

    uv gets the index settings of ``base_python``'s pip, unless uv's own variables set the same.
    --directory makes uv read the settings files of the checkout, not of the current folder.
    "unsafe-best-match" looks at all indexes, as pip does; the hashes decide which file is right.
    """
    command = [uv, "pip", "install", "--quiet", "--python", str(python)]
    command += ["--index-strategy", "unsafe-best-match", "--directory", str(root)]
    settings = _read_index_settings(base_python)
    if "no-index" in settings:
        command.append("--no-index")
    pip_variables = {
        variable: separator.join(settings[name].split())
        for name, (variable, separator) in UV_SETTINGS.items()
        if name in settings
    }
    # All variables of this process, but for those of uv that could install packages elsewhere.
    own_variables = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(UV_VARIABLE_PREFIXES) or not name.startswith("UV_")
    }
    return command, pip_variables | own_variables


def pip_install_command(python: str | Path) -> tuple[list[str], dict[str, str]]:
    """Return the command ``pip install`` of ``python``, without packages, and its variables.

    pip reads no settings file and no PIP_ variable: PIP_TARGET, for one, would install the packages
    elsewhere. The index settings are passed as flags instead. --isolated alone would still read
    /etc/pip.conf.
    """
    command = [str(python), "-I", "-m", "pip", "install", "--isolated"]
    command.append("--disable-pip-version-check")
    for name, value in _read_index_settings(str(python)).items():
        if name == "no-index":
            command.append("--no-index")
        elif name in LIST_SETTINGS:
            command += [f"--{name}={item}" for item in value.split()]
        else:
            command.append(f"--{name}={value}")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return command, variables | {"PIP_CONFIG_FILE": os.devnull}


def _read_index_settings(python: str) -> dict[str, str]:
    """Return pip's index settings from its files and its variables.

    As in pip, a variable overrides the section [install] of a file, and this overrides [global].
    If ``python`` has no pip, only the variables count.
    """
    process = subprocess.run(
        [python, "-I", "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    settings: dict[str, str] = {}
    for section in ("global", "install"):
        for line in process.stdout.splitlines():  # such as: global.index-url='https://...'
            key, _, value = line.partition("=")
            name = key.removeprefix(f"{section}.")
            if name in INDEX_SETTINGS:
                settings[name] = ast.literal_eval(value)
    for name in INDEX_SETTINGS:
        variable = f"PIP_{name.replace('-', '_').upper()}"
        settings[name] = os.environ.get(variable) or settings.get(name, "")
    if settings["no-index"].lower() in FALSE_VALUES:
        settings["no-index"] = ""
    return {name: value for name, value in settings.items() if value}


def _run(
    command: list[str],
    what: str,
    remedy: str,
    variables: Mapping[str, str] | None = None,
) -> None:
    """Run a command to its end. If it fails, raise BrokenEnvironmentError with its output.

    ``what`` says what has failed then, ``remedy`` what to try. ``variables`` replace the process's
    environment; None leaves it.
    """
    process = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if process.returncode:
        output = (process.stderr or process.stdout).strip()
        raise BrokenEnvironmentError(f"{what}:\n{output}\nTry: {remedy}, then run ./inv again.")


def _announce(text: str) -> None:
    """Print a line to standard error; standard output has only the path that ./inv reads."""
    print(f"inv: {text}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Make the named environment and print the path of its Python; return the exit code."""
    try:
        print(ensure(arguments[0]))
    except (BrokenEnvironmentError, OSError) as error:
        _announce(str(error))
        return 2
    except KeyboardInterrupt:
        print("\ninv: interrupted; run the same command again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
