"""Talking to the service manager: ``sd_notify`` over a plain datagram socket, and the watchdog's interval.

The protocol is that of sd_notify(3): lines of ``NAME=value`` in one datagram to the socket named by ``NOTIFY_SOCKET``.
Without that variable nothing happens, so the same program runs in a terminal and as a service.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

import structlog

log = structlog.get_logger("binmon.service")

# The service manager reads its socket whenever it has a moment; one that does not for so long has troubles of its own,
# and neither a status line nor the main thread should wait for it.
_SEND_WITHIN_S = 1.0


class ServiceManager:
    """The way to whoever started us. ``address`` is what ``NOTIFY_SOCKET`` holds: a path, or ``@name`` for a name in the
    abstract namespace; None or empty when there is nobody to tell. Belongs to one thread."""

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        self.watchdog_s = watchdog_s if address else None
        """How often at least ``WATCHDOG=1`` is expected, in seconds; None when it is not."""
        self._address = (
            b"\0" + os.fsencode(address[1:]) if address and address[0] == "@" else os.fsencode(address or "")
        )
        if self._address[:1] not in (b"", b"\0", b"/"):
            # vsock: and the like, of machines that are told about from outside; no service of ours is started so
            log.warning("service.untold", reason=f"NOTIFY_SOCKET {address!r} is neither a path nor an abstract name")
            self._address, self.watchdog_s = b"", None
        self._failing = False

    @classmethod
    def of(cls, variables: Mapping[str, str], pid: int | None = None) -> ServiceManager:
        """The one that these environment variables tell of; ``pid`` is ours."""
        return cls(variables.get("NOTIFY_SOCKET"), watchdog_interval_s(variables, os.getpid() if pid is None else pid))

    @property
    def listens(self) -> bool:
        """Whether there is somebody to tell."""
        return bool(self._address)

    def tell(self, **fields: str | int) -> bool:
        """Send the fields as one message, such as ``READY=1``; whether it was sent.

        A line break in a value would begin another field, so it becomes a space. Never raises for what the other
        side does: a service that is told nothing is watched less well, and must not end for that.
        """
        if not self._address:
            return False
        message = "\n".join(f"{name}={' '.join(str(value).splitlines())}" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
                one.settimeout(_SEND_WITHIN_S)
                one.sendto(message.encode("utf-8", "backslashreplace"), self._address)
        except OSError as error:
            if not self._failing:
                log.warning("service.untold", reason=f"{type(error).__name__}: {error}")
            self._failing = True
            return False
        self._failing = False
        return True

    def tell_reloading(self) -> bool:
        """That a reload begins. The monotonic time is how the manager tells this message from one sent before."""
        return self.tell(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)


def watchdog_interval_s(variables: Mapping[str, str], pid: int) -> float | None:
    """``WATCHDOG_USEC`` in seconds, unless there is none, it is no positive number, or ``WATCHDOG_PID`` names another
    process than ``pid``: a child inherits the variables, not the duty (sd_watchdog_enabled(3))."""
    text, watched = variables.get("WATCHDOG_USEC", ""), variables.get("WATCHDOG_PID", "")
    if not (text.isascii() and text.isdigit()) or int(text) == 0:
        return None
    return int(text) / 1e6 if watched in ("", str(pid)) else None
