"""A venue that is driven by hand: one symbol with an empty book, a clock that stands still, two accounts."""

import json
from dataclasses import replace

import pytest

from binmon.sandbox import flow, symbols
from binmon.sandbox.clock import VenueClock
from binmon.sandbox.hub import StreamHub
from binmon.sandbox.market import Market
from binmon.sandbox.matching import Side, TimeInForce
from binmon.sandbox.parameters import ApiError, Parameters
from binmon.sandbox.trading.accounts import CommissionRates
from binmon.sandbox.trading.operations import Call, PrivateSide

START_US = 1_784_600_000_000_000
SYMBOL = "ABCXYZ"
PLAIN = symbols.Instrument(
    symbol=SYMBOL,
    base_asset="ABC",
    quote_asset="XYZ",
    tick_e8=1_000_000,
    step_e8=100_000,
    start_price=10_000,
    typical_lots=100,
    levels=0,
    gap_ticks=1,
    half_spread_ticks=1,
    rate_hz=1.0,
    with_history=False,
    min_notional_e8=0,
)
"""Price tick 0.01, step 0.001, no price history, so that no price is too far away."""


class HandClock(VenueClock):
    """A clock that moves when it is told to."""

    def __init__(self):
        super().__init__()
        self.time_us = START_US

    def now_us(self):
        return self.time_us


class HandVenue:
    """A private side over a market that only moves by hand. ``events`` holds what each account was told."""

    def __init__(self, instrument=PLAIN, rates=None, **limits):
        self.instrument = instrument
        self.clock = HandClock()
        self.market = Market([instrument], StreamHub(), self.clock, 1)
        self.side = PrivateSide(self.market, self.clock, **limits)
        self.book = self.market.symbol(instrument.symbol)
        self.events = {}
        self.alice = self.open("alice", rates=rates)
        self.bob = self.open("bob", rates=rates)
        self.methods = {operation.method: operation for operation in self.side.operations}

    def open(self, name, balances=None, rates=None):
        base, quote = self.instrument.base_asset, self.instrument.quote_asset
        account = self.side.accounts.add(name, balances or {base: "1000", quote: "100000"})
        account.commission = rates or CommissionRates()
        told = self.events[account.name] = []
        account.listen(lambda event: told.append(json.loads(event.text(False))))
        return account

    def text(self, method, account=None, micro=False, **params):
        """Run an operation and return its text; the symbol is filled in."""
        operation = self.methods[method]
        if "symbol" in operation.known:
            params = {"symbol": self.instrument.symbol, **params}
        params = {name: value for name, value in params.items() if value is not None}
        return operation.run(Call(Parameters.of(params), account or self.alice, None, micro))

    def ask(self, method, account=None, micro=False, **params):
        return json.loads(self.text(method, account, micro, **params))

    def place(self, account=None, **params):
        return self.ask("order.place", account, **params)

    def limit(self, side, price, quantity, account=None, **params):
        kind = {"type": "LIMIT", "timeInForce": "GTC"}
        return self.place(account, side=side, price=price, quantity=quantity, **{**kind, **params})

    def take(self, side, quantity, account=None, **params):
        return self.place(account, side=side, type="MARKET", quantity=quantity, **params)

    def refused(self, method, account=None, **params):
        """Status, code and text of a request that must fail."""
        with pytest.raises(ApiError) as caught:
            self.text(method, account, **params)
        return caught.value.status, caught.value.code, caught.value.message

    def flow(self, side, price, lots, time_in_force=TimeInForce.GTC):
        """An order of the market itself: price in ticks (``None``: any), quantity in lots."""
        with self.book.lock:
            order = self.book.engine.submit(flow.OWNER, Side(side), lots, price, self.clock.now_us(), time_in_force)
            self.book.settle(self.clock.now_us())
        return order

    def told(self, account=None):
        """What an account was told since the last call."""
        events = self.events[(account or self.alice).name]
        taken = list(events)
        events.clear()
        return taken

    def balance(self, asset, account=None):
        """Free and locked, as texts."""
        rows = self.ask("account.status", account)["balances"]
        return next((row["free"], row["locked"]) for row in rows if row["asset"] == asset)

    def pass_time(self, seconds):
        self.clock.time_us += round(seconds * 1_000_000)


@pytest.fixture
def venue():
    return HandVenue()


@pytest.fixture
def make_venue():
    def make(rates=None, limits=None, **changes):
        return HandVenue(replace(PLAIN, **changes), rates, **(limits or {}))

    return make
