"""``binmon order``: a market order where it is best, shown, agreed to, sent once, and followed to its end."""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from binmon.cli import streams, tables
from binmon.cli.declaring import add_config, declare
from binmon.cli.execution import (
    SIDES,
    add_size,
    begin_log,
    console,
    lines_of_outcome,
    price_document,
    require_size,
    say,
    show_prices,
    show_sent,
    size_of,
)
from binmon.errors import BinmonError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from binmon.cli.main import Arguments
    from binmon.execution.decisions import Decision
    from binmon.execution.outcomes import Outcome
    from binmon.execution.router import Sent
    from binmon.wiring.execution import Floor

_DONE, _FAILED, _WRONG, _INTERRUPTED = 0, 1, 2, 130
_ACTIONS = (*SIDES, "look", "history")
_ID = re.compile(r"[A-Za-z0-9_\-]{1,32}")  # what every venue takes, and room for the number of a part
_SHOWN = 20
_HISTORY = (  # `order look` wants the whole id
    tables.Column("sent, UTC", leaves=3),
    tables.Column("order"),
    tables.Column("venue"),
    tables.Column("environment", leaves=6),
    tables.Column("symbol", leaves=1),
    tables.Column("side", leaves=2),
    tables.Column("size", leaves=4),
    tables.Column("end"),
    tables.Column("average", leaves=5, right=True),
)
_NO_QUOTE = ("stale", "unsynced", "unreachable", "rate_limited", "crossed")  # of `binmon.execution.reasons.Reason`


class ResultNotWritten(BinmonError):
    """Orders were sent, and standard output did not take what came of them; ``str()`` says it in one line."""

    def __init__(self, sent: Sequence[Sent], error: OSError) -> None:
        self.sent, self.error = sent, error
        super().__init__(sent, error)

    def __str__(self) -> str:
        orders = "; ".join(_in_short(one.outcome) for one in self.sent)
        return f"{orders}; this result cannot be written to standard output: {self.error.strerror or 'nobody reads it'}"


def add_parser(subparsers: Any) -> None:
    """Declare the command and its options."""
    parser = declare(
        subparsers,
        "order",
        summary="a market order on the best venue",
        description="Compares the venues, shows what would be sent, asks, sends it once, and says what came of it. `look`\n"
        "asks a venue again about an order by its id; `history` shows the orders that were sent.",
        examples={
            "binmon order buy BTCUSDT --quantity 0.001": "on the venue with the best effective price",
            "binmon order sell BTCUSDT --percent-of-balance 50 --venue bybit": "half of what is there",
            "binmon order buy BTCUSDT --quote-amount 50 --dry-run": "what would be sent, and nothing more",
            "binmon order look bmx-0199a1b2c3d4e5f6": "what became of that order",
        },
    )
    add_config(parser)
    parser.add_argument("action", choices=_ACTIONS, metavar="ACTION", help="buy, sell, look or history")
    parser.add_argument("symbol", nargs="?", metavar="SYMBOL", help="as a venue writes it, or BASE/QUOTE; look: an id")
    add_size(parser, "none: one of the three sizes must be given")
    parser.add_argument(
        "--percent-of-balance",
        metavar="P",
        help="instead: so much of the free balance of what is spent, fee included (default: what --quantity says)",
    )
    parser.add_argument("--venue", default="best", metavar="best|NAME", help="where (default: best)")
    parser.add_argument("--split", action="store_true", help="over several venues, where that is better than the best")
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent, and send nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask (default: ask; without a terminal: refuse)")
    parser.add_argument(
        "--id", metavar="ID", help="our id of the order; sent twice, it is looked at instead (default: a new one)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document (default: tables)")


def run(args: Arguments) -> int:
    """Do it. Raises ConfigError for what is wrong before anything is asked of a venue."""
    given: Any = args
    loaded = args.load_full_config()
    if given.action == "history":
        return _history(given, loaded)
    if not given.symbol:
        expected = "the id of an order" if given.action == "look" else "a symbol such as BTCUSDT"
        raise ConfigError(f"expected {expected}", key=f"order {given.action}")
    from binmon.wiring.execution import trading_floor

    if given.action == "look":
        begin_log(loaded.config.logging)
        with trading_floor(loaded) as floor:
            return _look(given, floor, given.symbol)
    _check(given)
    begin_log(loaded.config.logging)
    with trading_floor(loaded) as floor:
        if given.id is not None and floor.router.used(given.id) is not None:
            say("order", f"an order with the id {given.id} was sent before: nothing is sent, it is looked at")
            return _look(given, floor, given.id)
        return _Ordering(given, floor).run()


