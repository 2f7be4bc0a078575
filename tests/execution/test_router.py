"""Orders from the wish to the end, on a real sandbox over real sockets: what is sent is what was shown, once, or nothing."""

from __future__ import annotations

import threading
import time
from fractions import Fraction as F

import pytest

from binmon.errors import ConfigError
from binmon.execution.outcomes import End
from binmon.execution.reasons import Reason
from binmon.execution.router import Moved
from tests.execution.floor import BUY, SELL, exchange, wish

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
PATIENT = {"stale_after_ms": 60000, "quote_timeout_ms": 30000}
STALE = {"stale_after_ms": 4000, "quote_timeout_ms": 30000}
WAIT = threading.Event()


@pytest.fixture(scope="module")
def venues():
    with exchange() as running:
        yield running


@pytest.fixture(autouse=True)
def healthy(venues):
    venues.clear()
    for side in ("binance", "bybit"):
        venues.fault("freeze", side, seconds=0)
    yield
    venues.clear()


@pytest.fixture
def still(venues):
    """Nothing moves by itself: what is quoted stays there."""
    for side in ("binance", "bybit"):
        venues.fault("freeze", side)


@pytest.fixture
def floor(venues, tmp_path):
    with venues.floor(tmp_path, execution=PATIENT) as made:
        yield made


def other(venue):
    return {"binance": "bybit", "bybit": "binance"}[venue]


def best_of(decision):
    [order] = decision.plan.orders
    return order.venue


@pytest.mark.parametrize("side", [BUY, SELL])
@pytest.mark.parametrize("venue", [None, "binance", "bybit"])
@pytest.mark.parametrize("size", [{"quantity": "0.0123"}, {"quote_amount": "777.77"}, {"percent": "0.5"}])
def test_what_was_shown_is_what_comes_out(venues, floor, still, side, venue, size):
    decision = floor.router.decide(wish(side, venue=venue, **size))
    before = venues.balances(best_of(decision))
    [sent] = floor.router.send(decision)
    outcome, shown = sent.outcome, sent.shown
    assert outcome.end is End.FILLED and sent.refusal is None
    assert (outcome.quantity, outcome.notional) == (shown.quantity, shown.notional)
    assert sent.settlement.slippage == 0 and sent.settlement.unfilled == 0
    # the venue rounds each fill's fee to its digits, and the quote does not
    assert abs(sum(outcome.fees.values()) - shown.fee.amount) < len(outcome.executions) * F(1, 10**8) * max(
        1, shown.top
    )
    after = venues.balances(shown.venue)
    changes = {asset: after[asset] - before[asset] for asset in before if after[asset] != before[asset]}
    assert changes == {asset: change for asset, change in sent.settlement.changes().items() if change}
    row = venues.orders(shown.venue)[outcome.order.client_order_id]
    assert len(row["fills"]) == len(outcome.executions)
    noted = floor.router.used(outcome.order.client_order_id)
    assert noted.end == "filled" and noted.document["average_price"]
    assert floor.history.decisions(1)[0]["chosen"] == [shown.venue]


def split_decision(floor):
    """A split over both venues; what is better on two depends on how the books stand."""
    for quantity in ("9", "15", "25", "40"):
        decision = floor.router.decide(wish(quantity=quantity, split=True))
        if decision.split is not None:
            assert [order.venue for order in decision.plan.orders] == [part.venue for part in decision.split.parts]
            return decision
    pytest.fail("no size was better on two venues")


@pytest.fixture
def rich_floor(venues, tmp_path):
    with venues.floor(tmp_path, execution=PATIENT | {"max_order_notional": 10**9}) as made:
        yield made


def test_a_split_is_sent_in_parts_that_add_up(venues, rich_floor, still):
    decision = split_decision(rich_floor)
    sent = rich_floor.router.send(decision, "both")
    assert [one.outcome.end for one in sent] == [End.FILLED, End.FILLED]
    assert [one.outcome.order.client_order_id for one in sent] == ["both-1", "both-2"]
    assert sum(one.outcome.quantity for one in sent) == decision.split.quantity
    assert sum(one.outcome.notional for one in sent) == decision.split.notional


