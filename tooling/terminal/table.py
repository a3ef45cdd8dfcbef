"""Lays out tables for a screen of any width. Nothing is ever cut.

A table that fits is one of rich's: a column of short cells is never wrapped, a longer one is. Where
the columns would become too narrow to read, each row becomes a block of lines instead: its first
cell, then each further one with the name of its column.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

GAP = 2  # columns of the screen between two columns of a table
SHORT_CELL_MAX_CHARS = 24  # such cells are not wrapped
WRAPPED_MIN_CHARS = 15  # a column of longer cells is at least so wide
INDENT = "  "


def lay_out(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    styles: Sequence[str] | None = None,
) -> Iterator[RenderableType]:
    """Yield what to print of a table on a screen of ``width`` columns.

    A column whose cells are all empty is left out. A table without rows prints nothing. If the
    first column has no name, its cells are marks, such as "+". ``styles`` has rich's style for each
    row.
    """
    if not rows:
        return
    row_styles = list(styles or [""] * len(rows))
    used = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    names = [columns[index] for index in used]
    cells = [[row[index] for index in used] for row in rows]
    if _needed_width(names, cells) > width:
        for row, style in zip(cells, row_styles, strict=True):
            for line in format_block(names, row, width):
                yield Text(line, style=style)
    else:
        yield _build_table(names, cells, row_styles)


def _needed_width(names: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return how wide a screen must be for a readable table."""
    widths = [_column_width(column) for column in zip(names, *rows, strict=True)]
    least = [
        natural if natural <= SHORT_CELL_MAX_CHARS else WRAPPED_MIN_CHARS for natural in widths
    ]
    return sum(least) + GAP * (len(least) - 1)


def _column_width(cells: Sequence[str]) -> int:
    """Return the width of the widest cell of a column."""
    return max(map(cell_len, cells))


def _build_table(
    names: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]
) -> Table:
    """Return rich's table; numbers are on the right of their column."""
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for index, name in enumerate(names):
        cells = [row[index] for row in rows]
        is_number = bool(cells) and all(_is_number(cell) for cell in cells)
        table.add_column(
            Text(name),
            overflow="fold",
            justify="right" if is_number else "left",
            no_wrap=_column_width([name, *cells]) <= SHORT_CELL_MAX_CHARS,
        )
    for row, style in zip(rows, styles, strict=True):
        table.add_row(*map(Text, row), style=style)
    return table


def _is_number(cell: str) -> bool:
    """Return whether a cell is a number, such as "12" or "0.5"."""
    return cell.replace(".", "", 1).isdecimal()


def format_block(names: Sequence[str], row: Sequence[str], width: int) -> list[str]:
    """Return a row as lines: the first cell, then the others, each with its column's name."""
    named = list(zip(names, row, strict=True))
    title_cells = 2 if not names[0] and len(named) > 1 else 1  # a mark stands before the title
    title = " ".join(cell for _, cell in named[:title_cells] if cell)
    lines = wrap(title, width, INDENT)
    rest = [(name, cell) for name, cell in named[title_cells:] if cell]
    name_width = max((cell_len(name) for name, _ in rest), default=0)
    for name, cell in rest:
        lines += format_pair(name, cell, width, name_width=name_width, indent=INDENT)
    return lines


def format_pair(
    name: str, value: str, width: int, *, name_width: int, indent: str = ""
) -> list[str]:
    """Return a name and its value in two columns; a value that does not fit is below its name.

    An id that is longer than a line stays whole, so that it can be copied; a terminal wraps it.
    """
    line = f"{indent}{name:<{name_width}}{'':{GAP}}{value}"
    if cell_len(line) <= width:
        return [line.rstrip()]
    return [f"{indent}{name}".rstrip(), *wrap(value, width, indent + INDENT, indent + INDENT)]


def wrap(text: str, width: int, indent: str, first_indent: str = "") -> list[str]:
    """Return the text in lines of at most ``width``, broken at spaces alone.

    The first line begins with ``first_indent``, the others with ``indent``.
    """
    return textwrap.wrap(
        text,
        width,
        initial_indent=first_indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]
