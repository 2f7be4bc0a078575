"""``binmon books``: looks at the recordings."""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from binmon.cli import streams, tables
from binmon.cli.declaring import add_config, declare
from binmon.errors import ConfigError

if TYPE_CHECKING:
    from binmon.recorder.reader import BookDataset, Coverage, RecordedBook

_DONE, _FAILED, _WRONG_ARGUMENTS, _FOUND_PROBLEMS = 0, 1, 2, 3
_BAR_WIDTH = 20
_COVERAGE = (
    tables.Column("venue"),
    tables.Column("symbol"),
    tables.Column("date"),
    *(
        tables.Column(heading, leaves, right=True)
        for heading, leaves in (
            ("rows", 1), ("first", 4), ("last", 5), ("covered", 0), ("epochs", 7), ("gaps", 2), ("files", 8), ("size", 6),
        )
    ),
)  # fmt: skip


class _Wrong(Exception):
    """The command line asks for what is not there; the text is one line."""


class _MixedParser(argparse.ArgumentParser):
    """Takes DIR after options too (``show BTCUSDT --levels 5 DIR``), which argparse by itself does not."""

    _mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse options first, then what stands between and behind them."""
        if self._mixing:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False


def add_parser(subparsers: Any) -> None:
    """Declare the command, its actions and their options."""
    common = argparse.ArgumentParser(add_help=False)
    # no default: the action's would hide what stands before it, as in `binmon books -c FILE ls`
    add_config(common, default=argparse.SUPPRESS)
    table = argparse.ArgumentParser(add_help=False)
    table.add_argument("--json", action="store_true", help="print JSON (default: a table)")
    venue_help = "venue, where several have the symbol (default: whichever has it)"
    directory_help = "directory of the recordings (default: recorder.directory of the configuration)"

    parser = declare(
        subparsers,
        "books",
        summary="look at the recordings",
        description="Lists, shows, exports and verifies recorded books, also while the daemon writes them.",
        examples={
            "binmon books ls": "what is recorded",
            "binmon books show BTCUSDT": "the newest book as a table with depth bars",
            "binmon books show --help": "what an action takes",
        },
    )
    add_config(parser)
    actions = parser.add_subparsers(
        dest="action",
        required=True,
        help="what to do; binmon books ACTION --help says more",
        metavar="ls|show|export|verify",
        parser_class=_MixedParser,
    )

    ls = declare(
        actions,
        "ls",
        summary="what is recorded, by venue, symbol and day",
        description="Lists rows, times, share of the time covered, epochs, gaps, files and size, by venue, symbol and day.",
        examples={
            "binmon books ls": "of the configuration",
            "binmon books ls --json /srv/data": "of another directory",
        },
        parents=[common, table],
    )
    ls.add_argument("directory", nargs="?", type=Path, metavar="DIR", help=directory_help)

    show = declare(
        actions,
        "show",
        summary="one book as of a time or update id (default: the newest)",
        description="Shows one recorded book: both sides with the depth added up, and how far each side is known.",
        examples={
            "binmon books show BTCUSDT": "the newest",
            "binmon books show BTCUSDT --at 2026-11-21T10:00:00Z --levels 5": "as of a time",
        },
        parents=[common, table],
    )
    show.add_argument("symbol", metavar="SYMBOL", help="symbol as the venue writes it, such as BTCUSDT")
    show.add_argument("directory", nargs="?", type=Path, metavar="DIR", help=directory_help)
    show.add_argument(
        "--at", metavar="TIME", help="receive time: ISO 8601, UTC unless it says otherwise (default: the newest)"
    )
    show.add_argument("--update-id", type=int, metavar="N", help="update id of the venue (default: the newest)")
    show.add_argument("--levels", type=_positive, default=15, metavar="N", help="levels a side (default: 15)")
    show.add_argument("--venue", metavar="NAME", help=venue_help)

    export = declare(
        actions,
        "export",
        summary="rows as CSV (one line a level) or JSON lines",
        description="Prints recorded books, oldest first: CSV with one line a level, or JSON lines with one line a book.",
        examples={
            "binmon books export BTCUSDT --levels 10 > btc.csv": "ten levels a side of everything",
            "binmon books export BTCUSDT --to jsonl --start 2026-11-21 --end 2026-11-22": "one day",
        },
        parents=[common],
    )
    export.add_argument("symbol", metavar="SYMBOL", help="symbol as the venue writes it, such as BTCUSDT")
    export.add_argument("directory", nargs="?", type=Path, metavar="DIR", help=directory_help)
    export.add_argument("--json", action="store_true", help="print JSON lines, as with --to jsonl (default: CSV)")
    export.add_argument(
        "--to", choices=("csv", "jsonl"), help="form of the output (default: jsonl with --json, else csv)"
    )
    export.add_argument("--levels", type=_positive, metavar="K", help="levels a side (default: all)")
    export.add_argument(
        "--start",
        metavar="TIME",
        help="first receive time, ISO 8601, UTC unless it says otherwise (default: the oldest)",
    )
    export.add_argument("--end", metavar="TIME", help="receive time to stop before (default: none, up to the newest)")
    export.add_argument("--venue", metavar="NAME", help=venue_help)

    verify = declare(
        actions,
        "verify",
        summary="check continuity; exit status 3 when broken",
        description="Proves that ids ascend, that every jump is explained by an event, and that no book is crossed. Exit status"
        "\n3 when something is broken.",
        examples={"binmon books verify": "the whole recording", "binmon books verify --json data": "as JSON"},
        parents=[common, table],
    )
    verify.add_argument("directory", nargs="?", type=Path, metavar="DIR", help=directory_help)


def run(args: argparse.Namespace) -> int:
    """Do what ``args.action`` names. Returns 0, 1 (the disk failed), 2 (wrong arguments) or 3 (verify: broken)."""
    from binmon.recorder.reader import open_books  # pyarrow loads only when the command runs

    try:
        directory = args.directory
        if directory is None:
            directory = Path(args.load_config().recorder.directory)
        try:
            dataset = open_books(directory)
        except FileNotFoundError as error:
            raise _Wrong(str(error)) from error
        return _ACTIONS[args.action](dataset, args)
    except _Wrong as error:
        print(f"binmon books: {error}", file=sys.stderr)
        return _WRONG_ARGUMENTS
    except ConfigError as error:
        print(f"binmon books: {error}", file=sys.stderr)
        return _WRONG_ARGUMENTS
    except (BrokenPipeError, streams.OutputFailed):
        raise  # no fault of the recordings
    except (OSError, ValueError) as error:
        print(f"binmon books: {directory}: {error}", file=sys.stderr)
        return _FAILED


def _ls(dataset: BookDataset, args: argparse.Namespace) -> int:
    coverage = dataset.coverage()
    if args.json:
        print(json.dumps([asdict(day) for day in coverage], indent=2))
    else:
        _print_coverage(coverage)
    return _DONE


def _show(dataset: BookDataset, args: argparse.Namespace) -> int:
    _check_time("--at", args.at)
    symbol = _symbol(dataset, args)
    _check_symbol(dataset, symbol, args.venue)
    try:
        book = dataset.book(symbol, at=args.at, update_id=args.update_id, venue=args.venue)
    except LookupError as error:
        raise _Wrong(str(error)) from error
    if args.json:
        document = asdict(book)
        for name in ("bid_price", "bid_quantity", "ask_price", "ask_quantity"):
            document[name] = document[name][: args.levels].tolist()
        print(json.dumps(document))
    else:
        _print_book(book, args.levels)
    return _DONE


def _export(dataset: BookDataset, args: argparse.Namespace) -> int:
    from binmon.recorder.files import rfc3339
    from binmon.recorder.tables import integers

    if args.json and args.to == "csv":
        raise _Wrong("--json and --to csv exclude each other")
    _check_time("--start", args.start)
    _check_time("--end", args.end)
    symbol = _symbol(dataset, args)
    _check_symbol(dataset, symbol, args.venue)
    as_json = (args.to or ("jsonl" if args.json else "csv")) == "jsonl"
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if not as_json:
        writer.writerow(("venue", "symbol", "event_time", "receive_time", "update_id", "epoch", "side", "level", "price", "quantity"))  # fmt: skip
    for table in dataset.tables(symbol, args.start, args.end, venue=args.venue):
        times = zip(integers(table, "event_time").tolist(), integers(table, "receive_time").tolist(), strict=True)
        for row, (event_ms, receive_ns) in enumerate(times):
            values = {
                name: table.column(name)[row].as_py() for name in table.column_names if not name.endswith("_time")
            }
            event_time, receive_time = rfc3339(event_ms * 10**6, "ms"), rfc3339(receive_ns, "ns")
            levels = {name: values.pop(name)[: args.levels] for name in _LEVELS}
            if as_json:
                print(json.dumps({"event_time": event_time, "receive_time": receive_time, **values, **levels}))
                continue
            head = (values["venue"], values["symbol"], event_time, receive_time, values["update_id"], values["epoch"])
            for side in ("bid", "ask"):
                pairs = zip(levels[f"{side}_price"], levels[f"{side}_quantity"], strict=True)
                writer.writerows((*head, side, level, *map(_plain, pair)) for level, pair in enumerate(pairs))
    return _DONE


def _verify(dataset: BookDataset, args: argparse.Namespace) -> int:
    from binmon.recorder.verify import verify

    breaches = verify(dataset)
    # a file that cannot be read is a breach, and must not keep the rest from being told
    coverage = dataset.coverage(without={breach.path for breach in breaches if breach.rule == "unreadable"})
    if args.json:
        document = {
            "breaches": [asdict(breach) for breach in breaches],
            "coverage": [asdict(day) for day in coverage],
        }
        print(json.dumps(document, indent=2))
    else:
        _print_coverage(coverage)
        for breach in breaches:
            row = "" if breach.row < 0 else f" row {breach.row}"
            print(f"{breach.rule}: {breach.venue} {breach.symbol} {breach.path}{row}: {breach.detail}")
        print("sound" if not breaches else f"{len(breaches)} breaches")
    return _FOUND_PROBLEMS if breaches else _DONE


_LEVELS = ("bid_price", "bid_quantity", "ask_price", "ask_quantity")
_ACTIONS = {"ls": _ls, "show": _show, "export": _export, "verify": _verify}


def _print_coverage(coverage: list[Coverage]) -> None:
    from binmon.recorder.files import rfc3339

    rows = []
    for day in coverage:
        first, last = (rfc3339(time_ns, "ms")[11:] for time_ns in (day.first_ns, day.last_ns))
        covered = f"{math.floor(day.covered * 1e5) / 1e3:.3f} %"  # rounded down: 100 % means all of it
        numbers = (str(day.epochs), str(day.gaps), str(day.files), _size(day.bytes))
        cells = (day.venue, day.symbol, day.date, f"{day.rows:,}", first, last, covered, *numbers)
        rows.append(tables.Row(cells))
    tables.show(_console(), _COVERAGE, rows)


def _print_book(book: RecordedBook, levels: int) -> None:
    from rich.table import Table
    from rich.text import Text

    from binmon.recorder.files import rfc3339

    console = _console()
    header = f"{book.venue} {book.symbol}  {rfc3339(book.receive_time_ns, 'ns')}  update {book.update_id}  epoch {book.epoch}"
    console.print(Text(header, style="bold"))
    if len(book.bid_price) and len(book.ask_price):
        bid, ask = float(book.bid_price[0]), float(book.ask_price[0])
        # the difference of two decimals as doubles has noise behind the venue's digits
        spread = Decimal(repr(ask)) - Decimal(repr(bid))  # a difference of doubles would show digits nobody printed
        console.print(f"spread {spread} ({(ask - bid) / ask * 10_000:.3f} bp)")
    known = [("bids", book.bid_known_to), ("asks", book.ask_known_to)]
    console.print("known to: " + ", ".join(f"{side} {'-' if to is None else _plain(to)}" for side, to in known))
    table = Table(box=None, pad_edge=False)
    for heading in ("depth", "quantity", "bid"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("ask", "quantity", "depth"):
        table.add_column(heading, no_wrap=True)
    sides = (
        (book.bid_price[:levels], book.bid_quantity[:levels]),
        (book.ask_price[:levels], book.ask_quantity[:levels]),
    )
    # both sides on one scale, else a thin side would look like a thick one
    deepest = max((float(np.sum(quantity)) for _, quantity in sides), default=0.0)
    for row in range(max(len(price) for price, _ in sides)):
        cells: list[list[Text]] = []
        for (price, quantity), colour in zip(sides, ("green", "red"), strict=True):
            if row >= len(price):
                cells.append([Text(), Text(), Text()])
                continue
            depth = float(np.sum(quantity[: row + 1]))
            bar = "█" * max(1, round(_BAR_WIDTH * depth / deepest))
            cells.append(
                [Text(bar, colour), Text(_plain(float(quantity[row]))), Text(_plain(float(price[row])), colour)]
            )
        table.add_row(*cells[0], *reversed(cells[1]))
    console.print(table)


def _console() -> Any:
    from rich.console import Console

    # a pipe has no width: a line is then never folded
    return Console(file=sys.stdout, highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else 200)


def _check_time(option: str, text: str | None) -> None:
    if text is None:
        return
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise _Wrong(f"{option}: expected a time such as 2026-01-02T03:04:05Z, not {text!r}") from None


def _symbol(dataset: BookDataset, args: argparse.Namespace) -> str:
    """The symbol of the command line; its upper case, where only that is recorded."""
    given: str = args.symbol
    recorded = {name for venue, name in dataset.symbols() if args.venue in (None, venue)}
    return given.upper() if given not in recorded and given.upper() in recorded else given


def _check_symbol(dataset: BookDataset, symbol: str, venue: str | None) -> None:
    recorded = dataset.symbols()
    if not any(name == symbol and venue in (None, found) for found, name in recorded):
        where = "" if venue is None else f" of {venue}"
        names = ", ".join(f"{found} {name}" for found, name in recorded[:10])
        raise _Wrong(f"no symbol {symbol}{where} in {dataset.directory}; recorded are {names or 'none'}")


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return number


def _plain(number: float) -> str:
    """The shortest exact digits, without exponent."""
    return np.format_float_positional(number, trim="-")


def _size(size: int) -> str:
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
