"""The unit of the daemon: a named piece of work that runs in one thread until it is told to stop."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod

from binmon.core.deadline import Deadline


class Worker(ABC):
    """Subclasses implement ``run``: loop until ``stop`` is set, then tidy up and return.

    A worker waits on ``stop`` or on a channel, never sleeps. It calls ``beat`` whenever its loop turns and
    ``progress`` when it has done what it exists for (data received, rows flushed): progress resets the
    supervisor's restart delay. What ``run`` raises is logged and leads to a restart by the supervisor.
    """

    silence_limit_s: float | None = None
    """How old the beat of a critical worker may get while it runs, before it counts as hanging; None: the worker is not
    critical, or waits for others as long as that takes."""

    end_by: Deadline | None = None
    """Until when a stop waits for it; known once ``stop`` is set, None while nobody has said."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.beat_mono_s = time.monotonic()
        self.progress_count = 0

    @abstractmethod
    def run(self, stop: threading.Event) -> None:
        """Do the work until ``stop`` is set. May be called again after it raised."""

    def beat(self) -> None:
        """The loop turned. A plain store of a float: readable from any thread without a lock."""
        self.beat_mono_s = time.monotonic()

    def progress(self) -> None:
        """Real work was done."""
        self.progress_count += 1
        self.beat()
