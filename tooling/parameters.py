"""Checks the stack's parameters as a person wrote them, and resolves those of a deploy.

``declared`` is the section Parameters of the parent template: a name and its declaration, such as
``{"Type": "Number", "MinValue": 1, "Default": 90}``. All values are strings. Deploy values are
those that ``invoke deploy`` sets itself, so that nobody may choose them. A cause is the name of
what an alert can be sent for; the parameters AlertOff and AlertOn are lists of causes.

A refusal names where the parameter was written, what is wrong with it, and the right name or value
that is nearest to it, if one is near.
"""

from __future__ import annotations

import re
import zoneinfo
from typing import TYPE_CHECKING, Any

from signwatch.detection import networks, verdict
from tooling import templates
from tooling.errors import RefusedError
from tooling.suggestions import find_nearest, find_similar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    Declared = Mapping[str, Mapping[str, Any]]  # the parent template's Parameters

DEPLOY_PARAMETERS = (  # set by the deploy itself, never by the user
    "NamePrefix",
    "HomeRegion",
    "TemplateBucketName",
    "TemplateDigest",
    "ArtifactBucketName",
    "AccessLogBucketName",
    "BoundaryPolicyArn",
    "ServiceRoleArn",
    "CodeKey",
    "LayerKey",
)
CAUSES = {  # parameter -> the names of the causes that it can hold
    "AlertOff": tuple(map(verdict.format_cause, verdict.CAUSES)),
    "AlertOn": tuple(map(verdict.format_cause, verdict.OPT_IN_CAUSES)),
}
NETWORKS_REMEDY = (
    "write addresses and ranges like 203.0.113.0/24,2001:db8::/48, separated by commas"
)
# Of Lambda's 4 KB for all environment keys and values (Lambda quotas). Deploy values need the rest.
MAX_PARAMETERS_BYTES = 3200


def resolve(
    declared: Declared,
    chosen: Mapping[str, str],
    deploy_values: Mapping[str, str],
    live: Mapping[str, str],
) -> dict[str, str]:
    """Return a value for each declared parameter, by its name.

    It is the one in ``deploy_values`` or the one that the user has ``chosen``, else the ``live``
    one of the deployed stack, else the default in the template.
    Raises RefusedError as the checks below do, and for a parameter without any value.
    """
    check_names(declared, chosen)
    defaults = {
        name: str(declaration["Default"])
        for name, declaration in declared.items()
        if "Default" in declaration
    }
    # The deployed stack can have a parameter that a newer template no longer declares.
    live_values = {name: value for name, value in live.items() if name in declared}
    values = {**defaults, **live_values, **chosen, **deploy_values}
    for name in declared:
        if name not in values:
            remedy = f"add --set {name}=VALUE, or write it below [parameters] in signwatch.toml"
            raise RefusedError(f"parameter {name}", "has no value and no default", remedy)
    users_values = {name: value for name, value in values.items() if name not in deploy_values}
    check_values(declared, users_values)
    check_size(users_values)
    return values


def load_declared(root: Path) -> dict[str, Any]:
    """Return the section Parameters of the parent template in the checkout at ``root``.

    Raises RefusedError if the template cannot be read.
    """
    declared: dict[str, Any] = templates.load(root / "cfn" / "parent.yaml")["Parameters"]
    return declared


def check_names(declared: Declared, chosen: Mapping[str, str], where: str = "parameter") -> None:
    """Raise RefusedError for a name that is unknown or that ``invoke deploy`` sets itself.

    ``where`` says where the user has chosen them, such as "--set".
    """
    allowed = sorted(set(declared) - set(DEPLOY_PARAMETERS))
    for name in chosen:
        if name in allowed:
            continue
        what, remedy = "is not a parameter of the stack", f"choose one of {', '.join(allowed)}"
        similar = find_similar(name, allowed)
        if name in DEPLOY_PARAMETERS:
            what = "is set by invoke deploy itself"
        elif similar:
            remedy = f"write {similar}"
        raise RefusedError(f"{where} {name}", what, remedy)


def check_values(declared: Declared, values: Mapping[str, str], where: str = "parameter") -> None:
    """Raise RefusedError for an unusable value.

    All names must be declared. ``where`` is as in ``check_names``.
    """
    for name, value in values.items():
        place = f"{where} {name}"
        if name == "KnownNetworks":
            _check_networks(place, value)
        if name in CAUSES:
            _check_causes(place, name, value)
        if name == "TimeZone":
            _check_time_zone(place, value)
        _check_declaration(place, value, declared[name])


def check_bus_name(name: str, prefix: str) -> None:
    """Raise RefusedError unless the bus is the default one or has the installation's prefix.

    CloudFormation's role may make, change and delete no other bus.
    """
    if name != "default" and not name.startswith(f"{prefix}-"):
        what = f"{name!r} does not begin with {prefix}-"
        raise RefusedError("parameter EventBusName", what, f"write {prefix}-{name}, or default")


def check_size(values: Mapping[str, str]) -> None:
    """Raise RefusedError if the values are together too long for the function's environment."""
    size_bytes = sum(len(name) + len(value.encode()) for name, value in values.items())
    if size_bytes > MAX_PARAMETERS_BYTES:
        what = f"take {size_bytes} bytes, and a Lambda function's environment holds 4,096 in all"
        remedy = f"keep them below {MAX_PARAMETERS_BYTES}: join neighbouring ranges"
        raise RefusedError("parameters", what, remedy)


