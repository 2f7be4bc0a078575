"""``binmon latency --live``: the probe in the terminal, for somebody who just wants to see it."""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from binmon.config.checks import SHORTEST_PROBE_INTERVAL_S
from binmon.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console, RenderableType

    from binmon.config import LoadedConfig
    from binmon.config.schema import Config
    from binmon.latency.measurement import Measurement
    from binmon.wiring.latency import LatencyParts
    from binmon.wiring.parts import TradingParts

_SHOWN = 15
_KEPT = 10_000  # of which the percentiles are
_LEAST_THRESHOLD_MS = 100
_RINGS = ("late", "lost", "unknown", "reset")
_STYLES = {"in_time": "green", "late": "bold red", "lost": "bold red", "rejected": "yellow"}
_COLUMNS = (
    ("answer", "sent_to_answer_ms"),
    ("report", "sent_to_report_ms"),
    ("E", "sent_to_event_ms"),
    ("T→E", "transaction_to_event_ms"),
    ("E→here", "event_to_receive_ms"),
    ("±", "uncertainty_ms"),
)
"""Milliseconds; the first three are from the sending."""


def run(loaded: LoadedConfig, threshold_ms: int | None, interval_s: float | None) -> int:
    """Ask what is not given, then probe until Ctrl-C. Raises ConfigError."""
    from rich.console import Console

    from binmon.daemon import Daemon
    from binmon.wiring.logs import set_up_log

    console = Console()
    is_interactive = sys.stdin.isatty() and console.is_terminal
    latency = loaded.config.latency
    is_sandbox = loaded.config.venues.environment(latency.venue) == "sandbox"
    ask = _asked if is_interactive else _given
    threshold = ask(
        "Ring when the report is later than (ms)", threshold_ms, latency.threshold_ms, _wrong_threshold, int
    )
    interval = ask(
        "Seconds between two orders", interval_s, latency.interval_s, lambda s: _wrong_interval(s, is_sandbox), float
    )
    config = msgspec.structs.replace(
        loaded.config,
        latency=msgspec.structs.replace(latency, enabled=True, threshold_ms=threshold, interval_s=interval),
        alerts=msgspec.structs.replace(loaded.config.alerts, notify=()),  # a look is no alarm for others
    )
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        # the screen is the table's; whoever wants the log as well names a file for it
        set_up_log(config.logging, "json", nowhere)
        screen = Screen(console, config)
        daemon = Daemon(
            dataclasses.replace(loaded, config=config),
            probe_only=True,
            settled=screen.settled,
            started=screen.started,
        )
        with screen:
            return int(daemon.run())


def _asked(
    question: str, given: Any, default: Any, wrong: Callable[[Any], str | None], kind: Callable[[str], Any]
) -> Any:
    """Ask until the answer can be used; what the command line gives is not asked for."""
    if given is not None:
        return _given(question, given, default, wrong, kind)
    while True:
        try:
            answer = input(f"{question} [{default:g}]: ").strip()
        except (EOFError, KeyboardInterrupt):
            print()  # the prompt is left behind
            raise KeyboardInterrupt from None
        try:
            value = kind(answer) if answer else default
        except ValueError:
            print(f"expected a number, got {answer!r}")
            continue
        problem = wrong(value)
        if problem is None:
            return value
        print(problem)


def _given(
    question: str, given: Any, default: Any, wrong: Callable[[Any], str | None], kind: Callable[[str], Any]
) -> Any:
    value = default if given is None else given
    problem = wrong(value)
    if problem is not None:
        raise ConfigError(problem, key="--threshold-ms" if kind is int else "--interval-s")
    return value


def _wrong_threshold(value: int) -> str | None:
    return None if value >= _LEAST_THRESHOLD_MS else f"expected a number of at least {_LEAST_THRESHOLD_MS}, got {value}"


def _wrong_interval(value: float, is_sandbox: bool) -> str | None:
    if is_sandbox:
        return None if value > 0 else f"expected a number above 0, got {value:g}"
    if value >= SHORTEST_PROBE_INTERVAL_S:
        return None
    return f"expected a number of at least {SHORTEST_PROBE_INTERVAL_S} outside the sandbox, got {value:g}"


