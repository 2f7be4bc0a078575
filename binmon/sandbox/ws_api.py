"""The WebSocket API: its service, and what is said on its connections (reference: Binance Spot, 8).

A request is answered by the thread of its connection, so replies come in the order of the requests unless a fault
delays one of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from websockets.http11 import Request as HandshakeRequest

from . import handshake
from .clock import VenueClock, stamp
from .connection import Connection
from .fates import Fate
from .frames import frame
from .limits import Verdict, WeightLedger
from .options import SandboxOptions
from .parameters import ApiError, Parameters
from .rest import refused
from .sessions import Session, Subscription
from .trading.accounts import Account
from .user_streams import UserStreams, UserSubscription, envelope
from .websocket_server import WebSocketServer
from .ws_api_methods import GONE, Method, Methods, Request, SessionLost

SERVICE = "ws_api"
"""Name of the service in the state and for faults."""
PATH = "/ws-api/v3"
_CONNECT_WEIGHT = 2
_OTHER_FORMAT = handshake.Refusal(400, "Bad Request", '{"code":-1155,"msg":"SBE is not enabled."}')
_BAD_FLAG = handshake.Refusal(
    400, "Bad Request", '{"code":-1130,"msg":"Data sent for parameter \'returnRateLimits\' is not valid."}'
)
_BAD_JSON = ApiError(400, -1135, "Invalid JSON Request")
_NO_SUCH_METHOD = ApiError(400, -1020, "This operation is not supported.")
_GONE = ApiError(410, -1020, "This operation is not supported any more; use userDataStream.subscribe.signature.")
_KEY_INVALID = ApiError(401, -2015, "Invalid API-key, IP, or permissions for action.")


@dataclass(frozen=True)
class Target:
    """What a URL asks for."""

    microseconds: bool
    return_rate_limits: bool


def parse_target(path: str) -> Target | handshake.Refusal:
    """Read the request path of a connection; only JSON is spoken here."""
    parts = urlsplit(path)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unquote(parts.path).rstrip("/") != PATH:
        return handshake.Refusal(404, "Not Found", "")
    unit = query.get("timeUnit", "MILLISECOND")
    if unit not in handshake.TIME_UNITS:
        return handshake.WRONG_TIME_UNIT
    if query.get("responseFormat", "json") != "json":
        return _OTHER_FORMAT
    flag = query.get("returnRateLimits", "true")
    if flag not in ("true", "false"):
        return _BAD_FLAG
    return Target(handshake.TIME_UNITS[unit], flag == "true")


class AnswerFaults(Protocol):
    """What may become of the answer that has just been made."""

    def take_fate(self) -> Fate | None:
        """The fate of the last answer made in this thread, once."""


@dataclass(frozen=True)
class Venue:
    """All that the dialogues share."""

    methods: Methods
    ledger: WeightLedger
    clock: VenueClock
    users: UserStreams
    faults: AnswerFaults
    later: Callable[[float, Callable[[], None]], None]


def ws_api_server(options: SandboxOptions, venue: Venue, identifiers: Iterator[int]) -> WebSocketServer:
    """The service. Raises ``OSError`` when its port is taken. Messages are limited by their weight alone."""
    return WebSocketServer(
        SERVICE,
        options.ws_api_port,
        lambda connection: ApiDialogue(connection, venue),
        options,
        venue.clock,
        identifiers,
        None,
    )


class ApiDialogue:
    """One connection: its requests, its session and its user data."""

    def __init__(self, connection: Connection, venue: Venue) -> None:
        self._connection = connection
        self._venue = venue
        self._target = Target(False, True)
        self.session = Session(venue.clock.now_us())
        self.authorized: Account | None = None
        """Whose request is being answered; ``None`` where nobody has shown who it is."""
        self._requests = 0
        self._subscribed: dict[int, UserSubscription] = {}

    @property
    def streams(self) -> tuple[str, ...]:
        """There are no market streams here."""
        return ()

    # The connection ---------------------------------------------------------------------------------------------

    def greet(self, request: HandshakeRequest) -> tuple[bytes, bool]:
        """Take the URL of the API; the connection itself costs weight."""
        target = parse_target(request.path)
        if isinstance(target, handshake.Refusal):
            return handshake.refused(target), False
        verdict = self._charge(_CONNECT_WEIGHT)
        if verdict.status != 200:
            answer = refused(verdict, self._venue.ledger.limit)
            reason = "Too Many Requests" if verdict.status == 429 else "I'm a Teapot"
            return handshake.refused(
                handshake.Refusal(answer.status, reason, answer.body, tuple(answer.headers.items()))
            ), False
        self._target = target
        return handshake.accepted(request)

    def opened(self) -> None:
        """Nothing is sent unasked."""

    def shutdown_notice(self) -> bytes:
        """The event ``serverShutdown``, which belongs to no subscription."""
        now = stamp(self._venue.clock.now_us(), self._target.microseconds)
        return frame(envelope(None, f'{{"e":"serverShutdown","E":{now}}}').encode())

    def ended(self) -> None:
        """All subscriptions end with their connection, untold."""
        for subscription in self._subscribed.values():
            self._venue.users.remove(subscription)
        self._subscribed.clear()

    def look(self) -> dict[str, Any]:
        """Session and subscriptions."""
        logon = self.session.logon
        return {
            "streams": [],
            "combined": False,
            "microseconds": self._target.microseconds,
            "requests": self._requests,
            "logged_on": logon.account.name if logon is not None else None,
            "subscriptions": [
                {"subscriptionId": one.identifier, "account": one.account.name} for one in self.session.subscriptions
            ],
        }

    # User data --------------------------------------------------------------------------------------------------

    def begin(self, subscription: Subscription) -> None:
        """Deliver the events of a new subscription."""
        receiver = UserSubscription(
            self._connection.identifier,
            subscription.identifier,
            subscription.account,
            self._target.microseconds,
            self._send_event,
        )
        self._subscribed[subscription.identifier] = receiver
        self._venue.users.add(receiver)

    def finish(self, ended: Iterable[Subscription]) -> None:
        """Stop the events of subscriptions and tell the client that they have ended."""
        now = stamp(self._venue.clock.now_us(), self._target.microseconds)
        for subscription in ended:
            self._venue.users.remove(self._subscribed.pop(subscription.identifier))
            self._send_event(envelope(subscription.identifier, f'{{"e":"eventStreamTerminated","E":{now}}}'))

    def terminate(self, identifiers: Iterable[int] | None) -> None:
        """End subscriptions (``None``: all) by the venue's own decision; only the connection's thread may."""
        active = self.session.subscriptions
        chosen = [one for one in active if identifiers is None or one.identifier in identifiers]
        for subscription in chosen:
            self.finish(self.session.unsubscribe(subscription.identifier))

    def _send_event(self, text: str) -> None:
        self._connection.deliver(frame(text.encode()))
        self._connection.flush()

    # Requests ---------------------------------------------------------------------------------------------------

    def hear(self, text: str) -> None:
        """Answer one request."""
        self._requests += 1
        identifier: int | str | None = None
        try:
            request = _parsed(text)
            if "id" in request:
                identifier = _identifier(request["id"])
            answer = self._answer(identifier, request)
        except ApiError as error:  # only what is no request at all; the rest is answered further down
            self._charge(1)
            answer = self._reply(identifier, error, self._target.return_rate_limits, None)
        if answer is not None:
            self._connection.say(answer)

    def _answer(self, identifier: int | str | None, message: dict[str, Any]) -> str | None:
        """The reply to one request; ``None`` when it goes out later or never."""
        params = message.get("params") if message.get("params") is not None else {}
        if "id" not in message:
            raise ApiError(400, -1102, "Mandatory parameter 'id' was not sent, was empty/null, or malformed.")
        if not isinstance(params, dict) or not isinstance(message.get("method"), str):
            raise _BAD_JSON.fresh()
        name = message["method"].removeprefix("v3/")
        parameters = Parameters.of(params)
        request = Request(params, parameters, self, self._target.microseconds, self._target.return_rate_limits)
        with_limits = request.params.get("returnRateLimits", self._target.return_rate_limits) in (True, "true")
        method = self._venue.methods.table.get(name)
        weight = method.weight(parameters) if method is not None else 1
        free = method is not None and method.free_on_success
        verdict = self._charge(0 if free else weight)
        if verdict.status != 200:
            return self._refuse(identifier, verdict, with_limits)
        self.authorized = None
        outcome: str | ApiError
        try:
            outcome = self._run(name, method, request)
        except SessionLost:
            return self._reply(None, _KEY_INVALID, with_limits, None)
        except ApiError as error:
            outcome = error
            if free:
                self._venue.ledger.add(self._connection.peer, weight, self._venue.clock.now_ms() / 1000)
        orders_of = self.authorized if method is not None and method.is_order else None
        fate = self._venue.faults.take_fate()
        if fate is None:
            return self._reply(identifier, outcome, with_limits, orders_of)
        return self._meet(fate, lambda disturbed: self._reply(identifier, disturbed or outcome, with_limits, orders_of))

    @staticmethod
    def _run(name: str, method: Method | None, request: Request) -> str:
        if name in GONE:
            raise _GONE.fresh()
        if method is None:
            raise _NO_SUCH_METHOD.fresh()
        return method.run(request)

    def _meet(self, fate: Fate, reply: Callable[[ApiError | None], str]) -> str | None:
        """What a fault makes of a reply."""
        if fate.error is not None:
            return reply(fate.error)
        if fate.mode == "late":
            text = reply(None)

            def send() -> None:
                self._connection.say(text)
                self._connection.flush()

            self._venue.later(fate.seconds, send)
        elif fate.mode in ("reset", "closed"):
            self._connection.end_abruptly(reset=fate.mode == "reset")
        return None

    def _refuse(self, identifier: int | str | None, verdict: Verdict, with_limits: bool) -> str:
        """The reply over the weight limit or from a banned address, whose connection ends then."""
        now_ms = self._venue.clock.now_ms()
        until_ms = verdict.banned_until_ms or now_ms + verdict.retry_after_s * 1000
        error: dict[str, Any] = json.loads(refused(verdict, self._venue.ledger.limit).body)
        data = json.dumps({"serverTime": now_ms, "retryAfter": until_ms}, separators=(",", ":"))
        if verdict.status == 418:
            self._connection.close(1008, "banned")
        failure = ApiError(verdict.status, error["code"], error["msg"], data)
        return self._reply(identifier, failure, with_limits, None)

    def _reply(
        self, identifier: int | str | None, outcome: str | ApiError, with_limits: bool, orders_of: Account | None
    ) -> str:
        """The text of a reply, with the order counts of an account where an order was placed."""
        head = f'{{"id":{json.dumps(identifier)}'
        if isinstance(outcome, ApiError):
            head += f',"status":{outcome.status},"error":{self._with_moment(outcome).body()}'
        else:
            head += f',"status":200,"result":{outcome}'
        if not with_limits:
            return head + "}"
        limits = self._venue.methods.order_counts(orders_of) if orders_of is not None else []
        used = self._venue.ledger.used(self._connection.peer, self._venue.clock.now_ms() / 1000)
        limits.append(
            {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": self._venue.ledger.limit,
                "count": used,
            }
        )
        return f'{head},"rateLimits":{json.dumps(limits, separators=(",", ":"))}}}'

    def _with_moment(self, error: ApiError) -> ApiError:
        """An order limit is answered like a weight limit: with the moment from which on it may be tried again."""
        if error.status not in (418, 429) or error.data is not None:
            return error
        now_ms = self._venue.clock.now_ms()
        moment = {"serverTime": now_ms, "retryAfter": now_ms + error.retry_after_s * 1000}
        return replace(error, data=json.dumps(moment, separators=(",", ":")))

    def _charge(self, weight: int) -> Verdict:
        return self._venue.ledger.charge(self._connection.peer, weight, self._venue.clock.now_ms() / 1000)


class _SentNumber(str):
    """A number with a point, as the text it was sent and signed as."""

    __slots__ = ()


def _parsed(text: str) -> dict[str, Any]:
    """A request as JSON values; numbers with a point stay the texts they were signed as."""
    try:
        request = json.loads(text, parse_float=_SentNumber)
        if "\\u" in text:
            json.dumps(request, ensure_ascii=False).encode()  # half a surrogate pair is a JSON escape, but no text
    except (ValueError, RecursionError) as error:
        raise _BAD_JSON.fresh() from error
    if not isinstance(request, dict):
        raise _BAD_JSON.fresh()
    return request


def _identifier(value: object) -> int | str | None:
    if value is None or (isinstance(value, int | str) and not isinstance(value, bool | _SentNumber)):
        return value
    raise _BAD_JSON.fresh()
