"""Requests and replies of Binance's WebSocket API as bytes and values (reference, section 8): no sockets in here.

A request is made right before it leaves, because its timestamp and signature are of that moment. A reply finds its
request by ``id``; what it means is the same as over REST, but for ``retryAfter``, which is a time here and not a span.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from typing import Any

import msgspec

from binmon.errors import Banned, BinmonError, RateLimited, RequestRefused, StatusUnknown, VenueFailed
from binmon.messages import OrderAnswered, OrderRequest, OrderState
from binmon.net.ledger import DEFAULT_BANNED_S, DEFAULT_LIMITED_S, ORDERS, REQUEST_WEIGHT, RateLedger
from binmon.net.rest import FIREWALL_S, TOO_MANY_ORDERS
from binmon.venues.base import MalformedFrame
from binmon.venues.binance import orders
from binmon.venues.binance.limits import RateLimit, take_order_counts, used_weight
from binmon.venues.binance.signing import Signer, Value

RECV_WINDOW_MS = 5000
ORDER_WEIGHT = 1
_TEXT_KEPT = 200  # characters of an error text


class ReplyError(msgspec.Struct, frozen=True):
    """Why a request failed."""

    code: int | None = None
    msg: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class Reply(msgspec.Struct, frozen=True):
    """A reply, its result still as text. ``id`` is None where the venue means none of our requests in particular."""

    id: str | int | None
    status: int
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: ReplyError | None = None
    rate_limits: list[RateLimit] = msgspec.field(name="rateLimits", default_factory=list)

    @property
    def ok(self) -> bool:
        return self.status == 200 and self.error is None

    @property
    def used_weight(self) -> int | None:
        """The venue's count of request weight in this minute, None where it does not say."""
        return used_weight(self.rate_limits)


class _RetryTimes(msgspec.Struct):
    server_time: int | None = msgspec.field(name="serverTime", default=None)
    retry_after: int | None = msgspec.field(name="retryAfter", default=None)


class _Time(msgspec.Struct):
    server_time: int = msgspec.field(name="serverTime")


_REPLY = msgspec.json.Decoder(Reply)
_RETRY_TIMES = msgspec.json.Decoder(_RetryTimes | None)
_TIME = msgspec.json.Decoder(_Time)


# -- requests ---------------------------------------------------------------------------------------------------


def address(url: str) -> str:
    """``url`` of the WebSocket API with times in microseconds."""
    parts = urllib.parse.urlsplit(url)
    others = [pair for pair in urllib.parse.parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "timeUnit"]
    return parts._replace(query=urllib.parse.urlencode([*others, ("timeUnit", "MICROSECOND")])).geturl()


def subscribe_by_signature(
    request_id: str, signer: Signer, timestamp_ms: int, recv_window_ms: int = RECV_WINDOW_MS
) -> bytes:
    """Subscribe this connection to the events of the key's account, with a key of any kind; weight 2."""
    return _signed(request_id, "userDataStream.subscribe.signature", {}, signer, timestamp_ms, recv_window_ms)


def session_logon(request_id: str, signer: Signer, timestamp_ms: int, recv_window_ms: int = RECV_WINDOW_MS) -> bytes:
    """Make the connection the key's; Ed25519 alone; weight 2."""
    return _signed(request_id, "session.logon", {}, signer, timestamp_ms, recv_window_ms)


def user_data_subscribe(request_id: str) -> bytes:
    """Subscribe to the events of the account that has logged on; weight 2."""
    return _request(request_id, "userDataStream.subscribe", None)


def order_place(
    request_id: str, order: OrderRequest, signer: Signer, timestamp_ms: int, recv_window_ms: int = RECV_WINDOW_MS
) -> bytes:
    """Place ``order``; weight 1, none when it succeeds. Raises ValueError for one that cannot be meant."""
    parameters = orders.order_parameters(order)
    return _signed(request_id, "order.place", parameters, signer, timestamp_ms, recv_window_ms)


def order_status(
    request_id: str,
    symbol: str,
    client_order_id: str,
    signer: Signer,
    timestamp_ms: int,
    recv_window_ms: int = RECV_WINDOW_MS,
) -> bytes:
    """Ask for an order by our id; weight 4."""
    parameters = {"symbol": symbol, "origClientOrderId": client_order_id}
    return _signed(request_id, "order.status", parameters, signer, timestamp_ms, recv_window_ms)


