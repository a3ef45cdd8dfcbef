"""Builds the two zips of a deployment: the function's code and its layer (the packages it needs).

A zip is named by its key in the bucket: ``function/<digest>-<variant>-<sha256>.zip``. The digest is
that of the inputs, which are the names and contents of all files that it is built from. The variant
is ``cp314`` if the zip contains byte-code of Python 3.14. It is ``plain`` if this machine has no
such interpreter: the function then starts more slowly, and works as well. The SHA-256 is that of
the zip's bytes, which also depend on the machine's zlib.
"""

from __future__ import annotations

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
from tooling.progress import Ongoing

if TYPE_CHECKING:
    from collections.abc import Callable

    FindInterpreter = Callable[[str], str | None]
    Announce = Callable[[str], None]

FUNCTION_TYPES = ("AWS::Lambda::Function", "AWS::Serverless::Function")
CODE_MOUNT_PATH = "/var/task"  # Lambda: "Lambda execution environment"
LAYER_MOUNT_PATH = "/opt"
PLAIN = "plain"
KEY = re.compile(
    r"(?P<kind>function|layer)/(?P<digest>[0-9a-f]{32})"
    r"-(?P<variant>plain|cp[0-9]+)-(?P<sha256>[0-9a-f]{64})\.zip"
)


@dataclass(frozen=True)
class ArtifactKey:
    """The parts of a zip's key in the artifact bucket; ``kind`` is function or layer."""

    kind: str
    digest: str
    variant: str
    sha256: str

    @classmethod
    def parse(cls, text: str) -> ArtifactKey | None:
        """Return the parts of a key; None when it has another form."""
        match = KEY.fullmatch(text)
        return cls(**match.groupdict()) if match else None

    def __str__(self) -> str:
        return f"{self.kind}/{self.digest}-{self.variant}-{self.sha256}.zip"


@dataclass(frozen=True)
class Artifact:
    """One zip on this machine."""

    path: Path
    key: ArtifactKey

    @property
    def size(self) -> int:
        """The size of the zip in bytes."""
        return self.path.stat().st_size


@dataclass(frozen=True)
class Artifacts:
    """The two zips that a deployment uploads."""

    code: Artifact
    layer: Artifact


@dataclass(frozen=True)
class Target:
    """The Python for which the zips are built."""

    runtime: str  # Lambda's name of it: python3.14
    interpreter: str | None  # the path of such a Python on this machine, if there is one

    @property
    def version(self) -> str:
        """The version alone: ``3.14``."""
        return self.runtime.removeprefix("python")

    @property
    def variant(self) -> str:
        """``cp314`` for zips with byte-code, ``plain`` for those without."""
        return f"cp{self.version.replace('.', '')}" if self.interpreter else PLAIN


def find_interpreter(version: str) -> str | None:
    """Return the path of a CPython of ``version`` (such as 3.14), or None if there is none.

    It is the running one, or one on PATH. A name on PATH proves nothing (version managers put
    stand-ins there), so each one is run.
    """
    cache_tag = f"cpython-{version.replace('.', '')}"
    if sys.implementation.cache_tag == cache_tag:
        return sys.executable
    for folder in os.get_exec_path():
        interpreter = shutil.which(f"python{version}", path=folder)
        if interpreter and _read_cache_tag(interpreter) == cache_tag:
            return interpreter
    return None


