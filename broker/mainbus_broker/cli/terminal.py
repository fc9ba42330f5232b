"""How results look to people: tables as wide as the terminal, and as wide as they need to be where there is none.

rich is imported when a table is made: most commands print none. Styles are those that every terminal has, on a dark
ground and on a light one; none carries what the words do not say, too.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from mainbus_broker.logs import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_ENDLESS: Final = 100_000
"""Columns where nobody looks: a line of a pipe is never broken."""


class Column(NamedTuple):
    """A column of a table; its texts are broken where they do not fit, so that they can be copied whole."""

    head: str
    right: bool = False
    words: bool = False
    """Whether it has sentences, which are broken between words."""


class Styled(NamedTuple):
    """A cell that looks like something."""

    text: str
    style: str


Cell = object
"""What is shown as its text; None is shown as a dash."""


def table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, heads: bool = True) -> str:
    """Return a table as text, for standard output.

    Args:
        columns: What it has.
        rows: A cell for each column.
        heads: Whether the first line says what the columns are.
    """
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=heads, header_style="bold")
    for column in columns:
        made.add_column(
            column.head,
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=column.right,
            # Else a long text in another column leaves no room for short words.
            min_width=None if column.words else min(_widest(column, columns, rows), 8),
        )
    for row in rows:
        made.add_row(*map(_text, row))
    screen = console()
    with screen.capture() as captured:
        screen.print(made)
    lines = captured.get().splitlines()
    return "\n".join(line.rstrip() for line in lines)


def console(*, to_stderr: bool = False) -> Console:
    """Return the terminal, or what stands for it, of standard output or standard error."""
    from rich.console import Console

    stream = sys.stderr if to_stderr else sys.stdout
    width = shutil.get_terminal_size().columns if stream.isatty() else _ENDLESS
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


@lru_cache
def styled(text: str, style: str) -> str:
    """Return text that looks like something on standard output, if that is a terminal which can show it."""
    if not sys.stdout.isatty():
        return text
    from rich.text import Text

    screen = console()
    with screen.capture() as captured:
        screen.print(Text(text, style=style), end="", soft_wrap=True)
    return captured.get()


def duration(seconds: float) -> str:
    """Return seconds as people read them: the two largest units."""
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours < 24 else f"{hours // 24}d{hours % 24:02}h"


def size(number: float) -> str:
    """Return a number of bytes as people read it: two digits at least, or the whole number."""
    units = ["GiB", "MiB", "KiB", "B"]
    while number >= 1024 and len(units) > 1:
        number /= 1024
        units.pop()
    is_whole = number == int(number) or number >= 9.95
    return f"{number:.0f} {units[-1]}" if is_whole else f"{number:.1f} {units[-1]}"


def _widest(column: Column, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> int:
    at = columns.index(column)
    return max([len(column.head), *(len(_text(row[at])) for row in rows)])


def _text(cell: Cell) -> Text:
    from rich.text import Text

    if cell is None:
        return Text("-")
    if isinstance(cell, Styled):
        return Text(visible(cell.text), style=cell.style)
    return Text(visible(str(cell)))
