"""``binmon symbols``: what a venue trades, and what is new since the last look."""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binmon.cli import console
from binmon.cli.declaring import declare
from binmon.errors import ConfigError
from binmon.messages import FirstSeenBy, Instrument
from binmon.state import StateFailed

if TYPE_CHECKING:
    from binmon.cli.main import Arguments
    from binmon.config.schema import Config
    from binmon.watch.known import KnownSymbol, KnownSymbols

_DONE = 0
_WAIT_S = 0.2
_TRADING = "TRADING"


def add_parser(subparsers: Any) -> None:
    """Declare the command and its options."""
    parser = declare(
        subparsers,
        "symbols",
        summary="trading symbols, and what is new",
        description="Lists the symbols of a venue that are trading, each with its first sight where the state database knows it."
        "\nWith --new it lists those that the venue has added since this user looked the last time; the first look counts"
        "\nfrom when the venue was first looked at. Where a daemon watches the listings, news are what it has found, else"
        "\nwhat the venue says now. Ends with 1 when the venue cannot be reached.",
        examples={
            "binmon symbols": "all that are trading",
            "binmon symbols --new": "what was listed since the last time, and is not shown again",
            "binmon symbols --all --json | jq 'select(.status != \"TRADING\").symbol'": "what is halted, for a program",
        },
    )
    parser.add_argument("--new", action="store_true", help="only what is new since the last look with --new")
    parser.add_argument("--all", action="store_true", help="those, too, that are not trading")
    console.add_time(parser)
    console.add_venue(parser)
    parser.add_argument(
        "--json", action="store_true", help="print JSON lines in a terminal, too; a pipe always gets them"
    )


def run(args: Arguments) -> int:
    """List once. Raises ConfigError for what is wrong, and what the venue or the state database fail by."""
    from binmon.wiring.looking import Looking

    given = vars(args)
    console.check_time(given["time"])
    loaded = args.load_full_config()
    times, venue = console.Times(given["time"]), given["venue"]
    with (
        console.quiet_log(loaded.config.logging),
        console.until_interrupted() as ending,
        Looking(loaded, venue, patient=False) as looking,
    ):
        while not looking.wait(_WAIT_S):
            if ending.is_asked:
                return _DONE
        found = looking.instruments
    state_path = Path(loaded.config.state.path)
    if given["new"]:
        with _tables(state_path) as tables:
            news = _news(tables, loaded.config, venue, found)
            if console.is_for_people(given["json"]):
                _print_news(news, venue, times)
            else:
                _print_lines([(one.instrument, one.known) for one in news.symbols], times)
            tables.looked(news.user, news.shown_ms)
        return _DONE
    known = _known(state_path, venue)
    listed = [one for one in found.values() if given["all"] or one.status == _TRADING]
    rows = [(one, known.get(one.symbol)) for one in sorted(listed, key=lambda one: one.symbol)]
    if console.is_for_people(given["json"]):
        _print_table(rows, times)
        print(_summary(len(listed), len(found) - len(listed), venue))
    else:
        _print_lines(rows, times)
    return _DONE


# What is known ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _New:
    """A symbol that is new, as the venue describes it now."""

    instrument: Instrument
    known: KnownSymbol


@dataclass(frozen=True, slots=True)
class _News:
    """What is new for ``user`` since ``since_ms``. ``began``: the venue was never looked at before. ``reset``: most symbols
    that were known are gone, so that it is another one, or was reset. ``total``: so many are listed."""

    symbols: list[_New]
    since_ms: int
    began: bool
    reset: bool
    total: int
    user: str

    @property
    def shown_ms(self) -> int:
        """Up to when all is shown with this. Not up to now: what a daemon has seen and has not written yet must not be
        taken for shown."""
        return max([self.since_ms, *(one.known.first_seen_ms for one in self.symbols)])


@contextmanager
def _tables(path: Path) -> Iterator[KnownSymbols]:
    """The tables of the state database. Raises ConfigError when it cannot be written."""
    from binmon.state import State
    from binmon.watch.known import KnownSymbols

    state = State(path)
    try:
        yield KnownSymbols(state)
    finally:
        state.close()


def _news(tables: KnownSymbols, config: Config, venue: str, found: Mapping[str, Instrument]) -> _News:
    """Bring the tables up to date, where no daemon does, and say what is new for this user. Raises StateFailed."""
    from binmon.state import is_claimed

    listings = config.watch.listings
    watched = listings.enabled and venue in listings.venues and is_claimed(Path(config.state.path))
    known = tables.of_venue(venue)
    began, reset = not known, False
    if began or not watched:
        reset = _compare(tables, venue, known, found)
        known = tables.of_venue(venue)
    # a name for each venue: a look at one says nothing of the others
    user = f"terminal:{_user()}@{venue}"
    baseline_ms = max(
        (one.first_seen_ms for one in known.values() if one.first_seen_by is FirstSeenBy.BASELINE), default=0
    )
    since_ms = max(tables.looked_ms(user) or 0, baseline_ms)
    fresh = [one for one in tables.new_for(user) if one.venue == venue and one.first_seen_ms > since_ms]
    symbols = [_New(found.get(one.symbol) or _as_known(one), one) for one in fresh]
    return _News(symbols, since_ms, began, reset, len(found), user)


