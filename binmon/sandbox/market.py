"""The running market: all symbols and the one thread that drives them.

One scheduler thread serves every symbol: a heap holds the next moment of each order flow, and symbols are spread over
ten phases of 10 ms, so that the 100 ms events of many symbols do not all fall on one instant. A symbol sleeps, without
book and without cost, until somebody subscribes to one of its streams or asks for its book; a few are woken in each
step, so that a client that subscribes to a whole market does not stop it for everybody.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from . import payloads, symbols
from .clock import VenueClock
from .hub import StreamHub
from .symbol_market import SymbolMarket
from .symbols import Instrument

_log = logging.getLogger(__name__)

_TICK_S = 0.01
_PHASES = 10
_TICKS_A_SECOND = 100
_LONGEST_CATCH_UP_S = 1.0
_WAKING_S = 0.004
"""Seconds of each step that waking symbols may take; one is woken in any case."""
MINI_TICKER_ARRAY = "!miniTicker@arr"


class UnknownSymbol(LookupError):
    """The named symbol is not listed."""


class Market:
    """All symbols of the sandbox. Reading and changing it is safe from any thread."""

    def __init__(
        self,
        instruments: list[Instrument],
        hub: StreamHub,
        clock: VenueClock,
        seed: int | str,
        *,
        symbol_of: Callable[[str], str] = lambda stream: stream.split("@", 1)[0].upper(),
        describe: Callable[[str], Instrument] | None = None,
        name: str = "sandbox-market",
    ) -> None:
        """``symbol_of`` gives the symbol of a stream's name, ``describe`` the instrument of a symbol to be listed later
        (raises ``ValueError`` for what cannot be one), ``name`` is that of the thread."""
        self.hub = hub
        self.clock = clock
        self._seed = seed
        self._symbol_of = symbol_of
        self._describe = describe or self._known_or_generated
        self._name = name
        self.after_tick: Callable[[int, int], None] | None = None
        """Called in each step of 10 ms with its number and the venue's time in µs, before what is queued is sent."""
        self._lock = threading.RLock()
        self._acting = threading.Lock()  # held during one action of the flow
        self._symbols: dict[str, SymbolMarket] = {}
        self._phases: list[tuple[SymbolMarket, ...]] = [()] * _PHASES
        self._agenda: list[tuple[float, int, SymbolMarket]] = []
        self._order = itertools.count()
        self._taken_up = 0
        self._resets = 0
        self._frozen_until = 0.0
        # Filled from any thread and emptied by the scheduler; appending needs no lock.
        self._awakened: deque[SymbolMarket] = deque()
        self._sleepers_wanted: deque[str] = deque()
        hub.on_subscribe = self._subscribed
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        for instrument in instruments:
            self._add(instrument, fresh=False)

    # Life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the scheduler thread."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Stop the scheduler thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    # Symbols ----------------------------------------------------------------------------------------------------

    def symbol(self, name: str) -> SymbolMarket:
        """The market of a symbol. Raises :class:`UnknownSymbol`."""
        market = self._symbols.get(name)
        if market is None:
            raise UnknownSymbol(name)
        return market

    def symbols(self) -> list[SymbolMarket]:
        """All symbols in the order of listing."""
        with self._lock:
            return list(self._symbols.values())

    def add_symbol(self, name: str, status: str = "TRADING") -> None:
        """List a new symbol. Raises ``ValueError`` when it is listed already or cannot be a name."""
        with self._lock:
            if name in self._symbols:
                raise ValueError(f"symbol {name} is listed already")
            self._add(self._describe(name), fresh=True, status=status)

    def remove_symbol(self, name: str) -> None:
        """Delist a symbol. Raises :class:`UnknownSymbol`."""
        with self._lock:
            gone = self.symbol(name)
            gone.retire()
            del self._symbols[name]
            self._phases = [tuple(market for market in group if market is not gone) for group in self._phases]
            self._agenda = [entry for entry in self._agenda if entry[2].instrument.symbol != name]
            heapq.heapify(self._agenda)

    def reset(self) -> None:
        """Wipe the venue like the monthly testnet reset: books anew, every id restarts, no history."""
        with self._lock:
            self._resets += 1
            for name, market in self._symbols.items():
                market.start(f"{self._seed}:{name}:{self._resets}", self.clock.now_us(), fresh=True)

    def freeze(self, seconds: float) -> None:
        """Let nothing happen for a while; ``0`` ends it."""
        with self._acting:  # what is going on ends first
            self._frozen_until = time.monotonic() + seconds

    @property
    def frozen(self) -> bool:
        """Whether nothing happens for a while."""
        return time.monotonic() < self._frozen_until

    def _known_or_generated(self, name: str) -> Instrument:
        known = {instrument.symbol: instrument for instrument in symbols.default_instruments()}
        return known.get(name) or symbols.generated_instrument(name, self._seed)

    def _add(self, instrument: Instrument, fresh: bool, status: str | None = None) -> None:
        name = instrument.symbol
        market = SymbolMarket(
            instrument, self.hub, f"{self._seed}:{name}", self.clock.now_us(), fresh, self._awakened.append
        )
        if status is not None:
            market.set_status(status)
        with self._lock:
            self._symbols[name] = market
        if fresh:
            # A new listing has a book from its first moment, and perhaps somebody who has waited for it.
            market.wake()

    def _subscribed(self, streams: list[str]) -> None:
        """Note whose streams somebody listens to now (called by the hub, from any thread)."""
        for stream in streams:
            if stream.startswith("!"):
                self._sleepers_wanted.extend(list(self._symbols))
            else:
                self._sleepers_wanted.append(self._symbol_of(stream))

    def _wake_some(self, now: float) -> None:
        """Wake symbols that are wanted, for a part of a step at most, and take up those that woke."""
        deadline = time.perf_counter() + _WAKING_S
        while self._sleepers_wanted and time.perf_counter() < deadline:
            market = self._symbols.get(self._sleepers_wanted.popleft())
            if market is not None:
                market.wake()
        while self._awakened:
            market = self._awakened.popleft()
            with self._lock:
                if self._symbols.get(market.instrument.symbol) is market:
                    phase = self._taken_up * 3 % _PHASES
                    self._taken_up += 1
                    self._phases[phase] = (*self._phases[phase], market)
                    heapq.heappush(self._agenda, (now + market.delay_s(), next(self._order), market))

    # Scheduler --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        started = time.monotonic()
        done = 0
        while not self._stop.is_set():
            target = int((time.monotonic() - started) / _TICK_S)
            # After a long pause of the machine the missed ticks are skipped: streams aggregate what they missed.
            done = max(done, target - 2 * _PHASES)
            while done < target:
                done += 1
                self.tick(done, started + done * _TICK_S)
            self._stop.wait(max(0.0005, started + (done + 1) * _TICK_S - time.monotonic()))

    def tick(self, number: int, now: float) -> None:
        """One 10 ms step: due actions of the order flow, then the periodic streams of this phase, then sending."""
        self._wake_some(now)
        self._act(now)
        phase = number % _PHASES
        second, tenth = divmod(number, _TICKS_A_SECOND)
        now_us = self.clock.now_us()
        for market in self._phases[phase]:
            market.push_fast(now_us)
            if tenth == phase:
                market.push_slow(now_us, second)
        if tenth == 0:
            self._push_mini_tickers(now_us)
        if self.after_tick is not None:
            self.after_tick(number, now_us)
        self.hub.flush()

    def _act(self, now: float) -> None:
        while True:
            with self._lock:
                if not self._agenda or self._agenda[0][0] > now:
                    return
                due, order, market = heapq.heappop(self._agenda)
            with self._acting:
                if now >= self._frozen_until:
                    market.act(self.clock.now_us())
            following = max(due, now - _LONGEST_CATCH_UP_S) + market.delay_s()
            with self._lock:
                if self._symbols.get(market.instrument.symbol) is market:
                    heapq.heappush(self._agenda, (following, order, market))

    def _push_mini_tickers(self, now_us: int) -> None:
        wanted = self.hub.wanted(MINI_TICKER_ARRAY)
        changed = [market for market in self.symbols() if market.take_ticker_change()]
        if not wanted or not changed:
            return
        days = [(market.instrument, market.day(now_us)) for market in changed]

        def print_array(micro: bool) -> str:
            items = (payloads.mini_ticker_json(instrument, now_us, day, micro) for instrument, day in days)
            return f"[{','.join(items)}]"

        self.hub.publish(MINI_TICKER_ARRAY, "", print_array)
