"""The form that all own policies share, and how they read statements of access policies."""

from __future__ import annotations

import fnmatch
import inspect
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from checkov.cloudformation.checks.resource.base_resource_check import BaseResourceCheck
from checkov.common.models.enums import CheckCategories, CheckResult
from monitor_site import Resource, Site, around

if TYPE_CHECKING:
    from collections.abc import Iterator


class Policy(BaseResourceCheck):
    """One rule about the resources of ``kinds``; the docstring of each subclass is the sentence that a scan shows."""

    number: ClassVar[int]
    kinds: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        super().__init__(
            name=inspect.cleandoc(type(self).__doc__ or ""),
            id=f"CKV_SIGNWATCH_{self.number}",
            categories=[CheckCategories.LOGGING],
            supported_resources=list(self.kinds),
        )

    @abstractmethod
    def _holds(self, resource: Resource, site: Site, /) -> bool:
        """Say whether ``resource`` of ``site`` keeps the rule."""

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        """Judge one resource; what cannot be judged fails, as checkov drops a check that raises."""
        try:
            file = Path(_file(conf))
            site = around(file.parent)
            name = self.entity_path.rsplit(":", 1)[1]
            resource = next(
                found for found in site.resources if (found.file, found.name) == (file.name, name)
            )
            kept = self._holds(resource, site)
        except Exception:  # noqa: BLE001 - checkov would count a check that raises as neither passed nor failed
            return CheckResult.FAILED
        return CheckResult.PASSED if kept else CheckResult.FAILED


def _file(node: Any) -> str:
    """Return the path that checkov notes in every mapping which it reads."""
    if isinstance(node, dict) and "__file__" in node:
        return str(node["__file__"])
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return next((path for path in map(_file, inner) if path), "")


def each(value: Any) -> list[Any]:
    """Return ``value`` as a list: itself, or the one item that it is, or nothing."""
    return value if isinstance(value, list) else [] if value is None else [value]


def allows(document: Any, service: str = "") -> Iterator[dict[str, Any]]:
    """Yield each Allow statement of an access policy, of this service as principal where one is named."""
    for statement in each(document.get("Statement")):
        principal = statement.get("Principal")
        named = each(principal.get("Service")) if isinstance(principal, dict) else []
        if statement.get("Effect") == "Allow" and (not service or service in named):
            yield statement


def principals(statement: dict[str, Any]) -> set[tuple[str, str]]:
    """Return whom a statement names, each with the kind of its name; a plain ``*`` fails, as no kind goes with it."""
    return {(kind, name) for kind, given in statement["Principal"].items() for name in each(given)}


def covers(statement: dict[str, Any], action: str, resource: str) -> bool:
    """Say whether a statement speaks of ``action`` on ``resource``, wildcards understood."""
    actions = any(fnmatch.fnmatchcase(action, given) for given in each(statement.get("Action")))
    return actions and any(matches(resource, given) for given in each(statement.get("Resource")))


def matches(text: str, pattern: Any) -> bool:
    """Compare as IAM does: ``*`` stands for anything, and a bracket for itself."""
    return isinstance(pattern, str) and fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))


def _equals(text: str, value: Any) -> bool:
    return bool(text == value)


# a wildcard below ArnEquals works in IAM; here it is taken for a mistake, as ArnLike says it plainly
COMPARE = {"StringEquals": _equals, "ArnEquals": _equals, "StringLike": matches, "ArnLike": matches}


def conditions(statement: dict[str, Any], key: str) -> list[Any]:
    """Every value that a statement's conditions ask of ``key``, whatever the operator."""
    asked = statement.get("Condition", {}).values()
    return [
        value
        for keys in asked
        for name, given in keys.items()
        if name == key
        for value in each(given)
    ]


def fits(statement: dict[str, Any], request: dict[str, str]) -> bool:
    """Say whether a request with these condition keys meets every condition; no condition lets everything through.

    A key that the request lacks is not met, nor is an operator that is not compared here, each negated one among them.
    """
    asked = [
        (how, key, given)
        for how, keys in statement.get("Condition", {}).items()
        for key, given in keys.items()
    ]
    return all(
        how in COMPARE
        and key in request
        and any(COMPARE[how](request[key], value) for value in each(given))
        for how, key, given in asked
    )
