"""``binmon balances`` on a real sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from tests.cli.selling import PATIENT, Commands
from tests.execution.floor import Exchange, exchange

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def venues() -> Iterator[Exchange]:
    with exchange() as running:
        yield running


@pytest.fixture
def binmon(
    venues: Exchange, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Commands:
    return Commands(venues, tmp_path, capsys, monkeypatch)


def test_they_are_those_of_the_ledger(binmon: Commands, venues: Exchange) -> None:
    assert binmon("order", "buy", "BTCUSDT", "--quantity", "0.001", "--venue", "bybit", "--yes")[0] == 0
    document = binmon.json("balances")
    assert [row["venue"] for row in document["venues"]] == ["binance", "bybit"]
    for row in document["venues"]:
        told = {one["asset"]: Fraction(one["free"]) + Fraction(one["locked"]) for one in row["balances"]}
        touched = venues.balances(row["venue"])
        assert row["can_trade"] is True and row["environment"] == "sandbox"
        assert {asset: told[asset] for asset in touched} == touched
    status, out, err = binmon("balances")
    assert (status, err) == (0, "")
    assert "binance (sandbox)" in out and "BTC" in out


def test_a_venue_without_a_key_and_one_that_refuses(binmon: Commands, venues: Exchange) -> None:
    binmon.config(keys=("binance",), execution=PATIENT)
    rows = binmon.json("balances")["venues"]
    assert rows[1] == {"venue": "bybit", "environment": "sandbox", "error": "there is no key for it", "balances": []}
    assert "bybit: there is no key for it" in binmon("balances")[1]
    text = binmon.path.read_text().replace(venues.said["api_key"], "A" * 64)
    binmon.path.write_text(text)
    status, out, err = binmon("balances")
    assert status == 1 and err.startswith("binmon balances: binance: ") and "A" * 64 not in err + out


def test_no_key_at_all_is_2(binmon: Commands) -> None:
    binmon.config(keys=(), execution=PATIENT)
    status, _, err = binmon("balances")
    assert status == 2 and "there is no key for any of binance, bybit" in err and err.count("\n") == 1
