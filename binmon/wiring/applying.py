"""What a reload does: everything that can be wrong is found out before, and then each part is told what concerns it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from binmon.books.listings import SelectionChanged
from binmon.config.checks import problems
from binmon.config.loading import LoadedConfig, config_hash, load
from binmon.config.plan import Change, diff, live_part
from binmon.config.schema import Config
from binmon.core.channel import Channel
from binmon.errors import BinmonError, ConfigError
from binmon.latency.effects import TrackerSettings
from binmon.messages import Instrument
from binmon.net.rotation import RotationWindow
from binmon.telemetry.logging import configure
from binmon.venues.base import Venue
from binmon.venues.symbols import resolve
from binmon.wiring.alerts import Addressee, AlertParts, addressees
from binmon.wiring.books import BookParts, keeper_settings_of, listing_settings_of
from binmon.wiring.latency import LatencyParts, limits_of, probe_settings_of, tell_when_capped, too_often
from binmon.wiring.logs import KEYS as LOG_KEYS
from binmon.wiring.logs import log_details_of
from binmon.wiring.recording import RecordingParts, writes_tops

_SELECTION = ("books.venue", "books.symbols")
_NOTIFY = "alerts.notify"
_INTERVAL = "latency.interval_s"
_MOST_ORDERS = "execution.max_orders_per_day"
_OF_LATENCY = (
    "latency.threshold_ms", "latency.report_timeout_ms", _INTERVAL, "latency.notional",
    "execution.max_order_notional", _MOST_ORDERS,
)  # fmt: skip
BY_ITSELF = ("logging.level", "reload.watch", "metrics.per_symbol")
"""Keys that whoever reloads sees to, or is told of what is in force."""
NOTHING_YET = ("watch.candles", "watch.trades", "watch.listings.enabled", "watch.listings.venues")
"""Live keys of what this version does not run."""


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
) -> Prepared:
    """Read the file again and check everything that its live changes need. Changes nothing.

    ``venues`` are those that the daemon was started with, by name; ``order_environment`` is that of the addresses orders go to, None without any. The venue is asked for its symbols when
    others are wanted, which takes a moment. Raises ConfigError with key, file and line.
    """
    new = load(running.path, environment)
    changes = diff(running.config, new.config)
    config = live_part(running.config, new.config)
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
        instruments = _instruments(config, venues, stop) if keys & set(_SELECTION) else None
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
    config: Config, venues: Mapping[str, Venue], stop: threading.Event
) -> dict[str, Mapping[str, Instrument]]:
    """The symbols of each venue that books are kept of, if those that are wanted are among them."""
    instruments: dict[str, Mapping[str, Instrument]] = {}
    for selection in config.books.selections():
        venue = venues.get(selection.venue)
        if venue is None:
            problem = f"'{selection.venue}': no books of this venue were kept so far; to begin with it needs a restart"
            raise ConfigError(problem, key=_SELECTION[0])
        if venue.name not in instruments:
            try:
                instruments[venue.name] = venue.instruments(stop)
            except BinmonError as error:
                problem = f"{venue.name} cannot be asked for its symbols now, so nothing was changed: {error}"
                raise ConfigError(problem, key=_SELECTION[1]) from None
        resolve(selection.symbols, instruments[venue.name], venue.name)
    return instruments


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
    ) -> None:
        """``books`` are those of each venue and ``latency`` the monitor, as far as their venues have answered: what comes
        later begins with the configuration that is in force then."""
        self._alerts, self._recording, self._books, self._latency_parts = alerts, recording, books, latency
        self._waiting: list[tuple[Channel[Any], Any]] = []
        self._steps: list[tuple[tuple[str, ...], Callable[[Prepared], None]]] = [
            (
                ("books.snapshot_every", "books.record_depth", "books.audit_interval_s", "books.rotate_window",
                 "publish.interval_ms"), self._keeper,
            ),
            ((*_SELECTION, "watch.listings.interval_s"), self._selection),
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
            channel, message = self._waiting[0]
            # no offer to a full channel: it would count as dropped
            if len(channel) >= channel.capacity or not channel.offer(message):
                return False
            del self._waiting[0]
        return True

    def _post(self, channel: Channel[Any], message: Any) -> None:
        self._waiting.append((channel, message))

    def _keeper(self, prepared: Prepared) -> None:
        config = prepared.loaded.config
        for books in self._books.values():
            self._post(books.inbox, keeper_settings_of(config, books.venue.market.weight_per_minute))
        if self._latency is not None:
            self._post(self._latency.frames, RotationWindow.parse(config.books.rotate_window))

    def _selection(self, prepared: Prepared) -> None:
        for name, books in self._books.items():
            settings = listing_settings_of(prepared.loaded.config, name)
            # None: what is selected stays; a venue that nothing is selected of any more lists nothing to keep
            listed = None if prepared.instruments is None else prepared.instruments.get(name, {})
            self._post(books.selections, SelectionChanged(settings, listed))

    def _retention(self, prepared: Prepared) -> None:
        section, finisher = prepared.loaded.config.recorder, self._recording.finisher
        finisher.keep_days, finisher.keep_gb = section.keep_days, section.keep_gb

    def _sinks(self, prepared: Prepared) -> None:
        self._recording.publisher.to_log = writes_tops(prepared.loaded.config)

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
