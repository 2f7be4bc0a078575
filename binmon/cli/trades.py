"""``binmon trades``: live trades, in the terminal or as JSON lines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from binmon.cli import console
from binmon.cli.declaring import declare
from binmon.messages import PriceCrossed, PriceReturned, Trade
from binmon.watch.announcements import plain

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from binmon.cli.main import Arguments
    from binmon.watch.trades import TradeRule
    from binmon.wiring.looking import Looking

_DONE = 0
_LOOK_S = 0.1
_REFRESH_S = 0.25


def add_parser(subparsers: Any) -> None:
    """Declare the command and its options."""
    parser = declare(
        subparsers,
        "trades",
        summary="live trades",
        description="Shows the trades of a symbol as they happen, each once, until Ctrl-C. In a pipe every trade is a line of"
        "\nJSON. A venue that cannot be reached is asked again and again, and standard error says so. Needs no daemon and no"
        "\nkey.",
        examples={
            "binmon trades BTCUSDT --above 70000": "marks trades above a limit, and rings when it is crossed",
            "binmon trades BTCUSDT --venue bybit --time local": "of another venue, times of this machine",
            "binmon trades BTCUSDT | jq 'select(.quantity > 1)'": "the large ones, for a program",
        },
    )
    parser.add_argument("symbol", metavar="SYMBOL", help="symbol as the venue writes it, such as BTCUSDT")
    console.add_looking(parser)


def run(args: Arguments) -> int:
    """Look until Ctrl-C. Raises ConfigError for what is wrong, before anything is started where that shows."""
    from binmon.watch.trades import TradeRule
    from binmon.wiring.looking import Looking

    given = vars(args)
    console.check_time(given["time"])
    drawn = console.lines_of(given["above"], given["below"], given["hysteresis_bps"])
    rule = TradeRule(given["symbol"].upper(), drawn)
    loaded = args.load_full_config()
    times = console.Times(given["time"])
    with (
        console.quiet_log(loaded.config.logging),
        console.until_interrupted() as ending,
        Looking(loaded, given["venue"], rule) as looking,
    ):
        if console.is_for_people(given["json"]):
            _Screen(looking, rule, times).run(ending)
        else:
            _print_lines(looking, times, ending)
    return _DONE


# For programs -----------------------------------------------------------------------------------------------------


def _print_lines(looking: Looking, times: console.Times, ending: console.Ending) -> None:
    teller = console.Teller("trades")
    while not ending.is_asked:
        message = looking.messages.take(_LOOK_S)
        looking.check()
        if isinstance(message, Trade):
            console.print_json(_fields(message, times))
        elif isinstance(message, PriceCrossed | PriceReturned):
            console.print_json(console.crossing_fields(message, times))
        if message is None:
            teller.tell(looking.connection)
        teller.tell_dropped(looking.messages.dropped)


def _fields(trade: Trade, times: console.Times) -> dict[str, Any]:
    return {
        "event": "trade",
        "venue": trade.venue,
        "symbol": trade.symbol,
        "time": times.machine(trade.trade_time_ms),
        "trade_id": trade.trade_id,
        "side": _side(trade),
        "price": trade.price,
        "quantity": trade.quantity,
    }


def _side(trade: Trade) -> str:
    """What the taker did."""
    return "sell" if trade.buyer_is_maker else "buy"


# For people -------------------------------------------------------------------------------------------------------


class _Screen:
    """Trades scroll away above; below stay the limits and the connection."""

    def __init__(self, looking: Looking, rule: TradeRule, times: console.Times) -> None:
        from rich.console import Console

        self._looking, self._rule, self._times = looking, rule, times
        self._console: Console = Console()
        self._widths = [len(title) for title in self._titles()]
        self._headed = False
        self._heard_s: float | None = None

    def run(self, ending: console.Ending) -> None:
        """Show until the end is asked for. Raises what the look ends by."""
        from rich.live import Live

        with Live(
            get_renderable=self._bottom, console=self._console, auto_refresh=False, vertical_overflow="crop"
        ) as live:
            refresh_s = time.monotonic()
            while not ending.is_asked:
                message = self._looking.messages.take(_LOOK_S)
                self._looking.check()
                self._show(message)
                if time.monotonic() >= refresh_s:
                    refresh_s = time.monotonic() + _REFRESH_S
                    live.refresh()

    def _show(self, message: object | None) -> None:
        """Show this and all that waits behind it at once: a busy market would not be kept up with line by line."""
        from rich.text import Text

        texts: list[Text] = []
        while message is not None and len(texts) < 1000:
            self._heard_s = time.monotonic()
            if isinstance(message, Trade):
                if not self._headed:
                    self._headed = True
                    texts.append(Text("  ".join(self._padded(self._titles())), "bold"))
                texts.append(self._row(message))
            elif isinstance(message, PriceCrossed | PriceReturned):
                texts.append(console.crossing_text(message, self._times))
                if isinstance(message, PriceCrossed):
                    self._console.bell()
            message = self._looking.messages.take(0)
        if texts:
            self._console.print(Text("\n").join(texts), no_wrap=True, overflow="ellipsis", crop=True)

    def _titles(self) -> list[str]:
        return [f"time ({self._times.name})", "side", "price", "quantity"]

    def _padded(self, cells: list[str]) -> list[str]:
        self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, cells, strict=True)]
        first, second, *others = self._widths
        return [
            cells[0].ljust(first),
            cells[1].ljust(second),
            *(cell.rjust(width) for cell, width in zip(cells[2:], others, strict=True)),
        ]

    def _row(self, trade: Trade) -> Text:
        from rich.text import Text

        when, side, price, quantity = self._padded(
            [self._times.millisecond(trade.trade_time_ms), _side(trade), plain(trade.price), plain(trade.quantity)]
        )
        parts = [
            Text(when),
            Text(side, "dim"),
            console.styled_price(price, trade.price, self._rule.lines),
            Text(quantity),
        ]
        return Text("  ").join(parts)

    def _bottom(self) -> RenderableType:
        looking = self._looking
        parts = [console.sides_text(looking.sides)] if self._rule.lines and self._heard_s is not None else []
        title = f"{looking.venue_name} {looking.symbol} trades, {looking.environment}"
        return console.bottom(parts, title, looking.connection, self._heard_s, self._console.width)
