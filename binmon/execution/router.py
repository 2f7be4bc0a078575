"""From a wish to a settled order: compare, plan, (somebody agrees), look again, send once, find out.

Nothing is sent that was not shown, and nothing twice. When the quotes of a plan have become older than they may be, all
venues are asked anew right before sending, and the order goes only if the venue still quotes it, at a price no worse than
`RouterSettings.max_slippage_bps` against what was shown. What the venue refuses ends in a new plan that has to be agreed
to; what nobody knows ends in asking, and then in saying so.

The parts of a split go one after the other, and the first that is not taken ends it: what has traded stays, and is said.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import structlog

from binmon.errors import BinmonError, ConfigError, OrderForbidden, RetryError
from binmon.execution.comparison import compare
from binmon.execution.counter import Counter
from binmon.execution.decisions import Decision, text_of, worse_by_bps
from binmon.execution.exact import SMALLEST_STEP, decimal_of, plain, up_to
from binmon.execution.history import ExecutionHistory, NotedOrder
from binmon.execution.outcomes import End, Outcome, Reconciler
from binmon.execution.planning import PlannedOrder, plan_order, planned
from binmon.execution.pricing import PricingSettings, Quote
from binmon.execution.quotes import Board, Known, QuoteDesk
from binmon.execution.reasons import Exclusion, Reason
from binmon.execution.settlement import Settlement, settle
from binmon.execution.sizes import Rounding, Size
from binmon.execution.sources import exclusion_of
from binmon.execution.splitting import split
from binmon.messages import OrderAnswered, OrderRefused, OrderRequest, OrderSent, OrderSide, OrderUncertain
from binmon.orders.desk import OrderDesk
from binmon.orders.gate import OrderGate, OrderJournal
from binmon.state import StateFailed
from binmon.venues.trading import TradingVenue

log = structlog.get_logger("binmon.execution")

ORDER_ID_PREFIX = "bmx-"
_LIMITS = {
    "execution.allow_production": Reason.PRODUCTION,
    "execution.max_order_notional": Reason.ORDER_LIMIT,
    "execution.max_orders_per_day": Reason.DAY_LIMIT,
}


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """How old a quote may be when its order leaves, how much worse than shown its price may have become, and how long it
    is asked what became of an order."""

    max_age_ns: int
    max_slippage_bps: Decimal
    settle_within_s: float


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants. ``venue`` None: the best one. ``size`` None: just to look at prices, of the least quantity that
    every venue takes."""

    symbol: str
    side: OrderSide
    size: Size | None
    venue: str | None = None
    split: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """One order that left, or was about to, and what is known of it. ``shown`` is the quote that was agreed to, ``quoted``
    the one it was sent on. ``refusal``: why it was certainly not executed."""

    outcome: Outcome
    shown: Quote
    quoted: Quote
    refusal: Exclusion | None = None

    @property
    def settlement(self) -> Settlement:
        """The fills against the quote that was shown."""
        return settle(self.shown, self.outcome.executions)


@dataclass(frozen=True, slots=True)
class Moved:
    """Nothing was sent: the price is not there any more. ``detail`` is one line with the figures."""

    venue: str
    detail: str


