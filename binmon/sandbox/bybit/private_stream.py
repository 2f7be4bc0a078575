"""The private stream: log-on, topics, and user events on their way (reference: Bybit v5, 5.1)."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from websockets.http11 import Request

from .. import frames
from ..clock import VenueClock
from ..connection import Connection
from ..trading.accounts import Account, Accounts, UserEvent
from ..trading.reports import to_json
from ..user_streams import UserStreams, UserSubscription, Way
from . import signing
from .dialogue import BybitDialogue, read_seconds, topics_of
from .topics import CATEGORISED, PRIVATE, SILENT_PRIVATE

SERVICE = "bybit_private"
PATH = "/v5/private"
_CREATED = re.compile(r'"creationTime":[0-9]+')
_SHORTEST_IDLE_S, _LONGEST_IDLE_S = 30.0, 600.0


class PrivateSubscription(UserSubscription):
    """An account's events on one connection: those whose topic the connection has subscribed to."""

    def __init__(self, connection: Connection, account: Account) -> None:
        super().__init__(
            connection.identifier, 0, account, False, lambda text: connection.deliver(frames.frame(text.encode()))
        )
        self._connection = connection
        self.topics: dict[str, None] = {}

    def put(self, event: UserEvent, way: Way, now: float) -> None:
        """Take an event; it goes with :meth:`release`."""
        if self._names(event):
            super().put(event, way, now)

    def release(self, now: float, clock: VenueClock) -> None:
        """Send what is due; nothing overtakes what came before it."""
        due = self.next_due
        super().release(now, clock)
        if due is not None:
            self._connection.flush()

    def _names(self, event: UserEvent) -> list[str]:
        return [name for name in (event.kind, f"{event.kind}.spot") if name in self.topics]

    def _texts(self, event: UserEvent, stamped_us: int | None) -> list[str]:
        text = event.text(False)
        if stamped_us is not None:
            text = _CREATED.sub(f'"creationTime":{stamped_us // 1000}', text, count=1)
        return [f'{{"topic":"{name}",{text}' for name in self._names(event)]


class PrivateDialogue(BybitDialogue):
    """A connection of the private stream."""

    def __init__(
        self, connection: Connection, clock: VenueClock, idle_s: float, accounts: Accounts, users: UserStreams
    ) -> None:
        super().__init__(connection, clock, idle_s)
        self._accounts = accounts
        self._users = users
        self._subscription: PrivateSubscription | None = None

    def greet(self, request: Request) -> tuple[bytes, bool]:
        """Take ``max_active_time`` from the URL."""
        text = dict(parse_qsl(urlsplit(request.path).query)).get("max_active_time", "")
        asked = read_seconds(text)
        if asked is not None:
            self.idle_s = min(max(asked, _SHORTEST_IDLE_S), _LONGEST_IDLE_S)
        return super().greet(request)

    def carry_out(self, op: str, request: dict[str, Any]) -> None:
        """Log on, subscribe, unsubscribe, ping."""
        if op == "ping":
            pong: dict[str, Any] = {"op": "pong", "args": [str(self.clock.now_ms())], "conn_id": self.conn_id}
            if request.get("req_id"):
                pong = {"req_id": request["req_id"], **pong}
            self.connection.say(to_json(pong))
        elif op == "auth":
            self._log_on(request)
        elif op in ("subscribe", "unsubscribe"):
            if self._subscription is None:
                self.refuse(request, "Request not authorized")
            elif op == "subscribe":
                self._subscribe(request, self._subscription)
            else:
                for name in topics_of(request) or []:
                    self._subscription.topics.pop(name, None)
                self.acknowledge(request, "")
        else:
            self.refuse(request, "error:invalid op")

    def ended(self) -> None:
        """Hear nothing any more."""
        if self._subscription is not None:
            self._users.remove(self._subscription)

    def look(self) -> dict[str, Any]:
        """Whose connection it is, and its topics."""
        one = self._subscription
        return {
            "streams": [],
            "account": one.account.name if one is not None else None,
            "topics": list(one.topics) if one is not None else [],
        }

    def _log_on(self, request: dict[str, Any]) -> None:
        account = account_of(request, self._accounts, self.clock)
        if account is None:
            self.refuse(request, "Params Error")
            return
        if self._subscription is not None:
            self.refuse(request, "Repeat auth")
            return
        self._subscription = PrivateSubscription(self.connection, account)
        self.acknowledge(request, "")
        self._users.add(self._subscription)

    def _subscribe(self, request: dict[str, Any], subscription: PrivateSubscription) -> None:
        names = topics_of(request)
        if names is None:
            self.refuse(request, "error:params error")
            return
        for position, name in enumerate(names):
            if name not in (*PRIVATE, *CATEGORISED, *SILENT_PRIVATE):
                self.refuse(request, f"error:handler not found,topic:{name}")
                return
            if name in subscription.topics or name in names[:position]:
                self.refuse(request, f"error:already subscribed,topic:{name}")
                return
        if any(f"{name}.spot" in names for name in names):
            self.refuse(request, "error:topics of all categories and of one must not be mixed")
            return
        self.acknowledge(request, "")
        subscription.topics.update(dict.fromkeys(names))


def account_of(request: dict[str, Any], accounts: Accounts, clock: VenueClock) -> Account | None:
    """The account that an ``auth`` request logs on; ``None`` when it is malformed, expired or not signed well."""
    args = request.get("args")
    if not isinstance(args, list) or len(args) != 3:
        return None
    key, expires, signature = (str(one) for one in args)
    found = accounts.by_key(key)
    if found is None or not found[1].enabled or not signing.is_logon(found[1], expires, signature, clock.now_ms()):
        return None
    return found[0]
