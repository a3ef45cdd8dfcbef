"""The stack's parameters: who sets them, where their value comes from, and what is refused before a deploy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from signwatch.detection import networks
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MOST_BYTES = 3200  # of Lambda's 4 KB for all environment keys and values (Lambda quotas), the rest is the tool's own


def resolve(
    declared: Mapping[str, Mapping[str, Any]],
    chosen: Mapping[str, str],
    given: Mapping[str, str],
    live: Mapping[str, str],
) -> dict[str, str]:
    """Return a value for each declared parameter.

    declared: the parent template's Parameters; chosen: by the user; given: by this tool; live: the present stack's.
    A value comes from chosen or given, else from the live stack, else from the template's default.
    Raises RefusedError for an unknown name, one that only the tool sets, a missing or an unusable value.
    """
    check(declared, chosen, given)
    defaults = {name: str(body["Default"]) for name, body in declared.items() if "Default" in body}
    values = {
        **defaults,
        **{name: value for name, value in live.items() if name in declared},
        **chosen,
        **given,
    }
    for name in declared:
        if name not in values:
            remedy = f"add --set {name}=VALUE, or write it below [parameters] in signwatch.toml"
            raise RefusedError(f"parameter {name}", "has no value and no default", remedy)
    _check_values(declared, {name: value for name, value in values.items() if name not in given})
    return values


def check(
    declared: Mapping[str, Mapping[str, Any]], chosen: Mapping[str, str], given: Collection[str]
) -> None:
    """Refuse what can be refused before AWS is asked anything; ``given`` are the names that this tool sets.

    Raises RefusedError for an unknown name, one that only the tool sets, and an unusable value.
    """
    free = sorted(set(declared) - set(given))
    for name in chosen:
        if name in given:
            raise RefusedError(
                f"parameter {name}",
                "is set by invoke deploy itself",
                f"choose among {', '.join(free)}",
            )
        if name not in declared:
            raise RefusedError(
                f"parameter {name}", "is not one of the stack's", f"choose among {', '.join(free)}"
            )
    _check_values(declared, chosen)


def differences(before: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Return a line for each parameter that a deploy changes: its old value, if it had one, and the new one."""
    changed = [name for name in sorted(wanted) if before.get(name) != wanted[name]]
    return [
        f"parameter {name}: {before[name]!r} -> {wanted[name]!r}"
        if name in before
        else f"parameter {name}: {wanted[name]!r}"
        for name in changed
    ]


def _check_values(declared: Mapping[str, Mapping[str, Any]], values: Mapping[str, str]) -> None:
    try:
        networks.parse_strictly(values.get("KnownNetworks", ""))
    except ValueError as error:
        remedy = "write addresses and ranges like 203.0.113.0/24,2001:db8::/48, separated by commas"
        raise RefusedError("parameter KnownNetworks", str(error), remedy) from error
    for name, value in values.items():
        _check_value(name, value, declared[name])
    size = sum(len(name) + len(value.encode()) for name, value in values.items())
    if size > MOST_BYTES:
        what = f"takes {size} bytes, and a Lambda function's environment holds 4,096 in all"
        raise RefusedError(
            "parameters", what, f"keep them below {MOST_BYTES}: join neighbouring ranges"
        )


def _check_value(name: str, value: str, body: Mapping[str, Any]) -> None:
    """Hold a value against its declaration as CloudFormation does, but before anything is uploaded."""
    allowed = [str(item) for item in body.get("AllowedValues", [])]
    if allowed and value not in allowed:
        raise RefusedError(
            f"parameter {name}", f"{value!r} is not allowed", f"choose among {', '.join(allowed)}"
        )
    fits_length = len(value) <= int(body.get("MaxLength", len(value)))
    fits_pattern = "AllowedPattern" not in body or re.fullmatch(
        body["AllowedPattern"], value, re.ASCII
    )
    fits_number = body["Type"] != "Number" or _is_within(value, body)
    if not (fits_length and fits_pattern and fits_number):
        what = body.get("ConstraintDescription", "is not of the right form").rstrip(".")
        raise RefusedError(
            f"parameter {name}", f"{value!r} {what}", f"see what it is: {body['Description']}"
        )


def _is_within(value: str, body: Mapping[str, Any]) -> bool:
    if not re.fullmatch(r"-?[0-9]+", value):
        return False
    return int(body.get("MinValue", value)) <= int(value) <= int(body.get("MaxValue", value))
