"""Resolves the stack's parameters and refuses unusable values before anything is uploaded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from signwatch.detection import networks
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    Declared = Mapping[str, Mapping[str, Any]]  # the parent template's Parameters

# Of Lambda's 4 KB for all environment keys and values (Lambda quotas); deploy's own need the rest.
MAX_PARAMETERS_BYTES = 3200


def resolve(
    declared: Declared,
    chosen: Mapping[str, str],
    deploy_values: Mapping[str, str],
    live: Mapping[str, str],
) -> dict[str, str]:
    """Return a value for each declared parameter.

    chosen: by the user; deploy_values: set by invoke deploy itself; live: those of the present
    stack. A value comes from chosen or deploy_values, else from live, else from the template's
    default. Raises RefusedError as ``check`` does, and for a parameter without any value.
    """
    check(declared, chosen, deploy_values)
    values = {name: str(body["Default"]) for name, body in declared.items() if "Default" in body}
    values |= {name: value for name, value in live.items() if name in declared}
    values |= {**chosen, **deploy_values}
    for name in declared:
        if name not in values:
            remedy = f"add --set {name}=VALUE, or write it below [parameters] in signwatch.toml"
            raise RefusedError(f"parameter {name}", "has no value and no default", remedy)
    users_values = {name: value for name, value in values.items() if name not in deploy_values}
    _check_values(declared, users_values)
    return values


def check(declared: Declared, chosen: Mapping[str, str], deploy_names: Collection[str]) -> None:
    """Refuse unusable choices before any request to AWS.

    Raises RefusedError for an unknown name, a name in ``deploy_names`` (parameters that invoke
    deploy sets itself), and an unusable value.
    """
    for name in chosen:
        if name in declared and name not in deploy_names:
            continue
        is_own = name in deploy_names
        what = "is set by invoke deploy itself" if is_own else "is not a parameter of the stack"
        names = ", ".join(sorted(set(declared) - set(deploy_names)))
        raise RefusedError(f"parameter {name}", what, f"choose one of {names}")
    _check_values(declared, chosen)


def list_differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return a line for each parameter that changes: the old value, if it had one, and the new."""
    lines = []
    for name in sorted(after):
        if name not in before:
            lines.append(f"parameter {name}: {after[name]!r}")
        elif before[name] != after[name]:
            lines.append(f"parameter {name}: {before[name]!r} -> {after[name]!r}")
    return lines


def _check_values(declared: Declared, values: Mapping[str, str]) -> None:
    try:
        networks.parse_list_strictly(values.get("KnownNetworks", ""))
    except ValueError as error:
        remedy = "write addresses and ranges like 203.0.113.0/24,2001:db8::/48, separated by commas"
        raise RefusedError("parameter KnownNetworks", str(error), remedy) from error
    for name, value in values.items():
        _check_value(name, value, declared[name])
    size = sum(len(name) + len(value.encode()) for name, value in values.items())
    if size > MAX_PARAMETERS_BYTES:
        what = f"take {size} bytes, and a Lambda function's environment holds 4,096 in all"
        remedy = f"keep them below {MAX_PARAMETERS_BYTES}: join neighbouring ranges"
        raise RefusedError("parameters", what, remedy)


def _check_value(name: str, value: str, body: Mapping[str, Any]) -> None:
    """Check a value against its declaration, as CloudFormation does after the upload."""
    allowed = [str(item) for item in body.get("AllowedValues", [])]
    if allowed and value not in allowed:
        what = f"{value!r} is not allowed"
        raise RefusedError(f"parameter {name}", what, f"choose one of {', '.join(allowed)}")
    if not _has_valid_form(value, body):
        constraint = body.get("ConstraintDescription", "has the wrong form").rstrip(".")
        remedy = f"see its description: {body['Description']}"
        raise RefusedError(f"parameter {name}", f"{value!r} {constraint}", remedy)


def _has_valid_form(value: str, body: Mapping[str, Any]) -> bool:
    if len(value) > int(body.get("MaxLength", len(value))):
        return False
    if body["Type"] == "Number" and not _is_within(value, body):
        return False
    pattern = body.get("AllowedPattern")
    return pattern is None or re.fullmatch(pattern, value, re.ASCII) is not None


def _is_within(value: str, body: Mapping[str, Any]) -> bool:
    if not re.fullmatch(r"-?[0-9]+", value):
        return False
    return int(body.get("MinValue", value)) <= int(value) <= int(body.get("MaxValue", value))
