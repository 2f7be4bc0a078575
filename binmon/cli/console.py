"""What the commands that look at the market share: arguments, times, numbers, lines of JSON, and the end by Ctrl-C."""

from __future__ import annotations

import argparse
import os
import queue
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import msgspec

from binmon.errors import ConfigError
from binmon.messages import PriceCrossed, PriceReturned
from binmon.watch.announcements import plain
from binmon.watch.thresholds import BASIS_POINTS, Direction, Line, Side

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from binmon.config.schema import LoggingConfig
    from binmon.wiring.looking import Connection

VENUES = ("binance", "bybit")
PRICES = ("open", "high", "low", "close")
TIMES = ("utc", "local", "ms")
HYSTERESIS_BPS = 5.0  # as in the configuration: watch.candles[].hysteresis_bps
STALE_AFTER_S = 10.0  # a stream that is silent for longer is worth a look; candles come every two seconds at most
COLOURS = {Direction.ABOVE: "green", Direction.BELOW: "red"}
_ARROWS = {Direction.ABOVE: "▲", Direction.BELOW: "▼"}
_ENDING = (signal.SIGINT, signal.SIGTERM)


class Suggested(tuple[str, ...]):
    """Values that completion and help name, while anything is taken: what is wrong is said in one line of our own."""

    __slots__ = ()

    def __contains__(self, value: object) -> bool:
        return True


# Arguments --------------------------------------------------------------------------------------------------------


def add_looking(parser: argparse.ArgumentParser) -> None:
    """Declare what ``candles`` and ``trades`` have in common."""
    parser.add_argument(
        "--above", metavar="X", help="mark prices above this, and ring when it is crossed (default: none)"
    )
    parser.add_argument(
        "--below", metavar="X", help="mark prices below this, and ring when it is crossed (default: none)"
    )
    parser.add_argument(
        "--hysteresis-bps",
        metavar="N",
        help="how far back a price must come until it is over, in hundredths of a percent of the limit"
        f" (default: {HYSTERESIS_BPS:g})",
    )
    add_time(parser)
    add_venue(parser)
    parser.add_argument(
        "--json", action="store_true", help="print JSON lines in a terminal, too; a pipe always gets them"
    )


def add_time(parser: argparse.ArgumentParser) -> None:
    """Declare how times are shown."""
    parser.add_argument(
        "--time",
        choices=Suggested(TIMES),
        default="utc",
        help="times as UTC, of this machine's time zone, or raw milliseconds (default: utc)",
    )


def add_venue(parser: argparse.ArgumentParser) -> None:
    """Declare which venue is looked at."""
    parser.add_argument(
        "--venue", choices=Suggested(VENUES), default="binance", help="which venue to look at (default: binance)"
    )


def lines_of(above: str | None, below: str | None, hysteresis_bps: str | None) -> tuple[Line, ...]:
    """The lines that the command line draws. Raises ConfigError for what is no number above 0."""
    bps = Decimal(repr(HYSTERESIS_BPS))
    if hysteresis_bps is not None:
        bps = number(hysteresis_bps, "--hysteresis-bps")
        if not 0 <= bps < BASIS_POINTS:
            raise ConfigError(
                f"expected a number from 0 to below {BASIS_POINTS}, got '{hysteresis_bps}'", key="--hysteresis-bps"
            )
    drawn = []
    for direction, text in ((Direction.ABOVE, above), (Direction.BELOW, below)):
        if text is not None:
            key = f"--{direction.value}"
            price = number(text, key)
            if price <= 0:
                raise ConfigError(f"expected a number above 0, got '{text}'", key=key)
            drawn.append(Line(direction, price, price * bps / BASIS_POINTS))
    return tuple(drawn)


def number(text: str, key: str) -> Decimal:
    """An exact number of the command line. Raises ConfigError."""
    try:
        found = Decimal(text)
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite():
        raise ConfigError(f"expected a number, got '{text}'", key=key)
    return found


def check_time(form: str) -> None:
    """Raise ConfigError for a form of time that is none."""
    if form not in TIMES:
        raise ConfigError(f"'{form}' is no form of time, expected one of {' '.join(TIMES)}", key="--time")


