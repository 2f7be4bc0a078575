"""``binmon candles``: history, then the live candle, in the terminal or as JSON lines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from binmon.cli import console
from binmon.cli.declaring import declare
from binmon.errors import ConfigError
from binmon.messages import Candle, CandlesChanged, PriceCrossed, PriceReturned
from binmon.watch.announcements import plain

if TYPE_CHECKING:
    from decimal import Decimal

    from rich.console import Console, RenderableType
    from rich.text import Text

    from binmon.cli.main import Arguments
    from binmon.watch.candles import CandleRule
    from binmon.wiring.looking import Looking

_DONE = 0
_HISTORY = 20
_MOST_HISTORY = 5000
_LOOK_S = 0.1
_REFRESH_S = 0.25
_OPEN_ROWS = 5  # candles that are not over, or wait for one before them
_DAY_MS = 86_400_000


def add_parser(subparsers: Any) -> None:
    """Declare the command and its options."""
    parser = declare(
        subparsers,
        "candles",
        summary="history, then the live candle",
        description="Shows the newest candles of a symbol and goes on with the live one, until Ctrl-C. After a break it asks for"
        "\nwhat it has missed. In a pipe every change is a line of JSON. A venue that cannot be reached is asked again and"
        "\nagain, and standard error says so. Needs no daemon and no key.",
        examples={
            "binmon candles BTCUSDT 1m --above 70000 --below 60000": "marks prices beyond a limit, and rings when one is"
            " crossed",
            "binmon candles BTCUSDT 1h --price high --time local": "the high of each hour, times of this machine",
            "binmon candles BTCUSDT 1m --closed-only | jq .close": "the close of every minute, for a program",
        },
    )
    parser.add_argument("symbol", metavar="SYMBOL", help="symbol as the venue writes it, such as BTCUSDT")
    parser.add_argument(
        "interval",
        metavar="INTERVAL",
        choices=console.Suggested(
            ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
        ),
        help="length of the candles: 1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M, as far as the venue has them",
    )
    parser.add_argument(
        "--price",
        choices=console.Suggested(console.PRICES),
        default="close",
        help="which price of the candle is held against the limits (default: close)",
    )
    parser.add_argument(
        "--closed-only", action="store_true", help="only candles that are over are held against the limits and printed"
    )
    parser.add_argument(
        "--history", metavar="N", help=f"so many candles of before, up to {_MOST_HISTORY} (default: {_HISTORY})"
    )
    console.add_looking(parser)


def run(args: Arguments) -> int:
    """Look until Ctrl-C. Raises ConfigError for what is wrong, before anything is started where that shows."""
    from binmon.watch.candles import CandleRule
    from binmon.wiring.looking import Looking
    from binmon.wiring.shown import kept_for

    given = vars(args)
    console.check_time(given["time"])
    history = _history(given["history"])
    rule = CandleRule(
        given["symbol"].upper(),
        given["interval"],
        given["price"],
        console.lines_of(given["above"], given["below"], given["hysteresis_bps"]),
        given["closed_only"],
    )
    loaded = args.load_full_config()
    with (
        console.quiet_log(loaded.config.logging),
        console.until_interrupted() as ending,
        Looking(loaded, given["venue"], rule, history=kept_for(history)) as looking,
    ):
        times = console.Times(given["time"])
        if console.is_for_people(given["json"]):
            _Screen(looking, rule, times, history).run(ending)
        else:
            _print_lines(looking, rule, times, history, ending)
    return _DONE


def _history(text: str | None) -> int:
    if text is None:
        return _HISTORY
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= _MOST_HISTORY):
        raise ConfigError(f"expected a whole number from 0 to {_MOST_HISTORY}, got '{text}'", key="--history")
    return int(text)


# For programs -----------------------------------------------------------------------------------------------------


def _print_lines(
    looking: Looking, rule: CandleRule, times: console.Times, history: int, ending: console.Ending
) -> None:
    from binmon.wiring.shown import Changes, Over

    teller = console.Teller("candles")
    over, changes = Over(history), Changes(history)
    while not ending.is_asked:
        message = looking.messages.take(_LOOK_S)
        looking.check()
        news: list[Candle] = []
        if rule.closed_only:
            news = over.news(looking.candles)
        elif isinstance(message, CandlesChanged):
            news = changes.news(message)
        for candle in news:
            console.print_json(_fields(candle, times))
        if isinstance(message, PriceCrossed | PriceReturned):
            console.print_json(console.crossing_fields(message, times))
        if message is None:
            teller.tell(looking.connection)
        teller.tell_dropped(looking.messages.dropped)


def _fields(candle: Candle, times: console.Times) -> dict[str, Any]:
    return {
        "event": "candle",
        "venue": candle.venue,
        "symbol": candle.symbol,
        "interval": candle.interval,
        "open_time": times.machine(candle.open_time_ms),
        "close_time": times.machine(candle.close_time_ms),
        "open": candle.open,
        "high": candle.high,
        "low": candle.low,
        "close": candle.close,
        "volume": candle.volume,
        "quote_volume": candle.quote_volume,
        "trades": candle.trades,
        "closed": candle.closed,
    }


# For people -------------------------------------------------------------------------------------------------------


class _Screen:
    """Candles that are over scroll away above; below stay the live one, the limits and the connection."""

    def __init__(self, looking: Looking, rule: CandleRule, times: console.Times, history: int) -> None:
        from rich.console import Console

        from binmon.wiring.shown import Over

        self._looking, self._rule, self._times = looking, rule, times
        self._console: Console = Console()
        self._rows = _Rows(rule, times)
        self._over = Over(history)
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
                while message is not None:
                    self._heard_s = time.monotonic()
                    self._show_over()
                    if isinstance(message, PriceCrossed | PriceReturned):
                        self._show_crossing(message)
                    message = self._looking.messages.take(0)
                if time.monotonic() >= refresh_s:
                    refresh_s = time.monotonic() + _REFRESH_S
                    self._show_over()
                    live.refresh()

    def _show_over(self) -> None:
        over = self._over.news(self._looking.candles)
        if over:
            self._rows.fit(over)
            width = self._console.width
            for text in (*self._rows.head_once(width), *(self._rows.row(candle, width) for candle in over)):
                self._print(text)

    def _show_crossing(self, message: PriceCrossed | PriceReturned) -> None:
        self._print(console.crossing_text(message, self._times))
        if isinstance(message, PriceCrossed):
            self._console.bell()

    def _print(self, text: Text) -> None:
        self._console.print(text, no_wrap=True, overflow="ellipsis", crop=True)

    def _bottom(self) -> RenderableType:
        from rich.text import Text

        looking, rule, width = self._looking, self._rule, self._console.width
        parts: list[Text] = []
        rest = self._over.rest(looking.candles)[-_OPEN_ROWS:]
        self._rows.fit(rest)
        parts += [self._rows.row(candle, width) for candle in rest]
        if not rest and self._heard_s is not None:
            parts.append(Text("…", "dim"))  # the place of the candle that begins with the next trade
        if rule.lines and self._heard_s is not None:
            name = f"{rule.price}{' of closed candles' if rule.closed_only else ''}: "
            parts.append(Text(name, "dim").append_text(console.sides_text(looking.sides)))
        title = f"{looking.venue_name} {rule.symbol} {rule.interval}, {looking.environment}"
        return console.bottom(parts, title, looking.connection, self._heard_s, width)


class _Rows:
    """Candles as rows of columns, as many as fit; the columns grow with what was in them and never shrink."""

    _LEAST_ROOM = ("trades", "volume", "open", "low", "high", "close")  # left out in this order when it is narrow

    def __init__(self, rule: CandleRule, times: console.Times) -> None:
        self._rule, self._times = rule, times
        # that of the rule goes last
        self._leave_out = [name for name in self._LEAST_ROOM if name != rule.price] + [rule.price]
        self._widths: dict[str, int] = {}
        self._headed = False

    def fit(self, candles: Sequence[Candle]) -> None:
        """Make room for these."""
        for candle in candles:
            for name, text in self._cells(candle).items():
                self._widths[name] = max(self._widths.get(name, len(self._title(name))), len(text))

    def head_once(self, width: int) -> list[Text]:
        """The titles, the first time."""
        from rich.text import Text

        if self._headed:
            return []
        self._headed = True
        titles = [self._padded(name, self._title(name)) for name in self._columns(width)]
        return [Text("  ".join(titles), "bold")]

    def row(self, candle: Candle, width: int) -> Text:
        """A candle; one that is open is marked."""
        from rich.text import Text

        cells, parts = self._cells(candle), []
        for name in self._columns(width):
            text = self._padded(name, cells[name])
            if name == self._rule.price:
                price: Decimal = getattr(candle, name)
                parts.append(console.styled_price(text, price, self._rule.lines, "" if candle.closed else "bold"))
            else:
                parts.append(Text(text, "" if candle.closed else "bold"))
        return Text("  ").join(parts)

    def _columns(self, width: int) -> list[str]:
        names = [name for name in ("time", *console.PRICES, "volume", "trades") if name in self._widths]
        for name in self._leave_out[:-1]:
            if sum(self._widths[one] + 2 for one in names) - 2 <= width:
                break
            if name in names:
                names.remove(name)
        return names

    def _cells(self, candle: Candle) -> dict[str, str]:
        cells = {"time": self._time(candle)} | {name: plain(getattr(candle, name)) for name in console.PRICES}
        cells["volume"] = plain(candle.volume)
        if candle.trades or candle.venue == "binance":  # the others do not count them
            cells["trades"] = str(candle.trades)
        return cells

    def _time(self, candle: Candle) -> str:
        span_ms = candle.close_time_ms + 1 - candle.open_time_ms
        if span_ms >= _DAY_MS:
            return self._times.date(candle.open_time_ms)
        if span_ms >= 60_000:
            return self._times.day(candle.open_time_ms)
        return self._times.second(candle.open_time_ms)

    def _title(self, name: str) -> str:
        return f"open time ({self._times.name})" if name == "time" else name

    def _padded(self, name: str, text: str) -> str:
        width = self._widths[name]
        return text.ljust(width) if name == "time" else text.rjust(width)
