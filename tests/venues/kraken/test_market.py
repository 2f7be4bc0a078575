"""The public side of Kraken: instruments under the streams' names, depth, errors, subscriptions."""

from __future__ import annotations

import gzip
import json
import threading
from decimal import Decimal
from typing import Any

import pytest
import responses

from binmon.errors import RateLimited, RequestRefused, VenueFailed
from binmon.messages import Instrument, Priority
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.venues.base import BookRules, BookStart, StreamSnapshot
from binmon.venues.kraken.market import DEPTHS, KrakenMarket
from tests.recordings import RECORDINGS
from tests.venues.kraken import frames
from tests.venues.window_server import WindowServer

URL, STREAM = "http://127.0.0.1:1", "ws://127.0.0.1:2/v2"
STOP = threading.Event()
RECORDED = RECORDINGS / "other-venues" / "kraken_v1_book1000_20210417_31s.tsv.gz"

PAIRS: dict[str, Any] = {
    "XXBTZUSD": {"altname": "XBTUSD", "wsname": "XBT/USD", "base": "XXBT", "quote": "ZUSD", "pair_decimals": 1,
                 "lot_decimals": 8, "ordermin": "0.00005", "costmin": "0.5", "tick_size": "0.1", "status": "online"},
    "XDGUSD": {"altname": "XDGUSD", "wsname": "XDG/USD", "pair_decimals": 7, "lot_decimals": 8, "status": "cancel_only",
               "tick_size": "0.0000001"},
    "ETHXBT.d": {"altname": "ETHXBT.d", "pair_decimals": 5, "lot_decimals": 8},
    "AAPLxUSD": {"altname": "AAPLxUSD", "wsname": "AAPLx/USD", "pair_decimals": 2, "lot_decimals": 3, "tick_size": "0.05"},
}  # fmt: skip


def market(depth: int = 1000, ledger: RateLedger | None = None) -> KrakenMarket:
    ledger = ledger or RateLedger("kraken", weight_per_minute=60)
    return KrakenMarket(RestSession("kraken", URL, ledger), ledger, STREAM, depth)


def answer(path: str, result: Any, *errors: str) -> None:
    body = {"error": list(errors)} | ({} if errors else {"result": result})
    responses.upsert(responses.GET, f"{URL}/0/public/{path}", json=body)


@responses.activate
def test_instruments_have_the_names_of_the_streams() -> None:
    answer("AssetPairs", PAIRS)
    found = market().instruments(STOP)
    assert found == {
        "BTC/USD": Instrument("kraken", "BTC/USD", "BTC", "USD", "TRADING", Decimal("0.1"), Decimal("1e-8")),
        "DOGE/USD": Instrument("kraken", "DOGE/USD", "DOGE", "USD", "CANCEL_ONLY", Decimal("1e-7"), Decimal("1e-8")),
        "AAPLx/USD": Instrument("kraken", "AAPLx/USD", "AAPLx", "USD", "TRADING", Decimal("0.05"), Decimal("0.001")),
    }


@pytest.mark.skipif(not RECORDED.exists(), reason="the recordings are not part of the project")
@responses.activate
def test_a_recorded_list_of_pairs() -> None:
    with gzip.open(RECORDED, "rt", encoding="utf-8") as lines:
        body = lines.readline().split("\t", 2)[2]
    responses.get(f"{URL}/0/public/AssetPairs", body=body)
    found = market().instruments(STOP)
    assert len(found) == 304 - 11  # dark pools
    assert found["BTC/USD"].tick_size == Decimal("0.1") and found["DOGE/BTC"].base == "DOGE"
    assert not any("XBT" in symbol or "XDG" in symbol for symbol in found)


@responses.activate
def test_depth_is_asked_for_under_the_old_name() -> None:
    answer("AssetPairs", PAIRS)
    book = {"asks": [["70001.2", "0.015", 1764000000]], "bids": [["70001.1", "0.3", 1764000000], ["70000.0", "1", 1]]}
    answer("Depth", {"XXBTZUSD": book})
    venue = market()
    snapshot = venue.depth("BTC/USD", 5000, Priority.RESYNC, STOP)
    assert snapshot.bid_price.tolist() == [70001.1, 70000.0] and snapshot.ask_quantity.tolist() == [0.015]
    assert (snapshot.venue, snapshot.symbol, snapshot.last_update_id) == ("kraken", "BTC/USD", 0)
    assert responses.calls[-1].request.params == {"pair": "XBTUSD", "count": "500"}
    venue.depth("BTC/USD", 10, Priority.RESYNC, STOP)
    assert responses.calls[-1].request.params == {"pair": "XBTUSD", "count": "10"}
    assert [call.request.path_url.partition("?")[0] for call in responses.calls].count("/0/public/AssetPairs") == 1