@pytest.mark.parametrize("kind", ["order_refuse", "order_lost"])
def test_a_part_that_is_not_taken_ends_a_split(venues, tmp_path, still, kind):
    limits = {"max_order_notional": 10**9, "settle_timeout_ms": 500}
    with venues.floor(tmp_path, execution=PATIENT | limits) as floor:
        decision = split_decision(floor)
        first, traded = decision.plan.orders[0].venue, venues.traded()
        venues.fault(kind, first, count=1)
        [sent] = floor.router.send(decision)
        assert sent.outcome.order.venue == first and sent.outcome.end is (
            End.REFUSED if "refuse" in kind else End.UNKNOWN
        )
        assert venues.traded() == traded, "the second part was not sent"


def test_a_venue_that_halts_after_the_comparison_is_said_and_the_next_is_offered(venues, floor, still):
    decision = floor.router.decide(wish())
    best, traded = best_of(decision), venues.traded()
    venues.fault("symbol_status", best, symbol="BTCUSDT", status="BREAK" if best == "binance" else "Closed")
    [sent] = floor.router.send(decision)
    assert sent.outcome.end is End.REFUSED and sent.refusal.reason is Reason.REFUSED
    assert venues.traded() == traded, "nothing fell through to the other"
    then = floor.router.after(decision, sent.refusal)
    assert best_of(then) == other(best) and then.plan.needs_consent
    assert str(sent.refusal) in then.reason
    [next_best] = floor.router.send(then)
    assert next_best.outcome.end is End.FILLED and venues.traded() == traded + 1


def test_a_venue_that_halted_before_is_passed_over_and_that_is_said(venues, floor, still):
    best = best_of(floor.router.decide(wish()))
    venues.fault("symbol_status", best, symbol="BTCUSDT", status="BREAK" if best == "binance" else "Closed")
    decision = floor.router.decide(wish())
    assert best_of(decision) == other(best) and decision.plan.needs_consent
    [passed] = decision.plan.passed_over
    assert (passed.venue, passed.reason) == (best, Reason.HALTED)


@pytest.mark.parametrize(
    ("venue", "fault", "reason"),
    [
        ("bybit", {"mode": "ret_code", "code": 10006, "path": "orderbook"}, Reason.RATE_LIMITED),
        ("binance", {"mode": "status", "status": 429, "retry_after": 60, "path": "depth"}, Reason.RATE_LIMITED),
        ("binance", {"mode": "reset", "path": "depth"}, Reason.UNREACHABLE),
        ("bybit", {"mode": "reset", "path": "orderbook"}, Reason.UNREACHABLE),
        ("bybit", {"mode": "truncated", "path": "orderbook"}, Reason.UNREACHABLE),
        ("binance", {"mode": "wrong_json", "path": "depth"}, Reason.UNREACHABLE),
        ("bybit", {"mode": "status", "status": 503, "path": "orderbook"}, Reason.UNREACHABLE),
        ("binance", {"mode": "reset", "path": "exchangeInfo"}, Reason.UNREACHABLE),
        ("bybit", {"mode": "ret_code", "code": 10006, "path": "wallet-balance"}, Reason.RATE_LIMITED),
    ],
)
def test_who_does_not_answer_is_left_out_and_nobody_else_pays_for_it(venues, tmp_path, still, venue, fault, reason):
    with venues.floor(tmp_path, execution=PATIENT | {"quote_timeout_ms": 10000}) as floor:
        venues.fault("rest", venue, count=20, **fault)
        decision = floor.router.decide(wish())
        assert [(one.venue, one.reason) for one in decision.exclusions] == [(venue, reason)]
        [sent] = floor.router.send(decision)
        assert sent.outcome.order.venue == other(venue) and sent.outcome.notional == sent.shown.notional


def test_an_answer_that_was_long_on_its_way_is_old(venues, tmp_path, still):
    with venues.floor(tmp_path, execution={"stale_after_ms": 4000, "quote_timeout_ms": 30000}) as floor:
        venues.fault("rest", "binance", mode="slow", delay_s=6, path="depth", count=1)
        decision = floor.router.price(wish())
    left_out = {one.venue: one.reason for one in decision.exclusions}
    assert left_out["binance"] is Reason.STALE and not any(one.venue == "binance" for one in decision.comparison.quotes)


def test_who_takes_too_long_is_cut_off(venues, tmp_path, still):
    with venues.floor(tmp_path, execution=PATIENT | {"quote_timeout_ms": 6000}) as floor:
        venues.fault("rest", "bybit", mode="slow", delay_s=60, path="orderbook", count=1)
        decision = floor.router.price(wish())
    [left_out] = [one for one in decision.exclusions if one.venue == "bybit"]
    assert left_out.reason is Reason.UNREACHABLE and "no answer within 6 s" in left_out.detail


