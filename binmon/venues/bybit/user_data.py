"""The events of our own account at Bybit, from the private stream (reference, section 5).

Opening it is a dialogue: log on, wait for the answer, subscribe to orders and fills (those of spot alone, or where that is
refused of all categories), then to the wallet, then to the fast fills. The last two are welcome and not needed: where
they are refused, the stream goes on without.

Three topics tell of an order. ``execution`` has its fills with their fees, ``execution.fast`` the same fills a little
sooner and without, ``order`` its status. Each fill becomes one report, from whichever copy comes first on a connection;
each push of ``order`` becomes a report without a fill, whose ``execution_type`` is STATUS. So a market order ends when
its last status and the fills that this counts are here, in whatever order they come.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec

from binmon.errors import RequestRefused
from binmon.messages import BalancesChanged, ExecutionReport
from binmon.venues.base import Heartbeat, MalformedFrame
from binmon.venues.bybit.endpoints import NAME, private_stream
from binmon.venues.bybit.errors import UNREADABLE
from binmon.venues.bybit.market import PING, SILENCE_S, request
from binmon.venues.bybit.orders import (
    CATEGORY,
    ZERO,
    Fill,
    Order,
    amount_of,
    execution_number,
    microseconds,
    order_number,
    quote_of,
    side_of,
)
from binmon.venues.bybit.signing import Signer
from binmon.venues.bybit.wallet import Wallet, balance_of
from binmon.venues.trading import (
    OneUserMessage,
    SayNext,
    Several,
    Subscribed,
    SubscriptionRefused,
    UserMessage,
    UserStreamVenue,
)

K = TypeVar("K")
V = TypeVar("V")

STATUS, TRADE = "STATUS", "TRADE"  # our execution types; never NEW: an order that trades at once has no such push
EXPIRES_AFTER_MS = 10_000  # the login says until when it is good; one second fails on slow links (reference 5.1)
_LOGIN = "login"
# ids of the subscriptions, in this order; the second only where the first is refused
_NEEDED, _PLAIN, _WALLET, _FAST = "orders", "orders of all categories", "wallet", "fast"
_TOPICS = {
    _NEEDED: ("order.spot", "execution.spot"),
    _PLAIN: ("order", "execution"),
    _WALLET: ("wallet",),
    _FAST: ("execution.fast.spot",),
}
_REMEMBERED = 4096
_MOST_NAMES, _LONGEST_NAME = 50, 40  # of events that are counted by name
# room for several statuses of one millisecond in the number of a report
_STATUSES_A_MS = 8
_FINAL_LAST = {
    "NEW": 0,
    "PENDING_NEW": 0,
    "PARTIALLY_FILLED": 1,
    "CANCELED": 3,
    "EXPIRED": 4,
    "FILLED": 5,
    "REJECTED": 6,
}


class _Fills(msgspec.Struct, gc=False):
    created_ms: int = msgspec.field(name="creationTime")
    fills: list[Fill] = msgspec.field(name="data")


class _Orders(msgspec.Struct, gc=False):
    created_ms: int = msgspec.field(name="creationTime")
    orders: list[Order] = msgspec.field(name="data")


class _Wallets(msgspec.Struct, gc=False):
    created_ms: int = msgspec.field(name="creationTime")
    wallets: list[Wallet] = msgspec.field(name="data")


class _Topic(msgspec.Struct, gc=False):
    topic: str


class _Memory(Generic[K, V]):
    """The last ``_REMEMBERED`` of something."""

    def __init__(self) -> None:
        self._kept: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        return self._kept.get(key)

    def put(self, key: K, value: V) -> None:
        self._kept[key] = value
        if len(self._kept) > _REMEMBERED:
            self._kept.popitem(last=False)


@dataclasses.dataclass(frozen=True, slots=True)
class _Receipt:
    """Where and when a frame arrived."""

    connection: str
    received_ns: int
    received_mono_ns: int


class UserDataDecoder:
    """Frames into messages. No error quotes a frame. Used by one thread; connections share it, so that what two of them
    deliver is told in the same words.

    ``events`` counts what means nothing to us, by name.
    """

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self._topic = msgspec.json.Decoder(_Topic)
        # not strict: a time may be a number or a text
        self._fills = msgspec.json.Decoder(_Fills, strict=False)
        self._orders = msgspec.json.Decoder(_Orders, strict=False)
        self._wallets = msgspec.json.Decoder(_Wallets, strict=False)
        # by order and report: as it was told first
        self._told: _Memory[tuple[int, int], ExecutionReport] = _Memory()
        self._delivered: _Memory[tuple[str, int], bool] = _Memory()  # connection and fill
        self._sums: _Memory[int, tuple[Decimal, Decimal]] = _Memory()  # by order: base and quote of its fills so far
        self._names: _Memory[int, str] = _Memory()  # by order: our id

    def decode(self, frame: bytes, receipt: _Receipt) -> list[OneUserMessage] | dict[str, Any]:
        """All that an event tells, or a reply as it is. Raises MalformedFrame."""
        try:
            topic = self._topic.decode(frame).topic
        except UNREADABLE:
            return self._reply(frame)
        # the topic is named as it was subscribed to: with the category or without
        kind = topic.removesuffix(f".{CATEGORY}")
        try:
            if kind in ("execution", "execution.fast"):
                message = self._fills.decode(frame)
                return self._reports(message, kind == "execution.fast", receipt)
            if kind == "order":
                orders = self._orders.decode(frame)
                return [
                    self._status(one, orders.created_ms, receipt) for one in orders.orders if one.category == CATEGORY
                ]
            if kind == "wallet":
                return [_balances(self._wallets.decode(frame))]
        except UNREADABLE as error:
            raise MalformedFrame(f"{topic[:_LONGEST_NAME]}: {error} ({len(frame)} bytes)") from None
        self.count(topic)
        return []

    def count(self, name: str) -> None:
        """One more of an event; a venue gone mad must not fill the memory with names."""
        name = name[:_LONGEST_NAME]
        self.events[name if name in self.events or len(self.events) < _MOST_NAMES else "others"] += 1

    def _reply(self, frame: bytes) -> dict[str, Any]:
        try:
            message: Any = msgspec.json.decode(frame)
        except UNREADABLE as error:
            raise MalformedFrame(f"{error} ({len(frame)} bytes)") from None
        if not isinstance(message, dict):
            raise MalformedFrame(f"expected an object, got a {type(message).__name__} ({len(frame)} bytes)")
        return message

    def _reports(self, message: _Fills, is_fast: bool, receipt: _Receipt) -> list[OneUserMessage]:
        found: list[OneUserMessage] = []
        for fill in message.fills:
            if fill.category != CATEGORY or fill.kind != "Trade":
                continue
            report = self._fill(fill, is_fast, message.created_ms, receipt)
            if report is not None:
                found.append(report)
        return found

    def _fill(self, fill: Fill, is_fast: bool, created_ms: int, receipt: _Receipt) -> ExecutionReport | None:
        """The report of a fill; None for the second copy on this connection, and for a fast one that does not say whose
        order it is of: the other topic will."""
        execution_id, order_id = execution_number(fill.execution_id), order_number(fill.order_id)
        name = fill.client_order_id or self._names.get(order_id) or ""
        if is_fast and not name:
            return None
        if self._delivered.get((receipt.connection, execution_id)):
            return None
        first = self._told.get((order_id, execution_id))
        if first is None:
            report = self._first(fill, name, execution_id, order_id, created_ms, receipt)
        else:
            report = _copy(first, receipt)
        self._delivered.put((receipt.connection, execution_id), True)
        return report

    def _first(
        self, fill: Fill, name: str, execution_id: int, order_id: int, created_ms: int, receipt: _Receipt
    ) -> ExecutionReport:
        quantity, price, fee = amount_of(fill.quantity), amount_of(fill.price), amount_of(fill.fee)
        side, transaction_time_us = side_of(fill.side), microseconds(fill.time_ms)
        before = self._sums.get(order_id) or (ZERO, ZERO)
        total = (before[0] + quantity, before[1] + quote_of(fill))
        report = ExecutionReport(
            venue=NAME,
            symbol=fill.symbol,
            client_order_id=name,
            order_id=order_id,
            execution_id=execution_id,
            execution_type=TRADE,
            order_status="PARTIALLY_FILLED",  # whether it was the last one the topic ``order`` says
            side=side,
            last_quantity=quantity,
            last_price=price,
            executed_quantity=total[0],
            executed_quote=total[1],
            commission=fee,
            commission_asset=fill.fee_asset,
            trade_id=execution_id,
            event_time_us=created_ms * 1000,
            transaction_time_us=transaction_time_us,
            reason="",
            connection=receipt.connection,
            received_ns=receipt.received_ns,
            received_mono_ns=receipt.received_mono_ns,
        )
        self._sums.put(order_id, total)
        self._told.put((order_id, execution_id), report)
        return report

    def _status(self, order: Order, created_ms: int, receipt: _Receipt) -> ExecutionReport:
        order_id, updated_us = order_number(order.order_id), microseconds(order.updated_ms)
        if order.client_order_id:
            self._names.put(order_id, order.client_order_id)
        status = order.our_status
        report = ExecutionReport(
            venue=NAME,
            symbol=order.symbol,
            client_order_id=order.client_order_id,
            order_id=order_id,
            # it has none: its time and status tell it from the others of its order, the same on every connection
            execution_id=updated_us // 1000 * _STATUSES_A_MS + _FINAL_LAST.get(status, 2),
            execution_type=STATUS,
            order_status=status,
            side=side_of(order.side),
            last_quantity=ZERO,
            last_price=ZERO,
            executed_quantity=amount_of(order.executed_quantity),
            executed_quote=amount_of(order.executed_quote),
            commission=ZERO,
            commission_asset="",
            trade_id=None,
            event_time_us=created_ms * 1000,
            transaction_time_us=updated_us,
            reason=order.reason,
            connection=receipt.connection,
            received_ns=receipt.received_ns,
            received_mono_ns=receipt.received_mono_ns,
        )
        key = (order_id, report.execution_id)
        first = self._told.get(key)
        if first is not None and first.executed_quantity == report.executed_quantity:
            return _copy(first, receipt)
        self._told.put(key, report)
        return report


class BybitUserStream(UserStreamVenue):
    """The private stream of Bybit, for spot."""

    name = NAME
    heartbeat: Heartbeat | None = PING
    silence_s = SILENCE_S

    def __init__(self, private_url: str, signer: Signer, *, venue_ms: Callable[[], int], fast: bool = True) -> None:
        """``venue_ms()`` is the venue's clock now. Without ``fast`` reports of fills are never without their fees, and a
        little later."""
        self._url, self._signer, self._venue_ms, self._fast = private_stream(private_url), signer, venue_ms, fast
        self._decoder = UserDataDecoder()

    @property
    def user_stream_url(self) -> str:
        return self._url

    @property
    def events(self) -> Counter[str]:
        """Events that mean nothing to us, by name."""
        return self._decoder.events

    def opening_messages(self) -> tuple[bytes, ...]:
        expires_ms = self._venue_ms() + EXPIRES_AFTER_MS
        args = [self._signer.api_key, expires_ms, self._signer.websocket(expires_ms)]
        return (msgspec.json.encode({"req_id": _LOGIN, "op": "auth", "args": args}),)

    def decode(self, frame: bytes, connection: str, received_ns: int, received_mono_ns: int) -> UserMessage | None:
        told = self._decoder.decode(frame, _Receipt(connection, received_ns, received_mono_ns))
        if isinstance(told, dict):
            return self._reply(told)
        if not told:
            return None
        return told[0] if len(told) == 1 else Several(tuple(told))

    def _reply(self, message: dict[str, Any]) -> OneUserMessage | None:
        operation, is_done = message.get("op"), message.get("success") is True
        if operation == "auth":
            return self._subscribe(_NEEDED) if is_done else self._refused(message, "the login")
        if operation != "subscribe":
            if operation not in ("ping", "pong"):
                self._decoder.count(str(operation or "neither event nor reply"))
            return None
        request_id = message.get("req_id")
        if request_id == _NEEDED and not is_done:
            self._decoder.count(f"{request_id} refused")
            return self._subscribe(_PLAIN)
        if request_id not in (_WALLET, _FAST) and not is_done:
            return self._refused(message, "the subscription")
        if not is_done:
            self._decoder.count(f"{request_id} refused")
        if request_id in (_NEEDED, _PLAIN):
            return self._subscribe(_WALLET)
        if request_id == _WALLET and self._fast:
            return self._subscribe(_FAST)
        return Subscribed()

    def _subscribe(self, which: str) -> SayNext:
        return SayNext((request("subscribe", _TOPICS[which], which),))

    def _refused(self, message: dict[str, Any], what: str) -> SubscriptionRefused:
        said = str(message.get("ret_msg") or "no reason given").replace(self._signer.api_key, "***")
        return SubscriptionRefused(RequestRefused(self._url, 200, None, f"{what}: {said}"))


def _copy(report: ExecutionReport, receipt: _Receipt) -> ExecutionReport:
    """A report that was told before, as it came on another connection: in the same words, so that it is known for a copy."""
    return dataclasses.replace(
        report,
        connection=receipt.connection,
        received_ns=receipt.received_ns,
        received_mono_ns=receipt.received_mono_ns,
    )


def _balances(message: _Wallets) -> BalancesChanged:
    coins = [coin for wallet in message.wallets for coin in wallet.coins]
    return BalancesChanged(NAME, tuple(map(balance_of, coins)), message.created_ms * 1000)
