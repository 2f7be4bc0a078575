"""The worker that watches which symbols a venue lists: pumps the machine, writes the database, tells people."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from binmon.core.channel import Channel
from binmon.core.worker import Worker
from binmon.messages import (
    AlertName,
    AlertSignal,
    FirstSeenBy,
    Instrument,
    Severity,
    SymbolListed,
    SymbolsArrived,
    SymbolsFailed,
    SymbolStatus,
    SymbolsWanted,
)
from binmon.state import StateFailed
from binmon.venues.watching import SymbolsTraded, WatchingVenue
from binmon.watch.feeds import WatchFeeds
from binmon.watch.intake import Intake, Outlet
from binmon.watch.known import KnownSymbols
from binmon.watch.listings import (
    UNCONFIRMED,
    Baseline,
    Confirmed,
    Keep,
    ListingWatch,
    LookNow,
    ManyChanged,
    Unlisted,
    VenueReset,
)

log = structlog.get_logger("binmon.watch")

_TICK_S = 0.1
_WRITE_AGAIN_S = 5.0
_NAMED = 10  # symbols that a line about many of them names
# A venue that answers, and does not let us listen, has no such stream: its list alone is enough, and is no trouble.
_STREAM_WITHIN_S = 45.0
_STREAM_AGAIN_S = 120.0
_SIGNALS = {
    FirstSeenBy.EXCHANGE_INFO: "the venue's list",
    FirstSeenBy.MINI_TICKER: "the mini ticker",
    FirstSeenBy.BASELINE: "the first look",
}


@dataclass(frozen=True, slots=True)
class ListingSettings:
    """How often the venue is asked, and whether at all; for the inbox of the watcher."""

    interval_s: float
    enabled: bool = True


class ListingWatcher(Worker):
    """Takes what its socket and its fetcher give from ``inbox``, and ListingSettings. Tells ``listeners`` of SymbolListed
    and SymbolStatus, and ``signals`` what people may want to hear of. While it is not enabled it neither asks nor
    listens.

    ``instruments`` is the newest list; it is replaced, never changed, so any thread may look at it."""

    silence_limit_s = 60.0  # it waits for its inbox and for the disk

    def __init__(
        self,
        name: str,
        venue: WatchingVenue,
        known: KnownSymbols,
        settings: ListingSettings,
        *,
        inbox: Channel[Any],
        wanted: Outlet,
        signals: Outlet,
        feeds: WatchFeeds,
        listeners: Sequence[Outlet] = (),
        instruments: Mapping[str, Instrument] | None = None,
    ) -> None:
        """``wanted`` takes the SymbolsWanted of the fetcher, whose answers come to ``inbox``; ``instruments`` is what is
        known of the list beforehand. Raises StateFailed."""
        super().__init__(name)
        self._venue, self._known, self._inbox, self._wanted = venue, known, inbox, wanted
        self._signals, self._listeners = signals, tuple(listeners)
        self.enabled = settings.enabled
        self.instruments: Mapping[str, Instrument] = instruments or {}
        self._started = False
        self._in_hand: Any = None  # the message that is being handled
        self._intake = Intake(venue, feeds)
        self._stream = venue.listing_stream()
        self._watch = ListingWatch(
            venue.name, known.of_venue(venue.name), settings.interval_s, ticker=self._stream is not None
        )
        self._listens = self._told_deaf = False  # to the stream; that it cannot be had was said
        self._without_s: float | None = None  # since when there is no stream though we listen
        self._listen_s = 0.0  # when to try again
        self._list_is_had = False  # as it was asked last
        self._unwritten: deque[Keep] = deque()
        self._write_at_s = float("-inf")
        self.dropped = 0  # messages and signals that found no room
        self.listed = 0  # symbols that were reported

    def run(self, stop: threading.Event) -> None:
        if self._started:
            message, self._in_hand = self._in_hand, None
            if message is not None:
                self.take(message)  # once more, and only once
            self._watch.restart()
        self._started = True
        self._listen(self.enabled)
        while not stop.is_set():
            self.beat()
            self._in_hand = self._inbox.take(_TICK_S)
            while self._in_hand is not None and not stop.is_set():
                self.take(self._in_hand)
                self._in_hand = self._inbox.take(0)
            self.tick(time.monotonic(), time.time())
        self._write(time.monotonic(), last=True)

    def _listen(self, listens: bool) -> None:
        if self._stream is not None:
            self._intake.feeds.carry([self._stream] if listens else [])
            self._listens, self._without_s = listens, None

    def _mind_stream(self, now_s: float) -> None:
        """Go without the stream where the venue does not have it, and try again now and then."""
        if self._stream is None or not self.enabled:
            return
        if self._intake.feeds.is_live(self._stream):
            self._without_s, self._told_deaf = None, False
        elif not self._listens:
            if now_s >= self._listen_s:
                self._listen(True)
        elif self._without_s is None:
            self._without_s = now_s
        elif now_s - self._without_s >= _STREAM_WITHIN_S and self._list_is_had:
            self._listen_s = now_s + _STREAM_AGAIN_S
            self._listen(False)
            if not self._told_deaf:
                self._told_deaf = True
                log.warning(
                    "symbols.stream_missing",
                    venue=self._venue.name,
                    reason="the venue answers, and its ticker of all symbols cannot be had: only its list is asked",
                )

    @property
    def intake(self) -> Intake:
        """What has come in, for the metrics."""
        return self._intake

    @property
    def known_count(self) -> int:
        """How many symbols were ever seen."""
        return len(self._watch.known)

    def take(self, message: object) -> None:
        """One message of the inbox."""
        now_s, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        if self._intake.takes(message):
            for found, received_mono_ns in self._intake.take(message):
                if isinstance(found, SymbolsTraded) and self.enabled:
                    self._watch.on_ticker(found.symbols, now_s, received_mono_ns, now_ms)
                    self.progress()
        elif isinstance(message, SymbolsArrived):
            self._list_is_had = True
            if message.instruments:
                self.instruments = message.instruments
            self._watch.on_symbols(
                message.token,
                message.instruments,
                now_s,
                message.asked_mono_ns,
                message.answered_mono_ns,
                now_ms,
            )
            self.progress()
        elif isinstance(message, SymbolsFailed):
            self._list_is_had = False
            self._watch.on_failed(message.token, message.retry_after_s, now_s)
        elif isinstance(message, ListingSettings):
            self._watch.interval_s, self.enabled = message.interval_s, message.enabled
            self._listen(self.enabled)
        self._carry_out(now_s)

    def tick(self, now_s: float, now_utc_s: float) -> None:
        """Time passed."""
        self._intake.feeds.tick(now_s, now_utc_s)
        self._mind_stream(now_s)
        if self.enabled:
            self._watch.tick(now_s)
        self._carry_out(now_s)

    def _carry_out(self, now_s: float) -> None:
        name = self._venue.name
        while self._watch.effects:
            effect = self._watch.effects[0]
            if isinstance(effect, LookNow):
                if not self._wanted.offer(SymbolsWanted(name, effect.token)):
                    self._watch.on_failed(effect.token, 1.0, now_s)
            elif isinstance(effect, Keep):
                self._unwritten.append(effect)
                self._write(now_s)
            elif isinstance(effect, SymbolListed):
                self._report(effect)
            elif isinstance(effect, SymbolStatus):
                self._report_status(effect)
            elif isinstance(effect, Confirmed):
                log.info(
                    "symbol.confirmed",
                    venue=name,
                    symbol=effect.symbol,
                    first_seen_by=effect.first_seen_by.value,
                    lead_ms=effect.lead_ms,
                )
            elif isinstance(effect, Baseline):
                log.info("symbols.known", venue=name, symbols=effect.symbols)
            elif isinstance(effect, VenueReset):
                self._report_reset(effect)
            elif isinstance(effect, ManyChanged):
                self._report_many(effect)
            elif isinstance(effect, Unlisted):
                log.info("symbol.unlisted", venue=name, symbol=effect.symbol)
            # when it is done, so that what failed in the midst of it is done again: better said twice than not at all
            self._watch.effects.popleft()
        if self._unwritten and now_s >= self._write_at_s:
            self._write(now_s)

    def _report(self, listed: SymbolListed) -> None:
        self.listed += 1
        log.warning(
            "symbol.listed",
            venue=listed.venue,
            symbol=listed.symbol,
            status=listed.status,
            first_seen_by=listed.first_seen_by.value,
            lead_ms=listed.lead_ms,
        )
        other = (
            FirstSeenBy.EXCHANGE_INFO if listed.first_seen_by is FirstSeenBy.MINI_TICKER else FirstSeenBy.MINI_TICKER
        )
        status = "the venue's list cannot be had" if listed.status == UNCONFIRMED else listed.status
        text = f"{listed.symbol} is new on {listed.venue} ({status}), seen first by {_SIGNALS[listed.first_seen_by]}"
        if listed.lead_ms is not None:
            text += f", {listed.lead_ms:.0f} ms before {_SIGNALS[other]}"
        elif self._stream is not None:
            text += f"; {_SIGNALS[other]} has not shown it yet"
        self._tell(listed, AlertName.SYMBOL_LISTED, f"{listed.venue} {listed.symbol}", Severity.WARNING, text)

    def _report_status(self, status: SymbolStatus) -> None:
        log.info(
            "symbol.status",
            venue=status.venue,
            symbol=status.symbol,
            status=status.status,
            previous=status.previous,
            first_seen_by=status.first_seen_by.value,
            lead_ms=status.lead_ms,
        )
        text = f"{status.symbol} on {status.venue} is {status.status} now, it was {status.previous}"
        self._tell(status, AlertName.SYMBOL_STATUS, f"{status.venue} {status.symbol}", Severity.INFO, text)

    def _report_reset(self, reset: VenueReset) -> None:
        name = self._venue.name
        log.warning("symbols.reset", venue=name, known=reset.known, gone=reset.gone, fresh=reset.listed)
        text = (
            f"{name} was reset, or is another one: {reset.gone} of {reset.known} known symbols are gone,"
            f" {reset.listed} are there that were not"
        )
        self._tell(None, AlertName.SYMBOLS_RESET, name, Severity.WARNING, text)

    def _report_many(self, many: ManyChanged) -> None:
        name = self._venue.name
        parts = []
        if many.listed:
            parts.append(f"{len(many.listed)} new ({_some(many.listed)})")
        parts += [f"{count} now {status}" for status, count in sorted(many.statuses.items())]
        if many.gone:
            parts.append(f"{len(many.gone)} not listed any more ({_some(many.gone)})")
        reason = ", ".join(parts)
        log.warning(
            "symbols.changed",
            venue=name,
            listed=list(many.listed[:_NAMED]),
            delisted=list(many.gone[:_NAMED]),
            symbols=list(many.changed[:_NAMED]),
            reason=reason,
        )
        self._tell(
            None, AlertName.SYMBOLS_CHANGED, name, Severity.WARNING, f"many symbols of {name} changed at once: {reason}"
        )

    def _tell(self, message: object | None, name: AlertName, subject: str, severity: Severity, text: str) -> None:
        if message is not None:
            for listener in self._listeners:
                self.dropped += not listener.offer(message)
        signal = AlertSignal(name, subject, True, severity, text, time.time_ns(), once=True)
        self.dropped += not self._signals.offer(signal)

    def _write(self, now_s: float, *, last: bool = False) -> None:
        """Write what waits, in order; what the disk does not take waits on."""
        while self._unwritten and (now_s >= self._write_at_s or last):
            keep = self._unwritten[0]
            try:
                if keep.whole:
                    self._known.replace(self._venue.name, {one.symbol: one for one in keep.symbols})
                else:
                    self._known.keep(keep.symbols)
            except StateFailed as error:
                if self._write_at_s == float("-inf"):
                    log.error("symbols.unwritten", venue=self._venue.name, reason=str(error))
                self._write_at_s = now_s + _WRITE_AGAIN_S
                return
            self._unwritten.popleft()
            self._write_at_s = float("-inf")


def _some(symbols: Sequence[str]) -> str:
    named = ", ".join(symbols[:_NAMED])
    return named if len(symbols) <= _NAMED else f"{named} …"