def _compare(
    tables: KnownSymbols, venue: str, known: Mapping[str, KnownSymbol], found: Mapping[str, Instrument]
) -> bool:
    """Hold what the venue lists against what is known, by the rules of the daemon, and write what has changed. Whether the
    venue was reset."""
    from binmon.watch.listings import CONFIRM_WITHIN_S, Keep, ListingWatch, LookNow, VenueReset

    watch = ListingWatch(venue, known, 60.0, ticker=False)
    now_s, now_ns, now_ms = time.monotonic(), time.monotonic_ns(), time.time_ns() // 1_000_000
    watch.tick(now_s)
    look = next(effect for effect in watch.effects if isinstance(effect, LookNow))
    watch.on_symbols(look.token, found, now_s, now_ns, now_ns, now_ms)
    watch.tick(now_s + CONFIRM_WITHIN_S)  # nobody else will confirm what is new
    for effect in watch.effects:
        if isinstance(effect, Keep):
            if effect.whole:
                tables.replace(venue, {one.symbol: one for one in effect.symbols})
            else:
                tables.keep(effect.symbols)
    return any(isinstance(effect, VenueReset) for effect in watch.effects)


def _known(path: Path, venue: str) -> dict[str, KnownSymbol]:
    """What the state database knows; nothing where there is none, or it cannot be read: a list is no reason to make one."""
    from binmon.config.places import is_there

    if not is_there(path):
        return {}
    try:
        with _tables(path) as tables:
            return tables.of_venue(venue)
    except (ConfigError, StateFailed):
        return {}


def _as_known(one: KnownSymbol) -> Instrument:
    """A symbol that the venue does not list now, with the status that it had."""
    from decimal import Decimal

    return Instrument(one.venue, one.symbol, one.base, one.quote, one.status, Decimal(0), Decimal(0))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "somebody"


# Output -----------------------------------------------------------------------------------------------------------


def _print_lines(rows: Sequence[tuple[Instrument, KnownSymbol | None]], times: console.Times) -> None:
    for instrument, known in rows:
        console.print_json(
            {
                "venue": instrument.venue,
                "symbol": instrument.symbol,
                "base": instrument.base,
                "quote": instrument.quote,
                "status": instrument.status,
                "first_seen": None if known is None else times.machine(known.first_seen_ms),
                "first_seen_by": None if known is None else known.first_seen_by.value,
            }
        )


def _summary(count: int, others: int, venue: str) -> str:
    """The line below the table. ``others``: so many are left out, as they are not trading."""
    text = f"{_symbols(count)} of {venue}"
    if not others:
        return text
    return (
        f"{text}; {others} {'is' if others == 1 else 'are'} not trading (--all shows {'it' if others == 1 else 'them'})"
    )


def _symbols(count: int) -> str:
    return "1 symbol" if count == 1 else f"{count} symbols"


def _print_news(news: _News, venue: str, times: console.Times) -> None:
    since = times.day(news.since_ms)
    if news.reset:
        print(f"{venue} was reset, or is another one: what it lists now counts as known, {_symbols(news.total)}")
    elif news.began:
        print(
            f"first look at {venue}: {_symbols(news.total)} {'is' if news.total == 1 else 'are'} known now; what comes later is new"
        )
    elif not news.symbols:
        print(f"nothing new on {venue} since {since} ({times.name})")
    else:
        _print_table([(one.instrument, one.known) for one in news.symbols], times)
        print(f"{len(news.symbols)} new on {venue} since {since} ({times.name})")


def _print_table(rows: Sequence[tuple[Instrument, KnownSymbol | None]], times: console.Times) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("symbol", no_wrap=True, style="bold")
    for name in ("base", "quote", "status"):
        table.add_column(name, no_wrap=True)
    table.add_column(f"first seen ({times.name})", no_wrap=True)
    for instrument, known in rows:
        status = Text(instrument.status, "green" if instrument.status == _TRADING else "yellow")
        table.add_row(instrument.symbol, instrument.base, instrument.quote, status, _first_seen(known, times))
    Console().print(table)


def _first_seen(known: KnownSymbol | None, times: console.Times) -> str:
    if known is None:
        return "–"
    when = times.day(known.first_seen_ms)
    # what was there when the venue was first looked at is as old as that at least
    return f"before {when}" if known.first_seen_by is FirstSeenBy.BASELINE else when