# -- replies ----------------------------------------------------------------------------------------------------


def read_reply(frame: bytes) -> Reply:
    """A reply. Raises MalformedFrame for anything else."""
    return orders.decoded(_REPLY, frame, "reply")


def refusal(reply: Reply, method: str, now_ms: int) -> BinmonError:
    """What a reply that is no success means: RequestRefused, RateLimited, Banned, or VenueFailed for the venue's own
    trouble. ``now_ms`` is the venue's clock, for replies that do not bear it: bans are told by their end."""
    error = reply.error or ReplyError()
    code, message, url = error.code, error.msg[:_TEXT_KEPT] or "no reason given", f"ws-api {method}"
    match reply.status:
        case 429:
            scope = ORDERS if code == TOO_MANY_ORDERS else REQUEST_WEIGHT
            return RateLimited(scope, _wait_s(error, now_ms, DEFAULT_LIMITED_S))
        case 418:
            return Banned(_wait_s(error, now_ms, DEFAULT_BANNED_S))
        case 403:
            return RateLimited("WAF", FIREWALL_S)
        case status if 400 <= status < 500 and code not in orders.UNCERTAIN_CODES:
            return RequestRefused(url, status, code, message)
        case status:
            return VenueFailed(url, status, f"{'' if code is None else f'{code} '}{message}")


def order_answered(
    reply: Reply, order: OrderRequest, received_ns: int, received_mono_ns: int, now_ms: int
) -> OrderAnswered:
    """What a reply to ``order_place`` says. Raises RequestRefused, RateLimited and Banned when the order was certainly
    not executed, StatusUnknown when it may have been."""
    if not reply.ok:
        error = refusal(reply, "order.place", now_ms)
        uncertain = orders.is_uncertain(reply.status, reply.error.code if reply.error else None)
        if uncertain or isinstance(error, VenueFailed):
            raise StatusUnknown(order.client_order_id, str(error))
        raise error
    try:
        return orders.answered(order, bytes(reply.result), received_ns, received_mono_ns)
    except MalformedFrame as error:
        raise StatusUnknown(order.client_order_id, str(error)) from error


def order_state(reply: Reply, symbol: str, client_order_id: str, now_ms: int) -> OrderState:
    """What a reply to ``order_status`` says. Raises what ``refusal`` returns, and MalformedFrame."""
    if reply.ok:
        return orders.order_state(symbol, client_order_id, bytes(reply.result))
    if reply.error is not None and reply.error.code == orders.NO_SUCH_ORDER:
        return orders.no_such_order(symbol, client_order_id)
    raise refusal(reply, "order.status", now_ms)


def tell_ledger(ledger: RateLedger, reply: Reply, now_s: float) -> None:
    """Tell ``ledger`` what a reply says of its counts of orders, of limits exceeded, and of bans."""
    take_order_counts(ledger, reply.rate_limits, now_s)
    if not reply.ok:
        error = refusal(reply, "", round(now_s * 1000))
        if isinstance(error, Banned):
            ledger.banned(error.retry_after_s, now_s)
        elif isinstance(error, RateLimited):
            ledger.limited(error.retry_after_s, now_s, error.scope)


# -- within -----------------------------------------------------------------------------------------------------


def _request(request_id: str, method: str, parameters: Mapping[str, Value] | None) -> bytes:
    message: dict[str, Any] = {"id": request_id, "method": method}
    if parameters is not None:
        message["params"] = parameters
    return msgspec.json.encode(message)


def _signed(
    request_id: str, method: str, parameters: dict[str, str], signer: Signer, timestamp_ms: int, recv_window_ms: int
) -> bytes:
    complete: dict[str, Value] = {
        **parameters,
        "apiKey": signer.api_key,
        "recvWindow": recv_window_ms,
        "timestamp": timestamp_ms,
    }
    return _request(request_id, method, signer.websocket(complete))


def _wait_s(error: ReplyError, now_ms: int, default_s: float) -> float:
    """Seconds until ``retryAfter``, which is a moment of the venue's clock."""
    try:
        times = _RETRY_TIMES.decode(error.data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return default_s
    if times is None or times.retry_after is None:
        return default_s
    # with timeUnit=MICROSECOND either may be in microseconds
    until_us = orders.microseconds(times.retry_after)
    now_us = orders.microseconds(now_ms if times.server_time is None else times.server_time)
    return max(0.0, (until_us - now_us) / 1e6)
