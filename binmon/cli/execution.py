"""What the commands around best-price orders share: their sizes, their log, and how prices and orders look."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from binmon.cli import tables
from binmon.cli.console import number
from binmon.errors import ConfigError

if TYPE_CHECKING:
    from binmon.config.schema import LoggingConfig
    from binmon.execution.decisions import Decision
    from binmon.execution.outcomes import Outcome
    from binmon.execution.pricing import Quote
    from binmon.execution.router import Sent
    from binmon.execution.sizes import Size
    from binmon.wiring.execution import Floor

SIDES = ("buy", "sell")
_PIPE_WIDTH = 200

# What an order is agreed to by stays: where, both tops, and what one unit really costs.
_VENUES = (
    tables.Column("venue"),
    tables.Column("environment", leaves=1),
    tables.Column("bid", right=True),
    tables.Column("ask", right=True),
    tables.Column("average", leaves=4, right=True),
    tables.Column("slippage, bps", leaves=5, right=True),
    tables.Column("fee", leaves=2, right=True),
    tables.Column("effective price", right=True),
    tables.Column("age", leaves=3, right=True),
    tables.Column("", leaves=6),
)


def add_size(parser: argparse.ArgumentParser, otherwise: str) -> None:
    """Declare how much; ``otherwise`` is what holds without any of it."""
    parser.add_argument(
        "--quantity",
        metavar="Q",
        help=f"how much of the base currency, all of it on a venue's step (default: {otherwise})",
    )
    parser.add_argument(
        "--quote-amount",
        metavar="A",
        help="instead: for how much of the quote currency, without the fee (default: what --quantity says)",
    )


def size_of(args: Any) -> Size | None:
    """The size that the command line asks for; None for none at all. Raises ConfigError for two, or what is no number."""
    from binmon.execution.sizes import Size

    given: dict[str, Decimal] = {}
    for name in ("quantity", "quote_amount", "percent_of_balance"):
        text = getattr(args, name, None)
        if text is not None:
            given["percent" if name == "percent_of_balance" else name] = number(text, f"--{name.replace('_', '-')}")
    return Size(**given) if given else None


def begin_log(section: LoggingConfig) -> None:
    """Log to standard error: lines of JSON, or in a terminal, where a table is looked at, what is worth a warning. The log
    file is the daemon's."""
    from binmon.wiring.logs import set_up_log

    changed = msgspec.structs.replace(section, file=None)
    if not sys.stderr.isatty():
        set_up_log(changed, "json", sys.stderr)
        return
    if section.level == "info":
        changed = msgspec.structs.replace(changed, level="warning")
    set_up_log(changed, "console", sys.stderr)


