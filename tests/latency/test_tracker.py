"""The tracker case by case; test_tracker_model has random histories."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest

from binmon.latency.asking import NOT_FOUND_OVER_S, NOT_FOUND_TIMES
from binmon.latency.early import KEPT_S
from binmon.latency.effects import Accepted, AskOrder, OpenOrder, Overdue, Settled
from binmon.latency.measurement import Departure, Measurement, OrderClass
from binmon.latency.order import ALLOWED, OrderStep, TrackedOrder, WrongStep
from binmon.latency.tracker import AFTER_BREAK_S, LatencyTracker
from binmon.messages import UserStreamDown
from tests.latency.messages import (
    LOT,
    MS,
    WALL,
    S,
    SteadyClock,
    answered,
    placed,
    refused,
    report,
    request,
    sent,
    state,
    uncertain,
    up,
)  # fmt: skip

T0 = 100 * S


def tracker(clock: SteadyClock | None = None) -> LatencyTracker:
    return LatencyTracker(clock or SteadyClock(), threshold_ms=5000, report_timeout_ms=30_000)


def settled(one: LatencyTracker) -> list[Measurement]:
    return [effect.measurement for effect in one.effects if isinstance(effect, Settled)]


def asked(one: LatencyTracker) -> list[AskOrder]:
    return [effect for effect in one.effects if isinstance(effect, AskOrder)]


def only(one: LatencyTracker) -> Measurement:
    (measurement,) = settled(one)
    assert one.open == 0
    return measurement


def test_an_order_in_time_and_all_its_figures() -> None:
    one = tracker()
    venue = WALL + 7 * MS + T0  # the venue's clock at T0
    one.on_sent(sent(T0))
    one.on_report(placed(T0 + 9 * MS, event_us=(venue + 5 * MS) // 1000 + 1, transaction_us=(venue + 3 * MS) // 1000))
    one.on_answered(answered(T0 + 10 * MS))
    assert not settled(one)
    one.on_report(
        report(T0 + 12 * MS + 345_678, event_us=(venue + 6 * MS) // 1000 + 1, transaction_us=(venue + 3 * MS) // 1000)
    )
    assert one.effects[0] == Accepted("a", 1)
    found = only(one)
    assert (found.order_class, found.order_status, found.client_order_id) == (OrderClass.IN_TIME, "FILLED", "a")
    assert found.sent_ns == WALL + T0 and found.quantity == LOT and found.threshold_ms == 5000
    assert found.sent_to_answer_ms == 10.0
    assert found.first_report_ms == 9.0
    assert found.sent_to_report_ms == found.first_fill_ms == found.last_fill_ms == found.waited_ms == 12.345678
    assert found.sent_to_event_ms == 6.001
    assert found.sent_to_transaction_ms == 3.0
    assert found.transaction_to_event_ms == 3.001
    assert found.event_to_receive_ms == 6.344678
    assert found.uncertainty_ms == 0.25
    assert found.clock_offset_ms == 7.0
    assert found.over_ms is None


def test_a_time_in_whole_milliseconds_is_uncertain_by_one() -> None:
    one = tracker()
    venue = WALL + 7 * MS + T0
    one.on_sent(sent(T0))
    one.on_answered(answered(T0 + MS))
    one.on_report(report(T0 + 4 * MS, event_us=(venue + 2 * MS) // 1000, transaction_us=(venue + 2 * MS) // 1000))
    found = only(one)
    assert found.uncertainty_ms == 1.25 and found.event_to_receive_ms == 2.0


def test_a_figure_below_its_uncertainty_is_not_given() -> None:
    one = tracker(SteadyClock(uncertainty_ns=3 * MS))
    venue = WALL + 7 * MS + T0
    one.on_sent(sent(T0))
    one.on_answered(answered(T0 + MS))
    one.on_report(report(T0 + 4 * MS, event_us=(venue + 2 * MS) // 1000 + 1, transaction_us=(venue + MS) // 1000))
    found = only(one)
    assert found.event_to_receive_ms is None and found.uncertainty_ms == 3.0 and found.sent_to_event_ms == 2.001


def test_without_a_clock_only_its_figures_are_missing() -> None:
    one = tracker(SteadyClock(offset_ns=None))
    one.on_sent(sent(T0))
    one.on_answered(answered(T0 + MS))
    one.on_report(report(T0 + 2 * MS, event_us=2001, transaction_us=1000))
    found = only(one)
    assert found.order_class is OrderClass.IN_TIME and found.sent_to_report_ms == 2.0
    assert found.transaction_to_event_ms == 1.001
    assert found.sent_to_event_ms is found.event_to_receive_ms is found.uncertainty_ms is found.clock_offset_ms is None


@pytest.mark.parametrize(
    ("after_ns", "order_class"), [(5000 * MS, OrderClass.IN_TIME), (5000 * MS + 1, OrderClass.LATE)]
)
def test_the_threshold_to_the_nanosecond(after_ns: int, order_class: OrderClass) -> None:
    one = tracker(SteadyClock(offset_ns=None))
    one.on_sent(sent(T0))
    one.on_answered(answered(T0 + MS))
    one.on_report(report(T0 + after_ns))
    found = only(one)
    assert found.order_class is order_class
    assert found.over_ms == (1e-6 if order_class is OrderClass.LATE else None)


def test_late_by_the_venues_clock_only_beyond_its_uncertainty() -> None:
    for doubt_ns, order_class in [(100 * MS, OrderClass.IN_TIME), (10 * MS, OrderClass.LATE)]:
        one = tracker(SteadyClock(uncertainty_ns=doubt_ns))
        one.on_sent(sent(T0))
        one.on_answered(answered(T0 + MS))
        event_us = (WALL + 7 * MS + T0 + 20 * MS - 5050 * MS) // 1000 + 1
        one.on_report(report(T0 + 20 * MS, event_us=event_us, transaction_us=event_us))
        found = only(one)
        assert found.order_class is order_class
        assert ("only by the venue's clock" in found.detail) is (order_class is OrderClass.LATE)


def test_one_late_report_of_several_makes_the_order_late() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_answered(answered(T0 + MS))
    # the fills came in time, the report of the placing did not; a first one shows that this venue sends it
    one.on_sent(sent(T0, "first"))
    one.on_report(placed(T0 + MS, "first", order_id=9))
    one.on_report(report(T0 + 2 * MS))
    assert not settled(one)
    one.on_report(placed(T0 + 6000 * MS))
    found = settled(one)[0]
    assert (found.order_class, found.sent_to_report_ms, found.over_ms) == (OrderClass.LATE, 6000.0, 1000.0)
    assert found.first_report_ms == 2.0 and found.order_status == "FILLED"


def test_a_report_before_its_order_is_known() -> None:
    one = tracker()
    one.on_report(placed(T0 + MS))
    one.on_report(report(T0 + 2 * MS))
    one.on_answered(answered(T0 + 3 * MS))
    one.tick(T0 + 4 * MS)
    assert one.foreign == 0
    one.on_sent(sent(T0))
    assert only(one).order_class is OrderClass.IN_TIME


def test_early_reports_out_of_order() -> None:
    one = tracker()
    one.on_answered(answered(T0 + MS))
    one.on_report(report(T0 + 2 * MS))
    one.on_report(placed(T0 + 3 * MS))
    one.on_sent(sent(T0))
    assert only(one).sent_to_report_ms == 3.0 and one.reports_after_settling == 0


def test_what_is_not_ours_is_let_go() -> None:
    one = tracker()
    one.on_report(report(T0, "somebody"))
    one.tick(T0 + 3600 * S)  # it lay in a queue for an hour: its time begins now
    assert one.foreign == 0
    one.tick(T0 + 3600 * S + int(KEPT_S * S))
    assert one.foreign == 1
    one.on_sent(sent(T0, "somebody"))
    assert one.open == 1


def test_duplicates_and_the_first_of_two_copies() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_report(placed(T0 + 6 * S))
    one.on_report(placed(T0 + MS))  # the other connection had it long before
    one.on_report(report(T0 + 2 * MS))
    one.on_answered(answered(T0 + 3 * MS))
    assert only(one).order_class is OrderClass.IN_TIME
    assert one.duplicates == 1
    one.on_report(report(T0 + 5 * MS))
    one.on_sent(sent(T0))
    assert one.duplicates == 3 and one.reports_after_settling == 0 and one.open == 0


def test_partial_fills_must_add_up() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_answered(answered(T0 + MS))
    one.on_report(placed(T0 + MS))
    one.on_report(
        report(T0 + 3 * MS, execution="EXPIRED", status="EXPIRED", last=Decimal(0), total=LOT * 2, execution_id=4)
    )
    one.on_report(report(T0 + 4 * MS, status="PARTIALLY_FILLED", execution_id=3, total=LOT * 2))
    assert not settled(one)
    one.on_report(report(T0 + 5 * MS, status="PARTIALLY_FILLED", execution_id=2))
    found = only(one)
    assert (found.order_class, found.order_status, found.sent_to_report_ms) == (OrderClass.IN_TIME, "EXPIRED", 5.0)
    assert (found.first_fill_ms, found.last_fill_ms) == (4.0, 5.0)


def test_quantity_as_executed_when_an_amount_was_ordered() -> None:
    one = tracker()
    one.on_sent(sent(T0, quantity=None))
    one.on_answered(answered(T0 + MS))
    one.on_report(report(T0 + 2 * MS))
    assert only(one).quantity == LOT


def test_all_reports_without_an_answer() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_report(report(T0 + 2 * MS))
    one.tick(T0 + 29 * S)
    assert not one.effects or not settled(one)
    one.tick(T0 + 30 * S)
    found = only(one)
    assert found.order_class is OrderClass.IN_TIME and found.sent_to_answer_ms is None and not asked(one)


def test_refused() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_refused(refused(T0 + 3 * MS))
    found = only(one)
    assert (found.order_class, found.order_status, found.sent_to_answer_ms) == (OrderClass.REJECTED, "REJECTED", 3.0)
    assert found.detail == "-2010: Account has insufficient balance."


def test_refused_before_it_left() -> None:
    one = tracker()
    one.on_planned(request(), WALL + T0, T0)
    one.on_refused(refused(T0 + MS, code=None))
    assert only(one).sent_to_answer_ms is None


def test_refused_after_a_report_is_no_refusal() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_report(placed(T0 + MS))
    one.on_refused(refused(T0 + 2 * MS))
    assert one.contradictions == 1 and one.open == 1
    one.on_report(report(T0 + 3 * MS))
    assert only(one).order_class is OrderClass.IN_TIME


def test_rejected_by_report_or_by_question() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_report(report(T0 + MS, execution="REJECTED", status="REJECTED", last=Decimal(0), total=Decimal(0)))
    assert only(one).order_class is OrderClass.REJECTED
    one.on_sent(sent(T0, "b"))
    one.on_uncertain(uncertain(T0 + S, "b"))
    one.on_order_state(state("REJECTED", "b", 2), T0 + 2 * S)
    assert settled(one)[1].order_class is OrderClass.REJECTED


def test_a_request_that_left_twice_is_timed_from_the_second() -> None:
    one = tracker(SteadyClock(offset_ns=None))
    one.on_planned(request(), WALL + T0 - S, T0 - S)
    one.on_sent(sent(T0))
    one.on_sent(sent(T0 + 50 * MS))
    one.on_answered(answered(T0 + 60 * MS))
    one.on_report(report(T0 + 61 * MS))
    found = only(one)
    assert (found.sent_to_answer_ms, found.sent_to_report_ms, found.sent_ns) == (10.0, 11.0, WALL + T0 + 50 * MS)


def test_lost_after_the_time_for_reports() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_answered(answered(T0 + MS))
    one.on_report(placed(T0 + MS))
    one.tick(T0 + 30 * S - 1)
    assert not asked(one)
    one.tick(T0 + 30 * S)
    assert asked(one) == [AskOrder("a", "BTCUSDT", 1)]
    one.on_order_state(state("FILLED"), T0 + 30 * S + 20 * MS)
    found = only(one)
    assert (found.order_class, found.order_status, found.waited_ms) == (OrderClass.LOST, "FILLED", 30_020.0)
    assert found.sent_to_report_ms is None and found.first_report_ms == 1.0 and found.sent_to_answer_ms == 1.0
    assert "the stream did not bring the report of its end" in found.detail
    one.on_report(report(T0 + 31 * S))
    assert one.reports_after_settling == 1 and one.open == 0


def test_late_when_the_report_comes_before_the_venue_was_heard() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_answered(answered(T0 + MS))
    one.tick(T0 + 30 * S)
    one.on_report(report(T0 + 31 * S))
    assert only(one).order_class is OrderClass.LATE
    one.on_order_state(state("FILLED"), T0 + 32 * S)
    one.on_ask_failed("a", "no connection", T0 + 32 * S)
    assert len(settled(one)) == 1


def test_a_tracker_that_was_held_up_goes_by_when_reports_came() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_answered(answered(T0 + MS))
    one.tick(T0 + 40 * S)
    one.on_report(report(T0 + 2 * MS))
    assert only(one).order_class is OrderClass.IN_TIME


def test_still_open_is_asked_again_with_growing_pauses() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_answered(answered(T0 + MS))
    now = T0 + 30 * S
    at = []
    for _ in range(5):
        before = len(asked(one))
        while len(asked(one)) == before:
            one.tick(now)
            now += S // 10
        at.append(now)
        one.on_order_state(state("NEW"), now)
    pauses = [round((later - earlier) / S) for earlier, later in pairwise(at)]
    assert pauses == [1, 2, 4, 8] and not settled(one)
    assert [question.attempt for question in asked(one)] == [1, 2, 3, 4, 5]


def not_found(one: LatencyTracker, name: str, now_ns: int) -> int:
    """Answer every question with "unknown" until the order is settled; how many answers it took."""
    answers = 0
    for _ in range(1000):
        if name not in one._orders:
            return answers
        if len(asked(one)) > answers:
            answers += 1
            one.on_order_state(state("", name), now_ns)
        now_ns += S // 10
        one.tick(now_ns)
    raise AssertionError("never settled")


def test_unknown_and_reset_only_after_several_answers_over_some_time() -> None:
    for told, order_class in [(False, OrderClass.UNKNOWN), (True, OrderClass.RESET)]:
        one = tracker()
        one.on_sent(sent(T0))
        if told:
            one.on_report(placed(T0 + MS))
        one.on_uncertain(uncertain(T0 + S))
        assert not_found(one, "a", T0 + S) >= NOT_FOUND_TIMES
        found = only(one)
        assert (found.order_class, found.order_status) == (order_class, "NOT_FOUND")
        assert found.waited_ms >= NOT_FOUND_OVER_S * 1000
        one.on_report(report(T0 + 60 * S))
        assert one.reports_after_settling == 1


def test_unknown_when_nobody_answers() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_uncertain(uncertain(T0 + S))
    now = T0 + S
    while not settled(one):
        assert now < T0 + 602 * S
        one.on_ask_failed("a", "no connection", now)
        now += S
        one.tick(now)
    found = only(one)
    assert (found.order_class, found.order_status) == (OrderClass.UNKNOWN, "UNKNOWN")
    assert found.waited_ms >= 600_000 and "no connection" in found.detail
    assert 20 < len(asked(one)) < 40


def test_an_uncertain_order_that_the_venue_has_waits_for_its_report() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_uncertain(uncertain(T0 + S))
    one.on_order_state(state("FILLED", update_time_us=(WALL + T0) // 1000), T0 + 2 * S)
    one.tick(T0 + 29 * S)
    assert not settled(one)
    one.on_report(report(T0 + 29 * S))
    assert only(one).order_class is OrderClass.LATE
    one.on_sent(sent(T0, "b"))
    one.on_uncertain(uncertain(T0 + S, "b"))
    one.on_order_state(state("FILLED", "b", 2), T0 + 2 * S)
    one.tick(T0 + 30 * S)
    assert settled(one)[1].order_class is OrderClass.LOST


def test_a_break_of_the_stream() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_answered(answered(T0 + MS))
    one.on_stream_down(UserStreamDown("binance", "reset by peer", T0 + 2 * MS))
    one.on_stream_up(up(T0 + S, after_break=False))
    assert not asked(one)
    one.on_stream_up(up(T0 + 2 * S))
    one.on_sent(sent(T0 + 2 * S + MS, "after"))
    assert [question.client_order_id for question in asked(one)] == ["a"]
    one.on_order_state(state("FILLED", update_time_us=(WALL + T0 + 10 * MS) // 1000), T0 + 2 * S + 5 * MS)
    one.tick(T0 + 2 * S + 6 * MS)
    assert not settled(one)  # what happened while the stream came back may still be on its way
    one.tick(T0 + 2 * S + int(AFTER_BREAK_S * S))
    (found,) = settled(one)
    assert found.order_class is OrderClass.LOST and found.client_order_id == "a" and "reset by peer" in found.detail
    assert one.open == 1


def test_an_order_that_ends_after_the_break_has_its_time() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_answered(answered(T0 + MS))
    one.on_stream_up(up(T0 + S))
    ended_us = (WALL + 7 * MS + T0 + S + 10 * MS) // 1000
    one.on_order_state(state("FILLED", update_time_us=ended_us), T0 + S + 20 * MS)
    one.tick(T0 + 4 * S)
    assert not settled(one)
    one.on_report(report(T0 + 4 * S))
    assert only(one).order_class is OrderClass.IN_TIME


def test_a_break_that_is_told_before_the_order() -> None:
    one = tracker()
    one.on_stream_up(up(T0 + MS))
    one.on_sent(sent(T0))
    assert len(asked(one)) == 1


def test_restored_orders_are_never_in_time() -> None:
    one = tracker()
    one.restore([OpenOrder(request(name), WALL, T0, number or None) for number, name in enumerate("abc")], T0 + S)
    assert [question.client_order_id for question in asked(one)] == ["a", "b", "c"]
    one.on_report(placed(T0 + 2 * S))
    one.on_report(report(T0 + 2 * S))
    assert not settled(one)
    one.on_order_state(state("FILLED"), T0 + 3 * S)
    assert settled(one)[0].order_class is OrderClass.LOST
    one.on_order_state(state("REJECTED", "c", 3), T0 + 3 * S)
    one.effects.clear()
    one.effects.append(AskOrder("b", "BTCUSDT", 1))
    not_found(one, "b", T0 + 3 * S)
    assert settled(one)[0].order_class is OrderClass.RESET and one.classes[OrderClass.REJECTED] == 1


def test_order_ids_that_run_back() -> None:
    one = tracker()
    one.on_sent(sent(T0, "old"))
    one.on_answered(answered(T0 + MS, "old", order_id=500))
    one.on_sent(sent(T0 + 20 * S, "new"))
    one.on_answered(answered(T0 + 20 * S + MS, "new", order_id=3))
    assert settled(one) == [] and [question.client_order_id for question in asked(one)] == ["old"]
    one.on_order_state(state("", "old"), T0 + 20 * S + 2 * MS)  # ids may run back for another reason; this is enough
    found = settled(one)[0]
    assert "ran back, from 500 to 3" in found.detail
    assert (found.client_order_id, found.order_class) == ("old", OrderClass.RESET) and one.resets == 1
    one.on_report(report(T0 + 20 * S + 2 * MS, "new", order_id=3))
    assert settled(one)[1].order_class is OrderClass.IN_TIME
    one.on_sent(sent(T0 + 40 * S, "next"))
    one.on_answered(answered(T0 + 40 * S + MS, "next", order_id=4))
    assert one.resets == 1


def test_ids_that_run_back_at_a_venue_that_knows_its_orders_are_no_reset() -> None:
    one = tracker()
    one.on_sent(sent(T0, "old"))
    one.on_answered(answered(T0 + MS, "old", order_id=900))
    one.on_sent(sent(T0 + S, "new"))
    one.on_answered(answered(T0 + S + MS, "new", order_id=300))
    one.on_order_state(state("FILLED", "old", 900), T0 + S + 2 * MS)
    assert settled(one) == []
    one.on_report(report(T0 + S + 3 * MS, "old", order_id=900))
    assert [found.client_order_id for found in settled(one)] == ["old"]
    assert settled(one)[0].order_class in (OrderClass.IN_TIME, OrderClass.LATE)


def test_an_answer_that_said_filled_is_not_forgotten_for_a_read_that_lags() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_answered(answered(T0 + MS))
    one.on_stream_up(up(T0 + S))
    now_ns = T0 + S
    while now_ns < T0 + 100 * S:
        if len(asked(one)) > 0:
            one.on_order_state(state(""), now_ns)
        now_ns += S
        one.tick(now_ns)
    assert settled(one) == []
    one.on_order_state(state("FILLED"), now_ns)
    one.tick(now_ns + S)
    assert only(one).order_class is OrderClass.LOST


def test_an_order_is_overdue_once_and_only_while_its_reports_are_out() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.tick(T0 + 5_099 * MS)
    assert not any(isinstance(effect, Overdue) for effect in one.effects)
    for later in range(3):
        one.tick(T0 + 5_100 * MS + later * S)
    (overdue,) = [effect for effect in one.effects if isinstance(effect, Overdue)]
    assert (overdue.order.client_order_id, overdue.waited_ms, overdue.threshold_ms) == ("a", 5100.0, 5000)
    one.on_report(report(T0 + 9 * S))
    one.on_answered(answered(T0 + 9 * S))
    assert only(one).order_class is OrderClass.LATE


def test_ids_that_only_became_known_in_another_order_are_no_reset() -> None:
    one = tracker()
    one.on_sent(sent(T0, "first"))
    one.on_sent(sent(T0 + S, "second"))
    one.on_answered(answered(T0 + 2 * S, "second", order_id=11))
    one.on_answered(answered(T0 + 3 * S, "first", order_id=10))
    assert one.resets == 0 and one.open == 2


def test_only_what_surely_is_from_before_the_reset_is_settled_by_it() -> None:
    one = tracker()
    one.on_sent(sent(T0, "low"))
    one.on_sent(sent(T0, "delayed"))
    one.on_sent(sent(T0, "old"))
    one.on_answered(answered(T0 + MS, "old", order_id=500))
    one.on_answered(answered(T0 + 2 * MS, "low", order_id=2))  # below the new one's: from which time, nobody knows
    one.on_sent(sent(T0 + 20 * S, "new"))
    one.on_answered(answered(T0 + 21 * S, "delayed", order_id=7))  # may have been taken after the new one
    one.on_answered(answered(T0 + 22 * S, "new", order_id=3))
    assert [question.client_order_id for question in asked(one)] == ["old"]
    for name in ("low", "delayed", "old"):
        one.on_order_state(state("", name), T0 + 23 * S)
    assert [found.client_order_id for found in settled(one)] == ["old"] and one.open == 3 and one.resets == 1


def test_a_break_makes_the_next_question_come_at_once() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_uncertain(uncertain(T0 + S))
    for attempt in range(1, 4):
        one.on_order_state(state("NEW"), T0 + attempt * 5 * S)
        one.tick(T0 + attempt * 5 * S + 4 * S)
    one.on_order_state(state("NEW"), T0 + 20 * S)
    before = len(asked(one))
    one.tick(T0 + 21 * S)
    assert len(asked(one)) == before
    one.on_stream_up(up(T0 + 21 * S))
    assert len(asked(one)) == before + 1
    one.on_stream_up(up(T0 + 22 * S))  # the question is under way
    assert len(asked(one)) == before + 1


def test_the_first_of_two_answers_counts() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_answered(answered(T0 + MS))
    one.on_answered(answered(T0 + 5 * MS))
    one.on_report(report(T0 + 6 * MS))
    assert only(one).sent_to_answer_ms == 1.0


def test_new_settings_hold_for_open_orders() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_answered(answered(T0 + MS))
    one.settings(100, 1000)
    one.on_report(report(T0 + 200 * MS))
    found = only(one)
    assert (found.order_class, found.threshold_ms, found.over_ms) == (OrderClass.LATE, 100, 100.0)
    one.on_sent(sent(T0, "b"))
    one.tick(T0 + S)
    assert len(asked(one)) == 1
    one.settings(50_000, 1000)  # a threshold beyond the time for reports: they are waited for all the same
    one.on_sent(sent(T0, "c"))
    one.tick(T0 + 49 * S)
    assert [question.client_order_id for question in asked(one) if question.attempt == 1] == ["b"]


def test_the_same_id_elsewhere_is_not_ours() -> None:
    one = tracker()
    one.on_sent(sent(T0))
    one.on_answered(answered(T0 + MS, order_id=1))
    one.on_report(report(T0 + MS, order_id=77))
    assert one.foreign == 1 and one.open == 1


def test_the_table_of_steps() -> None:
    assert set(ALLOWED) == set(OrderStep)
    order = TrackedOrder(request(), Departure(WALL, T0, None), OrderStep.SETTLED)
    with pytest.raises(WrongStep, match="from settled to sent"):
        order.move_to(OrderStep.SENT)
