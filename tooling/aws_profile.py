"""Reads the AWS configuration of this machine: the files, a profile's options, and its Region."""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Variable that names a file, and where the file is without it (AWS SDKs and Tools reference guide,
# "Location of the shared config and credentials files").
FILES = {
    "AWS_CONFIG_FILE": "~/.aws/config",
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
}
PROFILE_VARIABLES = ("AWS_DEFAULT_PROFILE", "AWS_PROFILE")  # the order of boto3
REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")  # the order of the AWS CLI
KEY_VARIABLE = "AWS_ACCESS_KEY_ID"
CONTAINER_VARIABLES = (
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)
BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class Profile:
    """A profile of the AWS configuration, as far as it can be read.

    ``variable`` is the environment variable that chose it, if one did. ``is_chosen``: a flag or
    signwatch.toml chose it; keys in the environment then do not count. ``options`` are those of the
    files; ``source`` is the profile that its ``source_profile`` leads to in the end, or itself.
    """

    name: str
    variable: str | None = None
    is_chosen: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    source: Profile | None = None
    known_names: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the profile as messages name it."""
        return f"profile {self.name!r}" + (f" ({self.variable})" if self.variable else "")

    @property
    def uses_environment(self) -> bool:
        """Whether keys in the environment are used in place of the profile."""
        return not self.is_chosen and KEY_VARIABLE in os.environ

    def find_source_profile(self) -> Profile:
        """Return the profile whose credentials are used: its own, or that of ``source_profile``."""
        return self.source or self


@dataclass(frozen=True)
class FileProblem:
    """A file of the AWS configuration that cannot be used: its path, and a sentence on why."""

    path: str
    what: str
    remedy: str


def read_profile(chosen: str | None) -> Profile:
    """Return the profile that boto3 uses if ``chosen`` is given to it; raises nothing."""
    variable = next((name for name in PROFILE_VARIABLES if name in os.environ), None)
    name = chosen or (os.environ[variable] if variable else "default")
    profiles = _read_profiles()
    source_name, visited = name, list[str]()
    while (following := profiles.get(source_name, {}).get("source_profile")) in profiles:
        visited.append(source_name)
        if following in visited:
            break
        source_name = following
    source = Profile(source_name, options=profiles.get(source_name, {}))
    return Profile(
        name,
        variable=None if chosen else variable,
        is_chosen=bool(chosen),
        options=profiles.get(name, {}),
        source=source if source_name != name else None,
        known_names=tuple(profiles),
    )


def _read_profiles() -> dict[str, dict[str, str]]:
    """Return the options of every profile in both files, by its name; none if they are broken."""
    import botocore.session

    try:
        profiles = botocore.session.Session().full_config["profiles"]
    except Exception:  # noqa: BLE001 - whoever opens the account reports it; here it only informs
        return {}
    return dict(profiles)


def find_region(chosen: str | None) -> tuple[str, str] | None:
    """Return the Region that the environment or a profile names, and where it is written.

    Such as ("eu-central-1", "AWS_REGION"). None if there is none.
    Raises what botocore raises for an unknown profile or a broken file.
    """
    import botocore.session

    for variable in REGION_VARIABLES:
        if region := os.environ.get(variable, "").strip():
            return region, variable
    session = botocore.session.Session(profile=chosen)
    region = session.get_scoped_config().get("region")
    if not isinstance(region, str) or not region:
        return None
    return region, f"profile {session.profile or 'default'}"


def locate_files() -> dict[str, Path]:
    """Return the path of each file of the AWS configuration by the variable that names it."""
    return {
        variable: Path(os.path.expandvars(os.environ.get(variable) or default)).expanduser()
        for variable, default in FILES.items()
    }


def find_file_problem() -> FileProblem | None:
    """Return what is wrong with the files of the AWS configuration; None if nothing is.

    botocore skips a file that it cannot open, and names no place in one that it cannot parse.
    """
    files = locate_files()
    has_file = any(path.exists() for path in files.values())
    for variable, path in files.items():
        if problem := _check_file(path):
            remedy = f"correct this file, or name another in {variable}"
            return FileProblem(str(path), problem, remedy)
        if variable in os.environ and not has_file:
            what = f"names {path}, which does not exist"
            return FileProblem(variable, what, "correct the variable, or unset it")
    return None


def _check_file(path: Path) -> str:
    """Return what is wrong with a file of the AWS configuration; "" if nothing is."""
    if path.is_dir():
        return "is a folder, and not a file"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    except UnicodeDecodeError as error:
        return f"is not UTF-8 ({error})"
    return _check_text(text, path)


def _check_text(text: str, path: Path) -> str:
    """Return what is wrong with the text of the file at ``path``; "" if nothing is."""
    if text.startswith(BYTE_ORDER_MARK):
        return "begins with a byte order mark: save it as UTF-8 without one"
    try:
        configparser.RawConfigParser(default_section="").read_string(text, str(path))
    except configparser.Error as error:
        return f"cannot be parsed ({_join_lines(error)})"
    return ""


def _join_lines(error: Exception) -> str:
    """Return the message of an error as one line."""
    return " ".join(str(error).split())
