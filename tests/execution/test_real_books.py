"""Real books, as venues sent them, run through the comparison; prices against a plain walk in whole numbers.

The recordings of other venues than Binance may not be copied into this repository without their licence's text, so they
are read where they lie, and the tests that need them are skipped where they are not.
"""

from __future__ import annotations

import gzip
import json
from fractions import Fraction as F
from pathlib import Path

import pytest

from binmon.execution.comparison import compare
from binmon.execution.market import DepthSource, Fees, MarketDepth, VenueMarket, levels_from, levels_of
from binmon.execution.planning import plan_order
from binmon.execution.sizes import Size
from binmon.execution.splitting import split
from binmon.messages import Balance, Instrument, OrderSide, TradingRules
from binmon.orders.gate import OrderLimits
from binmon.venues.trading import Account
from tests.execution import brute_force
from tests.execution.markets import NOW_NS, SETTINGS, D
from tests.recordings import RECORDINGS

BUY, SELL = OrderSide.BUY, OrderSide.SELL
OWN = Path(__file__).parent.parent / "data"
QUANTITIES = ["0.0002", "0.00123", "0.05", "0.5", "1.23456", "3", "12.5"]
AMOUNTS = ["15", "100", "999.99", "25000", "300000"]
RICH = {asset: Balance(asset, D(10**9), D(0)) for asset in ("BTC", "USDT")}

needs_recordings = pytest.mark.skipif(
    not (RECORDINGS / "other-venues").is_dir(), reason=f"the recordings of other venues are not in {RECORDINGS}"
)


def lines(path):
    with gzip.open(path, "rt") as file:
        for line in file:
            yield line.rstrip("\n").split("\t", 2)


def market(venue, bids, asks, *, step, least="0", most="0", least_worth="5", amount_step="0", fee="0.001"):
    symbol = "BTCUSDT"
    return VenueMarket(
        MarketDepth(
            venue,
            Instrument(venue, symbol, "BTC", "USDT", "TRADING", D("0.01"), D(step)),
            levels_from(bids),
            levels_from(asks),
            NOW_NS,
            DepthSource.REST,
        ),
        TradingRules(venue, symbol, "BTC", "USDT", "TRADING", D(least), D(most), D(step), D(least_worth), D(0), True),
        Fees(D(fee)),
        Account(True, RICH),
        quote_amount_step=D(amount_step),
    )


def binance(path, venue="binance"):
    depth = next(
        json.loads(text) for _, source, text in lines(path) if source.startswith("rest:") and "/depth" in source
    )
    return market(
        venue, depth["bids"], depth["asks"], step="0.00001", least="0.00001", most="80", amount_step="0.00000001"
    )


def bybit_books(connection, every):
    """The book of BTCUSDT after each ``every`` messages of one connection, best first, as texts."""
    book = {"b": {}, "a": {}}
    count = 0
    for _, source, text in lines(RECORDINGS / "other-venues" / "bybit_v5_linear_20260809_44s.tsv.gz"):
        if source != f"ws#{connection}" or '"orderbook.200.BTCUSDT"' not in text[:120]:
            continue
        message = json.loads(text)
        for side, levels in book.items():
            if message["type"] == "snapshot":
                levels.clear()
            for price, quantity in message["data"][side]:
                levels.pop(price, None)
                if D(quantity):
                    levels[price] = quantity
        if count % every == 0:
            bids = sorted(book["b"].items(), key=lambda level: D(level[0]), reverse=True)
            yield bids, sorted(book["a"].items(), key=lambda level: D(level[0]))
        count += 1


def bybit(books, venue="bybit"):
    """With the rules that the venue names for spot BTCUSDT in that recording."""
    return market(venue, *books, step="0.000001", least="0.000001", most="120", amount_step="0.0000001")


def okx():
    for _, source, text in lines(RECORDINGS / "other-venues" / "okx_v5_books_20220513_12s.tsv.gz"):
        if source.startswith("ws") and '"BTC-USDT"},"action":"snapshot"' in text[:120]:
            [data] = json.loads(text)["data"]
            return market("okx", data["bids"], data["asks"], step="0.00000001", least="0.00001", least_worth="0")
    raise AssertionError("the recording has no snapshot")


WHOLE = {}  # by id of a depth: the depth itself, and both sides in hundred-millionths


def whole(one, side):
    """Price and quantity of each level in hundred-millionths."""
    depth = one.depth
    if id(depth) not in WHOLE:
        sides = {BUY: depth.asks, SELL: depth.bids}
        WHOLE[id(depth)] = (
            depth,
            {
                facing: [(int(level.price * 10**8), int(level.quantity * 10**8)) for level in levels]
                for facing, levels in sides.items()
            },
        )
    return WHOLE[id(depth)][1][side]


def walked(one, side, quantity):
    """What a quantity comes to: levels eaten up one after the other."""
    left, total = int(quantity * 10**8), 0
    for price, size in whole(one, side):
        if not left:
            break
        part = min(left, size)
        total += part * price
        left -= part
    return None if left else F(total, 10**16)


def expected_price(one, side, size):
    """The effective price by ``walked``; None when the book ends before, or the venue takes no such order."""
    step, rate = F(one.rules.quantity_step), F(one.fees.taker_rate)
    if size.quantity is not None:
        lots = int(F(size.quantity) / step)
    else:  # the most lots that stay within the amount, by doubling and halving
        if F(sum(price * size for price, size in whole(one, side)), 10**16) < F(size.quote_amount):
            return None

        def fits(count):
            worth = walked(one, side, count * step)
            return worth is not None and worth <= F(size.quote_amount)

        lots = 0
        for power in reversed(range(40)):
            if fits(lots + 2**power):
                lots += 2**power
    worth = walked(one, side, lots * step)
    if worth is None or brute_force.violations(one, lots * step, worth):
        return None
    return worth / (lots * step * (1 - rate)) if side is BUY else worth * (1 - rate) / (lots * step)


