"""Prints lines, tables and live events with rich; plain text where there is no terminal."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tooling.deploy.stack import Display
from tooling.terminal import job_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tooling.deploy import bootstrap, changeset
    from tooling.deploy.stack_events import StackEvent

WIDTH_WITHOUT_TERMINAL = 120
STEP_CHARS = 80  # for the title of a step, before its duration
ALERT_WIDTH = 100  # for a text message and an e-mail side by side
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


class _Console(Console):
    """A console whose reader may go away; rich ends the task then, in the middle of a deploy."""

    def on_broken_pipe(self) -> None:
        """Print nothing any more, and let the task go on."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Screen:
    """Prints to standard output. Text is never cut, and never read as rich's markup."""

    def __init__(self) -> None:
        # With soft_wrap, rich leaves long lines to the terminal and does not cut them.
        if sys.stdout.isatty():
            self.rich: Console = _Console(highlight=False, soft_wrap=True)
        else:
            self.rich = _Console(width=WIDTH_WITHOUT_TERMINAL, soft_wrap=True)

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

    def print_alert(self, text: str, email: str) -> None:
        """Print a text message in a box as wide as a phone's screen, and the e-mail beside it.

        Either may be empty. On a narrow terminal the e-mail is below the text.
        """
        boxes = []
        if text:
            boxes.append(Panel(Text(text), title="text message", width=44, title_align="left"))
        if email:
            boxes.append(Panel(Text(email), title="e-mail", width=55, title_align="left"))
        grid = Table.grid(padding=(0, 1, 0, 0))
        if self.rich.width >= ALERT_WIDTH:
            grid.add_row(*boxes)
        else:
            for box in boxes:
                grid.add_row(box)
        self.rich.print(grid, soft_wrap=False)  # the boxes wrap; soft wrapping would cut them

    @contextmanager
    def show_step(self, title: str) -> Iterator[Callable[[str], None]]:
        """Print one line about a step: its title, and at the end its duration.

        Yield a function that says what the step does now. On a terminal the line shows that and
        turns; elsewhere it ends when the step does.
        """
        start = time.monotonic()
        is_terminal = self.rich.is_terminal
        try:
            if is_terminal:
                with self.rich.status(Text(title)) as status:
                    yield lambda text: status.update(Text(f"{title}: {text}"))
            else:
                print(f"{title:<{STEP_CHARS}}", end="", flush=True)
                yield lambda _text: None
        except BaseException:
            if not is_terminal:
                print()  # what follows begins on a line of its own
            raise
        duration = f"{time.monotonic() - start:5.1f} s"
        print(f"{title:<{STEP_CHARS}}{duration}" if is_terminal else duration, flush=True)

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