def is_for_people(as_json: bool) -> bool:
    """Whether somebody sits before the output; else it is lines for a program."""
    return not as_json and sys.stdout.isatty()


@contextmanager
def quiet_log(section: LoggingConfig) -> Iterator[None]:
    """No log within it: the output belongs to what is looked at, and the log file to the daemon."""
    from binmon.telemetry.logging import set_up

    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        set_up(section.level, "json", nowhere)
        yield


# Times and numbers ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Times:
    """Times in the form that is asked for: ``utc``, ``local`` or ``ms``."""

    form: str

    @property
    def name(self) -> str:
        """The form, for the head of a column."""
        return {"utc": "UTC", "local": datetime.now().astimezone().tzname() or "local", "ms": "ms"}[self.form]

    def machine(self, time_ms: int) -> str | int:
        """For programs: RFC 3339 with milliseconds, or milliseconds."""
        if self.form == "ms":
            return time_ms
        return _text(self._moment(time_ms).isoformat(timespec="milliseconds"))

    def day(self, time_ms: int) -> str:
        """For people: date and minute."""
        return str(time_ms) if self.form == "ms" else self._moment(time_ms).strftime("%Y-%m-%d %H:%M")

    def date(self, time_ms: int) -> str:
        """For people: the date alone. A date of the venue, so always UTC but for the name of it."""
        return str(time_ms) if self.form == "ms" else self._moment(time_ms).strftime("%Y-%m-%d")

    def second(self, time_ms: int) -> str:
        """For people: the time of day to the second."""
        return str(time_ms) if self.form == "ms" else self._moment(time_ms).strftime("%H:%M:%S")

    def millisecond(self, time_ms: int) -> str:
        """For people: the time of day to the millisecond."""
        return str(time_ms) if self.form == "ms" else self._moment(time_ms).strftime("%H:%M:%S.%f")[:-3]

    def _moment(self, time_ms: int) -> datetime:
        moment = datetime.fromtimestamp(time_ms // 1000, UTC).replace(microsecond=time_ms % 1000 * 1000)
        return moment if self.form == "utc" else moment.astimezone()


def _text(moment: str) -> str:
    return moment.replace("+00:00", "Z")


def age(seconds: float) -> str:
    """How long ago, for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


# For programs -----------------------------------------------------------------------------------------------------


def print_json(fields: Mapping[str, Any]) -> None:
    """One line of JSON, flushed. Decimals are numbers with exactly their digits."""
    plainly = {
        name: msgspec.Raw(plain(value).encode()) if isinstance(value, Decimal) else value
        for name, value in fields.items()
    }
    print(msgspec.json.encode(plainly).decode(), flush=True)


def crossing_fields(message: PriceCrossed | PriceReturned, times: Times) -> dict[str, Any]:
    """A crossing, by the names that the log has for it."""
    is_crossed = isinstance(message, PriceCrossed)
    fields: dict[str, Any] = {
        "event": "price.crossed" if is_crossed else "price.returned",
        "venue": message.venue,
        "symbol": message.symbol,
        "source": message.source,
        "price": message.price,
        "threshold": message.threshold,
        "direction": message.direction,
        "time": times.machine(message.at_ms),
    }
    if isinstance(message, PriceCrossed):
        return fields | {"already": message.already}
    return fields | {"beyond_s": message.beyond_ms / 1000}


class Teller:
    """Says on standard error how the connection stands, when it has changed for the worse, and when it is well again."""

    def __init__(self, command: str) -> None:
        self._command, self._told, self._dropped = command, "", 0

    def tell(self, connection: Connection) -> None:
        """Tell it, if it is news."""
        if connection.is_trouble:
            # the same reason with another delay is no news
            reason = connection.text.partition(", asking again")[0]
            if reason != self._told:
                self._told = reason
                self.say(connection.text)
        elif connection.is_live and self._told:
            self._told = ""
            self.say("connected again")

    def tell_dropped(self, dropped: int) -> None:
        """Tell that so many messages found no room since the beginning, if it is news."""
        if dropped > self._dropped:
            self.say(f"{dropped - self._dropped} lines are left out: whoever reads the output is too slow")
            self._dropped = dropped

    def say(self, text: str) -> None:
        """One line."""
        print(f"binmon {self._command}: {' '.join(text.split())}", file=sys.stderr, flush=True)


# For people -------------------------------------------------------------------------------------------------------


def styled_price(text: str, price: Decimal, drawn: Iterable[Line], style: str = "") -> Text:
    """A price in the colour of the line that it is beyond, if it is."""
    from rich.text import Text

    for line in drawn:
        if line.is_beyond(price):
            return Text(text, f"{style} {COLOURS[line.direction]}".strip())
    return Text(text, style)


def crossing_text(message: PriceCrossed | PriceReturned, times: Times) -> Text:
    """A crossing in a line of its own."""
    from rich.text import Text

    direction = Direction(message.direction)
    when, line = times.second(message.at_ms), f"{direction.value} {plain(message.threshold)}"
    if isinstance(message, PriceCrossed):
        already = " already" if message.already else ""
        text = f"{_ARROWS[direction]} {when}  {plain(message.price)} is{already} {line}"
        return Text(text, f"bold {COLOURS[direction]}")
    text = f"• {when}  {plain(message.price)} is back, {age(message.beyond_ms / 1000)} {line}"
    return Text(text, "bold")


def sides_text(sides: Iterable[tuple[Line, Side]]) -> Text:
    """Where the price stands to each line."""
    from rich.text import Text

    parts: list[Text] = []
    for line, side in sides:
        name = f"{line.direction.value} {plain(line.price)}"
        if side is Side.BEYOND:
            # within the hysteresis the price alone does not show it
            until = f" until {line.back:.8g}" if line.hysteresis else ""
            parts.append(Text(f"{_ARROWS[line.direction]} {name}{until}", f"bold {COLOURS[line.direction]}"))
        else:
            parts.append(Text(f"{'–' if side is Side.WITHIN else '?'} not {name}", "dim"))
    return Text("   ").join(parts)


def bottom(
    parts: list[Text], title: str, connection: Connection, heard_mono_s: float | None, width: int
) -> RenderableType:
    """What stays at the bottom: ``parts``, then title and connection, in one line where they fit. ``heard_mono_s`` is when
    the newest came (monotonic)."""
    from rich.console import Group
    from rich.text import Text

    heading = Text(f"{title}: ", "bold")
    state = connection_text(connection, None if heard_mono_s is None else time.monotonic() - heard_mono_s)
    whole = Text.assemble(heading, state, ("; Ctrl-C ends", "dim"))
    shown = [*parts, whole] if len(whole) <= width else [*parts, heading, state]
    for part in shown:
        part.no_wrap, part.overflow = True, "ellipsis"
    return Group(*shown)


def connection_text(connection: Connection, heard_s: float | None) -> Text:
    """How the connection stands; ``heard_s``: how long ago the newest came."""
    from rich.text import Text

    if connection.is_live:
        style = "yellow" if heard_s is not None and heard_s >= STALE_AFTER_S else "green"
    else:
        style = "bold red" if heard_s is not None or connection.is_trouble else "yellow"
    text = Text(connection.text, style)
    if heard_s is not None:
        text.append(f", the newest came {age(heard_s)} ago" if heard_s >= STALE_AFTER_S / 2 else "")
    return text


# The end ----------------------------------------------------------------------------------------------------------


class Ending:
    """Whether somebody wants this to end: Ctrl-C, or SIGTERM. Whoever wants it twice gets a KeyboardInterrupt, which ends
    waiting for a reader of the output that does not read."""

    def __init__(self) -> None:
        # only enqueues: a handler that takes a lock could meet itself
        self._asked: queue.SimpleQueue[int] = queue.SimpleQueue()

    @property
    def is_asked(self) -> bool:
        """True from then on."""
        return not self._asked.empty()

    def ask(self, number: int, _: FrameType | None) -> None:
        """The handler of the signals."""
        if self.is_asked:
            raise KeyboardInterrupt
        self._asked.put(number)


@contextmanager
def until_interrupted() -> Iterator[Ending]:
    """Within it the first Ctrl-C is a wish, and no exception somewhere in the midst of things."""
    ending = Ending()
    before = {number: signal.signal(number, ending.ask) for number in _ENDING}
    try:
        yield ending
    except KeyboardInterrupt:
        # what nobody reads must not be waited for once more when the interpreter ends
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
