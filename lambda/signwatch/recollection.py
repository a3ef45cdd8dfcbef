"""What the memory is asked, and what its answers make of a verdict; while it is down, the louder answer.

A portal sign-in and a device code leave their addresses for each other; everything else is asked of alerts alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signwatch import journal, verdict
from signwatch.memory import DAY, WINDOW, Memory, digest
from signwatch.networks import packed
from signwatch.paths import CENTER
from signwatch.record import moment
from signwatch.signin import SignIn, Unreadable

CLAIM = 5 * 60  # seconds for which an alert that is being delivered stands for others of its kind: Lambda's two retries

if TYPE_CHECKING:
    from signwatch.pipeline import Dependencies
    from signwatch.verdict import Verdict


def approved_elsewhere(sign_in: SignIn, now: float, dependencies: Dependencies) -> bool | None:
    """Say whether a device code and the portal sign-in before it came from two addresses, whichever is told of first.

    None where nobody can tell: of a device code that names no person, and while the memory is down. Where the memory
    knows no portal sign-in within a day, such as in a portal session that lasts for weeks, there is nothing to differ
    from: a device code is judged by its own source alone.
    """
    if not sign_in.person:
        return None
    try:
        return _compare(sign_in, now, _memory(dependencies))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the louder answer is right
        _complain(sign_in, error, now)
        return None


def _compare(sign_in: SignIn, now: float, memory: Memory) -> bool | None:
    """Remember the address of this one, unless a later one is known, and compare it with the other's.

    None for a code whose approval has given way to a later portal sign-in: a retry must not judge by that one.
    """
    approval, code = (f"{sign_in.account}#{kind}#{sign_in.person}" for kind in ("approval", "device-code"))
    at, address = _at(sign_in, now), digest(str(packed(sign_in.source) or sign_in.source))
    is_approval = sign_in.kind == CENTER
    own, other, seconds = (approval, code, DAY) if is_approval else (code, approval, WINDOW)
    if _moment(memory.kept(own, now)) <= at:
        memory.keep(own, f"{at} {address}", now, seconds)
    known = memory.kept(other, now)
    if not known:
        return False
    differs = known.partition(" ")[2] != address
    if is_approval:  # which comes before its code
        return differs and at <= _moment(known)
    return differs if _moment(known) <= at else None


def settled(judged: Verdict, reading: SignIn | Unreadable, now: float, dependencies: Dependencies) -> Verdict:
    """Return what becomes of an alert by what is remembered of earlier ones."""
    linked = isinstance(reading, SignIn) and reading.kind in ("console", "console-link")
    if not (judged.once or judged.grouped or linked):
        return judged
    try:
        return _settled(judged, reading, now, _memory(dependencies))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the louder answer is right
        _complain(reading, error, now)
        return judged


def _settled(judged: Verdict, reading: SignIn | Unreadable, now: float, memory: Memory) -> Verdict:
    event = reading.event_id
    if judged.once:  # a retry is the same event, and is told of again; of a burst the first claims it
        is_own = not event or memory.claim(judged.once, event, now, CLAIM)
        return judged if is_own else verdict.repeated(judged)
    if judged.grouped == "aggregated":
        return _counted(judged, reading, now, memory) if event else judged
    link = f"{reading.account}#link#{reading.who}"
    if judged.grouped == "counted":
        memory.keep(link, event, now, WINDOW)
        return judged
    return verdict.followed(judged) if memory.kept(link, now) else judged


def told(
    judged: Verdict, reading: SignIn | Unreadable, now: float, dependencies: Dependencies, *, everybody: bool
) -> None:
    """Remember for a day that an alert which is told of once a day reached everybody, or let go of its claim.

    What has no id cannot be told apart.
    """
    if not (judged.once and reading.event_id):
        return
    try:
        _memory(dependencies).keep(judged.once, reading.event_id, now, DAY if everybody else 0)
    except Exception as error:  # noqa: BLE001 - it is told of again, which is the louder answer
        _complain(reading, error, now)


def _counted(judged: Verdict, reading: SignIn | Unreadable, now: float, memory: Memory) -> Verdict:
    """Count the failures of the account; those of root by themselves, for the first of them is texted."""
    what = f"{reading.account}#failures of {'root' if verdict.ROOT_FAILURE in judged.causes else 'others'}"
    failures, is_first = memory.tally(what, reading.event_id, _at(reading, now))
    return verdict.counted(judged, failures, is_first=is_first)


def _at(reading: SignIn | Unreadable, now: float) -> int:
    """Return the event's own time, in whole seconds since 1970; now where it cannot be read."""
    at = moment(reading.time)
    return int(at.timestamp() if at else now)


def _moment(kept: str) -> int:
    return int(kept.partition(" ")[0] or 0)


def _memory(dependencies: Dependencies) -> Memory:
    return Memory(dependencies.client("dynamodb", quick=True), dependencies.settings.ledger_table_name)


def _complain(reading: SignIn | Unreadable, error: Exception, now: float) -> None:
    values = {"level": "ERROR", "event_id": reading.event_id, "problem": "memory", "error": type(error).__name__}
    journal.write(values, {}, now)
