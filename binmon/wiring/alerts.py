"""Alerts: one dispatcher, and a worker of its own for each target, so that none waits for another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from binmon.alerts.delivery import TargetDelivery
from binmon.alerts.dispatcher import AlertDispatcher, rules_of
from binmon.alerts.notification import Notification
from binmon.alerts.rules import AlertRules
from binmon.alerts.targets import Target, build
from binmon.core.channel import Channel
from binmon.wiring.ground import Ground

_STAGE = 4


@dataclass(frozen=True, slots=True)
class Addressee:
    """One URL of ``alerts.notify``, which its ``repr`` does not show, and what sends there."""

    url: str
    target: Target

    def __repr__(self) -> str:
        return f"Addressee({self.target.describe()})"


def addressees(urls: Sequence[str]) -> list[Addressee]:
    """What can send to ``urls``; nothing is sent. Raises ConfigError for a target that is none."""
    return [Addressee(url, target) for url, target in zip(urls, build(urls), strict=True)]


class AlertParts:
    """The dispatcher and the targets. ``targets`` is replaced, never changed, so that any thread may look at it."""

    def __init__(self, ground: Ground, dispatcher: AlertDispatcher) -> None:
        self.dispatcher = dispatcher
        self.targets: tuple[TargetDelivery, ...] = ()
        self._ground = ground
        self._listeners: tuple[Channel[Notification], ...] = ()
        self._urls: tuple[str, ...] = ()  # of the targets
        self._numbered = 0  # names are never used twice: one that is retired may still be sending

    def tell(self, wanted: Sequence[Addressee]) -> None:
        """Tell exactly these from now on. Those that are told already keep their worker and what waits in its queue.

        Belongs to the main thread.
        """
        left = list(zip(self._urls, self.targets, strict=True))
        workers: list[TargetDelivery] = []
        for one in wanted:
            known = next((pair for pair in left if pair[0] == one.url), None)
            if known is not None:
                left.remove(known)
                known[1].target = one.target  # the same, under its number in the file
                workers.append(known[1])
            else:
                workers.append(TargetDelivery(f"alerts-{self._numbered}", one.target))
                self._numbered += 1
        before = self.targets
        self._urls, self.targets = tuple(one.url for one in wanted), tuple(workers)
        gone = {worker.queue for _, worker in left}
        self._ground.channels[:] = [
            *(channel for channel in self._ground.channels if channel not in gone),
            *(worker.queue for worker in workers if worker not in before),
        ]
        for worker in workers:
            if worker not in before:
                self._ground.supervisor.add(worker, stage=_STAGE)
        self._connect()
        for _, worker in left:
            self._ground.supervisor.retire(worker)

    def listen(self, channel: Channel[Notification]) -> None:
        """``channel`` gets every message, too, whoever else is told. Belongs to the main thread."""
        self._listeners += (channel,)
        self._connect()

    def _connect(self) -> None:
        self.dispatcher.replace_outlets([*(worker.queue for worker in self.targets), *self._listeners])


def wire_alerts(ground: Ground) -> AlertParts:
    """Build and start what tells people. Raises ConfigError for a target that is none."""
    config = ground.config.alerts
    wanted = addressees(config.notify)
    dispatcher = AlertDispatcher("alerts", ground.signals, AlertRules(*rules_of(config)), [])
    ground.channels.append(ground.signals)
    parts = AlertParts(ground, dispatcher)
    parts.tell(wanted)
    ground.supervisor.add(dispatcher, stage=3)  # after all that signals
    return parts
