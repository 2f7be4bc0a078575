"""Tables that fit their terminal: what has no room is left out as a whole column, and never cut.

A number that was cut looks like another number, and half an id finds no order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``leaves``: where it is narrow, those with the highest go first; 0 never goes."""

    heading: str
    leaves: int = 0
    right: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One cell a column, and the style of all of them."""

    cells: Sequence[str]
    style: str = ""


def width_of(screen: Any) -> int | None:
    """How many characters a line may have; None in a pipe, which has no width."""
    width: int = screen.width
    return width if screen.is_terminal else None


def say(screen: Any, text: str, style: str = "") -> None:
    """One line. A terminal folds it between words, so that no number is broken; in a pipe it stays one line."""
    from rich.text import Text

    screen.print(Text(text, style=style), soft_wrap=not screen.is_terminal)


def kept(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> list[int]:
    """The numbers of the columns that ``width`` characters have room for, as far as they may be left out."""
    widths, left = _widths(columns, rows), list(range(len(columns)))
    for number in sorted(left, key=lambda number: -columns[number].leaves):
        if width is None or _together(widths, left) <= width or not columns[number].leaves:
            break
        left.remove(number)
    return left


def show(screen: Any, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Print it. Where not even what must stay has room, every row becomes a block of its own, with a line a cell."""
    from rich.text import Text

    width, widths = width_of(screen), _widths(columns, rows)
    shown = kept(columns, rows, width)
    if width is not None and _together(widths, shown) > width:
        _stack(screen, columns, rows)
        return
    head = [column.heading for column in columns]
    for cells, style in ((head, "bold"), *((row.cells, row.style) for row in rows)):
        padded = [_padded(cells[number], widths[number], columns[number].right) for number in shown]
        # never folded, as it fits; and no cell is taken for markup
        screen.print(Text((" " * _GAP).join(padded).rstrip(), style=style), soft_wrap=True)


def _stack(screen: Any, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    for row in rows:
        for number, (column, cell) in enumerate(zip(columns, row.cells, strict=True)):
            line = cell if number == 0 else f"  {column.heading} {cell}"
            if cell.strip():
                say(screen, line, row.style)


def _widths(columns: Sequence[Column], rows: Sequence[Row]) -> list[int]:
    from rich.cells import cell_len

    return [
        max(cell_len(column.heading), *(cell_len(row.cells[number]) for row in rows), 0)
        for number, column in enumerate(columns)
    ]


def _together(widths: Sequence[int], numbers: Sequence[int]) -> int:
    return sum(widths[number] for number in numbers) + _GAP * max(0, len(numbers) - 1)


def _padded(text: str, width: int, right: bool) -> str:
    from rich.cells import cell_len

    space = " " * (width - cell_len(text))
    return space + text if right else text + space
