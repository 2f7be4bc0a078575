"""The error tree, by what the caller should do.

::

    BinmonError
    ├── ConfigError            the configuration or command line is wrong: say so and exit with status 2
    ├── RetryError             the same may work later: wait, then try again
    │   ├── VenueUnreachable   no connection, time-out, reset
    │   │   └── NotSent        nothing of the request has left: certainly not executed
    │   ├── VenueFailed        5xx, truncated or unreadable answer
    │   ├── RateLimited        429, or our own ledger says wait (retry_after_s, scope)
    │   ├── Banned             418 (retry_after_s): send nothing at all until then
    │   ├── StreamClosed       a stream ended (reason)
    │   └── ProtocolViolation  the peer broke RFC 6455: the connection is worthless
    ├── StatusUnknown          an order may have been executed or not: ask for it, never send it again (client id)
    ├── OrderForbidden         our own safety limits refuse an order (limit, reason)
    ├── RequestRefused         4xx: the request is wrong and stays wrong (status, code, message)
    └── ChannelFull            a message that must not be lost found no room in time (channel)
"""

from __future__ import annotations


class BinmonError(Exception):
    """The root: everything binmon raises on purpose."""


class ConfigError(BinmonError):
    """The configuration is wrong. ``str()`` is one line: what, where, and what was expected."""

    def __init__(self, problem: str, *, key: str = "", file: str = "", line: int | None = None) -> None:
        self.problem, self.key, self.file, self.line = problem, key, file, line
        super().__init__(problem)

    def __str__(self) -> str:
        place = self.file + (f":{self.line}" if self.file and self.line else "")
        return ": ".join(part for part in (place, self.key, self.problem) if part)


class RetryError(BinmonError):
    """The same request or connection may succeed later; ``retry_after_s`` is the least time to wait."""

    retry_after_s: float = 0.0


class VenueUnreachable(RetryError):
    """No connection to the venue, or it did not answer in time."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(url, reason)

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


class NotSent(VenueUnreachable):
    """Nothing of the request has left: certainly not executed. Any other failure may hide a success."""


class VenueFailed(RetryError):
    """The venue answered, but with a server error or something unreadable."""

    def __init__(self, url: str, status: int, reason: str) -> None:
        self.url, self.status, self.reason = url, status, reason
        super().__init__(url, status, reason)

    def __str__(self) -> str:
        return f"{self.url}: HTTP {self.status}: {self.reason}"


class RateLimited(RetryError):
    """A limit is used up; ``scope`` names it (for instance ``REQUEST_WEIGHT``)."""

    def __init__(self, scope: str, retry_after_s: float) -> None:
        self.scope, self.retry_after_s = scope, retry_after_s
        super().__init__(scope, retry_after_s)

    def __str__(self) -> str:
        return f"limited by {self.scope}, retry in {self.retry_after_s:.1f} s"


class Banned(RetryError):
    """The venue has banned this address; nothing may be sent for ``retry_after_s``."""

    def __init__(self, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(retry_after_s)

    def __str__(self) -> str:
        return f"banned by the venue for another {self.retry_after_s:.0f} s"


class StreamClosed(RetryError):
    """A stream ended: by the venue, by the network, or because we found it stalled."""

    def __init__(self, connection: str, reason: str) -> None:
        self.connection, self.reason = connection, reason
        super().__init__(connection, reason)

    def __str__(self) -> str:
        return f"{self.connection}: {self.reason}"


class ProtocolViolation(RetryError):
    """The peer sent what RFC 6455 forbids; ``close_code`` is what we answer."""

    def __init__(self, reason: str, close_code: int = 1002) -> None:
        self.reason, self.close_code = reason, close_code
        super().__init__(reason, close_code)

    def __str__(self) -> str:
        return self.reason


class StatusUnknown(BinmonError):
    """The venue gave no usable answer to an order: it may have been executed or not."""

    def __init__(self, client_order_id: str, reason: str) -> None:
        self.client_order_id, self.reason = client_order_id, reason
        super().__init__(client_order_id, reason)

    def __str__(self) -> str:
        return f"order {self.client_order_id}: execution status unknown: {self.reason}"


class OrderForbidden(BinmonError):
    """Our own safety limits refuse an order; ``limit`` is the key of the configuration that does."""

    def __init__(self, limit: str, reason: str) -> None:
        self.limit, self.reason = limit, reason
        super().__init__(limit, reason)

    def __str__(self) -> str:
        return f"{self.limit}: {self.reason}"


class RequestRefused(BinmonError):
    """The venue refuses this request, and would again."""

    def __init__(self, url: str, status: int, code: int | None, message: str) -> None:
        self.url, self.status, self.code, self.message = url, status, code, message
        super().__init__(url, status, code, message)

    def __str__(self) -> str:
        code = "" if self.code is None else f" {self.code}"
        return f"{self.url}: HTTP {self.status}{code}: {self.message}"


class ChannelFull(BinmonError):
    """A message that must not be lost found no room before its deadline."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        super().__init__(channel)

    def __str__(self) -> str:
        return f"channel {self.channel} stayed full"
