"""Why a venue is not chosen. Each reason has a line of meaning, and each case a line of facts."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Reason(enum.Enum):
    """Why a venue cannot take an order, or is not asked: the word for scripts and logs, and what it means."""

    meaning: str

    STALE = ("stale", "its quote is older than the configured age")
    UNSYNCED = ("unsynced", "its book is being rebuilt, and a price of it may never have been quoted")
    UNREACHABLE = ("unreachable", "it did not answer, or its stream is down")
    RATE_LIMITED = ("rate_limited", "it answers no more requests for a while")
    CROSSED = ("crossed", "its best bid is not below its best ask: nobody quotes such prices")
    HALTED = ("halted", "the symbol does not trade there now")
    NO_MARKET_ORDERS = ("no_market_orders", "it takes no market orders for the symbol")
    UNKNOWN_SYMBOL = ("unknown_symbol", "it does not list the pair")
    NOT_ENOUGH_DEPTH = ("not_enough_depth", "the book that is known ends before the size is filled")
    OFF_STEP = ("off_step", "the size is no whole multiple of the venue's step")
    UNDER_MINIMUM = ("under_minimum", "the venue takes no order that small")
    OVER_MAXIMUM = ("over_maximum", "the venue takes no order that large")
    NO_KEY = ("no_key", "no key is configured for it: it is there for its market data")
    NO_PERMISSION = ("no_permission", "the key may not trade there")
    BALANCE = ("balance", "the account has not enough there")
    PRODUCTION = ("production", "it is in production, and execution.allow_production is false")
    ORDER_LIMIT = ("order_limit", "the order is worth more than execution.max_order_notional")
    DAY_LIMIT = ("day_limit", "execution.max_orders_per_day is used up")
    NOT_ASKED_FOR = ("not_asked_for", "another venue was named")
    REFUSED = ("refused", "the venue refused the order")

    def __new__(cls, word: str, meaning: str) -> Reason:
        member = object.__new__(cls)
        member._value_ = word
        member.meaning = meaning
        return member


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One venue that is left out, and why; ``detail`` is one line with the figures."""

    venue: str
    reason: Reason
    detail: str

    def __str__(self) -> str:
        return f"{self.venue}: {self.detail or self.reason.meaning}"
