"""What the probe knows of symbol and account, and when it asks again: questions cost request weight that books need."""

from __future__ import annotations

import threading
import time
from decimal import Decimal

from binmon.latency.sizing import CannotProbe, ProbeSize, choose
from binmon.messages import OrderSide, TradingRules
from binmon.venues.trading import Account, TradingVenue

_RULES_GOOD_S = 600.0
_ACCOUNT_GOOD_S = 60.0
_PRICE_GOOD_S = 5.0
_RICH = 3  # orders of either side that the balances must allow, for them to be believed so long


class Standing:
    """Used by the probe's thread alone."""

    def __init__(self, venue: TradingVenue) -> None:
        self._venue = venue
        self.forget()

    def forget(self) -> None:
        """An order was refused: something here is not true any more."""
        self._rules: TradingRules | None = None
        self._account: Account | None = None
        self._price: Decimal | None = None
        self._rules_until_s = self._account_until_s = self._price_until_s = 0.0

    def next_order(self, symbol: str, notional: Decimal, last: OrderSide | None, stop: threading.Event) -> ProbeSize:
        """The next order. Raises CannotProbe, and what the venue raises."""
        now_s = time.monotonic()
        if self._rules is None or self._rules.symbol != symbol or now_s >= self._rules_until_s:
            self.forget()
            self._rules, self._rules_until_s = self._venue.rules(symbol, stop), now_s + _RULES_GOOD_S
        if self._account is None or now_s >= self._account_until_s:
            self._account, self._account_until_s = self._venue.account(stop), now_s + _ACCOUNT_GOOD_S
        if not self._account.can_trade:
            self._account_until_s = 0.0
            raise CannotProbe(f"the key may not trade at {self._venue.name}: allow trading in its settings there")
        if self._price is None or now_s >= self._price_until_s:
            self._price, self._price_until_s = self._venue.market_price(symbol, stop), now_s + _PRICE_GOOD_S
        try:
            size = choose(self._rules, self._price, self._account.balances, notional, last)
        except CannotProbe:
            self.forget()
            raise
        if not self._is_rich(size):
            self._account_until_s = 0.0  # each order tells
        return size

    def _is_rich(self, size: ProbeSize) -> bool:
        rules, account = self._rules, self._account
        assert rules is not None and account is not None  # next_order has just had them
        base, quote = account.balances.get(rules.base), account.balances.get(rules.quote)
        return (
            base is not None
            and quote is not None
            and base.free >= _RICH * size.quantity
            and quote.free >= _RICH * size.notional
        )
