"""The worker that takes signals, has the rules decide, writes the log, and hands messages to the targets' queues."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from binmon.alerts.notification import Notification, notification
from binmon.alerts.rules import AlertRules, Notify, NotifyKind, Rule
from binmon.config.schema import AlertsConfig
from binmon.core.channel import Channel
from binmon.core.worker import Worker
from binmon.messages import AlertSignal
from binmon.telemetry.histogram import OWN_BOUNDS_S, DelayHistogram

log = structlog.get_logger("binmon.alerts")

_LOOK_S = 0.25
_TICK_S = 0.5


class AlertDispatcher(Worker):
    """Never waits for a target: each has a bounded queue that drops its oldest, which is counted and said.

    For ``/metrics``: ``told_counts`` (messages of each kind), ``signals_count``, ``firing_count``, ``refused_count``
    (signals that found no room among the conditions) and ``dropped_count`` (messages that a full queue lost).
    """

    silence_limit_s = 60.0  # the log waits for the disk

    def __init__(
        self,
        name: str,
        signals: Channel[AlertSignal],
        rules: AlertRules,
        outlets: Sequence[Channel[Notification]],
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name)
        self.told_counts: dict[NotifyKind, int] = dict.fromkeys(NotifyKind, 0)
        self.signals_count = 0
        self.firing_count = 0
        self.refused_count = 0
        self.dropped_count = 0
        self.lag = DelayHistogram(OWN_BOUNDS_S)  # from a signal being given to its being dealt with, by the wall clock
        self.reaction = DelayHistogram(OWN_BOUNDS_S)  # from the frame that a firing signal comes from
        self._signals = signals
        self._rules = rules
        self._outlets = tuple(outlets)
        self._now_s = now_s
        self._dropped: dict[str, int] = {}  # of each queue, as said last
        self._ticked_s = now_s()
        self._in_hand: AlertSignal | None = None  # taken, and the rules do not know yet
        self._untold: deque[Notify] = deque()

    def replace_outlets(self, outlets: Sequence[Channel[Notification]]) -> None:
        """Other targets from the next message on; any thread may call this."""
        self._outlets = tuple(outlets)

    def replace_rules(self, config: AlertsConfig) -> None:
        """Other rules from the next signal on, for the same conditions; any thread may call this."""
        self._rules.configure(*rules_of(config))

    def run(self, stop: threading.Event) -> None:
        signal, self._in_hand = self._in_hand, None
        if signal is not None:  # this failed with it: once more
            self._untold.extend(self._rules.on_signal(signal, self._now_s()))
        self._tell(())
        while not stop.is_set():
            self.beat()
            self._take(_LOOK_S)
            self._tick()
        while self._take(0):  # what was said before the stop
            pass
        self._tell(self._rules.tick(self._now_s()))
        self._count()

    def _take(self, timeout_s: float) -> bool:
        """Deal with the next signal; False when there is none."""
        self._in_hand = signal = self._signals.take(timeout_s)
        if signal is None:
            return False
        self.signals_count += 1
        self._untold.extend(self._rules.on_signal(signal, self._now_s()))
        self._in_hand = None
        self._tell(())
        self.lag.observe_ns(max(0, time.time_ns() - signal.at_ns))
        if signal.firing and signal.arrived_mono_ns is not None:
            self.reaction.observe_ns(time.monotonic_ns() - signal.arrived_mono_ns)
        self.progress()
        return True

    def _tick(self) -> None:
        now_s = self._now_s()
        if now_s - self._ticked_s >= _TICK_S:
            self._ticked_s = now_s
            self._tell(self._rules.tick(now_s))
            self._count()

    def _count(self) -> None:
        """Bring the public figures up to date, and say what was lost: in a storm not once for each message."""
        self.firing_count = self._rules.firing_count
        if (refused := self._rules.refused_count - self.refused_count) > 0:
            self.refused_count += refused
            log.error("alert.dropped", target="rules", count=refused)
        outlets = self._outlets
        for outlet in outlets:
            lost = outlet.dropped - self._dropped.get(outlet.name, 0)
            if lost > 0:
                self.dropped_count += lost
                log.error("alert.dropped", target=outlet.name, count=lost)
        self._dropped = {outlet.name: outlet.dropped for outlet in outlets}

    def _tell(self, effects: Sequence[Notify]) -> None:
        self._untold.extend(effects)
        while self._untold:
            effect = self._untold[0]
            try:
                self._log(effect)
            finally:  # a log that fails must keep it from nobody
                message = notification(effect, time.monotonic())
                for outlet in self._outlets:
                    outlet.offer(message)
                self.told_counts[effect.kind] += 1
                self._untold.popleft()

    def _log(self, effect: Notify) -> None:
        signal = effect.signal
        over = effect.kind is NotifyKind.RECOVERED
        write = getattr(log, "info" if over else effect.severity.value)
        write(
            f"alert.{effect.kind.value}",
            alert=signal.name,
            subject=signal.subject,
            severity=effect.severity.value,
            text=signal.text,
            count=effect.count,
            returns=effect.returns,
            duration_s=round(effect.duration_s, 3),
        )


def rules_of(config: AlertsConfig) -> tuple[dict[str, Rule], Rule]:
    """The rules that the configuration asks for, by alert, and the one of all others."""
    rules = {
        one.alert: Rule(
            one.for_count,
            one.for_s,
            one.clear_count,
            one.clear_s,
            config.resend_every_s if one.resend_every_s is None else one.resend_every_s,
        )
        for one in config.rules
    }
    return rules, Rule(resend_every_s=config.resend_every_s)
