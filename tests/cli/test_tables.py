"""Tables of the terminal: whole columns are left out, nothing is cut."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from binmon.cli.tables import Column, Row, kept, show

COLUMNS = (Column("venue"), Column("price", right=True), Column("age", leaves=1), Column("why", leaves=2))
ROWS = (Row(("binance", "65123.45", "73 ms", "[best]")), Row(("[bybit]", "6.5", "-", ""), "dim"))


def shown(width: int, *, terminal: bool = True) -> list[str]:
    screen = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, highlight=False)
    show(screen, COLUMNS, ROWS)
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    return [line for line in text.splitlines() if line]


def test_all_of_it_where_there_is_room() -> None:
    assert shown(80) == ["venue       price  age    why", "binance  65123.45  73 ms  [best]", "[bybit]       6.5  -"]
    assert shown(32) == shown(80), "to the last character"


def test_columns_go_by_their_rank() -> None:
    assert [line.split()[-1] for line in shown(31)] == ["age", "ms", "-"]
    assert shown(23) == shown(17) == ["venue       price", "binance  65123.45", "[bybit]       6.5"]
    assert kept(COLUMNS, ROWS, None) == [0, 1, 2, 3] and kept(COLUMNS, ROWS, 1) == [0, 1]


def test_what_must_stay_is_stacked_where_it_has_no_room() -> None:
    assert shown(16) == [
        "binance", "  price 65123.45", "  age 73 ms", "  why [best]", "[bybit]", "  price 6.5", "  age -",
    ]  # fmt: skip


def test_a_pipe_has_no_width() -> None:
    assert shown(5, terminal=False) == shown(80)


@pytest.mark.parametrize("width", [5, 40])
def test_a_table_without_rows(width: int) -> None:
    assert kept(COLUMNS, (), 40) == [0, 1, 2, 3]
    show(Console(file=io.StringIO(), width=width, force_terminal=True), COLUMNS, ())
