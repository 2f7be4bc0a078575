"""What every part of the wiring stands on."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from binmon.config.loading import LoadedConfig
from binmon.config.schema import Config
from binmon.core.channel import Channel, Overflow
from binmon.core.supervisor import Supervisor
from binmon.messages import AlertSignal
from binmon.net.ledger import RateLedger
from binmon.state import State

_SIGNALS = 1_024


@dataclass(slots=True)
class Ground:
    """The run of one daemon: its configuration, its threads, its state, and what the parts add to it.

    ``rotatable`` are the inboxes that take a RotateFeeds, ``channels`` all that ``/metrics`` shows.
    """

    loaded: LoadedConfig
    supervisor: Supervisor
    state: State
    stop: threading.Event
    ledgers: dict[str, RateLedger] = field(default_factory=dict)
    rotatable: list[Channel[Any]] = field(default_factory=list)
    channels: list[Channel[Any]] = field(default_factory=list)
    signals: Channel[AlertSignal] = field(
        default_factory=lambda: Channel("alerts", _SIGNALS, Overflow.DROP_OLDEST),
    )

    @property
    def config(self) -> Config:
        return self.loaded.config
