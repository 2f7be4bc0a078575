"""What changes from one configuration to another: any two of them, with every key of the schema."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec
import msgspec.inspect as inspection
from hypothesis import given, settings
from hypothesis import strategies as st

from binmon.config import Config, config_hash, effective
from binmon.config.plan import Change, Started, diff, live_part, summary
from binmon.config.running import as_noted
from binmon.config.schema import (
    AlertRule,
    AlertsConfig,
    BooksConfig,
    BookSelection,
    CandleWatch,
    KafkaSink,
    LatencyConfig,
    ListingsConfig,
    LogSink,
    PublishConfig,
    RecorderConfig,
    WatchConfig,
)

SECRET = "hunter2"


def values(expected: inspection.Type, secret: str | None = None) -> st.SearchStrategy[Any]:
    """Any value of a key. Those of secrets have `SECRET` in them."""
    match expected:
        case inspection.Metadata():
            return values(expected.type, (expected.extra or {}).get("secret") or secret)
        case inspection.StructType():
            return st.builds(expected.cls, **{field.name: values(field.type) for field in expected.fields})
        case inspection.UnionType():
            return st.one_of([values(one, secret) for one in expected.types])
        case inspection.VarTupleType():
            return st.lists(values(expected.item_type, secret), min_size=1, max_size=3).map(tuple)
        case inspection.DictType():
            return st.dictionaries(st.sampled_from(["A", "A.B"]), values(expected.value_type, secret))
        case inspection.LiteralType():
            return st.sampled_from(expected.values)
        case inspection.StrType() if secret == "whole":
            return st.integers(0, 3).map(lambda n: f"{SECRET}{n}")
        case inspection.StrType() if secret == "credentials":
            return st.integers(0, 3).map(lambda n: f"redis://user:{SECRET}{n}@host{n}/0")
        case inspection.StrType():
            return st.sampled_from(["A", "B", "C"])
        case inspection.BoolType():
            return st.booleans()
        case inspection.IntType():
            return st.integers(max(expected.ge or 0, 1), min(expected.le or 5000, 5000))
        case inspection.FloatType():
            return st.integers(20, 60).map(float)
        case inspection.NoneType():
            return st.none()
    raise AssertionError(expected)


configs = values(inspection.type_info(Config))


def leaves(section: Any, path: str = "") -> dict[str, Any]:
    """Every key with its value."""
    found: dict[str, Any] = {}
    for field in inspection.type_info(type(section)).fields:  # type: ignore[union-attr]
        dotted, value = f"{path}.{field.name}" if path else field.name, getattr(section, field.name)
        if isinstance(field.type, inspection.StructType):
            found |= leaves(value, dotted)
        else:
            found[dotted] = value
    return found


def marks(section: inspection.StructType, path: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for field in section.fields:
        dotted = f"{path}.{field.name}" if path else field.name
        if isinstance(field.type, inspection.StructType):
            found |= marks(field.type, dotted)
        else:
            found[dotted] = field.type.extra["reload"]  # type: ignore[attr-defined, index]
    return found


MARKS = marks(inspection.type_info(Config))  # type: ignore[arg-type]
VENUES = ("binance", "bybit", "kraken", "okx")
ALL = Started(VENUES, VENUES)
KEYS = ("latency", "watch.listings")


def changes_of(old: Config, new: Config) -> list[Change]:
    """What a daemon that was started with ``old`` is to change."""
    return diff(old, new, Started.by(old, KEYS))


@settings(max_examples=20, deadline=None)
@given(configs, configs)
def test_exactly_what_differs_is_named_with_how_it_comes_into_force(old: Config, new: Config) -> None:
    before, after = leaves(old), leaves(new)
    assert before.keys() == MARKS.keys()
    found = {change.key: change for change in diff(old, new, ALL)}
    assert list(found) == [key for key in MARKS if before[key] != after[key]]
    assert all(change.how == MARKS[key] for key, change in found.items())
    assert diff(old, old, ALL) == []


@settings(max_examples=20, deadline=None)
@given(configs, configs)
def test_the_live_part_is_live_and_leaves_the_rest(old: Config, new: Config) -> None:
    merged = leaves(live_part(old, new, ALL))
    before, after = leaves(old), leaves(new)
    assert merged == {key: after[key] if how == "live" else before[key] for key, how in MARKS.items()}
    for started in (ALL, Started.by(old, KEYS)):
        live = live_part(old, new, started)
        assert {change.how for change in diff(live, new, started)} <= {"restart"}
        assert live_part(old, old, started) == old and live_part(live, new, started) == live
        assert diff(old, live, started) == [change for change in diff(old, new, started) if change.how == "live"]


def test_a_venue_of_which_there_is_nothing_yet_needs_a_restart_and_nothing_else_does() -> None:
    old = Config(watch=WatchConfig(listings=ListingsConfig(venues=("binance",))))

    def hows(new: Config) -> dict[str, str]:
        return {change.key: change.how for change in changes_of(old, new)}

    faster = LatencyConfig(threshold_ms=700)
    entries = (BookSelection(venue="binance", symbols=("BTCUSDT",)), BookSelection(venue="bybit", symbols=("BTCUSDT",)))
    books = Config(books=BooksConfig(venue=entries, snapshot_every=7), latency=faster)
    assert hows(books) == {"books.venue": "restart", "books.snapshot_every": "live", "latency.threshold_ms": "live"}
    taken = live_part(old, books, Started.by(old, KEYS))
    assert (taken.books.venue, taken.books.snapshot_every) == ("binance", 7)
    rule = CandleWatch(venue="bybit", symbol="BTCUSDT", interval="1m", above=1)
    watch = WatchConfig(candles=(rule,), listings=ListingsConfig(venues=("binance", "bybit")))
    assert hows(Config(watch=watch, latency=faster)) == {
        "watch.candles": "restart", "watch.listings.venues": "restart", "latency.threshold_ms": "live"
    }  # fmt: skip
    beside = Config(watch=WatchConfig(candles=(rule,)), latency=LatencyConfig(venue="bybit"))
    assert {one.how for one in changes_of(beside, Config(latency=LatencyConfig(venue="bybit")))} == {"live"}


@settings(max_examples=20, deadline=None)
@given(configs, configs)
def test_secrets_never_show(old: Config, new: Config) -> None:
    changes = changes_of(old, new)
    said = repr(changes) + json.dumps([msgspec.to_builtins(change) for change in changes]) + "\n".join(summary(changes))
    assert SECRET not in said
    assert len(summary(changes)) == len(changes)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from("ABCD"), max_size=6), st.lists(st.sampled_from("ABCD"), max_size=6))
def test_what_is_added_and_removed_leads_from_one_list_to_the_other(old: list[str], new: list[str]) -> None:
    changes = changes_of(Config(books=BooksConfig(symbols=tuple(old))), Config(books=BooksConfig(symbols=tuple(new))))
    if old == new:
        assert changes == []
        return
    (change,) = changes
    assert Counter(old) - Counter(change.removed) + Counter(change.added) == Counter(new)
    assert not Counter(change.removed) & Counter(change.added)
    assert (change.old, change.new) == (old, new)


@settings(max_examples=20, deadline=None)
@given(configs, configs)
def test_what_was_noted_tells_all_but_secrets(old: Config, new: Config) -> None:
    noted = msgspec.json.decode(msgspec.json.encode(effective(old)), type=Config)
    assert noted == as_noted(old) and effective(noted) == effective(old)
    found = {change.key for change in changes_of(noted, as_noted(new))}
    assert found <= {change.key for change in changes_of(old, new)}
    assert (not found) == (config_hash(old) == config_hash(new))


def test_lines_for_people() -> None:
    old = Config(
        books=BooksConfig(symbols=("BTCUSDT", "ETHUSDT")),
        watch=WatchConfig(candles=(CandleWatch(symbol="BTCUSDT", above=7.0),)),
        alerts=AlertsConfig(notify=("slack://hunter2",), rules=(AlertRule(alert="book.gap"),)),
        publish=PublishConfig(sinks=(LogSink(),)),
    )
    new = Config(
        books=BooksConfig(symbols=("SOLUSDT", "BTCUSDT")),
        recorder=RecorderConfig(keep_days=7, directory="other"),
        latency=LatencyConfig(threshold_ms=700),
        watch=WatchConfig(candles=(CandleWatch(symbol="BTCUSDT", above=8.0),)),
        alerts=AlertsConfig(notify=("slack://other", "http://third")),
        publish=PublishConfig(sinks=(LogSink(), KafkaSink(password="hunter2"))),
    )
    assert summary(changes_of(old, new)) == [
        "books.symbols: + SOLUSDT, - ETHUSDT",
        "recorder.directory: data -> other",
        "recorder.keep_days: null -> 7",
        "latency.threshold_ms: 5000 -> 700",
        "watch.candles: + {venue: binance, symbol: BTCUSDT, interval: 1m, price: close, above: 8.0, hysteresis_bps: 5.0, "
        "closed_only: false}, - {venue: binance, symbol: BTCUSDT, interval: 1m, price: close, above: 7.0, "
        "hysteresis_bps: 5.0, closed_only: false}",
        'publish.sinks: + {kind: kafka, brokers: ["127.0.0.1:9092"], topic: binmon.top, username: "", password: ***}',
        "alerts.notify: + ***, + ***, - ***",
        "alerts.rules: - {alert: book.gap, for_count: 1, for_s: 0.0, clear_count: 1, clear_s: 0.0}",
    ]


def test_order_secrets_and_the_other_form_of_a_selection() -> None:
    one, two = BooksConfig(symbols=("A", "B")), BooksConfig(symbols=("B", "A"))
    assert summary(changes_of(Config(books=one), Config(books=two))) == ["books.symbols: the same in another order"]
    text = BooksConfig(symbols="all:USDT")
    assert summary(changes_of(Config(books=one), Config(books=text))) == ['books.symbols: ["A", "B"] -> all:USDT']
    listed = BooksConfig(venue=(BookSelection(symbols=("A",)),))
    (change,) = changes_of(Config(books=BooksConfig()), Config(books=listed))
    assert change.key == "books.venue" and change.new == [{"venue": "binance", "symbols": ["A"]}]
    base = Config()
    venues = msgspec.structs.replace(base.venues, binance=msgspec.structs.replace(base.venues.binance, api_key="a"))
    other = msgspec.structs.replace(base.venues, binance=msgspec.structs.replace(base.venues.binance, api_key="b"))
    (change,) = changes_of(msgspec.structs.replace(base, venues=venues), msgspec.structs.replace(base, venues=other))
    assert change == Change("venues.binance.api_key", "***", "***", "restart")
    assert summary([change]) == ["venues.binance.api_key: another value (not shown)"]
    (change,) = changes_of(base, msgspec.structs.replace(base, venues=venues))
    assert summary([change]) == ['venues.binance.api_key: "" -> ***']
