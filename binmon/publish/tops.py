"""The newest top of every book, and what is to be said when a book is out of step. No I/O.

A top comes from a synced book. When its book loses step, no more would come, which looks like a quiet market: so the last
known one is published once more with the state that the book is in, at once and (at a steady pace) with every turn. When
the book is synced again and no top has come for a moment, as none has changed, its owner is asked for one.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from binmon.messages import BookView, TopOfBook

SYNCED = "synced"
ASK_AFTER_S = 1.0
"""How long a top is waited for when a book has become synced."""
_ASK_AGAIN_S = 10.0
_MOST_ASKED = 50  # at a time: each makes the owner merge a book
_LEAST_TURN_S = 1.0

Key = tuple[str, str]
"""Venue and symbol."""


@dataclass(slots=True)
class _Shown:
    """One book: its last top, the state that was said last, and since when (monotonic) a top is waited for."""

    top: TopOfBook
    known: bool  # whether there ever was a top
    said_s: float
    ask_s: float | None = None


class TopBoard:
    """``take`` and ``look`` belong to one thread, ``tops`` to any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._shown: dict[Key, _Shown] = {}

    def take(self, top: TopOfBook, now_s: float) -> None:
        """A top has come from a synced book."""
        with self._lock:
            self._shown[top.venue, top.symbol] = _Shown(top, True, now_s)

    def look(
        self, venue: str, states: Mapping[str, str], now_s: float, now_ns: int, interval_s: float
    ) -> tuple[list[TopOfBook], list[str]]:
        """The books of a venue are in these states: the tops to publish because of that, and the symbols whose top is to be
        asked for. ``interval_s`` is the pace, 0 when every change is published; ``now_ns`` is the wall clock."""
        publish: list[TopOfBook] = []
        ask: list[str] = []
        turn_s = max(interval_s, _LEAST_TURN_S) if interval_s else float("inf")
        with self._lock:
            for key in [key for key in self._shown if key[0] == venue and key[1] not in states]:
                del self._shown[key]
            for symbol, state in states.items():
                shown = self._shown.get((venue, symbol))
                if shown is None:
                    nothing = TopOfBook(venue, symbol, None, None, None, None, 0, 0, 0, 0.0, "")
                    shown = self._shown[venue, symbol] = _Shown(nothing, False, now_s)
                if state == SYNCED:
                    self._synced(shown, symbol, now_s, ask)
                elif shown.top.state != state or now_s - shown.said_s >= turn_s:
                    shown.top = replace(shown.top, state=state, age_ms=_age_ms(shown.top, now_ns))
                    shown.said_s, shown.ask_s = now_s, None
                    if shown.known:
                        publish.append(shown.top)
        return publish, ask

    def tops(self, now_ns: int) -> tuple[TopOfBook, ...]:
        """The newest of every book that is kept, with its age and state. A book that never had one has no sides."""
        with self._lock:
            return tuple(replace(one.top, age_ms=_age_ms(one.top, now_ns)) for one in self._shown.values())

    @staticmethod
    def _synced(shown: _Shown, symbol: str, now_s: float, ask: list[str]) -> None:
        if shown.top.state == SYNCED:
            return
        if shown.ask_s is None:
            shown.ask_s = now_s + ASK_AFTER_S
        elif now_s >= shown.ask_s and len(ask) < _MOST_ASKED:
            shown.ask_s = now_s + _ASK_AGAIN_S
            ask.append(symbol)


class ConflatedTops:
    """An outlet for whoever may be slow: of each book it keeps the newest top alone. Any thread may take."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards those below
        self._waiting: dict[Key, TopOfBook] = {}
        self.conflated = 0
        """Tops that a newer one has replaced before they were taken."""

    def offer(self, message: Any, /) -> bool:
        """Take a top; anything else is none of its business."""
        if isinstance(message, TopOfBook):
            with self._lock:
                key = (message.venue, message.symbol)
                self.conflated += key in self._waiting
                self._waiting[key] = message
        return True

    def take(self) -> tuple[TopOfBook, ...]:
        """All books that have changed since the last time, each with its newest top, in the order of their change."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        return tuple(waiting.values())


def top_of(view: BookView, now_ns: int) -> TopOfBook | None:
    """The top of a book that was asked for; None while it is not synced."""
    if not view.synced or view.update_id is None:
        return None
    bid, ask = view.bid_price.size > 0, view.ask_price.size > 0
    age_ms = view.age_ms or 0.0
    return TopOfBook(
        view.venue,
        view.symbol,
        float(view.bid_price[0]) if bid else None,
        float(view.bid_quantity[0]) if bid else None,
        float(view.ask_price[0]) if ask else None,
        float(view.ask_quantity[0]) if ask else None,
        view.update_id,
        view.event_time_ms or 0,
        now_ns - round(age_ms * 1e6),
        age_ms,
    )


def _age_ms(top: TopOfBook, now_ns: int) -> float:
    return (now_ns - top.receive_time_ns) / 1e6 if top.receive_time_ns else 0.0
