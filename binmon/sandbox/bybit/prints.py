"""JSON of the market data: topics (reference: Bybit v5, 4.3 to 4.7) and rows of REST (3.3 to 3.6)."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from ..candles import Candle, next_open_ms
from ..matching import Trade
from ..payloads import DayStatistics, Top
from ..trading.reports import to_json
from . import money
from .books import Frame, Levels
from .instruments import Listing
from .topics import KLINES, Topic, trimmed_e8

_EXECUTIONS = 2290 * 10**15
"""Execution ids are numbers of 19 digits, one space for all symbols."""
_TRADES_A_SYMBOL = 10**12


def execution_id(listing: Listing, trade_id: int) -> str:
    """Id of a trade, the same for the public and for both sides of it."""
    return str(_EXECUTIONS + listing.symbol_id * _TRADES_A_SYMBOL + trade_id)


def rows(listing: Listing, levels: Levels) -> str:
    """Levels as ``[["price","size"],...]``."""
    tick, step = listing.instrument.tick_e8, listing.instrument.step_e8
    texts = [f'["{trimmed_e8(price * tick)}","{trimmed_e8(lots * step) if lots else 0}"]' for price, lots in levels]
    return f"[{','.join(texts)}]"


def book(listing: Listing, topic: str, frame: Frame, now_us: int) -> str:
    """One message of a depth stream, keys in the order of the venue."""
    kind = "snapshot" if frame.is_snapshot else "delta"
    return (
        f'{{"topic":"{topic}","ts":{now_us // 1000},"type":"{kind}","data":{{"s":"{listing.symbol}",'
        f'"b":{rows(listing, frame.bids)},"a":{rows(listing, frame.asks)},"u":{frame.u},"seq":{frame.seq}}},'
        f'"cts":{frame.cts_us // 1000}}}'
    )


def rest_book(listing: Listing, frame: Frame, now_us: int) -> str:
    """The ``result`` of REST orderbook."""
    return (
        f'{{"s":"{listing.symbol}","a":{rows(listing, frame.asks)},"b":{rows(listing, frame.bids)},'
        f'"ts":{now_us // 1000},"u":{frame.u},"seq":{frame.seq},"cts":{frame.cts_us // 1000}}}'
    )


def _side(trade: Trade) -> str:
    return "Sell" if trade.buyer_is_maker else "Buy"


def trades(listing: Listing, topic: str, some: Iterable[Trade], seq: int, now_us: int) -> str:
    """The trades of one action."""
    data = [
        {
            "i": execution_id(listing, trade.trade_id),
            "T": trade.time_us // 1000,
            "p": listing.price_text(trade.price),
            "v": listing.quantity_text(trade.quantity),
            "S": _side(trade),
            "seq": seq,
            "s": listing.symbol,
            "BT": False,
            "RPI": False,
        }
        for trade in some
    ]
    return to_json({"topic": topic, "ts": now_us // 1000, "type": "snapshot", "data": data})


def trade_row(listing: Listing, trade: Trade, seq: int) -> dict[str, Any]:
    """A row of REST recent-trade."""
    return {
        "execId": execution_id(listing, trade.trade_id),
        "symbol": listing.symbol,
        "price": listing.price_text(trade.price),
        "size": listing.quantity_text(trade.quantity),
        "side": _side(trade),
        "time": str(trade.time_us // 1000),
        "isBlockTrade": False,
        "isRPITrade": False,
        "seq": str(seq),
    }


def _day(listing: Listing, day: DayStatistics) -> dict[str, str]:
    change = Decimal(day.last - day.open) / Decimal(day.open) if day.open else Decimal(0)
    in_dollars = listing.instrument.quote_asset in ("USDT", "USDC")
    return {
        "lastPrice": listing.price_text(day.last),
        "highPrice24h": listing.price_text(day.high),
        "lowPrice24h": listing.price_text(day.low),
        "prevPrice24h": listing.price_text(day.open),
        "volume24h": listing.quantity_text(day.volume),
        "turnover24h": money.text(listing.quote_units(1, day.quote)),
        "price24hPcnt": str(change.quantize(Decimal("0.0001"), ROUND_HALF_EVEN)),
        "usdIndexPrice": listing.price_text(day.last) if in_dollars else "",
    }


def ticker(listing: Listing, topic: str, day: DayStatistics, seq: int, now_us: int) -> str:
    """The topic tickers, which has no best bid and ask on spot."""
    data = {"symbol": listing.symbol, **_day(listing, day)}
    return to_json({"topic": topic, "ts": now_us // 1000, "type": "snapshot", "cs": seq, "data": data})


def ticker_row(listing: Listing, day: DayStatistics, top: Top) -> dict[str, str]:
    """A row of REST tickers."""
    return {
        "symbol": listing.symbol,
        "bid1Price": listing.price_text(top.bid) if top.bid else "",
        "bid1Size": listing.quantity_text(top.bid_quantity),
        "ask1Price": listing.price_text(top.ask) if top.ask else "",
        "ask1Size": listing.quantity_text(top.ask_quantity),
        **_day(listing, day),
    }


def kline(listing: Listing, topic: Topic, candle: Candle, closed: bool, traded_ms: int, now_us: int) -> str:
    """The topic kline."""
    data = {
        "start": candle.open_ms,
        "end": next_open_ms(KLINES[topic.argument], candle.open_ms) - 1,
        "interval": topic.argument,
        "open": listing.price_text(candle.open),
        "close": listing.price_text(candle.close),
        "high": listing.price_text(candle.high),
        "low": listing.price_text(candle.low),
        "volume": listing.quantity_text(candle.volume),
        "turnover": money.text(listing.quote_units(1, candle.quote)),
        "confirm": closed,
        "timestamp": traded_ms,
    }
    return to_json({"topic": topic.name, "data": [data], "ts": now_us // 1000, "type": "snapshot"})


def kline_row(listing: Listing, candle: Candle) -> list[str]:
    """A row of REST kline."""
    return [
        str(candle.open_ms),
        *(listing.price_text(price) for price in (candle.open, candle.high, candle.low, candle.close)),
        listing.quantity_text(candle.volume),
        money.text(listing.quote_units(1, candle.quote)),
    ]
