"""Trades as they came, each once, whatever sockets deliver them; and what is missing between. No I/O."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from binmon.messages import Trade

REMEMBERED = 16_384  # trades that a second socket may bring again: several seconds of the liveliest symbol
LATE_WITHIN_S = 3.0  # a trade that is missing may be on its way on another socket


@dataclass(frozen=True, slots=True)
class TradesMissed:
    """Trades that no socket brought, first to last id."""

    first_trade_id: int
    last_trade_id: int
    count: int


@dataclass(frozen=True, slots=True)
class TradesRestarted:
    """The venue counts its trades anew: it was reset."""

    trade_id: int
    previous: int


class TradeSequence:
    """One symbol's trades. ``consecutive``: ids count up by one, so that a missing one is seen."""

    def __init__(self, *, consecutive: bool) -> None:
        self.effects: deque[TradesMissed | TradesRestarted] = deque()
        self._consecutive = consecutive
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._newest: Trade | None = None
        self._missing: deque[tuple[float, set[int], int, int]] = deque()  # since, ids, first, last
        self.duplicates = self.missed = 0

    @property
    def newest(self) -> Trade | None:
        """The trade with the highest id."""
        return self._newest

    def take(self, trade: Trade, now_s: float) -> bool:
        """Whether the trade is news."""
        if trade.trade_id in self._seen:
            if not self._is_restart(trade):
                self.duplicates += 1
                return False
            self._restart(trade)
        elif self._newest is not None and trade.trade_id < self._newest.trade_id:
            if self._is_restart(trade):
                self._restart(trade)
            elif trade.trade_id < next(iter(self._seen)):
                self.duplicates += 1  # from before we listened, or from so long ago that nobody knows
                return False
        newest = self._newest
        self._seen[trade.trade_id] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        if newest is None or trade.trade_id > newest.trade_id:
            if newest is not None and self._consecutive and trade.trade_id > newest.trade_id + 1:
                self._miss(newest.trade_id + 1, trade.trade_id - 1, now_s)
            self._newest = trade
        else:
            for _, ids, _, _ in self._missing:
                ids.discard(trade.trade_id)
        return True

    def tick(self, now_s: float) -> None:
        """What has been missing for long will not come any more."""
        while self._missing and now_s - self._missing[0][0] >= LATE_WITHIN_S:
            _, ids, first, last = self._missing.popleft()
            beyond = last - first + 1 - REMEMBERED
            count = len(ids) + max(0, beyond)
            if count:
                self.missed += count
                self.effects.append(TradesMissed(min(ids, default=first), last if beyond > 0 else max(ids), count))

    def _miss(self, first: int, last: int, now_s: float) -> None:
        # of a long gap only so many are looked out for: none of them comes late
        self._missing.append((now_s, set(range(first, min(last, first + REMEMBERED - 1) + 1)), first, last))

    def _is_restart(self, trade: Trade) -> bool:
        """A smaller id at a later time."""
        newest = self._newest
        return (
            newest is not None
            and trade.trade_id < newest.trade_id
            and trade.trade_time_ms > newest.trade_time_ms
            and not self._is_awaited(trade.trade_id)
        )

    def _is_awaited(self, trade_id: int) -> bool:
        return any(trade_id in ids for _, ids, _, _ in self._missing)

    def _restart(self, trade: Trade) -> None:
        assert self._newest is not None
        self.effects.append(TradesRestarted(trade.trade_id, self._newest.trade_id))
        self._seen.clear()
        self._missing.clear()
        self._newest = None
