"""One order as several, over venues, where that has a better effective price than the best venue alone.

**What is guaranteed.** Of all ways to share exactly the quantity among at most four venues, each part within the lots,
minimums, maximums, depth and balance of its venue, the one with the best effective price of the whole: all that is
given over all that is gained, fees included. That holds for any two venues; three or four are considered together when
their lot steps divide one another, as powers of ten do (`lots`). Fees in a third asset are those that the account would
pay if the whole quantity were traded there.

**How.** The effective price is a quotient of two sums. For a price ``p``, given − p · gained is a plain sum of one convex
term a venue, whose least is found exactly; it is below zero as long as some split is better than ``p``, and that split
gives the next ``p`` (Dinkelbach 1967). It ends after a few rounds, because there are finitely many splits and each round
finds a strictly better one. Minimums make the sets of quantities unconnected (nothing, or at least so much), so every
set of venues is looked at by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from binmon.execution.comparison import Comparison, Saving
from binmon.execution.counter import Counter, Flows
from binmon.execution.exact import down_to, exact
from binmon.execution.lots import Least, Part, can_be_searched, least_sum
from binmon.execution.market import VenueMarket
from binmon.execution.pricing import BASIS_POINTS, PricingSettings, Quote, quote_of
from binmon.execution.scaled import Scale, ScaledCounter
from binmon.execution.sizes import Rounding, Size
from binmon.messages import OrderSide

MOST_PARTS = 4


@dataclass(frozen=True, slots=True)
class Split:
    """``parts`` add up to exactly ``quantity``. ``single`` is the best venue alone; None: none could take it all."""

    side: OrderSide
    quantity: Fraction
    parts: tuple[Quote, ...]
    single: Quote | None

    @property
    def notional(self) -> Fraction:
        """What all parts are worth, quote currency."""
        return sum((part.notional for part in self.parts), Fraction(0))

    @property
    def given(self) -> Fraction:
        """What all parts give, fees included (`Quote.given`)."""
        return sum((part.given for part in self.parts), Fraction(0))

    @property
    def gained(self) -> Fraction:
        """What all parts gain, fees taken off (`Quote.gained`)."""
        return sum((part.gained for part in self.parts), Fraction(0))

    @property
    def effective_price(self) -> Fraction:
        """Quote currency for one unit of base currency over all parts, fees included."""
        return self.given / self.gained if self.side is OrderSide.BUY else self.gained / self.given

    @property
    def saving(self) -> Saving | None:
        """Against the best venue alone; None when no venue could take it all."""
        if self.single is None:
            return None
        better_by = abs(self.single.effective_price - self.effective_price)
        base = self.gained if self.side is OrderSide.BUY else self.given
        return Saving(self.single.venue, better_by * base, better_by / self.single.effective_price * BASIS_POINTS)


@dataclass(frozen=True, slots=True)
class _Choice:
    """One way to share the quantity: counters of the venues used, and what each moves."""

    parts: tuple[tuple[Counter, Flows], ...]
    ratio: Fraction  # given for one unit gained: less is better on both sides


def split(
    markets: Sequence[VenueMarket], comparison: Comparison, now_mono_ns: int, settings: PricingSettings
) -> Split | None:
    """The best split of what ``comparison`` compares, when it has a strictly better effective price than its best venue.

    An amount of quote currency, or a share of a balance, is split as the quantity that it comes to at the best venue:
    the same for less (or more). None when no split is better, or there is no quantity. Markets without a known account
    count as well (for looking at prices); for an order, give only those with a key, and their comparison.
    """
    side, single = comparison.side, comparison.best
    counters = [
        Counter(market, side)
        for market in markets
        if market.refusal(now_mono_ns, settings.max_age_ns) is None
        and (market.account is None or market.account.can_trade)
    ]
    quantity = _quantity(comparison.size, single, counters, settings.rounding)
    if quantity is None:
        return None
    choice = _best_choice([_with_fees_for(counter, quantity) for counter in counters], quantity)
    if choice is None or len(choice.parts) < 2:
        return None
    parts = tuple(
        quote_of(counter, flows, Fraction(0), counter.rules.base, None, now_mono_ns, fees_are_settled=True)
        for counter, flows in choice.parts
    )
    found = Split(side, quantity, parts, single)
    if single is None or (single.given / single.gained > choice.ratio):
        return found
    return None


def _quantity(size: Size, single: Quote | None, counters: Sequence[Counter], rounding: Rounding) -> Fraction | None:
    """What is to be shared. A quantity that is rounded down goes by the finest step of all venues."""
    if size.quantity is None:
        return None if single is None else single.quantity
    asked = exact(size.quantity)
    if rounding is Rounding.REFUSE or not counters:
        return asked
    return down_to(asked, min(counter.step for counter in counters)) or None


def _with_fees_for(counter: Counter, quantity: Fraction) -> Counter:
    """The counter with the fees of an order for all of ``quantity``, or for the whole book where it holds less."""
    notional = counter.ladder.value_of(quantity)
    return counter.for_notional(counter.ladder.total_value if notional is None else notional)


def _best_choice(counters: Sequence[Counter], quantity: Fraction) -> _Choice | None:
    """The way to share ``quantity`` with the least given for one unit gained."""
    scale = Scale.of(counters, quantity)
    scaled = [ScaledCounter(counter, scale) for counter in counters]
    best: _Choice | None = None
    price = Fraction(0)  # nothing is better than free, so the first round finds some split, if there is any
    while True:
        parts = [(one.counter, one.part(price)) for one in scaled]
        usable = [(counter, part) for counter, part in parts if part is not None]
        found = _least_choice(usable, quantity, scale)
        if found is None or (best is not None and found.ratio >= best.ratio):
            return best
        best, price = found, found.ratio


def _least_choice(usable: Sequence[tuple[Counter, Part]], quantity: Fraction, scale: Scale) -> _Choice | None:
    """Over all sets of venues, the split with the least cost; of equal ones that in fewer parts."""
    least: Least | None = None
    chosen: tuple[tuple[Counter, Part], ...] = ()
    for count in range(1, min(MOST_PARTS, len(usable)) + 1):
        for group in combinations(usable, count):
            parts = [part for _, part in group]
            if not can_be_searched(parts):
                continue
            found = least_sum(parts, int(quantity * scale.quantity))
            if found is not None and (least is None or found.cost < least.cost):
                least, chosen = found, group
    if least is None:
        return None
    shares = [Fraction(share, scale.quantity) for share in least.quantities]
    moved = tuple((counter, _flows(counter, share)) for (counter, _), share in zip(chosen, shares, strict=True))
    given = sum((flows.given for _, flows in moved), Fraction(0))
    gained = sum((flows.gained for _, flows in moved), Fraction(0))
    return _Choice(moved, given / gained)


def _flows(counter: Counter, quantity: Fraction) -> Flows:
    flows = counter.flows(quantity)
    assert flows is not None  # bounded by what the book holds
    return flows
