"""``invoke forget``: deletes what Signwatch stores for one person, and says what stays.

The ledger's table has digests alone, so there is nothing to delete in it. Logs and buckets are the
audit record of the account: they end by their own times. docs/privacy.md lists all places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tooling.deploy import stack
from tooling.errors import RefusedError
from tooling.operate import networks
from tooling.terminal.untrusted import escape_unprintable

if TYPE_CHECKING:
    from collections.abc import Callable

    from tooling.deploy.account import Account
    from tooling.settings import Settings


def require_who(who: str) -> None:
    """Raise RefusedError if no person is named."""
    if not who.strip():
        what = "names nobody"
        raise RefusedError("--who", what, "give the whole name, as ./inv networks shows it")


def forget(
    aws: Account,
    settings: Settings,
    who: str,
    now: float,
    confirm: Callable[[list[str]], None],
) -> list[str]:
    """Delete the allowances for one person or role; return the lines to print.

    ``confirm`` is called with the plan before; it raises to stop.
    Raises RefusedError if Signwatch is not deployed.
    """
    parameters = stack.require_deployed(aws, settings).parameters
    allowances = networks.list_allowances_for(aws, settings, who)
    name = escape_unprintable(who)
    lines = [f"No allowance is for {name}."]
    if allowances:
        descriptions = [networks.format_allowance(stored, now) for stored in allowances]
        confirm([f"Delete: {description}" for description in descriptions])
        for stored in allowances:
            networks.delete(aws, stored.path)
        lines = [f"Deleted: {description}" for description in descriptions]
    days = parameters.get("LogRetentionDays", "")
    return [
        *lines,
        f"Records with this name stay in the log groups for {days} days from their time, and in",
        "the trail's log bucket, since they are the audit record: docs/privacy.md.",
    ]
