"""The events of our own account at Binance Spot, from connections to the WebSocket API (reference, section 7).

A frame is an event in its envelope or a reply. Most are execution reports, which are decoded in one go; keys differ by
case alone, and what is not known is passed over, for the venue adds fields and events at any time.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from binmon.errors import VenueFailed
from binmon.messages import Balance, BalancesChanged, ExecutionReport, OrderSide
from binmon.net.ledger import RateLedger
from binmon.venues.base import MalformedFrame, ShutdownNotice
from binmon.venues.binance import orders, ws_api
from binmon.venues.binance.signing import Signer
from binmon.venues.trading import (
    StreamReply,
    Subscribed,
    SubscriptionEnded,
    SubscriptionRefused,
    UserMessage,
    UserStreamVenue,
)

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SUBSCRIPTION, _LOGON = "user-data-", "logon-"  # how the ids of our opening requests begin
_ALREADY_SUBSCRIBED = -2035
_MOST_NAMES, _LONGEST_NAME = 50, 40  # of events that are counted by name


class _Report(msgspec.Struct, gc=False, tag_field="e", tag="executionReport"):
    event_time: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    client_order_id: str = msgspec.field(name="c")
    side: OrderSide = msgspec.field(name="S")
    execution_type: str = msgspec.field(name="x")
    order_status: str = msgspec.field(name="X")
    order_id: int = msgspec.field(name="i")
    last_quantity: Decimal = msgspec.field(name="l")
    executed_quantity: Decimal = msgspec.field(name="z")
    last_price: Decimal = msgspec.field(name="L")
    transaction_time: int = msgspec.field(name="T")
    execution_id: int = msgspec.field(name="I")
    executed_quote: Decimal = msgspec.field(name="Z")
    original_client_order_id: str = msgspec.field(name="C", default="")
    reject_reason: str = msgspec.field(name="r", default="NONE")
    commission: Decimal = msgspec.field(name="n", default=Decimal(0))
    commission_asset: str | None = msgspec.field(name="N", default=None)
    trade_id: int = msgspec.field(name="t", default=-1)
    expiry_reason: str = msgspec.field(name="eR", default="")


class _ReportFrame(msgspec.Struct, gc=False):
    event: _Report


class _Balance(msgspec.Struct, gc=False):
    asset: str = msgspec.field(name="a")
    free: Decimal = msgspec.field(name="f")
    locked: Decimal = msgspec.field(name="l")


class _Position(msgspec.Struct, gc=False):
    balances: list[_Balance] = msgspec.field(name="B")
    event_time: int = msgspec.field(name="E")
    changed_at: int | None = msgspec.field(name="u", default=None)


class UserDataDecoder:
    """Frames into messages. No error quotes a frame: replies may hold the key. ``events`` counts those by name that mean nothing to us; used by one thread."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self._report = msgspec.json.Decoder(_ReportFrame)

    def decode(self, frame: bytes, connection: str, received_ns: int, received_mono_ns: int) -> UserMessage | None:
        """What ``frame`` means; None for an event that nobody asked for. A reply is a StreamReply whatever it says.

        Raises MalformedFrame for what is no frame of the venue, and for an event of a known kind without what it must
        have."""
        try:
            report = self._report.decode(frame).event
        except _UNREADABLE:
            return self._other(frame, connection, received_ns, received_mono_ns)
        return _execution_report(report, connection, received_ns, received_mono_ns)

    def _other(self, frame: bytes, connection: str, received_ns: int, received_mono_ns: int) -> UserMessage | None:
        try:
            message: Any = msgspec.json.decode(frame)
        except _UNREADABLE as error:
            raise MalformedFrame(f"{error} ({len(frame)} bytes)") from None
        if not isinstance(message, dict):
            raise MalformedFrame(f"expected an object, got a {type(message).__name__} ({len(frame)} bytes)")
        event = message.get("event", message if "e" in message else None)
        if event is None and "id" in message and "status" in message:
            return StreamReply(str(message["id"]) if message["id"] is not None else "", frame)
        if not isinstance(event, dict) or not isinstance(event.get("e"), str):
            self._count("neither event nor reply")
            return None
        try:
            match event["e"]:
                case "executionReport":  # in no envelope, or without what it must have
                    report = msgspec.convert(event, _Report)
                    return _execution_report(report, connection, received_ns, received_mono_ns)
                case "outboundAccountPosition":
                    return _balances(msgspec.convert(event, _Position))
        except msgspec.ValidationError as error:
            raise MalformedFrame(f"{event['e']}: {error} ({len(frame)} bytes)") from None
        time = event.get("E")
        match event["e"]:
            case "serverShutdown":
                return ShutdownNotice(orders.microseconds(time) // 1000 if isinstance(time, int) else 0)
            case "eventStreamTerminated":
                return SubscriptionEnded(f"the venue ended subscription {message.get('subscriptionId')}")
        self._count(event["e"])
        return None

    def _count(self, name: str) -> None:
        """One more of an event; a venue gone mad must not fill the memory with names."""
        name = name[:_LONGEST_NAME]
        self.events[name if name in self.events or len(self.events) < _MOST_NAMES else "others"] += 1


class BinanceUserStream(UserStreamVenue):
    """Binance Spot's user data, subscribed to by signature, which any key can do; with ``logs_on`` by logging the
    connection on first, which only an Ed25519 key can (reference, 7.2)."""

    name = orders.VENUE

    def __init__(
        self,
        ws_api_url: str,
        signer: Signer,
        *,
        venue_ms: Callable[[], int],
        ledger: RateLedger | None = None,
        recv_window_ms: int = ws_api.RECV_WINDOW_MS,
        logs_on: bool = False,
    ) -> None:
        """``venue_ms()`` is the venue's clock now; ``ledger`` is told what replies say of counts and bans."""
        self._url, self._plain_url, self._signer = ws_api.address(ws_api_url), ws_api_url, signer
        self._venue_ms, self._ledger, self._recv_window_ms = venue_ms, ledger, recv_window_ms
        self._logs_on = logs_on
        self._decoder = UserDataDecoder()
        self._numbers = itertools.count(1)

    @property
    def user_stream_url(self) -> str:
        return self._url

    def simplify(self) -> bool:
        """Without times in microseconds."""
        is_new, self._url = self._url != self._plain_url, self._plain_url
        return is_new

    @property
    def events(self) -> Counter[str]:
        """Events that mean nothing to us, by name."""
        return self._decoder.events

    def opening_messages(self) -> tuple[bytes, ...]:
        number = next(self._numbers)
        request_id, now_ms = f"{_SUBSCRIPTION}{number}", self._venue_ms()
        if not self._logs_on:
            return (ws_api.subscribe_by_signature(request_id, self._signer, now_ms, self._recv_window_ms),)
        logon = ws_api.session_logon(f"{_LOGON}{number}", self._signer, now_ms, self._recv_window_ms)
        return (logon, ws_api.user_data_subscribe(request_id))

    def decode(self, frame: bytes, connection: str, received_ns: int, received_mono_ns: int) -> UserMessage | None:
        message = self._decoder.decode(frame, connection, received_ns, received_mono_ns)
        if not isinstance(message, StreamReply):
            return message
        # replies may quote what was asked; nobody who reads them further needs the key
        frame = frame.replace(self._signer.api_key.encode(), b"***")
        message = StreamReply(message.request_id, frame)
        reply = ws_api.read_reply(frame)
        if self._ledger is not None:
            ws_api.tell_ledger(self._ledger, reply, self._ledger.clock())
        # without an id the venue means the connection: its key is not good any more (reference 7.3)
        if reply.id is None or message.request_id.startswith(_SUBSCRIPTION):
            return self._subscription(reply)
        if message.request_id.startswith(_LOGON):
            return None if reply.ok else self._subscription(reply)
        return message

    def _subscription(self, reply: ws_api.Reply) -> Subscribed | SubscriptionRefused:
        code = reply.error.code if reply.error is not None else None
        if code == _ALREADY_SUBSCRIBED or (reply.ok and reply.id is not None):
            return Subscribed()
        error = ws_api.refusal(reply, "userDataStream.subscribe.signature", self._venue_ms())
        if code == orders.INVALID_TIMESTAMP:
            # the next one is made with another time
            return SubscriptionRefused(VenueFailed("ws-api", reply.status, str(error)))
        return SubscriptionRefused(error)


def _execution_report(one: _Report, connection: str, received_ns: int, received_mono_ns: int) -> ExecutionReport:
    for number in (one.last_quantity, one.last_price, one.executed_quantity, one.executed_quote, one.commission):
        if not number.is_finite():
            raise MalformedFrame(f"executionReport of order {one.order_id}: {number} is no amount")
    cancelled = one.execution_type == "CANCELED" and one.original_client_order_id
    return ExecutionReport(
        venue=orders.VENUE,
        symbol=one.symbol,
        client_order_id=one.original_client_order_id if cancelled else one.client_order_id,
        order_id=one.order_id,
        execution_id=one.execution_id,
        execution_type=one.execution_type,
        order_status=one.order_status,
        side=one.side,
        last_quantity=one.last_quantity,
        last_price=one.last_price,
        executed_quantity=one.executed_quantity,
        executed_quote=one.executed_quote,
        commission=one.commission,
        commission_asset=one.commission_asset or "",
        trade_id=one.trade_id if one.trade_id >= 0 else None,
        event_time_us=orders.microseconds(one.event_time),
        transaction_time_us=orders.microseconds(one.transaction_time),
        reason=one.reject_reason if one.reject_reason not in ("", "NONE") else one.expiry_reason,
        connection=connection,
        received_ns=received_ns,
        received_mono_ns=received_mono_ns,
    )


def _balances(position: _Position) -> BalancesChanged:
    for one in position.balances:
        if not (one.free.is_finite() and one.locked.is_finite()):
            raise MalformedFrame(f"outboundAccountPosition: {one.asset} has an amount that is none")
    changed_at = position.event_time if position.changed_at is None else position.changed_at
    balances = tuple(Balance(one.asset, one.free, one.locked) for one in position.balances)
    return BalancesChanged(orders.VENUE, balances, orders.microseconds(changed_at))
