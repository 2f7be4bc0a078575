"""The monitor's worker: what goes in and what comes out, with a real ledger and a disk that fails."""

from __future__ import annotations

import threading
import time
from decimal import Decimal
from pathlib import Path

import pytest
import structlog

from binmon.core.channel import Channel, Overflow
from binmon.core.clock import ClockSample, VenueClock
from binmon.errors import VenueUnreachable
from binmon.latency.effects import AskOrder, TrackerSettings
from binmon.latency.ledger import LedgerReader, ProbeLedger
from binmon.latency.monitor import AskFailed, LatencyMonitor, OrderAsker
from binmon.latency.probe import OrderPlanned
from binmon.latency.tracker import LatencyTracker
from binmon.latency.writing import LedgerWriter
from binmon.messages import ExecutionReport, OrderAnswered, OrderRequest, OrderSent, OrderSide, OrderState
from binmon.state import State, StateFailed
from tests.orders.venues import ScriptedVenue

ORDER = OrderRequest("binance", "BTCUSDT", OrderSide.BUY, "mine-1", Decimal("15.6"), quantity=Decimal("0.00024"))


class Hand:
    def __init__(self, path: Path, threshold_ms=500):
        self.state = State(path)
        self.ledger = ProbeLedger(self.state)
        self.inbox, self.questions, self.alerts = (
            Channel(name, 100, Overflow.DROP_NEWEST) for name in ("inbox", "questions", "alerts")
        )
        self.notes = Channel("notes", 100, Overflow.DROP_NEWEST)
        self.writer = LedgerWriter("ledger", self.ledger, self.notes)
        self.clock, now = VenueClock("binance"), time.monotonic_ns()
        self.clock.add([ClockSample(now - 1000, now, time.time_ns(), 1000, time.time_ns() - now)])
        tracker = LatencyTracker(self.clock, threshold_ms=threshold_ms, report_timeout_ms=30_000)
        self.told, self.stop = [], threading.Event()
        self.monitor = LatencyMonitor(
            "latency", tracker, self.ledger, self.inbox, self.notes, self.questions, self.alerts, self.told.append
        )
        self.thread = threading.Thread(target=self.monitor.run, args=(self.stop,))
        self.written = threading.Event()  # ends the writer, after the monitor
        self.writing = threading.Thread(target=self.writer.run, args=(self.written,))
        self.writing.start()

    def order(self, late_ms=0, name="mine-1", answered=True):
        request = OrderRequest("binance", "BTCUSDT", OrderSide.BUY, name, Decimal("15.6"), quantity=Decimal("0.00024"))
        sent_ns, sent_mono = time.time_ns() - late_ms * 10**6, time.monotonic_ns() - late_ms * 10**6
        heard_ns, heard_mono = (
            at + (late_ms + 5) * 10**6 for at in (sent_ns, sent_mono)
        )  # however long the disk takes
        self.ledger.note(request, sent_ns, sent_mono)
        self.inbox.offer(OrderPlanned(request, sent_ns, sent_mono))
        self.inbox.offer(OrderSent(request, sent_ns, sent_mono))
        answer = (
            OrderAnswered("binance", "BTCUSDT", name, 7, "FILLED", Decimal("0.00024"), Decimal("15.6"), sent_ns // 1000,
                          heard_ns, heard_mono)
        )  # fmt: skip
        if answered:
            self.inbox.offer(answer)
        self.inbox.offer(
            ExecutionReport(
                "binance", "BTCUSDT", name, 7, 1, "TRADE", "FILLED", OrderSide.BUY, Decimal("0.00024"), Decimal(65000),
                Decimal("0.00024"), Decimal("15.6"), Decimal(0), "", 1, sent_ns // 1000, sent_ns // 1000, "", "c",
                heard_ns, heard_mono,
            )
        )  # fmt: skip

    def until(self, true):
        end = time.monotonic() + 30
        while not true():
            assert time.monotonic() < end, self.told
            time.sleep(0.005)

    def end(self):
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()
        self.end_writer()
        self.state.close()

    def end_writer(self):
        self.written.set()
        self.writing.join(30)
        assert not self.writing.is_alive()


@pytest.fixture
def hand(tmp_path):
    made = Hand(tmp_path / "state.db")
    made.thread.start()
    yield made
    if made.thread.is_alive():
        made.end()


def rows(path):
    reader = LedgerReader(path)
    try:
        return reader.between(0, time.time_ns() + 10**12), reader.open_between(0, time.time_ns() + 10**12)
    finally:
        reader.close()


