"""Accounts of the sandbox: their keys, their balances, and who listens to their events."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ..decimals import parse_e8
from .wallets import Wallet


class KeyKind(enum.Enum):
    """How the requests of a key are signed (reference: Binance Spot, 2.2)."""

    HMAC = "HMAC"
    ED25519 = "Ed25519"
    RSA = "RSA"


@dataclass(frozen=True)
class ApiKey:
    """One key of an account.

    ``secret`` is what signatures are checked with: the bytes of the secret text for HMAC, else the public key. A key
    without ``can_trade`` reads only; one that is not ``enabled`` is refused as unknown.
    """

    key: str
    kind: KeyKind
    secret: bytes | Ed25519PublicKey | RSAPublicKey = field(repr=False)
    can_trade: bool = True
    enabled: bool = True


@dataclass(frozen=True)
class UserEvent:
    """One event of the user data stream (reference: Binance Spot, 7.5)."""

    kind: str
    """``executionReport``, ``outboundAccountPosition`` and so on."""
    symbol: str
    """Symbol, or ``""`` when the event has none."""
    client_order_id: str
    """The order's own client id, also on a cancel; ``""`` when there is no order."""
    order_id: int
    """0 when there is no order."""
    execution_id: int
    """0 when there is no execution."""
    execution_type: str
    """``NEW``, ``TRADE`` and so on; ``""`` when there is no execution."""
    printer: Callable[[bool], str] = field(repr=False, compare=False)
    """Prints the event; the flag asks for microseconds."""

    def text(self, micro: bool) -> str:
        """JSON of the bare event, without the envelope."""
        return self.printer(micro)


Listener = Callable[[UserEvent], None]
"""Is told every event of an account while the account's lock is held: it must not block."""

NO_RATE = Decimal(0)


@dataclass(frozen=True)
class CommissionRates:
    """Shares of the received amount that an account pays (reference: Binance Spot, 3.11)."""

    maker: Decimal = NO_RATE
    taker: Decimal = NO_RATE
    buyer: Decimal = NO_RATE
    seller: Decimal = NO_RATE

    def rate(self, is_maker: bool, is_buyer: bool) -> Decimal:
        """The share due for one fill."""
        return (self.maker if is_maker else self.taker) + (self.buyer if is_buyer else self.seller)


class Account:
    """One account. Everything about it changes under :attr:`lock`, which all accounts of a venue share.

    One lock for all, because one trade may concern two accounts; it is taken after the lock of a symbol, never before.
    """

    def __init__(self, identifier: int, name: str, wallet: Wallet, lock: threading.RLock) -> None:
        self.identifier = identifier
        self.name = name
        self.wallet = wallet
        self.lock = lock
        self.keys: list[ApiKey] = []
        self.can_trade = True
        self.commission = CommissionRates()
        self.updated_us = 0
        """Time of the last change of a balance."""
        self._listeners: tuple[Listener, ...] = ()

    def __repr__(self) -> str:
        return f"Account({self.identifier}, {self.name!r})"

    @property
    def owner(self) -> str:
        """Name of this account's orders in the matching engine; never that of the order flow."""
        return f"account:{self.identifier}"

    def listen(self, listener: Listener) -> None:
        """Tell somebody every event from now on."""
        with self.lock:
            self._listeners = (*self._listeners, listener)

    def unlisten(self, listener: Listener) -> None:
        """Stop telling; once this returns, the listener is not called any more."""
        with self.lock:
            self._listeners = tuple(other for other in self._listeners if other != listener)

    def publish(self, event: UserEvent) -> None:
        """Tell all listeners, in the order in which they came."""
        with self.lock:
            for listener in self._listeners:
                listener(event)


class Accounts:
    """All accounts of the venue. Safe to use from any thread."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Guards every account, every order of an account, and this list."""
        self._accounts: list[Account] = []

    def add(
        self,
        name: str,
        balances: Mapping[str, Decimal | str] | None = None,
        *,
        grant: Callable[[str], int] | None = None,
    ) -> Account:
        """Open an account with some balances.

        ``grant`` gives, in units of 0.00000001, what the account starts with of an asset that ``balances`` does not
        name (default: nothing). Raises ``ValueError`` for a name that is taken or a balance below zero or with more
        than eight decimals.
        """
        amounts = {asset: parse_e8(str(amount)) for asset, amount in (balances or {}).items()}
        if any(amount < 0 for amount in amounts.values()):
            raise ValueError(f"account {name}: a balance is below zero")

        def initial(asset: str) -> int:
            given = amounts.get(asset)
            return given if given is not None else grant(asset) if grant is not None else 0

        with self.lock:
            if any(account.name == name for account in self._accounts):
                raise ValueError(f"account {name} exists already")
            identifier = 354_000_111 + len(self._accounts)
            account = Account(identifier, name, Wallet(initial, tuple(amounts)), self.lock)
            self._accounts.append(account)
            return account

    def by_key(self, key: str) -> tuple[Account, ApiKey] | None:
        """The account and key of a key's text; ``None`` when nobody has it."""
        with self.lock:
            for account in self._accounts:
                for one in account.keys:
                    if one.key == key:
                        return account, one
        return None

    def by_owner(self, owner: str) -> Account | None:
        """The account behind an owner's name in the matching engine; ``None`` for the order flow."""
        with self.lock:
            return next((account for account in self._accounts if account.owner == owner), None)

    def all(self) -> list[Account]:
        """All accounts, oldest first."""
        with self.lock:
            return list(self._accounts)
