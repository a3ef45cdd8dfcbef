"""Builds the layer's files: Twilio's client and what it needs, from hash-locked pure wheels.

Data that few events need is in the layer too: the modules in layer/data.

A layer is a zip of packages that Lambda mounts beside the function's code. A pure wheel is a
package without compiled code, so one zip serves both processors and every Python.

The function sends a text by the client's own ``request``, so ``twilio.rest`` keeps only its
``Client``. The classes for Twilio's single products, nine tenths of the package, are left out:
using one raises ModuleNotFoundError.
"""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tooling import environment
from tooling.deploy import archive
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

DATA_FOLDER = "data"
PACKAGES_FOLDER = "python"  # Lambda: "Packaging your layer content"
EXCLUDED_PATTERNS = (
    "bin/*",
    "*.dist-info/RECORD",
    "*.dist-info/INSTALLER",
    "*.dist-info/REQUESTED",
    "*.dist-info/direct_url.json",
    "*/tests/*",
    "*.pyi",
    "twilio/rest/*",
    "twilio/twiml/*",  # XML for answers to calls
    "urllib3/contrib/emscripten/*",  # Python in a browser
)
INCLUDED_FILES = ("twilio/rest/__init__.py",)  # although a pattern above names it
LOCK_AGAIN = "lock the requirements again as layer/README.md says"
PIP_FAILURES = (  # text in pip's output, what it means, what to try
    (
        "DO NOT MATCH THE HASHES",
        "a downloaded file is not the one that was locked",
        "find out what the package index serves",
    ),
    (
        "No matching distribution",
        "a pinned package has no pure wheel on the package index",
        "pin a release that has one",
    ),
    ("Hashes are required", "a package has no hash", LOCK_AGAIN),
    ("versions pinned with ==", "a package is not pinned to one release", LOCK_AGAIN),
    (
        "No module named pip",
        "this Python has no pip",
        "run ./inv, which makes an environment with pip",
    ),
)
DOWNLOAD_FAILURE = (
    "the packages could not be downloaded",
    "check that pip reaches its package index from this machine, then run the same task again",
)


def list_data(requirements: Path) -> dict[str, Path]:
    """Return the layer's modules of data, by name: those in ``data`` beside the requirements."""
    folder = requirements.parent / DATA_FOLDER
    return archive.list_files(folder) if folder.is_dir() else {}


def read_inputs(requirements: Path) -> list[tuple[str, bytes]]:
    """Return all that the layer is built from, as names and contents, to compute its digest.

    That is the pinned requirements without comments, the modules of data, and the rules by which
    files are left out.
    Raises RefusedError if the file cannot be read or contains no pinned package.
    """
    try:
        text = requirements.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        remedy = "restore the file with git"
        raise RefusedError(str(requirements), "cannot be read", remedy) from error
    lines = [line.strip() for line in text.splitlines()]
    pins = "\n".join(line for line in lines if line and not line.startswith("#"))
    if not re.search(r"^\S+==", pins, re.MULTILINE):
        what = "holds no pinned package"
        raise RefusedError(str(requirements), what, "restore the file with git")
    rules = repr((PACKAGES_FOLDER, EXCLUDED_PATTERNS, INCLUDED_FILES))
    data = [(f"data/{name}", path.read_bytes()) for name, path in list_data(requirements).items()]
    return [("pins", pins.encode()), ("rules", rules.encode()), *data]


def build(requirements: Path, version: str, scratch: Path, folder: Path) -> None:
    """Put the layer's files for Python ``version`` (such as 3.14) into ``folder``.

    pip installs the pinned requirements into ``scratch``; what is needed at run time is copied.
    Raises RefusedError if pip cannot install them.
    """
    install(requirements, version, scratch)
    installed = archive.list_files(scratch)
    archive.copy(prune(installed), folder / PACKAGES_FOLDER)
    archive.copy(list_data(requirements), folder / PACKAGES_FOLDER)


def install(requirements: Path, version: str, folder: Path) -> None:
    """Install the pinned requirements with pip: pure wheels only, checked by their hashes.

    ``version`` is that of Python. Raises RefusedError if pip fails. Facts: pip documentation,
    "Secure installs".
    """
    command, variables = environment.pip_install_command(sys.executable)
    command += ["--quiet", "--no-input"]
    command += ["--require-hashes", "--no-deps", "--no-compile", "--only-binary", ":all:"]
    command += ["--platform", "any", "--implementation", "py", "--python-version", version]
    command += ["--target", str(folder), "-r", str(requirements)]
    process = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if process.returncode:
        output = (process.stderr or process.stdout).strip()
        what, remedy = _explain_failure(output)
        where = f"{requirements.parent.name}/{requirements.name}"
        raise RefusedError(where, f"{what}; pip said:\n{output}", remedy)


def _explain_failure(output: str) -> tuple[str, str]:
    """Return what pip's output means, and what to try.

    An unknown failure counts as a failed download, because that has no fixed text in pip's output.
    """
    # pip could not connect; it then also prints "No matching distribution", which would mislead.
    if "Retrying (" in output:
        return DOWNLOAD_FAILURE
    for text, what, remedy in PIP_FAILURES:
        if text in output:
            return what, remedy
    return DOWNLOAD_FAILURE


def prune(files: dict[str, Path]) -> dict[str, Path]:
    """Return those of the installed files, by relative name, that are needed at run time."""
    return {name: path for name, path in files.items() if _is_needed(name)}


def _is_needed(name: str) -> bool:
    """Return whether a file is needed at run time, by its name relative to the packages' folder."""
    if name in INCLUDED_FILES:
        return True
    return not any(fnmatch.fnmatchcase(name, pattern) for pattern in EXCLUDED_PATTERNS)
