"""Prints lines, tables and live events with rich; plain text where there is no terminal.

A screen is as wide as the terminal. Elsewhere, as in a pipe, it has COLUMNS columns, else 100.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tooling.deploy.stack import Display
from tooling.progress import Ongoing
from tooling.terminal import job_summary, table
from tooling.terminal.live_line import LIVE_LINE, discard_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from tooling.deploy import bootstrap, changeset
    from tooling.deploy.stack_events import StackEvent

WIDTH_WITHOUT_TERMINAL, MIN_WIDTH = 100, 40
STEP_CHARS = 80  # for the title of a step, before its duration
ALERT_WIDTH = 100  # for a text message and an e-mail side by side
STATUS_WIDTH = 27  # of the column with the status of a stack event
WAITING = Ongoing("waiting for CloudFormation", is_kept=False)
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
        discard_output()


class Screen:
    """Prints to standard output. Text is never cut, and never read as rich's markup."""

    def __init__(self) -> None:
        # With soft_wrap, rich leaves long lines to the terminal and does not cut them.
        if sys.stdout.isatty():
            self.rich: Console = _Console(highlight=False, soft_wrap=True)
        else:
            width = _read_width(os.environ.get("COLUMNS", ""))
            self.rich = _Console(
                width=width, force_terminal=False, color_system=None, soft_wrap=True
            )

    def announce(self, text: str) -> None:
        """Print one line immediately. An Ongoing one shows its seconds until the next line."""
        if isinstance(text, Ongoing):
            LIVE_LINE.show(text)
        else:
            self._print_line(Text(text))

    def print_heading(self, text: str) -> None:
        """Print the title of a step."""
        self._print_line(Text(f"\n{text}", style="bold"))

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
        """Print one event of a stack operation; a failure in red and with its reason.

        Until the next line, a line of progress fills the pause.
        """
        has_failed = event.status.endswith("_FAILED")
        resource = f"{event.stack}.{event.resource}"
        if has_failed:
            resource += f"  {event.reason}"
        lines = table.format_pair(
            event.status,
            resource,
            self.rich.width,
            name_width=STATUS_WIDTH,
            indent=table.INDENT,
        )
        self._print_line(Text("\n".join(lines), style="red" if has_failed else "dim"))
        LIVE_LINE.show(WAITING)

    def print_pairs(self, values: Mapping[str, str]) -> None:
        """Print names and values in two columns; a value that does not fit is below its name.

        In a pipe each pair is one line, so that a program can read it.
        """
        name_width = max(map(len, values), default=0)
        width = self.rich.width if self.rich.is_terminal else sys.maxsize
        for name, value in values.items():
            for line in table.format_pair(name, value, width, name_width=name_width):
                self._print_line(Text(line))

    def print_table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        is_red: Sequence[bool] | None = None,
    ) -> None:
        """Print a table without cutting any cell. ``is_red`` says for each row if it is red."""
        styles = ["red" if row_is_red else "" for row_is_red in is_red or [False] * len(rows)]
        self._print_laid_out(columns, rows, styles)

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
        self._print_boxes(grid)

    @contextmanager
    def show_step(self, title: str) -> Iterator[Callable[[str], None]]:
        """Print one line about a step: its title, and at the end its duration.

        Yield a function that says what the step does now. On a terminal the line shows that and
        turns; elsewhere it ends when the step does.
        """
        LIVE_LINE.end()
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
        self._print_laid_out(columns, rows, [MARK_COLOURS.get(row[0], "") for row in rows])

    def _print_laid_out(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]
    ) -> None:
        """Print a table; ``styles`` has rich's style for each row."""
        LIVE_LINE.end()  # also before an empty table: a question may follow
        for part in table.lay_out(columns, rows, self.rich.width, styles):
            if isinstance(part, Text):
                self._print_line(part)
            else:
                self._print_boxes(part)

    def _print_line(self, line: Text) -> None:
        """Print a line and leave it to the terminal to wrap it."""
        LIVE_LINE.end()
        self.rich.print(line)

    def _print_boxes(self, renderable: RenderableType) -> None:
        """Print what rich itself wraps, without the spaces at the ends of lines."""
        LIVE_LINE.end()
        with self.rich.capture() as capture:
            self.rich.print(renderable, soft_wrap=False)
        for line in capture.get().splitlines():
            self.rich.print(Text.from_ansi(line.rstrip()))


def _read_width(columns: str) -> int:
    """Return the width that the variable COLUMNS asks for; without a usable one, the default."""
    if columns.isascii() and columns.isdigit() and int(columns) >= MIN_WIDTH:
        return int(columns)
    return WIDTH_WITHOUT_TERMINAL
