"""binmon: watches Binance Spot (and other venues) the way a careful operator would.

For Python users there stand here: ``binmon.open_books(directory)``, the reader of the recordings; ``binmon.candles`` and
``binmon.trades``, iterators over a live market; ``binmon.open_latency(path)``, the reader of the timed orders (`binmon.live`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from binmon.recorder.reader import BookDataset

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "open_books",
    "open_latency",
    "candles",
    "trades",
    "Candle",
    "Trade",
    "PriceCrossed",
    "PriceReturned",
]
_LIVE = frozenset(__all__) - {"__version__", "open_books"}  # binmon.live, where they are typed and described


def open_books(directory: str | Path) -> BookDataset:
    """Open the recordings below ``directory`` (the ``recorder.directory`` of the configuration)."""
    from binmon.recorder.reader import open_books as open_dataset  # pyarrow loads only when it is used

    return open_dataset(directory)


def __getattr__(name: str) -> Any:
    # what stands above everything else is found when it is asked for, and known by nobody below
    if name in _LIVE:
        return getattr(importlib.import_module("binmon.live"), name)
    raise AttributeError(f"module 'binmon' has no attribute '{name}'")
