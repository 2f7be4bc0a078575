"""``binmon order`` on a real sandbox: what it asks, what it sends, what it says, and its exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from binmon.telemetry.events import unlike_the_vocabulary
from tests.cli.looks import terminal
from tests.cli.selling import PATIENT, Commands
from tests.execution.floor import Exchange, exchange

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
BUY = ("order", "buy", "BTCUSDT", "--quantity", "0.001")


@pytest.fixture(scope="module")
def running() -> Iterator[Exchange]:
    with exchange(bybit_symbols=("BTCUSDT",)) as made:
        yield made


@pytest.fixture
def venues(running: Exchange) -> Iterator[Exchange]:
    def reset() -> None:
        for venue, status in (("binance", "TRADING"), ("bybit", "Trading")):
            running.fault("clear", venue)
            running.fault("forgive_weight", venue)
            running.fault("symbol_status", venue, symbol="BTCUSDT", status=status)
            running.fault("freeze", venue)

    reset()
    yield running
    reset()


@pytest.fixture
def binmon(
    venues: Exchange, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Commands:
    return Commands(venues, tmp_path, capsys, monkeypatch)


def halt(venues: Exchange, venue: str) -> None:
    venues.fault("symbol_status", venue, symbol="BTCUSDT", status="BREAK" if venue == "binance" else "Closed")


def best(binmon: Commands) -> tuple[str, str]:
    """The best venue for `BUY`, and the other."""
    found = str(binmon.json("price", "BTCUSDT", "--quantity", "0.001")["best"])
    return found, {"binance": "bybit", "bybit": "binance"}[found]


def test_it_is_sent_with_yes(binmon: Commands, venues: Exchange) -> None:
    document = binmon.json(*BUY, "--yes")
    [order] = document["orders"]
    row = venues.orders(order["venue"])[order["client_order_id"]]
    assert order["end"] == "filled" and row["fills"] and order["slippage"] == "0"
    assert document["decision"]["chosen"] == [order["venue"]] and document["next_best"] is None
    [would] = document["would_send"]
    assert would["method"] == "POST" and would["url"].endswith(("/api/v3/order", "/v5/order/create"))
    status, out, _ = binmon("order", "history")
    assert status == 0 and order["client_order_id"] in out and "filled" in out
    [noted] = binmon.json("order", "history")["orders"]
    assert noted["average_price"] == order["average_price"]
    assert binmon.json("order", "look", order["client_order_id"])["executed_quote"] == order["executed_quote"]


@pytest.mark.parametrize("columns", [50, 80, 120])
def test_the_id_of_the_history_is_never_cut(binmon: Commands, columns: int) -> None:
    [order] = binmon.json(*BUY, "--yes", "--id", "a" * 32)["orders"]
    with terminal(binmon.directory, "order", "history", columns=columns) as screen:
        assert screen.finish() == 0
        text = screen.text
    [line] = [line for line in text.splitlines() if "a" * 32 in line]
    assert order["venue"] in line and "filled" in line and len(line) <= columns and "…" not in text
    assert ("sandbox" in line) is (columns == 120)


def test_a_history_of_nothing_makes_no_database(binmon: Commands) -> None:
    status, out, err = binmon("order", "history")
    assert (status, err) == (0, "") and out.startswith("no orders")
    assert binmon.json("order", "history") == {"orders": []}
    assert [one.name for one in binmon.directory.iterdir()] == ["config.yaml"]
    binmon.json("price", "BTCUSDT")  # makes one
    assert (binmon.directory / "state.db").exists() and binmon("order", "history")[1] == out


def test_it_asks_first(binmon: Commands, venues: Exchange) -> None:
    traded = venues.traded()
    status, out, err = binmon(*BUY, answers="n\n")
    assert status == 1 and "send this order? [y/N]" in err and "nothing was sent" in err
    status, out, err = binmon(*BUY, answers="")
    assert status == 1 and venues.traded() == traded
    status, out, err = binmon(*BUY, answers="y\n")
    assert status == 0 and "bought 0.001 BTC at" in out and "exactly as shown" in out
    assert venues.traded() == traded + 1


def test_without_a_terminal_nobody_is_asked(binmon: Commands, venues: Exchange) -> None:
    traded = venues.traded()
    status, out, err = binmon(*BUY)
    assert (status, out) == (2, "") and "expected --yes or --dry-run: there is no terminal to ask at" in err
    assert venues.traded() == traded


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_a_dry_run_shows_exactly_what_would_be_sent(binmon: Commands, venues: Exchange, venue: str) -> None:
    before = len(venues.orders(venue))
    [would] = binmon.json(*BUY, "--venue", venue, "--id", "mine", "--dry-run")["would_send"]
    expected: dict[str, dict[str, Any]] = {
        "binance": {
            "url": f"{venues.said['rest']}/api/v3/order",
            "parameters": {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001",
                           "newClientOrderId": "mine", "newOrderRespType": "RESULT"},
        },
        "bybit": {
            "url": f"{venues.said['bybit_rest']}/v5/order/create",
            "parameters": {"category": "spot", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "0.001",
                           "marketUnit": "baseCoin", "orderLinkId": "mine"},
        },
    }  # fmt: skip
    assert would == {"venue": venue, "environment": "sandbox", "method": "POST", **expected[venue]}
    status, out, _ = binmon(*BUY, "--venue", venue, "--dry-run")
    assert status == 0 and f"POST {would['url']} " in out and "nothing is sent" in out
    for secret in (venues.said["api_key"], venues.said["bybit_api_key"], "signature="):
        assert secret not in out
    assert len(venues.orders(venue)) == before


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["buy", "BTCUSDT"], 2, "expected exactly one of --quantity, --quote-amount, --percent-of-balance, found none"),
        (["buy", "BTCUSDT", "--quantity", "1", "--quote-amount", "9"], 2, "found --quantity and --quote-amount"),
        (["buy", "BTCUSD", "--quantity", "1"], 2, "did you mean BTCUSDT"),
        (["buy", "BTCUSDT", "--quantity", "0.0000123"], 2, "the least is"),
        (["buy", "BTCUSDT", "--quantity", "0.00123456789"], 2, "the nearest are 0.00123 or 0.00124"),
        (["buy", "BTCUSDT", "--quantity", "1", "--venue", "kraken"], 2, "--venue: kraken is not configured"),
        (["buy", "BTCUSDT", "--quantity", "1", "--venue", "bybit", "--split"], 2, "either this or --venue bybit"),
        (
            ["buy", "ETHUSDT", "--quantity", "1", "--venue", "bybit"],
            2,
            "bybit does not list ETH/USDT, only binance does",
        ),
        (["buy", "BTCUSDT", "--quantity", "1", "--id", "a b"], 2, "--id: expected 1 to 32 letters, digits, - or _"),
        (["look", "nothing"], 2, "no order with the id nothing was sent"),
        (["buy", "--quantity", "1"], 2, "expected a symbol such as BTCUSDT"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_sent(
    binmon: Commands, venues: Exchange, words: list[str], status: int, said: str
) -> None:
    traded = venues.traded()
    found, _, err = binmon("order", *words, "--yes")
    assert (found, err.count("\n")) == (status, 1), err
    assert said in err and venues.traded() == traded


def test_not_enough_balance(binmon: Commands, venues: Exchange) -> None:
    poor = {}
    for venue, name in (("binance", "keys"), ("bybit", "bybit_keys")):
        poor[venue] = next(key for key in venues.said[name] if key["account"] == "poor")
    text = binmon.path.read_text()
    for venue, prefix in (("binance", ""), ("bybit", "bybit_")):
        for part in ("api_key", "api_secret"):
            text = text.replace(venues.said[prefix + part], poor[venue][part])
    binmon.path.write_text(text)
    status, _, err = binmon(*BUY, "--yes")
    assert status == 1 and err.count("\n") == 1
    assert err.count(" USDT, and 0 are free there") == 2


def test_production_without_permission(binmon: Commands, venues: Exchange) -> None:
    config = yaml.safe_load(binmon.path.read_text())
    for section in config["venues"].values():
        section["environment"] = "production"  # by name, at addresses of this machine: they may be the end of a tunnel
    binmon.path.write_text(yaml.safe_dump(config))
    traded = venues.traded()
    for venue in ("best", "binance", "bybit"):
        status, _, err = binmon(*BUY, "--yes", "--venue", venue)
        assert status == 2 and "orders there need execution.allow_production: true" in err and err.count("\n") == 1, err
    assert venues.traded() == traded


def test_a_symbol_on_one_venue_only_goes_there_when_the_venue_is_named(binmon: Commands, venues: Exchange) -> None:
    traded = venues.traded()
    status, _, err = binmon("order", "buy", "ETHUSDT", "--quantity", "0.1", "--yes")
    assert (status, err) == (
        2,
        "binmon: ETH/USDT is listed on binance only (as ETHUSDT), not on bybit: there is nothing to compare it with; "
        "to have it there, name the venue (--venue binance)\n",
    )
    assert venues.traded() == traded
    document = binmon.json("order", "buy", "ETHUSDT", "--quantity", "0.1", "--yes", "--venue", "binance")
    assert document["orders"][0]["venue"] == "binance"


class TestTheBestVenueWillNotHaveIt:
    def test_with_yes_the_next_best_is_named_and_not_sent_to(self, binmon: Commands, venues: Exchange) -> None:
        first, second = best(binmon)
        halt(venues, first)
        traded = venues.traded()
        document = binmon.json(*BUY, "--yes", status=1)
        line = f"binmon order buy BTCUSDT --quantity 0.001 --yes -c {binmon.path} --venue {second}"
        assert document["next_best"] == line and document["orders"] == []
        assert venues.traded() == traded
        assert binmon(*line.split()[1:])[0] == 0, "the line that it names does it"
        assert venues.traded() == traded + 1

    def test_in_a_terminal_the_next_best_is_asked_for(self, binmon: Commands, venues: Exchange) -> None:
        first, _ = best(binmon)
        halt(venues, first)
        traded = venues.traded()
        status, out, err = binmon(*BUY, answers="n\n")
        assert status == 1 and f"passed over: {first}: BTCUSDT is not trading" in out and "next best: send" in err
        assert venues.traded() == traded
        assert binmon(*BUY, answers="y\n")[0] == 0
        assert venues.traded() == traded + 1

    def test_refused_at_the_last_moment(self, binmon: Commands, venues: Exchange) -> None:
        first, second = best(binmon)
        traded = venues.traded()
        venues.fault("order_refuse", first, count=1)
        status, _, err = binmon(*BUY, "--yes")
        assert status == 1 and f"{first}: it refused the order" in err
        assert f"to have it: binmon order buy BTCUSDT --quantity 0.001 --yes -c {binmon.path} --venue {second}" in err
        assert venues.traded() == traded
        venues.fault("order_refuse", first, count=1)
        status, _, err = binmon(*BUY, answers="y\ny\n")
        assert status == 0 and f"{first}: it refused the order" in err and "next best: send this order?" in err
        assert venues.traded() == traded + 1


def test_what_nobody_knows_is_said_and_how_to_look(binmon: Commands, venues: Exchange) -> None:
    binmon.config(execution=PATIENT | {"settle_timeout_ms": 1000})
    venues.fault("order_lost", "bybit", mode="reset", count=1)
    status, _, err = binmon(*BUY, "--venue", "bybit", "--yes", "--id", "lost-1")
    assert status == 1 and "it is not known what became of lost-1, and it is not sent again" in err
    assert f"binmon order look -c {binmon.path} lost-1" in err
    status, out, _ = binmon("order", "look", "lost-1")
    assert status == 1 and "NOT KNOWN" in out


def test_an_id_sends_once(binmon: Commands, venues: Exchange) -> None:
    assert binmon(*BUY, "--yes", "--id", "once")[0] == 0
    traded = venues.traded()
    status, out, err = binmon(*BUY, "--yes", "--id", "once")
    assert status == 0 and "was sent before: nothing is sent" in err and "bought 0.001" in out
    assert venues.traded() == traded


def test_venues_of_different_environments_are_not_chosen_between(
    binmon: Commands, venues: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    from binmon.venues.bybit.trading import BybitTrading

    before = BybitTrading.__init__

    def made(self: Any, *given: Any, **options: Any) -> None:
        before(self, *given, **options)
        self.environment = "testnet"

    monkeypatch.setattr(BybitTrading, "__init__", made)
    status, _, err = binmon(*BUY, "--yes")
    assert status == 2 and "different environments (binance: sandbox, bybit: testnet)" in err and err.count("\n") == 1
    assert binmon(*BUY, "--venue", "binance", "--yes")[0] == 0


def test_every_line_of_the_log_is_as_the_vocabulary_says(
    binmon: Commands, venues: Exchange, capsys: pytest.CaptureFixture[str]
) -> None:
    binmon.config(execution=PATIENT | {"settle_timeout_ms": 500}, logging={"level": "info"})
    venues.fault("order_lost", "bybit", mode="reset", count=1)
    for words in (BUY, (*BUY, "--venue", "bybit"), ("order", "buy", "BTCUSDT", "--quantity", "0.00000001")):
        binmon(*words, "--yes")
    lines = [json.loads(line) for line in binmon.log]
    assert {line["event"] for line in lines} >= {
        "execution.decided",
        "execution.settled",
        "order.sent",
        "order.uncertain",
    }
    assert [problem for line in lines for problem in unlike_the_vocabulary(line)] == []
    decided = next(line for line in lines if line["event"] == "execution.decided")
    for row in decided["venues"]:
        assert {"bid", "ask", "age_ms", "fee_bps", "source", "effective_price"} <= row.keys()
