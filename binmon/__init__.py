"""binmon: watches Binance Spot (and other venues) the way a careful operator would.

For Python users the reader of the recordings stands here: ``binmon.open_books(directory)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from binmon.recorder.reader import BookDataset

__version__ = "0.1.0"
__all__ = ["__version__", "open_books"]


def open_books(directory: str | Path) -> BookDataset:
    """Open the recordings below ``directory`` (the ``recorder.directory`` of the configuration)."""
    from binmon.recorder.reader import open_books as open_dataset  # pyarrow loads only when it is used

    return open_dataset(directory)
