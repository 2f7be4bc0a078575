"""``binmon price``: what a size costs on every configured venue, fees included, and which one is best."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from binmon.cli.declaring import add_config, declare
from binmon.cli.execution import (
    SIDES,
    add_size,
    begin_log,
    console,
    price_document,
    say,
    show_prices,
    size_of,
    tell_what_is_not_kept,
)

if TYPE_CHECKING:
    from binmon.cli.main import Arguments

_DONE, _FAILED, _WRONG = 0, 1, 2


def add_parser(subparsers: Any) -> None:
    """Declare the command and its options."""
    parser = declare(
        subparsers,
        "price",
        summary="prices on every configured venue, and the best one",
        description="Walks the books of every configured venue to the size, adds the taker fee of the account (or an assumed"
        "\none), and compares what one unit really costs. Nothing is ordered.",
        examples={
            "binmon price BTCUSDT": "of the least quantity that every venue takes",
            "binmon price BTCUSDT --side sell --quantity 0.5": "what half a bitcoin would bring",
            "binmon price BTC/USDT --quote-amount 20000 --split": "would it be cheaper on two venues",
        },
    )
    add_config(parser)
    parser.add_argument("symbol", metavar="SYMBOL", help="as a venue writes it, or BASE/QUOTE")
    parser.add_argument("--side", choices=SIDES, default="buy", help="which way (default: buy)")
    add_size(parser, "the least that every venue takes")
    parser.add_argument(
        "--split", action="store_true", help="also look for a split over venues that beats the best one"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document (default: a table)")


def run(args: Arguments) -> int:
    """Compare and print; 1 or 2 when no venue has a price for it. Raises ConfigError."""
    from binmon.execution.router import Wish
    from binmon.messages import OrderSide
    from binmon.wiring.execution import trading_floor

    given: Any = args
    size, loaded = size_of(given), args.load_full_config()
    begin_log(loaded.config.logging)
    with trading_floor(loaded, only_looks=True) as floor:
        tell_what_is_not_kept("price", floor)
        decision = floor.router.price(Wish(given.symbol, OrderSide(given.side.upper()), size, split=given.split))
    if given.json:
        print(json.dumps(price_document(decision), ensure_ascii=False))
    else:
        show_prices(decision, console())
    if decision.comparison.quotes:
        return _DONE
    say("price", f"no venue has a price for it: {decision.reason}")
    return _WRONG if decision.asks_for_what_cannot_be else _FAILED
