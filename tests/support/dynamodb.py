"""DynamoDB's expressions, in the few forms that the function uses; any other raises ValueError.

Items and values have DynamoDB's form, {"N": "1"}. Source: Amazon DynamoDB developer guide,
"Condition and filter expressions, operators, and functions" and "Using update expressions".
"""

from __future__ import annotations

import operator
import re
from typing import Any

COMPARISONS = {"=": operator.eq, "<": operator.lt, "<=": operator.le}
ACTION = re.compile(r"(SET|ADD|REMOVE) (.+?)(?= (?:SET|ADD|REMOVE) |$)")


def insert_names(request: dict[str, Any], parameter: str) -> str:
    """Return an expression of a request with the names instead of their placeholders.

    As DynamoDB does, refuse a request whose expressions do not use a name or value, or lack one.
    """
    names = request.get("ExpressionAttributeNames", {})
    expressions = (request.get(f"{kind}Expression", "") for kind in ("Condition", "Update"))
    used = set(re.findall(r"[#:]\w+", " ".join(expressions)))
    if used != names.keys() | request.get("ExpressionAttributeValues", {}).keys():
        raise ValueError(f"not the placeholders that are used: {used}")
    return re.sub(r"#\w+", lambda match: str(names[match[0]]), request.get(parameter, ""))


def is_met(condition: str, item: dict[str, Any], values: dict[str, Any]) -> bool:
    """Return whether an item meets a condition: terms joined by OR. The item is {} if missing."""
    results = [_is_term_met(term, item, values) for term in condition.split(" OR ")]
    return any(results)


def _is_term_met(term: str, item: dict[str, Any], values: dict[str, Any]) -> bool:
    if match := re.fullmatch(r"attribute_not_exists\((\w+)\)", term):
        return match[1] not in item
    if match := re.fullmatch(r"contains\((\w+), (:\w+)\)", term):
        return values[match[2]]["S"] in item.get(match[1], {}).get("SS", ())
    if match := re.fullmatch(r"size\((\w+)\) (\S+) (:\w+)", term):
        size = {"N": str(len(item.get(match[1], {}).get("SS", ())))}
        return match[1] in item and _compare(size, match[2], values[match[3]])
    if match := re.fullmatch(r"(\w+) (\S+) (:\w+)", term):
        return match[1] in item and _compare(item[match[1]], match[2], values[match[3]])
    raise ValueError(f"unknown form of a condition: {term}")


def _compare(first: dict[str, Any], comparison: str, second: dict[str, Any]) -> bool:
    """Compare two numbers, or whether two values of any type are equal."""
    if "N" in first and "N" in second:
        return bool(COMPARISONS[comparison](int(first["N"]), int(second["N"])))
    if "SS" in first and "SS" in second and comparison == "=":
        return sorted(first["SS"]) == sorted(second["SS"])
    if comparison != "=":
        raise ValueError(f"not numbers: {first} {comparison} {second}")
    return first == second


def apply_update(expression: str, item: dict[str, Any], values: dict[str, Any]) -> None:
    """Change an item: SET a path to a value, ADD strings to a set or to a number, or REMOVE."""
    if ACTION.sub("", expression).strip():
        raise ValueError(f"unknown form of an update: {expression}")
    for action, clauses in ACTION.findall(expression):
        for clause in clauses.split(", "):
            _apply_clause(action, clause, item, values)


def _apply_clause(action: str, clause: str, item: dict[str, Any], values: dict[str, Any]) -> None:
    """Apply one clause of an action, such as ``name = :value``, to an item."""
    form = {"SET": r"([\w.]+) = (:\w+)", "ADD": r"(\w+) (:\w+)", "REMOVE": r"(\w+)()"}[action]
    match = re.fullmatch(form, clause)
    if not match:
        raise ValueError(f"unknown form of an update: {action} {clause}")
    path, placeholder = match.groups()
    if action == "REMOVE":
        item.pop(path, None)
    elif action == "ADD":
        value = values[placeholder]
        if "N" in value:
            number = int(item.get(path, {"N": "0"})["N"]) + int(value["N"])
            item[path] = {"N": str(number)}
        else:
            strings = item.get(path, {"SS": []})["SS"]
            item[path] = {"SS": sorted({*strings, *value["SS"]})}
    else:
        *parents, name = path.split(".")
        target = item
        for parent in parents:
            target = target[parent]["M"]
        target[name] = values[placeholder]
