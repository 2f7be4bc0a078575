"""Many orders over both venues, and every fault between: the money is what the sandbox's ledger says, to the last digit.

``BINMON_EXECUTION_ORDERS`` says how many (500 for the long version).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import pytest

from binmon.execution.outcomes import End
from binmon.execution.router import Moved, Sent
from binmon.execution.settlement import settle
from binmon.wiring.execution import Floor
from tests.execution.floor import BUY, SELL, SYMBOLS, Exchange, exchange, wish
from tests.ports import free_port
from tests.system.conftest import DaemonProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(3600)]
ORDERS = int(os.environ.get("BINMON_EXECUTION_ORDERS", "60"))
FAULTED = max(30, ORDERS // 4)
PATIENT = {"stale_after_ms": 30000, "quote_timeout_ms": 30000, "settle_timeout_ms": 60000, "max_slippage_bps": 100}


@pytest.fixture(scope="module")
def venues() -> Iterator[Exchange]:
    # a comparison costs some 150 of a minute's 6,000: here they come faster than anybody types them
    with exchange(seed=11, weight_limit=10**7) as running:
        yield running


def sized(random: Random, symbol: str) -> dict[str, str]:
    kind = random.randrange(5)
    unit = {"BTCUSDT": 10**-5, "ETHUSDT": 10**-4}[symbol]
    if kind < 2:
        return {"quantity": f"{random.randint(200, 40000) * unit:.5f}".rstrip("0")}
    if kind < 4:
        return {"quote_amount": f"{random.randint(1200, 500000) / 100:.2f}"}
    return {"percent": f"{random.randint(1, 60) / 1000}"}


def filled_by_ledger(row: dict[str, Any]) -> list[tuple[Fraction, Fraction, Fraction, str]]:
    """Quantity, value, fee and its asset of each fill."""
    names = ("qty", "quoteQty", "commission", "commissionAsset")
    if "orderLinkId" in row:
        names = ("execQty", "execValue", "execFee", "feeCurrency")
    return sorted(
        (Fraction(fill[names[0]]), Fraction(fill[names[1]]), Fraction(fill[names[2]]), fill[names[3]])
        for fill in row.get("fills", [])
    )


def check_against_ledger(venues: Exchange, sent: list[Sent], before: dict[str, dict[str, Fraction]]) -> None:
    """Every order is in the ledger once with just these fills, no other order of ours has traded, and the balances differ by
    just what the orders say that they have moved."""
    ledgers = {venue: venues.orders(venue) for venue in ("binance", "bybit")}
    changes: dict[str, Counter[str]] = {venue: Counter() for venue in ledgers}
    for one in sent:
        order = one.outcome.order
        row = ledgers[order.venue].get(order.client_order_id, {})
        told = sorted(
            (Fraction(fill.quantity), Fraction(fill.quote), Fraction(fill.commission), fill.commission_asset)
            for fill in one.outcome.executions
        )
        assert told == filled_by_ledger(row), (order, one.outcome)
        for asset, change in settle(one.shown, one.outcome.executions).changes().items():
            changes[order.venue][asset] += change  # type: ignore[assignment]
    ours = {one.outcome.order.client_order_id for one in sent}
    for venue, rows in ledgers.items():
        assert {name for name, row in rows.items() if row.get("fills")} <= ours
        after = venues.balances(venue)
        for asset in after.keys() | changes[venue].keys():
            assert after[asset] - before[venue].get(asset, Fraction(0)) == changes[venue][asset], (venue, asset)


def awake(floor: Floor, venues: Exchange) -> dict[str, dict[str, Fraction]]:
    """Balances with every asset that will be touched among them."""
    accounts = floor.quotes.accounts()
    return {
        venue: {asset: Fraction(one.free) + Fraction(one.locked) for asset, one in account.balances.items()}
        for venue, account in accounts.items()
        if not isinstance(account, Exception)
    }


def test_many_orders_are_the_ledgers(venues: Exchange, tmp_path: Path) -> None:
    random, sent = Random(ORDERS), list[Sent]()
    with venues.floor(tmp_path, execution=PATIENT | {"max_order_notional": 10**9}) as floor:
        before = awake(floor, venues)
        began_s, counts = time.monotonic(), Counter[str]()
        while len(sent) < ORDERS:
            side, symbol = random.choice([BUY, SELL]), random.choice(SYMBOLS)
            venue = random.choice([None, None, "binance", "bybit"])
            splits = venue is None and random.random() < 0.2
            size = sized(random, symbol)
            decision = floor.router.decide(wish(side, symbol, venue, splits, **size))
            assert decision.plan is not None
            counts[decision.reason.split(",")[0][:30]] += 1
            if not decision.plan.orders:
                assert decision.exclusions
                continue
            found = floor.router.send(decision)
            assert not isinstance(found, Moved)
            sent += found
        taken_s = time.monotonic() - began_s
    assert {one.outcome.end for one in sent} <= {End.FILLED, End.PARTLY}
    assert {one.outcome.order.venue for one in sent} == {"binance", "bybit"}
    check_against_ledger(venues, sent, before)
    print(
        f"{len(sent)} orders in {taken_s:.1f} s, {dict(Counter(one.outcome.order.venue for one in sent))}, {dict(counts)}"
    )


def faults(random: Random) -> list[tuple[str, str, dict[str, Any]]]:
    """Some trouble: before the comparison, or between it and the sending."""
    venue = random.choice(["binance", "bybit"])
    depth = "depth" if venue == "binance" else "orderbook"
    create = "/api/v3/order" if venue == "binance" else "order/create"
    mode = random.choice(["reset", "status", "truncated", "html"])
    limited: dict[str, Any] = (
        {"mode": "status", "status": 429, "retry_after": 1}
        if venue == "binance"
        else {"mode": "ret_code", "code": 10006}
    )
    lost = random.choice(["timeout", "status", "reset", "closed"])
    return random.choice(
        [
            [(venue, "rest", {"mode": mode, "path": depth, "count": 2})],
            [(venue, "rest", limited | {"path": depth, "count": 1})],
            [(venue, "rest", limited | {"path": create, "count": 1})],
            [(venue, "rest", {"mode": "slow", "delay_s": 1, "path": depth, "count": 1})],
            [(venue, "answer_lost", {"mode": lost, "count": 1})],
            [(venue, "order_refuse", {"count": 1})],
            [(venue, "query_lag", {"ms": 400, "seconds": 2})],
            [(venue, "report_delay", {"ms": 500, "count": 4})],
            [(venue, "symbol_status", {"symbol": "BTCUSDT", "status": "BREAK" if venue == "binance" else "Closed"})],
            [("binance", "disconnect", {"mode": "rst"})],
        ]
    )


def test_no_fault_makes_an_order_that_nobody_was_shown_or_two(venues: Exchange, tmp_path: Path) -> None:
    """The market stands still, so that every fill must be at the very prices that were shown."""
    venues.clear()
    for venue in ("binance", "bybit"):
        venues.fault("freeze", venue)
    random, sent, ends = Random(FAULTED), list[Sent](), Counter[str]()
    with venues.floor(tmp_path, execution=PATIENT | {"max_order_notional": 10**9}) as floor:
        before, earlier = awake(floor, venues), {v: set(venues.orders(v)) for v in ("binance", "bybit")}
        for number in range(FAULTED):
            side = BUY if number % 2 else SELL
            trouble = faults(random)
            comes_first = random.random() < 0.5
            if comes_first:
                for where, kind, options in trouble:
                    venues.fault(kind, where, **options)
            decision = floor.router.decide(wish(side, quantity=f"0.00{random.randint(20, 90)}"))
            assert decision.plan is not None
            if not comes_first:
                for where, kind, options in trouble:
                    venues.fault(kind, where, **options)
            if decision.plan.orders:
                found = floor.router.send(decision)
                if isinstance(found, Moved):
                    ends["moved"] += 1
                else:
                    assert len(found) == 1
                    sent += found
                    ends[found[0].outcome.end.value or "unknown"] += 1
                    shown, outcome = found[0].shown, found[0].outcome
                    if outcome.executions:
                        taken = sorted((Fraction(one.price), Fraction(one.quantity)) for one in outcome.executions)
                        by_price: Counter[Fraction] = Counter()
                        for price, quantity in taken:
                            by_price[price] += quantity  # type: ignore[assignment]
                        assert by_price == dict(shown.taken), "at prices that nobody was shown"
            else:
                ends["nobody"] += 1
            venues.clear()
            for venue in ("binance", "bybit"):
                venues.fault("freeze", venue)
    ledgers = {venue: venues.orders(venue) for venue in ("binance", "bybit")}
    tried = {one.outcome.order.client_order_id for one in sent}
    for venue, rows in ledgers.items():
        traded = {name for name, row in rows.items() if row.get("fills")} - earlier[venue]
        assert traded <= tried, "an order that nobody sent"
        filled = {
            one.outcome.order.client_order_id
            for one in sent
            if one.outcome.order.venue == venue and one.outcome.end is End.FILLED
        }
        assert traded == filled, "what was said to be executed is what was executed"
    changes: dict[str, Counter[str]] = {venue: Counter() for venue in ledgers}
    for one in sent:
        for asset, change in settle(one.shown, one.outcome.executions).changes().items():
            changes[one.outcome.order.venue][asset] += change  # type: ignore[assignment]
    for venue, was in before.items():
        now = venues.balances(venue)
        assert {asset: now[asset] - was[asset] for asset in now} == {asset: changes[venue][asset] for asset in now}
    assert ends["filled"] > FAULTED // 3
    print(dict(ends))


def test_a_command_beside_a_daemon_has_its_books_and_its_sandbox(daemon: Callable[..., DaemonProcess]) -> None:
    config = {
        "books": {"venue": [{"venue": name, "symbols": ["BTCUSDT"]} for name in ("binance", "bybit")]},
        "latency": {"enabled": False},
        "dashboard": {"enabled": False},
        "metrics": {"listen": f"127.0.0.1:{free_port()}"},
        "execution": {"stale_after_ms": 60000, "quote_timeout_ms": 30000},
    }
    process = daemon(config)
    for venue in ("binance", "bybit"):
        process.wait_for("book.state", within_s=60, venue=venue, to="synced")

    def command(*words: str) -> Any:
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-m", "binmon", *words, "--json"],
            cwd=process.directory,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert '"sandbox.started"' not in ran.stderr
        return json.loads(ran.stdout)

    def sources() -> set[str]:
        return {row["source"] for row in command("price", "BTCUSDT", "--quantity", "0.001")["venues"]}

    # a daemon that is too busy to answer at once is passed over for REST, so not every look must succeed
    assert any(sources() == {"book"} for _ in range(60))
    before = {row["venue"]: row["balances"] for row in command("balances")["venues"]}
    [order] = command("order", "buy", "BTCUSDT", "--quantity", "0.001", "--yes")["orders"]
    after = {row["venue"]: row["balances"] for row in command("balances")["venues"]}
    assert order["end"] == "filled"
    assert after[order["venue"]] != before[order["venue"]], "the next command sees what the last one did"
    assert process.stop() == 0