class OrderRouter:
    """Decides and sends. Belongs to one thread."""

    def __init__(
        self,
        quotes: QuoteDesk,
        gate: OrderGate,
        journal: OrderJournal,
        history: ExecutionHistory,
        settings: RouterSettings,
        stop: threading.Event,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        """``journal`` is that of ``gate``; ``new_id`` makes ids for orders (None: of their time and chance)."""
        self._quotes, self._gate, self._journal, self._history = quotes, gate, journal, history
        self._settings, self._stop = settings, stop
        self._new_id = new_id or new_order_id
        self._reconciler = Reconciler(settings.settle_within_s, stop)
        self._desks: dict[str, OrderDesk] = {
            name: OrderDesk(source.trading, gate)
            for name, source in quotes.sources.items()
            if source.trading is not None
        }

    # Deciding -----------------------------------------------------------------------------------------------------

    def price(self, wish: Wish) -> Decision:
        """What every venue would do with the wish; nothing is planned."""
        return self._kept(self._compared(self._known(wish, ordering=False), wish, Rounding.DOWN))

    def decide(self, wish: Wish) -> Decision:
        """As ``price``, with the plan of what would be sent.

        Raises ConfigError for a venue that is not there or has no key, for venues of several environments, whose prices
        have nothing to do with each other, and where the best is asked for of a pair that one venue alone lists.
        """
        assert wish.size is not None
        if wish.venue is not None:
            self._require(wish.venue)
        known = self._known(wish, ordering=True)
        if wish.venue is None:
            self._require_one_environment(known)
            self._require_two(known)
        elif wish.venue not in known.pair.symbols:
            self._require_listed(known, wish.venue)
        return self._kept(self._planned(self._compared(known, wish, Rounding.REFUSE), wish))

    def after(self, decision: Decision, refusal: Exclusion) -> Decision:
        """The decision when the venue of ``refusal`` would not have the order: the next-best one, to be agreed to."""
        assert decision.plan is not None
        return self._kept(decision.with_plan(decision.plan.without(refusal, self._settings.max_age_ns)))

    def _known(self, wish: Wish, *, ordering: bool) -> Known:
        pair, silent = self._quotes.find(wish.symbol)
        return self._quotes.know(pair, wish.side, silent, ordering=ordering)

    def _compared(self, known: Known, wish: Wish, rounding: Rounding) -> Decision:
        board = self._quotes.look(known)
        settings = self._pricing(rounding)
        size = wish.size or least_size(board, wish.side)
        comparison = compare(board.markets, wish.side, size, board.at_mono_ns, settings, board.exclusions)
        markets = board.markets
        if rounding is Rounding.REFUSE:  # what nothing can be ordered from takes no part either
            markets = tuple(market for market in markets if market.account is not None)
            comparable = compare(markets, wish.side, size, board.at_mono_ns, settings)
        else:
            comparable = comparison
        shared = split(markets, comparable, board.at_mono_ns, settings) if wish.split else None
        return Decision(known, board, comparison, shared, None)

    def _planned(self, decision: Decision, wish: Wish) -> Decision:
        plan = plan_order(
            decision.board.markets,
            decision.comparison,
            self._gate.limits,
            self._journal.permitted(datetime.now(UTC).date().isoformat()),
            self._pricing(Rounding.REFUSE),
            venue=wish.venue,
            splitting=decision.split,
        )
        return decision.with_plan(plan)

    def _kept(self, decision: Decision) -> Decision:
        """Log a decision and keep it."""
        document, side = decision.document(), decision.comparison.side
        log.info(
            "execution.decided",
            symbol=document["symbol"],
            side=document["side"],
            size=document["size"],
            chosen=document["chosen"],
            reason=document["reason"],
            ordering=document["ordering"],
            venues=document["venues"],
        )
        number = None
        try:
            number = self._history.decided(
                time.time_ns(), str(decision.known.pair), side, " ".join(decision.chosen), decision.reason, document
            )
        except StateFailed as error:
            log.error("execution.unwritten", reason=str(error))
        return replace(decision, number=number)

    def _pricing(self, rounding: Rounding) -> PricingSettings:
        return PricingSettings(self._settings.max_age_ns, rounding)

    def _require(self, venue: str) -> None:
        source = self._quotes.sources.get(venue)
        if source is None:
            raise ConfigError(
                f"{venue} is not configured: expected best or one of {', '.join(self._quotes.sources)}", key="--venue"
            )
        if source.trading is None:
            raise ConfigError(f"there is no key for {venue}, so nothing can be ordered there", key="--venue")

    def _require_two(self, known: Known) -> None:
        """Of accounts at several venues, one is chosen by comparing; an account at one venue is no choice."""
        pair, sources = known.pair, self._quotes.sources
        others = [one.venue for one in pair.not_listed if sources[one.venue].trading is not None]
        listed = [(venue, symbol) for venue, symbol in pair.symbols.items() if sources[venue].trading is not None]
        if len(listed) == 1 and others:
            [(venue, symbol)] = listed
            raise ConfigError(
                f"{pair} is listed on {venue} only (as {symbol}), not on {' and '.join(others)}: there is nothing to "
                f"compare it with; to have it there, name the venue (--venue {venue})"
            )

    def _require_listed(self, known: Known, venue: str) -> None:
        silent = [one for one in known.exclusions if one.venue == venue and one.reason is not Reason.UNKNOWN_SYMBOL]
        if not silent:
            others = " and ".join(known.pair.symbols)
            raise ConfigError(f"{venue} does not list {known.pair}, only {others} does", key="--venue")

    def _require_one_environment(self, known: Known) -> None:
        sources = [self._quotes.sources[name] for name in known.standings]
        found = {source.environment for source in sources if source.trading is not None}
        if len(found) > 1:
            named = ", ".join(f"{one.name}: {one.environment}" for one in sources if one.trading is not None)
            raise ConfigError(
                f"the venues are of different environments ({named}), so their prices cannot be compared for an order: "
                "name one with --venue"
            )

    # Sending ------------------------------------------------------------------------------------------------------

    def send(self, decision: Decision, order_id: str | None = None) -> Moved | list[Sent]:
        """Send what ``decision`` plans, and find out what became of it: one for each order that was tried, in order.

        ``order_id`` is the id of the order instead of a new one (of the parts of a split: with ``-1``, ``-2`` behind it).
        Whoever calls has shown the decision and been told to go on. Raises ConfigError for an id that was used before.
        """
        plan = decision.plan
        assert plan is not None and plan.orders
        shown = [order.quote for order in plan.orders]
        fresh = self._fresh(decision)
        if isinstance(fresh, Moved):
            log.warning("execution.moved", venue=fresh.venue, symbol=str(decision.known.pair), reason=fresh.detail)
            return fresh
        sent: list[Sent] = []
        for number, (order, quote) in enumerate(zip(fresh, shown, strict=True), 1):
            client_order_id = order_id or self._new_id()
            if order_id is not None and len(fresh) > 1:
                client_order_id = f"{order_id}-{number}"
            request = order.request(client_order_id)
            try:
                is_new = self._history.note(request, order.environment, decision.number, time.time_ns())
            except StateFailed as error:  # a part before may have traded: that has to be told
                refusal = Exclusion(order.venue, Reason.UNREACHABLE, f"the order could not be noted: {error}")
                sent.append(Sent(Outcome(request, End.NOT_SENT, "", None, (), refusal.detail), quote, quote, refusal))
                break
            if not is_new:
                raise ConfigError(f"the order id {client_order_id} was used before: expected another", key="--id")
            one = self._send(order, quote, request, decision)
            self._keep(one.outcome, one.shown)
            log.info("execution.settled", **_settled(one))
            sent.append(one)
            if one.outcome.end in (End.REFUSED, End.NOT_SENT, End.UNKNOWN):
                break  # the rest of a split was compared on the condition that all of it is taken
        return sent

    def _fresh(self, decision: Decision) -> Moved | Sequence[PlannedOrder]:
        """The orders of the plan, on quotes that are young enough."""
        plan = decision.plan
        assert plan is not None
        if plan.is_current(time.monotonic_ns()):
            return plan.orders
        board = self._quotes.look(decision.known)
        orders = []
        for order in plan.orders:
            found = self._requoted(order, board)
            if isinstance(found, Moved):
                return found
            orders.append(found)
        return orders

    def _requoted(self, order: PlannedOrder, board: Board) -> Moved | PlannedOrder:
        """The same order on a new look at its venue."""
        if order.quantity is not None:
            size = Size(quantity=order.quantity)
        else:
            size = Size(quote_amount=order.quote_amount)
        markets = [market for market in board.markets if market.venue == order.venue]
        again = compare(
            markets, order.side, size, time.monotonic_ns(), self._pricing(Rounding.REFUSE), board.exclusions
        )
        quote = again.best
        if quote is None:
            why = next((one.detail for one in again.exclusions if one.venue == order.venue), "it quotes nothing")
            return Moved(order.venue, f"{order.venue} does not quote what was shown any more: {why}")
        worse_bps, most = worse_by_bps(order.quote, quote), Fraction(self._settings.max_slippage_bps)
        if worse_bps > most:
            return Moved(
                order.venue,
                f"{order.venue}: the effective price was {plain(order.quote.effective_price)} and is "
                f"{plain(quote.effective_price)} now, {plain(worse_bps, 2)} bps worse; execution.max_slippage_bps allows "
                f"{plain(most, 2)}",
            )
        return planned(quote, markets[0])

    def _send(self, order: PlannedOrder, shown: Quote, request: OrderRequest, decision: Decision) -> Sent:
        desk, venue = self._desks[order.venue], order.venue

        def not_executed(end: End, refusal: Exclusion) -> Sent:
            outcome = Outcome(request, end, "", None, (), refusal.detail)
            return Sent(outcome, shown, order.quote, refusal)

        try:
            answer = desk.place(request, _told, self._stop)
        except OrderForbidden as forbidden:
            reason = _LIMITS.get(forbidden.limit, Reason.REFUSED)
            return not_executed(End.REFUSED, Exclusion(venue, reason, str(forbidden)))
        except RetryError as error:
            return not_executed(End.NOT_SENT, exclusion_of(venue, error, desk.venue.explain))
        except BinmonError as error:
            return not_executed(End.NOT_SENT, exclusion_of(venue, error, desk.venue.explain))
        lot = decision.market(venue).rules.quantity_step
        match answer:
            case OrderRefused(code=code, message=message):
                said = message if code is None else f"{code}: {message}"
                return not_executed(End.REFUSED, Exclusion(venue, Reason.REFUSED, f"it refused the order: {said}"))
            case OrderUncertain(reason=why):
                return Sent(self._reconciler.find_out(desk.venue, request, lot, why), shown, order.quote)
            case OrderAnswered():
                return Sent(self._reconciler.find_out(desk.venue, request, lot), shown, order.quote)

    # Looking back -------------------------------------------------------------------------------------------------

    def used(self, client_order_id: str) -> NotedOrder | None:
        """The order that bears this id already, if there is one."""
        return self._history.order(client_order_id)

    def look(self, noted: NotedOrder) -> Outcome:
        """Ask what became of an order of the history, and keep the answer. Raises ConfigError when it cannot be asked here."""
        order = noted.order
        source = self._quotes.sources.get(order.venue)
        if source is None or source.trading is None:
            raise ConfigError(f"{order.client_order_id} went to {order.venue}, for which there is no key here")
        if source.environment != noted.environment:
            raise ConfigError(
                f"{order.client_order_id} went to {order.venue} in {noted.environment}, and this is {source.environment}"
            )
        self._prepare(source.trading, source.prepare)
        lot = source.trading.rules(order.symbol, self._stop).quantity_step
        outcome = self._reconciler.find_out(source.trading, order, lot)
        if outcome.end is not End.UNKNOWN:
            self._keep(outcome)
        return outcome

    def _keep(self, outcome: Outcome, shown: Quote | None = None) -> None:
        """Into the history. What happened has happened, also where the disk does not take it."""
        try:
            end, document = outcome.end.value, outcome_document(outcome, shown)
            self._history.ended(outcome.order.client_order_id, end, document)
        except StateFailed as error:
            log.error("execution.unwritten", reason=str(error))

    def _prepare(self, trading: TradingVenue, prepare: Callable[[threading.Event], None]) -> None:
        try:
            prepare(self._stop)
        except RetryError as error:
            log.warning("clock.unknown", venue=trading.name, reason=str(error), failures=1)


def least_size(board: Board, side: OrderSide) -> Size:
    """The least quantity that every venue of ``board`` takes; where none has a book, the least there is."""
    counters = [Counter(market, side) for market in board.markets]
    least = [counter.lowest for counter in counters if counter.lowest is not None]
    if not least:
        return Size(quantity=decimal_of(SMALLEST_STEP))
    return Size(quantity=decimal_of(up_to(max(least), max(counter.step for counter in counters))))


def new_order_id() -> str:
    """An id that no other order has: milliseconds and chance, 24 characters that every venue takes."""
    return f"{ORDER_ID_PREFIX}{time.time_ns() // 10**6:011x}{secrets.token_hex(4)}"


def outcome_document(outcome: Outcome, shown: Quote | None = None) -> dict[str, Any]:
    """What is known of an order as plain values; numbers are texts."""
    order, average = outcome.order, outcome.average_price
    document: dict[str, Any] = {
        "venue": order.venue,
        "symbol": order.symbol,
        "side": order.side.value,
        "client_order_id": order.client_order_id,
        "quantity": None if order.quantity is None else f"{order.quantity:f}",
        "quote_amount": None if order.quote_amount is None else f"{order.quote_amount:f}",
        "end": outcome.end.value or "unknown",
        "status": outcome.status,
        "order_id": outcome.order_id,
        "executed_quantity": text_of(outcome.quantity),
        "executed_quote": text_of(outcome.notional),
        "average_price": None if average is None else text_of(average),
        "fees": {asset: text_of(fee) for asset, fee in outcome.fees.items()},
        "detail": outcome.detail,
    }
    if shown is not None:
        settled = settle(shown, outcome.executions)
        slippage, bps = settled.slippage, settled.slippage_bps
        document |= {
            "quoted_price": text_of(shown.average_price),
            "slippage": None if slippage is None else text_of(slippage),
            "slippage_bps": None if bps is None else text_of(bps, 6),
        }
    return document


def _settled(sent: Sent) -> Mapping[str, Any]:
    """The fields of ``execution.settled``."""
    outcome, bps = sent.outcome, sent.settlement.slippage_bps
    return {
        "venue": outcome.order.venue,
        "symbol": outcome.order.symbol,
        "client_order_id": outcome.order.client_order_id,
        "end": outcome.end.value or "unknown",
        "order_status": outcome.status or None,
        "executed_quantity": text_of(outcome.quantity),
        "executed_quote": text_of(outcome.notional),
        "fees": [{"asset": asset, "amount": text_of(fee)} for asset, fee in outcome.fees.items()],
        "slippage_bps": None if bps is None else round(float(bps), 4),
        "detail": outcome.detail or None,
    }


def _told(sent: OrderSent) -> None:
    """The desk logs the sending; there is nobody else to tell."""
