"""The daemon at a Bybit that is not the sandbox's: books, delays and troubles, and nothing may hang on what is optional."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

import binmon
from binmon.recorder.verify import verify
from tests.system.conftest import DaemonProcess, finish
from tests.system.plain_bybit import Habits, PlainBybit, Plan
from tests.system.plain_venue import PlainVenue
from tests.system.probing import settled

pytestmark = [pytest.mark.system, pytest.mark.timeout(480)]

Start = Callable[..., DaemonProcess]
PATIENT = {"stale_after_ms": 30_000, "quote_timeout_ms": 30_000, "settle_timeout_ms": 60_000}

ODD = Habits(
    extra=True, backwards=True, spaced=True, padded=True, data_first=True, leaving="kept", needless=True,
    fragments=True, headers="lower", encoding="chunked", fast="silent", together=False, steps=True, neighbours=True,
    sequence=("order", "wallet", "execution", "execution.fast"),
)  # fmt: skip
BARE = Habits(
    bare=True, texts=True, leaving="deleted", headers="none", encoding="close", fast="refused", forgets_closed=True,
    sequence=("execution", "order"), ends_filled=True, ids="uuid",
)  # fmt: skip
HABITS = {"plain": Habits(), "odd": ODD, "bare": BARE}
habits = pytest.mark.parametrize("habits", HABITS.values(), ids=list(HABITS))


def keeping(
    venue: PlainBybit, symbols: list[str] | str | None = None, depth: int = 200, **sections: Any
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "venues": {"bybit": {"environment": "sandbox", "endpoints": venue.endpoints}},
        "books": {
            "venue": [{"venue": "bybit", "symbols": symbols or list(venue.markets)}],
            "snapshot_every": 5,
            "depth": depth,
        },
        "recorder": {"directory": "data", "flush_interval_s": 0.5},
        "metrics": {"listen": "127.0.0.1:0"},
    }
    for section, keys in sections.items():
        made.setdefault(section, {}).update(keys)
    return made


def probing(venue: PlainBybit, **latency: Any) -> dict[str, Any]:
    made = keeping(venue, ["ETHUSDT"], publish={"interval_ms": 60_000})
    made["venues"]["bybit"] |= {"api_key": venue.api_key, "api_secret": venue.api_secret}
    made["latency"] = {"enabled": True, "venue": "bybit", "symbol": "BTCUSDT", "interval_s": 1.0}
    # nothing is late or lost for the machine's sake
    made["latency"] |= {"threshold_ms": 4000, "report_timeout_ms": 15_000, **latency}
    return made


def stands(process: DaemonProcess, symbol: str) -> bool:
    states = process.events("book.state", venue="bybit", symbol=symbol)
    return bool(states) and states[-1]["to"] == "synced"


def all_stand(process: DaemonProcess, symbols: list[str]) -> None:
    process.until(lambda: all(stands(process, one) for one in symbols), 60, f"books of {symbols} that stand")


def grown(venue: PlainBybit, process: DaemonProcess, messages: int = 150) -> None:
    target = venue.sent + messages
    process.until(lambda: venue.sent >= target, 60, "messages")


def rows_of(process: DaemonProcess, symbol: str, venue: str = "bybit") -> list[dict[str, Any]]:
    files = sorted((process.directory / "data").glob(f"books/venue={venue}/symbol={symbol}/*/*.parquet"))
    return [row for path in files for row in pq.ParquetFile(path).read().to_pylist()]


def compare(process: DaemonProcess, venue: PlainBybit, symbols: list[str], depth: int, least: int = 10) -> None:
    """Every row equals what the venue had as of its id, digit for digit."""
    finish(process)
    assert verify(binmon.open_books(process.directory / "data")) == []
    for symbol in symbols:
        rows = rows_of(process, symbol)
        assert len(rows) >= least, (symbol, len(rows))
        for row in rows:
            bids = list(zip(row["bid_price"], row["bid_quantity"], strict=True))
            asks = list(zip(row["ask_price"], row["ask_quantity"], strict=True))
            assert (bids, asks) in venue.truth_at(symbol, depth, row["update_id"]), (symbol, row["update_id"])


def nothing_told(process: DaemonProcess, *secrets: str) -> None:
    """No file and no line of output has a secret."""
    assert not process.unreadable
    for path in process.directory.rglob("*"):
        if path.is_file() and path.name != "config.yaml":
            data = path.read_bytes()
            assert not any(secret.encode() in data for secret in secrets), path
    said = "\n".join(map(str, process.lines)) + (process.process.stderr.read() if process.process.stderr else "")
    assert not any(secret in said for secret in secrets)


@pytest.mark.parametrize("depth", [50, 200, 1000])
@habits
def test_rows_are_what_the_venue_had(daemon: Start, habits: Habits, depth: int) -> None:
    with PlainBybit(habits, per_second=8 if depth == 1000 else 20) as venue:
        symbols = list(venue.markets)
        process = daemon(keeping(venue, depth=depth, books={"audit_interval_s": 2}))
        all_stand(process, symbols)
        grown(venue, process, 400)
        if depth == 1000:
            process.wait_for("book.audit", venue="bybit", count=len(symbols), within_s=60)
        venue.pause = True
        assert process.stop() == 0
    compare(process, venue, symbols, depth)
    assert venue.complaints == []
    assert not process.events("book.gap")
    assert {line["reason"] for line in process.events("book.state", **{"from": "synced"})} <= {"stopped"}
    assert [line for line in process.events("book.audit") if line["mismatches"]] == []


def test_troubles_of_one_symbol_are_its_own(daemon: Start) -> None:
    with PlainBybit(ODD) as venue:
        symbols = list(venue.markets)
        process = daemon(keeping(venue, depth=50))
        all_stand(process, symbols)
        grown(venue, process)
        venue.lose("BTCUSDT", 2)
        (gap,) = process.wait_for("book.gap", venue="bybit", symbol="BTCUSDT", within_s=60)
        assert gap["first_update_id"] == gap["expected"] + 2
        all_stand(process, symbols)
        grown(venue, process)
        for trouble in (
            lambda: venue.snapshot("ETHUSDT"),
            lambda: venue.snapshot("ETHUSDT", again=True),
            lambda: venue.repeat("ETHUSDT"),
            lambda: venue.snapshot("ETHUSDT", restarted=True),
            lambda: venue.snapshot("ETHUSDT", restarted=True, as_delta=True),
        ):
            trouble()
            grown(venue, process)
            all_stand(process, symbols)
        broken = {line["symbol"] for line in process.events("book.state", **{"from": "synced"})}
        assert broken <= {"BTCUSDT", "ETHUSDT"} and "BTCUSDT" in broken
        venue.pause = True
        assert process.stop() == 0
    compare(process, venue, symbols, 50)
    assert venue.complaints == [] and len(process.events("book.gap")) == 1
    assert len(process.events("stream.connected")) == 1, "one symbol is subscribed to anew on the live connection"


@pytest.mark.parametrize("abruptly", [False, True])
def test_connections_that_end_are_made_anew(daemon: Start, abruptly: bool) -> None:
    with PlainBybit(Habits(data_first=True)) as venue:
        symbols = list(venue.markets)
        process = daemon(keeping(venue, depth=50))
        for count in (1, 2, 3):
            process.wait_for("stream.connected", venue="bybit", count=count, within_s=60)
            process.wait_for("book.state", venue="bybit", to="synced", count=count * len(symbols), within_s=60)
            grown(venue, process)
            venue.disconnect("public", abruptly=abruptly)
        all_stand(process, symbols)
        venue.pause = True
        assert process.stop() == 0
    compare(process, venue, symbols, 50)
    assert venue.complaints == []


@habits
def test_orders_are_timed(daemon: Start, habits: Habits) -> None:
    plans = {
        2: Plan(push_ms=0, answer_ms=150),  # the push before the answer
        3: Plan(push_ms=6000),
        4: Plan(lost=True),
        5: Plan(code=170131),
        6: Plan(answer="502"),
        7: Plan(answer="cut"),
        8: Plan(answer="timeout_code"),
        9: Plan(rejected_later=True),
    }
    with PlainBybit(habits, plans=plans) as venue:
        process = daemon(probing(venue))
        process.until(
            lambda: len(venue.posted) >= 11 and {*venue.posted[:10]} <= settled(process).keys(), 150, "ten orders"
        )
        assert process.stop() == 0
    ours, posted = settled(process), venue.posted
    assert len(set(posted)) == len(posted) and not venue.unheard
    classes = [ours[name]["class"] for name in posted[:10]]
    assert classes[:5] == ["in_time", "in_time", "late", "lost", "rejected"], classes
    assert classes[5:8] == ["in_time"] * 3, classes
    assert classes[9] == "in_time"
    for line in process.events("latency.delayed"):
        assert line["sent_to_report_ms"] >= (6000 if line["client_order_id"] == posted[2] else 4000)
    assert venue.complaints == []
    nothing_told(process, venue.api_key, venue.api_secret)


def test_orders_that_nobody_answers_are_never_sent_again(daemon: Start) -> None:
    """Neither the answer nor a question afterwards tells what became of it: the venue never had it."""
    plans = {1: Plan(answer="cut", vanishes=True), 2: Plan(answer="10000", vanishes=True)}
    with PlainBybit(plans=plans) as venue:
        process = daemon(probing(venue, interval_s=2.0))
        process.wait_for("order.sent", count=3, within_s=60)
        process.until(lambda: {*venue.posted[:2]} <= set(settled(process)) and len(venue.posted) > 2, 120, "two fates")
        assert process.stop() == 0
    ours = settled(process)
    assert [ours[name]["class"] for name in venue.posted[:2]] == ["unknown", "unknown"]
    assert len(set(venue.posted)) == len(venue.posted) and venue.complaints == []


@pytest.mark.parametrize("ahead_ms", [-4000, 4000])
def test_the_venue_goes_by_a_clock_of_its_own(daemon: Start, ahead_ms: int) -> None:
    """It refuses what comes from the future by more than a second, and what is older than the window."""
    with PlainBybit(ahead_ms=ahead_ms) as venue:
        process = daemon(probing(venue))
        lines = process.wait_for("latency.measured", count=3, within_s=60)
        assert process.stop() == 0
    assert venue.complaints == []
    for line in lines:
        unsure_ms = line["uncertainty_ms"]
        assert abs(line["clock_offset_ms"] - ahead_ms) < 500 + unsure_ms
        is_delay = -unsure_ms - 1 <= line["sent_to_event_ms"] <= line["sent_to_report_ms"] + unsure_ms + 1
        assert is_delay, "the difference of the clocks is none"


def test_both_venues_at_once_and_their_heartbeats(daemon: Start) -> None:
    with PlainBybit(ODD) as bybit, PlainVenue() as binance:
        config = probing(bybit, interval_s=3.0)
        config["venues"]["binance"] = {
            "environment": "sandbox",
            "endpoints": {"rest": binance.rest_url, "stream": binance.stream_url},
        }
        config["books"]["venue"].append({"venue": "binance", "symbols": ["BTCUSDT"]})
        process = daemon(config)
        process.wait_for("book.state", venue="binance", symbol="BTCUSDT", to="synced", within_s=60)
        all_stand(process, ["ETHUSDT"])
        process.wait_for("latency.measured", venue="bybit", count=5, within_s=60)
        # a ping every 20 s, on each of its connections
        process.until(lambda: bybit.pings["public"] >= 2 and bybit.pings["private"] >= 2, 90, "pings")
        before = len(bybit.posted)
        process.until(lambda: len(bybit.posted) > before, 60, "an order")
        bybit.disconnect("private", abruptly=True)  # right after it: the next comes when the daemon has noticed
        before = len(bybit.posted)
        process.until(lambda: bybit.listening("private") > 0 and len(bybit.posted) > before + 2, 60, "orders again")
        bybit.pause = True
        assert process.stop() == 0
    compare(process, bybit, ["ETHUSDT"], 200)
    assert bybit.complaints == [] and not bybit.unheard
    assert len(rows_of(process, "BTCUSDT", "binance")) > 5
    assert not [line for line in process.events("book.state", **{"from": "synced"}) if line["reason"] != "stopped"]
    nothing_told(process, bybit.api_key, bybit.api_secret)


def test_two_connections_and_their_successors(daemon: Start) -> None:
    with PlainBybit(ODD) as venue:
        symbols = list(venue.markets)
        process = daemon(keeping(venue, depth=50, books={"redundancy": 2}))
        process.wait_for("stream.connected", venue="bybit", count=2, within_s=60)
        all_stand(process, symbols)
        grown(venue, process)
        process.process.send_signal(signal.SIGUSR1)
        process.wait_for("stream.rotated", venue="bybit", count=2, within_s=90)
        assert not process.events("book.gap")
        venue.lose("BTCUSDT")  # to both
        process.wait_for("book.gap", symbol="BTCUSDT", within_s=60)
        all_stand(process, symbols)
        venue.snapshot("ETHUSDT", restarted=True, as_delta=True)
        process.wait_for("book.state", symbol="ETHUSDT", **{"from": "synced"}, within_s=60)
        all_stand(process, symbols)
        grown(venue, process)
        venue.pause = True
        assert process.stop() == 0
    compare(process, venue, symbols, 50)
    assert venue.complaints == []


def test_a_topic_that_is_refused_costs_no_other_book(daemon: Start) -> None:
    with PlainBybit(Habits(unserved=("THINUSDT",))) as venue:
        process = daemon(keeping(venue, depth=50))
        others = [symbol for symbol in venue.markets if symbol != "THINUSDT"]
        all_stand(process, others)
        # asked for again and again, and the connection is never given up for it
        process.wait_for("stream.refused", venue="bybit", count=5, within_s=180)
        assert len(process.events("stream.connected", venue="bybit")) == 1
        # nor does it keep a successor from taking over
        process.process.send_signal(signal.SIGUSR1)
        process.wait_for("stream.rotated", venue="bybit")
        all_stand(process, others)
        venue.pause = True
        assert process.stop() == 0
    left = {line["reason"] for line in process.events("book.state", **{"from": "synced"})}
    assert left <= {"rotated: asked by the operator", "stopped"}
    compare(process, venue, others, 50)


def test_a_slow_venue_that_limits_and_has_nothing_to_sell(daemon: Start) -> None:
    with PlainBybit() as venue:
        venue.codes = {"/v5/market/instruments-info": [10006, 10016], "/v5/market/time": [10006]}
        venue.slow_s = 1.5
        config = keeping(venue, depth=1000, books={"audit_interval_s": 1})
        # the documented paths are added where an address has none
        config["venues"]["bybit"]["endpoints"] = {
            name: url.removesuffix("/v5/public/spot").removesuffix("/v5/private")
            for name, url in venue.endpoints.items()
        }
        process = daemon(config)
        symbols = list(venue.markets)
        all_stand(process, symbols)
        process.wait_for("book.audit", venue="bybit", count=3, within_s=60)
        venue.empty_side("THINUSDT")
        process.wait_for("book.top", symbol="THINUSDT", ask=None, within_s=60)
        venue.pause = False
        grown(venue, process)
        venue.pause = True
        assert process.stop() == 0
    compare(process, venue, symbols, 1000)
    assert venue.complaints == [] and not process.events("book.gap")
    assert [line for line in process.events("book.audit") if line["mismatches"]] == []


def test_a_ban_is_sat_out(daemon: Start) -> None:
    """Whoever goes on asking is banned for longer."""
    with PlainBybit() as venue:
        process = daemon(probing(venue))
        process.wait_for("latency.measured", count=1, within_s=60)
        venue.refusing = (403, "access too frequent")
        (banned, *_) = process.wait_for("rate.banned", venue="bybit", within_s=60)
        assert banned["retry_after_s"] >= 590
        asked, posted = venue.requests, len(venue.posted)
        grown(venue, process, 100)
        assert venue.requests - asked <= 3 and len(venue.posted) == posted, "what was under way, and no more"
        assert stands(process, "ETHUSDT"), "the stream goes on"
        assert process.stop() == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"api_key": "OtherKey"}, "the venue does not know the key"),
        ({"api_secret": "OtherSecret"}, "the signature is wrong"),
        ({"api_secret": ""}, "venues.bybit.api_secret"),
        ({"api_key": "", "api_secret": ""}, "venues.bybit.api_key"),
        ({"endpoints": {"rest": "http://api.example.com"}}, "loopback"),
        ({"endpoints": {"stream": "ws://127.0.0.1:1"}}, "endpoints.stream"),
    ],
    ids=["key", "secret", "half a key", "no key", "not loopback", "no such endpoint"],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with PlainBybit() as venue:
        config = probing(venue)
        config["venues"]["bybit"] |= change
        done = command(tmp_path, config, "check", "--connect")
    assert done.returncode in (2, 3) and said in done.stdout + done.stderr, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for secret in (venue.api_secret, "OtherSecret"):
        assert secret not in done.stdout + done.stderr


def command(directory: Path, config: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "binmon", *words, "-c", str(directory / "config.yaml")],
        capture_output=True, text=True, check=False, cwd=directory, timeout=150,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


@habits
def test_orders_by_hand(tmp_path: Path, habits: Habits) -> None:
    """What the commands say of an order is what the venue's account says, to the last digit."""
    plans = {2: Plan(answer="cut"), 3: Plan(code=170131), 4: Plan(lost=True, answer="timeout_code")}
    with PlainBybit(habits, plans=plans, per_second=5) as venue:
        config = probing(venue)
        config["execution"] = {"max_order_notional": 1000, **PATIENT}
        del config["latency"]

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            done = command(tmp_path, config, *words)
            assert not any(secret in done.stdout + done.stderr for secret in (venue.api_key, venue.api_secret))
            assert "Traceback" not in done.stderr
            return done

        price = json.loads(run("price", "BTC/USDT", "--quote-amount", "50", "--json").stdout)
        assert price["best"] == "bybit"
        before = dict(venue.balances)
        sizes = [("buy", "--quote-amount", "50"), ("sell", "--quantity", "0.001"), ("buy", "--quantity", "0.001")]
        sizes.append(("buy", "--quantity", "0.0012"))
        ends = []
        for side, kind, size in sizes:
            done = run("order", side, "BTCUSDT", kind, size, "--yes", "--json")
            lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
            (line,) = [one for one in lines if one["event"] == "execution.settled"]
            ends.append((done.returncode, line["end"]))
            order = venue.orders.get(line["client_order_id"])
            if order is None:
                assert line["executed_quantity"] == "0"
                continue
            assert Decimal(line["executed_quantity"]) == Decimal(order["cumExecQty"])
            assert Decimal(line["executed_quote"]) == Decimal(order["cumExecValue"])
            fees = {one["asset"]: Decimal(one["amount"]) for one in line["fees"]}
            assert fees == {coin: Decimal(fee) for coin, fee in order["cumFeeDetail"].items()}
        assert ends == [(0, "filled"), (0, "filled"), (1, "refused"), (0, "filled")]
        assert len(venue.posted) == 4 and venue.balances != before
        shown = json.loads(run("balances", "--json").stdout)
        assert venue.complaints == []
    told = {one["asset"]: Decimal(one["free"]) + Decimal(one["locked"]) for one in shown["venues"][0]["balances"]}
    assert told == {coin: amount for coin, amount in venue.balances.items() if amount}
