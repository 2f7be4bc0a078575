"""Signals and messages for the tests."""

from __future__ import annotations

import time
from typing import Any

from binmon.alerts.notification import Notification, notification
from binmon.alerts.rules import Notify, NotifyKind
from binmon.messages import AlertName, AlertSignal, Severity


def signal(number: int = 0, *, firing: bool = True, **fields: Any) -> AlertSignal:
    name, severity = fields.pop("name", AlertName.LATENCY_DELAYED), fields.pop("severity", Severity.WARNING)
    text = fields.pop("text", f"took {number} s")
    return AlertSignal(name, f"binance S{number}", firing, severity, text, 1_700_000_000 * 10**9, **fields)


def message(
    number: int = 0, *, age_s: float = 0.0, kind: NotifyKind = NotifyKind.RAISED, **fields: Any
) -> Notification:
    one = signal(number, **fields)
    return notification(Notify(kind, one, one.severity, 1, 0, 0.0, 0.0), time.monotonic() - age_s, "host-1")
