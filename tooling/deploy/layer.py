"""The layer: Twilio's client and what it needs, from hash-locked pure wheels, pruned to the synchronous client.

Pure wheels alone make one zip for both processors and every Python. Of ``twilio.rest`` only ``api`` stays, the part
that sends and reads messages: the other products are four fifths of the package and nothing here imports them.
The client imports each product when it is first used, so what is missing shows as ModuleNotFoundError there and then.
"""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tooling.deploy import archive
from tooling.errors import FailedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PACKAGES = "python"  # where Lambda looks for a layer's Python packages (Lambda: "Packaging your layer content")
PRUNED = (
    "bin/*",
    "*.dist-info/RECORD",
    "*.dist-info/INSTALLER",
    "*.dist-info/REQUESTED",
    "*.dist-info/direct_url.json",
    "*/tests/*",
    "*.pyi",
    "twilio/rest/*",
)
KEPT = ("twilio/rest/__init__.py", "twilio/rest/api/*")  # of what PRUNED names
CAUSES = (
    (
        "DO NOT MATCH THE HASHES",
        "a download is not the file that was locked",
        "find out what the package index serves",
    ),
    (
        "No matching distribution",
        "a pinned package has no pure wheel on the package index",
        "pin a release that has",
    ),
    ("Hashes are required", "a package has no hash", "lock it again as layer/README.md says"),
    (
        "versions pinned with ==",
        "a package is not pinned to one release",
        "lock it again as layer/README.md says",
    ),
    (
        "No module named pip",
        "this Python has no pip",
        "run ./inv, which makes an environment with pip",
    ),
)
OFFLINE = (
    "could not be downloaded",
    "check that pip reaches its package index from this machine, then run it again",
)


def inputs(requirements: Path) -> list[tuple[str, bytes]]:
    """Return what the layer is made from, named for a digest: the pins and the pruning rules; comments do not count.

    Raises RefusedError when the pins are missing.
    """
    try:
        text = requirements.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(
            str(requirements), "cannot be read", "restore the file with git"
        ) from error
    lines = [line.strip() for line in text.splitlines()]
    pins = "\n".join(line for line in lines if line and not line.startswith("#"))
    if not re.search(r"^\S+==", pins, re.MULTILINE):
        raise RefusedError(
            str(requirements), "holds no pinned package", "restore the file with git"
        )
    return [("pins", pins.encode()), ("rules", repr((PACKAGES, PRUNED, KEPT)).encode())]


def make(
    requirements: Path,
    version: str,
    scratch: Path,
    folder: Path,
    *,
    announce: Callable[[str], None],
) -> None:
    """Install the pins for Python ``version`` into ``scratch`` and copy what the function needs to ``folder``.

    Raises FailedError when pip cannot install them.
    """
    announce(f"layer: installing the pins of {requirements.parent.name}/{requirements.name}")
    install(requirements, version, scratch)
    archive.copy(prune(archive.list_files(scratch)), folder / PACKAGES)


def install(requirements: Path, version: str, folder: Path) -> None:
    """Let pip install the pins, pure wheels only, each checked against its hash (pip: "Secure installs")."""
    pip = [
        sys.executable,
        "-I",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
    ]
    locked = ["--require-hashes", "--no-deps", "--no-compile", "--only-binary", ":all:"]
    for_runtime = ["--platform", "any", "--implementation", "py", "--python-version", version]
    where = ["--target", str(folder), "-r", str(requirements)]
    done = subprocess.run(
        pip + locked + for_runtime + where, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise _failure(requirements, (done.stderr or done.stdout).strip())


def _failure(requirements: Path, said: str) -> FailedError:
    known = [(what, remedy) for sign, what, remedy in CAUSES if sign in said]
    unreachable = (
        "Retrying (" in said
    )  # pip says so of each connection that failed; "no match" is what follows
    what, remedy = OFFLINE if unreachable or not known else known[0]
    return FailedError(
        f"{requirements.parent.name}/{requirements.name}", f"{what}; pip said:\n{said}", remedy
    )


def prune(found: dict[str, Path]) -> dict[str, Path]:
    """Return the files that belong into the layer."""
    return {
        name: path
        for name, path in found.items()
        if _matches(name, KEPT) or not _matches(name, PRUNED)
    }


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
