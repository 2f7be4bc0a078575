"""Trades once each, what is missing, and streams that are dead."""

from __future__ import annotations

import random
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from binmon.messages import Trade
from binmon.watch.sequence import LATE_WITHIN_S, REMEMBERED, TradeSequence, TradesMissed, TradesRestarted
from binmon.watch.silence import NEWS_WITHIN_S, SILENT_S, TradeSilence
from tests.watch.candle_market import MINUTE_MS, candle


def trade(trade_id: int, time_ms: int | None = None) -> Trade:
    at_ms = trade_id * 10 if time_ms is None else time_ms
    return Trade("binance", "BTCUSDT", trade_id, Decimal(1), Decimal(1), False, at_ms, at_ms, at_ms * 1_000_000)


def test_what_two_sockets_bring_is_news_once() -> None:
    sequence = TradeSequence(consecutive=True)
    taken = [sequence.take(trade(number), 0.0) for number in (5, 6, 5, 6, 7, 4, 7)]
    assert taken == [True, True, False, False, True, False, False]
    assert sequence.duplicates == 4
    sequence.tick(100.0)
    assert not sequence.effects
    assert sequence.newest == trade(7)


def test_what_no_socket_brings_is_missed_once_it_cannot_be_on_its_way() -> None:
    sequence = TradeSequence(consecutive=True)
    for number in (5, 9, 7):
        assert sequence.take(trade(number), 0.0)
    sequence.tick(LATE_WITHIN_S - 0.1)
    assert not sequence.effects
    sequence.tick(LATE_WITHIN_S)
    assert list(sequence.effects) == [TradesMissed(6, 8, 2)]
    assert sequence.missed == 2
    loose = TradeSequence(consecutive=False)
    assert loose.take(trade(5), 0.0)
    assert loose.take(trade(9), 0.0)
    loose.tick(100.0)
    assert not loose.effects


def test_a_long_break_is_counted_whole() -> None:
    sequence = TradeSequence(consecutive=True)
    sequence.take(trade(1), 0.0)
    sequence.take(trade(10 * REMEMBERED), 0.0)
    sequence.tick(LATE_WITHIN_S)
    assert list(sequence.effects) == [TradesMissed(2, 10 * REMEMBERED - 1, 10 * REMEMBERED - 2)]


def test_ids_that_begin_anew_at_a_later_time_are_a_reset() -> None:
    sequence = TradeSequence(consecutive=True)
    sequence.take(trade(1000, 5_000), 0.0)
    assert not sequence.take(trade(1, 10), 0.0), "an old one"
    assert sequence.take(trade(1, 6_000), 0.0)
    assert sequence.take(trade(2, 6_001), 0.0)
    assert list(sequence.effects) == [TradesRestarted(1, 1000)]
    assert not sequence.take(trade(1, 6_000), 0.0)


@given(st.integers(0, 10_000), st.integers(1, 60), st.sets(st.integers(0, 60)))
def test_two_feeds_that_lag_and_lose(seed: int, count: int, lost: set[int]) -> None:
    chance = random.Random(seed)
    first, second = ([trade(n + 100) for n in range(count) if n not in lost] for _ in range(2))
    second = second[chance.randrange(len(second) + 1) :]
    merged: list[Trade] = []
    while first or second:
        source = first if first and (not second or chance.random() < 0.5) else second
        merged.append(source.pop(0))
    sequence = TradeSequence(consecutive=True)
    taken = [one.trade_id for one in merged if sequence.take(one, 0.0)]
    sequence.tick(LATE_WITHIN_S)
    assert len(taken) == len(set(taken))
    seen = {one.trade_id for one in merged}
    # those from before the first one that came are nobody's
    assert set(taken) == {one for one in seen if one >= (merged[0].trade_id if merged else 0)}
    missing = set(range(min(taken), max(taken) + 1)) - set(taken) if taken else set()
    assert sequence.missed == len(missing)


def test_a_stream_is_dead_when_the_venue_has_later_trades() -> None:
    silence = TradeSilence()
    silence.on_up(0.0)
    silence.on_trade(1.0)
    assert not silence.due(SILENT_S)
    assert silence.due(SILENT_S + 1)
    assert not silence.due(SILENT_S + 2), "it was asked"
    newest = trade(1, 30_000)
    silence.on_answer([candle(0), candle(MINUTE_MS, volume=Decimal(0))], newest, 70.0)
    assert not silence.is_dead(200.0), "nothing has traded since"
    silence.on_answer([candle(0), candle(MINUTE_MS)], newest, 200.0)
    assert not silence.is_dead(200.0 + NEWS_WITHIN_S - 1)
    assert silence.is_dead(200.0 + NEWS_WITHIN_S)
    assert not silence.is_dead(300.0)


def test_a_trade_that_comes_after_the_look_or_a_stream_that_is_down_is_no_matter() -> None:
    silence = TradeSilence()
    silence.on_up(0.0)
    silence.on_answer([candle(MINUTE_MS)], trade(1, 0), 1.0)
    silence.on_trade(2.0)
    assert not silence.is_dead(60.0)
    silence.on_down()
    silence.on_answer([candle(MINUTE_MS)], trade(1, 0), 61.0)
    assert not silence.is_dead(99.0)
    assert not silence.due(10_000.0)


def test_a_stream_that_never_brought_anything() -> None:
    silence = TradeSilence()
    silence.on_up(0.0)
    silence.on_answer([candle(0)], None, 60.0)
    assert not silence.is_dead(99.0)
    silence.on_answer([candle(0)], None, 120.0)
    assert not silence.is_dead(199.0)
    silence.on_answer([candle(MINUTE_MS)], None, 200.0)
    assert silence.is_dead(210.0)
