"""Prints lines, tables and live events with rich; plain text where there is no terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tooling.deploy.stack import Display
from tooling.terminal import job_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tooling.deploy import bootstrap, changeset
    from tooling.deploy.stack_events import StackEvent

WIDTH_WITHOUT_TERMINAL = 120
ACTION_MARKS = {  # action of Terraform or CloudFormation -> the mark that stands before its line
    "create": "+",
    "Add": "+",
    "update": "~",
    "Modify": "~",
    "delete": "-",
    "Remove": "-",
    "replace": "!",
    "import": "=",
}
MARK_COLOURS = {"+": "green", "~": "yellow", "-": "red", "!": "bold red"}
REPLACEMENT_NOTES = {"yes": "replaces it", "maybe": "may replace it"}


class Screen:
    """Prints to standard output. Text is never cut, and never read as rich's markup."""

    def __init__(self) -> None:
        # With soft_wrap, rich leaves long lines to the terminal and does not cut them.
        if sys.stdout.isatty():
            self.rich = Console(highlight=False, soft_wrap=True)
        else:
            self.rich = Console(width=WIDTH_WITHOUT_TERMINAL, soft_wrap=True)

    def announce(self, text: str) -> None:
        """Print one line immediately."""
        self.rich.print(Text(text))

    def print_heading(self, text: str) -> None:
        """Print the title of a step."""
        self.rich.print(f"\n[bold]{escape(text)}[/bold]")

    def print_plan(self, changes: Sequence[bootstrap.Change]) -> None:
        """Print the changes that Terraform is going to make."""
        rows = [(ACTION_MARKS[change.action], change.address, change.action) for change in changes]
        self._print_changes(("", "resource", "action"), rows)

    def print_change_set(self, changes: Sequence[changeset.Change]) -> None:
        """Print the changes that CloudFormation is going to make; add them to the job summary."""
        columns = ("", "resource", "kind", "")  # the first has the mark, the last a note
        rows = []
        for change in changes:
            mark = ACTION_MARKS.get(change.action, " ")
            if change.replacement == "yes":
                mark = "!"
            resource = f"{change.stack}.{change.resource}"
            kind = change.kind.removeprefix("AWS::")
            rows.append((mark, resource, kind, REPLACEMENT_NOTES.get(change.replacement, "")))
        self._print_changes(columns, rows)
        job_summary.add_table("Change set", columns, rows)

    def print_event(self, event: StackEvent) -> None:
        """Print one event of a stack operation; a failure in red and with its reason."""
        line = f"  {event.status:<28} {event.stack}.{event.resource}"
        if event.status.endswith("_FAILED"):
            self.rich.print(Text(f"{line}  {event.reason}", style="red"))
        else:
            self.rich.print(Text(line, style="dim"))

    def print_pairs(self, values: Mapping[str, str]) -> None:
        """Print names and values in two columns."""
        width = max(map(len, values), default=0)
        for name, value in values.items():
            self.announce(f"{name:<{width}}  {value}")

    def print_table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], is_red: Sequence[bool]
    ) -> None:
        """Print a table without cutting any cell. ``is_red`` says for each row if it is red."""
        lines = [columns, *rows]
        styles = ["bold", *("red" if row_is_red else "" for row_is_red in is_red)]
        widths = [max(map(len, column_cells)) for column_cells in zip(*lines, strict=True)]
        for cells, style in zip(lines, styles, strict=True):
            padded_cells = [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)]
            self.rich.print(Text("  ".join(padded_cells).rstrip(), style=style))

    def print_text_message(self, text: str) -> None:
        """Print a text message in a box as wide as a phone's screen."""
        panel = Panel(Text(text), title="text message", width=44, title_align="left")
        self.rich.print(panel, soft_wrap=False)  # the panel wraps; soft wrapping would cut it

    def make_display(self, approve: Callable[[str], None]) -> Display:
        """Return what stack.deploy and stack.destroy call to show an operation on this screen.

        ``approve`` asks the person a question, and raises to stop.
        """
        return Display(self.announce, self.print_change_set, self.print_event, approve)

    def _print_changes(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table of changes. The first cell of a row is its mark, which gives its colour."""
        table = Table(box=None, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            mark = row[0]
            table.add_row(*map(escape, row), style=MARK_COLOURS.get(mark))
        self.rich.print(table)