def _read_cache_tag(interpreter: str) -> str:
    """Run a Python and return the tag of its byte-code, "cpython-314"; "" if it does not start."""
    command = [interpreter, "-I", "-c", "import sys; print(sys.implementation.cache_tag)"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout.strip()


def read_runtime(template: Path) -> str:
    """Return the runtime that all Lambda functions of the template share, such as python3.14.

    Raises RefusedError when they name none, several, or another language.
    """
    resources = templates.load(template).get("Resources", {}).values()
    functions = [resource for resource in resources if resource.get("Type") in FUNCTION_TYPES]
    runtimes = list({str(function.get("Properties", {}).get("Runtime")) for function in functions})
    if len(runtimes) != 1 or not re.fullmatch(r"python3\.\d+", runtimes[0]):
        what = "does not name one Python runtime for all functions"
        remedy = "write Runtime: python3.N, the same for each function"
        raise RefusedError(str(template), what, remedy)
    return runtimes[0]


def build(
    root: Path,
    dist: Path,
    *,
    announce: Announce,
    runtime: str | None = None,
    find_interpreter: FindInterpreter = find_interpreter,
) -> Artifacts:
    """Build the zips of the checkout ``root`` below ``dist``, or reuse those of the same inputs.

    ``runtime`` replaces that of the template. Two builds may run at once.
    Raises RefusedError for missing inputs, FailedError when pip or the compiler fails.
    """
    runtime = runtime or read_runtime(root / "cfn" / "lambda.yaml")
    target = Target(runtime, find_interpreter(runtime.removeprefix("python")))
    code = _build_code(root / "lambda", dist, target)
    return Artifacts(code, _build_layer(root / "layer", dist, target, announce))


def _build_code(sources: Path, dist: Path, target: Target) -> Artifact:
    """Build the function's zip, or reuse the one built from the same inputs."""
    files = archive.list_files(sources)
    if not files:
        raise RefusedError(str(sources), "holds no file", "restore the folder with git")
    inputs = [(name, path.read_bytes()) for name, path in files.items()]

    def add_files(_scratch: Path, tree: Path) -> None:
        """Put the function's code into ``tree``."""
        archive.copy(files, tree)
        archive.blank_documentation(tree)  # a third of the zip, and a cold start would read it

    return _reuse_or_build("function", dist, target, inputs, add_files, CODE_MOUNT_PATH)


def _build_layer(folder: Path, dist: Path, target: Target, announce: Announce) -> Artifact:
    """Build the layer's zip, or reuse the one built from the same inputs."""
    requirements = folder / "requirements.txt"

    def add_files(scratch: Path, tree: Path) -> None:
        """Put the layer's packages into ``tree``; pip uses ``scratch``."""
        announce(Ongoing("layer: installing the pins of layer/requirements.txt"))
        layer.build(requirements, target.version, scratch, tree)

    inputs = layer.read_inputs(requirements)
    return _reuse_or_build("layer", dist, target, inputs, add_files, LAYER_MOUNT_PATH, announce)


def _reuse_or_build(
    kind: str,
    dist: Path,
    target: Target,
    inputs: list[tuple[str, bytes]],
    add_files: Callable[[Path, Path], None],
    mount_path: str,
    announce: Announce | None = None,
) -> Artifact:
    """Return the zip of these inputs: one that was built before, or else a new one.

    ``add_files(scratch, tree)`` puts the zip's files into the folder ``tree``, and may use the
    folder ``scratch``. Lambda mounts the files at ``mount_path``.
    """
    builder = Path(archive.__file__).read_bytes()  # an input: if it changes, so may the zip
    digest = archive.digest([*inputs, ("runtime", target.runtime.encode()), ("builder", builder)])
    artifact = _find_built(dist, kind, digest, target.variant)
    if artifact:
        return artifact
    dist.mkdir(parents=True, exist_ok=True)
    # The folder is this build's own; moving the zip to its place is one step. So two builds may
    # run at once.
    with tempfile.TemporaryDirectory(dir=dist, prefix=".package-") as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        add_files(Path(folder) / "scratch", tree)
        if target.interpreter:
            if announce:
                announce(Ongoing(f"{kind}: compiling for Python {target.version}"))
            archive.compile_tree(target.interpreter, tree, mount_path)
        new_zip = Path(folder) / "new.zip"
        archive.write(tree, new_zip)
        sha256 = archive.compute_sha256(new_zip)
        key = ArtifactKey(kind, digest, target.variant, sha256)
        path = dist / str(key)
        path.parent.mkdir(exist_ok=True)
        new_zip.replace(path)
    return Artifact(path, key)


def _find_built(dist: Path, kind: str, digest: str, variant: str) -> Artifact | None:
    """Return a zip that was built before and whose content is unchanged; None if there is none."""
    for path in sorted(dist.glob(f"{kind}/{digest}-{variant}-*.zip")):
        key = ArtifactKey.parse(path.relative_to(dist).as_posix())
        if key and archive.compute_sha256(path) == key.sha256:
            return Artifact(path, key)
    return None