@dataclass
class Screen:
    """The table. ``settled`` is called by the monitor's thread; ``_lock`` guards what it changes."""

    console: Console
    config: Config
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _measurements: deque[Measurement] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _parts: tuple[LatencyParts, TradingParts] | None = None

    def __enter__(self) -> Screen:
        from rich.live import Live

        self._live = Live(
            get_renderable=self.render, console=self.console, refresh_per_second=4, transient=False, screen=False
        )
        if self.console.is_terminal:
            self._live.start()
        else:
            self.console.print(self._heading(), highlight=False, soft_wrap=True)
        return self

    def __exit__(self, *exception: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def started(self, latency: LatencyParts, parts: TradingParts) -> None:
        """The monitor runs."""
        self._parts = (latency, parts)

    def settled(self, measurement: Measurement) -> None:
        """An order has ended: show it, and ring when that is no good news."""
        with self._lock:
            self._measurements.append(measurement)
        if measurement.order_class.value in _RINGS:
            self.console.bell()
        if not self.console.is_terminal:
            self.console.print(_line(measurement), highlight=False, soft_wrap=True)

    def render(self) -> RenderableType:
        """All of the screen, as it is now."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            measurements = list(self._measurements)
        table = Table(box=None, pad_edge=False)
        for name in ("sent (UTC)", "side", "class"):
            table.add_column(name, no_wrap=True)
        for name, _ in _COLUMNS:
            table.add_column(name, justify="right", no_wrap=True)
        for one in measurements[-_SHOWN:]:
            style = _STYLES.get(one.order_class.value, "")
            cells = [_figure(getattr(one, attribute)) for _, attribute in _COLUMNS]
            table.add_row(_time(one), one.side.value, Text(one.order_class.value, style), *cells)
        return Group(
            Text(self._heading(), "bold"), Text(f"{self._state()}; Ctrl-C ends"), table, Text(_summary(measurements))
        )

    def _heading(self) -> str:
        latency = self.config.latency
        return (
            f"{latency.venue} {latency.symbol}, {self.config.venues.environment(latency.venue)}: an order every "
            f"{latency.interval_s:g} s, rings above {latency.threshold_ms} ms"
        )

    def _state(self) -> str:
        if self._parts is None:
            return "connecting …"
        latency, parts = self._parts
        reading = parts.clock.reading()
        clock = (
            ""
            if reading is None
            else f"venue's clock {reading.venue_minus_wall_ns / 1e6:+.2f} ms ± {reading.uncertainty_ns / 1e6:.2f}"
        )
        if latency.probe.trouble is not None:
            return f"no orders: {latency.probe.trouble}"
        if latency.stream.subscribed_to is None:
            return f"the user-data stream is not up; {clock}"
        return clock


def _time(measurement: Measurement) -> str:
    return datetime.fromtimestamp(measurement.sent_ns / 1e9, UTC).strftime("%H:%M:%S.%f")[:-3]


def _figure(value_ms: float | None) -> str:
    return "–" if value_ms is None else f"{value_ms:.2f}"


def _line(one: Measurement) -> str:
    figures = "  ".join(f"{name} {_figure(getattr(one, attribute))}" for name, attribute in _COLUMNS)
    return f"{_time(one)}  {one.side.value:<4}  {one.order_class.value:<8}  {figures}"


def _summary(measurements: list[Measurement]) -> str:
    from binmon.latency.statistics import class_counts, phase_statistics

    if not measurements:
        return "no order has ended yet"
    counts = ", ".join(f"{name.value} {count}" for name, count in class_counts(measurements).items() if count)
    found = phase_statistics(measurements, "sent_to_report_ms")
    if not found.count:
        return counts
    return (
        f"{counts}; sent→report: p50 {_figure(found.p50_ms)}, p90 {_figure(found.p90_ms)}, "
        f"p99 {_figure(found.p99_ms)}, max {_figure(found.max_ms)} ms"
    )
