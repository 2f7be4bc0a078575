"""The public side over REST, and what is asked for on the streams."""

from __future__ import annotations

import json
import threading
from decimal import Decimal

import pytest
import responses
import structlog

from binmon.errors import Banned, RateLimited, RequestRefused, VenueFailed
from binmon.messages import Instrument, Priority
from binmon.net.rest import RestSession
from binmon.venues.base import BookStart
from binmon.venues.bybit.limits import REFUSALS, ledger_of
from binmon.venues.bybit.market import BybitMarket
from binmon.venues.bybit.time import take_sample

URL, STOP = "http://127.0.0.1:1", threading.Event()
BTC = {
    "symbolId": 11, "symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "innovation": "0", "status": "Trading",
    "marginTrading": "utaOnly", "stTag": "0",
    "lotSizeFilter": {
        "basePrecision": "0.000001", "quotePrecision": "0.0000001", "minOrderQty": "0.000011", "maxOrderQty": "80",
        "minOrderAmt": "5", "maxOrderAmt": "7000000", "maxLimitOrderQty": "80", "maxMarketOrderQty": "40",
        "postOnlyMaxLimitOrderSize": "50000",
    },
    "priceFilter": {"tickSize": "0.1"}, "riskParameters": {"priceLimitRatioX": "0.005", "priceLimitRatioY": "0.01"},
    "symbolType": "",
}  # fmt: skip
BOOK = {
    "s": "BTCUSDT", "a": [["70001.2", "0.884412"], ["70001.9", "0.02"]], "b": [["70001.1", "0.31"], ["70000", "0.0005"]],
    "ts": 1764000000120, "u": 512345, "seq": 98765432101, "cts": 1764000000117,
}  # fmt: skip


def market(depth: int = 1000) -> BybitMarket:
    ledger = ledger_of(max_wait_s=0.5)
    return BybitMarket(RestSession("bybit", URL, ledger, refusals=REFUSALS), ledger, "ws://127.0.0.1:2", depth)


def ok(result: object) -> dict[str, object]:
    return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": 1764000000123}


def error(code: int) -> dict[str, object]:
    return {"retCode": code, "retMsg": "no", "result": {}, "retExtInfo": {}, "time": 1764000000123}


@responses.activate
def test_instruments() -> None:
    other = {**BTC, "symbol": "NEWUSDC", "baseCoin": "NEW", "quoteCoin": "USDC", "status": "PreLaunch"}
    responses.get(f"{URL}/v5/market/instruments-info", json=ok({"category": "spot", "list": [BTC, other]}))
    found = market().instruments(STOP)
    assert found == {
        "BTCUSDT": Instrument("bybit", "BTCUSDT", "BTC", "USDT", "TRADING", Decimal("0.1"), Decimal("0.000001")),
        "NEWUSDC": Instrument("bybit", "NEWUSDC", "NEW", "USDC", "PRELAUNCH", Decimal("0.1"), Decimal("0.000001")),
    }
    assert responses.calls[0].request.url.endswith("?category=spot")


@responses.activate
def test_instruments_in_pages() -> None:
    pages = iter([({"list": [BTC], "nextPageCursor": "a%3A1%2C"}, None), ({"list": [], "nextPageCursor": ""}, "a:1,")])

    def answer(request: object) -> tuple[int, dict[str, str], str]:
        result, cursor = next(pages)
        assert request.params.get("cursor") == cursor  # type: ignore[attr-defined]
        return 200, {}, json.dumps(ok(result))

    responses.add_callback("GET", f"{URL}/v5/market/instruments-info", callback=answer)
    assert list(market().instruments(STOP)) == ["BTCUSDT"]
    assert next(pages, None) is None and "cursor=a%3A1%2C" in responses.calls[1].request.url


@responses.activate
def test_depth() -> None:
    responses.get(f"{URL}/v5/market/orderbook", json=ok(BOOK))
    book = market().depth("BTCUSDT", 5000, Priority.RESYNC, STOP)
    assert (book.symbol, book.last_update_id) == ("BTCUSDT", 512345)
    assert book.bid_price.tolist() == [70001.1, 70000.0] and book.ask_price.tolist() == [70001.2, 70001.9]
    assert responses.calls[0].request.params == {"category": "spot", "symbol": "BTCUSDT", "limit": "1000"}


@responses.activate
@pytest.mark.parametrize("result", [{**BOOK, "b": BOOK["b"][::-1]}, {}, None, {**BOOK, "u": "x"}])
def test_a_depth_that_is_none(result: object) -> None:
    responses.get(f"{URL}/v5/market/orderbook", json=ok(result))
    with pytest.raises(VenueFailed, match="unreadable"):
        market().depth("BTCUSDT", 50, Priority.RESYNC, STOP)


@responses.activate
@pytest.mark.parametrize(("code", "raised"), [(10001, RequestRefused), (10006, RateLimited), (10016, VenueFailed)])
def test_errors_with_status_200(code: int, raised: type[Exception]) -> None:
    responses.get(f"{URL}/v5/market/orderbook", json=error(code))
    with pytest.raises(raised):
        market().depth("BTCUSDT", 50, Priority.RESYNC, STOP)


