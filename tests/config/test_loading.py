"""Where values come from, what they become, and that secrets stay hidden."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from binmon.config import Config, LoadedConfig, config_hash, effective, load
from binmon.config.schema import BookSelection, KafkaSink, LogSink, RedisSink
from binmon.errors import ConfigError

Loader = Callable[..., LoadedConfig]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def loaded(tmp_path: Path) -> Loader:
    def from_text(text: str, **environment: str) -> LoadedConfig:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return load(path, environment)

    return from_text


@pytest.mark.parametrize("text", ["", "# nothing\n", "null\n", "---\n", "\ufeff", "books:\npublish:\n"])
def test_an_empty_file_is_all_defaults(loaded: Loader, text: str) -> None:
    assert loaded(text).config == Config()


def test_the_shipped_file_loads_and_is_the_defaults() -> None:
    shipped = load(ROOT / "config.yaml", {})
    # but for one limit: an order every 20 s, day and night, is more than the careful default allows
    execution = msgspec.structs.replace(Config().execution, max_orders_per_day=5000)
    assert shipped.config == msgspec.structs.replace(Config(), execution=execution)
    assert 86_400 / Config().latency.interval_s <= execution.max_orders_per_day
    sections = {name for name in shipped.present_keys if "." not in name}
    assert sections == {"venues", "books", "recorder", "latency", "execution", "alerts", "publish", "logging", "state"}


def test_the_defaults_of_the_contract() -> None:
    values = effective(Config())
    assert values["books"] == {
        "venue": "binance",
        "symbols": ["BTCUSDT", "ETHUSDT"],
        "snapshot_every": 100,
        "depth": 5000,
        "record_depth": 0,
        "redundancy": 1,
        "audit_interval_s": 300,
        "rotate_window": "03:00-05:00",
    }
    assert values["recorder"] == {
        "directory": "data",
        "format": "parquet",
        "flush_interval_s": 1,
        "rotate_s": 3600,
        "keep_days": None,
        "keep_gb": None,
    }
    assert values["latency"] == {
        "enabled": True,
        "venue": "binance",
        "symbol": "BTCUSDT",
        "threshold_ms": 5000,
        "interval_s": 20,
        "report_timeout_ms": 30000,
        "notional": 15,
        "transport": "rest",
    }
    assert values["watch"]["listings"] == {"enabled": True, "venues": ["binance"], "interval_s": 60, "record": False}
    assert values["publish"] == {"interval_ms": 1000, "sinks": [{"kind": "log"}]}
    assert values["execution"] == {
        "allow_production": False,
        "max_order_notional": 100,
        "max_orders_per_day": 200,
        "stale_after_ms": 3000,
        "max_slippage_bps": 50,
        "assumed_taker_fee_bps": 10,
        "quote_timeout_ms": 5000,
        "settle_timeout_ms": 30000,
    }
    assert values["alerts"] == {"notify": [], "resend_every_s": 3600, "rules": []}
    assert values["dashboard"] == {
        "enabled": True,
        "listen": "127.0.0.1:8787",
        "hosts": [],
        "behind_proxy": False,
        "session_hours": 12,
        "most_streams": 64,
    }
    assert values["metrics"] == {"enabled": True, "listen": "127.0.0.1:9787", "per_symbol": 100}
    assert values["logging"] == {
        "level": "info",
        "levels": {},
        "file": None,
        "rotate_mb": 100,
        "keep_files": 5,
        "repeat_limit": 60,
        "repeat_window_s": 60,
    }
    assert values["state"] == {"path": "data/state.db"}
    assert values["reload"] == {"watch": False}
    # the local exchange speaks the dialects of two; the others are contacted only when something names them
    environments = {name: venue["environment"] for name, venue in values["venues"].items()}
    assert environments == {"binance": "sandbox", "bybit": "sandbox", "kraken": "production", "okx": "production"}


def test_variables_take_the_type_of_their_key(loaded: Loader) -> None:
    config = loaded(
        """