def _check_networks(place: str, text: str) -> None:
    """Raise RefusedError if the text is not a list of networks, as NETWORKS_REMEDY describes it.

    ``place`` says where the user wrote it, such as "parameter KnownNetworks".
    """
    try:
        networks.parse_list_strictly(text)
    except networks.TooWideError as error:
        remedy = "list the ranges of /8 (IPv4) or /19 (IPv6) in it that are yours"
        raise RefusedError(place, str(error), remedy) from error
    except ValueError as error:
        raise RefusedError(place, str(error), NETWORKS_REMEDY) from error


def list_differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return a line for each parameter that changes: "parameter AlertEmail: 'old' -> 'new'"."""
    lines = []
    for name in sorted(after):
        if name not in before:
            lines.append(f"parameter {name}: {after[name]!r}")
        elif before[name] != after[name]:
            lines.append(f"parameter {name}: {before[name]!r} -> {after[name]!r}")
    return lines


def _check_causes(place: str, name: str, text: str) -> None:
    """Raise RefusedError if the list ``text`` has anything but causes that ``name`` can hold.

    ``name`` is AlertOff or AlertOn, and ``place`` is as in ``_check_networks``.
    """
    for cause in networks.split_list(text):
        if cause in CAUSES[name]:
            continue
        what = f"{cause!r} is not the name of a cause that {name} can hold"
        remedy = f"choose from {', '.join(CAUSES[name])}"
        similar = find_similar(cause, CAUSES[name])
        if similar:
            remedy = f"write {similar}"
        for other_name, causes in CAUSES.items():
            if cause in causes:
                remedy = f"write it in {other_name}: see the causes in docs/alerts.md"
        raise RefusedError(place, what, remedy)


def _check_time_zone(place: str, name: str) -> None:
    """Raise RefusedError if this machine does not know the time zone; "" stands for none.

    Nothing is refused on a machine that has no list of time zones. The Lambda function has its own
    list, and leaves the local time out of a text if the zone is not on it.
    """
    zones = zoneinfo.available_timezones() if name else set()  # it searches the disk
    if not zones or name in zones:
        return
    similar = find_similar(name, zones)
    remedy = f"write {similar}"
    if not similar:
        nearest = find_nearest(name, zones)
        remedy = f"write a name like Europe/Berlin; the one that is most like yours is {nearest}"
    raise RefusedError(place, f"{name!r} is not the name of a time zone", remedy)


def _check_declaration(place: str, value: str, declaration: Mapping[str, Any]) -> None:
    """Raise RefusedError if the value does not fit its declaration.

    CloudFormation checks the same, but only after the upload.
    """
    allowed = [str(item) for item in declaration.get("AllowedValues", [])]
    if allowed and value not in allowed:
        remedy = f"choose one of {', '.join(allowed)}"
        nearest = _find_nearest_allowed(value, allowed)
        if nearest:
            remedy = f"write {nearest}, or {remedy}"
        raise RefusedError(place, f"{value!r} is not allowed", remedy)
    max_chars = int(declaration.get("MaxLength", len(value)))  # the value fits if there is no limit
    if len(value) > max_chars:
        what = f"has {len(value)} characters, and may have at most {max_chars}"
        raise RefusedError(place, what, "shorten it")
    if not _has_valid_form(value, declaration):
        constraint = declaration.get("ConstraintDescription", "has the wrong form").rstrip(".")
        remedy = f"see its description: {declaration['Description']}"
        usable = _find_usable_variant(value, declaration)
        if usable:
            remedy = f"write {usable}"
        raise RefusedError(place, f"{value!r} {constraint}", remedy)


def _find_nearest_allowed(value: str, allowed: Sequence[str]) -> str | None:
    """Return the allowed value that a person probably meant by ``value``, or None.

    If all are whole numbers, it is the nearest one, else a similar text.
    """
    if not all(map(_is_whole_number, [value, *allowed])):
        return find_similar(value, allowed)
    return min(allowed, key=lambda item: abs(int(item) - int(value)))


def _find_usable_variant(value: str, declaration: Mapping[str, Any]) -> str | None:
    """Return the value without what people add by mistake, if that makes it usable, else None.

    These are spaces, capital letters, and a slash at the end.
    """
    without_spaces = "".join(value.split())
    for variant in (value.strip(), without_spaces, without_spaces.lower(), value.rstrip("/")):
        if variant and _has_valid_form(variant, declaration):
            return variant
    return None


def _has_valid_form(value: str, declaration: Mapping[str, Any]) -> bool:
    """Return whether the value's number and pattern are as declared."""
    if declaration["Type"] == "Number" and not _is_number_in_range(value, declaration):
        return False
    pattern = declaration.get("AllowedPattern")
    return pattern is None or re.fullmatch(pattern, value, re.ASCII) is not None


def _is_number_in_range(value: str, declaration: Mapping[str, Any]) -> bool:
    """Return whether the value is a whole number within the declared limits, if there are any."""
    if not _is_whole_number(value):
        return False
    # Without a declared limit, the value itself is the limit, and so within it.
    minimum = int(declaration.get("MinValue", value))
    maximum = int(declaration.get("MaxValue", value))
    return minimum <= int(value) <= maximum


def _is_whole_number(value: str) -> bool:
    """Return whether the value is a whole number, written with the digits of ASCII."""
    return re.fullmatch(r"-?[0-9]{1,18}", value) is not None
