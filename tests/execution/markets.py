"""Markets for the tests of execution: made by hand, and drawn at random."""

from __future__ import annotations

import os
from decimal import Decimal
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from binmon.execution.market import DepthSource, DepthState, Fees, Level, MarketDepth, VenueMarket
from binmon.execution.pricing import PricingSettings
from binmon.execution.sizes import Rounding, Size
from binmon.messages import Balance, Instrument, OrderSide, TradingRules
from binmon.venues.trading import Account

EXAMPLES = int(os.environ.get("BINMON_PRICING_EXAMPLES", "2000"))
NOW_NS = 1_000_000_000_000
SETTINGS = PricingSettings(max_age_ns=2_000_000_000)
VENUES = ("first", "second", "third", "fourth")


def seeded(share=1):
    """The same examples at every run; ``share``: of how many of them this test needs only one."""
    return settings(
        max_examples=max(50, EXAMPLES // share),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def D(text):
    return Decimal(str(text))


def market(
    venue="first",
    asks=(("101", "1"), ("102", "2")),
    bids=(("100", "1"), ("99", "2")),
    *,
    fee="0.001",
    fees=None,
    step="0.01",
    least="0",
    most="0",
    least_worth="0",
    most_worth="0",
    balances=None,
    can_trade=True,
    status="TRADING",
    base="BTC",
    quote="USDT",
    age_ms=0,
    state=DepthState.LIVE,
    **rest,
):
    symbol = f"{base}{quote}"
    account = None
    if balances is not None:
        account = Account(can_trade, {asset: Balance(asset, D(free), D(0)) for asset, free in balances.items()})
    return VenueMarket(
        MarketDepth(
            venue,
            Instrument(venue, symbol, base, quote, "TRADING", D("0.01"), D(step)),
            tuple(Level(D(price), D(quantity)) for price, quantity in bids),
            tuple(Level(D(price), D(quantity)) for price, quantity in asks),
            NOW_NS - age_ms * 1_000_000,
            DepthSource.REST,
            state,
        ),
        TradingRules(
            venue, symbol, base, quote, status, D(least), D(most), D(step), D(least_worth), D(most_worth),
            rest.pop("market_orders", True),
        ),
        fees or Fees(D(fee)),
        account,
        **rest,
    )  # fmt: skip


RICH = {"BTC": "1000000", "USDT": "1000000000", "BNB": "1000000"}

# Drawn at random ------------------------------------------------------------------------------------------------------

# Markets are drawn by a generator of our own, whose seed is what hypothesis draws: its own draws are so often the simplest
# that most markets would price nothing. Prices are whole and quantities hundredths, few of each, so that ties, exact fits
# and one-level books are common. Most draws are harmless, so that each rule alone decides often enough.
_FREE = ["0", "0.01", "0.07", "0.2", "5", "12", "20", "30", "100", "100000"]
_STEPS = ["0.01", "0.01", "0.02", "0.03", "0.05", "0.1", "0"]
_RATES = ["0", "0.0001", "0.00075", "0.001", "0.0026", "0.01", "0.1"]


def _mostly(random, nothing, *others):
    """``nothing`` four times out of five."""
    return random.choice(others) if random.random() < 1 / 5 else nothing


def _drawn_side(random):
    thin = random.random() < 0.1
    return [
        (random.randint(1, 4), random.randint(1, 9 if thin else 40))
        for _ in range(random.randint(0, 2) if thin else random.randint(2, 5))
    ]


def _drawn_fees(random):
    rate = D(random.choice(_RATES))
    kind = random.randrange(6)
    if kind < 3:
        return Fees(rate)
    if kind < 5:
        return Fees(rate, ["USDT", "BTC"][kind - 3])
    return Fees(rate, "BNB", random.choice([D("0.7"), D(600)]), random.choice([None, D("0.002")]))


def _levels(steps, start, direction):
    levels, price = [], start
    for move, quantity in steps:
        price += direction * move
        if price > 0:
            levels.append((str(price), str(Decimal(quantity) / 100)))
    return levels


def drawn(venue, random):
    """A market that ``random`` makes."""
    middle = random.choice([20, 100, 100, 100, 101, 103])
    balances = {asset: random.choice(_FREE) for asset in RICH} if random.random() < 0.3 else RICH
    return market(
        venue,
        _levels(_drawn_side(random), middle, 1),
        _levels(_drawn_side(random), middle, -1),
        fees=_drawn_fees(random),
        step=random.choice(_STEPS),
        least=_mostly(random, "0", "0.02", "0.05", "0.1", "0.3"),
        most=_mostly(random, "0", "0.03", "0.1", "0.25", "0.3"),
        least_worth=_mostly(random, "0", "1", "5", "9.99", "20"),
        most_worth=_mostly(random, "0", "11", "25", "40"),
        balances=None if random.random() < 0.1 else balances,
        takes_quote_amounts=random.random() < 0.7,
        quote_amount_step=D(random.choice(["0", "0.01", "1"])),
        reference_price=_mostly(random, None, D(90), D(110), D(50)),
        status="BREAK" if random.random() < 0.04 else "TRADING",
        can_trade=random.random() > 0.04,
    )


sides = st.sampled_from(list(OrderSide))


def _drawn_size(seed):
    random = Random(seed)
    kind = random.randrange(4)
    if kind == 0:
        return Size(quantity=Decimal(random.randint(1, 120)) / 200)
    if kind == 1:
        return Size(quantity=Decimal(random.randint(1, 60)) / 100)
    if kind == 2:
        return Size(quote_amount=Decimal(random.randint(1, 6000)) / 100)
    return Size(quote_amount=Decimal(random.randint(1, 60)))


sizes = st.integers(0, 2**64).map(_drawn_size)
roundings = st.sampled_from([Rounding.DOWN, Rounding.DOWN, Rounding.REFUSE])


def several(least=2, most=2):
    """Strategy of a list of markets, each at a venue of its own."""

    def make(seed):
        random = Random(seed)
        return [drawn(venue, random) for venue in VENUES[: random.randint(least, most)]]

    return st.integers(0, 2**64).map(make)
