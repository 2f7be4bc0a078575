"""What a reload does: everything that can be wrong is found out before, and then each part is told what concerns it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from binmon.config.checks import problems
from binmon.config.loading import LoadedConfig, config_hash, load
from binmon.config.plan import Change, Started, diff, live_part
from binmon.config.schema import Config, WatchConfig
from binmon.core.channel import Channel
from binmon.errors import BinmonError, ConfigError
from binmon.latency.effects import TrackerSettings
from binmon.messages import Instrument, Priority
from binmon.net.rotation import RotationWindow
from binmon.telemetry.logging import configure
from binmon.venues.base import Venue
from binmon.venues.symbols import resolve
from binmon.venues.watching import WatchingVenue
from binmon.watch.settings import check
from binmon.wiring.alerts import Addressee, AlertParts, addressees
from binmon.wiring.books import BookParts, keeper_settings_of, listing_settings_of
from binmon.wiring.latency import LatencyParts, limits_of, probe_settings_of, tell_when_capped, too_often
from binmon.wiring.logs import KEYS as LOG_KEYS
from binmon.wiring.logs import log_details_of
from binmon.wiring.recording import RecordingParts, tell_unused_sinks, writes_tops
from binmon.wiring.watch import WatchParts

_SELECTION = ("books.venue", "books.symbols")
_NOTIFY = "alerts.notify"
_INTERVAL = "latency.interval_s"
_MOST_ORDERS = "execution.max_orders_per_day"
_OF_LATENCY = (
    "latency.threshold_ms", "latency.report_timeout_ms", _INTERVAL, "latency.notional",
    "execution.max_order_notional", _MOST_ORDERS,
)  # fmt: skip
BY_ITSELF = ("logging.level", "reload.watch", "metrics.per_symbol", "watch.listings.record")
"""Keys that whoever reloads sees to, or is told of what is in force."""
NOTHING_YET: tuple[str, ...] = ()
"""Live keys of what this version does not run."""
_WATCH = ("watch.candles", "watch.trades")
_LISTINGS = ("watch.listings.enabled", "watch.listings.venues")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A reload that nothing can keep from being applied any more.

    ``loaded`` is what is in force afterwards: the running configuration with the live keys of the file. ``addressees``
    and ``instruments`` are None where they stay.
    """

    loaded: LoadedConfig
    applied: tuple[Change, ...]
    restart_needed: tuple[str, ...]
    addressees: tuple[Addressee, ...] | None = None
    instruments: Mapping[str, Mapping[str, Instrument]] | None = None  # by venue


def prepare(
    running: LoadedConfig,
    environment: Mapping[str, str],
    venues: Mapping[str, Venue],
    order_environment: str | None,
    stop: threading.Event,
    watching: Mapping[str, WatchingVenue] | None = None,
) -> Prepared:
    """Read the file again and check everything that its live changes need. Changes nothing.

    ``venues`` are those of which the daemon keeps books since its start, by name, ``watching`` those whose candles, trades
    and listings can be watched: what names another one waits for a restart. ``order_environment`` is that of the addresses
    orders go to, None without any. The venue is asked for its symbols when others are wanted, which takes a moment.
    Raises ConfigError with key, file and line.
    """
    new = load(running.path, environment)
    started = Started(venues, watching or {})
    changes = diff(running.config, new.config, started)
    config = live_part(running.config, new.config, started)
    live = tuple(change for change in changes if change.how == "live")
    keys = {change.key for change in live}
    try:
        for key, problem in problems(config, new.present_keys):
            # the file as a whole is right, or it would not have been read
            raise ConfigError(f"{problem}; it needs the restart that other changes of the file need", key=key)
        if _INTERVAL in keys and order_environment is not None:
            wrong = too_often(config.latency, order_environment)
            if wrong is not None:
                raise wrong
        wanted = tuple(addressees(config.alerts.notify)) if _NOTIFY in keys else None
        instruments = _instruments(running.config, config, venues, stop) if keys & set(_SELECTION) else None
        if keys & set(_WATCH):
            _check_watched(running.config.watch, config.watch, watching or {}, stop)
    except ConfigError as error:
        raise new.placed(error) from None
    return Prepared(
        LoadedConfig(config, new.path, config_hash(config), new.lines),
        live,
        tuple(change.key for change in changes if change.how == "restart"),
        wanted,
        instruments,
    )


