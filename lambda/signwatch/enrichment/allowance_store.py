"""Finds the allowance that recognises a sign-in.

An allowance is an extra recognised network, often for a limited time or for one person or role.
Each is a parameter in Systems Manager (SSM), written by the ``invoke networks.*`` tasks. All of
them are read at once and cached for a minute. If they cannot be read, the cached ones are used
until they are 15 minutes old. After that no allowance recognises anything, so the alert is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from signwatch import log
from signwatch.detection import allowance, networks
from signwatch.enrichment.identity_store import with_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from signwatch.dependencies import Dependencies
    from signwatch.detection.allowance import Allowance
    from signwatch.detection.signin import SignIn

CACHE_SECONDS = 60.0
STALE_CACHE_SECONDS = 15 * 60.0  # if the allowances cannot be read
LOG_MAX_NAMES = 20  # unusable parameters on one log line


class CachedAllowances(NamedTuple):
    """The allowances, and the time they were read at in seconds since 1970."""

    read_at: float
    allowances: tuple[Allowance, ...]


_cache: dict[str, CachedAllowances] = {}  # by name prefix


def find_allowance(sign_in: SignIn, now: float, dependencies: Dependencies) -> Allowance | None:
    """Return an allowance that recognises the sign-in, or None. Expired ones are ignored.

    It must contain the source address, and be for everybody, for the recorded user or for the role.
    If none is, those for the user's name are tried: a record may have only the user's id.
    """
    allowed_endpoints = dependencies.settings.allowed_vpc_endpoint_ids
    containing_source = [
        entry
        for entry in _load_allowances(now, dependencies)
        if entry.is_current(now)
        and networks.recognises_sign_in(
            entry.parsed_cidr, sign_in.source, sign_in.vpc_endpoint, allowed_endpoints
        )
    ]
    for entry in containing_source:
        if entry.is_for(sign_in.who, sign_in.role):
            return entry
    if not containing_source:
        return None
    name = with_name(sign_in, dependencies).who  # looked up if the record has only the id
    for entry in containing_source:  # the role was tried above
        if entry.is_for(name):
            return entry
    return None


def list_networks(names: Collection[str], now: float, dependencies: Dependencies) -> str:
    """Return the networks of the current allowances for these people and roles, with commas."""
    return ",".join(
        entry.cidr
        for entry in _load_allowances(now, dependencies)
        if entry.is_current(now) and entry.is_for(*names)
    )


def _load_allowances(now: float, dependencies: Dependencies) -> tuple[Allowance, ...]:
    """Return the cached allowances, or read them if the cache is too old. Never raises."""
    prefix = dependencies.settings.name_prefix
    fresh = _find_cached(prefix, CACHE_SECONDS, now)
    if fresh:
        return fresh.allowances
    try:
        ssm = dependencies.client("ssm", quick=True)
        allowances = _read_allowances(ssm, f"/{prefix}/{allowance.PARAMETER_FOLDER}", now)
    except Exception as error:  # noqa: BLE001 - the cached allowances are used, or none
        stale = _find_cached(prefix, STALE_CACHE_SECONDS, now)
        log.write_failure("networks", error, now, stale=stale is not None)
        return stale.allowances if stale else ()
    _cache[prefix] = CachedAllowances(now, allowances)
    return allowances


def _find_cached(prefix: str, max_age_seconds: float, now: float) -> CachedAllowances | None:
    """Return the cached allowances if they are younger than ``max_age_seconds``, else None."""
    cached = _cache.get(prefix)
    if cached and 0 <= now - cached.read_at < max_age_seconds:  # below 0 the clock was set back
        return cached
    return None


def _read_allowances(ssm: Any, path: str, now: float) -> tuple[Allowance, ...]:
    """Read the usable allowances below ``path``, and log the names of the unusable ones."""
    usable, unusable_names = [], []
    for parameter in _list_parameters(ssm, path):
        try:
            usable.append(allowance.decode(parameter["Value"]))
        except ValueError:
            unusable_names.append(parameter["Name"][: log.LOG_TEXT_MAX_CHARS])
    if unusable_names:
        values = {
            "level": "ERROR",
            "problem": "networks",
            "unusable_networks": unusable_names[:LOG_MAX_NAMES],
        }
        log.write(values, metrics={}, now=now)
    return tuple(usable)


def _list_parameters(ssm: Any, path: str) -> Iterator[dict[str, str]]:
    """Yield the SSM parameters directly below ``path``, page by page."""
    page_token: dict[str, str] = {}
    while True:
        page = ssm.get_parameters_by_path(Path=path, Recursive=False, **page_token)
        yield from page["Parameters"]
        if not page.get("NextToken"):
            return
        page_token = {"NextToken": page["NextToken"]}
