"""What the memory is asked, and what its answers make of a verdict; while it is down, the louder answer.

A portal sign-in and a device code leave their addresses for each other; everything else is asked of alerts alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signwatch import log
from signwatch.detection import verdict
from signwatch.detection.networks import pack
from signwatch.detection.record import parse_time
from signwatch.detection.sign_in_paths import IDENTITY_CENTER
from signwatch.detection.signin import SignIn, Unreadable
from signwatch.enrichment.state import DAY, WINDOW, State, digest

CLAIM = (
    5 * 60
)  # seconds for which an alert that is being delivered stands for others of its kind: Lambda's two retries

if TYPE_CHECKING:
    from signwatch.dependencies import Dependencies
    from signwatch.detection.verdict import Verdict


def is_approved_elsewhere(sign_in: SignIn, now: float, dependencies: Dependencies) -> bool | None:
    """Say whether a device code and the portal sign-in before it came from two addresses, whichever is told of first.

    None where nobody can tell: of a device code that names no person, and while the memory is down. Where the memory
    knows no portal sign-in within a day, such as in a portal session that lasts for weeks, there is nothing to differ
    from: a device code is judged by its own source alone.
    """
    if not sign_in.person:
        return None
    try:
        return _compare(sign_in, now, _state(dependencies))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the louder answer is right
        _complain(sign_in, error, now)
        return None


def _compare(sign_in: SignIn, now: float, state: State) -> bool | None:
    """Remember the address of this one, unless a later one is known, and compare it with the other's.

    None for a code whose approval has given way to a later portal sign-in: a retry must not judge by that one.
    """
    approval, code = (
        f"{sign_in.account}#{kind}#{sign_in.person}" for kind in ("approval", "device-code")
    )
    at, address = _at(sign_in, now), digest(str(pack(sign_in.source) or sign_in.source))
    is_approval = sign_in.kind == IDENTITY_CENTER
    own, other, seconds = (approval, code, DAY) if is_approval else (code, approval, WINDOW)
    if _moment(state.get(own, now)) <= at:
        state.put(own, f"{at} {address}", now, seconds)
    known = state.get(other, now)
    if not known:
        return False
    differs = known.partition(" ")[2] != address
    if is_approval:  # which comes before its code
        return differs and at <= _moment(known)
    return differs if _moment(known) <= at else None


def apply_correlation(
    judged: Verdict, reading: SignIn | Unreadable, now: float, dependencies: Dependencies
) -> Verdict:
    """Return what becomes of an alert by what is remembered of earlier ones."""
    linked = isinstance(reading, SignIn) and reading.kind in ("console", "console-link")
    if not (judged.deduplication_key or judged.grouped or linked):
        return judged
    try:
        return _settled(judged, reading, now, _state(dependencies))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the louder answer is right
        _complain(reading, error, now)
        return judged


def _settled(judged: Verdict, reading: SignIn | Unreadable, now: float, state: State) -> Verdict:
    event = reading.event_id
    if (
        judged.deduplication_key
    ):  # a retry is the same event, and is told of again; of a burst the first claims it
        is_own = not event or state.claim(judged.deduplication_key, event, now, CLAIM)
        return judged if is_own else verdict.mark_repeated(judged)
    if judged.grouped == "failures":
        return _counted(judged, reading, now, state) if event else judged
    link = f"{reading.account}#link#{reading.who}"
    if judged.grouped == "linked":
        state.put(link, event, now, WINDOW)
        return judged
    return verdict.mark_linked(judged) if state.get(link, now) else judged


def record_alerted(
    judged: Verdict,
    reading: SignIn | Unreadable,
    now: float,
    dependencies: Dependencies,
    *,
    everybody: bool,
) -> None:
    """Remember for a day that an alert which is told of once a day reached everybody, or let go of its claim.

    What has no id cannot be told apart.
    """
    if not (judged.deduplication_key and reading.event_id):
        return
    try:
        _state(dependencies).put(
            judged.deduplication_key, reading.event_id, now, DAY if everybody else 0
        )
    except Exception as error:  # noqa: BLE001 - it is told of again, which is the louder answer
        _complain(reading, error, now)


def _counted(judged: Verdict, reading: SignIn | Unreadable, now: float, state: State) -> Verdict:
    """Count the failures of the account; those of root by themselves, for the first of them is texted."""
    what = f"{reading.account}#failures of {'root' if verdict.ROOT_FAILURE in judged.causes else 'others'}"
    failures, is_first = state.count_recent(what, reading.event_id, _at(reading, now))
    return verdict.apply_failure_count(judged, failures, is_first=is_first)


def _at(reading: SignIn | Unreadable, now: float) -> int:
    """Return the event's own time, in whole seconds since 1970; now where it cannot be read."""
    at = parse_time(reading.time)
    return int(at.timestamp() if at else now)


def _moment(kept: str) -> int:
    return int(kept.partition(" ")[0] or 0)


def _state(dependencies: Dependencies) -> State:
    return State(
        dependencies.client("dynamodb", quick=True), dependencies.settings.ledger_table_name
    )


def _complain(reading: SignIn | Unreadable, error: Exception, now: float) -> None:
    values = {
        "level": "ERROR",
        "event_id": reading.event_id,
        "problem": "state",
        "error": type(error).__name__,
    }
    log.write(values, {}, now)
