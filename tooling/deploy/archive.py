"""Zips whose bytes follow from their content alone: the same files give the same zip on every machine.

Entries are sorted, carry one date, owner system and mode, and are stored, not compressed: what deflate makes of a
file depends on the zlib that the machine's Python was built with, and an uploaded zip is compared by its checksum.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from tooling.errors import FailedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first date that a zip can hold
UNIX = 3
DIGEST_LENGTH = 32


def digest(parts: Iterable[tuple[str, bytes]]) -> str:
    """Return a digest of named contents; their order does not count."""
    total = hashlib.sha256()
    for name, content in sorted(parts):
        total.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return total.hexdigest()[:DIGEST_LENGTH]


def list_files(folder: Path) -> dict[str, Path]:
    """Return the files below ``folder`` by their relative name, without byte-code, hidden files and editors' copies."""
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {name: path for name, path in found.items() if not _is_litter(name)}


def _is_litter(name: str) -> bool:
    parts = name.split("/")
    return (
        "__pycache__" in parts
        or name.endswith((".pyc", "~"))
        or any(part.startswith(".") for part in parts)
    )


def copy(chosen: Mapping[str, Path], folder: Path) -> None:
    """Copy files to ``folder`` under their relative names."""
    for name, path in chosen.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def compile_tree(interpreter: str, folder: Path, mounted: str) -> None:
    """Add the byte-code of ``interpreter`` to ``folder``, which Lambda mounts at ``mounted``.

    Unchecked-hash byte-code holds no times and is never compared with its source (Python: "Cached bytecode
    invalidation"); the builder's paths are replaced by the mounted ones. Raises FailedError.
    """
    folder = folder.resolve()
    command = [interpreter, "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    where = ["-s", str(folder), "-p", mounted, str(folder)]
    done = subprocess.run(command + where, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        raise FailedError(
            "byte-code", f"{interpreter} could not compile:\n{said}", "mend the source named above"
        )


def write(folder: Path, target: Path) -> str:
    """Zip all files of ``folder`` as ``target``, in one step for whoever reads it; return the zip's SHA-256 in hex."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as scratch:
        unfinished = Path(scratch) / target.name
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                archive.writestr(_entry(path.relative_to(folder).as_posix()), path.read_bytes())
        checksum = hashlib.sha256(unfinished.read_bytes()).hexdigest()
        note = Path(scratch) / "checksum"
        note.write_text(checksum)
        os.replace(unfinished, target)  # noqa: PTH105 - says that an older file is replaced
        os.replace(note, checksum_path(target))  # noqa: PTH105 - as above
    return checksum


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EARLIEST)
    entry.create_system = UNIX
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    return entry


def checksum_path(target: Path) -> Path:
    """Return where the checksum of ``target`` is noted."""
    return target.with_name(target.name + ".sha256")


def verify(target: Path) -> str | None:
    """Return the SHA-256 of a zip made before, or None when there is none or it is not what was written."""
    try:
        noted = checksum_path(target).read_text()
        checksum = hashlib.sha256(target.read_bytes()).hexdigest()
    except OSError:
        return None
    return checksum if checksum == noted else None
