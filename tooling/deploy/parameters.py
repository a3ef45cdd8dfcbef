"""Resolves the stack's parameters and refuses unusable values before anything is uploaded.

``declared`` is the section Parameters of the parent template: a name and its declaration, such as
``{"Type": "Number", "MinValue": 1, "Default": 90}``. All values are strings. Deploy values are
those that ``invoke deploy`` sets itself, so that nobody may choose them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from signwatch.detection import networks
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    Declared = Mapping[str, Mapping[str, Any]]  # the parent template's Parameters

# Of Lambda's 4 KB for all environment keys and values (Lambda quotas). Deploy values need the rest.
MAX_PARAMETERS_BYTES = 3200


def resolve(
    declared: Declared,
    chosen: Mapping[str, str],
    deploy_values: Mapping[str, str],
    live: Mapping[str, str],
) -> dict[str, str]:
    """Return a value for each declared parameter.

    It is the one in ``deploy_values`` or the one that the user has ``chosen``, else the ``live``
    one of the deployed stack, else the default in the template.
    Raises RefusedError as ``check`` does, and for a parameter without any value.
    """
    check(declared, chosen, deploy_values)
    defaults = {
        name: str(declaration["Default"])
        for name, declaration in declared.items()
        if "Default" in declaration
    }
    still_declared = {name: value for name, value in live.items() if name in declared}
    values = {**defaults, **still_declared, **chosen, **deploy_values}
    for name in declared:
        if name not in values:
            remedy = f"add --set {name}=VALUE, or write it below [parameters] in signwatch.toml"
            raise RefusedError(f"parameter {name}", "has no value and no default", remedy)
    users_values = {name: value for name, value in values.items() if name not in deploy_values}
    _check_values(declared, users_values)
    return values


def check(declared: Declared, chosen: Mapping[str, str], deploy_names: Collection[str]) -> None:
    """Check what the user has chosen, before any request to AWS.

    Raises RefusedError for an unknown name, for a name in ``deploy_names`` (the names of the deploy
    values), and for an unusable value.
    """
    allowed = sorted(set(declared) - set(deploy_names))
    for name in chosen:
        if name in allowed:
            continue
        what = "is not a parameter of the stack"
        if name in deploy_names:
            what = "is set by invoke deploy itself"
        raise RefusedError(f"parameter {name}", what, f"choose one of {', '.join(allowed)}")
    _check_values(declared, chosen)


def list_differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return a line for each parameter that changes: "parameter AlertEmail: 'old' -> 'new'"."""
    lines = []
    for name in sorted(after):
        if name not in before:
            lines.append(f"parameter {name}: {after[name]!r}")
        elif before[name] != after[name]:
            lines.append(f"parameter {name}: {before[name]!r} -> {after[name]!r}")
    return lines


def _check_values(declared: Declared, values: Mapping[str, str]) -> None:
    """Raise RefusedError for an unusable value, and for values that are too long together."""
    try:
        networks.parse_list_strictly(values.get("KnownNetworks", ""))
    except ValueError as error:
        remedy = "write addresses and ranges like 203.0.113.0/24,2001:db8::/48, separated by commas"
        raise RefusedError("parameter KnownNetworks", str(error), remedy) from error
    for name, value in values.items():
        _check_value(name, value, declared[name])
    size_bytes = sum(len(name) + len(value.encode()) for name, value in values.items())
    if size_bytes > MAX_PARAMETERS_BYTES:
        what = f"take {size_bytes} bytes, and a Lambda function's environment holds 4,096 in all"
        remedy = f"keep them below {MAX_PARAMETERS_BYTES}: join neighbouring ranges"
        raise RefusedError("parameters", what, remedy)


def _check_value(name: str, value: str, declaration: Mapping[str, Any]) -> None:
    """Raise RefusedError if the value does not fit its declaration.

    CloudFormation checks the same, but only after the upload.
    """
    allowed = [str(item) for item in declaration.get("AllowedValues", [])]
    if allowed and value not in allowed:
        what = f"{value!r} is not allowed"
        raise RefusedError(f"parameter {name}", what, f"choose one of {', '.join(allowed)}")
    if not _has_valid_form(value, declaration):
        constraint = declaration.get("ConstraintDescription", "has the wrong form").rstrip(".")
        remedy = f"see its description: {declaration['Description']}"
        raise RefusedError(f"parameter {name}", f"{value!r} {constraint}", remedy)


def _has_valid_form(value: str, declaration: Mapping[str, Any]) -> bool:
    """Return whether the value's length, number and pattern are as declared."""
    if "MaxLength" in declaration and len(value) > int(declaration["MaxLength"]):
        return False
    if declaration["Type"] == "Number" and not _is_number_in_range(value, declaration):
        return False
    pattern = declaration.get("AllowedPattern")
    return pattern is None or re.fullmatch(pattern, value, re.ASCII) is not None


def _is_number_in_range(value: str, declaration: Mapping[str, Any]) -> bool:
    """Return whether the value is a whole number within the declared limits, if there are any."""
    if not re.fullmatch(r"-?[0-9]+", value):
        return False
    # Without a declared limit, the value itself is the limit, and so within it.
    minimum = int(declaration.get("MinValue", value))
    maximum = int(declaration.get("MaxValue", value))
    return minimum <= int(value) <= maximum
