"""The two zips of a deployment: the function's code and its layer.

Stages: read the runtime from the template -> digest the inputs -> reuse the zip of the same digest, or make it
(copy or install -> byte-code where the runtime's interpreter is at hand -> zip). The key says what is inside:
``function/<digest of the inputs>-<variant>.zip``; the variant is ``cp314`` with byte-code of Python 3.14, or
``plain``.
Byte-code makes a cold start several times faster; a zip without it works just as well.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tooling import templates
from tooling.deploy import archive, layer
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    Find = Callable[[str], str | None]
    Announce = Callable[[str], None]

FUNCTION_TYPES = ("AWS::Lambda::Function", "AWS::Serverless::Function")
CODE_MOUNT, LAYER_MOUNT = "/var/task", "/opt"  # Lambda: "Lambda execution environment"


@dataclass(frozen=True)
class Artifact:
    """One zip: ``key`` is its place in the artifact bucket, ``digest`` its inputs', ``sha256`` its bytes'."""

    path: Path
    key: str
    digest: str
    variant: str
    sha256: str
    size: int

    @property
    def checksum(self) -> str:
        """The SHA-256 of the zip in base64, as S3's ChecksumSHA256 wants it."""
        return base64.b64encode(bytes.fromhex(self.sha256)).decode()


@dataclass(frozen=True)
class Artifacts:
    """What a deployment uploads."""

    code: Artifact
    layer: Artifact


@dataclass(frozen=True)
class Target:
    """The Lambda runtime (``python3.14``), and an interpreter of the same minor version where one starts here."""

    runtime: str
    interpreter: str | None

    @property
    def version(self) -> str:
        """The version alone: ``3.14``."""
        return self.runtime.removeprefix("python")

    @property
    def variant(self) -> str:
        """``cp314`` for zips with byte-code, ``plain`` for those without."""
        return f"cp{self.version.replace('.', '')}" if self.interpreter else "plain"


def find_interpreter(version: str) -> str | None:
    """Return a CPython of this minor version that really starts: the running one, or one on PATH; None without one.

    A name on PATH proves nothing (version managers leave stand-ins there), so each is asked what it is.
    """
    wanted = f"cpython-{version.replace('.', '')}"
    if sys.implementation.cache_tag == wanted:
        return sys.executable
    named = (shutil.which(f"python{version}", path=folder) for folder in os.get_exec_path())
    return next((found for found in named if found and _cache_tag(found) == wanted), None)


def _cache_tag(interpreter: str) -> str:
    command = [interpreter, "-I", "-c", "import sys; print(sys.implementation.cache_tag)"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def runtime_of(template: Path) -> str:
    """Return the Python runtime that the template's functions share; RefusedError when they name none, or several."""
    resources = templates.load(template).get("Resources", {}).values()
    functions = [resource for resource in resources if resource.get("Type") in FUNCTION_TYPES]
    named = {str(function.get("Properties", {}).get("Runtime")) for function in functions}
    if len(named) != 1 or not re.fullmatch(r"python3\.\d+", (runtime := named.pop())):
        what = "does not name one Python runtime for all functions"
        raise RefusedError(
            str(template), what, "write Runtime: python3.N, the same for each function"
        )
    return runtime


def build(
    root: Path,
    dist: Path,
    *,
    announce: Announce,
    runtime: str | None = None,
    interpreter: Find = find_interpreter,
) -> Artifacts:
    """Make the zips of the checkout ``root`` below ``dist``, or reuse those made before from the same inputs.

    runtime: in place of the template's; interpreter: how to find the runtime's interpreter. Two builds at once do
    not disturb each other. Raises RefusedError for missing inputs, FailedError when pip or the compiler fails.
    """
    named = runtime or runtime_of(root / "cfn" / "lambda.yaml")
    target = Target(named, interpreter(named.removeprefix("python")))
    dist.mkdir(parents=True, exist_ok=True)
    return Artifacts(
        _code(root / "lambda", dist, target), _layer(root / "layer", dist, target, announce)
    )


def _code(sources: Path, dist: Path, target: Target) -> Artifact:
    found = archive.list_files(sources)
    if not found:
        raise RefusedError(str(sources), "holds no file", "restore the folder with git")
    contents = [(name, path.read_bytes()) for name, path in found.items()]

    def fill(_scratch: Path, tree: Path) -> None:
        archive.copy(found, tree)

    return _artifact("function", dist, target, contents, fill, CODE_MOUNT)


def _layer(folder: Path, dist: Path, target: Target, announce: Announce) -> Artifact:
    requirements = folder / "requirements.txt"

    def fill(scratch: Path, tree: Path) -> None:
        layer.make(requirements, target.version, scratch, tree, announce=announce)
        if target.interpreter:
            announce(f"layer: compiling for Python {target.version}")

    return _artifact("layer", dist, target, layer.inputs(requirements), fill, LAYER_MOUNT)


def _artifact(
    kind: str,
    dist: Path,
    target: Target,
    inputs: list[tuple[str, bytes]],
    fill: Callable[[Path, Path], None],
    mounted: str,
) -> Artifact:
    """Reuse or make one zip; ``fill(scratch, tree)`` puts the files into ``tree`` and may use ``scratch``."""
    digest = archive.digest([*inputs, ("runtime", target.runtime.encode())])
    key = f"{kind}/{digest}-{target.variant}.zip"
    path = dist / key
    checksum = archive.verify(path)
    if checksum is None:
        with tempfile.TemporaryDirectory(dir=dist, prefix=".package-") as made:
            tree = Path(made) / "tree"
            tree.mkdir()
            fill(Path(made) / "scratch", tree)
            if target.interpreter:
                archive.compile_tree(target.interpreter, tree, mounted)
            checksum = archive.write(tree, path)
    return Artifact(path, key, digest, target.variant, checksum, path.stat().st_size)
