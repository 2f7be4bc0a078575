"""Where full recordings of venues lie, for the tests that use them where they are there."""

from __future__ import annotations

import os
from pathlib import Path

RECORDINGS = Path(os.environ.get("BINMON_RECORDINGS") or Path(__file__).parents[2] / "shared" / "data")
"""``binance-spot`` and ``other-venues`` are folders of it."""
