"""Over random orders of two accounts and of the market: no money comes or goes, and events tell the whole story."""

from collections import Counter, defaultdict
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binmon.sandbox.decimals import format_e8
from binmon.sandbox.matching import TimeInForce
from binmon.sandbox.parameters import ApiError
from binmon.sandbox.trading.accounts import CommissionRates

from .conftest import PLAIN, HandVenue

FINE = replace(PLAIN, tick_e8=1_000, step_e8=1_000, start_price=100)
"""Price tick and quantity step of 0.00001: their product needs ten decimals, more than balances have."""
RATES = CommissionRates(Decimal("0.0007"), Decimal("0.00113"))
FINAL = ("FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH")

price = st.integers(97, 103)
lots = st.integers(1, 60)
side = st.sampled_from(["BUY", "SELL"])
who = st.sampled_from(["alice", "bob"])
mode = st.sampled_from(["NONE", "EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH"])
actions = st.lists(
    st.one_of(
        st.tuples(st.just("LIMIT"), who, side, price, lots, st.sampled_from(["GTC", "GTC", "IOC", "FOK"]), mode),
        st.tuples(st.just("LIMIT_MAKER"), who, side, price, lots, st.none(), mode),
        st.tuples(st.just("MARKET"), who, side, st.none(), lots, st.none(), mode),
        st.tuples(st.just("QUOTE"), who, side, st.none(), st.integers(50, 5000), st.none(), mode),
        st.tuples(st.just("CANCEL"), who, st.integers(0, 30)),
        st.tuples(st.just("CANCEL_ALL"), who),
        st.tuples(st.just("AMEND"), who, st.integers(0, 30), lots),
        st.tuples(st.just("FLOW"), side, price, lots),
        st.tuples(st.just("FLOW_TAKES"), side, lots),
    ),
    min_size=15,
    max_size=60,
)


