"""What quotes are made of: a venue as it is asked, what is known of it beside its depth, and what its errors mean here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from binmon.errors import Banned, BinmonError, RateLimited, RequestRefused, RetryError
from binmon.execution.market import Fees, MarketDepth
from binmon.execution.reasons import Exclusion, Reason
from binmon.messages import Instrument, TradingRules
from binmon.venues.base import Venue
from binmon.venues.trading import Account, TradingFees, TradingVenue

KeptDepths = Callable[[Instrument, int], MarketDepth | None]
"""A book that somebody keeps from the stream, at most so many levels a side; None: there is none that could be used."""


@dataclass(frozen=True, slots=True)
class VenueSource:
    """One venue to ask. ``environment`` is that of the addresses in force (`TradingVenue`).

    ``rules`` asks what the venue wants of a market order; None where it is not known, of venues that are there for their
    market data. ``trading`` is None without a key. ``prepare`` is done once before anything is signed (the clock). ``kept``
    looks for a book that is kept already. ``judged_by_market_price``: the venue judges the notional of a market order by
    `TradingVenue.market_price` and not by what it comes to in the book (Binance reference, 9).
    """

    name: str
    environment: str
    market: Venue
    trading: TradingVenue | None = None
    rules: Callable[[str, threading.Event], TradingRules] | None = None
    prepare: Callable[[threading.Event], None] = lambda stop: None
    kept: KeptDepths = lambda instrument, levels: None
    judged_by_market_price: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What of a venue does not change between two quotes. ``fees`` by side: what is taken may differ (Binance's ``buyer``
    and ``seller`` parts). ``account`` None: there is no key."""

    rules: TradingRules
    buying: Fees
    selling: Fees
    account: Account | None = None
    reference_price: Decimal | None = None


def fees_of(told: TradingFees, price_of: Callable[[str], Decimal | None]) -> tuple[Fees, Fees]:
    """The fees for buying and for selling. ``price_of`` an asset in the quote currency; where it knows none, the rate
    without that asset is taken, which is the dearer one."""
    price = price_of(told.instead) if told.instead else None
    if told.instead and price is not None:
        return (
            Fees(_rate(told.buy_instead), told.instead, price, _rate(told.buy)),
            Fees(_rate(told.sell_instead), told.instead, price, _rate(told.sell)),
        )
    return Fees(_rate(told.buy)), Fees(_rate(told.sell))


def _rate(told: Decimal) -> Decimal:
    """A venue that pays takers is taken to ask nothing of them."""
    return max(told, Decimal(0))


def assumed_fees(basis_points: float) -> Fees:
    """The fee where there is no account to ask: marked as what it is (``Fees.from_account``)."""
    return Fees(Decimal(str(basis_points)) / 10_000, from_account=False)


def exclusion_of(
    venue: str, error: BinmonError, explain: Callable[[BinmonError], str | None] | None = None
) -> Exclusion:
    """Why a venue that answered with ``error`` is left out; ``explain`` knows what people may do about it."""
    said = (explain(error) if explain is not None else None) or str(error)
    if isinstance(error, RateLimited | Banned):
        return Exclusion(venue, Reason.RATE_LIMITED, said)
    if isinstance(error, RequestRefused):
        return Exclusion(venue, Reason.REFUSED, said)
    return Exclusion(venue, Reason.UNREACHABLE if isinstance(error, RetryError) else Reason.REFUSED, said)