def _instruments(
    running: Config, config: Config, venues: Mapping[str, Venue], stop: threading.Event
) -> dict[str, Mapping[str, Instrument]]:
    """The symbols of each venue of which other books are wanted than before, if these are among them. The other venues are
    not asked: one that is down keeps nobody from changing what concerns another."""
    instruments: dict[str, Mapping[str, Instrument]] = {}
    before = set(running.books.selections())
    changed = {one.venue for one in before ^ set(config.books.selections())}
    for selection, key in config.books.selections_with_keys():
        if selection.venue not in changed:
            continue
        venue = venues[selection.venue]  # others wait for a restart
        if venue.name not in instruments:
            try:
                instruments[venue.name] = venue.instruments(stop)
            except BinmonError as error:
                problem = f"{venue.name} cannot be asked for its symbols now, so nothing was changed: {error}"
                raise ConfigError(problem, key=key) from None
        resolve(selection.symbols, instruments[venue.name], venue.name, key)
    return instruments


def _check_watched(
    before: WatchConfig, after: WatchConfig, watching: Mapping[str, WatchingVenue], stop: threading.Event
) -> None:
    """Raise ConfigError for what cannot be watched. A venue is asked for its symbols when others of it are wanted."""
    known = before.watched()
    wanted: dict[str, str] = {}  # venue -> the first key that names it with another symbol
    for (venue, symbol), entry in after.watched().items():
        if (venue, symbol) not in known:
            wanted.setdefault(venue, f"{entry}.symbol")
    for name, key in wanted.items():
        try:
            listed = watching[name].symbols(stop, Priority.INITIAL_SYNC)
        except BinmonError as error:
            problem = f"{name} cannot be asked for its symbols now, so nothing was changed: {error}"
            raise ConfigError(problem, key=key) from None
        check(after, watching[name], listed)