@responses.activate
def test_a_limit_keeps_everybody_back_and_is_told_once() -> None:
    responses.get(f"{URL}/v5/market/orderbook", json=error(10006))
    ledger = ledger_of(max_wait_s=0.0)
    venue = BybitMarket(RestSession("bybit", URL, ledger), ledger, "ws://127.0.0.1:2")
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            with pytest.raises(RateLimited):
                venue.depth("BTCUSDT", 50, Priority.RESYNC, STOP)
    assert len(responses.calls) == 1
    (line,) = lines
    assert (line["event"], line["log_level"], line["venue"], line["scope"]) == (
        "rate.limited",
        "warning",
        "bybit",
        "REQUESTS",
    )
    assert line["retry_after_s"] == 1.0 and line["limit"] > 0


@responses.activate
def test_403_stops_all_requests_for_ten_minutes() -> None:
    responses.get(f"{URL}/v5/market/orderbook", status=403, body="access too frequent")
    told: list[int] = []
    ledger = ledger_of(max_wait_s=0.5, on_ban=told.append)
    venue = BybitMarket(RestSession("bybit", URL, ledger, refusals=REFUSALS), ledger, "ws://127.0.0.1:2")
    for _ in range(2):
        with pytest.raises(Banned) as caught:
            venue.depth("BTCUSDT", 50, Priority.RESYNC, STOP)
        assert 590 < caught.value.retry_after_s < 601
    assert len(responses.calls) == 1 and len(told) == 1


@pytest.mark.parametrize(
    ("depth", "window"), [(1, 50), (50, 50), (51, 200), (200, 200), (201, 1000), (1000, 1000), (5000, 1000)]
)
def test_the_stream_is_as_deep_as_the_books(depth: int, window: int) -> None:
    venue = market(depth)
    assert venue.depth_stream("BTCUSDT") == f"orderbook.{window}.BTCUSDT"
    rules = venue.book_rules
    assert (rules.start, rules.window, rules.shared_ids) == (BookStart.STREAM_SNAPSHOT, window, True)
    assert rules.comparable is (window == 1000)  # REST has the numbering of that stream alone


def test_a_plan_asks_for_each_stream_by_itself() -> None:
    """One bad topic fails the whole request (reference 4.1)."""
    venue = market(50)
    streams = [venue.depth_stream(f"A{number}USDT") for number in range(23)]
    plan = venue.stream_plan("m", streams)
    assert plan.url == "ws://127.0.0.1:2/v5/public/spot" and plan.streams == tuple(streams)
    requests = [json.loads(message) for message in plan.opening_messages]
    assert [one["args"] for one in requests] == [[stream] for stream in streams]
    assert {one["op"] for one in requests} == {"subscribe"} and len({one["req_id"] for one in requests}) == 23
    assert plan.heartbeat is not None and plan.heartbeat.every_s == 20.0
    assert json.loads(plan.heartbeat.message)["op"] == "ping"
    # a pong has ten seconds
    assert plan.silence_s == plan.heartbeat.every_s + 10
    # all arguments of one connection, with the longest name there is
    assert venue.streams_per_connection * len("orderbook.1000." + "X" * 20) <= 21_000


def test_a_resubscription() -> None:
    venue = market(200)
    first, second = (json.loads(one) for one in venue.resubscription(venue.depth_stream("BTCUSDT")))
    assert (first["op"], second["op"]) == ("unsubscribe", "subscribe")
    assert first["args"] == second["args"] == ["orderbook.200.BTCUSDT"] and first["req_id"] != second["req_id"]


@responses.activate
@pytest.mark.parametrize(
    ("told", "resolution_ns"),
    [("1764000000123456789", 1), ("1764000000123456000", 1_000), ("1764000000123000000", 1_000_000)],
)
def test_the_venues_time(told: str, resolution_ns: int) -> None:
    rest = RestSession("bybit", URL, ledger_of())

    def answer(request: object) -> tuple[int, dict[str, str], str]:
        return 200, {}, json.dumps(ok({"timeSecond": told[:10], "timeNano": told}))

    responses.add_callback("GET", f"{URL}/v5/market/time", callback=answer)
    with pytest.MonkeyPatch.context() as patch:
        # nothing leaves here, so nobody says that it does
        patch.setattr(rest, "send", departing(rest))
        sample = take_sample(rest, STOP)
    assert (sample.venue_ns, sample.resolution_ns) == (int(told), resolution_ns)
    assert sample.sent_mono_ns <= sample.received_mono_ns


def departing(rest: RestSession):
    send = rest.send

    def departed(*arguments, departure, **options):
        departure(1, 1)
        return send(*arguments, **options)

    return departed


@responses.activate
@pytest.mark.parametrize(
    "answer",
    [ok({"timeNano": "1764000000"}), ok({"timeNano": 1}), {**ok({}), "time": 0}, error(10001), error(10016)],
)
def test_a_time_that_is_none_may_be_asked_for_again(answer: dict[str, object]) -> None:
    responses.get(f"{URL}/v5/market/time", json=answer)
    with pytest.raises(VenueFailed):
        take_sample(RestSession("bybit", URL, ledger_of()), STOP)


@responses.activate
def test_a_time_without_nanoseconds_is_that_of_the_answer() -> None:
    responses.get(f"{URL}/v5/market/time", json={**ok({"timeSecond": "1764000000"}), "time": "1764000000123"})
    rest = RestSession("bybit", URL, ledger_of())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rest, "send", departing(rest))
        sample = take_sample(rest, STOP)
    assert (sample.venue_ns, sample.resolution_ns) == (1764000000123 * 10**6, 10**6)


@responses.activate
def test_a_time_that_is_refused_may_be_asked_for_again() -> None:
    responses.get(f"{URL}/v5/market/time", status=404, json=error(10017))
    with pytest.raises(VenueFailed, match="404"):
        take_sample(RestSession("bybit", URL, ledger_of()), STOP)
