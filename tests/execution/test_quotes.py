"""Asking venues: all at once, with one deadline, and what each answer means."""

from __future__ import annotations

import threading
import time
from decimal import Decimal

import numpy as np
import pytest

from binmon.errors import Banned, BinmonError, ConfigError, RateLimited, RequestRefused, VenueUnreachable
from binmon.execution.market import DepthSource, DepthState, Level, MarketDepth
from binmon.execution.parallel import together
from binmon.execution.quotes import QuoteDesk, QuoteSettings
from binmon.execution.reasons import Reason
from binmon.execution.sources import VenueSource, exclusion_of, fees_of
from binmon.messages import Balance, DepthSnapshot, Instrument, OrderSide, TradingRules
from binmon.venues.trading import Account, TradingFees
from tests.execution.markets import D

BUY, SELL = OrderSide.BUY, OrderSide.SELL
STOP = threading.Event()
S = 10**9


def floats(*values):
    return np.array(values, dtype=float)


class Market:
    """A venue that answers what it is told to; an exception is raised, a callable is asked."""

    def __init__(self, name, base="BTC", quote="USDT", symbol="BTCUSDT", more=()):
        self.name = name
        listed = [(symbol, base, quote), *more]
        self.listed = {
            one: Instrument(name, one, its_base, its_quote, "TRADING", D("0.01"), D("0.01"))
            for one, its_base, its_quote in listed
        }
        self.instruments_fail = self.depth_fails = None
        self.inexact = None
        self.asked = []

    def instruments(self, stop, priority=None):
        if self.instruments_fail is not None:
            raise self.instruments_fail
        return self.listed

    def depth(self, symbol, limit, priority, stop):
        self.asked.append((symbol, limit, time.monotonic_ns()))
        if callable(self.depth_fails):
            self.depth_fails(stop)
        elif self.depth_fails is not None:
            raise self.depth_fails
        return DepthSnapshot(
            self.name, symbol, 7, floats(99.5, 99), floats(1, 2), floats(100.1, 101), floats(1, 2), self.inexact
        )


class Trading:
    def __init__(self, name, fees=None):
        self.name, self.environment = name, "testnet"
        self.told = fees or TradingFees(name, "BTCUSDT", D("0.001"), D("0.002"))
        self.fails = {}

    def _maybe(self, what):
        if what in self.fails:
            raise self.fails[what]

    def account(self, stop):
        self._maybe("account")
        return Account(True, {"USDT": Balance("USDT", D(1000), D(0))})

    def fees(self, symbol, stop):
        self._maybe("fees")
        return self.told

    def market_price(self, symbol, stop):
        self._maybe("market_price")
        return {"BTCUSDT": D(100), "BNBUSDT": D(600)}[symbol]

    def explain(self, error):
        return "do this" if isinstance(error, RequestRefused) else None


def rules(name, **changes):
    def ask(symbol, stop):
        zero = Decimal(0)
        values = {"status": "TRADING", "min_notional": D(5), "quantity_step": D("0.01"), **changes}
        return TradingRules(name, symbol, "BTC", "USDT", values["status"], D("0.01"), zero, values["quantity_step"],
                            values["min_notional"], zero, True)  # fmt: skip

    return ask


def source(name, market=None, trading=None, **changes):
    return VenueSource(name, "testnet", market or Market(name), trading, rules(name), **changes)


def desk(*sources, within_s=30.0, max_age_s=60):
    return QuoteDesk(sources, QuoteSettings(max_age_s * S, within_s, 10.0, 50), STOP)


def looked(made, side=BUY, symbol="BTCUSDT", **options):
    pair, silent = made.find(symbol)
    return made.look(made.know(pair, side, silent, **options))


def test_a_board_has_what_every_venue_says():
    one, two = source("one", trading=Trading("one")), source("two", Market("two", symbol="BTC-USDT"))
    before = time.monotonic_ns()
    board = looked(desk(one, two))
    first, second = board.markets
    assert first.depth.asks == (Level(D("100.1"), D(1)), Level(D(101), D(2)))
    assert (first.depth.source, first.rules.min_notional) == (DepthSource.REST, D(5))
    assert first.account.balances["USDT"].free == 1000 and second.account is None
    assert (first.fees.taker_rate, first.fees.from_account) == (D("0.001"), True)
    assert (second.fees.taker_rate, second.fees.from_account) == (D("0.001"), False), "10 bps are assumed"
    assert second.rules.symbol == "BTC-USDT" and board.exclusions == ()
    [(symbol, limit, asked_ns)] = one.market.asked
    assert (symbol, limit) == ("BTCUSDT", 50)
    assert before <= first.depth.as_of_mono_ns <= asked_ns, "it is as old as the question"
    assert looked(desk(one), SELL).markets[0].fees.taker_rate == D("0.002")


