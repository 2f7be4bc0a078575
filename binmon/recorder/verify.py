"""Proves that a recording is continuous and sound.

The rules, for each venue and symbol over all its files in order:

* ``unreadable``: every file can be read and has the columns of the dataset;
* ``update_id``: within an epoch, update ids ascend strictly (so no row is there twice);
* ``epoch``: epochs never go back;
* ``unexplained_epoch``: where the epoch grows, a book event of the symbol (or of all symbols: empty name) other than
  a rotation stands between the two rows, or the daemon was started anew between them;
* ``lengths``: prices and quantities of a side have equal lengths;
* ``quantity``, ``price``: all are finite and above zero;
* ``sorted``: bids fall and asks rise strictly; ``crossed``: the best bid is below the best ask;
* ``known_depth``: a known depth is finite and above zero, and that of the bids lies below that of the asks. It may be
  null (the venue set no limit, or the side was empty), and the best level may have moved past it.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from binmon.messages import BookEventKind, Floats
from binmon.recorder.reader import BookDataset
from binmon.recorder.sources import Keys, Source
from binmon.recorder.tables import BOOK_SCHEMA

# a snapshot may complete a book whose newest update came before it: the event is then younger than the row
_LATER_NS = 30 * 10**9
# what pyarrow and msgspec raise for damaged files, by where the damage lies
_LOST = (pa.ArrowException, msgspec.MsgspecError, OSError, ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken rule. ``row`` counts from 0 in the file; -1 speaks of the file as a whole."""

    venue: str
    symbol: str
    path: str
    row: int
    rule: str
    detail: str


def verify(dataset: BookDataset) -> list[Breach]:
    """Check everything; the breaches found, in order."""
    breaches: list[Breach] = []
    explanations = _explanations(dataset)
    with dataset.sources() as found:
        by_symbol: dict[tuple[str, str], list[Source]] = {}
        for source in found:
            by_symbol.setdefault((source.venue, source.symbol), []).append(source)
        for (venue, symbol), sources in sorted(by_symbol.items()):
            times = sorted(explanations.get((venue, symbol), []) + explanations.get((venue, ""), []))
            _verify_symbol(sources, times, breaches)
    return breaches


def _verify_symbol(sources: list[Source], event_times: list[int], breaches: list[Breach]) -> None:
    readable: list[tuple[Source, Keys]] = []
    for source in sources:
        try:
            keys = source.keys()
            for position, table in _positioned(source):
                _check_books(source, table, position, breaches)
        except _LOST as error:
            breaches.append(_breach(source, -1, "unreadable", f"{type(error).__name__}: {error}"))
            continue
        if len(keys.update_id):
            readable.append((source, keys))
    readable.sort(key=lambda entry: (int(entry[1].epoch[0]), int(entry[1].update_id[0])))
    for source, keys in readable:
        _check_order(source, keys, event_times, breaches)
    for (source, keys), (following, next_keys) in pairwise(readable):
        seam = Keys(
            *(
                np.array([before[-1], after[0]], np.int64)
                for before, after in (
                    (keys.receive_ns, next_keys.receive_ns),
                    (keys.update_id, next_keys.update_id),
                    (keys.epoch, next_keys.epoch),
                )
            )
        )
        restarted = _run_of(source.stem) != _run_of(following.stem)
        _check_order(following, seam, event_times, breaches, first_row=-1, restarted=restarted)


def _positioned(source: Source) -> Iterator[tuple[int, pa.Table]]:
    """The tables of a source, each with the position of its first row."""
    position = 0
    for table in source.tables():
        if table.schema.names != BOOK_SCHEMA.names:
            raise ValueError(f"columns are {', '.join(table.schema.names)}")
        yield position, table
        position += len(table)


def _check_order(
    source: Source,
    keys: Keys,
    event_times: list[int],
    breaches: list[Breach],
    *,
    first_row: int = 0,
    restarted: bool = False,
) -> None:
    """Each row of ``keys`` against the one before it."""
    same_epoch = keys.epoch[1:] == keys.epoch[:-1]
    for row in np.flatnonzero(same_epoch & (keys.update_id[1:] <= keys.update_id[:-1])):
        detail = f"update id {keys.update_id[row + 1]} follows {keys.update_id[row]} in epoch {keys.epoch[row]}"
        breaches.append(_breach(source, first_row + int(row) + 1, "update_id", detail))
    for row in np.flatnonzero(~same_epoch):
        before, after = int(keys.epoch[row]), int(keys.epoch[row + 1])
        if after < before:
            breaches.append(_breach(source, first_row + int(row) + 1, "epoch", f"epoch {after} follows {before}"))
            continue
        from_ns, to_ns = int(keys.receive_ns[row]), int(keys.receive_ns[row + 1]) + _LATER_NS
        position = bisect.bisect_left(event_times, from_ns)
        explained = position < len(event_times) and event_times[position] <= to_ns
        if not explained and not restarted:
            detail = f"epoch {after} follows {before} without a book event between them"
            breaches.append(_breach(source, first_row + int(row) + 1, "unexplained_epoch", detail))


