"""The project's virtual environments, each made on first use from its hash-locked requirements.

``./inv`` runs this file by path with whatever Python the machine has, before any package is installed, so it
imports the standard library alone. The same function makes the other environments when a task first needs them.

An environment is stamped with a digest of what it was made from; another digest makes it anew. Two processes at
once are kept apart by a lock on the requirements file itself, which leaves no lock file behind.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
STAMP = "signwatch-requirements.sha256"
NEWEST_FIRST = ("python3.14", "python3.13", "python3.12", "python3.11")


class Environment(NamedTuple):
    """One virtual environment: its folder, its locked requirements, and what it is for."""

    folder: str
    requirements: str
    purpose: str


ENVIRONMENTS = {
    "tasks": Environment(".venv", "requirements/tasks.txt", "tasks and tests"),
    "scan": Environment(".venv-scan", "requirements/scan.txt", "checkov, which must live alone"),
    "local": Environment(".venv-local", "requirements/local.txt", "the local AWS emulator"),
    "runtime": Environment(".venv-runtime", "requirements/runtime.txt", "the function's runtime"),
}


class BrokenEnvironmentError(Exception):
    """An environment could not be made; the text says where, what, and what to try."""


def ensure(name: str, root: Path = ROOT) -> Path:
    """Return the Python of environment ``name``, making the environment first where it is missing or out of date.

    Raises BrokenEnvironmentError when pip cannot install the locked packages, and for a link in the folder's place.
    """
    environment = ENVIRONMENTS[name]
    folder, requirements = root / environment.folder, root / environment.requirements
    python = folder / "bin" / "python"
    base = find_newest_python() if name == "runtime" else sys.executable
    stamp = hashlib.sha256(requirements.read_bytes() + str(folder).encode()).hexdigest()
    if not _is_current(folder, stamp):
        with requirements.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_current(folder, stamp):
                _make(environment, folder, requirements, base, stamp)
    return python


def find_newest_python() -> str:
    """Return the newest Python from 3.11 to 3.14 that really starts; the running one when no other does.

    A name on PATH proves nothing (version managers leave stand-ins there), so each is asked for its version.
    """
    for name in NEWEST_FIRST:
        found = shutil.which(name)
        if (
            found
            and subprocess.run(
                [found, "-c", "import venv, ensurepip"], capture_output=True, check=False
            ).returncode
            == 0
        ):
            return found
    return sys.executable


def _is_current(folder: Path, stamp: str) -> bool:
    try:
        return (folder / STAMP).read_text() == stamp and (folder / "bin" / "python").exists()
    except OSError:
        return False


def _make(
    environment: Environment, folder: Path, requirements: Path, base: str, stamp: str
) -> None:
    if folder.is_symlink():  # to clear it would empty whatever it points at
        raise BrokenEnvironmentError(
            f"{environment.folder}: is a link to {folder.resolve()}, which is out of date and is not ours to empty.\n"
            f"Try: remove the link {environment.folder}, then run ./inv again."
        )
    start = time.monotonic()
    print(
        f"inv: making {environment.folder} for {environment.purpose} ...",
        file=sys.stderr,
        flush=True,
    )
    without = "install Python's venv module (Debian, Ubuntu: apt install python3-venv), then run ./inv again"
    _run(
        [base, "-m", "venv", "--clear", str(folder)],
        f"{environment.folder}: could not be made",
        without,
    )
    pip = [
        str(folder / "bin" / "python"),
        "-I",
        "-m",
        "pip",
        "install",
        "-qq",
        "--disable-pip-version-check",
    ]
    locked = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(requirements)]
    what = (
        f"{environment.folder}: the packages of {environment.requirements} could not be installed"
    )
    _run(
        pip + locked,
        what,
        "check that pip reaches its package index from this machine, then run ./inv again",
    )
    (folder / STAMP).write_text(stamp)
    print(
        f"inv: made {environment.folder} in {time.monotonic() - start:.0f} s",
        file=sys.stderr,
        flush=True,
    )


def _run(command: list[str], what: str, remedy: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise BrokenEnvironmentError(f"{what}:\n{said}\nTry: {remedy}.")


def main(arguments: list[str]) -> int:
    """Make the named environment and print the path of its Python; 2 when it cannot be made."""
    try:
        print(ensure(arguments[0]))
    except (BrokenEnvironmentError, OSError) as error:
        print(f"inv: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninv: interrupted; run the same command again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
