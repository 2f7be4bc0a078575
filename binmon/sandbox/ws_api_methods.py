"""The methods of the WebSocket API: public ones from the endpoint table, private ones, and those of the session.

Names, weights and rules: reference, Binance Spot, 7.2 and 8.3.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .clock import VenueClock
from .endpoints import Endpoint, constant
from .parameters import ApiError, Parameters, missing
from .sessions import Logon, Session, Subscription
from .trading import reports
from .trading.accounts import Account, ApiKey, KeyKind
from .trading.call import Call
from .trading.operations import SIGNED, Operation, PrivateSide
from .trading.signatures import parameter_text, ws_payload

METHODS_OF_PATHS = {
    "/api/v3/ping": "ping",
    "/api/v3/time": "time",
    "/api/v3/exchangeInfo": "exchangeInfo",
    "/api/v3/executionRules": "executionRules",
    "/api/v3/depth": "depth",
    "/api/v3/trades": "trades.recent",
    "/api/v3/historicalTrades": "trades.historical",
    "/api/v3/historicalBlockTrades": "blockTrades.historical",
    "/api/v3/aggTrades": "trades.aggregate",
    "/api/v3/klines": "klines",
    "/api/v3/uiKlines": "uiKlines",
    "/api/v3/avgPrice": "avgPrice",
    "/api/v3/ticker/24hr": "ticker.24hr",
    "/api/v3/ticker/price": "ticker.price",
    "/api/v3/ticker/bookTicker": "ticker.book",
    "/api/v3/ticker": "ticker",
    "/api/v3/ticker/tradingDay": "ticker.tradingDay",
    "/api/v3/referencePrice": "referencePrice",
    "/api/v3/referencePrice/calculation": "referencePrice.calculation",
}
"""Public methods, by the REST path that answers the same."""

GONE = frozenset({"userDataStream.start", "userDataStream.ping", "userDataStream.stop"})
"""Methods of the listenKey, switched off in February 2026 (reference: Binance Spot, 7.1)."""

_ALWAYS_KNOWN = ("returnRateLimits",)
_SIGNED_HERE = ("apiKey", *SIGNED, *_ALWAYS_KNOWN)
_BAD_KEY = ApiError(401, -2015, "Invalid API-key, IP, or permissions for action.")


class SessionLost(Exception):
    """The key of an authenticated session has become invalid; answered with the id ``null``."""


class Client(Protocol):
    """The connection, as far as methods change what it receives."""

    session: Session
    authorized: Account | None
    """Set by a request that shows whose it is."""

    def begin(self, subscription: Subscription) -> None:
        """Deliver the events of a new subscription."""

    def finish(self, ended: list[Subscription]) -> None:
        """Stop the events of subscriptions and tell the client that they have ended."""


@dataclass(frozen=True)
class Request:
    """One request: its params as JSON values and as texts, and the connection it came on."""

    params: Mapping[str, Any]
    parameters: Parameters
    client: Client
    micro: bool
    return_rate_limits: bool
    """The connection's own setting, whatever this request asks for."""


@dataclass(frozen=True)
class Method:
    """One method: what it weighs, and what answers it (raises :class:`~.parameters.ApiError`)."""

    weight: Callable[[Parameters], int]
    run: Callable[[Request], str]
    free_on_success: bool = False
    is_order: bool = False