class Applier:
    """Tells each part what concerns it. Belongs to the main thread.

    A channel that is full for the moment costs nothing: what it should take waits in ``_waiting``, in order, and goes with
    a later ``hand_over``.
    """

    def __init__(
        self,
        alerts: AlertParts,
        recording: RecordingParts,
        books: Mapping[str, BookParts],
        latency: Callable[[], LatencyParts | None],
        watch: WatchParts,
    ) -> None:
        """``books`` are those of each venue and ``latency`` the monitor, as far as their venues have answered, and so is what
        ``watch`` has: what comes later begins with the configuration that is in force then."""
        self._alerts, self._recording, self._books, self._latency_parts = alerts, recording, books, latency
        self._watch = watch
        self._waiting: list[Callable[[], bool]] = []  # each hands something over, and says whether it could
        self._steps: list[tuple[tuple[str, ...], Callable[[Prepared], None]]] = [
            (
                ("books.snapshot_every", "books.record_depth", "books.audit_interval_s", "books.rotate_window",
                 "publish.interval_ms"), self._keeper,
            ),
            ((*_SELECTION, "watch.listings.interval_s"), self._selection),
            ((*_WATCH, *_LISTINGS, "watch.listings.interval_s"), self._watched),
            (("recorder.keep_days", "recorder.keep_gb"), self._retention),
            (("publish.sinks",), self._sinks),
            ((_NOTIFY,), self._targets),
            (("alerts.resend_every_s", "alerts.rules"), self._rules),
            (LOG_KEYS, self._log),
        ]  # fmt: skip
        self._steps += [
            (("latency.threshold_ms", "latency.report_timeout_ms"), self._tracker),
            ((_INTERVAL, "latency.notional"), self._probe),
            (("execution.max_order_notional", _MOST_ORDERS), self._limits),
        ]

    @property
    def keys(self) -> Collection[str]:
        """What is applied here, to what is there."""
        idle = () if self._latency is not None else _OF_LATENCY
        return {key for keys, _ in self._steps for key in keys if key not in idle}

    @property
    def _latency(self) -> LatencyParts | None:
        return self._latency_parts()

    def apply(self, prepared: Prepared) -> None:
        """Put ``prepared`` into force; ``hand_over`` until it says that everything has gone."""
        changed = {change.key for change in prepared.applied}
        for keys, step in self._steps:
            if changed.intersection(keys):
                step(prepared)
        if self._latency is not None and changed & {_INTERVAL, _MOST_ORDERS}:
            tell_when_capped(prepared.loaded.config)
        offsets_ms = {name: one.venue.offset_ms() for name, one in self._books.items()}
        self._recording.origin.configured(prepared.loaded.config_hash, offsets_ms)

    def hand_over(self) -> bool:
        """Offer what waits; whether all of it has gone."""
        while self._waiting:
            if not self._waiting[0]():
                return False
            del self._waiting[0]
        return True

    def _post(self, channel: Channel[Any], message: Any) -> None:
        # no offer to a full channel: it would count as dropped
        self._waiting.append(lambda: len(channel) < channel.capacity and channel.offer(message))

    def _keeper(self, prepared: Prepared) -> None:
        config = prepared.loaded.config
        self._recording.publisher.interval_s = config.publish.interval_ms / 1000
        for books in self._books.values():
            self._post(books.inbox, keeper_settings_of(config, books.venue.market.weight_per_minute))
        if self._latency is not None:
            self._post(self._latency.frames, RotationWindow.parse(config.books.rotate_window))
        for watched in self._watch.desk.venues.values():
            for inbox in watched.inboxes:
                self._post(inbox, RotationWindow.parse(config.books.rotate_window))

    def _selection(self, prepared: Prepared) -> None:
        for name in self._books:
            settings = listing_settings_of(prepared.loaded.config, name)
            # None: what is selected stays; a venue that nothing is selected of any more lists nothing to keep
            selected = any(one.venue == name for one in prepared.loaded.config.books.selections())
            asked = prepared.instruments or {}
            listed = asked.get(name) if selected or prepared.instruments is None else {}
            self._waiting.append(partial(self._watch.newcomers.select, name, settings, listed))

    def _watched(self, prepared: Prepared) -> None:
        self._watch.desk.configure(prepared.loaded.config.watch)
        self._waiting.append(self._watch.desk.tick)

    def _retention(self, prepared: Prepared) -> None:
        section, finisher = prepared.loaded.config.recorder, self._recording.finisher
        finisher.keep_days, finisher.keep_gb = section.keep_days, section.keep_gb

    def _sinks(self, prepared: Prepared) -> None:
        self._recording.publisher.to_log = writes_tops(prepared.loaded.config)
        tell_unused_sinks(prepared.loaded.config)

    def _targets(self, prepared: Prepared) -> None:
        self._alerts.tell(prepared.addressees or ())

    def _rules(self, prepared: Prepared) -> None:
        self._alerts.dispatcher.replace_rules(prepared.loaded.config.alerts)

    def _log(self, prepared: Prepared) -> None:
        configure(log_details_of(prepared.loaded.config.logging))

    def _tracker(self, prepared: Prepared) -> None:
        if self._latency is None:
            return
        section = prepared.loaded.config.latency
        self._post(self._latency.inbox, TrackerSettings(section.threshold_ms, section.report_timeout_ms))

    def _probe(self, prepared: Prepared) -> None:
        if self._latency is None:
            return
        self._latency.probe.settings = probe_settings_of(prepared.loaded.config.latency)

    def _limits(self, prepared: Prepared) -> None:
        if self._latency is None:
            return
        self._latency.gate.limits = limits_of(prepared.loaded.config.execution)
