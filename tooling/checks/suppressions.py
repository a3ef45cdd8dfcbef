"""Finds what could hide a finding of the scan: tools' settings, and comments in the sources."""

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

CHECKOV_SETTINGS = ".checkov.yaml"  # the only settings file that is passed to checkov
HARMLESS_SETTINGS = {"compact", "quiet"}  # settings of checkov that hide no finding
FORBIDDEN_FILES = (
    ".checkov.yml",
    ".cfnlintrc",
    ".cfnlintrc.yaml",
    ".cfnlintrc.yml",
    ".shellcheckrc",
)
SECRET_SUPPRESSION = "pragma: " + "allowlist"  # in two parts, so that this line is not one
GENERATED_FOLDERS = (".git", ".terraform", "__pycache__")


def find_suppressions(root: Path) -> Iterator[str]:
    """Yield a sentence for each thing in the repository at ``root`` that could hide a finding."""
    for name in FORBIDDEN_FILES:
        if (root / name).exists():
            yield f"{name}: could hide findings; delete it"
    settings = root / CHECKOV_SETTINGS
    if settings.exists():
        yield from check_settings(settings.read_text(encoding="utf-8", errors="replace"))
    for path in sorted((root / "cfn").glob("*.yaml")):
        if _has_cfn_lint_settings(path):
            name = path.relative_to(root).as_posix()
            yield f"{name}: its Metadata has settings for cfn-lint, which could hide findings"
    for path in source_files(root):
        if SECRET_SUPPRESSION in path.read_text(encoding="utf-8", errors="replace"):
            yield f"{path.relative_to(root)}: a comment suppresses the search for secrets in it"


def check_settings(text: str) -> list[str]:
    """Return a sentence for each of checkov's settings in ``text`` that could hide findings."""
    try:
        names = sorted(set(yaml.safe_load(text) or {}) - HARMLESS_SETTINGS)
    except (yaml.YAMLError, TypeError) as error:
        return [f"{CHECKOV_SETTINGS}: cannot be read ({error})"]
    allowed = ", ".join(sorted(HARMLESS_SETTINGS))
    return [
        f"{CHECKOV_SETTINGS}: {name} could hide findings; only {allowed} are allowed"
        for name in names
    ]


def source_files(root: Path) -> Iterator[Path]:
    """Yield the files of the repository, without generated ones."""
    for folder, subfolders, files in os.walk(root):
        generated = {*GENERATED_FOLDERS, "dist"} if Path(folder) == root else GENERATED_FOLDERS
        # os.walk enters only the folders that stay in this list.
        subfolders[:] = sorted(
            name for name in subfolders if name not in generated and not name.startswith(".venv")
        )
        yield from (Path(folder) / name for name in sorted(files))


def _has_cfn_lint_settings(path: Path) -> bool:
    """Return whether the template at ``path`` has "cfn-lint" as a key, or as a whole value.

    cfn-lint reads the key below Metadata only, but nothing else needs the word.
    """
    try:
        return '"cfn-lint"' in json.dumps(templates.load(path), default=str)
    except RefusedError:  # the tools that read templates report it
        return False