class Methods:
    """The table of all methods. ``private`` is ``None`` where there are no accounts (a replay)."""

    def __init__(self, endpoints: Mapping[str, Endpoint], private: PrivateSide | None, clock: VenueClock) -> None:
        self._private = private
        self._clock = clock
        self.table: dict[str, Method] = {
            METHODS_OF_PATHS[path]: self._public(path, endpoint)
            for path, endpoint in endpoints.items()
            if path in METHODS_OF_PATHS
        }
        for operation in private.operations if private is not None else ():
            if operation.method is not None:
                self.table[operation.method] = self._signed(operation)
        two = constant(2)
        self.table |= {
            "session.logon": Method(two, self.log_on),
            "session.status": Method(two, self.status),
            "session.logout": Method(two, self.log_out),
            "session.subscriptions": Method(two, self.subscriptions),
            "userDataStream.subscribe": Method(two, self.subscribe),
            "userDataStream.subscribe.signature": Method(two, self.subscribe_signed),
            "userDataStream.unsubscribe": Method(two, self.unsubscribe),
        }

    # Requests of others -----------------------------------------------------------------------------------------

    def _public(self, path: str, endpoint: Endpoint) -> Method:
        def run(request: Request) -> str:
            answer = endpoint.run(request.parameters, request.micro, _ALWAYS_KNOWN)
            return _with_connections(answer) if path == "/api/v3/exchangeInfo" else answer

        return Method(endpoint.weight, run)

    def _signed(self, operation: Operation) -> Method:
        def run(request: Request) -> str:
            account, key = self.who(request, operation.security)
            call = Call(request.parameters, account, key, request.micro)
            return operation.run(call, ("apiKey", *_ALWAYS_KNOWN))

        return Method(operation.weight, run, operation.free_on_success, operation.is_order)

    def who(self, request: Request, security: str) -> tuple[Account, ApiKey]:
        """Whose request this is: by its own key and signature, else by the session.

        Raises :class:`~.parameters.ApiError` as :meth:`~.trading.operations.PrivateSide.authorize` does, and
        :class:`SessionLost`.
        """
        logon = request.client.session.logon
        if logon is None or "apiKey" in request.params or "signature" in request.params:
            account, key = self._by_signature(request, security)
            request.client.authorized = account
            return account, key
        account, key = self._still_valid(request.client, logon)
        if security == "TRADE" and not key.can_trade:
            raise _BAD_KEY.fresh()
        assert self._private is not None
        self._private.check_timing(request.parameters)
        request.client.authorized = account
        return account, key

    def order_counts(self, account: Account) -> list[dict[str, Any]]:
        """Unfilled orders of an account, as ``rateLimits`` entries."""
        return self._private.order_counts(account) if self._private is not None else []

    def _by_signature(self, request: Request, security: str) -> tuple[Account, ApiKey]:
        if self._private is None:
            raise _BAD_KEY.fresh()
        given = {
            name: parameter_text(request.params[name] or "")
            for name in ("apiKey", "signature")
            if name in request.params
        }
        return self._private.authorize(
            given.get("apiKey"), ws_payload(request.params), given.get("signature"), request.parameters, security
        )

    def _still_valid(self, client: Client, logon: Logon) -> tuple[Account, ApiKey]:
        found = self._private.accounts.by_key(logon.key.key) if self._private is not None else None
        if found is None or not found[1].enabled:
            client.finish(client.session.log_out())
            raise SessionLost
        return found

    # Session and user data --------------------------------------------------------------------------------------

    def log_on(self, request: Request) -> str:
        """``session.logon``: only with Ed25519 keys."""
        if "apiKey" not in request.params:
            raise missing("apiKey")
        account, key = self._by_signature(request, "USER_DATA")
        if key.kind is not KeyKind.ED25519:
            raise _BAD_KEY.fresh()
        request.parameters.check_known(_SIGNED_HERE)
        request.client.session.log_on(account, key, self._clock.now_us())
        return self._status(request)

    def status(self, request: Request) -> str:
        """``session.status``."""
        request.parameters.check_known(_ALWAYS_KNOWN)
        logon = request.client.session.logon
        if logon is not None:
            self._still_valid(request.client, logon)
        return self._status(request)

    def log_out(self, request: Request) -> str:
        """``session.logout``: the connection stays open, and subscriptions made by signature stay, too."""
        request.parameters.check_known(_ALWAYS_KNOWN)
        request.client.finish(request.client.session.log_out())
        return self._status(request)

    def subscriptions(self, request: Request) -> str:
        """``session.subscriptions``."""
        request.parameters.check_known(_ALWAYS_KNOWN)
        return reports.to_json([{"subscriptionId": one.identifier} for one in request.client.session.subscriptions])

    def subscribe(self, request: Request) -> str:
        """``userDataStream.subscribe``: for the account that is logged on."""
        request.parameters.check_known(_ALWAYS_KNOWN)
        logon = request.client.session.logon
        if logon is not None:
            self._still_valid(request.client, logon)
        return _begun(request, request.client.session.subscribe_logged_on())

    def subscribe_signed(self, request: Request) -> str:
        """``userDataStream.subscribe.signature``: for the account of the key, whatever its kind."""
        account, _ = self._by_signature(request, "USER_STREAM")
        request.parameters.check_known(_SIGNED_HERE)
        return _begun(request, request.client.session.subscribe(account))

    def unsubscribe(self, request: Request) -> str:
        """``userDataStream.unsubscribe``: one subscription, or all."""
        request.parameters.check_known(("subscriptionId", *_ALWAYS_KNOWN))
        identifier = request.parameters.integer("subscriptionId")
        request.client.finish(request.client.session.unsubscribe(identifier))
        return "{}"

    def _status(self, request: Request) -> str:
        status = request.client.session.status(self._clock.now_us(), request.micro, request.return_rate_limits)
        return reports.to_json(status if self._private is not None else {**status, "userDataStream": None})


def _begun(request: Request, subscription: Subscription) -> str:
    request.client.begin(subscription)
    return reports.to_json({"subscriptionId": subscription.identifier})


def _with_connections(exchange_info: str) -> str:
    """exchangeInfo as this service has it: the limit of connections in place of that of raw requests."""
    body = json.loads(exchange_info)
    body["rateLimits"] = [
        {"rateLimitType": "CONNECTIONS", "interval": "MINUTE", "intervalNum": 5, "limit": 300}
        if limit["rateLimitType"] == "RAW_REQUESTS"
        else limit
        for limit in body["rateLimits"]
    ]
    return reports.to_json(body)
