"""JSON of the market streams and of the REST market data, printed from integers.

The texts are put together by hand: every event is printed once for all subscribers, thousands of times a second.
Shapes: reference, Binance Spot, market data and streams. Symbols hold letters and digits only, so nothing needs
escaping.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .candles import Candle, next_open_ms
from .clock import stamp
from .matching import Trade
from .symbols import Instrument


@dataclass(frozen=True, slots=True)
class AggregateTrade:
    """Trades of one taker order at one price; prices in ticks, quantities in lots."""

    aggregate_id: int
    price: int
    quantity: int
    first_trade_id: int
    last_trade_id: int
    time_us: int
    buyer_is_maker: bool


@dataclass(frozen=True, slots=True)
class DayStatistics:
    """The rolling 24 hours of a symbol; prices in ticks, volumes in lots, ``quote`` in ticks times lots."""

    open_us: int
    close_us: int
    open: int
    high: int
    low: int
    last: int
    previous_close: int
    last_quantity: int
    volume: int
    quote: int
    first_trade_id: int
    last_trade_id: int
    trades: int


@dataclass(frozen=True, slots=True)
class Top:
    """Best bid and ask: prices in ticks, quantities in lots, zero where a side is empty."""

    bid: int
    bid_quantity: int
    ask: int
    ask_quantity: int


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def levels_json(instrument: Instrument, levels: Iterable[tuple[int, int]]) -> str:
    """Levels as ``[["price","quantity"],...]``."""
    price_text, quantity_text = instrument.price_text, instrument.quantity_text
    rows = [f'["{price_text(price)}","{quantity_text(quantity)}"]' for price, quantity in levels]
    return f"[{','.join(rows)}]"


def book_json(
    instrument: Instrument, update_id: int, bids: Sequence[tuple[int, int]], asks: Sequence[tuple[int, int]]
) -> str:
    """REST depth and partial depth streams: no event name, no symbol, no time."""
    return (
        f'{{"lastUpdateId":{update_id},"bids":{levels_json(instrument, bids)},"asks":{levels_json(instrument, asks)}}}'
    )


def depth_update_json(
    instrument: Instrument,
    event_time: int,
    first_id: int,
    last_id: int,
    bids: Iterable[tuple[int, int]],
    asks: Iterable[tuple[int, int]],
) -> str:
    """Differential depth; Spot has neither ``pu`` nor ``T``."""
    return (
        f'{{"e":"depthUpdate","E":{event_time},"s":"{instrument.symbol}","U":{first_id},"u":{last_id},'
        f'"b":{levels_json(instrument, bids)},"a":{levels_json(instrument, asks)}}}'
    )


def book_ticker_json(instrument: Instrument, update_id: int, top: Top) -> str:
    """Stream bookTicker: no event name and no time."""
    return (
        f'{{"u":{update_id},"s":"{instrument.symbol}",'
        f'"b":"{instrument.price_text(top.bid)}","B":"{instrument.quantity_text(top.bid_quantity)}",'
        f'"a":"{instrument.price_text(top.ask)}","A":"{instrument.quantity_text(top.ask_quantity)}"}}'
    )


def book_ticker_row(instrument: Instrument, top: Top) -> str:
    """REST ticker/bookTicker: the same without an update id."""
    return (
        f'{{"symbol":"{instrument.symbol}",'
        f'"bidPrice":"{instrument.price_text(top.bid)}","bidQty":"{instrument.quantity_text(top.bid_quantity)}",'
        f'"askPrice":"{instrument.price_text(top.ask)}","askQty":"{instrument.quantity_text(top.ask_quantity)}"}}'
    )


def trade_json(instrument: Instrument, event_us: int, trade: Trade, micro: bool) -> str:
    """Stream trade: no order ids since 2024."""
    return (
        f'{{"e":"trade","E":{stamp(event_us, micro)},"s":"{instrument.symbol}","t":{trade.trade_id},'
        f'"p":"{instrument.price_text(trade.price)}","q":"{instrument.quantity_text(trade.quantity)}",'
        f'"T":{stamp(trade.time_us, micro)},"m":{_boolean(trade.buyer_is_maker)},"M":true}}'
    )


def trade_row(instrument: Instrument, trade: Trade, micro: bool) -> str:
    """A row of REST trades."""
    return (
        f'{{"id":{trade.trade_id},"price":"{instrument.price_text(trade.price)}",'
        f'"qty":"{instrument.quantity_text(trade.quantity)}",'
        f'"quoteQty":"{instrument.quote_text(trade.price * trade.quantity)}","time":{stamp(trade.time_us, micro)},'
        f'"isBuyerMaker":{_boolean(trade.buyer_is_maker)},"isBestMatch":true}}'
    )


def aggregate_fields(instrument: Instrument, trade: AggregateTrade, micro: bool) -> str:
    """The fields that REST aggTrades and stream aggTrade share."""
    return (
        f'"a":{trade.aggregate_id},"p":"{instrument.price_text(trade.price)}",'
        f'"q":"{instrument.quantity_text(trade.quantity)}","f":{trade.first_trade_id},"l":{trade.last_trade_id},'
        f'"T":{stamp(trade.time_us, micro)},"m":{_boolean(trade.buyer_is_maker)},"M":true'
    )


def aggregate_trade_json(instrument: Instrument, event_us: int, trade: AggregateTrade, micro: bool) -> str:
    """Stream aggTrade."""
    head = f'{{"e":"aggTrade","E":{stamp(event_us, micro)},"s":"{instrument.symbol}",'
    return f"{head}{aggregate_fields(instrument, trade, micro)}}}"


def _close_time(interval: str, candle: Candle, micro: bool) -> int:
    following = next_open_ms(interval, candle.open_ms)
    return following * 1000 - 1 if micro else following - 1


def kline_json(instrument: Instrument, event_us: int, interval: str, candle: Candle, closed: bool, micro: bool) -> str:
    """Stream kline."""
    price, quantity, quote = instrument.price_text, instrument.quantity_text, instrument.quote_text
    return (
        f'{{"e":"kline","E":{stamp(event_us, micro)},"s":"{instrument.symbol}","k":{{'
        f'"t":{stamp(candle.open_ms * 1000, micro)},"T":{_close_time(interval, candle, micro)},'
        f'"s":"{instrument.symbol}","i":"{interval}","f":{candle.first_trade_id},"L":{candle.last_trade_id},'
        f'"o":"{price(candle.open)}","c":"{price(candle.close)}","h":"{price(candle.high)}","l":"{price(candle.low)}",'
        f'"v":"{quantity(candle.volume)}","n":{candle.trades},"x":{_boolean(closed)},"q":"{quote(candle.quote)}",'
        f'"V":"{quantity(candle.taker_volume)}","Q":"{quote(candle.taker_quote)}","B":"0"}}}}'
    )


def kline_row(instrument: Instrument, interval: str, candle: Candle, micro: bool) -> str:
    """A row of REST klines."""
    price, quantity, quote = instrument.price_text, instrument.quantity_text, instrument.quote_text
    return (
        f'[{stamp(candle.open_ms * 1000, micro)},"{price(candle.open)}","{price(candle.high)}",'
        f'"{price(candle.low)}","{price(candle.close)}","{quantity(candle.volume)}",'
        f'{_close_time(interval, candle, micro)},"{quote(candle.quote)}",{candle.trades},'
        f'"{quantity(candle.taker_volume)}","{quote(candle.taker_quote)}","0"]'
    )


def average_price_json(instrument: Instrument, event_us: int, price: int, trade_us: int, micro: bool) -> str:
    """Stream avgPrice."""
    return (
        f'{{"e":"avgPrice","E":{stamp(event_us, micro)},"s":"{instrument.symbol}","i":"5m",'
        f'"w":"{instrument.price_text(price)}","T":{stamp(trade_us, micro)}}}'
    )


def _change(instrument: Instrument, day: DayStatistics) -> tuple[str, str, str]:
    """Price change, its percentage and the weighted average, as texts."""
    difference = day.last - day.open
    # Percent with three decimals, rounded half up away from zero.
    thousandths = (abs(difference) * 200_000 + day.open) // (2 * day.open) if day.open else 0
    sign = "-" if difference < 0 and thousandths else ""
    percent = f"{sign}{thousandths // 1000}.{thousandths % 1000:03d}"
    average = instrument.price_text(day.quote // day.volume if day.volume else day.last)
    return instrument.price_text(difference), percent, average


def mini_ticker_json(instrument: Instrument, event_us: int, day: DayStatistics, micro: bool) -> str:
    """Stream miniTicker, also the members of !miniTicker@arr."""
    price = instrument.price_text
    return (
        f'{{"e":"24hrMiniTicker","E":{stamp(event_us, micro)},"s":"{instrument.symbol}","c":"{price(day.last)}",'
        f'"o":"{price(day.open)}","h":"{price(day.high)}","l":"{price(day.low)}",'
        f'"v":"{instrument.quantity_text(day.volume)}","q":"{instrument.quote_text(day.quote)}"}}'
    )


def ticker_json(instrument: Instrument, event_us: int, day: DayStatistics, top: Top, micro: bool) -> str:
    """Stream ticker: the rolling 24 hours."""
    price, quantity = instrument.price_text, instrument.quantity_text
    change, percent, average = _change(instrument, day)
    return (
        f'{{"e":"24hrTicker","E":{stamp(event_us, micro)},"s":"{instrument.symbol}","p":"{change}","P":"{percent}",'
        f'"w":"{average}","x":"{price(day.previous_close)}","c":"{price(day.last)}",'
        f'"Q":"{quantity(day.last_quantity)}","b":"{price(top.bid)}","B":"{quantity(top.bid_quantity)}",'
        f'"a":"{price(top.ask)}","A":"{quantity(top.ask_quantity)}","o":"{price(day.open)}","h":"{price(day.high)}",'
        f'"l":"{price(day.low)}","v":"{quantity(day.volume)}","q":"{instrument.quote_text(day.quote)}",'
        f'"O":{stamp(day.open_us, micro)},"C":{stamp(day.close_us, micro)},"F":{day.first_trade_id},'
        f'"L":{day.last_trade_id},"n":{day.trades}}}'
    )


def ticker_row(instrument: Instrument, day: DayStatistics, top: Top, full: bool, micro: bool) -> str:
    """A row of REST ticker/24hr, type FULL or MINI."""
    price, quantity = instrument.price_text, instrument.quantity_text
    change, percent, average = _change(instrument, day)
    head = tail = ""
    if full:
        head = (
            f'"priceChange":"{change}","priceChangePercent":"{percent}","weightedAvgPrice":"{average}",'
            f'"prevClosePrice":"{price(day.previous_close)}",'
        )
        tail = (
            f'"lastQty":"{quantity(day.last_quantity)}","bidPrice":"{price(top.bid)}",'
            f'"bidQty":"{quantity(top.bid_quantity)}","askPrice":"{price(top.ask)}",'
            f'"askQty":"{quantity(top.ask_quantity)}",'
        )
    return (
        f'{{"symbol":"{instrument.symbol}",{head}"lastPrice":"{price(day.last)}",{tail}'
        f'"openPrice":"{price(day.open)}","highPrice":"{price(day.high)}","lowPrice":"{price(day.low)}",'
        f'"volume":"{quantity(day.volume)}","quoteVolume":"{instrument.quote_text(day.quote)}",'
        f'"openTime":{stamp(day.open_us, micro)},"closeTime":{stamp(day.close_us, micro)},'
        f'"firstId":{day.first_trade_id},"lastId":{day.last_trade_id},"count":{day.trades}}}'
    )
