"""What became of an order: asked for by our own id until the venue has said all of it, or the time is up. Never sent again."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import structlog

from binmon.errors import BinmonError, RetryError
from binmon.execution.exact import exact
from binmon.messages import FINAL_STATUSES, OrderRequest, OrderState
from binmon.venues.trading import Execution, TradingVenue

log = structlog.get_logger("binmon.execution")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0


class End(enum.Enum):
    """How an order ended."""

    FILLED = "filled"  # all that was asked for has traded
    PARTLY = "partly_filled"  # it has ended, and a part has traded
    NOTHING = "not_filled"  # it has ended, and nothing has traded
    REFUSED = "refused"  # the venue, or our limits, would not have it: it never traded
    NOT_SENT = "not_sent"  # it never left
    UNKNOWN = ""  # nobody has said yet


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known of one order. ``executions`` are complete, but for an UNKNOWN. ``detail`` is one line: why it is not
    known, or what the venue said. ``status`` is the venue's last word."""

    order: OrderRequest
    end: End
    status: str
    order_id: int | None
    executions: tuple[Execution, ...]
    detail: str = ""

    @property
    def quantity(self) -> Fraction:
        """What traded, base currency."""
        return sum((exact(one.quantity) for one in self.executions), Fraction(0))

    @property
    def notional(self) -> Fraction:
        """What it traded for, quote currency."""
        return sum((exact(one.quote) for one in self.executions), Fraction(0))

    @property
    def average_price(self) -> Fraction | None:
        """Quote currency for one unit of base currency, without fees; None when nothing traded."""
        return self.notional / self.quantity if self.quantity else None

    @property
    def fees(self) -> dict[str, Fraction]:
        """What the venue took, by asset."""
        fees: dict[str, Fraction] = {}
        for one in self.executions:
            if one.commission:
                fees[one.commission_asset] = fees.get(one.commission_asset, Fraction(0)) + exact(one.commission)
        return fees


class Reconciler:
    """Asks the venues. ``within_s`` is how long it is asked about one order."""

    def __init__(self, within_s: float, stop: threading.Event, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._within_s, self._stop, self._clock_s = within_s, stop, clock_s

    def find_out(self, venue: TradingVenue, order: OrderRequest, lot: Decimal = Decimal(0), why: str = "") -> Outcome:
        """What became of ``order``. ``lot`` is the step of its base currency; ``why`` it may not be known, if it was sent
        and not answered.

        An order that the venue does not know is UNKNOWN as well: its reads may lag behind, so that is no proof that there
        never was one.
        """
        until_s, pause_s = self._clock_s() + self._within_s, _FIRST_PAUSE_S
        said, fills = why, tuple[Execution, ...]()
        state: OrderState | None = None
        while True:
            wait_s = pause_s
            try:
                if state is None or not (state.found and state.status in FINAL_STATUSES):
                    state = venue.order(order.symbol, order.client_order_id, self._stop)
                fills, missing = self._fills(venue, order, state)
                if not missing:
                    return _ended(order, state, fills, lot)
                said = missing
            except BinmonError as error:
                said = f"{why}; asked for it: {error}" if why else str(error)
                log.warning(
                    "order.not_found_out", venue=venue.name, client_order_id=order.client_order_id, reason=str(error)
                )
                if isinstance(error, RetryError):
                    wait_s = max(pause_s, error.retry_after_s)
            left_s = until_s - self._clock_s()
            if left_s <= 0 or self._stop.wait(min(wait_s, left_s)):
                break
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if state is None or not state.found:
            return Outcome(order, End.UNKNOWN, "", None, (), said)
        if state.executed_quantity:  # that much is sure, though not at which prices and fees
            said = f"{venue.name} has traded {state.executed_quantity:f} of it, its status is {state.status}; {said}"
        return Outcome(order, End.UNKNOWN, state.status, state.order_id, tuple(fills), said)

    def _fills(self, venue: TradingVenue, order: OrderRequest, state: OrderState) -> tuple[tuple[Execution, ...], str]:
        """The fills of an order, and what is still missing of it (empty: nothing)."""
        if not state.found:
            return (), f"{venue.name} does not know it (yet)"
        if state.status not in FINAL_STATUSES:
            return (), f"{venue.name} has not finished it: its status is {state.status}"
        if not state.executed_quantity:
            return (), ""
        fills = _once(venue.executions(order.symbol, state.order_id, self._stop))
        told = sum((exact(one.quantity) for one in fills), Fraction(0))
        if told != exact(state.executed_quantity):
            return fills, f"{venue.name} has told of the fills of {float(told):g} of {state.executed_quantity:f}"
        return fills, ""


def _once(fills: Sequence[Execution]) -> tuple[Execution, ...]:
    """Fills that are told twice count once."""
    return tuple({one.trade_id: one for one in fills}.values())


def _ended(order: OrderRequest, state: OrderState, fills: tuple[Execution, ...], lot: Decimal) -> Outcome:
    end = End.NOTHING
    if fills:
        end = End.FILLED if _is_whole(order, state, fills, lot) else End.PARTLY
    return Outcome(order, end, state.status, state.order_id, fills)


def _is_whole(order: OrderRequest, state: OrderState, fills: Sequence[Execution], lot: Decimal) -> bool:
    """Whether all that was asked for has traded. An amount leaves what buys no whole ``lot``, which Bybit ends otherwise
    than as filled (its status is PartiallyFilledCanceled)."""
    if order.quantity is not None:
        return state.executed_quantity >= order.quantity
    assert order.quote_amount is not None
    left = exact(order.quote_amount) - sum((exact(one.quote) for one in fills), Fraction(0))
    return state.status == "FILLED" or left < exact(lot) * max(exact(one.price) for one in fills)
