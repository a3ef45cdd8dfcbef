"""The register of allowances in Systems Manager: what recognises a source that is in no known network.

It is read whole and remembered for a minute. While it cannot be read, what was read last serves for a quarter of an
hour; after that nobody is recognised by it, which is the louder answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from signwatch import log
from signwatch.detection import allowance, networks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from signwatch.detection.allowance import Allowance
    from signwatch.detection.signin import SignIn

FRESH = 60.0  # seconds for which what was read is not read again
STALE = 15 * 60.0  # seconds for which it serves while it cannot be read
MOST_NAMED = 20  # unusable parameters on one log line


class Copy(NamedTuple):
    """What was read, and when."""

    read_at: float
    allowances: tuple[Allowance, ...]

    def is_within(self, seconds: float, now: float) -> bool:
        """Say whether it was read at most so long ago; a clock that was put back makes it old."""
        return 0 <= now - self.read_at < seconds


_copies: dict[str, Copy] = {}  # by prefix, for as long as the process lives


def find(
    sign_in: SignIn,
    client: Callable[[], Any],
    prefix: str,
    now: float,
    *,
    named: Callable[[], SignIn],
    by_endpoint: bool = False,
) -> Allowance | None:
    """Return the allowance that recognises the sign-in, or None; an expired one never does, however it was kept.

    ``client`` makes a client of Systems Manager; it is asked only if what is remembered is too old. ``named`` looks up
    the name behind a bare id; it is asked only if an allowance for one person or role holds the address.
    """
    holding = [
        one
        for one in _load(client, prefix, now)
        if one.is_current(now)
        and networks.recognises(one.ranges, sign_in.source, by_endpoint=by_endpoint)
    ]
    for one in holding:
        if one.is_for(sign_in.who, sign_in.role):
            return one
    who = named().who if holding else ""
    return next((one for one in holding if one.is_for(who)), None)


def _load(client: Callable[[], Any], prefix: str, now: float) -> tuple[Allowance, ...]:
    copy = _copies.get(prefix)
    if copy and copy.is_within(FRESH, now):
        return copy.allowances
    try:
        _copies[prefix] = Copy(now, tuple(_read(client(), prefix, now)))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, what was read last serves, or nothing
        is_served = copy is not None and copy.is_within(STALE, now)
        _complain({"error": type(error).__name__, "stale": is_served}, now)
        return copy.allowances if copy and is_served else ()
    return _copies[prefix].allowances


def _read(ssm: Any, prefix: str, now: float) -> Iterator[Allowance]:
    """Read all pages; an allowance that is unusable is named in the log and matches nothing."""
    unusable = []
    for parameter in _parameters(ssm, f"/{prefix}/{allowance.PARAMETER_FOLDER}"):
        try:
            yield allowance.decode(parameter["Value"])
        except ValueError:
            unusable.append(parameter["Name"])
    if unusable:
        _complain(
            {
                "unusable_networks": [
                    name[: log.LOG_TEXT_MAX_CHARS] for name in unusable[:MOST_NAMED]
                ]
            },
            now,
        )


def _parameters(ssm: Any, path: str) -> Iterator[dict[str, str]]:
    more: dict[str, str] = {}
    while True:
        page = ssm.get_parameters_by_path(Path=path, Recursive=False, **more)
        yield from page["Parameters"]
        if not page.get("NextToken"):
            return
        more = {"NextToken": page["NextToken"]}


def _complain(values: dict[str, Any], now: float) -> None:
    log.write({"level": "ERROR", "problem": "networks", **values}, {}, now)
