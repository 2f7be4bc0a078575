"""Seeded order flow for one symbol.

The flow keeps a ladder of resting orders around a slowly wandering middle price and disturbs it: orders appear and
vanish near the touch, sometimes far out, and takers trade. The sequence of actions is decided by the seed alone; only
the moment each action happens comes from the clock.
"""

from __future__ import annotations

import math
import random

from .matching import MatchingEngine, Side, TimeInForce
from .symbols import Instrument

OWNER = "flow"
"""Owner name of every order the flow places."""

_NEAR_LEVELS = 12
"""Mean distance from the touch, in level gaps, at which orders come and go."""
_TAKER_SHARE = 0.07
_DEEP_SHARE = 0.15
_LARGEST_SPREAD_OF_QUEUE = 4
"""Orders the flow leaves at one price before it prefers to cancel."""


class OrderFlow:
    """Places and cancels orders in a :class:`MatchingEngine`; one :meth:`step` is one action of the market."""

    def __init__(self, engine: MatchingEngine, instrument: Instrument, seed: str) -> None:
        self._engine = engine
        self._instrument = instrument
        self._random = random.Random(seed)
        self._anchor = float(instrument.start_price)
        self._middle = self._anchor
        self._volatility = max(0.25, instrument.start_price * 2e-6)
        self._kept_off: dict[tuple[Side, int], int] = {}

    @property
    def middle(self) -> float:
        """The price in ticks the flow quotes around."""
        return self._middle

    def fill_ladder(self, time_us: int) -> None:
        """Build the initial book on both sides."""
        for side in Side:
            price = self._touch(side)
            levels = []
            for _ in range(self._instrument.levels):
                if price <= 0:
                    break
                levels.append((price, self._lots()))
                price = self._outward(side, price, self._gap())
            self._engine.load(OWNER, side, levels, time_us)

    def delay_s(self) -> float:
        """Seconds until the next action: evenly spread, so that a busy symbol is never silent for long."""
        return self._random.uniform(0.5, 1.5) / self._instrument.rate_hz

    def step(self, time_us: int, trading: bool = True) -> None:
        """Do one action. ``trading=False`` keeps the flow from placing anything that trades."""
        if self._kept_off:
            self._kept_off = {place: until for place, until in self._kept_off.items() if until > time_us}
        chance = self._random
        self._middle += chance.gauss(0.0, self._volatility) - 0.0005 * (self._middle - self._anchor)
        self._middle = max(self._middle, self._instrument.half_spread_ticks + 2.0)
        roll = chance.random()
        side = Side.BUY if chance.random() < 0.5 else Side.SELL
        if roll < _TAKER_SHARE:
            if trading:
                self._take(side, time_us)
        elif roll < _TAKER_SHARE + _DEEP_SHARE:
            self._disturb_deep(side, time_us)
        else:
            self._disturb_near(side, time_us, trading)
        self._maintain(side, time_us)

    def cancel_step(self, time_us: int) -> None:
        """Do one cancellation only (status CANCEL_ONLY)."""
        side = Side.BUY if self._random.random() < 0.5 else Side.SELL
        if self._engine.level_count(side) > self._instrument.levels // 2:
            self._cancel_deep(side)

    def move_to(self, price: int, time_us: int, trading: bool = True) -> None:
        """Move the market to a price in ticks: takers sweep the book up to it, then the ladder is refilled."""
        price = max(price, self._instrument.half_spread_ticks + 2)
        engine = self._engine
        self._kept_off.clear()
        spread = self._instrument.half_spread_ticks
        for taker_side, limit in ((Side.BUY, price + spread - 1), (Side.SELL, max(1, price - spread + 1))):
            makers = taker_side.opposite
            while (best := engine.best(makers)) is not None:
                reached = best[0] > limit if taker_side is Side.BUY else best[0] < limit
                if reached:
                    break
                if trading and self._instrument.with_trades:
                    engine.submit(OWNER, taker_side, best[1], best[0], time_us, TimeInForce.IOC)
                else:
                    self._cancel_all_at(makers, best[0])
                    if engine.best(makers) == best:
                        break
        self._anchor = self._middle = float(price)
        for side in Side:
            self._fill_towards(side, price, time_us)
            self._extend(side, self._instrument.levels - engine.level_count(side), time_us)

    def scale(self, factor: float) -> None:
        """Let the price wander to a multiple of what it is, by the usual orders and trades."""
        self._anchor *= factor
        self._middle *= factor

    def keep_off(self, side: Side, price: int, until_us: int) -> None:
        """Neither place nor cancel anything at a price until a moment; takers may still reach it, and jumps end it."""
        self._kept_off[side, price] = until_us

    def inject(self, side: Side, price: int, quantity: int, time_us: int) -> None:
        """Place one resting order of the flow, for tests and faults."""
        self._engine.submit(OWNER, side, quantity, price, time_us)

    def _lots(self, factor: float = 1.0) -> int:
        return max(1, round(self._instrument.typical_lots * factor * math.exp(self._random.gauss(-0.5, 0.9))))

    def _gap(self) -> int:
        return self._random.randint(1, 2 * self._instrument.gap_ticks - 1)

    def _touch(self, side: Side) -> int:
        """Where the flow wants the best price of a side to be."""
        if side is Side.BUY:
            return math.floor(self._middle) - self._instrument.half_spread_ticks + 1
        return math.floor(self._middle) + self._instrument.half_spread_ticks

    def _outward(self, side: Side, price: int, distance: int) -> int:
        return price - distance if side is Side.BUY else price + distance

    def _take(self, side: Side, time_us: int) -> None:
        if self._instrument.with_trades and self._engine.level_count(side.opposite) > 5:
            self._engine.submit(OWNER, side, self._lots(0.6), None, time_us)

    def _disturb_near(self, side: Side, time_us: int, trading: bool) -> None:
        engine, chance = self._engine, self._random
        distance = int(chance.expovariate(1.0 / (_NEAR_LEVELS * self._instrument.gap_ticks)))
        price = self._outward(side, self._touch(side), distance)
        if price <= 0 or (side, price) in self._kept_off:
            return
        opposite = engine.best(side.opposite)
        if opposite is not None and (price >= opposite[0] if side is Side.BUY else price <= opposite[0]):
            # The market has wandered through old orders: they trade, or are withdrawn where nothing may trade.
            if trading and self._instrument.with_trades:
                engine.submit(OWNER, side, min(opposite[1], self._lots()), price, time_us, TimeInForce.IOC)
            else:
                self._cancel_at(side.opposite, opposite[0])
            return
        queue = engine.orders_at(side, price)
        if queue and (len(queue) >= _LARGEST_SPREAD_OF_QUEUE or chance.random() < 0.65):
            self._cancel_at(side, price)
        else:
            engine.submit(OWNER, side, self._lots(), price, time_us)

    def _disturb_deep(self, side: Side, time_us: int) -> None:
        engine = self._engine
        count = engine.level_count(side)
        if count == 0:
            return
        if count > self._instrument.levels and self._random.random() < 0.9:
            self._cancel_deep(side)
        else:
            price = engine.price_at(side, self._random.randrange(count))
            price = self._outward(side, price, self._gap())
            if price > 0 and (side, price) not in self._kept_off:
                engine.submit(OWNER, side, self._lots(), price, time_us)

    def _cancel_deep(self, side: Side) -> None:
        count = self._engine.level_count(side)
        if count > 1:
            self._cancel_at(side, self._engine.price_at(side, self._random.randrange(1, count)))

    def _cancel_at(self, side: Side, price: int) -> None:
        """Cancel the youngest order of the flow at a price; orders of users are never touched."""
        if (side, price) in self._kept_off:
            return
        for order in reversed(self._engine.orders_at(side, price)):
            if order.owner == OWNER:
                self._engine.cancel(order.order_id)
                return

    def _cancel_all_at(self, side: Side, price: int) -> None:
        for order in self._engine.orders_at(side, price):
            if order.owner == OWNER:
                self._engine.cancel(order.order_id)

    def _maintain(self, side: Side, time_us: int) -> None:
        missing = self._instrument.levels - self._engine.level_count(side)
        if missing > self._instrument.levels // 50:
            self._extend(side, min(missing, 3), time_us)
        elif -missing > self._instrument.levels // 20:
            worst = self._engine.worst(side)
            if worst is not None:
                self._cancel_at(side, worst)

    def _extend(self, side: Side, count: int, time_us: int) -> None:
        """Add levels at the far end of a side."""
        worst = self._engine.worst(side)
        price = self._outward(side, worst, self._gap()) if worst is not None else self._touch(side)
        for _ in range(count):
            if price <= 0:
                return
            self._engine.submit(OWNER, side, self._lots(), price, time_us)
            price = self._outward(side, price, self._gap())

    def _fill_towards(self, side: Side, middle: int, time_us: int) -> None:
        """Bridge the hole that a jump left between a side's best level and the new middle."""
        best = self._engine.best(side)
        price = self._touch(side)
        for _ in range(self._instrument.levels):
            if price <= 0 or (best is not None and (price <= best[0] if side is Side.BUY else price >= best[0])):
                return
            self._engine.submit(OWNER, side, self._lots(), price, time_us)
            price = self._outward(side, price, self._gap())
