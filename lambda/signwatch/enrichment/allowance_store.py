"""Allowances in Systems Manager: they recognise sources beyond the known networks.

All of them are read at once and cached for a minute. If they cannot be read, the cached ones are
used until they are 15 minutes old. After that no allowance recognises anything, so the alert is
sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from signwatch import log
from signwatch.detection import allowance, networks
from signwatch.enrichment.identity_store import with_name

if TYPE_CHECKING:
    from collections.abc import Iterator

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

    def is_younger_than(self, seconds: float, now: float) -> bool:
        """Return whether they were read less than ``seconds`` ago, and not after ``now``."""
        return 0 <= now - self.read_at < seconds


_cache: dict[str, CachedAllowances] = {}  # by name prefix


def find_allowance(sign_in: SignIn, now: float, dependencies: Dependencies) -> Allowance | None:
    """Return an allowance that recognises the sign-in, or None. Expired ones are ignored.

    If allowances contain the address, but none of them is for everybody or for the recorded user or
    role, and the record has only a user's id, then the user's name is looked up and tried.
    """
    endpoints = dependencies.settings.allowed_vpc_endpoint_ids
    matches = [
        entry
        for entry in _load(now, dependencies)
        if entry.is_current(now)
        and networks.recognises_sign_in(entry.ranges, sign_in.source, sign_in.endpoint, endpoints)
    ]
    for entry in matches:
        if entry.is_for(sign_in.who, sign_in.role):
            return entry
    if matches:
        name = with_name(sign_in, dependencies).who
        for entry in matches:
            if entry.is_for(name):
                return entry
    return None


def _load(now: float, dependencies: Dependencies) -> tuple[Allowance, ...]:
    """Return the cached allowances, or read them if the cache is too old."""
    prefix = dependencies.settings.name_prefix
    cached = _cache.get(prefix)
    if cached and cached.is_younger_than(CACHE_SECONDS, now):
        return cached.allowances
    try:
        ssm = dependencies.client("ssm", quick=True)
        allowances = tuple(_read(ssm, f"/{prefix}/{allowance.PARAMETER_FOLDER}", now))
    except Exception as error:  # noqa: BLE001 - the cached allowances are used, or none
        if cached and not cached.is_younger_than(STALE_CACHE_SECONDS, now):
            cached = None
        log.write_failure("networks", error, now, stale=cached is not None)
        return cached.allowances if cached else ()
    _cache[prefix] = CachedAllowances(now, allowances)
    return allowances


def _read(ssm: Any, path: str, now: float) -> Iterator[Allowance]:
    """Yield all usable allowances, then log the names of the unusable ones."""
    unusable = []
    for parameter in _list_parameters(ssm, path):
        try:
            yield allowance.decode(parameter["Value"])
        except ValueError:
            unusable.append(parameter["Name"][: log.LOG_TEXT_MAX_CHARS])
    if unusable:
        names = unusable[:LOG_MAX_NAMES]
        line = {"level": "ERROR", "problem": "networks", "unusable_networks": names}
        log.write(line, {}, now)


def _list_parameters(ssm: Any, path: str) -> Iterator[dict[str, str]]:
    """Yield the parameters below ``path`` from all pages of the answer."""
    page_request: dict[str, str] = {}
    while True:
        page = ssm.get_parameters_by_path(Path=path, Recursive=False, **page_request)
        yield from page["Parameters"]
        if not page.get("NextToken"):
            return
        page_request = {"NextToken": page["NextToken"]}
