"""The arithmetic of a quote, a saving and a split, in lines for people. Shown numbers are rounded (`exact.plain`)."""

from __future__ import annotations

from collections.abc import Iterator

from binmon.execution.comparison import Saving
from binmon.execution.exact import plain
from binmon.execution.pricing import Quote
from binmon.execution.splitting import Split
from binmon.messages import OrderSide

_LEVELS_SHOWN = 5


def lines_of_quote(quote: Quote) -> Iterator[str]:
    """How the effective price of one venue comes about."""
    base, currency = quote.base, quote.quote
    shown = [f"{plain(quantity)} × {plain(price)}" for price, quantity in quote.taken[:_LEVELS_SHOWN]]
    more = len(quote.taken) - len(shown)
    walk = " + ".join(shown) + (f" + … ({more} more levels)" if more > 0 else "")
    verb = "buy" if quote.side is OrderSide.BUY else "sell"
    yield f"{quote.venue}: {verb} {plain(quote.quantity)} {base}: {walk} = {plain(quote.notional)} {currency}"
    fee = quote.fee
    worth = "" if fee.asset == currency else f", worth {plain(fee.value)} {currency}"
    yield f"{quote.venue}: fee {plain(fee.amount)} {fee.asset}{worth}"
    gives, gains = (currency, base) if quote.side is OrderSide.BUY else (base, currency)
    over, under = (quote.given, quote.gained) if quote.side is OrderSide.BUY else (quote.gained, quote.given)
    yield (
        f"{quote.venue}: gives {plain(quote.given)} {gives}, gains {plain(quote.gained)} {gains}; "
        f"effective price {plain(over)} / {plain(under)} = {plain(quote.effective_price)}"
    )


def line_of_saving(saving: Saving, currency: str) -> str:
    """What was saved, and against whom."""
    return f"saves {plain(saving.amount)} {currency} ({plain(saving.basis_points, 2)} bps) against {saving.than}"


def lines_of_split(split: Split) -> Iterator[str]:
    """How the effective price of a split comes about, and what it saves."""
    for part in split.parts:
        yield from lines_of_quote(part)
    currency = split.parts[0].quote
    buys = split.side is OrderSide.BUY
    over, under = (split.given, split.gained) if buys else (split.gained, split.given)
    yield f"together: effective price {plain(over)} / {plain(under)} = {plain(split.effective_price)}"
    if split.saving is None:
        yield "together: no venue could take it alone"
    else:
        yield f"together: {line_of_saving(split.saving, currency)} alone"
