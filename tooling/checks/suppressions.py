"""What would keep a tool of the scan from saying what it sees: settings beside ours, and marks in the sources."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tooling import templates
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = (".checkov.yml", ".cfnlintrc", ".cfnlintrc.yaml", ".cfnlintrc.yml", ".shellcheckrc")
CHECKOV = ".checkov.yaml"  # the one file of settings that checkov is given
HARMLESS = {"compact", "quiet"}  # its settings that hide no finding
PRAGMA = "pragma: " + "allowlist"  # in two parts, so that this line is none


def places(root: Path) -> Iterator[str]:
    """Yield a sentence for each thing in the repository at ``root`` that could hide a finding."""
    for name in SETTINGS:
        if (root / name).exists():
            yield f"{name}: could hide findings: take it out"
    if (root / CHECKOV).exists():
        yield from checkov_settings((root / CHECKOV).read_text(encoding="utf-8", errors="replace"))
    for path in sorted((root / "cfn").glob("*.yaml")):
        if _has_settings(path):
            yield f"{path.relative_to(root)}: has settings for cfn-lint in its Metadata, which could hide findings"
    for path in sources(root):
        if PRAGMA in path.read_text(encoding="utf-8", errors="replace"):
            yield f"{path.relative_to(root)}: a mark keeps secrets from being found in it"


def checkov_settings(text: str) -> list[str]:
    """Return a sentence for each of checkov's settings in ``text`` that is not known to hide nothing."""
    try:
        names = sorted(set(yaml.safe_load(text) or {}) - HARMLESS)
    except (yaml.YAMLError, TypeError) as error:
        return [f"{CHECKOV}: cannot be read ({error})"]
    return [
        f"{CHECKOV}: {name} could hide findings; {', '.join(sorted(HARMLESS))} alone may stand there"
        for name in names
    ]


def sources(root: Path) -> Iterator[Path]:
    """Yield the files of the repository, without what is made in it."""
    for folder, folders, files in os.walk(root):
        made = (".git", ".terraform", "__pycache__", *(("dist",) if Path(folder) == root else ()))
        folders[:] = sorted(
            name for name in folders if name not in made and not name.startswith(".venv")
        )
        yield from (Path(folder) / name for name in sorted(files))


def _has_settings(path: Path) -> bool:
    try:
        return '"cfn-lint"' in json.dumps(templates.load(path), default=str)
    except RefusedError:  # which is a finding of the tools that read it
        return False
