"""A Lambda function: its configuration, and its deployment package and how it is unpacked."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Package:
    """A function's deployment package and its layers in order: zip files, as paths or as bytes."""

    code: bytes | str | Path
    layers: Sequence[bytes | str | Path] = ()


@dataclass(frozen=True)
class Function:
    """A function's configuration.

    ``environment`` is added to the variables that Lambda reserves (Lambda docs, "Defined runtime
    environment variables"); of those, it can set the credentials only.
    """

    name: str
    account: str
    region: str
    handler: str
    version: str = "$LATEST"
    memory_mb: int = 128
    timeout_seconds: float = 3.0
    environment: Mapping[str, str] = field(default_factory=dict)
    log_group: str = ""

    @property
    def arn(self) -> str:
        """The function's ARN, without a version."""
        return f"arn:aws:lambda:{self.region}:{self.account}:function:{self.name}"

    @property
    def log_group_name(self) -> str:
        """The configured log group, or Lambda's default."""
        return self.log_group or f"/aws/lambda/{self.name}"


def unpack(package: Package, root: Path) -> None:
    """Unpack the code to ``root/task``, and the layers, one over the other, to ``root/opt``.

    Raises OSError or BadZipFile if that fails; then nothing is left of ``root``.
    """
    task, opt = root / "task", root / "opt"
    try:
        task.mkdir(parents=True)
        opt.mkdir()
        _extract(package.code, task)
        for layer in package.layers:
            _extract(layer, opt)
    except BaseException:
        remove_root(root)
        raise


def remove_root(root: Path) -> None:
    """Remove the folder that a function was unpacked to, and its parent if that is empty then."""
    shutil.rmtree(root)
    with suppress(OSError):
        root.parent.rmdir()


def _extract(archive: bytes | str | Path, folder: Path) -> None:
    """Extract a zip file, given as a path or as bytes, and set the permissions of its files."""
    source = io.BytesIO(archive) if isinstance(archive, bytes) else archive
    with zipfile.ZipFile(source) as content:
        for entry in content.infolist():
            path = content.extract(entry, folder)  # without the permissions
            mode = entry.external_attr >> 16 & 0o777  # the upper 16 bits are Unix's file mode
            if mode and not entry.is_dir():
                os.chmod(path, mode)  # noqa: PTH101 - extract returns a string
