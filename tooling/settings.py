"""What a run is about: which profile, account, Region and prefix, and which stack parameters the user chose.

Precedence: flags > signwatch.toml > the live stack's value > the template's default. This module settles the first
two; the last two are met in tooling.stack, where the live stack is known.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooling import terraform
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = "signwatch.toml"
KEYS = {
    "profile": str,
    "account": str,
    "region": str,
    "prefix": str,
    "parameters": dict,
    "bootstrap": dict,
}
ACCOUNT = re.compile(r"[0-9]{12}")
REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")
PREFIX = re.compile(r"(?=.{3,20}\Z)[a-z](-?[a-z0-9])+")
# SSM refuses parameter names that begin with the first two (Systems Manager API, "PutParameter"),
# S3 bucket names that begin with the others (user guide, "General purpose bucket naming rules").
# S3 refuses xn-- too: PREFIX allows no two hyphens in a row.
RESERVED_PREFIXES = ("aws", "ssm", "sthree", "amzn-s3-demo")


@dataclass(frozen=True)
class Settings:
    """One run's settings. ``parameters`` holds only what the user chose, ``bootstrap`` Terraform variables."""

    account: str
    region: str
    prefix: str
    profile: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    bootstrap: Mapping[str, Any] = field(default_factory=dict)
    root: Path = ROOT

    @property
    def stack(self) -> str:
        """The root stack is named like the prefix."""
        return self.prefix

    @classmethod
    def load(
        cls,
        *,
        profile: str | None = None,
        account: str | None = None,
        region: str | None = None,
        prefix: str | None = None,
        config: str | None = None,
        assignments: Sequence[str] = (),
        root: Path = ROOT,
    ) -> Settings:
        """Join flags and the configuration file; ``assignments`` are ``Name=Value`` texts.

        Raises RefusedError for a file that cannot be read, an unknown key, or a value of the wrong shape.
        """
        file = _read(config, root)
        defaults = terraform.load_defaults(root / "terraform-bootstrap")
        _check_variables(
            file.get("bootstrap", {}),
            {k: v for k, v in defaults.items() if k not in ("region", "prefix")},
        )
        settings = cls(
            account=account or file.get("account", ""),
            region=region or file.get("region") or defaults["region"],
            prefix=prefix or file.get("prefix") or defaults["prefix"],
            profile=profile or file.get("profile"),
            parameters={**_texts(file.get("parameters", {})), **_assigned(assignments)},
            bootstrap=file.get("bootstrap", {}),
            root=root,
        )
        return _checked(settings)


def parameters(config: str | None = None, *, root: Path = ROOT) -> dict[str, str]:
    """Return the stack's parameters in the configuration file alone, for a word that needs no account.

    Raises RefusedError as Settings.load does.
    """
    return _texts(_read(config, root).get("parameters", {}))


def _read(config: str | None, root: Path) -> dict[str, Any]:
    path = Path(config) if config else root / CONFIGURATION
    if not config and not path.exists():
        return {}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RefusedError(
            str(path), f"cannot be read ({error})", "compare it with signwatch.example.toml"
        ) from error
    except RecursionError as error:
        raise RefusedError(
            str(path), "nests too deeply", "compare it with signwatch.example.toml"
        ) from error
    for key, value in found.items():
        if key not in KEYS or not isinstance(value, KEYS[key]):
            what = f"`{key}` is not a key, or not of the right kind"
            raise RefusedError(
                str(path), what, f"use {', '.join(KEYS)} as in signwatch.example.toml"
            )
    return found


def _check_variables(chosen: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Terraform passes over a variable that it does not know; a misspelt one would then trust somebody else."""
    for name, value in chosen.items():
        if name not in defaults:
            remedy = f"use {', '.join(sorted(defaults))} as in signwatch.example.toml"
            raise RefusedError(f"[bootstrap] {name}", "is not a variable that is set there", remedy)
        if not _is_like(value, defaults[name]):
            what = f"is {value!r}, and takes a value like {defaults[name]!r}"
            raise RefusedError(f"[bootstrap] {name}", what, "write it as in signwatch.example.toml")


def _is_like(value: object, default: object) -> bool:
    """Whether a variable with this default takes the value; lists hold texts."""
    if isinstance(default, list):
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return type(value) is type(default)


def _texts(parameters: Mapping[str, Any]) -> dict[str, str]:
    """CloudFormation takes texts: lists are joined by commas, numbers written out."""
    for name, value in parameters.items():
        if not isinstance(value, (str, int, float, list)):
            raise RefusedError(
                f"[parameters] {name}", "is not a text, a number or a list", "write it in quotes"
            )
    joined = {
        name: ",".join(map(str, value)) if isinstance(value, list) else value
        for name, value in parameters.items()
    }
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in joined.items()
    }


def _assigned(assignments: Sequence[str]) -> dict[str, str]:
    pairs = [assignment.partition("=") for assignment in assignments]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise RefusedError(
                f"--set {name}", "is not of the form Name=Value", "write --set LogRetentionDays=365"
            )
    return {name: value for name, _, value in pairs}


def _checked(settings: Settings) -> Settings:
    if not settings.account:
        remedy = "give --account ID, or write account in signwatch.toml"
        raise RefusedError(
            "account",
            "is not known, and nothing is written to an account that was not named",
            remedy,
        )
    for name, shape, example in (
        ("account", ACCOUNT, "123456789012"),
        ("region", REGION, "eu-west-1"),
        ("prefix", PREFIX, "signwatch"),
    ):
        value = getattr(settings, name)
        if not shape.fullmatch(value):
            raise RefusedError(
                f"{name} {value!r}", "is not of the right form", f"write it like {example}"
            )
    for reserved in RESERVED_PREFIXES:
        if settings.prefix.startswith(reserved):
            what = (
                f"begins with {reserved}, which AWS reserves: names of parameters or buckets fail"
            )
            raise RefusedError(f"prefix {settings.prefix!r}", what, "choose another --prefix")
    return settings
