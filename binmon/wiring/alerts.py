"""Alerts: one dispatcher, and a worker of its own for each target, so that none waits for another."""

from __future__ import annotations

from dataclasses import dataclass

from binmon.alerts.delivery import TargetDelivery, deliveries
from binmon.alerts.dispatcher import AlertDispatcher, rules_of
from binmon.alerts.rules import AlertRules
from binmon.wiring.ground import Ground


@dataclass(frozen=True, slots=True)
class AlertParts:
    """What of the alerts others look at."""

    dispatcher: AlertDispatcher
    targets: tuple[TargetDelivery, ...]


def wire_alerts(ground: Ground) -> AlertParts:
    """Build and start what tells people. Raises ConfigError for a target that is none."""
    config = ground.config.alerts
    workers = deliveries(config.notify)
    dispatcher = AlertDispatcher(
        "alerts", ground.signals, AlertRules(*rules_of(config)), [worker.queue for worker in workers]
    )
    ground.channels.append(ground.signals)
    for worker in workers:
        ground.channels.append(worker.queue)
        ground.supervisor.add(worker, stage=4)
    ground.supervisor.add(dispatcher, stage=3)  # after all that signals
    return AlertParts(dispatcher, tuple(workers))
