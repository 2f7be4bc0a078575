"""From messages to what the API says of them (docs/dashboard.md). Prices and quantities are text, digit for digit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from binmon.alerts.notification import Notification
from binmon.dashboard.sources import DelayReport, Series, SeriesKey, SymbolEntry, TimedOrder, VenueDescription
from binmon.messages import BookView, Candle, Floats, PriceCrossed, SymbolListed, SymbolStatus, TopOfBook, Trade


def number(value: Decimal | float) -> str:
    """A price or a quantity in plain digits, as the venue printed it."""
    text = format(value if isinstance(value, Decimal) else Decimal(repr(float(value))), "f")
    return text.rstrip("0").rstrip(".") if isinstance(value, float) and "." in text else text


def candle(one: Candle) -> list[Any]:
    """``[open_ms, open, high, low, close, volume, closed]``."""
    figures = (one.open, one.high, one.low, one.close, one.volume)
    return [one.open_time_ms, *(format(figure, "f") for figure in figures), one.closed]


def series(key: SeriesKey, found: Series | None, limit: int) -> dict[str, Any]:
    """The candles of a page; a series that nobody follows yet is about to be."""
    venue, symbol, interval = key
    shown = () if found is None else found.candles[-limit:]
    return {
        "venue": venue,
        "symbol": symbol,
        "interval": interval,
        "state": "loading" if found is None else found.state,
        "candles": [candle(one) for one in shown],
    }


def trade(one: Trade) -> list[Any]:
    """``[trade_id, time_ms, price, quantity, side of the taker]``. The id is text: Bybit's exceed 2**53, from where on a
    browser rounds numbers."""
    side = "sell" if one.buyer_is_maker else "buy"
    return [str(one.trade_id), one.trade_time_ms, format(one.price, "f"), format(one.quantity, "f"), side]


def book(view: BookView) -> dict[str, Any]:
    """A book, best first."""
    return {
        "venue": view.venue,
        "symbol": view.symbol,
        "synced": view.synced,
        "update_id": view.update_id,
        "event_time_ms": view.event_time_ms,
        "age_ms": None if view.age_ms is None else round(view.age_ms, 3),
        "bids": _levels(view.bid_price, view.bid_quantity),
        "asks": _levels(view.ask_price, view.ask_quantity),
    }


def top(one: TopOfBook, state: str, age_ms: float) -> dict[str, Any]:
    """Best bid and ask. Spread and middle are exact."""
    bid, ask = (None if side is None else Decimal(repr(side)) for side in (one.bid, one.ask))
    both = bid is not None and ask is not None
    return {
        "venue": one.venue,
        "symbol": one.symbol,
        "bid": _maybe(one.bid),
        "bid_quantity": _maybe(one.bid_quantity),
        "ask": _maybe(one.ask),
        "ask_quantity": _maybe(one.ask_quantity),
        "spread": format((ask - bid).normalize(), "f") if both and ask is not None and bid is not None else None,
        "mid": format(((ask + bid) / 2).normalize(), "f") if both and ask is not None and bid is not None else None,
        "update_id": one.update_id,
        "age_ms": round(age_ms, 1),
        "state": state,
    }


def no_top(venue: str, symbol: str, state: str) -> dict[str, Any]:
    """A book that has shown no top yet."""
    names = ("bid", "bid_quantity", "ask", "ask_quantity", "spread", "mid", "update_id", "age_ms")
    return {"venue": venue, "symbol": symbol, **dict.fromkeys(names), "state": state}


def order(one: TimedOrder) -> dict[str, Any]:
    """One order of the delay monitor."""
    return {
        "sent_ms": one.sent_ms,
        "class": one.order_class,
        "sent_to_report_ms": _rounded(one.sent_to_report_ms),
        "sent_to_event_ms": _rounded(one.sent_to_event_ms),
        "event_to_receive_ms": _rounded(one.event_to_receive_ms),
        "uncertainty_ms": _rounded(one.uncertainty_ms),
        "client_order_id": one.client_order_id,
    }


def delays(report: DelayReport) -> dict[str, Any]:
    """The page of the delay monitor."""
    return {
        "threshold_ms": report.threshold_ms,
        "venue": report.venue,
        "symbol": report.symbol,
        "measurements": [order(one) for one in report.orders],
        "classes": dict(report.classes),
        "percentiles": {name: _rounded(value) for name, value in report.percentiles.items()},
        "histogram": [[upper_ms, count] for upper_ms, count in report.histogram],
    }


def alert(one: Notification) -> dict[str, Any]:
    """A message to people."""
    return {
        "time_ms": one.at_ns // 1_000_000,
        "name": one.alert,
        "subject": one.subject,
        "kind": one.kind.value,
        "severity": one.severity.value,
        "text": one.text,
    }


def symbol(one: SymbolEntry, *, new: bool) -> dict[str, Any]:
    """A row of the list of symbols."""
    return {
        "venue": one.venue,
        "symbol": one.symbol,
        "base": one.base,
        "quote": one.quote,
        "status": one.status,
        "first_seen_ms": one.first_seen_ms,
        "first_seen_by": one.first_seen_by,
        "new": new,
    }


def listed(one: SymbolListed) -> dict[str, Any]:
    """A symbol that has just been listed."""
    entry = SymbolEntry(one.venue, one.symbol, one.base, one.quote, one.status, one.at_ms, one.first_seen_by.value)
    return {**symbol(entry, new=True), "change": "listed"}


def status_changed(one: SymbolStatus) -> dict[str, Any]:
    """A symbol whose status has just changed."""
    return {
        "venue": one.venue,
        "symbol": one.symbol,
        "status": one.status,
        "previous": one.previous,
        "time_ms": one.at_ms,
        "change": "status",
    }


def crossed(one: PriceCrossed) -> dict[str, Any]:
    """A price beyond a line of the configuration."""
    return {
        "venue": one.venue,
        "symbol": one.symbol,
        "source": one.source,
        "watch": one.watch,
        "price": format(one.price, "f"),
        "threshold": format(one.threshold, "f"),
        "direction": one.direction,
        "time_ms": one.at_ms,
    }


def venue(one: VenueDescription) -> dict[str, Any]:
    """A venue and what can be seen of it."""
    return {
        "name": one.name,
        "environment": one.environment,
        "symbols": one.symbols,
        "candles": one.candles,
        "trades": one.trades,
        "books": list(one.books),
        "orders": one.orders,
        "intervals": list(one.intervals),
    }


def summary(ok: bool, health: Mapping[str, Any]) -> dict[str, Any]:
    """The health in a few figures, for every second."""
    workers: Mapping[str, Any] = health.get("workers", {})
    states = [str(one["state"]) for one in workers.values()]
    venues = {}
    for name, one in health.get("venues", {}).items():
        counts: Mapping[str, int] = one.get("book_counts", {})
        rate: Mapping[str, Any] = one.get("rate", {})
        venues[name] = {
            "books": sum(counts.values()),
            "synced": counts.get("synced", 0),
            "connections": _counted(one.get("connections", {}).values()),
            "clock_offset_ms": one.get("clock", {}).get("offset_ms"),
            "weight": rate.get("weight"),
            "banned_for_s": rate.get("banned_for_s"),
        }
    return {
        "ok": ok,
        "problems": list(health.get("problems", ())),
        "workers": _counted(states),
        "venues": venues,
    }


def _counted(words: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts


def _levels(price: Floats, quantity: Floats) -> list[list[str]]:
    pairs = zip(price.tolist(), quantity.tolist(), strict=True)
    return [[number(one), number(amount)] for one, amount in pairs]


def _maybe(value: float | None) -> str | None:
    return None if value is None else number(value)


def _rounded(value_ms: float | None) -> float | None:
    return None if value_ms is None else round(value_ms, 3)
