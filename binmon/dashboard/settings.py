"""What the pages of a user keep: one document, of which they change parts."""

from __future__ import annotations

import json
from typing import Any

from binmon.dashboard.problems import Refused

LARGEST = 16 << 10
"""Bytes of a document."""
MAPS = frozenset({"candle_lines", "minimum_prices"})
"""Members with an entry for each market: two pages that are open change different ones, so they are merged."""
MOST_ENTRIES = 100
"""Of each map: of the markets that somebody has looked at, the latest."""


def merged(kept: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``kept`` with its members replaced by those of ``changes``; of `MAPS` with their entries replaced, or taken away by
    None. The newest entry is the last. Raises Refused: a map that is none, a document that becomes too large."""
    document = {**kept, **changes}
    for name in MAPS & changes.keys():
        document[name] = _merged_map(name, kept.get(name), changes[name])
    if len(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()) > LARGEST:
        raise Refused(413, "too_large", f"expected settings of at most {LARGEST} bytes in all")
    return document


def _merged_map(name: str, kept: Any, changes: Any) -> dict[str, Any]:
    if not isinstance(changes, dict):
        raise Refused(400, "bad_member", f"{name}: expected an object")
    # whoever keeps a whole document may have written anything there
    entries = {key: value for key, value in kept.items() if key not in changes} if isinstance(kept, dict) else {}
    entries.update({key: value for key, value in changes.items() if value is not None})
    return dict(list(entries.items())[-MOST_ENTRIES:])