def test_an_order_goes_through_to_log_alert_metrics_and_disk(hand, tmp_path):
    with structlog.testing.capture_logs() as logs:
        hand.order()
        hand.order(late_ms=700, name="mine-2")
        hand.until(lambda: len(hand.told) == 2)
        hand.end()
    events = [line["event"] for line in logs]
    told = [one for one in events if one in ("latency.measured", "latency.delayed")]
    assert told == ["latency.measured", "latency.measured", "latency.delayed"] and events.count("order.sent") == 2
    found = []
    while (signal := hand.alerts.take(0)) is not None:
        found.append((signal.name, signal.firing))
    # it is made to look 700 ms late, so it may be overdue before its report is taken
    found = [one for number, one in enumerate(found) if one not in found[:number]]
    assert found[:2] == [("latency.delayed", False), ("latency.lost", False)]
    assert found[2:] == [("latency.delayed", True)]
    measured, still_open = rows(tmp_path / "state.db")
    # the older one first: it was sent 700 ms before it was told
    assert {(one.client_order_id, one.order_class.value) for one in measured} == {
        ("mine-1", "in_time"),
        ("mine-2", "late"),
    }
    assert still_open == 0
    assert hand.monitor.phases["sent_to_report"].snapshot().count == 2
    assert hand.monitor.overhead.snapshot().count == 2


def test_another_threshold_judges_the_next_order(tmp_path):
    hand = Hand(tmp_path / "state.db", threshold_ms=60_000)
    hand.thread.start()
    with structlog.testing.capture_logs() as logs:
        hand.order(late_ms=1000)
        hand.inbox.offer(TrackerSettings(200, 60_000))
        hand.order(late_ms=1000, name="mine-2")
        hand.until(lambda: len(hand.told) == 2)
        hand.end()
    assert [(one.client_order_id, one.order_class.value, one.threshold_ms) for one in hand.told] == [
        ("mine-1", "in_time", 60_000),
        ("mine-2", "late", 200),
    ]
    assert [line["event"] for line in logs][-1] == "latency.delayed"


def test_an_alert_does_not_wait_for_the_answer(hand):
    hand.order(late_ms=700, answered=False)
    hand.until(lambda: len(hand.told) == 1)
    (told,) = hand.told
    assert told.order_class.value == "late" and told.sent_to_answer_ms is None
    assert told.waited_ms < 29_000, "which is before its time for reports was over"


def test_a_disk_that_refuses_keeps_no_alert_back_and_loses_nothing(hand, tmp_path, monkeypatch):
    def refuse(measurement):
        raise StateFailed(tmp_path, "disk full")

    monkeypatch.setattr(hand.ledger, "settle", refuse)
    with structlog.testing.capture_logs() as logs:
        hand.order(late_ms=700)
        hand.order(name="mine-2")
        hand.until(lambda: hand.writer.unwritten >= 1 and len(hand.told) == 2)
    assert [line["event"] for line in logs].count("latency.unwritten") == 1 and len(hand.told) == 2
    monkeypatch.undo()
    hand.until(lambda: hand.writer.unwritten == 0)
    hand.end()
    assert len(rows(tmp_path / "state.db")[0]) == 2


def test_what_a_crash_left_is_asked_for_and_settled(tmp_path):
    first = Hand(tmp_path / "state.db")
    first.ledger.note(ORDER, time.time_ns() - 60 * 10**9, time.monotonic_ns() - 60 * 10**9)
    first.end_writer()
    first.state.close()  # as a kill does
    second = Hand(tmp_path / "state.db")
    second.thread.start()
    second.until(lambda: len(second.questions) == 1)
    question = second.questions.take(0)
    assert isinstance(question, AskOrder) and question.client_order_id == "mine-1"
    second.inbox.offer(
        OrderState(
            "binance",
            "BTCUSDT",
            "mine-1",
            True,
            7,
            "FILLED",
            Decimal("0.00024"),
            Decimal("15.6"),
            time.time_ns() // 1000,
        )
    )
    second.until(lambda: len(second.told) == 1)
    second.end()
    measured, still_open = rows(tmp_path / "state.db")
    assert [one.order_class.value for one in measured] == ["lost"] and still_open == 0


def test_whatever_is_in_the_inbox_at_a_stop_is_still_taken(tmp_path):
    hand = Hand(tmp_path / "state.db")
    hand.stop.set()
    hand.monitor.run(hand.stop)  # begun, and ended at once
    hand.order()
    hand.monitor.run(hand.stop)
    hand.end_writer()
    hand.state.close()
    assert [one.order_class.value for one in rows(tmp_path / "state.db")[0]] == ["in_time"]


def test_the_asker_always_answers():
    questions, inbox = (Channel(name, 10, Overflow.DROP_NEWEST) for name in ("q", "i"))
    venue, stop = ScriptedVenue(states=[True, False, VenueUnreachable("u", "no route")]), threading.Event()
    thread = threading.Thread(target=OrderAsker("asker", venue, questions, inbox).run, args=(stop,))
    thread.start()
    for number in range(3):
        questions.offer(AskOrder(f"mine-{number}", "BTCUSDT", 1))
    answers = [inbox.take(30) for _ in range(3)]
    stop.set()
    thread.join(30)
    assert [type(one) for one in answers] == [OrderState, OrderState, AskFailed]
    assert [getattr(one, "found", None) for one in answers] == [True, False, None]
    assert "no route" in answers[2].reason
