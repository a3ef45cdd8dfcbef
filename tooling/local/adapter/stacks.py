"""What CloudFormation checks in a request before it takes it, and how it reads a template's address.

Capabilities and termination protection need nothing here: the emulator checks both. ``tests/local`` holds it to that.
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ministack.services.cloudformation import changesets, engine, handlers, helpers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VIRTUAL_HOST = re.compile(r"(?P<bucket>.+)\.s3[.-][a-z0-9.-]*amazonaws\.com(\.cn)?")


def install() -> None:
    """Refuse parameters that the template does not declare (stock: dropped); read virtual-hosted URLs (stock: 404)."""
    _refuse_undeclared_parameters()
    _read_virtual_hosted_urls()


def _refuse_undeclared_parameters() -> None:
    resolve = engine._resolve_parameters

    def checked(
        template: Mapping[str, Any], given: Sequence[Mapping[str, Any]], *more: Any, **named: Any
    ) -> Any:
        undeclared = {item["Key"] for item in given or [] if "Key" in item} - set(
            template.get("Parameters") or {}
        )
        if undeclared:
            raise ValueError(
                f"Parameters: [{', '.join(sorted(undeclared))}] do not exist in the template"
            )
        return resolve(template, given, *more, **named)

    for module in (engine, handlers, changesets):  # each has its own name for the function
        module._resolve_parameters = checked


def _read_virtual_hosted_urls() -> None:
    resolve = helpers._resolve_document

    def found(params: Mapping[str, Any], body_key: str, url_key: str, label: str) -> Any:
        if url := helpers._p(params, url_key):
            params = {**params, url_key: [path_style(url)]}
        return resolve(params, body_key, url_key, label)

    helpers._resolve_document = found


def path_style(url: str) -> str:
    """Return an S3 URL in path style (user guide of S3, "virtual hosting of buckets"); any other stays as it is."""
    parts = urlsplit(url)
    named = VIRTUAL_HOST.fullmatch(parts.hostname or "")
    return f"https://s3.amazonaws.com/{named['bucket']}{parts.path}" if named else url
