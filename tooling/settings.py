"""The settings of a run: profile, account, Region, prefix, and the parameters that the user chose.

A value is taken from the first of these that has it: a flag, signwatch.toml (the configuration
file), the live stack, the template's default. The first two are joined here, the last two in
tooling.parameters, when a deploy has read the live stack. The Region may also come from the
environment or the profile, before its default.

``parameters`` are those of the stack. ``bootstrap`` are variables of the Terraform code that makes
buckets and roles before the first deploy. Both are checked here, so that every task refuses a wrong
name or value, whether it needs it or not. If variables.tf cannot be read, only a bootstrap is
refused.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooling import aws_errors, aws_profile, terraform
from tooling import parameters as stack_parameters
from tooling.errors import RefusedError
from tooling.suggestions import find_similar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION_FILE = "signwatch.toml"
COMPARE_REMEDY = "compare it with signwatch.example.toml"
KEYS = {  # key of the configuration file -> its type
    "profile": str,
    "account": str,
    "region": str,
    "prefix": str,
    "regions": str,
    "parameters": dict,
    "bootstrap": dict,
}
DEFAULT_REGION, DEFAULT_PREFIX = "us-east-1", "signwatch"  # as in variables.tf
ACCOUNT = re.compile(r"[0-9]{12}")
REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]")
# Those that get forwarders; "" leaves the choice to the deploy.
REGIONS = re.compile(rf"(all|home|{REGION.pattern}(,{REGION.pattern})*)?")
PREFIX = re.compile(r"(?=.{3,20}\Z)[a-z](-?[a-z0-9])+")  # 3 to 20 characters
FORMS = {  # field -> the pattern of its value, and an example
    "account": (ACCOUNT, "123456789012"),
    "region": (REGION, "eu-west-1"),
    "prefix": (PREFIX, "signwatch"),
    "regions": (REGIONS, "us-east-1,us-east-2"),
}
# ORG/REPO: GitHub takes ".git" off the end of a name. The same rule is in variables.tf.
REPOSITORY = re.compile(r"[A-Za-z0-9_-]{1,39}/(?!.*\.git\Z)[A-Za-z0-9._-]{1,100}")
REPOSITORY_IN_URL = re.compile(r"(?:^|[/:])([A-Za-z0-9_-]+/[A-Za-z0-9._-]+?)(?:\.git)?/?$")
# SSM refuses parameter names that begin with the first two (Systems Manager API, "PutParameter"),
# S3 bucket names that begin with the others (user guide, "General purpose bucket naming rules").
# S3 refuses xn-- too: PREFIX allows no two hyphens in a row.
RESERVED_PREFIXES = ("aws", "ssm", "sthree", "amzn-s3-demo")


@dataclass(frozen=True)
class Settings:
    """The settings of one run; ``parameters`` and ``bootstrap`` only as far as the user chose."""

    account: str  # its number of 12 digits
    region: str
    prefix: str  # with which the names of all resources begin
    profile: str | None = None  # of the AWS configuration; None: the environment's credentials
    parameters: Mapping[str, str] = field(default_factory=dict)
    bootstrap: Mapping[str, Any] = field(default_factory=dict)
    root: Path = ROOT
    regions: str = ""  # that get forwarders: all, home, or names; "": where sign-ins are recorded
    region_source: str = ""  # where the Region is written; "" for a flag or the configuration file

    @property
    def stack(self) -> str:
        """The name of the root stack, which is the prefix."""
        return self.prefix

    @classmethod
    def load(
        cls,
        *,
        profile: str | None = None,
        account: str | None = None,
        region: str | None = None,
        prefix: str | None = None,
        regions: str | None = None,
        config: str | None = None,
        assignments: Sequence[str] = (),
        root: Path = ROOT,
    ) -> Settings:
        """Join flags and the configuration file.

        ``config`` is the file's path, by default signwatch.toml below ``root``, which may be
        absent. ``assignments`` are parameters as ``Name=Value``.
        Raises RefusedError for an unreadable file, an unknown key, and a name or value that is
        unknown or malformed.
        """
        path = _choose_path(config, root)
        file = _read(path, is_required=bool(config))
        bootstrap = file.get("bootstrap", {})
        _check_bootstrap(bootstrap, f"{path} [bootstrap]", root)
        file_parameters = _to_strings(file.get("parameters", {}), f"{path} [parameters]")
        assigned_parameters = _parse_assignments(assignments)
        _check_parameters(file_parameters, f"{path} [parameters]", root)
        _check_parameters(assigned_parameters, "--set", root)
        parameters = file_parameters | assigned_parameters
        stack_parameters.check_size(parameters)
        profile = profile or file.get("profile") or None
        region, region_source = _choose_region(region or file.get("region"), profile)
        settings = cls(
            account=account or file.get("account", ""),
            region=region,
            region_source=region_source,
            prefix=prefix or file.get("prefix") or DEFAULT_PREFIX,
            profile=profile,
            regions=regions or file.get("regions", ""),
            parameters=parameters,
            bootstrap=bootstrap,
            root=root,
        )
        _check_forms(settings)
        return settings


def read_parameters(config: str | None = None, *, root: Path = ROOT) -> dict[str, str]:
    """Return the stack's parameters in the configuration file, for a task that needs no account.

    Raises RefusedError as Settings.load does.
    """
    path = _choose_path(config, root)
    values = _read(path, is_required=bool(config)).get("parameters", {})
    parameters = _to_strings(values, f"{path} [parameters]")
    _check_parameters(parameters, f"{path} [parameters]", root)
    return parameters


def _choose_path(config: str | None, root: Path) -> Path:
    """Return the path of the configuration file: ``config``, by default signwatch.toml."""
    return Path(config) if config else root / CONFIGURATION_FILE


def _read(path: Path, *, is_required: bool) -> dict[str, Any]:
    """Return the values in the configuration file; none if it is absent and not required.

    Raises RefusedError for an unreadable file, an unknown key, or a value of the wrong type.
    """
    if not is_required and not path.exists():
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RefusedError(str(path), f"cannot be read ({error})", COMPARE_REMEDY) from error
    except RecursionError as error:
        raise RefusedError(str(path), "nests too deeply", COMPARE_REMEDY) from error
    for key, value in values.items():
        if key not in KEYS or not isinstance(value, KEYS[key]):
            what = f"`{key}` is not a key, or not of the right kind"
            similar = find_similar(key, KEYS) or ", ".join(KEYS)
            raise RefusedError(str(path), what, f"use {similar} as in signwatch.example.toml")
    return values


def _check_parameters(parameters: Mapping[str, str], where: str, root: Path) -> None:
    """Raise RefusedError for an unusable parameter. ``where`` says where they were written."""
    if not parameters:
        return
    declared = stack_parameters.load_declared(root)
    stack_parameters.check_names(declared, parameters, where)
    stack_parameters.check_values(declared, parameters, where)


def _choose_region(chosen: str | None, profile: str | None) -> tuple[str, str]:
    """Return the Region and where it is written; "" if a flag or the configuration file chose it.

    Raises RefusedError if the profile cannot be read.
    """
    if chosen:
        return chosen, ""
    try:
        found = aws_profile.find_region(profile)
    except Exception as error:
        explanation = aws_errors.explain(error, aws_profile.read_profile(profile))
        raise RefusedError(*explanation) from error
    if found is None:
        return DEFAULT_REGION, "the default"
    region, place = found
    return region, f"from {place}"


def _check_bootstrap(chosen: Mapping[str, Any], where: str, root: Path) -> None:
    """Raise RefusedError for an unusable variable in the table [bootstrap].

    The names and types are not checked if variables.tf cannot be read, which may be Terraform that
    python-hcl2 does not know: a bootstrap refuses that (``require_variables``).
    """
    if not chosen:
        return
    _check_repository(chosen.get("github_repository", ""), f"{where} github_repository")
    with contextlib.suppress(terraform.UnreadableFileError):
        _check_variables(chosen, terraform.load_defaults(root / "terraform-bootstrap"), where)


def require_variables(settings: Settings) -> None:
    """Raise RefusedError if the variables of the bootstrap could not be checked.

    Terraform would ignore a misspelt one, and a restriction with it.
    """
    if settings.bootstrap:
        terraform.load_defaults(settings.root / "terraform-bootstrap")


def _check_repository(name: object, where: str) -> None:
    """Raise RefusedError for a GitHub repository that is not written ORG/REPO; "" means none.

    A name that is no string is refused later, by its type.
    """
    if not isinstance(name, str) or not name or REPOSITORY.fullmatch(name):
        return
    match = REPOSITORY_IN_URL.search(name.strip())
    remedy = "write it as GitHub shows it: ORG/REPO"
    if match and REPOSITORY.fullmatch(match[1]):
        remedy = f'write it like "{match[1]}"'
    raise RefusedError(where, f"is {name!r}, and not the name of a repository", remedy)


def _check_variables(chosen: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> None:
    """Raise RefusedError for an unknown Terraform variable or a value of the wrong type.

    Terraform itself ignores unknown ones, so a restriction with a misspelt name would be lost.
    ``defaults`` has the default of each variable by name. ``where`` says where they were written.
    """
    allowed = sorted(set(defaults) - {"region", "prefix"})
    for name, value in chosen.items():
        place = f"{where} {name}"
        if name not in allowed:
            similar = find_similar(name, allowed) or ", ".join(allowed)
            remedy = f"use {similar} as in signwatch.example.toml"
            raise RefusedError(place, "is not a variable that is set there", remedy)
        if not _has_type_of(value, defaults[name]):
            what = f"is {value!r}, and takes a value like {defaults[name]!r}"
            raise RefusedError(place, what, "write it as in signwatch.example.toml")


def _has_type_of(value: object, default: object) -> bool:
    """Return whether the value has the type of the default; a list must contain only strings."""
    if default is None:
        return True
    if isinstance(default, list):
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return type(value) is type(default)


def _to_strings(parameters: Mapping[str, Any], where: str) -> dict[str, str]:
    """Return the values as the strings that CloudFormation takes; lists are joined by commas.

    Raises RefusedError for a value of another type. ``where`` says where they were written.
    """
    strings = {}
    for name, value in parameters.items():
        if isinstance(value, bool):
            strings[name] = str(value).lower()
        elif isinstance(value, (str, int, float)):
            strings[name] = str(value)
        elif isinstance(value, list):
            strings[name] = ",".join(map(str, value))
        else:
            what = "is not a string, a number or a list"
            raise RefusedError(f"{where} {name}", what, "write it in quotes")
    return strings


def _parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Return the values by name: ["A=1"] becomes {"A": "1"}. Raises RefusedError without a "="."""
    values = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not name or not equals:
            remedy = "write --set LogRetentionDays=365"
            raise RefusedError(f"--set {name}", "is not of the form Name=Value", remedy)
        values[name] = value
    return values


def _check_forms(settings: Settings) -> None:
    """Raise RefusedError if account, Region or prefix is missing, malformed or reserved by AWS."""
    if not settings.account:
        what = "is not known, and nothing is written to an account that was not named"
        remedy = "give --account ID, or write account in signwatch.toml"
        raise RefusedError("account", what, remedy)
    for name, (pattern, example) in FORMS.items():
        value = getattr(settings, name)
        if not pattern.fullmatch(value):
            is_elsewhere = name == "region" and settings.region_source
            what = f"is malformed ({settings.region_source})" if is_elsewhere else "is malformed"
            raise RefusedError(f"{name} {value!r}", what, f"write it like {example}")
    for reserved in RESERVED_PREFIXES:
        if settings.prefix.startswith(reserved):
            what = (
                f"begins with {reserved}, which AWS reserves: names of parameters or buckets fail"
            )
            raise RefusedError(f"prefix {settings.prefix!r}", what, "choose another --prefix")
