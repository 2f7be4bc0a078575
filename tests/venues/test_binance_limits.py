"""What Binance says of its limits, and what a snapshot costs."""

from __future__ import annotations

import threading

import responses

from binmon.net.ledger import RateLedger, Usage
from binmon.net.rest import RestSession
from binmon.venues.binance.market import BinanceMarket

URL = "http://127.0.0.1:1"


def limit(kind: str, interval: str, number: int, most: int) -> dict[str, object]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": most}


def ledger_after(*limits: dict[str, object]) -> RateLedger:
    ledger = RateLedger("binance")
    venue = BinanceMarket(RestSession("binance", URL, ledger), ledger, "ws://127.0.0.1:2")
    with responses.RequestsMock() as canned:
        canned.get(f"{URL}/api/v3/exchangeInfo", json={"rateLimits": list(limits), "symbols": []})
        venue.instruments(threading.Event())
    return ledger


def test_all_limits_of_exchange_info_reach_the_ledger() -> None:
    ledger = ledger_after(
        limit("REQUEST_WEIGHT", "MINUTE", 1, 1234),
        limit("ORDERS", "SECOND", 10, 50),
        limit("ORDERS", "DAY", 1, 160_000),
        limit("RAW_REQUESTS", "MINUTE", 5, 300_000),
        limit("CONNECTIONS", "MINUTE", 5, 300),
    )
    status = ledger.status(ledger.clock())
    assert status.weight.limit == 1234
    assert status.orders == {"10S": Usage(0, 50), "1D": Usage(0, 160_000)}
    assert status.raw_requests is not None and status.raw_requests.limit == 300_000


def test_limits_that_make_no_sense_are_passed_over() -> None:
    ledger = ledger_after(
        limit("REQUEST_WEIGHT", "MINUTE", 1, 0),
        limit("REQUEST_WEIGHT", "FORTNIGHT", 1, 10),
        limit("ORDERS", "SECOND", 0, 50),
        limit("ORDERS", "SECOND", 10, -1),
    )
    status = ledger.status(ledger.clock())
    assert status.weight.limit == 6000 and status.orders == {} and status.raw_requests is None


def test_the_weight_of_a_snapshot() -> None:
    ledger = RateLedger("binance")
    venue = BinanceMarket(RestSession("binance", URL, ledger), ledger, "ws://127.0.0.1:2")
    assert [venue.snapshot_weight(levels) for levels in (5, 100, 500, 1000, 5000)] == [5, 5, 25, 50, 250]
