"""The session of one WebSocket API connection: who is logged on, and which user data streams it receives.

A machine without I/O: it says what has ended or what is refused, and its connection tells the client. Rules and codes:
reference, Binance Spot, 7.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .clock import stamp
from .parameters import ApiError
from .trading.accounts import Account, ApiKey

MOST_IDENTIFIERS = 65_535
"""Subscriptions over the life of a connection."""
MOST_ACTIVE = 1000
"""Subscriptions at the same time."""

ALREADY_ACTIVE = ApiError(400, -2035, "The user data stream subscription is already active for this account.")
NOT_ACTIVE = ApiError(400, -2036, "The user data stream subscription is not active.")
NO_MORE_IDENTIFIERS = ApiError(
    400, -2042, "The maximum subscription id of this connection is reached; connect again to subscribe."
)
NOT_LOGGED_ON = ApiError(401, -1002, "You are not authorized to execute this request.")


@dataclass(frozen=True)
class Subscription:
    """One user data stream on one connection."""

    identifier: int
    """``subscriptionId``, counted from 0 on each connection."""
    account: Account
    by_logon: bool
    """Made with ``userDataStream.subscribe``, so that ``session.logout`` ends it."""


@dataclass(frozen=True)
class Logon:
    """Who a connection is authenticated as, and since when by the venue's clock."""

    account: Account
    key: ApiKey
    since_us: int


class Session:
    """State of one connection. Only the thread of the connection changes it."""

    def __init__(
        self, connected_us: int, most_identifiers: int = MOST_IDENTIFIERS, most_active: int = MOST_ACTIVE
    ) -> None:
        self.logon: Logon | None = None
        self._connected_us = connected_us
        self._most_identifiers = most_identifiers
        self._most_active = most_active
        self._next = 0
        self._subscriptions: dict[int, Subscription] = {}

    @property
    def subscriptions(self) -> list[Subscription]:
        """What is active, oldest first."""
        return list(self._subscriptions.values())

    def log_on(self, account: Account, key: ApiKey, now_us: int) -> None:
        """Authenticate the connection; a second logon replaces the key. Subscriptions stay."""
        self.logon = Logon(account, key, now_us)

    def log_out(self) -> list[Subscription]:
        """Forget who it is; returns the subscriptions that end with that."""
        self.logon = None
        return self._end([one for one in self.subscriptions if one.by_logon])

    def subscribe_logged_on(self) -> Subscription:
        """Subscribe for the account that is logged on. Raises :class:`~.parameters.ApiError`."""
        if self.logon is None:
            raise NOT_LOGGED_ON.fresh()
        return self.subscribe(self.logon.account, by_logon=True)

    def subscribe(self, account: Account, by_logon: bool = False) -> Subscription:
        """Subscribe for an account. Raises :class:`~.parameters.ApiError`: -2035 when it is subscribed, -2042."""
        if any(one.account is account for one in self._subscriptions.values()):
            raise ALREADY_ACTIVE.fresh()
        if self._next >= self._most_identifiers or len(self._subscriptions) >= self._most_active:
            raise NO_MORE_IDENTIFIERS.fresh()
        subscription = Subscription(self._next, account, by_logon)
        self._subscriptions[self._next] = subscription
        self._next += 1
        return subscription

    def unsubscribe(self, identifier: int | None) -> list[Subscription]:
        """End one subscription, or all of them; returns what has ended. Raises -2036 for one that is not active."""
        if identifier is None:
            return self._end(self.subscriptions)
        if identifier not in self._subscriptions:
            raise NOT_ACTIVE.fresh()
        return self._end([self._subscriptions[identifier]])

    def status(self, now_us: int, micro: bool, return_rate_limits: bool) -> dict[str, Any]:
        """What the ``session.`` methods answer."""
        logon = self.logon
        return {
            "apiKey": logon.key.key if logon is not None else None,
            "authorizedSince": stamp(logon.since_us, micro) if logon is not None else None,
            "connectedSince": stamp(self._connected_us, micro),
            "returnRateLimits": return_rate_limits,
            "serverTime": stamp(now_us, micro),
            "userDataStream": bool(self._subscriptions),
        }

    def _end(self, ended: list[Subscription]) -> list[Subscription]:
        for one in ended:
            del self._subscriptions[one.identifier]
        return ended
