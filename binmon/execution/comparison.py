"""Which venue is best for a size, by how much, and why each other one is not.

Venues are compared by effective price in the quote currency of the pair: the lowest when buying, the highest when
selling. Of equal ones that with the smaller leftover wins, then the one that is named first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from binmon.execution.market import VenueMarket
from binmon.execution.pricing import BASIS_POINTS, PricingSettings, Quote, account_refusal, price_of
from binmon.execution.reasons import Exclusion, Reason
from binmon.execution.sizes import Size
from binmon.messages import OrderSide


@dataclass(frozen=True, slots=True)
class Saving:
    """What the best is better than ``than`` for what it trades: quote currency, and basis points of the other's price."""

    than: str
    amount: Fraction
    basis_points: Fraction


@dataclass(frozen=True, slots=True)
class Comparison:
    """``quotes``: venues that could take the order, best first. ``exclusions``: all others, each with its reason.

    ``out_of_reach`` has the price of those whose book is good and that are excluded all the same, because the symbol is
    halted there or for the account (no permission, no balance): best first, what could have been had.
    """

    side: OrderSide
    size: Size
    quotes: tuple[Quote, ...]
    exclusions: tuple[Exclusion, ...]
    out_of_reach: tuple[Quote, ...]

    @property
    def best(self) -> Quote | None:
        """The best quote that can be had."""
        return self.quotes[0] if self.quotes else None

    @property
    def saving(self) -> Saving | None:
        """Of the best against the next one; None without a next one."""
        return saving(self.quotes[0], self.quotes[1]) if len(self.quotes) > 1 else None


def compare(
    markets: Sequence[VenueMarket],
    side: OrderSide,
    size: Size,
    now_mono_ns: int,
    settings: PricingSettings,
    exclusions: Sequence[Exclusion] = (),
) -> Comparison:
    """Price ``size`` at every market. ``exclusions`` are of venues that are left out already (not listed, no answer).

    A share of a balance is a size of its own at each venue. Raises ValueError when the markets are not of one pair, or
    one venue is named twice.
    """
    _require_one_pair(markets)
    quotes, out_of_reach, left_out = [], [], list(exclusions)
    for market in markets:
        refusal = market.refusal(now_mono_ns, settings.max_age_ns)
        if refusal is not None and refusal.reason is not Reason.HALTED:
            left_out.append(refusal)
            continue
        quoted = price_of(market, side, size, now_mono_ns, settings.rounding)
        if isinstance(quoted, Exclusion):
            left_out.append(refusal or quoted)
            continue
        refusal = refusal or account_refusal(market, quoted)
        if refusal is None:
            quotes.append(quoted)
        else:
            left_out.append(refusal)
            out_of_reach.append(quoted)
    # sorted() keeps the order of the markets among equals
    return Comparison(
        side, size, tuple(sorted(quotes, key=_rank)), tuple(left_out), tuple(sorted(out_of_reach, key=_rank))
    )


def is_better(one: Quote, other: Quote) -> bool:
    """Whether ``one`` has the better effective price."""
    return _price_rank(one) < _price_rank(other)


def saving(best: Quote, other: Quote) -> Saving:
    """What ``best`` saves against the price of ``other``, on the base currency that it trades."""
    better_by = abs(other.effective_price - best.effective_price)
    base = best.gained if best.side is OrderSide.BUY else best.given
    return Saving(other.venue, better_by * base, better_by / other.effective_price * BASIS_POINTS)


def by_venue(markets: Sequence[VenueMarket]) -> Mapping[str, VenueMarket]:
    """Markets by the name of their venue."""
    return {market.venue: market for market in markets}


def _price_rank(quote: Quote) -> Fraction:
    return quote.effective_price if quote.side is OrderSide.BUY else -quote.effective_price


def _rank(quote: Quote) -> tuple[Fraction, Fraction]:
    return _price_rank(quote), quote.leftover


def _require_one_pair(markets: Sequence[VenueMarket]) -> None:
    pairs = {(market.rules.base, market.rules.quote) for market in markets}
    if len(pairs) > 1:
        names = ", ".join(sorted(f"{base}/{quote}" for base, quote in pairs))
        raise ValueError(f"prices of different pairs cannot be compared: {names}")
    if len(by_venue(markets)) != len(markets):
        raise ValueError("a venue is named twice")
