"""Proves that a recording is continuous and sound.

The rules, for each venue and symbol over all its files in order:

* ``unreadable``: every file can be read and has the columns of the dataset;
* ``update_id``: within an epoch, update ids ascend strictly (so no row is there twice);
* ``epoch``: epochs never go back;
* ``unexplained_epoch``: where the epoch grows, a book event of the symbol (or of all symbols: empty name) that ends an
  epoch (resync, gap, disconnect, stall) stands between the two rows, or the daemon was started anew between them;
* ``gap``: no row lies inside what a gap event says is missing (see ``_check_gaps``);
* ``lengths``: prices and quantities of a side have equal lengths;
* ``quantity``, ``price``: all are finite and above zero;
* ``sorted``: bids fall and asks rise strictly; ``crossed``: the best bid is below the best ask;
* ``known_depth``: a known depth is finite and above zero, that of the bids lies below that of the asks, and neither
  changes within an epoch. It may be null (the side was empty), and the best level may have moved past it.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from binmon.messages import BookEvent, BookEventKind, Floats
from binmon.recorder.listing import retried
from binmon.recorder.pending import EXPLAINING
from binmon.recorder.reader import BookDataset
from binmon.recorder.sources import UNREADABLE, Keys, Source
from binmon.recorder.tables import BOOK_SCHEMA, integers

# a snapshot may complete a book whose newest update came before it: the event is then younger than the row
_LATER_NS = 30 * 10**9
_Known = dict[int, tuple[float, float]]  # by epoch: known depth of bids and asks, NaN for none


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

    def unreadable(path: Path, error: Exception) -> None:
        breach = Breach("", "", str(path), -1, "unreadable", f"{type(error).__name__}: {error}")
        if breach not in breaches:  # the list may be read twice
            breaches.append(breach)

    explanations: dict[tuple[str, str], list[int]] = {}
    gaps: dict[tuple[str, str], list[BookEvent]] = {}
    for event in dataset.event_rows(unreadable):
        if event.kind in EXPLAINING:
            explanations.setdefault((event.venue, event.symbol), []).append(event.time_ns)
        if event.kind is BookEventKind.GAP:
            gaps.setdefault((event.venue, event.symbol), []).append(event)

    def check(venue: str, symbol: str) -> list[Breach]:
        times = sorted(explanations.get((venue, symbol), []) + explanations.get((venue, ""), []))
        with dataset.sources(symbol, venue) as sources:
            return _verify_symbol(sources, times, gaps.get((venue, symbol), []))

    for venue, symbol in dataset.symbols():
        breaches += retried(partial(check, venue, symbol))
    return breaches


def _verify_symbol(sources: list[Source], event_times: list[int], gaps: list[BookEvent]) -> list[Breach]:
    breaches: list[Breach] = []
    readable: list[tuple[Source, Keys]] = []
    known: _Known = {}
    for source in sources:
        try:
            keys = source.keys()
            for position, table in _positioned(source):
                _check_books(source, table, position, known, breaches)
        except UNREADABLE as error:
            if isinstance(error, FileNotFoundError) and not source.path.is_symlink():
                raise  # merged into another file, or deleted, since it was listed
            breaches.append(_breach(source, -1, "unreadable", f"{type(error).__name__}: {error}"))
            continue
        if len(keys.update_id):
            readable.append((source, keys))
    readable.sort(key=lambda entry: (int(entry[1].epoch[0]), int(entry[1].update_id[0])))
    for source, keys in readable:
        _check_order(source, keys, event_times, breaches, restarts=_restarts(source))
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
        restarted = _run_of(source.origins()[-1][0]) != _run_of(following.origins()[0][0])
        _check_order(following, seam, event_times, breaches, first_row=-1, restarts={0} if restarted else set())
    _check_gaps(readable, gaps, breaches)
    return breaches


def _restarts(source: Source) -> set[int]:
    """The rows behind which the daemon was started anew; only merged files have some."""
    restarts: set[int] = set()
    rows = 0
    for (stem, count), (following, _) in pairwise(source.origins()):
        rows += count
        if _run_of(stem) != _run_of(following):
            restarts.add(rows - 1)
    return restarts


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
    restarts: set[int],
) -> None:
    """Each row of ``keys`` against the one before it. Behind a row of ``restarts`` another run of the daemon begins."""
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
        if not explained and int(row) not in restarts:
            detail = f"epoch {after} follows {before} without a book event between them"
            breaches.append(_breach(source, first_row + int(row) + 1, "unexplained_epoch", detail))


def _check_gaps(readable: list[tuple[Source, Keys]], gaps: list[BookEvent], breaches: list[Breach]) -> None:
    """No row may lie strictly between ``from_update_id`` and ``to_update_id`` of a gap.

    That can be said of an epoch only that has rows on both sides of the gap, by id and by time. After a gap in the feed
    the book is taken from a snapshot anew: that is another epoch, and its snapshot may be older than the end of the
    gap. After a reset of the venue ids begin again, and may pass through an old gap of another epoch.
    """
    if not gaps or not readable:
        return
    ids, times, epochs = (
        np.concatenate([getattr(keys, name) for _, keys in readable]) for name in ("update_id", "receive_ns", "epoch")
    )
    owners = np.repeat(np.arange(len(readable)), [len(keys.update_id) for _, keys in readable])
    starts = np.concatenate(([0], np.flatnonzero(np.diff(epochs)) + 1))
    ends = np.concatenate((starts[1:], [len(ids)]))
    for gap in gaps:
        first, last = gap.from_update_id, gap.to_update_id
        if first is None or last is None:
            continue
        for epoch in np.flatnonzero((ids[starts] <= first) & (ids[ends - 1] >= last)):
            start, end = int(starts[epoch]), int(ends[epoch])
            inside = start + int(np.searchsorted(ids[start:end], first, "right"))
            behind = start + int(np.searchsorted(ids[start:end], last, "left"))
            if inside == start or behind == end:
                continue  # ids that do not ascend are told by another rule
            if not times[inside - 1] <= gap.time_ns <= times[behind] + _LATER_NS:
                continue
            for row in range(inside, behind):
                owner = int(owners[row])
                detail = f"update id {ids[row]} lies in the gap from {first} to {last} ({gap.detail})"
                breaches.append(_breach(readable[owner][0], row - int(np.searchsorted(owners, owner)), "gap", detail))


def _check_books(source: Source, table: pa.Table, position: int, known: _Known, breaches: list[Breach]) -> None:
    best: dict[str, Floats] = {}
    worst: dict[str, Floats] = {}
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
        worst[side] = np.full(len(table), np.nan)
        worst[side][counts > 0] = price[price_offsets[1:][counts > 0] - 1]
    # a comparison with nothing (NaN) is False: one-sided books cannot be crossed
    _tell(source, position, best["bid"] >= best["ask"], "crossed", "the best bid is not below the best ask", breaches)
    bid_known, ask_known = (
        np.array(table.column(name).to_pylist(), np.float64) for name in ("bid_known_to", "ask_known_to")
    )
    bad = np.zeros(len(table), np.bool_)
    for side_known in (bid_known, ask_known):
        wrong = ~np.isnan(side_known) & ~(np.isfinite(side_known) & (side_known > 0))
        _tell(source, position, wrong, "known_depth", "a known depth is not a number above zero", breaches)
        bad |= wrong
    wrong = bid_known >= ask_known
    _tell(source, position, wrong & ~bad, "known_depth", "the bids' known depth is not below the asks'", breaches)
    # Rows that were cut at the recorded depth, or to the window that a venue tells of, are known as far as they go, which is
    # another price in each.
    whole = np.ones(len(table), np.bool_)
    for side, side_known in (("bid", bid_known), ("ask", ask_known)):
        whole &= side_known != worst[side]
    at = np.flatnonzero(whole)
    changes = np.zeros(len(table), np.bool_)
    changes[at] = _known_depth_changes(integers(table, "epoch")[at], bid_known[at], ask_known[at], known)
    wrong = changes & ~(bad | wrong)
    _tell(source, position, wrong, "known_depth", "the known depth changes within the epoch", breaches)


def _known_depth_changes(
    epochs: npt.NDArray[np.int64], bid_known: Floats, ask_known: Floats, known: _Known
) -> npt.NDArray[np.bool_]:
    """Which rows have another known depth than the row of their epoch before them; ``known`` is from table to table."""
    changed = np.zeros(len(epochs), np.bool_)
    if not len(epochs):
        return changed
    same_epoch = epochs[1:] == epochs[:-1]
    for values in (bid_known, ask_known):
        both_none = np.isnan(values[1:]) & np.isnan(values[:-1])
        changed[1:] |= same_epoch & (values[1:] != values[:-1]) & ~both_none
    # the first row of each epoch here goes on from what an earlier table or file has of it
    for row in (0, *(np.flatnonzero(~same_epoch) + 1)):
        before = known.get(int(epochs[row]))
        if before is not None:
            changed[row] = not np.array_equal(before, (bid_known[row], ask_known[row]), equal_nan=True)
    for row in (*np.flatnonzero(~same_epoch), len(epochs) - 1):
        known[int(epochs[row])] = (float(bid_known[row]), float(ask_known[row]))
    return changed


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


def _run_of(stem: str) -> str:
    """The run of the daemon that wrote a segment, as its name says."""
    return stem.rsplit("-", 2)[1] if stem.count("-") >= 2 else stem
