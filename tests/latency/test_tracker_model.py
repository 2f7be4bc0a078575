"""The tracker against random histories: every order ends in exactly one class, and in the right one."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from binmon.latency.measurement import OrderClass
from tests.latency.messages import MS, S
from tests.latency.world import World

short_ns = st.integers(0, 50 * MS)
way_ns = st.one_of(
    st.integers(0, 300 * MS),
    st.integers(0, 300 * MS),
    st.integers(0, 60 * S),
    st.sampled_from([5 * S, 5 * S + 1, 30 * S]),
)
maybe_lost = st.one_of(way_ns, way_ns, way_ns, st.none())
copy = st.one_of(st.none(), st.none(), way_ns)


class Histories(RuleBasedStateMachine):
    """Orders, answers, refusals, uncertainty, reports in any order with copies and losses, breaks, restarts, wipes."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @initialize(
        uncertainty_ns=st.sampled_from([None, 0, 400_000, 2 * S]), threshold_ms=st.sampled_from([100, 5000, 40_000])
    )
    def begin(self, uncertainty_ns, threshold_ms):
        self.world.uncertainty_ns = uncertainty_ns
        self.configure(threshold_ms, 30_000)

    def configure(self, threshold_ms, timeout_ms):
        self.world.threshold_ms, self.world.timeout_ms = threshold_ms, timeout_ms
        self.world.tracker.settings(threshold_ms, timeout_ms)

    @rule(
        fate=st.sampled_from(["answered"] * 4 + ["refused", "uncertain", "uncertain", "lost on the way"]),
        fills=st.integers(1, 3),
        short=st.booleans(),
        there_ns=st.one_of(short_ns, st.integers(0, 3 * S)),
        back_ns=st.one_of(short_ns, st.integers(0, 10 * S)),
        ways=st.lists(maybe_lost, min_size=1, max_size=4),
        copies=st.lists(copy, min_size=1, max_size=2),
        queued=st.lists(st.one_of(st.just(0), st.integers(0, 2 * S)), min_size=3, max_size=3),
        planned=st.booleans(),
        then_ns=st.one_of(st.just(0), st.integers(0, 20 * S)),
    )
    def send(self, fate, fills, short, there_ns, back_ns, ways, copies, queued, planned, then_ns):
        self.world.send(
            fate=fate, fills=fills, short=short, there_ns=there_ns, back_ns=back_ns, ways=ways, copies=copies, queued=queued,
            planned=planned,
        )  # fmt: skip
        self.world.run(then_ns)

    @rule(for_ns=st.one_of(st.integers(0, S), st.integers(0, 60 * S)))
    def time_passes(self, for_ns):
        self.world.run(for_ns)

    @rule(for_ns=st.one_of(st.integers(0, 300 * MS), st.integers(0, 60 * S)))
    def stream_breaks(self, for_ns):
        self.world.break_stream(for_ns)

    @rule(down_ns=st.integers(0, 20 * S))
    def restart(self, down_ns):
        self.world.restart(down_ns)

    @rule()
    def wipe(self):
        self.world.wipe()

    @rule(by_ns=st.sampled_from([-30 * S, -5 * MS, 5 * MS, 30 * S]))
    @precondition(lambda self: self.world.uncertainty_ns is None)
    def the_venues_clock_is_set(self, by_ns):
        self.world.step_clock(by_ns)

    @rule(lag_ns=st.sampled_from([0, 500 * MS, 5 * S]), answers=st.booleans())
    def rest_changes(self, lag_ns, answers):
        self.world.rest_lag_ns, self.world.rest_answers = lag_ns, answers

    @rule(threshold_ms=st.sampled_from([100, 2000, 60_000]), timeout_ms=st.sampled_from([1000, 30_000]))
    def reload(self, threshold_ms, timeout_ms):
        self.configure(threshold_ms, timeout_ms)

    def teardown(self):
        """In the end everything is settled: the venue answers again, and time passes."""
        self.world.rest_answers, self.world.rest_lag_ns = True, 0
        self.world.run(300 * S)
        left = [order for order in self.world.orders.values() if order.measurement is None]
        assert not left
        assert self.world.tracker.open == 0
        for order in self.world.orders.values():
            end = order.measurement.order_class
            if order.refused and not order.restored:
                assert end is OrderClass.REJECTED
            if order.complete and not order.restored and not order.wiped:
                assert end in (OrderClass.IN_TIME, OrderClass.LATE)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=300,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