def console() -> Any:
    """Where tables go; a pipe has no width, so lines are not folded there."""
    from rich.console import Console

    class Screen(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # what to do about it is the command's to say; rich would end the process

    return Screen(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def say(command: str, text: str) -> None:
    """One line on standard error."""
    print(f"binmon {command}: {' '.join(text.split())}", file=sys.stderr, flush=True)


def tell_what_is_not_kept(command: str, floor: Floor) -> None:
    """Say that it is done without the state database, where this user may not write it."""
    if floor.nothing_kept:
        say(command, f"goes on without the state database: nothing is kept, and no ban is known: {floor.nothing_kept}")


# Prices -----------------------------------------------------------------------------------------------------------


def price_document(decision: Decision) -> dict[str, Any]:
    """A decision for a script: what the log says of it, the saving, and the split."""
    from binmon.execution.decisions import numbers_of, text_of

    document, saving, split = decision.document(), decision.comparison.saving, decision.split
    best = decision.comparison.best
    document["best"] = None if best is None else best.venue
    document["saving"] = None
    if saving is not None:
        bps = text_of(saving.basis_points, 6)
        document["saving"] = {"than": saving.than, "amount": text_of(saving.amount), "basis_points": bps}
    document["split"] = None
    if split is not None:
        document["split"] = {
            "quantity": text_of(split.quantity),
            "effective_price": text_of(split.effective_price),
            "saving_bps": None if split.saving is None else text_of(split.saving.basis_points, 6),
            "parts": [{"venue": part.venue, "market": part.symbol} | numbers_of(part) for part in split.parts],
        }
    document["notes"] = list(decision.board.notes)
    return document


def show_prices(decision: Decision, screen: Any) -> None:
    """The table of venues, why others are not compared, then the arithmetic of the best, and of the split where one is
    asked for."""
    from binmon.execution.arithmetic import line_of_saving, lines_of_quote, lines_of_split
    from binmon.execution.exact import plain

    pair, comparison = decision.known.pair, decision.comparison
    verb = comparison.side.value.lower()
    tables.say(screen, f"{verb} {decision.document()['size']} of {pair}", "bold")
    _show_venues(decision, screen)
    for exclusion in decision.exclusions:
        detail = exclusion.detail or exclusion.reason.meaning
        tables.say(screen, f"{exclusion.venue} is left out: {detail}", "dim")
    for note in decision.board.notes:
        tables.say(screen, note, "yellow")
    lines: list[str] = []
    if decision.split is not None:
        lines = list(lines_of_split(decision.split))
    elif (shown := _chosen_quote(decision)) is not None:
        lines = list(lines_of_quote(shown))
        saving = comparison.saving
        if saving is not None and shown is comparison.best:
            lines.append(f"{shown.venue}: {line_of_saving(saving, pair.quote)}")
        if shown.leftover:
            lines.append(f"{shown.venue}: {plain(shown.leftover)} {shown.leftover_asset} are left over: no whole lot")
    for line in lines:
        tables.say(screen, line, "dim")


def _show_venues(decision: Decision, screen: Any) -> None:
    from binmon.execution.exact import plain

    left_out = {one.venue for one in decision.exclusions}
    rows: list[tables.Row] = []
    marks: list[str] = []
    for quote in (*decision.comparison.quotes, *decision.comparison.out_of_reach):
        mark = _mark(decision, quote) if quote.venue in decision.chosen else ""
        cells = (
            quote.venue,
            decision.market(quote.venue).environment,
            "-" if quote.best_bid is None else plain(quote.best_bid),
            "-" if quote.best_ask is None else plain(quote.best_ask),
            plain(quote.average_price),
            plain(quote.slippage_bps, 2),
            _fee(quote),
            plain(quote.effective_price),
            f"{quote.age_ns / 1e6:.0f} ms, {quote.source.value}",
            mark,
        )
        rows.append(tables.Row(cells, "green" if mark else "dim" if quote.venue in left_out else ""))
        marks.append(mark)
    if not rows:
        return
    last = len(_VENUES) - 1
    if last not in tables.kept(_VENUES, rows, tables.width_of(screen)):
        # who is chosen must be seen at any width: then it stands before the name
        rows = [
            tables.Row((f"{'→' if mark else ' '} {row.cells[0]}", *row.cells[1:last], ""), row.style)
            for row, mark in zip(rows, marks, strict=True)
        ]
    tables.show(screen, _VENUES, rows)


def _chosen_quote(decision: Decision) -> Quote | None:
    chosen = decision.chosen
    return next((quote for quote in decision.comparison.quotes if chosen and quote.venue == chosen[0]), None)


def _mark(decision: Decision, quote: Quote) -> str:
    """What a chosen venue is."""
    if len(decision.chosen) > 1:
        return "← part"
    return "← best" if quote is decision.comparison.best else "← chosen"


def _fee(quote: Quote) -> str:
    from binmon.execution.exact import plain

    return f"{plain(quote.fee.amount)} {quote.fee.asset}" + ("" if quote.fee_from_account else " (assumed)")


# Orders -----------------------------------------------------------------------------------------------------------


def show_sent(sent: Sequence[Sent], screen: Any) -> None:
    """What became of each order, against what was shown."""
    from binmon.execution.exact import plain

    for one in sent:
        settled = one.settlement
        for line in lines_of_outcome(one.outcome, one.shown.base, one.shown.quote):
            tables.say(screen, line)
        if settled.slippage is not None and settled.slippage_bps is not None:
            word = "worse" if settled.slippage > 0 else "better"
            compared = (
                "exactly as shown"
                if not settled.slippage
                else f"{plain(abs(settled.slippage_bps), 4)} bps {word} than the {plain(one.shown.average_price)} shown"
            )
            tables.say(screen, f"  average {compared}")


def lines_of_outcome(outcome: Outcome, base: str = "", quote: str = "") -> Iterable[str]:
    """One order in words."""
    from binmon.execution.exact import plain
    from binmon.execution.outcomes import End

    order, where = outcome.order, f"{outcome.order.venue} {outcome.order.client_order_id}"
    if outcome.end is End.UNKNOWN:
        yield f"{where}: it is NOT KNOWN what became of it: {outcome.detail}"
        return
    if outcome.end in (End.REFUSED, End.NOT_SENT):
        yield f"{where}: not executed: {outcome.detail}"
        return
    verb = "bought" if order.side.value == "BUY" else "sold"
    if outcome.average_price is None:
        yield f"{where}: nothing was {verb} (status {outcome.status})"
        return
    said = "" if outcome.end is End.FILLED else f", only a part of what was asked for (status {outcome.status})"
    yield (
        f"{where}: {verb} {plain(outcome.quantity)} {base or order.symbol} at {plain(outcome.average_price)} "
        f"for {plain(outcome.notional)} {quote}".rstrip()
        + said
    )
    fees = " + ".join(f"{plain(fee)} {asset}" for asset, fee in outcome.fees.items()) or "none"
    yield f"  fees: {fees}; {len(outcome.executions)} fills; order {outcome.order_id}"


def require_size(size: Size | None) -> Size:
    """Raise ConfigError for an order without a size."""
    if size is None:
        raise ConfigError("expected exactly one of --quantity, --quote-amount, --percent-of-balance, found none")
    return size
