"""Over random orders of two accounts and of the market: no money comes or goes, and pushes tell the whole story."""

from collections import Counter, defaultdict
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binmon.sandbox.bybit import money
from binmon.sandbox.bybit.errors import RetError
from binmon.sandbox.matching import TimeInForce

from .conftest import SYMBOL, HandBybit

FINAL = ("Filled", "Cancelled", "PartiallyFilledCanceled", "Rejected")
price, lots, side = st.integers(97, 103), st.integers(1, 60), st.sampled_from(["Buy", "Sell"])
who, smp = st.sampled_from(["alice", "bob"]), st.sampled_from(["None", "CancelMaker", "CancelTaker", "CancelBoth"])
tif = st.sampled_from(["GTC", "GTC", "IOC", "FOK", "PostOnly"])
actions = st.lists(
    st.one_of(
        st.tuples(st.just("LIMIT"), who, side, price, lots, tif, smp),
        st.tuples(st.just("MARKET"), who, side, lots, smp),
        st.tuples(st.just("VALUE"), who, side, st.integers(100, 9000), smp),
        st.tuples(st.just("CANCEL"), who, st.integers(0, 30)),
        st.tuples(st.just("FLOW"), st.sampled_from(["BUY", "SELL"]), price, lots),
        st.tuples(st.just("FLOW_TAKES"), st.sampled_from(["BUY", "SELL"]), lots),
    ),
    min_size=15,
    max_size=60,
)


class Ledger:
    """Does the actions, and keeps from the pushes alone what every balance has to be."""

    def __init__(self, changes):
        self.venue = HandBybit(start_price=100, min_notional_e8=0, **changes)
        self.accounts = {"alice": self.venue.alice, "bob": self.venue.bob}
        listing = self.venue.feed.listing(SYMBOL)
        # Little enough that some orders cannot be paid.
        for account in self.accounts.values():
            for coin, amount in (("ABC", listing.base_units(120)), ("XYZ", listing.quote_units(100, 120))):
                wallet = account.wallet
                wallet.lock(coin, wallet.balance(coin).free - amount)
                wallet.spend(coin, wallet.balance(coin).locked)
        self.start = {name: self.balances(name) for name in self.accounts}
        self.changes = {name: Counter() for name in self.accounts}
        self.history = {name: [] for name in self.accounts}

    def balances(self, name):
        wallet = self.accounts[name].wallet
        return {coin: (wallet.balance(coin).free, wallet.balance(coin).locked) for coin in ("ABC", "XYZ")}

    def do(self, action):
        kind, *rest = action
        venue = self.venue
        venue.clock.time_us += 1000
        if kind == "FLOW":
            return venue.flow(*rest)
        if kind == "FLOW_TAKES":
            return venue.flow(rest[0], None, rest[1], TimeInForce.IOC)
        account, listing = self.accounts[rest[0]], venue.feed.listing(SYMBOL)
        try:
            if kind == "CANCEL":
                mine = venue.side._store.of(account)
                if mine:
                    number = str(mine[rest[1] % len(mine)].order_id)
                    venue.ask("/v5/order/cancel", account, category="spot", symbol=SYMBOL, orderId=number)
                return None
            body = {"side": rest[1], "smpType": rest[-1], "account": account}
            if kind == "LIMIT":
                body |= {"orderType": "Limit", "price": listing.price_text(rest[2]), "timeInForce": rest[4]}
                body["qty"] = listing.quantity_text(rest[3])
            elif kind == "MARKET":
                body |= {"orderType": "Market", "marketUnit": "baseCoin", "qty": listing.quantity_text(rest[2])}
            else:
                amount = listing.quote_units(1, rest[2]) // listing.quote_precision * listing.quote_precision
                body |= {"orderType": "Market", "marketUnit": "quoteCoin", "qty": money.text(amount)}
            venue.create(**body)
        except RetError as error:
            assert error.code in (170131, 170140, 170193, 170194, 170213, 170124), error
        return None

    def check(self):
        for name, account in self.accounts.items():
            self.take_pushes(name, account)
            reserved = Counter()
            for order in self.venue.side._store.open_of(account):
                reserved[order.spends] += order.reserve(order.leaves)
            for coin, (free, locked) in self.balances(name).items():
                assert free >= 0
                assert locked == reserved[coin]
                assert Fraction(free + locked, money.UNIT) == (
                    Fraction(sum(self.start[name][coin]), money.UNIT) + self.changes[name][coin]
                )

    def take_pushes(self, name, account):
        told = self.venue.told(account)
        self.history[name] += told
        for kind, event in told:
            if kind != "execution":
                continue
            for fill in event["data"]:
                base, quote, fee = (Fraction(fill[key]) for key in ("execQty", "execValue", "execFee"))
                assert quote == base * Fraction(fill["execPrice"])
                assert fee == Fraction(fill["feeRate"]) * (base if fill["side"] == "Buy" else quote)
                sign = 1 if fill["side"] == "Buy" else -1
                self.changes[name]["ABC"] += sign * base
                self.changes[name]["XYZ"] -= sign * quote
                self.changes[name][fill["feeCurrency"]] -= fee
        wallets = [event for kind, event in told if kind == "wallet"]
        if wallets:
            balances = self.balances(name)
            assert {row["coin"]: (row["walletBalance"], row["locked"]) for row in wallets[-1]["data"][0]["coin"]} == {
                coin: (money.text(free + locked), money.text(locked)) for coin, (free, locked) in balances.items()
            }


def check_stories(told):
    """Each order says nothing after its end, its fills add up to it, and no execution comes twice."""
    fills, last = defaultdict(list), {}
    for kind, event in told:
        for row in event["data"]:
            if kind == "execution":
                fills[row["orderId"]].append(row)
            elif kind == "order":
                assert last.get(row["orderId"], {}).get("orderStatus") not in FINAL
                last[row["orderId"]] = row
                assert Fraction(row["cumExecQty"]) == sum(Fraction(one["execQty"]) for one in fills[row["orderId"]])
                assert Fraction(row["cumExecValue"]) == sum(Fraction(one["execValue"]) for one in fills[row["orderId"]])
                fee = sum(Fraction(one["execFee"]) for one in fills[row["orderId"]])
                assert sum(map(Fraction, row["cumFeeDetail"].values())) == fee
    for number, rows in fills.items():
        assert len({(row["execId"]) for row in rows}) == len(rows)
        assert number in last
    fast = [row["execId"] for kind, event in told if kind == "execution.fast" for row in event["data"]]
    assert fast == [row["execId"] for kind, event in told if kind == "execution" for row in event["data"]]
    return last


@pytest.mark.parametrize("changes", [{}, {"tick_e8": 1, "step_e8": 1}], ids=["plain", "fine"])
@settings(max_examples=60, deadline=None)
@given(actions=actions)
def test_no_money_comes_or_goes(changes, actions):
    ledger = Ledger(changes)
    for action in actions:
        ledger.do(action)
        ledger.check()
    for account in ledger.accounts.values():
        ledger.venue.ask("/v5/order/cancel-all", account, category="spot")
    ledger.check()
    for name, account in ledger.accounts.items():
        assert all(locked == 0 for _, locked in ledger.balances(name).values())
        last = check_stories(ledger.history[name])
        assert {number: row["orderStatus"] for number, row in last.items()} == {
            str(order.order_id): order.status for order in ledger.venue.side._store.of(account)
        }
