"""What a person sees: lines, tables and live events, printed with rich; plain text where there is no terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console as Rich
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tooling.deploy.stack import Console
from tooling.terminal import job_summary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tooling.deploy import bootstrap, changeset
    from tooling.deploy.stack_events import StackEvent

MARKS = {
    "create": "+",
    "Add": "+",
    "update": "~",
    "Modify": "~",
    "delete": "-",
    "Remove": "-",
    "replace": "!",
}
COLOURS = {"+": "green", "~": "yellow", "-": "red", "!": "bold red"}


class Screen:
    """Prints to standard output; the width follows the terminal and is 120 columns elsewhere."""

    def __init__(self) -> None:
        self.rich = (
            Rich(highlight=False, soft_wrap=True)
            if sys.stdout.isatty()
            else Rich(width=120, soft_wrap=True)
        )

    def announce(self, text: str) -> None:
        """Print one line at once."""
        self.rich.print(Text(text))

    def heading(self, text: str) -> None:
        """Print the title of a step."""
        self.rich.print(f"\n[bold]{escape(text)}[/bold]")

    def plan(self, changes: Sequence[bootstrap.Change]) -> None:
        """Print what Terraform is going to do."""
        rows = [(MARKS[change.action], change.address, change.action) for change in changes]
        self._changes(("", "resource", "action"), rows)

    def change_set(self, changes: Sequence[changeset.Change]) -> None:
        """Print what CloudFormation is going to do; a pipeline's summary shows it too."""
        rows = []
        for change in changes:
            mark = "!" if change.replacement == "yes" else MARKS.get(change.action, " ")
            replaced = {"yes": "replaces it", "maybe": "may replace it"}.get(change.replacement, "")
            rows.append(
                (
                    mark,
                    f"{change.stack}.{change.resource}",
                    change.kind.removeprefix("AWS::"),
                    replaced,
                )
            )
        self._changes(("", "resource", "kind", ""), rows)
        job_summary.table("Change set", ("", "resource", "kind", ""), rows)

    def event(self, event: StackEvent) -> None:
        """Print one stack event."""
        colour = "red" if event.status.endswith("_FAILED") else "dim"
        line = f"  {event.status:<28} {event.stack}.{event.resource}"
        reason = f"  {event.reason}" if event.status.endswith("_FAILED") else ""
        self.rich.print(Text(line + reason, style=colour))

    def pairs(self, values: Mapping[str, str]) -> None:
        """Print names and values in two columns."""
        width = max(map(len, values), default=0)
        for name, value in values.items():
            self.announce(f"{name:<{width}}  {value}")

    def matrix(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], wrong: Sequence[bool]
    ) -> None:
        """Print rows as wide as they have to be; those that are wrong are red."""
        widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
        for cells, style in zip(
            (columns, *rows), ("bold", *("red" if one else "" for one in wrong)), strict=True
        ):
            line = "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
            self.rich.print(Text(line.rstrip(), style=style))

    def phone(self, text: str) -> None:
        """Print a text message as a phone would show it, whole."""
        panel = Panel(Text(text), title="text message", width=44, title_align="left")
        self.rich.print(
            panel, soft_wrap=False
        )  # a panel wraps by itself; soft wrapping would cut its lines

    def stack(self) -> Console:
        """Return the parts that stack operations need."""
        return Console(announce=self.announce, table=self.change_set, event=self.event)

    def _changes(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(box=None, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*map(escape, row), style=COLOURS.get(row[0]))
        self.rich.print(table)
