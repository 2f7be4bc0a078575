"""How rows lie in a frame: a keyframe holds whole books, a delta only the levels that changed.

A delta is understood only with the row before it, which it names by update id and epoch; it also carries the level
counts and a checksum of the book it leads to. So a chain that is broken, or changes that do not lead where they
should, are found when the rows are read, and never become a wrong book.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from binmon.levels import apply_changes
from binmon.messages import BookSnapshot, Floats, LevelChanges

# delta?, flags, updates, epoch, levels (bid, ask), stored entries (bid, ask), event ms, receive ns, update id,
# update id of the row before, known depth (bid, ask), checksum
_ROW = struct.Struct("<BBxxiiIIIIqqqqddQ")
_BID_KNOWN, _ASK_KNOWN = 1, 2
_INT32_MAX = 2**31 - 1
_UINT64 = (1 << 64) - 1
_STORED = np.dtype("<f8")


@dataclass(frozen=True, slots=True)
class BookRow:
    """A row as read back: the columns of the recording. Sides are best first; arrays may be views."""

    event_time_ms: int
    receive_time_ns: int
    update_id: int
    updates: int
    epoch: int
    bid_known_to: float | None
    ask_known_to: float | None
    bid_price: Floats
    bid_quantity: Floats
    ask_price: Floats
    ask_quantity: Floats


def encode_row(snapshot: BookSnapshot, *, delta: bool) -> bytes:
    """The bytes of one row, as a delta or as a keyframe. ``delta`` needs ``changes_since``."""
    if delta:
        bids, asks = snapshot.bid_changes, snapshot.ask_changes
        arrays = (bids.price, bids.quantity, asks.price, asks.quantity)
    else:
        arrays = (snapshot.bid_price, snapshot.bid_quantity, snapshot.ask_price, snapshot.ask_quantity)
    flags = (_BID_KNOWN if snapshot.bid_known_to is not None else 0) | (
        _ASK_KNOWN if snapshot.ask_known_to is not None else 0
    )
    head = _ROW.pack(
        delta,
        flags,
        min(snapshot.updates, _INT32_MAX),
        snapshot.epoch,
        len(snapshot.bid_price),
        len(snapshot.ask_price),
        len(arrays[0]),
        len(arrays[2]),
        snapshot.event_time_ms,
        snapshot.receive_time_ns,
        snapshot.update_id,
        snapshot.changes_since if delta and snapshot.changes_since is not None else 0,
        snapshot.bid_known_to or 0.0,
        snapshot.ask_known_to or 0.0,
        _checksum(snapshot.bid_price, snapshot.bid_quantity, snapshot.ask_price, snapshot.ask_quantity),
    )
    return b"".join((head, *(np.ascontiguousarray(array, _STORED).tobytes() for array in arrays)))


def delta_is_smaller(snapshot: BookSnapshot) -> bool:
    """Whether the changes take less room than the whole book."""
    changed = len(snapshot.bid_changes.price) + len(snapshot.ask_changes.price)
    return changed < len(snapshot.bid_price) + len(snapshot.ask_price)


class BookChain:
    """Reads the rows of one symbol of one segment back, frame by frame in the order of writing.

    ``rows_lost`` counts rows that could not be rebuilt: deltas whose predecessor is not there or did not check.
    """

    def __init__(self) -> None:
        self.rows_lost = 0
        self._last: tuple[int, int] | None = None  # epoch and update id of the row the next delta must name
        # ascending by price, as apply_changes wants them
        self._bids: tuple[Floats, Floats] = (np.empty(0), np.empty(0))
        self._asks: tuple[Floats, Floats] = (np.empty(0), np.empty(0))

    def read(self, data: bytes) -> Iterator[BookRow]:
        """The rows of one frame's unpacked data."""
        offset = 0
        while offset < len(data):
            (
                delta,
                flags,
                updates,
                epoch,
                bid_levels,
                ask_levels,
                bid_entries,
                ask_entries,
                event_time_ms,
                receive_time_ns,
                update_id,
                since,
                bid_known_to,
                ask_known_to,
                checksum,
            ) = _ROW.unpack_from(data, offset)
            offset += _ROW.size
            entries = np.frombuffer(data, _STORED, 2 * (bid_entries + ask_entries), offset)
            offset += entries.nbytes
            cuts = (bid_entries, 2 * bid_entries, 2 * bid_entries + ask_entries)
            bid_price, bid_quantity = entries[: cuts[0]], entries[cuts[0] : cuts[1]]
            ask_price, ask_quantity = entries[cuts[1] : cuts[2]], entries[cuts[2] :]
            if delta:
                if self._last != (epoch, since):
                    self._lose()
                    continue
                if bid_entries:
                    self._bids = apply_changes(*self._bids, LevelChanges(bid_price, bid_quantity))
                if ask_entries:
                    self._asks = apply_changes(*self._asks, LevelChanges(ask_price, ask_quantity))
            else:
                self._bids = (np.ascontiguousarray(bid_price[::-1]), np.ascontiguousarray(bid_quantity[::-1]))
                self._asks = (ask_price, ask_quantity)
            counts_match = len(self._bids[0]) == bid_levels and len(self._asks[0]) == ask_levels
            if not counts_match or _checksum(*self._bids, *self._asks) != checksum:
                self._lose()
                continue
            self._last = (epoch, update_id)
            yield BookRow(
                event_time_ms,
                receive_time_ns,
                update_id,
                updates,
                epoch,
                bid_known_to if flags & _BID_KNOWN else None,
                ask_known_to if flags & _ASK_KNOWN else None,
                self._bids[0][::-1],
                self._bids[1][::-1],
                self._asks[0],
                self._asks[1],
            )

    @staticmethod
    def keys(data: bytes) -> list[tuple[int, int, int]]:
        """(receive time in ns, update id, epoch) of the rows of one frame, without rebuilding any book."""
        found: list[tuple[int, int, int]] = []
        offset = 0
        while offset < len(data):
            head = _ROW.unpack_from(data, offset)
            found.append((head[9], head[10], head[3]))
            offset += _ROW.size + 16 * (head[6] + head[7])
        return found

    def _lose(self) -> None:
        self.rows_lost += 1
        self._last = None  # whatever follows is unknown up to the next keyframe


def _checksum(bid_price: Floats, bid_quantity: Floats, ask_price: Floats, ask_quantity: Floats) -> int:
    """Depends on every bit of every value, not on their order: a side may be counted from either end."""
    return (_bits(bid_price) + 3 * _bits(bid_quantity) + 5 * _bits(ask_price) + 7 * _bits(ask_quantity)) & _UINT64


def _bits(values: Floats) -> int:
    bits: npt.NDArray[np.uint64] = np.ascontiguousarray(values, _STORED).view(np.uint64)
    return int(np.add.reduce(bits))
