"""Whether a trade stream is dead or only quiet. No I/O.

After ``SILENT_S`` without a trade the venue is asked for the newest candles. If one of them says that something was traded
after the newest trade we have, and the stream does not bring it within a few seconds, the stream is dead. What traded in
the very minute of our newest trade shows when the minute is over.
"""

from __future__ import annotations

from collections.abc import Sequence

from binmon.messages import Candle, Trade

SILENT_S = 60.0
LONGEST_SILENT_S = 600.0  # looks that find nothing become rarer
NEWS_WITHIN_S = 3.0


class TradeSilence:
    """One stream."""

    def __init__(self) -> None:
        self._heard_s: float | None = None  # the last trade or look; None: not live, or a question is under way
        self._wait_s = SILENT_S
        self._news_s: float | None = None
        self._up_ms: int | None = None  # venue's time from which on trades should have come
        self._live = False

    def on_up(self, now_s: float) -> None:
        """The stream is live."""
        self._live, self._heard_s, self._wait_s, self._news_s, self._up_ms = True, now_s, SILENT_S, None, None

    def on_down(self) -> None:
        """It is not any more."""
        self._live, self._heard_s, self._news_s = False, None, None

    def on_trade(self, now_s: float) -> None:
        """It brought something."""
        if self._live:
            self._heard_s, self._wait_s, self._news_s = now_s, SILENT_S, None

    def due(self, now_s: float) -> bool:
        """Whether the venue should be asked now; the question counts as asked."""
        if self._heard_s is None or now_s - self._heard_s < self._wait_s:
            return False
        self._heard_s, self._wait_s = now_s, min(2 * self._wait_s, LONGEST_SILENT_S)
        return True

    def on_answer(self, candles: Sequence[Candle], newest: Trade | None, now_s: float) -> None:
        """The venue's newest candles, oldest first."""
        traded = [one for one in candles if one.volume > 0]
        if not self._live or not traded:
            return
        latest = traded[-1]
        if newest is None:
            # nothing came since the stream is up: the first look says from when on it should have
            if self._up_ms is None:
                self._up_ms = latest.close_time_ms
                return
            reached_ms = self._up_ms
        else:
            reached_ms = newest.trade_time_ms
        if latest.open_time_ms > reached_ms:
            self._news_s = now_s

    def on_failed(self) -> None:
        """The venue did not answer: the next look is as far away as it is."""

    def is_dead(self, now_s: float) -> bool:
        """Whether the stream is dead, said once."""
        if self._news_s is None or now_s - self._news_s < NEWS_WITHIN_S:
            return False
        self._news_s, self._heard_s, self._wait_s = None, now_s, SILENT_S
        return True
