"""``binmon price`` on a real sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from tests.cli.looks import terminal
from tests.cli.selling import PATIENT, Commands
from tests.execution.floor import Exchange, exchange

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def venues() -> Iterator[Exchange]:
    with exchange(bybit_symbols=("BTCUSDT",)) as running:
        running.fault("freeze", "binance")
        running.fault("freeze", "bybit")
        yield running


@pytest.fixture
def binmon(
    venues: Exchange, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Commands:
    return Commands(venues, tmp_path, capsys, monkeypatch)


def test_the_table(binmon: Commands) -> None:
    status, out, err = binmon("price", "BTCUSDT", "--quantity", "0.5")
    assert (status, err) == (0, "")
    assert out.startswith("buy 0.5 BTC of BTC/USDT\n") and "← best" in out
    assert out.count("sandbox") == 2 and " bps) against " in out
    for word in ("binance", "bybit", "effective price", "rest"):
        assert word in out


@pytest.mark.parametrize("columns", [40, 80, 100, 120, 200])
def test_no_price_is_cut_in_a_terminal(binmon: Commands, columns: int) -> None:
    best = binmon.json("price", "BTCUSDT", "--quantity", "0.5")
    with terminal(binmon.directory, "price", "BTCUSDT", "--quantity", "0.5", columns=columns) as screen:
        assert screen.finish() == 0
        text = screen.text
    table = text.partition("binance: buy")[0]
    assert "…" not in table
    for row in best["venues"]:
        for figure in (row["venue"], row["bid"], row["ask"]):
            assert figure in table, text
    if columns == 40:
        return  # one figure a line
    rows = [line for line in table.splitlines() if line]
    assert len(rows) == 4 and all(len(line) <= columns for line in rows)
    chosen = next(line for line in rows if best["best"] in line)
    assert ("→" in chosen) is not ("← best" in chosen), "who is best is said once"
    assert ("← best" in chosen) is (columns == 200)
    assert not any("→" in line or "←" in line for line in rows if line != chosen)


def test_why_a_venue_is_left_out_is_a_line_below(binmon: Commands) -> None:
    words = ("price", "BTCUSDT", "--split", "--side", "sell", "--quantity", "9000")
    with terminal(binmon.directory, *words, columns=120) as screen:
        assert screen.finish() == 2
        text = screen.text
    said = [line for line in text.splitlines() if " is left out: " in line]
    assert {line.split()[0] for line in said} == {"binance", "bybit"}, text
    assert len([line for line in text.splitlines() if line]) < 12


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_the_document_has_exact_numbers(binmon: Commands, side: str) -> None:
    document = binmon.json("price", "btcusdt", "--side", side, "--quantity", "0.25", "--split")
    assert (document["symbol"], document["side"], document["size"]) == ("BTC/USDT", side.upper(), "0.25 BTC")
    by_venue = {row["venue"]: row for row in document["venues"]}
    assert set(by_venue) == {"binance", "bybit"}
    for row in by_venue.values():
        gives, gains = Fraction(row["given"]), Fraction(row["gained"])
        effective = gives / gains if side == "buy" else gains / gives
        assert abs(effective - Fraction(row["effective_price"])) < Fraction(1, 10**15)
        assert Fraction(row["quantity"]) == Fraction("0.25") and row["fee_assumed"] is False
        assert row["age_ms"] >= 0 and Fraction(row["bid"]) < Fraction(row["ask"])
    prices = {name: Fraction(row["effective_price"]) for name, row in by_venue.items()}
    best = (min if side == "buy" else max)(prices, key=lambda name: prices[name])
    assert document["best"] == best
    if document["split"] is None:
        assert document["chosen"] == [best]
    assert document["saving"]["than"] != best


def test_without_a_size_and_without_keys(binmon: Commands) -> None:
    binmon.config(keys=(), execution=PATIENT | {"assumed_taker_fee_bps": 7.5})
    document = binmon.json("price", "BTC/USDT")
    rows = document["venues"]
    assert len(rows) == 2 and len({row["quantity"] for row in rows}) == 1
    assert all(row["fee_assumed"] and row["fee_bps"] == 7.5 for row in rows)
    assert "(assumed)" in binmon("price", "BTC/USDT")[1]


def test_a_symbol_on_one_venue_only_is_priced_there(binmon: Commands) -> None:
    document = binmon.json("price", "ETHUSDT", "--quantity", "1")
    assert document["best"] == "binance"
    assert document["reason"] == "the only venue that quotes it: bybit: it does not list ETH/USDT"
    assert {"venue": "bybit", "excluded": "unknown_symbol", "detail": "it does not list ETH/USDT"} in document["venues"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["BTCUSD"], "binmon: 'BTCUSD' is listed on none of binance, bybit: did you mean BTCUSDT"),
        (["BTCUSDT", "--quantity", "1", "--quote-amount", "5"], "expected exactly one of --quantity, --quote-amount"),
        (["BTCUSDT", "--quantity", "x"], "binmon: --quantity: expected a number, got 'x'"),
        (["BTCUSDT", "--quantity", "0"], "binmon: --quantity: expected a number above zero, found 0"),
        (["BTCUSDT", "--quantity", "0.00000001"], "no venue has a price for it: binance: 0.00000001 BTC are less than"),
    ],
)
def test_bad_input_is_one_line_and_2(binmon: Commands, words: list[str], said: str) -> None:
    status, _, err = binmon("price", *words)
    assert status == 2 and said in err and err.count("\n") == 1


def test_no_venue_answers(binmon: Commands, venues: Exchange) -> None:
    for venue in ("binance", "bybit"):
        venues.fault("rest", venue, mode="reset", count=10)
    try:
        status, _, err = binmon("price", "BTCUSDT")
    finally:
        for venue in ("binance", "bybit"):
            venues.fault("clear", venue)
            venues.fault("freeze", venue)
    assert status == 1 and err.startswith("binmon: no venue answers: binance: ") and err.count("\n") == 1


def test_a_state_database_that_is_not_ours_to_write_keeps_nobody_from_looking(binmon: Commands) -> None:
    binmon.config(execution=PATIENT, state={"path": "/sys/binmon/state.db"})  # not even root may make a directory there
    for command in (("price", "BTCUSDT"), ("balances",)):
        status, out, err = binmon(*command)
        assert status == 0 and "binance" in out
        assert err.startswith(f"binmon {command[0]}: goes on without the state database: ") and err.count("\n") == 1
    status, out, err = binmon("order", "buy", "BTCUSDT", "--quantity", "0.001", "--yes")
    assert (status, out) == (2, "") and "expected a writable SQLite file" in err
    binmon.config(execution=PATIENT, state={"path": str(binmon.directory)})  # wrong, and so for everybody
    status, out, err = binmon("price", "BTCUSDT")
    assert (status, out) == (2, "") and "expected a writable SQLite file" in err
