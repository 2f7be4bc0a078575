"""The columns of the dataset, and rows as Arrow tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from binmon.messages import BookEvent, Floats
from binmon.recorder.rows import BookRow

BOOK_SCHEMA = pa.schema(
    [
        pa.field("event_time", pa.timestamp("ms", "UTC"), nullable=False),
        pa.field("receive_time", pa.timestamp("ns", "UTC"), nullable=False),
        pa.field("update_id", pa.int64(), nullable=False),
        pa.field("updates", pa.int32(), nullable=False),
        pa.field("epoch", pa.int32(), nullable=False),
        pa.field("bid_known_to", pa.float64()),
        pa.field("ask_known_to", pa.float64()),
        *(
            pa.field(name, pa.list_(pa.float64()), nullable=False)
            for name in ("bid_price", "bid_quantity", "ask_price", "ask_quantity")
        ),
    ]
)
LEVEL_COLUMNS = ("bid_price", "bid_quantity", "ask_price", "ask_quantity")

EVENT_SCHEMA = pa.schema(
    [
        pa.field("time", pa.timestamp("ns", "UTC"), nullable=False),
        pa.field("venue", pa.string(), nullable=False),
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("from_update_id", pa.int64()),
        pa.field("to_update_id", pa.int64()),
        pa.field("detail", pa.string(), nullable=False),
    ]
)


class RowGroup:
    """Rows of one symbol, gathered column by column in memory that is used again for the next group.

    Books are copied in, so that the arrays of a row can go at once: keeping a hundred full books and joining them at
    the end costs more time in fresh memory than everything else here.
    """

    def __init__(self) -> None:
        self._scalars: list[tuple[int, int, int, int, int, float | None, float | None]] = []
        self._sides = (_Side(), _Side())

    def __len__(self) -> int:
        return len(self._scalars)

    @property
    def bytes(self) -> int:
        """Bytes of the levels gathered."""
        return 16 * sum(side.offsets[-1] for side in self._sides)

    def add(self, row: BookRow) -> None:
        """Copy a row in. All rows of a group together must have fewer than 2³¹ levels a side."""
        self._scalars.append(
            (
                row.event_time_ms,
                row.receive_time_ns,
                row.update_id,
                row.updates,
                row.epoch,
                row.bid_known_to,
                row.ask_known_to,
            )
        )
        self._sides[0].add(row.bid_price, row.bid_quantity)
        self._sides[1].add(row.ask_price, row.ask_quantity)

    def table(self) -> pa.Table:
        """The rows as a table of ``BOOK_SCHEMA``; its lists are valid until ``clear``."""
        columns: list[Any] = []
        values = list(zip(*self._scalars, strict=True)) or [()] * 7
        for field, column in zip(BOOK_SCHEMA, values, strict=False):
            kind = pa.int64() if pa.types.is_timestamp(field.type) else field.type
            columns.append(pa.array(column, kind).cast(field.type))
        columns += [array for side in self._sides for array in side.arrays()]
        return pa.Table.from_arrays(columns, schema=BOOK_SCHEMA)

    def clear(self) -> None:
        """Forget the rows, keep the memory."""
        self._scalars.clear()
        for side in self._sides:
            side.offsets = [0]


class _Side:
    """The levels of one side of all rows, one behind the other."""

    def __init__(self) -> None:
        self.offsets = [0]
        self._price: Floats = np.empty(1024)
        self._quantity: Floats = np.empty(1024)

    def add(self, price: Floats, quantity: Floats) -> None:
        begin = self.offsets[-1]
        end = begin + len(price)
        if end > len(self._price):
            self._price, self._quantity = (_grown(values, begin, end) for values in (self._price, self._quantity))
        self._price[begin:end] = price
        self._quantity[begin:end] = quantity
        self.offsets.append(end)

    def arrays(self) -> list[Any]:
        offsets, end = pa.array(self.offsets, pa.int32()), self.offsets[-1]
        return [pa.ListArray.from_arrays(offsets, pa.array(values[:end])) for values in (self._price, self._quantity)]


def _grown(values: Floats, used: int, wanted: int) -> Floats:
    larger = np.empty(max(wanted, 4 * len(values)))
    larger[:used] = values[:used]
    return larger


def book_table(rows: Sequence[BookRow]) -> pa.Table:
    """Rows of one symbol as a table of ``BOOK_SCHEMA``."""
    group = RowGroup()
    for row in rows:
        group.add(row)
    return group.table()


def event_table(events: Sequence[BookEvent]) -> pa.Table:
    """Events as a table of ``EVENT_SCHEMA``."""
    columns: list[Any] = [
        pa.array([event.time_ns for event in events], pa.int64()).cast(EVENT_SCHEMA.field(0).type),
        pa.array([event.venue for event in events], pa.string()),
        pa.array([event.symbol for event in events], pa.string()),
        pa.array([str(event.kind) for event in events], pa.string()),
        pa.array([event.from_update_id for event in events], pa.int64()),
        pa.array([event.to_update_id for event in events], pa.int64()),
        pa.array([event.detail for event in events], pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=EVENT_SCHEMA)


def integers(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """A time or integer column as int64: nanoseconds, milliseconds or the number itself."""
    column = table.column(name)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return cast("npt.NDArray[np.int64]", column.to_numpy().astype(np.int64, copy=False))