class TestQuotesThatGrewOld:
    """Between the comparison and the sending somebody has thought it over."""

    def decided(self, floor, **wanted):
        while True:  # a machine under load may be too slow for four seconds
            decision = floor.router.decide(wish(**wanted))
            if decision.plan.orders:
                break
        while decision.plan.is_current(time.monotonic_ns()):
            WAIT.wait(0.05)
        return decision

    def test_nothing_is_sent_at_a_price_that_nobody_was_shown(self, venues, tmp_path, still):
        with venues.floor(tmp_path, execution=STALE) as floor:
            decision = self.decided(floor)
            best, traded = best_of(decision), venues.traded()
            for side in ("binance", "bybit"):
                venues.fault("freeze", side, seconds=0)
            venues.fault("set_price", best, symbol="BTCUSDT", price="90000")
            found = None
            for _ in range(20):  # the flow takes a moment to carry the market there
                found = floor.router.send(decision)
                if isinstance(found, Moved) or venues.traded() > traded:
                    break
            if isinstance(found, Moved):
                assert found.venue == best and venues.traded() == traded
            else:  # it had not moved yet
                assert all(one.outcome.notional <= one.shown.notional * F("1.01") for one in found)

    def test_a_price_that_moved_too_far_stops_it(self, venues, tmp_path, still):
        with venues.floor(tmp_path, execution=STALE | {"max_slippage_bps": 0}) as floor:
            decision = self.decided(floor, side=BUY, venue="bybit", quantity="0.01")
            # somebody takes what was quoted
            bigger = floor.router.decide(wish(BUY, venue="bybit", quantity="1"))
            while not bigger.plan.orders:
                bigger = floor.router.decide(wish(BUY, venue="bybit", quantity="1"))
            floor.router.send(bigger)
            traded = venues.traded()
            found = floor.router.send(decision)
            assert isinstance(found, Moved), found
            assert "bps worse; execution.max_slippage_bps allows 0" in found.detail
            assert venues.traded() == traded

    def test_a_price_that_stayed_is_taken(self, venues, tmp_path, still):
        with venues.floor(tmp_path, execution=STALE) as floor:
            decision = self.decided(floor)
            for _ in range(20):
                found = floor.router.send(decision)
                if not isinstance(found, Moved):
                    break
                assert "ms are allowed" in found.detail  # a machine under load is too slow for a quote
            [sent] = found
            assert sent.outcome.end is End.FILLED and sent.quoted.as_of_mono_ns > sent.shown.as_of_mono_ns

    def test_a_venue_that_is_gone_gets_nothing(self, venues, tmp_path, still):
        with venues.floor(tmp_path, execution=STALE) as floor:
            decision = self.decided(floor)
            best, traded = best_of(decision), venues.traded()
            path = "depth" if best == "binance" else "orderbook"
            venues.fault("rest", best, mode="reset", path=path, count=20)
            found = floor.router.send(decision)
            assert isinstance(found, Moved) and "does not quote what was shown any more" in found.detail
            assert venues.traded() == traded


