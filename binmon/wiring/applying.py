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
from binmon.venues.base import Venue
from binmon.venues.symbols import resolve
from binmon.wiring.alerts import Addressee, AlertParts, addressees
from binmon.wiring.books import (
    BookParts,
    check_venues,
    keeper_settings_of,
    listing_settings_of,
    writes_tops,
)
from binmon.wiring.latency import LatencyParts, limits_of, probe_settings_of, tell_when_capped, too_often

_SELECTION = ("books.venue", "books.symbols")
_NOTIFY = "alerts.notify"
_INTERVAL = "latency.interval_s"
_MOST_ORDERS = "execution.max_orders_per_day"
BY_ITSELF = ("logging.level", "reload.watch")
"""Keys that whoever reloads sees to."""
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
    instruments: Mapping[str, Instrument] | None = None


def prepare(
    running: LoadedConfig,
    environment: Mapping[str, str],
    venue: Venue,
    order_environment: str | None,
    stop: threading.Event,
) -> Prepared:
    """Read the file again and check everything that its live changes need. Changes nothing.

    ``order_environment`` is that of the addresses orders go to, None without any. The venue is asked for its symbols when
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
        instruments = _instruments(config, venue, stop) if keys & set(_SELECTION) else None
    except ConfigError as error:
        raise new.placed(error) from None
    return Prepared(
        LoadedConfig(config, new.path, config_hash(config), new.lines),
        live,
        tuple(change.key for change in changes if change.how == "restart"),
        wanted,
        instruments,
    )


def _instruments(config: Config, venue: Venue, stop: threading.Event) -> Mapping[str, Instrument]:
    """The venue's symbols, if those that are wanted are among them."""
    selections = config.books.selections()
    check_venues(selections)
    try:
        instruments = venue.instruments(stop)
    except BinmonError as error:
        problem = f"{venue.name} cannot be asked for its symbols now, so nothing was changed: {error}"
        raise ConfigError(problem, key=_SELECTION[1]) from None
    for selection in selections:
        resolve(selection.symbols, instruments, venue.name)
    return instruments


class Applier:
    """Tells each part what concerns it. Belongs to the main thread.

    A channel that is full for the moment costs nothing: what it should take waits in ``_waiting``, in order, and goes with
    a later ``hand_over``.
    """

    def __init__(
        self, weight_per_minute: int, offset_ms: Callable[[], float], alerts: AlertParts, books: BookParts,
        latency: LatencyParts | None,
    ) -> None:  # fmt: skip
        self._weight_per_minute, self._offset_ms = weight_per_minute, offset_ms
        self._alerts, self._books, self._latency = alerts, books, latency
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
        ]  # fmt: skip
        if latency is not None:
            self._steps += [
                (("latency.threshold_ms", "latency.report_timeout_ms"), self._tracker),
                ((_INTERVAL, "latency.notional"), self._probe),
                (("execution.max_order_notional", _MOST_ORDERS), self._limits),
            ]

    @property
    def keys(self) -> Collection[str]:
        """What is applied here."""
        return {key for keys, _ in self._steps for key in keys}

    def apply(self, prepared: Prepared) -> None:
        """Put ``prepared`` into force; ``hand_over`` until it says that everything has gone."""
        changed = {change.key for change in prepared.applied}
        for keys, step in self._steps:
            if changed.intersection(keys):
                step(prepared)
        if self._latency is not None and changed & {_INTERVAL, _MOST_ORDERS}:
            tell_when_capped(prepared.loaded.config)
        self._books.origin.configured(prepared.loaded.config_hash, self._offset_ms())

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
        self._post(self._books.inbox, keeper_settings_of(config, self._weight_per_minute))
        if self._latency is not None:
            self._post(self._latency.frames, RotationWindow.parse(config.books.rotate_window))

    def _selection(self, prepared: Prepared) -> None:
        settings = listing_settings_of(prepared.loaded.config)
        self._post(self._books.selections, SelectionChanged(settings, prepared.instruments))

    def _retention(self, prepared: Prepared) -> None:
        section, finisher = prepared.loaded.config.recorder, self._books.finisher
        finisher.keep_days, finisher.keep_gb = section.keep_days, section.keep_gb

    def _sinks(self, prepared: Prepared) -> None:
        self._books.publisher.to_log = writes_tops(prepared.loaded.config)

    def _targets(self, prepared: Prepared) -> None:
        self._alerts.tell(prepared.addressees or ())

    def _rules(self, prepared: Prepared) -> None:
        self._alerts.dispatcher.replace_rules(prepared.loaded.config.alerts)

    def _tracker(self, prepared: Prepared) -> None:
        assert self._latency is not None
        section = prepared.loaded.config.latency
        self._post(self._latency.inbox, TrackerSettings(section.threshold_ms, section.report_timeout_ms))

    def _probe(self, prepared: Prepared) -> None:
        assert self._latency is not None
        self._latency.probe.settings = probe_settings_of(prepared.loaded.config.latency)

    def _limits(self, prepared: Prepared) -> None:
        assert self._latency is not None
        self._latency.gate.limits = limits_of(prepared.loaded.config.execution)
