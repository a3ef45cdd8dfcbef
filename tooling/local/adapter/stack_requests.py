"""CloudFormation requests: undeclared parameters are refused, virtual-hosted template URLs work.

S3 has two forms of URL: virtual-hosted (https://BUCKET.s3.REGION.amazonaws.com/KEY) and path style
(https://s3.amazonaws.com/BUCKET/KEY). The emulator reads a template by the second only.
The emulator itself checks capabilities and termination protection; ``tests/local`` tests that it
does.
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
    """Refuse undeclared parameters, which the emulator ignores; read virtual-hosted URLs."""
    _refuse_undeclared_parameters()
    _accept_virtual_hosted_urls()


def _refuse_undeclared_parameters() -> None:
    """Patch the emulator: a parameter that the template does not declare is refused."""
    resolve = engine._resolve_parameters

    def check_and_resolve(
        template: Mapping[str, Any],
        parameters: Sequence[Mapping[str, Any]],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Return the values of all parameters; raise ValueError for an undeclared one."""
        keys = {parameter["Key"] for parameter in parameters or [] if "Key" in parameter}
        undeclared = sorted(keys - set(template.get("Parameters") or {}))
        if undeclared:
            raise ValueError(f"Parameters: [{', '.join(undeclared)}] do not exist in the template")
        return resolve(template, parameters, *args, **kwargs)

    for module in (engine, handlers, changesets):  # each imports the function by name
        module._resolve_parameters = check_and_resolve


def _accept_virtual_hosted_urls() -> None:
    """Patch the emulator: the URL of a template or stack policy may be virtual-hosted."""
    resolve = helpers._resolve_document

    def resolve_path_style(
        params: Mapping[str, Any], body_key: str, url_key: str, label: str
    ) -> Any:
        """Read the document that a request contains (``body_key``) or names (``url_key``)."""
        if url := helpers._p(params, url_key):  # a request's parameters are lists of one value
            params = {**params, url_key: [path_style(url)]}
        return resolve(params, body_key, url_key, label)

    helpers._resolve_document = resolve_path_style


def path_style(url: str) -> str:
    """Return a virtual-hosted S3 URL in path style, and any other URL unchanged.

    Source: S3 user guide, "Virtual hosting of general purpose buckets".
    """
    parts = urlsplit(url)
    host = VIRTUAL_HOST.fullmatch(parts.hostname or "")
    return f"https://s3.amazonaws.com/{host['bucket']}{parts.path}" if host else url