def check(markets):
    """Every size on both sides; how many were priced by all venues."""
    complete = 0
    for side in OrderSide:
        for size in [Size(quantity=D(q)) for q in QUANTITIES] + [Size(quote_amount=D(a)) for a in AMOUNTS]:
            found = compare(markets, side, size, NOW_NS, SETTINGS)
            expected = {one.venue: expected_price(one, side, size) for one in markets}
            expected = {venue: price for venue, price in expected.items() if price is not None}
            assert {quote.venue: quote.effective_price for quote in found.quotes} == expected
            assert {one.venue for one in found.exclusions} == {one.venue for one in markets} - set(expected)
            if expected:
                best = min(expected.values()) if side is BUY else max(expected.values())
                assert found.best.effective_price == best == expected[found.best.venue]
            complete += len(expected) == len(markets)
            made = plan_order(markets, found, OrderLimits(True, D(10**7), 9), 0, SETTINGS)
            by_venue = {one.venue: one for one in markets}
            for order in (*made.orders, *made.fallbacks):
                named = None if order.quote_amount is None else F(order.quote_amount)
                assert not brute_force.violations(
                    by_venue[order.venue], order.quote.quantity, order.quote.notional, named
                )
    return complete


def test_a_recorded_book_of_binance():
    """One venue and itself with another fee: what every checkout of the project can run."""
    path = OWN / "spot_BTCUSDT_20240808_25s.tsv.gz"
    first, second = binance(path), binance(path, "twin")
    object.__setattr__(second, "fees", Fees(D("0.00075")))
    assert check([first, second]) == 2 * (len(QUANTITIES) + len(AMOUNTS))
    assert compare([first, second], BUY, Size(quantity=D("0.5")), NOW_NS, SETTINGS).best.venue == "twin"


@needs_recordings
def test_binance_against_bybit_spot_and_okx():
    """The same pair at three venues; the recordings are of different days, so that one is always far ahead."""
    books = next(bybit_books(3, 1))
    ours = binance(RECORDINGS / "binance-spot" / "spot_BTCUSDT_20260607T194756Z_59s_depth5.tsv.gz")
    assert check([ours, bybit(books), okx()]) > 10
    assert compare([ours, bybit(books)], BUY, Size(quantity=D("0.5")), NOW_NS, SETTINGS).best.venue == "binance"
    assert compare([ours, bybit(books)], SELL, Size(quantity=D("0.5")), NOW_NS, SETTINGS).best.venue == "bybit"


@needs_recordings
def test_two_books_of_the_same_moments():
    """Bybit's spot book and its linear one, which trade the same at the same time at nearly the same price."""
    moments = list(zip(bybit_books(3, 10), bybit_books(2, 30), strict=False))[:6]
    assert len(moments) >= 5
    splits = 0
    for spot, linear in moments:
        markets = [bybit(spot, "spot"), bybit(linear, "linear")]
        check(markets)
        for side in OrderSide:
            comparison = compare(markets, side, Size(quantity=D(12)), NOW_NS, SETTINGS)
            found = split(markets, comparison, NOW_NS, SETTINGS)
            if found is not None:
                splits += 1
                assert found.saving.amount > 0
                assert sum(part.quantity for part in found.parts) == 12
    assert splits, "a dozen coins are more than the top of one book, and the other is within reach"


@needs_recordings
def test_a_split_over_real_depth_cannot_be_bettered_by_moving_lots():
    """Binance's book, moved to the price of Bybit's, so that both are worth using: no lot moved over is a gain."""
    theirs = next(bybit_books(3, 1))
    ours = binance(RECORDINGS / "binance-spot" / "spot_BTCUSDT_20260607T194756Z_59s_depth5.tsv.gz").depth
    move = D(theirs[1][0][0]) - ours.asks[0].price
    moved = [[(level.price + move, level.quantity) for level in levels] for levels in (ours.bids, ours.asks)]
    first = market("binance", *moved, step="0.00001", least="0.00001")
    second = bybit(theirs)
    for side in OrderSide:
        size = Size(quantity=D("6.5"))
        found = split([first, second], compare([first, second], side, size, NOW_NS, SETTINGS), NOW_NS, SETTINGS)
        assert found is not None and len(found.parts) == 2
        quantities = {part.venue: part.quantity for part in found.parts}

        def price(at_first, side=side):
            given = gained = F(0)
            for one, quantity in ((first, at_first), (second, F("6.5") - at_first)):
                worth, rate = walked(one, side, quantity), F(one.fees.taker_rate)
                given += worth if side is BUY else quantity
                gained += quantity * (1 - rate) if side is BUY else worth * (1 - rate)
            return given / gained

        best = price(quantities["binance"])
        for lots in (1, 2, 7, 100, 1000, 10_000, 100_000):
            for direction in (1, -1):
                other = quantities["binance"] + direction * lots * F("0.00001")
                if 0 < other < F("6.5"):
                    assert price(other) >= best


def test_a_kept_book_is_read_as_it_was_printed():
    import numpy as np

    levels = levels_of(np.array([61837.63, 0.1, 1e-07]), np.array([3.78826, 0.617, 123456789.012345]))
    assert [(f"{price:f}", f"{quantity:f}") for price, quantity in levels] == [
        ("61837.63", "3.78826"),
        ("0.1", "0.617"),
        ("0.0000001", "123456789.012345"),
    ]
