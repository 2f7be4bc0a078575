"""A line and a price: against a model, and what is said of it."""

from __future__ import annotations

from decimal import Decimal

import pytest
import structlog.testing
from hypothesis import given
from hypothesis import strategies as st

from binmon.alerts.rules import AlertRules, NotifyKind
from binmon.config.schema import CandleWatch, TradeWatch, WatchConfig
from binmon.errors import ConfigError
from binmon.messages import PriceCrossed, PriceReturned
from binmon.watch.announcements import REPEAT_S, Lines, Watching
from binmon.watch.settings import candle_rules, trade_rules
from binmon.watch.thresholds import Crossed, Direction, Line, Returned, Side, Threshold, lines

WATCHING = Watching("binance", "BTCUSDT", "candle", "1m close")


def line(price: str = "100", hysteresis: str = "2", direction: Direction = Direction.ABOVE) -> Line:
    return Line(direction, Decimal(price), Decimal(hysteresis))


def seen(threshold: Threshold, *prices: str) -> list[str]:
    found = []
    for number, price in enumerate(prices):
        change = threshold.observe(Decimal(price), number * 1000)
        found.append({Crossed: "crossed", Returned: "returned"}.get(type(change), "-"))
    return found


def test_wavering_within_the_hysteresis_crosses_once() -> None:
    assert seen(Threshold(line()), "99", "101", "99", "101", "98.01", "105") == [
        "-", "crossed", "-", "-", "-", "-",
    ]  # fmt: skip


def test_crossed_cleared_and_crossed_again_crosses_twice() -> None:
    threshold = Threshold(line())
    assert seen(threshold, "99", "101", "98", "100", "100.01") == ["-", "crossed", "returned", "-", "crossed"]
    assert threshold.side is Side.BEYOND


def test_below_is_the_same_the_other_way_round() -> None:
    threshold = Threshold(line(direction=Direction.BELOW))
    assert seen(threshold, "101", "100", "99.99", "101.99", "102", "99") == [
        "-", "-", "crossed", "-", "returned", "crossed",
    ]  # fmt: skip


def test_a_price_that_is_beyond_at_first_has_crossed_already() -> None:
    change = Threshold(line()).observe(Decimal(200), 5)
    assert change == Crossed(line(), Decimal(200), 5, True)
    threshold = Threshold(line())
    threshold.observe(Decimal(1), 0)
    later = threshold.observe(Decimal(200), 5)
    assert isinstance(later, Crossed)
    assert not later.already


PRICES = st.lists(st.decimals(90, 110, places=1), max_size=60)


@given(PRICES, st.decimals(0, 8, places=1), st.sampled_from(Direction))
def test_against_a_plain_model(prices: list[Decimal], hysteresis: Decimal, direction: Direction) -> None:
    threshold = Threshold(Line(direction, Decimal(100), hysteresis))
    sign = 1 if direction is Direction.ABOVE else -1
    beyond, since = False, 0
    for number, price in enumerate(prices):
        over = sign * (price - 100)
        change = threshold.observe(price, number)
        if not beyond and over > 0:
            assert change == Crossed(threshold.line, price, number, number == 0)
            beyond, since = True, number
        elif beyond and over <= -hysteresis:
            assert change == Returned(threshold.line, price, number, since)
            beyond = False
        else:
            assert change is None
        assert (threshold.side is Side.BEYOND) == beyond


def test_lines_of_the_configuration_are_exact() -> None:
    assert lines(70000.1, None, hysteresis_bps=5) == (Line(Direction.ABOVE, Decimal("70000.1"), Decimal("35.00005")),)
    above, below = lines(2, 1, hysteresis_bps=5, hysteresis_price=0.1)
    assert (above.back, below.back) == (Decimal("1.9"), Decimal("1.1"))
    watch = WatchConfig(
        candles=(
            CandleWatch(symbol="BTCUSDT", interval="1h", price="high", above=70000.0, closed_only=True),
            CandleWatch(venue="bybit", symbol="BTCUSDT", below=1.0),
        ),
        trades=(TradeWatch(symbol="ETHUSDT", below=1000.0, hysteresis_price=3.0),),
    )
    (rule,) = candle_rules(watch, "binance")
    assert (rule.symbol, rule.interval, rule.price, rule.closed_only) == ("BTCUSDT", "1h", "high", True)
    assert rule.lines[0].hysteresis == 35
    (trades,) = trade_rules(watch, "binance")
    assert trades.lines == (Line(Direction.BELOW, Decimal(1000), Decimal(3)),)
    assert trade_rules(watch, "bybit") == ()
    hopeless = WatchConfig(trades=(TradeWatch(symbol="ETHUSDT", above=10.0, hysteresis_price=10.0),))
    with pytest.raises(ConfigError, match=r"watch\.trades\[0\]\.hysteresis_price: expected less than above, 10.0"):
        trade_rules(hopeless, "binance")


