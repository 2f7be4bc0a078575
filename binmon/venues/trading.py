"""What binmon needs of a venue to trade on it: the private side of a venue, answered by one class a venue.

Whoever sends an order goes through `binmon.orders`, which checks the safety limits: ``place`` takes only an order that
bears their permit.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from binmon.errors import BinmonError
from binmon.messages import (
    Balance,
    BalancesChanged,
    ExecutionReport,
    OrderAnswered,
    OrderRequest,
    OrderState,
    TradingRules,
)
from binmon.venues.base import Heartbeat, ShutdownNotice


@dataclass(frozen=True, slots=True)
class Permit:
    """An order that the safety limits let pass. Only `binmon.orders.gate` makes one, and a test looks that it is so."""

    order: OrderRequest


@dataclass(frozen=True, slots=True)
class Account:
    """Balances by asset, and whether the key may trade."""

    can_trade: bool
    balances: Mapping[str, Balance]


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill of an order of ours."""

    trade_id: int
    price: Decimal
    quantity: Decimal
    quote: Decimal
    commission: Decimal
    commission_asset: str
    time_us: int


@dataclass(frozen=True, slots=True)
class TradingFees:
    """What the venue takes of our account for a market order in one symbol, as fractions of what the order receives.

    ``buy`` is taken of the base currency bought, ``sell`` of the quote currency received, each in that currency. Where
    the account pays with a currency of the venue, ``instead`` names it: as long as the balance there suffices, the fee is
    taken in it, and is worth ``buy_instead`` or ``sell_instead`` of what the order receives.
    """

    venue: str
    symbol: str
    buy: Decimal
    sell: Decimal
    instead: str = ""
    buy_instead: Decimal = Decimal(0)
    sell_instead: Decimal = Decimal(0)


Departure = Callable[[int, int], None]
"""Told when the request of an order leaves: ``(sent_ns, sent_mono_ns)``, right before its first byte. It is told once
for each attempt that really leaves, so that a request that had to be signed anew is timed from its last departure."""


class TradingVenue(ABC):
    """The private side of a venue. All methods block, may be called from any thread, and end early with ``stop``.

    They raise RequestRefused when the venue says no for good (wrong key, wrong parameters, an order that does not
    exist), any RetryError when the same may work later. Only ``place`` and ``cancel`` change anything at the venue.
    """

    name: str
    environment: str  # sandbox | testnet | demo | production, judged by the addresses in force

    @abstractmethod
    def rules(self, symbol: str, stop: threading.Event) -> TradingRules:
        """What the venue asks of a market order. Raises RequestRefused for a symbol that it does not list."""

    @abstractmethod
    def account(self, stop: threading.Event) -> Account:
        """Balances, without those that are zero."""

    @abstractmethod
    def market_price(self, symbol: str, stop: threading.Event) -> Decimal:
        """The price by which the venue judges the notional of a market order."""

    @abstractmethod
    def place(self, permit: Permit, departure: Departure, stop: threading.Event) -> OrderAnswered:
        """Send the order of ``permit``; never twice.

        Raises RequestRefused or RateLimited when it was certainly not executed, StatusUnknown when it may have been.
        """

    @abstractmethod
    def test(self, order: OrderRequest, stop: threading.Event) -> None:
        """Have the venue check an order without placing it. Raises RequestRefused."""

    @abstractmethod
    def order(self, symbol: str, client_order_id: str, stop: threading.Event) -> OrderState:
        """Ask for an order by our id; ``found`` is False when the venue does not know it (perhaps not yet)."""

    @abstractmethod
    def open_orders(self, symbol: str, stop: threading.Event) -> list[OrderState]:
        """All open orders of the account for a symbol."""

    @abstractmethod
    def cancel(self, symbol: str, client_order_id: str, stop: threading.Event) -> OrderState:
        """Cancel an order. Raises RequestRefused when it is unknown or finished."""

    @abstractmethod
    def executions(self, symbol: str, order_id: int, stop: threading.Event) -> list[Execution]:
        """The fills of an order, oldest first."""

    @abstractmethod
    def fees(self, symbol: str, stop: threading.Event) -> TradingFees:
        """What the account pays for market orders. Venues limit the question: ask once, and again after an hour."""

    def explain(self, error: BinmonError) -> str | None:
        """One line for people about what to do about ``error``, None where it says all there is."""
        return None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The venue has confirmed that this connection carries our account's events."""


@dataclass(frozen=True, slots=True)
class SubscriptionEnded:
    """This connection carries our account's events no more, though it lives: subscribe again."""

    reason: str


@dataclass(frozen=True, slots=True)
class SubscriptionRefused:
    """The venue does not let us subscribe. ``error`` is a RetryError when the same may work later."""

    error: Exception


@dataclass(frozen=True, slots=True)
class StreamReply:
    """The answer to a request that was posted on this connection; ``body`` is the whole frame."""

    request_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class SayNext:
    """The opening goes on with these messages, to be sent on this connection in this order."""

    messages: tuple[bytes, ...]


OneUserMessage = (
    ExecutionReport
    | BalancesChanged
    | Subscribed
    | SayNext
    | SubscriptionEnded
    | SubscriptionRefused
    | StreamReply
    | ShutdownNotice
)


@dataclass(frozen=True, slots=True)
class Several:
    """What one frame holds, in order: some venues tell several fills at once."""

    messages: tuple[OneUserMessage, ...]


UserMessage = OneUserMessage | Several


class UserStreamVenue(ABC):
    """How a venue tells us of our own orders: where to connect, what to say, and what the frames mean.

    ``heartbeat`` is sent on every connection; one that is silent for ``silence_s`` is dead.
    """

    name: str
    heartbeat: Heartbeat | None = None
    silence_s: float = 60.0

    @property
    @abstractmethod
    def user_stream_url(self) -> str:
        """Where to connect."""

    @abstractmethod
    def opening_messages(self) -> tuple[bytes, ...]:
        """What subscribes a new connection, or begins to (see `SayNext`): with a fresh time and signature, so made for
        each."""

    def simplify(self) -> bool:
        """Ask for less from now on, for a venue that has never confirmed a subscription: it may speak less than all of
        the protocol. False when there is nothing to leave out."""
        return False

    @abstractmethod
    def decode(self, frame: bytes, connection: str, received_ns: int, received_mono_ns: int) -> UserMessage | None:
        """What a frame means; None for what nobody asked for. Raises MalformedFrame."""
