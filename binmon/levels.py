"""One side of a book as two sorted arrays, and the vectorised merge of many changes into it.

Arrays are never changed in place: a merge makes new ones, so a reader may keep what it was given. This is the
hot path of copying: it runs once for many updates, not once for each (measured: a merge for every message costs
ten times as much as one for every tenth).
"""

from __future__ import annotations

import numpy as np

from binmon.messages import Floats, LevelChanges

NO_FLOATS: Floats = np.empty(0, dtype=np.float64)
NO_FLOATS.flags.writeable = False
NO_CHANGES = LevelChanges(NO_FLOATS, NO_FLOATS)


def read_only(array: Floats) -> Floats:
    """Mark an array that leaves its maker."""
    array.flags.writeable = False
    return array


def apply_changes(price: Floats, quantity: Floats, changes: LevelChanges) -> tuple[Floats, Floats]:
    """Merge ``changes`` into a side whose prices ascend; returns new arrays, or the old ones without changes.

    Quantities are absolute; zero removes a level, and removing one that is not there is normal (reference:
    Binance Spot, local order book).
    """
    if changes.price.size == 0:
        return price, quantity
    # Old levels and changes, sorted as one: the sort is stable, so of equal prices the newest comes last, and it finds
    # the old levels in order already. Measured against finding the place of every change: 5 us instead of 15 with 150
    # levels, 30 instead of 40 with 5,000.
    every_price = np.concatenate((price, changes.price))
    every_quantity = np.concatenate((quantity, changes.quantity))
    order = every_price.argsort(kind="stable")
    every_price, every_quantity = every_price[order], every_quantity[order]
    keep = np.empty(every_price.size, dtype=np.bool_)
    keep[-1] = True
    np.not_equal(every_price[1:], every_price[:-1], out=keep[:-1])
    np.logical_and(keep, every_quantity, out=keep)
    return read_only(every_price[keep]), read_only(every_quantity[keep])
