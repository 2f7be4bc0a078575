"""A decision: what was asked for, what every venue would do with it, what is sent where and why, and its line of the log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from binmon.execution.comparison import Comparison
from binmon.execution.exact import decimal_of, plain, rounded
from binmon.execution.market import VenueMarket
from binmon.execution.planning import OrderPlan
from binmon.execution.pricing import Quote
from binmon.execution.quotes import Board, Known
from binmon.execution.reasons import Exclusion, Reason
from binmon.execution.splitting import Split
from binmon.messages import OrderSide

# what somebody at the keyboard or in the configuration has to change; anything else may be otherwise in a moment
_WRONG_INPUT = frozenset(
    {
        Reason.OFF_STEP,
        Reason.UNDER_MINIMUM,
        Reason.OVER_MAXIMUM,
        Reason.PRODUCTION,
        Reason.ORDER_LIMIT,
        Reason.UNKNOWN_SYMBOL,
        Reason.NO_KEY,
        Reason.NOT_ASKED_FOR,
        Reason.NO_MARKET_ORDERS,
    }
)


@dataclass(frozen=True, slots=True)
class Decision:
    """``plan`` None: nobody wants to order, prices were compared. ``number`` is that of the history, None while it has none."""

    known: Known
    board: Board
    comparison: Comparison
    split: Split | None
    plan: OrderPlan | None
    number: int | None = None

    @property
    def exclusions(self) -> tuple[Exclusion, ...]:
        """Every venue that is left out."""
        return self.comparison.exclusions if self.plan is None else self.plan.exclusions

    @property
    def chosen(self) -> tuple[str, ...]:
        """The venues that get an order, or would."""
        if self.plan is not None:
            return tuple(order.venue for order in self.plan.orders)
        if self.split is not None:
            return tuple(part.venue for part in self.split.parts)
        return (self.comparison.best.venue,) if self.comparison.best is not None else ()

    @property
    def asks_for_what_cannot_be(self) -> bool:
        """Whether nothing can be sent because of what was asked for or configured, and waiting would not help."""
        return bool(self.exclusions) and all(one.reason in _WRONG_INPUT for one in self.exclusions)

    @property
    def reason(self) -> str:
        """Why those are chosen, in one line; why nobody is."""
        comparison, chosen = self.comparison, self.chosen
        if not chosen:
            return "; ".join(map(str, self.exclusions)) or "no venue is configured"
        if len(chosen) > 1:
            assert self.split is not None
            saved = self.split.saving
            better = f", {plain(saved.basis_points, 2)} bps better than {saved.than} alone" if saved else ""
            return f"split over {' and '.join(chosen)}{better}"
        if self.plan is not None and self.plan.passed_over:
            return f"next best: {'; '.join(map(str, self.plan.passed_over))}"
        if any(one.reason is Reason.NOT_ASKED_FOR for one in self.exclusions):
            return f"{chosen[0]} was named"
        saving = comparison.saving
        if comparison.best is not None and comparison.best.venue == chosen[0] and saving is not None:
            return f"best effective price, {plain(saving.basis_points, 2)} bps better than {saving.than}"
        if len(comparison.quotes) < 2:
            left_out = "; ".join(map(str, comparison.exclusions))
            return "the only venue that quotes it" + (f": {left_out}" if left_out else "")
        return "best effective price among those that may be ordered from"

    def with_plan(self, plan: OrderPlan) -> Decision:
        """The same with another plan, not yet kept."""
        return replace(self, plan=plan, number=None)

    def market(self, venue: str) -> VenueMarket:
        """The market of a venue that has one."""
        return next(market for market in self.board.markets if market.venue == venue)

    # For the log and the history ----------------------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        """The decision as plain values: the fields of ``execution.decided``. Exact numbers are texts."""
        size, quotes = self.comparison.size, {one.venue: one for one in self.comparison.quotes}
        quotes |= {one.venue: one for one in self.comparison.out_of_reach}
        why = {one.venue: one for one in self.exclusions}
        return {
            "symbol": str(self.known.pair),
            "side": self.comparison.side.value,
            "size": next(
                f"{number:f} {unit}"
                for number, unit in (
                    (size.quantity, self.known.pair.base),
                    (size.quote_amount, self.known.pair.quote),
                    (size.percent, "% of the balance"),
                )
                if number is not None
            ),
            "chosen": list(self.chosen),
            "reason": self.reason,
            "ordering": self.plan is not None,
            "venues": [
                self._venue(market, quotes.get(market.venue), why.get(market.venue)) for market in self.board.markets
            ]
            + [
                {"venue": one.venue, "excluded": one.reason.value, "detail": one.detail}
                for one in self.exclusions
                if one.venue not in {market.venue for market in self.board.markets}
            ],
        }

    def _venue(self, market: VenueMarket, quote: Quote | None, excluded: Exclusion | None) -> dict[str, Any]:
        depth = market.depth
        bid, ask = depth.bids[:1], depth.asks[:1]
        row: dict[str, Any] = {
            "venue": market.venue,
            "environment": market.environment,
            "market": market.rules.symbol,
            "bid": f"{bid[0].price:f}" if bid else None,
            "ask": f"{ask[0].price:f}" if ask else None,
            "age_ms": round(depth.age_ns(self.board.at_mono_ns) / 1e6, 3),
            "source": depth.source.value,
            "fee_bps": float(market.fees.taker_rate * 10_000),
            "fee_assumed": not market.fees.from_account,
        }
        if quote is not None:
            row |= numbers_of(quote)
        if excluded is not None:
            row |= {"excluded": excluded.reason.value, "detail": excluded.detail}
        return row


def numbers_of(quote: Quote) -> dict[str, Any]:
    """A quote in texts: what is exact digit for digit, what has no end in decimals to eighteen of them."""
    return {
        "quantity": f"{decimal_of(quote.quantity):f}",
        "quote_amount": None if quote.quote_amount is None else f"{decimal_of(quote.quote_amount):f}",
        "notional": text_of(quote.notional),
        "average_price": text_of(quote.average_price),
        "worst_price": text_of(quote.worst_price),
        "effective_price": text_of(quote.effective_price),
        "slippage_bps": text_of(quote.slippage_bps, 6),
        "fee": text_of(quote.fee.amount),
        "fee_asset": quote.fee.asset,
        "given": text_of(quote.given),
        "gained": text_of(quote.gained),
        "leftover": text_of(quote.leftover),
        "leftover_asset": quote.leftover_asset,
    }


def text_of(value: Fraction | Decimal, places: int = 18) -> str:
    """A number for a script: exact where it ends in decimals soon enough, else rounded to ``places``."""
    number = Fraction(value)
    try:
        text = f"{decimal_of(number):f}"
    except ValueError:
        text = f"{rounded(number, places):f}"
    else:
        if len(text.partition(".")[2]) > places:
            text = f"{rounded(number, places):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def worse_by_bps(shown: Quote, now: Quote) -> Fraction:
    """How much worse the effective price has become, in basis points of the one that was shown; below zero: better."""
    worse = now.effective_price - shown.effective_price
    return (worse if shown.side is OrderSide.BUY else -worse) / shown.effective_price * 10_000
