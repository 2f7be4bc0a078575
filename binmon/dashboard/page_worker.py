"""What all workers of the web page have in common: whatever goes wrong in them, the daemon goes on."""

from __future__ import annotations

import threading
from abc import abstractmethod

import structlog

from binmon.core.worker import Worker
from binmon.errors import RetryError

log = structlog.get_logger("binmon.dashboard")


class PageFailed(RetryError):
    """A worker of the web page has failed, and is to be started anew (worker, reason)."""

    def __init__(self, worker: str, reason: str) -> None:
        self.worker, self.reason = worker, reason
        super().__init__(worker, reason)

    def __str__(self) -> str:
        return f"{self.worker}: {self.reason}"


class PageWorker(Worker):
    """Subclasses implement ``serve`` as others do ``run``.

    A bug that comes again and again in another worker ends the daemon, so that it is started afresh. Nothing that only
    shows something is worth that: here it is said, and tried again for ever.
    """

    def run(self, stop: threading.Event) -> None:
        try:
            self.serve(stop)
        except RetryError:
            raise
        except Exception as error:
            log.error("dashboard.failed", source=self.name, error=f"{type(error).__name__}: {error}", exc_info=error)
            raise PageFailed(self.name, type(error).__name__) from error

    @abstractmethod
    def serve(self, stop: threading.Event) -> None:
        """Do the work until ``stop`` is set. May be called again after it raised."""
