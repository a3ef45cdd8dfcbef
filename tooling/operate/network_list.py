"""Shows the recognised networks as two tables: KnownNetworks, and the allowances by expiry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signwatch.detection import networks as recognition
from tooling.invocation import spell, spell_program
from tooling.operate import networks
from tooling.terminal.untrusted import escape_unprintable

if TYPE_CHECKING:
    from tooling.operate.networks import RecognisedNetworks, StoredAllowance
    from tooling.terminal.screen import Screen

KNOWN_COLUMNS = ("network", "state")
ALLOWANCE_COLUMNS = ("network", "label", "for", "valid", "id")
UNUSABLE, NO_EFFECT = "UNUSABLE", "recognises nothing"
NO_ROW = "  none"


def show(lists: RecognisedNetworks, now: float, screen: Screen) -> None:
    """Print both lists; entries that recognise nothing are marked, and red."""
    screen.announce(f"KnownNetworks, changed by {spell_program()} deploy:")
    _show_known(lists, screen)
    screen.announce(f"Allowances, changed {networks.WHEN_EFFECTIVE}:")
    _show_allowances(lists, now, screen)
    if not lists.has_allowance_support:
        remedy = f"run {spell('bootstrap')} and {spell('deploy')}"
        screen.announce(f"  The deployed function is too old to read allowances: {remedy}.")
    endpoints = ", ".join(lists.endpoints) or "none, so no private address is recognised"
    endpoints = escape_unprintable(endpoints, networks.LONG_VALUE_MAX_CHARS)
    screen.announce(f"VPC endpoints that allow private addresses: {endpoints}")


def _show_known(lists: RecognisedNetworks, screen: Screen) -> None:
    """Print the entries of KnownNetworks."""
    entries = recognition.split_list(lists.known)
    unusable = recognition.parse_list(lists.known).unusable
    is_red = [entry in unusable for entry in entries]
    rows = [
        (escape_unprintable(entry), f"{UNUSABLE}, {NO_EFFECT}" if is_unusable else "")
        for entry, is_unusable in zip(entries, is_red, strict=True)
    ]
    if rows:
        screen.print_table(KNOWN_COLUMNS, rows, is_red)
    else:
        screen.announce(NO_ROW)


def _show_allowances(lists: RecognisedNetworks, now: float, screen: Screen) -> None:
    """Print the allowances, unusable ones first, then by their expiry."""
    allowances = sorted(lists.allowances, key=networks.expiry_sort_key)
    if allowances:
        rows = [_format_row(stored, now) for stored in allowances]
        screen.print_table(
            ALLOWANCE_COLUMNS, rows, [stored.allowance is None for stored in allowances]
        )
    else:
        screen.announce(NO_ROW)


def _format_row(stored: StoredAllowance, now: float) -> tuple[str, ...]:
    """Return a cell for each of ALLOWANCE_COLUMNS; an unusable one says why."""
    shown_id = escape_unprintable(stored.id)
    allowed = stored.allowance
    if allowed is None:
        problem = escape_unprintable(stored.problem, networks.PROBLEM_MAX_CHARS)
        return UNUSABLE, "", "", f"{NO_EFFECT}: {problem}", shown_id
    label = escape_unprintable(allowed.label)
    who = escape_unprintable(allowed.who) if allowed.who else "everybody"
    return allowed.cidr, label, who, networks.format_expiry(allowed, now), shown_id