def _check_books(source: Source, table: pa.Table, position: int, breaches: list[Breach]) -> None:
    best: dict[str, Floats] = {}
    for side, falling in (("bid", True), ("ask", False)):
        price_offsets, price = _lists(table, f"{side}_price")
        quantity_offsets, quantity = _lists(table, f"{side}_quantity")
        counts = np.diff(price_offsets)
        unequal = counts != np.diff(quantity_offsets)
        _tell(
            source, position, unequal, "lengths", f"{side}s have different numbers of prices and quantities", breaches
        )
        for name, values, offsets in (("price", price, price_offsets), ("quantity", quantity, quantity_offsets)):
            wrong = _rows_of(~(np.isfinite(values) & (values > 0)), offsets)
            _tell(source, position, wrong, name, f"{side} {name} is not a number above zero", breaches)
        ordered = price[1:] < price[:-1] if falling else price[1:] > price[:-1]
        # the last level of one row is no neighbour of the first level of the next
        starts = price_offsets[1:-1]
        ordered[starts[(starts > 0) & (starts < len(price))] - 1] = True
        unordered = np.concatenate((np.zeros(min(1, len(price)), np.bool_), ~ordered))
        wrong = _rows_of(unordered, price_offsets)
        _tell(source, position, wrong, "sorted", f"{side}s are not best first", breaches)
        best[side] = np.full(len(table), np.nan)
        best[side][counts > 0] = price[price_offsets[:-1][counts > 0]]
    # a comparison with nothing (NaN) is False: one-sided books cannot be crossed
    _tell(source, position, best["bid"] >= best["ask"], "crossed", "the best bid is not below the best ask", breaches)
    bid_known, ask_known = (
        np.array(table.column(name).to_pylist(), np.float64) for name in ("bid_known_to", "ask_known_to")
    )
    for known in (bid_known, ask_known):
        wrong = ~np.isnan(known) & ~(np.isfinite(known) & (known > 0))
        _tell(source, position, wrong, "known_depth", "a known depth is not a number above zero", breaches)
    wrong = bid_known >= ask_known
    _tell(source, position, wrong, "known_depth", "the bids' known depth is not below that of the asks", breaches)


def _lists(table: pa.Table, name: str) -> tuple[npt.NDArray[np.int64], Floats]:
    column = table.column(name).combine_chunks()
    array = column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks)
    offsets = array.offsets.to_numpy().astype(np.int64)
    values: Floats = array.values.to_numpy(zero_copy_only=False)
    # a slice keeps the values of its whole: count from the first one used
    return offsets - offsets[0], values[offsets[0] : offsets[-1]]


def _rows_of(bad_values: npt.NDArray[np.bool_], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which rows have a bad value."""
    rows = np.zeros(len(offsets) - 1, np.bool_)
    rows[np.searchsorted(offsets, np.flatnonzero(bad_values), side="right") - 1] = True
    return rows


def _tell(
    source: Source, position: int, rows: npt.NDArray[np.bool_], rule: str, detail: str, breaches: list[Breach]
) -> None:
    breaches.extend(_breach(source, position + int(row), rule, detail) for row in np.flatnonzero(rows))


def _breach(source: Source, row: int, rule: str, detail: str) -> Breach:
    return Breach(source.venue, source.symbol, str(source.path), row, rule, detail)


def _explanations(dataset: BookDataset) -> dict[tuple[str, str], list[int]]:
    """Times of the events that may end an epoch, by venue and symbol."""
    times: dict[tuple[str, str], list[int]] = {}
    for event in dataset.event_rows():
        if event.kind is not BookEventKind.ROTATION:
            times.setdefault((event.venue, event.symbol), []).append(event.time_ns)
    return times


def _run_of(stem: str) -> str:
    """The run of the daemon that wrote a segment, as its name says."""
    return stem.rsplit("-", 2)[1] if stem.count("-") >= 2 else stem
