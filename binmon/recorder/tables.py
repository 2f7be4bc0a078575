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


def book_table(rows: Sequence[BookRow]) -> pa.Table:
    """Rows of one symbol as a table of ``BOOK_SCHEMA``. The levels of all rows together must stay below 2³¹ a side."""
    bid_offsets = _offsets([row.bid_price for row in rows])
    ask_offsets = _offsets([row.ask_price for row in rows])
    columns: list[Any] = [
        pa.array(np.array([row.event_time_ms for row in rows], np.int64)).cast(BOOK_SCHEMA.field(0).type),
        pa.array(np.array([row.receive_time_ns for row in rows], np.int64)).cast(BOOK_SCHEMA.field(1).type),
        pa.array(np.array([row.update_id for row in rows], np.int64)),
        pa.array(np.array([row.updates for row in rows], np.int32)),
        pa.array(np.array([row.epoch for row in rows], np.int32)),
        pa.array([row.bid_known_to for row in rows], pa.float64()),
        pa.array([row.ask_known_to for row in rows], pa.float64()),
        _lists(bid_offsets, [row.bid_price for row in rows]),
        _lists(bid_offsets, [row.bid_quantity for row in rows]),
        _lists(ask_offsets, [row.ask_price for row in rows]),
        _lists(ask_offsets, [row.ask_quantity for row in rows]),
    ]
    return pa.Table.from_arrays(columns, schema=BOOK_SCHEMA)


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


def _offsets(sides: Sequence[Floats]) -> npt.NDArray[np.int32]:
    offsets = np.zeros(len(sides) + 1, np.int32)
    np.cumsum([len(side) for side in sides], out=offsets[1:])
    return offsets


def _lists(offsets: npt.NDArray[np.int32], sides: Sequence[Floats]) -> Any:
    values = np.concatenate(sides) if sides else np.empty(0)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