class Ledger:
    """Does the actions, and keeps from the events what every balance has to be."""

    def __init__(self, instrument):
        self.venue = HandVenue(instrument, RATES, orders_per_10s=10_000)
        self.accounts = {"alice": self.venue.alice, "bob": self.venue.bob}
        # Little enough that some orders cannot be paid.
        worth = format_e8(100 * 120 * instrument.tick_e8 * instrument.step_e8 // 10**8)
        for account in self.accounts.values():
            for asset, amount in (("ABC", format_e8(120 * instrument.step_e8)), ("XYZ", worth)):
                account.wallet.lock(asset, account.wallet.balance(asset).free)
                account.wallet.spend(asset, account.wallet.balance(asset).locked)
                account.wallet.receive(asset, int(Decimal(amount) * 10**8))
        self.start = {name: self.balances(name) for name in self.accounts}
        self.changes = {name: Counter() for name in self.accounts}
        self.history = {name: [] for name in self.accounts}
        self.refused = Counter()

    def balances(self, name):
        wallet = self.accounts[name].wallet
        return {asset: (wallet.balance(asset).free, wallet.balance(asset).locked) for asset in ("ABC", "XYZ")}

    def do(self, action):
        kind, *rest = action
        venue, instrument = self.venue, self.venue.instrument
        venue.pass_time(0.001)
        if kind == "FLOW":
            venue.flow(*rest)
            return None
        if kind == "FLOW_TAKES":
            venue.flow(rest[0], None, rest[1], TimeInForce.IOC)
            return None
        account = self.accounts[rest[0]]
        try:
            if kind == "CANCEL_ALL":
                return venue.ask("openOrders.cancelAll", account)
            if kind in ("CANCEL", "AMEND"):
                mine = venue.ask("allOrders", account)
                name = mine[rest[1] % len(mine)]["orderId"] if mine else 1
                if kind == "CANCEL":
                    return venue.ask("order.cancel", account, orderId=name)
                new = instrument.quantity_text(rest[2])
                return venue.ask("order.amend.keepPriority", account, orderId=name, newQty=new)
            _, way, at, amount, time_in_force, self_trade = rest
            params = {"side": way, "type": "MARKET" if kind == "QUOTE" else kind, "selfTradePreventionMode": self_trade}
            if kind == "QUOTE":
                params["quoteOrderQty"] = format_e8(max(1, amount * instrument.tick_e8 * instrument.step_e8 // 10**8))
            else:
                params["quantity"] = instrument.quantity_text(amount)
            if at is not None:
                params["price"] = instrument.price_text(at)
            return venue.place(account, **params, **({"timeInForce": time_in_force} if time_in_force else {}))
        except ApiError as error:
            self.refused[error.code] += 1
            return None

    def check(self):
        for name, account in self.accounts.items():
            self.take_events(name, account)
            balances = self.balances(name)
            reserved = Counter()
            for order in self.venue.side._store.open_of(account, None):
                reserved[order.spends] += order.reserve_e8(order.lots - order.executed)
            for asset, (free, locked) in balances.items():
                assert free >= 0
                assert locked == reserved[asset]
                before = sum(self.start[name][asset])
                assert free + locked == before + self.changes[name][asset]
        self.check_trades()

    def take_events(self, name, account):
        events = self.venue.told(account)
        self.history[name] += events
        for event in events:
            if event.get("x") != "TRADE":
                continue
            base, quote, fee = (int(Decimal(event[key]) * 10**8) for key in ("l", "Y", "n"))
            sign = 1 if event["S"] == "BUY" else -1
            self.changes[name]["ABC"] += sign * base
            self.changes[name]["XYZ"] -= sign * quote
            self.changes[name][event["N"]] -= fee
        # The last position an account was told is what it has.
        told = [event for event in self.history[name] if event["e"] == "outboundAccountPosition"]
        if told:
            wallet = self.balances(name)
            assert {row["a"]: (row["f"], row["l"]) for row in told[-1]["B"]} == {
                asset: (format_e8(free), format_e8(locked)) for asset, (free, locked) in wallet.items()
            }

    def check_trades(self):
        """What the accounts have gained the market has paid: trades between accounts move nothing in or out."""
        market = Counter()
        instrument = self.venue.instrument
        for trade in self.venue.book.trades():
            if (trade.maker_owner == "flow") == (trade.taker_owner == "flow"):
                continue
            market_buys = trade.buyer_is_maker == (trade.maker_owner == "flow")
            quote = trade.price * trade.quantity * instrument.tick_e8 * instrument.step_e8 // 10**8
            market["ABC"] += trade.quantity * instrument.step_e8 * (1 if market_buys else -1)
            market["XYZ"] -= quote * (1 if market_buys else -1)
        fees = Counter()
        for events in self.history.values():
            for event in events:
                if event.get("x") == "TRADE":
                    fees[event["N"]] += int(Decimal(event["n"]) * 10**8)
        for asset in ("ABC", "XYZ"):
            assert sum(change[asset] for change in self.changes.values()) == -market[asset] - fees[asset]


def check_story(events):
    """Execution ids grow; each order begins with NEW, adds up, and says nothing after its end."""
    executions = [event["I"] for event in events if "I" in event]
    assert executions == sorted(set(executions))
    stories = defaultdict(list)
    for event in events:
        if event["e"] == "executionReport":
            stories[event["i"]].append(event)
    for story in stories.values():
        assert (story[0]["x"], story[0]["X"], story[0]["z"]) == ("NEW", "NEW", "0.00000000")
        done, worth = Decimal(0), Decimal(0)
        for position, event in enumerate(story):
            done += Decimal(event["l"])
            worth += Decimal(event["Y"])
            assert (Decimal(event["z"]), Decimal(event["Z"])) == (done, worth)
            assert done <= Decimal(event["q"])
            assert (event["X"] in FINAL) <= (position == len(story) - 1)
            assert (event["X"] == "FILLED") == (done == Decimal(event["q"])) or "eR" in event or Decimal(event["Q"])
            assert (event["x"] == "NEW") == (position == 0)
            assert (event["x"] == "TRADE") == (event["t"] != -1) == (event["N"] is not None)
            assert event["E"] >= event["T"] >= event["O"] == event["W"]


def check_order_of_events(events):
    """The events of one action: reports, then one position."""
    if events:
        assert [event["e"] for event in events] == ["executionReport"] * (len(events) - 1) + ["outboundAccountPosition"]
        assert len({event.get("T", event.get("u")) for event in events}) == 1


@pytest.mark.parametrize("instrument", [PLAIN, FINE], ids=["plain", "fine"])
@settings(max_examples=100, deadline=None)
@given(actions=actions)
def test_no_money_comes_or_goes(instrument, actions):
    instrument = replace(instrument, start_price=100)
    ledger = Ledger(instrument)
    for action in actions:
        answer = ledger.do(action)
        if not isinstance(answer, list):  # cancelAll is several actions
            for name in ledger.accounts:
                check_order_of_events(ledger.venue.events[name])
        ledger.check()
    for account in ledger.accounts.values():
        if ledger.venue.side._store.open_of(account, None):
            ledger.venue.ask("openOrders.cancelAll", account)
    ledger.check()
    for name in ledger.accounts:
        assert all(locked == 0 for _, locked in ledger.balances(name).values())
        check_story(ledger.history[name])
        rows = {row["orderId"]: row for row in ledger.venue.ask("allOrders", ledger.accounts[name], limit=1000)}
        last = {event["i"]: event for event in ledger.history[name] if "i" in event}
        assert {number: (row["status"], row["executedQty"]) for number, row in rows.items()} == {
            number: (event["X"], event["z"]) for number, event in last.items()
        }