def test_what_is_said_of_a_crossing_and_of_its_end() -> None:
    drawn = Lines(WATCHING, (line("70000", "35"),))
    with structlog.testing.capture_logs() as logs:
        first = drawn.observe(Decimal("69000.10"), 1_000, 0.0, 7)
        crossed = drawn.observe(Decimal("70001.50"), 2_000, 1.0, 8, 77)
        quiet = drawn.observe(Decimal("70002"), 3_000, 2.0, 9)
        returned = drawn.observe(Decimal("69965"), 95_000, 3.0, 10)
    assert [one["event"] for one in logs] == ["price.crossed", "price.returned"]
    entry = logs[0]
    assert {name: entry[name] for name in ("venue", "symbol", "source", "price", "threshold", "direction")} == {
        "venue": "binance", "symbol": "BTCUSDT", "source": "candle", "price": 70001.5, "threshold": 70000.0,
        "direction": "above",
    }  # fmt: skip
    assert entry["log_level"] == "warning"
    assert logs[1]["beyond_s"] == 93.0
    assert [signal.firing for signal in first.signals] == [False]
    (signal,) = crossed.signals
    assert signal.subject == "binance BTCUSDT 1m close above 70000"
    assert (signal.firing, signal.arrived_mono_ns) == (True, 77)
    assert signal.text == "BTCUSDT on binance (1m close) is at 70001.5, above 70000"
    (message,) = crossed.messages
    assert isinstance(message, PriceCrossed)
    assert quiet.signals == [] == quiet.messages
    assert returned.signals[0].text == "BTCUSDT on binance (1m close) is back at 69965, after 1 min 33 s above 70000"
    assert isinstance(returned.messages[0], PriceReturned)
    assert returned.messages[0].beyond_ms == 93_000


def test_people_are_told_once_within_the_hysteresis_and_twice_after_a_return() -> None:
    drawn, rules = Lines(WATCHING, (line(),)), AlertRules()
    told = []
    for number, price in enumerate(("99", "101", "99", "101", "98", "101")):
        for signal in drawn.observe(Decimal(price), number * 1000, float(number), 0).signals:
            told += rules.on_signal(signal, float(number))
    assert [one.kind for one in told] == [NotifyKind.RAISED, NotifyKind.RECOVERED, NotifyKind.RAISED]
    assert "after 3.0 s above 100" in told[1].signal.text


def test_alerts_hear_now_and_then_that_somebody_still_watches() -> None:
    drawn = Lines(WATCHING, (line(),))
    drawn.observe(Decimal(101), 0, 0.0, 0)
    assert drawn.observe(Decimal(101), 1, REPEAT_S - 0.1, 0).signals == []
    (again,) = drawn.observe(Decimal(102), 8_000, REPEAT_S, 0).signals
    assert again.firing
    assert again.text == "BTCUSDT on binance (1m close) is at 102, above 100 for 8.0 s"


def test_other_lines_keep_what_stands_and_end_what_is_gone() -> None:
    drawn = Lines(WATCHING, (line("100"), line("90")))
    drawn.observe(Decimal(101), 0, 0.0, 0)
    told = drawn.change((line("100"), line("95")), 5)
    assert [(one.subject, one.firing) for one in told.signals] == [("binance BTCUSDT 1m close above 90", False)]
    assert dict(drawn.sides) == {line("100"): Side.BEYOND, line("95"): Side.UNKNOWN}
    assert drawn.change((line("100"),), 5).signals == []
