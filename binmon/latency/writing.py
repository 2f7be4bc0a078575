"""The worker that writes the probe ledger: a disk takes milliseconds, and no alert should wait for them."""

from __future__ import annotations

import threading
from collections import deque

import structlog

from binmon.core.channel import Channel
from binmon.core.worker import Worker
from binmon.latency.effects import Accepted
from binmon.latency.ledger import ProbeLedger
from binmon.latency.measurement import Measurement
from binmon.state import StateFailed

log = structlog.get_logger("binmon.latency")

_LOOK_S = 0.2
_AGAIN_S = 0.5  # a disk that refuses is asked again

Note = Accepted | Measurement


class LedgerWriter(Worker):
    """Writes what it is given, in order; what the disk refuses waits, and is told once.

    What is lost when the daemon ends before it is written was open, as far as the ledger knows: it is asked for at the
    next start.
    """

    silence_limit_s = 60.0  # SQLite waits for the disk

    def __init__(self, name: str, ledger: ProbeLedger, notes: Channel[Note]) -> None:
        super().__init__(name)
        self._ledger, self._notes = ledger, notes
        self._waiting: deque[Note] = deque()
        self.unwritten = 0  # notes that the disk has not taken yet; read by any thread

    def run(self, stop: threading.Event) -> None:
        """Write until ``stop``, then what is still there."""
        while not stop.is_set():
            self.beat()
            note = self._notes.take(_LOOK_S)
            if note is not None:
                self._waiting.append(note)
            if not self._write() and stop.wait(_AGAIN_S):
                break
        while (note := self._notes.take(0)) is not None:
            self._waiting.append(note)
        self._write()

    def _write(self) -> bool:
        """All that waits; False when the disk refused."""
        while self._waiting:
            note = self._waiting[0]
            try:
                if isinstance(note, Accepted):
                    self._ledger.accepted(note.client_order_id, note.order_id)
                else:
                    self._ledger.settle(note)
            except StateFailed as error:
                if self.unwritten == 0:
                    log.error("latency.unwritten", reason=str(error))
                self.unwritten = len(self._waiting)
                return False
            self._waiting.popleft()
            self.progress()
        self.unwritten = 0
        return True