def test_one_deadline_for_all_and_who_misses_it_is_cut_off():
    slow, cut = Market("slow"), threading.Event()

    def hang(stop):
        assert stop.wait(60), "whoever is cut off is told"
        cut.set()
        raise VenueUnreachable("slow", "stopped")

    slow.depth_fails = hang
    began_s = time.monotonic()
    made = desk(source("slow", slow), source("quick"), within_s=5.0)
    board = looked(made)
    assert [one.venue for one in board.markets] == ["quick"]
    [left_out] = board.exclusions
    assert (left_out.venue, left_out.reason) == ("slow", Reason.UNREACHABLE) and "within 5 s" in left_out.detail
    assert cut.wait(30) and time.monotonic() - began_s < 60


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (RateLimited("REQUEST_WEIGHT", 3.0), Reason.RATE_LIMITED, "limited by REQUEST_WEIGHT"),
        (Banned(60), Reason.RATE_LIMITED, "banned"),
        (VenueUnreachable("u", "reset"), Reason.UNREACHABLE, "reset"),
        (RequestRefused("u", 400, -1, "no"), Reason.REFUSED, "no"),
    ],
)
def test_an_error_is_a_reason(error, reason, detail):
    for attribute in ("depth_fails", "instruments_fail"):
        bad = Market("bad")
        setattr(bad, attribute, error)
        board = looked(desk(source("bad", bad), source("good")))
        assert [one.venue for one in board.markets] == ["good"]
        [left_out] = board.exclusions
        assert (left_out.venue, left_out.reason) == ("bad", reason) and detail in left_out.detail


def test_an_account_that_cannot_be_asked_leaves_a_price_and_no_order():
    trading = Trading("bad")
    trading.fails["account"] = RequestRefused("u", 401, -2015, "Invalid API-key")
    made = desk(source("bad", trading=trading), source("good"))
    board = looked(made)
    assert [one.venue for one in board.markets] == ["bad", "good"]
    assert board.markets[0].account is None and not board.markets[0].fees.from_account
    assert board.notes == ("bad: the account cannot be asked, its fee is assumed: do this",)
    board = looked(made, ordering=True)
    assert [one.venue for one in board.markets] == ["good"]
    assert [(one.venue, one.reason, one.detail) for one in board.exclusions] == [("bad", Reason.REFUSED, "do this")]


def test_a_venue_without_the_question_for_fees_can_be_ordered_from():
    trading = Trading("plain")
    trading.fails["fees"] = RequestRefused("u", 404, None, "Not Found")
    [market] = looked(desk(source("plain", trading=trading)), ordering=True).markets
    assert market.account is not None and not market.fees.from_account
    trading.fails["fees"] = RateLimited("x", 1)
    assert looked(desk(source("plain", trading=trading)), ordering=True).markets == ()


def test_a_fee_in_a_third_asset_is_worth_what_the_venue_says():
    fees = TradingFees("one", "BTCUSDT", D("0.001"), D("0.001"), "BNB", D("0.00075"), D("0.0007"))
    with_price = Market("one", more=[("BNBUSDT", "BNB", "USDT")])
    [market] = looked(desk(source("one", with_price, Trading("one", fees)))).markets
    assert (market.fees.asset, market.fees.asset_price, market.fees.taker_rate) == ("BNB", D(600), D("0.00075"))
    assert market.fees.rate_without_asset == D("0.001")
    [market] = looked(desk(source("one", trading=Trading("one", fees)))).markets
    assert (market.fees.asset, market.fees.taker_rate) == (None, D("0.001")), "no price, so the dearer rate"
    assert fees_of(TradingFees("v", "s", D("-0.001"), D(0)), lambda asset: None)[0].taker_rate == 0


def test_a_kept_book_goes_first_while_it_is_young():
    market = Market("one")

    def kept(age_s, state=DepthState.LIVE):
        def look(instrument, levels):
            as_of = time.monotonic_ns() - age_s * S
            return MarketDepth(
                "one", instrument, (Level(D(98), D(1)),), (Level(D(99), D(1)),), as_of, DepthSource.BOOK, state
            )

        return look

    [found] = looked(desk(source("one", market, kept=kept(5)))).markets
    assert found.depth.source is DepthSource.BOOK and market.asked == []
    for bad in (kept(100), kept(0, DepthState.UNSYNCED), lambda instrument, levels: None):
        [found] = looked(desk(source("one", market, kept=bad))).markets
        assert found.depth.source is DepthSource.REST


def test_a_book_that_cannot_be_kept_exactly_is_no_quote():
    market = Market("one")
    market.inexact = "123456789.123456789"
    board = looked(desk(source("one", market)))
    assert board.markets == () and "more digits than are kept exactly" in board.exclusions[0].detail


def test_nobody_there_and_nothing_listed():
    market = Market("one")
    with pytest.raises(ConfigError, match="did you mean BTCUSDT"):
        desk(source("one", market)).find("BTCUSD")
    market.instruments_fail = VenueUnreachable("http://one", "refused")
    with pytest.raises(BinmonError, match="no venue answers: one: http://one: refused"):
        desk(source("one", market)).find("BTCUSDT")


def test_a_pair_on_one_venue_goes_on_with_one():
    board = looked(desk(source("one"), source("two", Market("two", base="ETH", symbol="ETHUSDT"))))
    assert [market.venue for market in board.markets] == ["one"]
    assert [(one.venue, one.reason) for one in board.exclusions] == [("two", Reason.UNKNOWN_SYMBOL)]


def test_a_fault_of_ours_is_no_answer():
    def bug(stop):
        raise RuntimeError("bug")

    with pytest.raises(RuntimeError, match="bug"):
        together({"one": bug}, 30, STOP)
    stopped = threading.Event()
    stopped.set()
    answer = together({"one": lambda stop: stop.wait(30)}, 30, stopped)["one"]
    assert isinstance(answer, VenueUnreachable)
    assert exclusion_of("v", BinmonError("x")).reason is Reason.REFUSED