@responses.activate
def test_depths_that_are_none() -> None:
    answer("AssetPairs", PAIRS)
    venue = market()
    level = ["1", "1", 1]
    for result in (
        {},
        {"A": {"asks": [], "bids": []}, "B": {"asks": [], "bids": []}},
        {"A": {"asks": [], "bids": [level, ["2", "1", 1]]}},
        {"A": {"asks": [["1"]], "bids": []}},
        {"A": {"asks": [[1.5, "1"]], "bids": []}},
        {"A": {"asks": [["-1", "1"]], "bids": []}},
        {"A": {"asks": []}},
        [],
    ):
        answer("Depth", result)
        with pytest.raises(VenueFailed):
            venue.depth("BTC/USD", 10, Priority.RESYNC, STOP)


@responses.activate
@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        ("EQuery:Unknown asset pair", RequestRefused, "EQuery:Unknown asset pair"),
        ("EGeneral:Invalid arguments", RequestRefused, "Invalid arguments"),
        ("EService:Unavailable", VenueFailed, "EService:Unavailable"),
        ("EGeneral:Internal error", VenueFailed, "Internal error"),
        ("EAPI:Rate limit exceeded", RateLimited, "retry in 15.0 s"),
        ("EGeneral:Too many requests", RateLimited, "retry in 15.0 s"),
        ("EService: Throttled: 1040", RateLimited, "retry in 40.0 s"),
        ("EService:Throttled:soon", RateLimited, "retry in 15.0 s"),
    ],
)
def test_errors_come_with_success(said: str, kind: type[Exception], text: str) -> None:
    answer("AssetPairs", {}, said)
    ledger = RateLedger("kraken", weight_per_minute=60, clock=lambda: 1000.0)
    with pytest.raises(kind, match=text.replace("(", "\\(")):
        market(ledger=ledger).instruments(STOP)
    assert (ledger.blocked_until > 1000.0) == (kind is RateLimited)


@responses.activate
def test_warnings_are_no_errors_and_what_is_unreadable_is_a_failure() -> None:
    responses.get(f"{URL}/0/public/AssetPairs", json={"error": ["WGeneral:Something"], "result": PAIRS})
    assert "BTC/USD" in market().instruments(STOP)
    for body in ("{}", "[]", '{"error":[]}', '{"error":[],"result":{"X":{"altname":"X"}}}', '{"error":"x"}', "<html>"):
        responses.upsert(responses.GET, f"{URL}/0/public/AssetPairs", body=body)
        with pytest.raises(VenueFailed):
            market().instruments(STOP)


@pytest.mark.parametrize(
    ("wanted", "offered"), [(1, 10), (10, 10), (11, 25), (100, 100), (101, 500), (501, 1000), (5000, 1000)]
)
def test_the_next_depth_that_is_offered(wanted: int, offered: int) -> None:
    venue = market(wanted)
    assert venue.book_rules == BookRules(
        BookStart.STREAM_SNAPSHOT, shared_ids=False, comparable=False, window=offered, tells_what_leaves=True
    )
    assert venue.depth_stream("BTC/USD") == f"book-{offered}:BTC/USD" and offered in DEPTHS
    assert (venue.snapshot_weight(5000), venue.weight_per_minute) == (1, 60)


def test_subscriptions() -> None:
    venue = market(100)
    streams = [venue.depth_stream(f"C{number}/USD") for number in range(venue.streams_per_connection)]
    plan = venue.stream_plan("one", streams)
    assert (plan.name, plan.url, plan.streams) == ("one", STREAM, tuple(streams))
    assert plan.heartbeat is None and plan.silence_s == 10.0
    asked = [json.loads(message) for message in plan.opening_messages]
    assert [symbol for message in asked for symbol in message["params"].pop("symbol")] == [
        f"C{number}/USD" for number in range(100)
    ]
    assert all(message["params"] == {"channel": "book", "depth": 100, "snapshot": True} for message in asked)
    assert all(message["method"] == "subscribe" for message in asked)
    give_up, again = (json.loads(message) for message in venue.resubscription(streams[7]))
    assert give_up["method"] == "unsubscribe" and again["method"] == "subscribe"
    assert give_up["params"] == {"channel": "book", "depth": 100, "symbol": ["C7/USD"]}
    assert again["params"] == {"channel": "book", "depth": 100, "symbol": ["C7/USD"], "snapshot": True}
    numbers = [message["req_id"] for message in (*asked, give_up, again)]
    assert len(set(numbers)) == len(numbers)


@responses.activate
def test_decoders_know_the_listed_precision_and_share_their_ids() -> None:
    pairs = {"ABCUSD": {**PAIRS["XXBTZUSD"], "wsname": "ABC/USD", "pair_decimals": frames.PRICE}}
    answer("AssetPairs", pairs)
    venue = market(10)
    one = venue.decoder()
    venue.instruments(STOP)
    server = WindowServer(10, {1000: 1}, {1001: 100})
    message = frames.snapshot(server).replace(b"0.00000001", b"1e-8").replace(b"0.00000100", b"0.000001")
    message = message.replace(b"10.00", b"10").replace(b"10.01", b"10.01")
    first, second = one.other(message), venue.decoder().other(message)
    assert isinstance(first, StreamSnapshot) and isinstance(second, StreamSnapshot)
    assert second.snapshot.last_update_id == first.snapshot.last_update_id + 1