def _check(given: Any) -> None:
    require_size(size_of(given))
    if given.split and given.venue != "best":
        raise ConfigError(f"expected either this or --venue {given.venue}, got both", key="--split")
    if given.id is not None and not _ID.fullmatch(given.id):
        raise ConfigError("expected 1 to 32 letters, digits, - or _", key="--id")
    if not given.yes and not given.dry_run and not sys.stdin.isatty():
        raise ConfigError("expected --yes or --dry-run: there is no terminal to ask at", key="--yes")


class _Ordering:
    """One order from the comparison to its end."""

    def __init__(self, given: Any, floor: Floor) -> None:
        self._given, self._floor = given, floor
        self._screen = console()
        self._sent: list[Sent] = []
        self._document: dict[str, Any] = {"dry_run": bool(given.dry_run), "orders": [], "next_best": None}

    def run(self) -> int:
        from binmon.execution.router import Wish
        from binmon.messages import OrderSide

        given = self._given
        venue = None if given.venue == "best" else given.venue
        wish = Wish(given.symbol, OrderSide(given.action.upper()), size_of(given), venue, given.split)
        try:
            status = self._go(self._floor.router.decide(wish))
            if given.json:
                print(json.dumps(self._document, ensure_ascii=False))
            streams.flush_output()
        except (streams.OutputFailed, BrokenPipeError) as error:
            if not self._sent:
                raise
            # whoever cannot read what became of the order must not take it for unsent, and send it again
            streams.discard_output()
            raise ResultNotWritten(self._sent, error) from error
        return status

    def _go(self, decision: Decision) -> int:
        while True:
            plan = decision.plan
            assert plan is not None
            self._show(decision)
            for one in plan.exclusions if plan.orders else ():
                if one.reason.value in _NO_QUOTE:  # it may have been the best: nobody shall take it for compared
                    say("order", f"{one.venue} is not compared: {one.detail}")
            if not plan.orders:
                say("order", plan.why_nothing())
                return _WRONG if decision.asks_for_what_cannot_be else _FAILED
            if plan.needs_consent and self._given.yes:
                self._offer(decision)
                return _FAILED
            if self._given.dry_run:
                return _DONE
            if not self._given.yes and not self._agreed(decision):
                say("order", "nothing was sent")
                return _FAILED
            result = self._send(decision)
            if isinstance(result, int):
                return result
            decision = result

    def _send(self, decision: Decision) -> int | Decision:
        """Send; the exit status, or what there is to offer when the venue would not have it."""
        from binmon.execution.outcomes import End
        from binmon.execution.router import Moved, outcome_document

        assert decision.plan is not None
        streams.flush_output()
        if streams.is_unread():
            say("order", "nothing was sent: nobody reads standard output")
            return _FAILED
        try:
            result = self._floor.router.send(decision, self._given.id)
        except KeyboardInterrupt:
            say("order", "interrupted while an order may have been under way: binmon order history shows it")
            return _INTERRUPTED
        if isinstance(result, Moved):
            say("order", f"nothing was sent: {result.detail}")
            self._document["moved"] = result.detail
            return _FAILED
        self._sent += result
        self._document["orders"] += [outcome_document(one.outcome, one.shown) for one in result]
        if not self._given.json:
            show_sent(result, self._screen)
        for one in result:
            if one.outcome.end is End.UNKNOWN:
                order = one.outcome.order
                say(
                    "order",
                    f"{order.venue} {order.symbol}: it is not known what became of {order.client_order_id}, and it is not "
                    f"sent again: {one.outcome.detail}; look at it with: {self._command('look')} {order.client_order_id}",
                )
        last = result[-1]
        if last.refusal is None:
            is_whole = len(result) == len(decision.plan.orders) and all(one.outcome.end is End.FILLED for one in result)
            return _DONE if is_whole else _FAILED
        say("order", str(last.refusal))
        if len(decision.plan.orders) > 1:
            left = ", ".join(order.venue for order in decision.plan.orders[len(result) - 1 :])
            say("order", f"the rest of the split was not sent ({left}): compare again for what is left")
            return _FAILED
        if self._given.id is not None:
            say("order", "the id is used up; give another one for another venue")
            return _FAILED
        return self._floor.router.after(decision, last.refusal)

    def _show(self, decision: Decision) -> None:
        from binmon.execution.exact import plain
        from binmon.wiring.execution import preview

        assert decision.plan is not None
        previews: list[dict[str, Any]] = []
        for number, order in enumerate(decision.plan.orders, 1):
            name = self._given.id or "(a new id)"
            if self._given.id and len(decision.plan.orders) > 1:
                name = f"{name}-{number}"
            made = preview(self._floor.parts[order.venue], order.environment, order.request("x"))
            parameters = {key: name if value == "x" else value for key, value in made.parameters.items()}
            previews.append(asdict(made) | {"parameters": parameters})
        self._document |= {"decision": price_document(decision), "would_send": previews}
        if self._given.json:
            return
        show_prices(decision, self._screen)
        for passed in decision.plan.passed_over if decision.plan.orders else ():
            tables.say(self._screen, f"passed over: {passed}", "yellow")
        for shown, order in zip(previews, decision.plan.orders, strict=True):
            words = " ".join(f"{key}={value}" for key, value in shown["parameters"].items())
            worth = f"worth about {plain(order.notional)} {order.quote.quote}"
            tables.say(self._screen, f"{shown['method']} {shown['url']} {words}, {worth}")
        if self._given.dry_run and previews:
            tables.say(self._screen, "dry run: nothing is sent; time, key and signature come when it is", "dim")

    def _offer(self, decision: Decision) -> None:
        """With --yes nothing falls through to another venue: what would have to be typed is said."""
        assert decision.plan is not None
        why = "; ".join(map(str, decision.plan.passed_over))
        line = f"{self._command()} --venue {decision.plan.orders[0].venue}"
        self._document["next_best"] = line
        say("order", f"nothing was sent to the next-best venue: {why}; to have it: {line}")

    def _agreed(self, decision: Decision) -> bool:
        assert decision.plan is not None
        orders = decision.plan.orders
        what = "next best: " if decision.plan.needs_consent else ""
        question = f"{what}send {'this order' if len(orders) == 1 else f'these {len(orders)} orders'}? [y/N] "
        print(question, end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            print(file=sys.stderr)
        return answer.strip().lower() in ("y", "yes")

    def _command(self, action: str | None = None) -> str:
        """The command line again, without the venue."""
        given = self._given
        words = ["binmon", "order", action or given.action]
        if action is None:
            words += [given.symbol]
            for option in ("quantity", "quote_amount", "percent_of_balance"):
                value = getattr(given, option)
                if value is not None:
                    words += [f"--{option.replace('_', '-')}", value]
            words += ["--yes"] if given.yes else []
        if given.config is not None:
            words += ["-c", str(given.config)]
        return shlex.join(words)


def _in_short(outcome: Outcome) -> str:
    order = outcome.order
    end = outcome.end.value.replace("_", " ") or "it is not known what became of it"
    known = [f"status {outcome.status}"] if outcome.status else []
    known += [] if outcome.order_id is None else [f"order {outcome.order_id}"]
    return f"{order.venue} {order.client_order_id}: {end}" + (f" ({', '.join(known)})" if known else "")


def _look(given: Any, floor: Floor, client_order_id: str) -> int:
    from binmon.execution.outcomes import End
    from binmon.execution.router import outcome_document

    noted = floor.router.used(client_order_id)
    if noted is None:
        raise ConfigError(f"no order with the id {client_order_id} was sent from this state database", key="order look")
    if noted.end in (End.REFUSED.value, End.NOT_SENT.value):
        document = dict(noted.document)
        print(json.dumps(document) if given.json else f"{client_order_id}: not executed: {document.get('detail', '')}")
        return _FAILED
    outcome = floor.router.look(noted)
    if given.json:
        print(json.dumps(outcome_document(outcome), ensure_ascii=False))
    else:
        print("\n".join(lines_of_outcome(outcome)))
    return _DONE if outcome.end is End.FILLED else _FAILED


def _history(given: Any, loaded: Any) -> int:
    from datetime import UTC, datetime
    from pathlib import Path

    from binmon.config.places import is_there
    from binmon.execution.history import ExecutionHistory
    from binmon.state import State

    path, orders = Path(loaded.config.state.path), []
    if is_there(path):  # a look is no reason to make one
        state = State(path)
        try:
            orders = ExecutionHistory(state).newest(_SHOWN)
        finally:
            state.close()
    if given.json:
        rows = [
            {"at": _time(one.at_ns), "client_order_id": one.order.client_order_id, "environment": one.environment}
            | {"venue": one.order.venue, "symbol": one.order.symbol, "side": one.order.side.value}
            | dict(one.document)
            | {"end": one.end or "unknown"}
            for one in orders
        ]
        print(json.dumps({"orders": rows}, ensure_ascii=False))
        return _DONE
    if not orders:
        print(f"no orders were sent from the state database {path}")
        return _DONE
    sent = []
    for one in orders:
        order = one.order
        size = f"{order.quantity:f}" if order.quantity is not None else f"for {order.quote_amount:f}"
        moment = f"{datetime.fromtimestamp(one.at_ns // 10**9, UTC):%Y-%m-%d %H:%M:%S}"
        words = (moment, order.client_order_id, order.venue, one.environment, order.symbol, order.side.value.lower())
        average = str(one.document.get("average_price") or "-")
        sent.append(tables.Row((*words, size, one.end or "unknown", average)))
    tables.show(console(), _HISTORY, sent)
    return _DONE


def _time(at_ns: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
