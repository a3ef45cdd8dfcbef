"""What the memory is asked, and what its answers make of a verdict; while it is down, the louder answer.

A portal sign-in leaves its address for the device codes that it may approve; everything else is asked of alerts alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signwatch import journal, verdict
from signwatch.memory import DAY, WINDOW, Memory, digest
from signwatch.networks import packed
from signwatch.paths import CENTER
from signwatch.record import moment
from signwatch.signin import SignIn, Unreadable

if TYPE_CHECKING:
    from signwatch.pipeline import Dependencies
    from signwatch.verdict import Verdict


def approved_elsewhere(sign_in: SignIn, now: float, dependencies: Dependencies) -> bool:
    """Remember where a portal sign-in came from, or say whether a device code was approved from another address.

    True while that cannot be known, False where no approval within the day is known of.
    """
    try:
        memory = _memory(dependencies)
        what = f"{sign_in.account}#approval#{sign_in.person}"
        address = digest(str(packed(sign_in.source) or sign_in.source))
        if sign_in.kind == CENTER:
            if sign_in.person:
                memory.keep(what, address, now, DAY)
            return False
        return not sign_in.person or memory.kept(what, now) not in ("", address)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the louder answer is right
        _complain(sign_in, error, now)
        return True


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
    if judged.once:
        return judged if memory.is_first(judged.once, event, now) else verdict.repeated(judged)
    if judged.grouped == "aggregated":
        return verdict.counted(judged, _failures(reading, now, memory)) if event else judged  # no id, no telling apart
    link = f"{reading.account}#link#{reading.who}"
    if judged.grouped == "counted":
        memory.keep(link, event, now, WINDOW)
        return judged
    return verdict.followed(judged) if memory.kept(link, now) else judged


def _failures(reading: SignIn | Unreadable, now: float, memory: Memory) -> int:
    at = moment(reading.time)
    return memory.tally(f"{reading.account}#failures", reading.event_id, at.timestamp() if at else now)


def _memory(dependencies: Dependencies) -> Memory:
    return Memory(dependencies.client("dynamodb"), dependencies.settings.ledger_table_name)


def _complain(reading: SignIn | Unreadable, error: Exception, now: float) -> None:
    values = {"level": "ERROR", "event_id": reading.event_id, "problem": "memory", "error": type(error).__name__}
    journal.write(values, {}, now)
