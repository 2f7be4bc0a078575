"""Libraries that send messages log URLs, and URLs are secrets: here they are silenced, and only while they send."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
from collections.abc import Iterator

from binmon.alerts.notification import cut

_listening: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("binmon_alert_log", default=None)
_silenced: set[str] = set()
_silencing = threading.Lock()  # guards _silenced
_LONGEST_RECORD = 2_000
_MOST_RECORDS = 100


class _Ear(logging.Handler):
    """Keeps what apprise says while a message is sent, for ``_in_known_words``."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record; it goes nowhere else."""
        said = _listening.get()
        if said is None or len(said) >= _MOST_RECORDS:
            return
        try:
            said.append(cut(record.getMessage(), _LONGEST_RECORD))
        except Exception as error:  # wrong arguments for the format: the library's mistake
            said.append(type(error).__name__)


class _NotWhileSending(logging.Filter):
    """Drops records of other libraries that were made while a message was sent: they may quote its URL."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record may pass."""
        return _listening.get() is None


@contextlib.contextmanager
def quiet(said: list[str] | None = None) -> Iterator[None]:
    """Nothing that libraries log in this context reaches the log; what apprise says is put into ``said``."""
    _silence()
    token = _listening.set([] if said is None else said)
    try:
        yield
    finally:
        _listening.reset(token)


def _silence() -> None:
    """Cut apprise's logger off for good; have all others ask whether a message is being sent, also such as appear
    later: services bring libraries of their own."""
    with _silencing:
        if "apprise" not in _silenced:
            _silenced.add("apprise")
            logger = logging.getLogger("apprise")
            logger.propagate = False
            logger.handlers[:] = [_Ear()]
            logger.setLevel(logging.DEBUG)  # why a connection failed, it says at this level
            logging.root.addFilter(_NotWhileSending())
        for name in list(logging.root.manager.loggerDict):
            if name not in _silenced:
                _silenced.add(name)
                logging.getLogger(name).addFilter(_NotWhileSending())
