"""The execution-report delay monitor: user-data stream, order probe, tracker, ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import structlog

from binmon.config.checks import SHORTEST_PROBE_INTERVAL_S
from binmon.config.schema import Config, ExecutionConfig, LatencyConfig
from binmon.core.channel import Channel, Overflow
from binmon.errors import BinmonError, ConfigError
from binmon.latency.effects import AskOrder
from binmon.latency.ledger import ProbeLedger
from binmon.latency.measurement import Measurement
from binmon.latency.monitor import LatencyMonitor, OrderAsker
from binmon.latency.probe import Inbox, OrderProbe, ProbeSettings
from binmon.latency.tracker import LatencyTracker
from binmon.latency.writing import LedgerWriter, Note
from binmon.messages import AlertName, AlertSignal, Instrument, Severity
from binmon.net.dialogue import Dialogue
from binmon.net.rotation import RotationWindow
from binmon.orders.desk import OrderDesk
from binmon.orders.gate import PRODUCTION, OrderGate, OrderLimits
from binmon.orders.journal import StateJournal
from binmon.orders.user_stream import UserSockets, UserStream
from binmon.venues.sockets import Sockets, user_connections
from binmon.venues.trading import TradingVenue
from binmon.wiring.ground import Ground
from binmon.wiring.parts import TradingParts

log = structlog.get_logger("binmon.daemon")

_CHUNKS, _REPORTS, _QUESTIONS, _NOTES = 2_048, 8_192, 1_024, 16_384
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class LatencyParts:
    """What of the monitor others look at."""

    monitor: LatencyMonitor
    probe: OrderProbe
    stream: UserStream
    gate: OrderGate
    inbox: Channel[Any]  # of the monitor
    frames: Channel[Any]  # of the stream
    environment: str  # by the addresses in force


def limits_of(section: ExecutionConfig) -> OrderLimits:
    """The safety limits of the configuration."""
    return OrderLimits(section.allow_production, Decimal(str(section.max_order_notional)), section.max_orders_per_day)


def probe_settings_of(section: LatencyConfig) -> ProbeSettings:
    """What is probed and how often."""
    return ProbeSettings(section.symbol, section.interval_s, Decimal(str(section.notional)))


def too_often(section: LatencyConfig, environment: str | None) -> ConfigError | None:
    """What is wrong with the interval at these addresses, if anything."""
    if environment == "sandbox" or section.interval_s >= SHORTEST_PROBE_INTERVAL_S:
        return None
    return ConfigError(
        f"expected a number of at least {SHORTEST_PROBE_INTERVAL_S} outside the sandbox, got {section.interval_s:g}",
        key="latency.interval_s",
    )


def tell_when_capped(config: Config) -> None:
    """Say when the interval asks for more orders than a day may have."""
    a_day, most = int(_DAY_S / config.latency.interval_s), config.execution.max_orders_per_day
    if a_day > most:
        log.warning("latency.capped", orders_a_day=a_day, limit=most, key="execution.max_orders_per_day")


def _trading(ground: Ground, parts: TradingParts) -> TradingVenue | ConfigError:
    """The private side of the venue ``parts``, or what keeps it from being probed with this configuration."""
    config = ground.config
    if config.latency.venue != parts.name:
        return ConfigError(
            f"'{config.latency.venue}': expected {parts.name}, the venue that is connected", key="latency.venue"
        )
    if (problem := parts.why_no_orders()) is not None:
        return problem
    trading = parts.trading()
    if trading.environment == PRODUCTION and not config.execution.allow_production:
        return ConfigError(
            "the addresses are those of production, and orders there need execution.allow_production: true; "
            "set it, use the testnet, or set latency.enabled: false",
            key="latency.enabled",
        )
    return too_often(config.latency, trading.environment) or trading


def trading_to_probe(ground: Ground, parts: TradingParts, *, wanted: bool = False) -> TradingVenue | ConfigError:
    """The private side of the venue ``parts``, or why it cannot be probed where nobody asked for that.

    Nothing is asked of the venue. Raises ConfigError when it cannot be probed though somebody asked for it: ``wanted``, by
    ``latency.enabled`` in the file, or by a section for it and a key.
    """
    found = _trading(ground, parts)
    if isinstance(found, ConfigError):
        has_key, present = parts.key_is_configured, ground.loaded.present_keys
        # The section stands in the shipped file: without any key it is no wish, unless it says enabled.
        if wanted or "latency.enabled" in present or (has_key and "latency" in present):
            raise found
    return found


def plan_latency(ground: Ground, parts: TradingParts, *, wanted: bool = False) -> TradingVenue | None:
    """As `trading_to_probe`; None when the monitor is switched off too, and a reason goes to the log."""
    if not ground.config.latency.enabled:
        return None
    found = trading_to_probe(ground, parts, wanted=wanted)
    if not isinstance(found, ConfigError):
        return found
    log.warning("latency.off", key=found.key, reason=found.problem)
    return None


def wire_latency(
    ground: Ground,
    parts: TradingParts,
    rest: TradingVenue,
    instruments: Mapping[str, Instrument],
    settled: Callable[[Measurement], None] = lambda measurement: None,
) -> LatencyParts:
    """Build and start the monitor on the private side ``rest``, as planned; ``settled`` is told of every measurement.

    Raises ConfigError when the venue does not list the symbol, or has no such ``latency.transport``.
    """
    section = ground.config.latency
    if section.symbol not in instruments:
        raise ConfigError(f"{section.symbol} is not listed by {parts.name}", key="latency.symbol")

    frames: Channel[Any] = Channel("user-stream", _CHUNKS, Overflow.DROP_NEWEST)
    inbox: Channel[Any] = Channel("latency", _REPORTS, Overflow.DROP_NEWEST)
    questions: Channel[AskOrder] = Channel("latency-questions", _QUESTIONS, Overflow.DROP_NEWEST)
    notes: Channel[Note] = Channel("latency-ledger", _NOTES, Overflow.DROP_NEWEST)
    ground.channels += [frames, inbox, questions, notes]
    ground.rotatable.append(frames)

    user_data = parts.user_stream()
    name = f"{parts.name}-user-data"
    # ended after the probe, which at a stop still waits for the report of its last order
    sockets = Sockets(user_connections(user_data, frames, parts.ledger), ground.supervisor, parts.ledger, stage=1)
    dialogue = Dialogue(user_data.user_stream_url, lambda: stream.subscribed_to, sockets.post)
    stream = UserStream(
        name,
        user_data,
        frames,
        [inbox],
        UserSockets(
            lambda feed: sockets.open(name, feed, ("user-data",)), sockets.close, sockets.reconnect, sockets.post
        ),
        RotationWindow.parse(ground.config.books.rotate_window),
        reply=lambda reply, ns, mono_ns: dialogue.answered(reply.request_id, reply.body, ns, mono_ns),
        lost=dialogue.lost,
        refused=lambda error: refused(error),
        subscribed=lambda: signal(AlertName.USER_STREAM_REFUSED, "the venue tells us of our own orders again", False),
    )
    venue = parts.orders_over(section.transport, rest, dialogue)
    tell_when_capped(ground.config)
    gate = OrderGate(limits_of(ground.config.execution), StateJournal(ground.state))
    ledger = ProbeLedger(ground.state)
    tracker = LatencyTracker(
        parts.clock, threshold_ms=section.threshold_ms, report_timeout_ms=section.report_timeout_ms
    )
    monitor = LatencyMonitor("latency", tracker, ledger, inbox, notes, questions, ground.signals, settled)
    subject = f"{venue.name} {section.symbol}"

    def signal(name: AlertName, text: str, is_firing: bool) -> None:
        ground.signals.offer(AlertSignal(name, subject, is_firing, Severity.ERROR, text, time.time_ns()))

    def refused(error: Exception) -> str | None:
        said = rest.explain(error) if isinstance(error, BinmonError) else None
        signal(AlertName.USER_STREAM_REFUSED, said or str(error), True)
        return said

    probe = OrderProbe(
        "order-probe",
        venue,
        OrderDesk(venue, gate, logs_sent=False),
        parts.clock,
        parts.take_sample,
        Inbox(
            inbox,
            ledger.note,
            lambda text: signal(AlertName.LATENCY_SKIPPED, text or "orders are sent again", text is not None),
        ),
        probe_settings_of(section),
        ready=lambda: stream.subscribed_to is not None,
        settled=lambda: tracker.open == 0,
        explain=lambda error: rest.explain(error) if isinstance(error, BinmonError) else None,
    )
    # Stages: what sends ends before what listens, and that before what keeps.
    add = ground.supervisor.add
    add(LedgerWriter("latency-ledger", ledger, notes), stage=3)
    add(monitor, stage=2)
    add(OrderAsker("order-asker", rest, questions, inbox), stage=1)
    add(stream, stage=1)
    add(probe, stage=0)
    return LatencyParts(monitor, probe, stream, gate, inbox, frames, rest.environment)
