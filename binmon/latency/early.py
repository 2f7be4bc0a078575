"""Messages about orders that nobody has told us of yet: either somebody else's, or ours a moment too early."""

from __future__ import annotations

from collections import OrderedDict

from binmon.messages import ExecutionReport, OrderAnswered, OrderRefused, OrderUncertain

KEPT_S = 10.0
"""So long a message waits for the one that its order was sent."""
_MOST = 1000
_S = 1_000_000_000

OrderMessage = OrderAnswered | OrderRefused | OrderUncertain | ExecutionReport


class EarlyMessages:
    """Keeps them for a while, in order."""

    def __init__(self) -> None:
        self._number = 0
        # by number: since when, as of the first look at the clock (a message may have waited long in a queue)
        self._kept: OrderedDict[int, tuple[int | None, OrderMessage]] = OrderedDict()

    def keep(self, message: OrderMessage) -> int:
        """Keep one more; how many had to go for it."""
        self._number += 1
        self._kept[self._number] = (None, message)
        if len(self._kept) <= _MOST:
            return 0
        self._kept.popitem(last=False)
        return 1

    def take(self, venue: str, client_order_id: str) -> list[OrderMessage]:
        """What is kept about this order, in the order of its coming; it is kept no more."""
        about = {
            number: message
            for number, (_, message) in self._kept.items()
            if (message.venue, message.client_order_id) == (venue, client_order_id)
        }
        for number in about:
            del self._kept[number]
        return list(about.values())

    def expire(self, now_mono_ns: int) -> int:
        """Let go of what has waited long enough; how many."""
        gone = 0
        for number, (since_ns, message) in list(self._kept.items()):
            if since_ns is None:
                self._kept[number] = (now_mono_ns, message)
            elif now_mono_ns - since_ns >= KEPT_S * _S:
                del self._kept[number]
                gone += 1
        return gone
