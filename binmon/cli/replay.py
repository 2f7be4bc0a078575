"""``binmon replay``: the machines of the books, driven by an incident file or a recording."""

from __future__ import annotations

import argparse
import json
import math
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binmon.cli.declaring import declare

if TYPE_CHECKING:
    from binmon.incidents.reading import Head, Item
    from binmon.incidents.replay import FinalBook, Finding

_DONE, _FAILED, _FOUND_PROBLEMS = 0, 1, 3
_PROGRESS_EVERY_S = 2.0
_LONGEST_WAIT_S = 0.25


def add_parser(subparsers: Any) -> None:
    """Declare the command and its options."""
    parser = declare(
        subparsers,
        "replay",
        summary="replay an incident file or a recording",
        description="Drives the machines that keep the books from a file, without a network, and prints what they do: states,"
        "\ngaps, crossed books, and how each book ends. FILE is one of those in incidents/ (docs/incidents.md), or a"
        "\nrecording of Binance Spot as tab-separated lines (.tsv, .tsv.gz). Exit status 3 when there is a gap, a crossed"
        "\nbook or one that is not in step at the end, when the replay differs from what the daemon did, or when the keeper"
        "\nfails; 1 when the file is cut short: what is there is replayed.",
        examples={
            "binmon replay data/incidents/20261121T101500.000000000Z-gap-BTCUSDT.tsv.gz": "what happened there",
            "binmon replay --symbol BTCUSDT --json FILE | jq 'select(.event == \"gap\")'": "the gaps of one symbol",
            "binmon replay --speed 1 FILE": "at the pace at which it happened",
        },
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the incident file or recording")
    parser.add_argument(
        "--speed",
        type=_speed,
        default=0,
        metavar="X",
        help="how many times as fast as it happened; 0: as fast as possible (default: 0)",
    )
    parser.add_argument(
        "--symbol", action="append", metavar="S", help="only this symbol; may be repeated (default: all of the file)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines (default: a table)")


def run(args: argparse.Namespace) -> int:
    """Replay and print. Returns 0, 1 (the file is cut short) or 3 (problems). Raises ConfigError for another file."""
    from binmon.incidents.reading import CutShort, open_recording
    from binmon.incidents.replay import Replay
    from binmon.telemetry.logging import set_up

    set_up("error", "console", sys.stderr)  # what the machines say of themselves is the result, in another form
    began_s = time.monotonic()
    printer = _JsonPrinter() if args.json else _TablePrinter()
    pace = _Pace(args.speed)
    cut_short: CutShort | None = None
    with open_recording(args.file) as recording:
        replay = Replay(recording.head, printer.finding, only=_symbols(args.symbol))
        printer.head(args.file, recording.head)
        try:
            for item in recording.items:
                pace(item)
                replay.take(item)
        except CutShort as error:
            cut_short = error
    books = replay.finish()
    printer.books(books)
    printer.end(replay.items, replay.problems, time.monotonic() - began_s, complete=cut_short is None)
    if cut_short is not None:
        sys.stdout.flush()
        print(f"binmon: {cut_short}", file=sys.stderr)
        return _FAILED
    return _FOUND_PROBLEMS if replay.problems else _DONE


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = -1.0
    if not 0 <= speed < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number from 0, such as 1 or 2.5, got {text!r}")
    return speed


def _symbols(given: Sequence[str] | None) -> list[str] | None:
    return None if given is None else [symbol.upper() for symbol in given]


class _Pace:
    """Waits before an item until it is due, and tells on a terminal how far the replay is."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._first_s: float | None = None
        self._began_s = self._told_s = time.monotonic()
        self._never = threading.Event()
        self._tells = sys.stderr is not None and sys.stderr.isatty()

    def __call__(self, item: Item) -> None:
        if self._first_s is None:
            self._first_s = item.now_s
        passed_s = item.now_s - self._first_s
        while self._speed:
            left_s = self._began_s + passed_s / self._speed - time.monotonic()
            if left_s <= 0:
                break
            self._never.wait(min(left_s, _LONGEST_WAIT_S))
        if self._tells and time.monotonic() - self._told_s >= _PROGRESS_EVERY_S:
            self._told_s = time.monotonic()
            print(f"{passed_s:.1f} s replayed", file=sys.stderr)


class _JsonPrinter:
    """One object a line; ``event`` says what it is."""

    def head(self, path: Path, head: Head) -> None:
        incident = dict(head.incident) if head.incident is not None else None
        if incident is not None:
            incident.pop("epochs", None)
        symbols = sorted(head.epochs)
        self._print({"event": "head", "file": str(path), "venue": head.venue, "symbols": symbols, "incident": incident})

    def finding(self, finding: Finding) -> None:
        about = {"symbol": finding.symbol, "problem": finding.problem}
        self._print({"event": finding.what, "time": _time(finding.time_ns), **about, **finding.facts})

    def books(self, books: Sequence[FinalBook]) -> None:
        for book in books:
            fields = asdict(book)
            fields["moves"] = [{"to": state, "reason": reason} for state, reason in book.moves]
            self._print({"event": "book", **fields})

    def end(self, items: int, problems: int, took_s: float, *, complete: bool) -> None:
        self._print(
            {"event": "end", "items": items, "problems": problems, "complete": complete, "took_s": round(took_s, 3)}
        )

    def _print(self, fields: dict[str, Any]) -> None:
        print(json.dumps(fields, ensure_ascii=False))


class _TablePrinter:
    """Lines to read: time, symbol, what happened."""

    def head(self, path: Path, head: Head) -> None:
        one = head.incident
        if one is None:
            print(f"# {path}: recording of {head.venue}, {len(head.epochs)} symbols")
        else:
            more = f", and {len(one['more'])} more triggers" if one.get("more") else ""
            print(f"# {path}: {one['reason']} of {one['subject']} on {head.venue} at {_time(one['time_ns'])}{more}")
            print(f"# {one.get('detail', '')}")

    def finding(self, finding: Finding) -> None:
        mark = "!" if finding.problem else " "
        print(f"{_time(finding.time_ns)} {mark} {finding.symbol or '-':<12} {finding.what:<12} {_said(finding)}")

    def books(self, books: Sequence[FinalBook]) -> None:
        rows = [("symbol", "state", "update id", "epoch", "gaps", "bid", "ask", "verified", "as in the daemon")]
        for one in books:
            like = {None: "-", True: "yes", False: "no"}[one.like_live]
            known = "-" if one.update_id is None else str(one.update_id)
            numbers = (str(one.epoch), str(one.gaps), _top(one.bid, one.bid_quantity), _top(one.ask, one.ask_quantity))
            rows.append((one.symbol, one.state, known, *numbers, str(one.verified), like))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        print()
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def end(self, items: int, problems: int, took_s: float, *, complete: bool) -> None:
        found = "no problems" if not problems else f"{problems} problem{'s' * (problems > 1)}, marked with !"
        print(f"\n{items} items in {took_s:.1f} s, {found}{'' if complete else '; the file is cut short'}")


def _said(finding: Finding) -> str:
    facts = finding.facts
    match finding.what:
        case "state":
            return f"{facts['from']} -> {facts['to']}: {facts['reason']}, update {facts['update_id']}"
        case "gap":
            return f"expected update {facts['expected']}, got {facts['first_update_id']} to {facts['last_update_id']}"
        case "trigger":
            return f"{facts['reason']}: {facts['detail']}"
        case "started":
            return f"with the book as of update {facts['update_id']}"
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _top(price: float | None, quantity: float | None) -> str:
    return "-" if price is None or quantity is None else f"{_number(price)} x {_number(quantity)}"


def _number(value: float) -> str:
    """All digits, and no exponent."""
    text = repr(value)
    return f"{value:.12f}".rstrip("0").rstrip(".") if "e" in text else text.removesuffix(".0")


def _time(time_ns: int) -> str:
    seconds, rest_ns = divmod(time_ns, 10**9)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{time_ns} ns"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest_ns // 1000:06d}Z"