class TestWhatNobodyKnows:
    @pytest.mark.parametrize("venue", ["binance", "bybit"])
    @pytest.mark.parametrize("mode", ["timeout", "status", "reset", "closed"])
    def test_an_answer_that_is_lost_is_asked_for_and_the_order_never_sent_again(
        self, venues, floor, still, venue, mode
    ):
        venues.fault("answer_lost", venue, mode=mode, count=1)
        before = venues.orders(venue).keys()
        [sent] = floor.router.send(floor.router.decide(wish(venue=venue)))
        assert sent.outcome.end is End.FILLED and sent.outcome.notional == sent.shown.notional
        assert venues.orders(venue).keys() - before == {sent.outcome.order.client_order_id}

    @pytest.mark.parametrize("venue", ["binance", "bybit"])
    def test_an_order_that_was_lost_is_said_not_to_be_known(self, venues, tmp_path, still, venue):
        with venues.floor(tmp_path, execution=PATIENT | {"settle_timeout_ms": 3000}) as floor:
            venues.fault("order_lost", venue, mode="reset", count=1)
            traded = venues.traded()
            [sent] = floor.router.send(floor.router.decide(wish(venue=venue)))
            assert sent.outcome.end is End.UNKNOWN and f"{venue} does not know it" in sent.outcome.detail
            assert sent.refusal is None, "nobody knows that it was not executed"
            assert venues.traded() == traded
            assert floor.router.used(sent.outcome.order.client_order_id).end == ""

    @pytest.mark.parametrize("venue", ["binance", "bybit"])
    def test_what_shows_late_is_waited_for(self, venues, floor, still, venue):
        venues.fault("query_lag", venue, ms=1500)
        [sent] = floor.router.send(floor.router.decide(wish(venue=venue)))
        assert sent.outcome.end is End.FILLED and sent.outcome.notional == sent.shown.notional

    def test_it_can_be_looked_at_later(self, venues, tmp_path, still):
        with venues.floor(tmp_path, execution=PATIENT | {"settle_timeout_ms": 300}) as floor:
            venues.fault("query_lag", "bybit", ms=600_000)
            [sent] = floor.router.send(floor.router.decide(wish(venue="bybit")))
            assert sent.outcome.end is End.UNKNOWN
        venues.clear()
        with venues.floor(tmp_path, execution=PATIENT) as floor:
            noted = floor.router.used(sent.outcome.order.client_order_id)
            assert noted.end == ""
            found = floor.router.look(noted)
            assert found.end is End.FILLED and found.notional == sent.shown.notional
            assert floor.router.used(sent.outcome.order.client_order_id).end == "filled"


@pytest.mark.parametrize(
    ("venue", "fault", "reason"),
    [
        ("bybit", {"mode": "ret_code", "code": 10006, "path": "order/create"}, Reason.RATE_LIMITED),
        ("binance", {"mode": "status", "status": 429, "retry_after": 1, "path": "/api/v3/order"}, Reason.RATE_LIMITED),
    ],
)
def test_an_order_that_is_turned_away_for_now_was_not_executed(venues, floor, still, venue, fault, reason):
    decision, traded = floor.router.decide(wish(venue=venue)), venues.traded()
    venues.fault("rest", venue, count=1, **fault)
    [sent] = floor.router.send(decision)
    assert sent.outcome.end is End.NOT_SENT and sent.refusal.reason is reason
    assert venues.traded() == traded


def test_an_id_is_sent_once(venues, floor, still):
    decision = floor.router.decide(wish())
    [sent] = floor.router.send(decision, "mine-1")
    assert sent.outcome.order.client_order_id == "mine-1"
    traded = venues.traded()
    with pytest.raises(ConfigError, match="was used before"):
        floor.router.send(floor.router.decide(wish()), "mine-1")
    assert venues.traded() == traded


def test_the_limit_of_a_day_is_shared_and_holds_at_the_last_moment(venues, tmp_path, still):
    with venues.floor(tmp_path, execution=PATIENT | {"max_orders_per_day": 1}) as floor:
        decision = floor.router.decide(wish())
        with venues.floor(tmp_path, execution=PATIENT | {"max_orders_per_day": 1}) as beside:
            [first] = beside.router.send(beside.router.decide(wish()))
            assert first.outcome.end is End.FILLED
        traded = venues.traded()
        [sent] = floor.router.send(decision)
        assert sent.outcome.end is End.REFUSED and sent.refusal.reason is Reason.DAY_LIMIT
        assert venues.traded() == traded
        again = floor.router.decide(wish())
        assert not again.plan.orders and {one.reason for one in again.exclusions} == {Reason.DAY_LIMIT}


def test_a_named_venue_must_be_there(venues, tmp_path, still):
    with venues.floor(tmp_path, keys=("binance",), execution=PATIENT) as floor:
        with pytest.raises(ConfigError, match="kraken is not configured: expected best or one of binance, bybit"):
            floor.router.decide(wish(venue="kraken"))
        with pytest.raises(ConfigError, match="there is no key for bybit"):
            floor.router.decide(wish(venue="bybit"))
        decision = floor.router.decide(wish())
        assert best_of(decision) == "binance"
        [bybit] = [quote for quote in decision.comparison.quotes if quote.venue == "bybit"]
        assert not bybit.fee_from_account and bybit.fee.amount == bybit.quantity / 1000


def test_without_a_size_the_least_is_priced_that_every_venue_takes(floor, still):
    from binmon.execution.router import Wish

    decision = floor.router.price(Wish("BTC/USDT", BUY, None))
    assert len(decision.comparison.quotes) == 2
    assert all(quote.quantity == decision.comparison.quotes[0].quantity for quote in decision.comparison.quotes)