books: {depth: "${DEPTH}", symbols: "${SYMBOLS}", audit_interval_s: "${AUDIT:-7.5}"}
recorder: {directory: "${HOME_}/x-${EMPTY:-y}-$${HOME_}", keep_days: "${EMPTY}"}
latency: {enabled: "${OFF}", symbol: "${NUMBER}"}
watch: {listings: {enabled: yes}}
""",
        DEPTH="20",
        SYMBOLS="BTCUSDT, ETHUSDT",
        HOME_="/h",
        EMPTY="",
        OFF="off",
        NUMBER="1000",
    ).config
    assert (config.books.depth, config.books.symbols) == (20, ("BTCUSDT", "ETHUSDT"))
    assert config.books.audit_interval_s == 7.5
    assert config.recorder.directory == "/h/x-y-${HOME_}"
    assert config.recorder.keep_days is None
    assert config.latency.enabled is False
    assert config.latency.symbol == "1000"


@pytest.mark.parametrize(("text", "expected"), [("all", "all"), ("all:USDT", "all:USDT"), ("BTCUSDT", ("BTCUSDT",))])
def test_symbols_from_a_variable(loaded: Loader, text: str, expected: object) -> None:
    assert loaded("books: {symbols: '${S}'}", S=text).config.books.symbols == expected


def test_dotenv_is_read_and_the_environment_wins(loaded: Loader, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=from-file\nB=from-file\nexport C='quoted ${A}'\n")
    config = loaded("recorder: {directory: '${A} ${B} ${C}'}", A="real").config
    assert config.recorder.directory == "real from-file quoted ${A}"


def test_a_bad_dotenv_is_named(loaded: Loader, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=\xff")
    with pytest.raises(ConfigError, match=r"\.env:1: cannot be read: not UTF-8"):
        loaded("")


def test_a_value_with_the_name_of_a_secret_is_not_shown(loaded: Loader) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded("books: {depth: '${API_SECRET}'}", API_SECRET="hunter2")
    assert "hunter2" not in str(caught.value)


def test_credentials_fill_empty_keys(loaded: Loader, tmp_path: Path) -> None:
    for name in ("binance_api_key", "binance_api_secret", "bybit_api_key"):
        (tmp_path / name).write_text(f"{name}-credential\n")
    text = "venues: {binance: {api_key: '', api_secret: of-the-file}}"
    venues = loaded(text, CREDENTIALS_DIRECTORY=str(tmp_path), BYBIT_API_SECRET="of-the-environment").config.venues
    assert venues.binance.api_key == "binance_api_key-credential"
    assert venues.binance.api_secret == "of-the-file"
    assert venues.bybit.api_key == "bybit_api_key-credential"
    assert venues.bybit.api_secret == "of-the-environment"


def test_a_private_key_file_keeps_the_secret_empty(loaded: Loader) -> None:
    venues = loaded("venues: {binance: {private_key_file: k.pem}}", BINANCE_API_SECRET="x").config.venues
    assert venues.binance.api_secret == ""


def test_secrets_are_in_no_dump(loaded: Loader) -> None:
    text = """
venues: {binance: {api_key: hunter2-key, api_secret: hunter2-secret}, bybit: {api_secret: hunter2-bybit}}
publish:
  sinks:
    - {kind: redis, url: "redis://user:hunter2@host:6379/0?password=hunter2"}
    - {kind: kafka, password: hunter2}
alerts: {notify: ["slack://hunter2/token"]}
"""
    config = loaded(text).config
    assert config.venues.binance.api_secret == "hunter2-secret"
    for shown in (repr(config), str(config), f"{config}", json.dumps(effective(config)), repr(config.publish.sinks)):
        assert "hunter2" not in shown
    sinks = effective(config)["publish"]["sinks"]
    assert sinks[0]["url"] == "redis://***@host:6379/0?***"
    assert effective(config)["venues"]["binance"]["api_key"] == "***"
    assert effective(config)["venues"]["bybit"]["api_key"] == ""


def test_the_hash_follows_values_and_not_secrets_or_spelling(loaded: Loader) -> None:
    plain = loaded("").config_hash
    assert len(plain) == 12
    assert int(plain, 16) >= 0
    assert loaded("books: {audit_interval_s: 300}").config_hash == plain == config_hash(Config())
    assert loaded("books: {depth: 10}").config_hash != plain
    one = loaded("venues: {binance: {api_key: one}}").config_hash
    assert loaded("venues: {binance: {api_key: two}}").config_hash == one


def test_books_of_several_venues(loaded: Loader) -> None:
    text = "books: {venue: [{venue: binance, symbols: 'all:USDT'}, {venue: bybit, symbols: [BTCUSDT]}]}"
    assert loaded(text).config.books.selections() == (
        BookSelection(venue="binance", symbols="all:USDT"),
        BookSelection(venue="bybit", symbols=("BTCUSDT",)),
    )
    assert Config().books.selections() == (BookSelection(venue="binance", symbols=("BTCUSDT", "ETHUSDT")),)


def test_sinks(loaded: Loader) -> None:
    sinks = loaded("publish: {sinks: [{kind: log}, {kind: redis, channel: c}, {kind: kafka}]}").config.publish.sinks
    assert sinks == (LogSink(), RedisSink(channel="c"), KafkaSink())
    assert [sink.kind for sink in sinks] == ["log", "redis", "kafka"]


def test_merge_keys_and_scientific_numbers(loaded: Loader) -> None:
    text = """
watch:
  trades:
    - &first {symbol: BTCUSDT, above: 7e4}
    - {<<: *first, symbol: ETHUSDT}
"""
    trades = loaded(text).config.watch.trades
    assert [(one.symbol, one.above) for one in trades] == [("BTCUSDT", 70000.0), ("ETHUSDT", 70000.0)]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://[::1]:1", "http://localhost", "https://api.x.com/p"])
def test_endpoints_that_are_right(loaded: Loader, url: str) -> None:
    text = f"venues: {{binance: {{endpoints: {{rest: '{url}'}}}}}}"
    assert loaded(text).config.venues.binance.endpoints.rest == url


def test_present_keys(loaded: Loader) -> None:
    assert loaded("books: {symbols: [A]}\nlatency:\n").present_keys == {
        "books",
        "books.symbols",
        "books.symbols[0]",
        "latency",
    }
