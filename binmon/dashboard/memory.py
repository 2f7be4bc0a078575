"""What the dashboard remembers of what it was told: the newest trades, tops and alerts. Bounded; any thread may ask."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from binmon.alerts.notification import Notification
from binmon.dashboard.sources import Key
from binmon.messages import TopOfBook, Trade

TRADES_KEPT = 1_000
ALERTS_KEPT = 500


@dataclass(frozen=True, slots=True)
class SeenTop:
    """A top and when it came here, by the monotonic clock."""

    top: TopOfBook
    at_s: float


class Memory:
    """What has been, for pages that are opened now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        self._trades: dict[Key, deque[Trade]] = {}
        self._tops: dict[Key, SeenTop] = {}
        self._alerts: deque[Notification] = deque(maxlen=ALERTS_KEPT)

    def add_trade(self, trade: Trade) -> None:
        """A trade of a symbol that is followed; each comes once, in the order of the stream."""
        with self._lock:
            kept = self._trades.setdefault((trade.venue, trade.symbol), deque(maxlen=TRADES_KEPT))
            kept.append(trade)

    def trades(self, key: Key, before: Sequence[Trade], limit: int) -> list[Trade]:
        """The newest trades, oldest first; ``before`` is what was known before the first of them came."""
        with self._lock:
            kept = list(self._trades.get(key, ()))
        if len(kept) < limit:
            first = kept[0].trade_id if kept else None
            kept = [one for one in before if first is None or one.trade_id < first] + kept
        return kept[-limit:]

    def keep_trades_of(self, keys: Collection[Key]) -> None:
        """Forget the trades of all others: nobody looks, so what comes next would not follow on them."""
        with self._lock:
            for key in [key for key in self._trades if key not in keys]:
                del self._trades[key]

    def set_top(self, top: TopOfBook, at_s: float) -> None:
        """The newest top of a book."""
        with self._lock:
            self._tops[top.venue, top.symbol] = SeenTop(top, at_s)

    def tops(self) -> dict[Key, SeenTop]:
        """The newest top of each book; a copy."""
        with self._lock:
            return dict(self._tops)

    def add_alert(self, alert: Notification) -> None:
        """A message to people."""
        with self._lock:
            self._alerts.append(alert)

    def alerts(self, limit: int) -> list[Notification]:
        """The newest messages, newest first."""
        with self._lock:
            return list(self._alerts)[: -limit - 1 : -1]
