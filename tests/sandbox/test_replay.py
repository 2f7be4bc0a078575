"""Replay of a recording: the payloads, the pauses, the served books."""

import gzip
import json
import time

import pytest

from tests.recordings import RECORDINGS

SHARED = RECORDINGS / "binance-spot"


def event(first, last, bids=(), asks=(), symbol="ABCUSDT"):
    rows = [[[price, quantity] for price, quantity in side] for side in (bids, asks)]
    text = json.dumps({"e": "depthUpdate", "E": 1, "s": symbol, "U": first, "u": last, "b": rows[0], "a": rows[1]})
    # The odd spaces have to survive.
    return '{{"stream":"{}@depth@100ms","data":{}}}'.format(symbol.lower(), text.replace(",", " ,"))


SNAPSHOT = '{"lastUpdateId":12, "bids":[["1.50","2"],["1.40","1.0"]],"asks":[["1.60","3"]]}'


@pytest.fixture
def recording(tmp_path):
    def line(second, source, payload):
        return f"{1_700_000_000_000_000_000 + int(second * 1e9)}\t{source}\t{payload}\n"

    text = "".join(
        [
            line(0.0, "ws", event(10, 11)),
            line(0.1, "ws", event(12, 13, [("1.50", "0.00")])),
            line(0.2, "rest:https://x/api/v3/depth?symbol=ABCUSDT&limit=1000", SNAPSHOT),
            line(0.3, "ws", event(14, 15, [("1.45", "9.10")], [("1.60", "4")])),
            line(0.4, "ws:abcusdt@trade", '{"e":"trade" }'),
        ]
    )
    path = tmp_path / "small.tsv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return str(path)


def texts(stream, count):
    return [stream.text() for _ in range(count)]


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_payloads_are_verbatim_and_the_clock_waits_for_the_snapshot(start_exchange, recording):
    exchange = start_exchange(replay=recording, symbols=None, speed=2.0)
    assert exchange.state()["replay"]["started"] is False
    stream = exchange.stream("/stream?streams=abcusdt@depth@100ms/abcusdt@trade")
    assert texts(stream, 2) == [event(10, 11), event(12, 13, [("1.50", "0.00")])]
    wait_until(lambda: exchange.state()["replay"]["waiting_for_depth_of"] == "ABCUSDT")
    time.sleep(0.3)
    assert exchange.state()["replay"]["position"] == 2
    book = exchange.json("/api/v3/depth?symbol=ABCUSDT&limit=5000")
    assert book == {"lastUpdateId": 13, "bids": [["1.40", "1.0"]], "asks": [["1.60", "3"]]}
    assert texts(stream, 1) == [event(14, 15, [("1.45", "9.10")], [("1.60", "4")])]
    assert texts(stream, 1) == ['{"stream":"abcusdt@trade","data":{"e":"trade" }}']
    wait_until(lambda: exchange.state()["replay"]["finished"])
    assert exchange.json("/api/v3/depth?symbol=ABCUSDT&limit=1")["bids"] == [["1.45", "9.10"]]
    assert exchange.state()["symbols"]["ABCUSDT"]["update_id"] == 15


def test_raw_connections_get_bare_payloads_and_the_recorded_body(start_exchange, recording):
    exchange = start_exchange(replay=recording, symbols=None, speed=0.001)
    assert exchange.get("/api/v3/depth?symbol=ABCUSDT&limit=1000").text == SNAPSHOT
    assert len(exchange.json("/api/v3/depth?symbol=ABCUSDT&limit=1")["bids"]) == 1
    stream = exchange.stream("/ws/abcusdt@depth@100ms")
    wrapped = event(10, 11)
    assert stream.text() == wrapped[wrapped.index('"data":') + 7 : -1]


def test_pause_only_where_somebody_listens(start_exchange, recording):
    exchange = start_exchange(replay=recording, symbols=None, speed=10.0)
    stream = exchange.stream("/ws/abcusdt@trade")
    assert stream.text() == '{"e":"trade" }'


def test_stale_snapshots_are_passed_over_without_a_pause(start_exchange, tmp_path):
    lines = [
        (0.0, "rest:https://x/api/v3/depth?symbol=ABCUSDT&limit=1000", SNAPSHOT.replace("12", "3")),
        (0.1, "ws", event(10, 11)),
        (0.2, "rest:https://x/api/v3/depth?symbol=ABCUSDT&limit=1000", SNAPSHOT),
        (0.3, "ws", event(12, 13)),
    ]
    path = tmp_path / "stale.tsv"
    path.write_text("".join(f"{int(second * 1e9)}\t{source}\t{payload}\n" for second, source, payload in lines))
    exchange = start_exchange(replay=str(path), symbols=None, speed=10.0)
    stream = exchange.stream("/stream?streams=abcusdt@depth@100ms")
    assert stream.text() == event(10, 11)
    wait_until(lambda: exchange.state()["replay"]["waiting_for_depth_of"] == "ABCUSDT")
    assert exchange.get("/api/v3/depth?symbol=ABCUSDT&limit=1000").text == SNAPSHOT
    assert stream.text() == event(12, 13)


def test_unknown_things_are_clear_errors(start_exchange, recording):
    exchange = start_exchange(replay=recording, symbols=None)
    assert exchange.get("/api/v3/depth?symbol=NOPE").json()["code"] == -1121
    answer = exchange.get("/api/v3/klines?symbol=ABCUSDT")
    assert (answer.status_code, answer.json()["code"]) == (400, -1000)
    assert exchange.get("/api/v3/nope").status_code == 404
    info = exchange.json("/api/v3/exchangeInfo?symbol=ABCUSDT")["symbols"][0]
    assert info["filters"][0]["tickSize"] == "0.10000000"
    fault = exchange.session.post(exchange.sandbox.rest_url + "/sandbox/faults", json={"kind": "reset"}, timeout=30)
    assert fault.status_code == 400 and "recording" in fault.json()["error"]


def test_event_faults_work_on_recordings(start_exchange, recording):
    exchange = start_exchange(replay=recording, symbols=None, speed=10.0)
    exchange.fault("gap", symbols=["ABCUSDT"], count=2)
    stream = exchange.stream("/stream?streams=abcusdt@depth@100ms")
    exchange.depth("ABCUSDT")
    assert stream.event()["data"]["U"] == 14


@pytest.mark.skipif(not SHARED.exists(), reason="the shared recordings are not here")
def test_real_recording_gives_the_recorded_book(start_exchange, plain_book):
    path = SHARED / "spot_10symbols_20210405T183323Z_119s.tsv.gz"
    exchange = start_exchange(replay=str(path), symbols=None, speed=100.0)
    names = [name for name in sorted(exchange.sandbox.replay.recording.streams) if "depth" in name]
    stream = exchange.stream(f"/stream?streams={'/'.join(names)}")
    books, count = {}, 0
    while count < 4709:
        data = stream.event()["data"]
        count += 1
        if data["s"] not in books:
            books[data["s"]] = plain_book(exchange.depth(data["s"]))
        books[data["s"]].apply(data)
    assert len(books) == 10
    wait_until(lambda: exchange.state()["replay"]["finished"])
    for symbol, book in books.items():
        final = exchange.depth(symbol)
        assert final["lastUpdateId"] == book.id
        assert [(float(p), float(q)) for p, q in final["bids"]] == [
            (float(p), float(q)) for p, q in book.top("b", 5000)
        ]
