"""The public side of OKX: instruments, depth, errors, subscriptions."""

from __future__ import annotations

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
from binmon.venues.base import BookRules, BookStart, Heartbeat
from binmon.venues.okx.market import OkxMarket

URL, STREAM = "http://127.0.0.1:1", "ws://127.0.0.1:2/ws/v5/public"
STOP = threading.Event()
INSTRUMENTS, DEPTH = f"{URL}/api/v5/public/instruments", f"{URL}/api/v5/market/books"


def market(ledger: RateLedger | None = None) -> OkxMarket:
    ledger = ledger or RateLedger("okx", weight_per_minute=300)
    return OkxMarket(RestSession("okx", URL, ledger), ledger, STREAM)


def answer(url: str, data: Any, code: str = "0", message: str = "") -> None:
    responses.upsert(responses.GET, url, json={"code": code, "msg": message, "data": data})


@responses.activate
def test_instruments() -> None:
    listed = {"instId": "BTC-USDT", "instType": "SPOT", "baseCcy": "BTC", "quoteCcy": "USDT", "tickSz": "0.1"}
    listed |= {"lotSz": "0.00000001", "minSz": "0.00001", "state": "live"}
    answer(INSTRUMENTS, [listed, {**listed, "instId": "OLD-USDT", "baseCcy": "OLD", "state": "suspend", "tickSz": ""}])
    assert market().instruments(STOP) == {
        "BTC-USDT": Instrument("okx", "BTC-USDT", "BTC", "USDT", "TRADING", Decimal("0.1"), Decimal("1e-8")),
        "OLD-USDT": Instrument("okx", "OLD-USDT", "OLD", "USDT", "SUSPEND", Decimal(0), Decimal("1e-8")),
    }
    assert responses.calls[-1].request.params == {"instType": "SPOT"}


@responses.activate
def test_depth() -> None:
    book = {"asks": [["70001.2", "0.88", "0", "4"]], "bids": [["70001.1", "0.31", "0", "2"]], "ts": "1764000000100"}
    answer(DEPTH, [book])
    snapshot = market().depth("BTC-USDT", 5000, Priority.RESYNC, STOP)
    assert snapshot.bid_price.tolist() == [70001.1] and snapshot.ask_quantity.tolist() == [0.88]
    assert (snapshot.venue, snapshot.symbol, snapshot.last_update_id) == ("okx", "BTC-USDT", 0)
    assert responses.calls[-1].request.params == {"instId": "BTC-USDT", "sz": "400"}
    for data in ([], [book, book], [{"asks": []}], {}, [{**book, "bids": [["1"]]}], [{**book, "bids": [["x", "1"]]}]):
        answer(DEPTH, data)
        with pytest.raises(VenueFailed):
            market().depth("BTC-USDT", 5, Priority.RESYNC, STOP)
    answer(DEPTH, [{**book, "asks": [["2", "1", "0", "1"], ["1", "1", "0", "1"]]}])
    with pytest.raises(VenueFailed, match="sorted"):
        market().depth("BTC-USDT", 5, Priority.RESYNC, STOP)


@responses.activate
@pytest.mark.parametrize(
    ("code", "kind"),
    [("51001", RequestRefused), ("50011", RateLimited), ("50001", VenueFailed), ("50013", VenueFailed), ("odd", RequestRefused)],
)  # fmt: skip
def test_errors_may_come_with_success(code: str, kind: type[Exception]) -> None:
    answer(INSTRUMENTS, [], code, "what is wrong")
    ledger = RateLedger("okx", weight_per_minute=300, clock=lambda: 1000.0)
    with pytest.raises(kind) as caught:
        market(ledger).instruments(STOP)
    assert (ledger.blocked_until > 1000.0) == (kind is RateLimited)
    if isinstance(caught.value, RequestRefused):
        assert caught.value.code == (51001 if code == "51001" else None) and caught.value.message == "what is wrong"


@responses.activate
def test_what_is_unreadable_is_a_failure() -> None:
    for body in ("{}", "[]", '{"code":0}', '{"code":"0","data":[{}]}', "<html>"):
        responses.upsert(responses.GET, INSTRUMENTS, body=body)
        with pytest.raises(VenueFailed):
            market().instruments(STOP)


def test_subscriptions() -> None:
    venue = market()
    assert venue.book_rules == BookRules(
        BookStart.STREAM_SNAPSHOT, shared_ids=True, comparable=False, window=400, tells_what_leaves=True
    )
    streams = [venue.depth_stream(f"C{number}-USDT") for number in range(venue.streams_per_connection)]
    plan = venue.stream_plan("one", streams)
    assert (plan.name, plan.url, plan.streams) == ("one", STREAM, tuple(streams))
    assert plan.heartbeat == Heartbeat(b"ping", 20.0) and plan.silence_s == 45.0
    asked = [json.loads(message) for message in plan.opening_messages]
    assert [one for message in asked for one in message["args"]] == [
        {"channel": "books", "instId": f"C{number}-USDT"} for number in range(100)
    ]
    assert {message["op"] for message in asked} == {"subscribe"}
    assert sum(map(len, plan.opening_messages)) < 64_000
    give_up, again = (json.loads(message) for message in venue.resubscription(streams[7]))
    assert (give_up["op"], again["op"]) == ("unsubscribe", "subscribe")
    assert give_up["args"] == again["args"] == [{"channel": "books", "instId": "C7-USDT"}]
    assert len({message["id"] for message in (*asked, give_up, again)}) == len(asked) + 2
    assert (venue.snapshot_weight(400), venue.weight_per_minute) == (1, 300)
