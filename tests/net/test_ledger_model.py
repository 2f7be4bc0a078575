"""The ledger against venues that count strictly, in simulated time: no sleeping, no threads."""

from __future__ import annotations

import heapq
import itertools
import math
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from binmon.messages import Priority
from binmon.net.ledger import SHARES, RateLedger
from binmon.sandbox.limits import WeightLedger

T0 = 1_800_000_000.0  # the turn of a minute


class Simulation:
    """Simulated time: what is to happen, in order."""

    def __init__(self, now_s: float = T0) -> None:
        self.now_s = now_s
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def __call__(self) -> float:
        return self.now_s

    def at(self, at_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (at_s, next(self._numbers), act))

    def run_until(self, until_s: float) -> None:
        while self._due and self._due[0][0] <= until_s:
            self.now_s, _, act = heapq.heappop(self._due)
            act()
        self.now_s = until_s


class StrictVenue:
    """Counts ours and others', in minutes of its own clock, and never lets ours be more than the limit."""

    def __init__(self, limit: int, offset_s: float) -> None:
        self.limit, self.offset_s = limit, offset_s
        self.ours: dict[int, int] = defaultdict(int)
        self.all: dict[int, int] = defaultdict(int)

    def count(self, weight: int, at_s: float, *, ours: bool) -> int:
        minute = math.floor((at_s + self.offset_s) / 60)
        if ours:
            self.ours[minute] += weight
            assert self.ours[minute] <= self.limit, f"{self.ours[minute]} at {at_s - T0:.3f} s"
        self.all[minute] += weight
        return self.all[minute]


class LedgerAndVenue(RuleBasedStateMachine):
    """Any traffic: directly reserved, or queued and dealt; answered out of order, late, without a count, or never
    counted; others on the same address."""

    LIMIT = 100

    def __init__(self) -> None:
        super().__init__()
        self.time = Simulation()
        self.ledger = RateLedger("binance", weight_per_minute=self.LIMIT, clock=self.time)
        self.venue = StrictVenue(self.LIMIT, 0.0)
        self.claims = {}

    @initialize(offset_s=st.sampled_from([-0.4, 0.4]) | st.floats(-0.4, 0.4))
    def the_venue_has_a_clock_of_its_own(self, offset_s):
        self.venue.offset_s = offset_s

    def send(self, weight, there_s, back_s, fate):
        reserved_s = self.time.now_s

        def answer(count):
            self.ledger.settle(weight, count, self.time.now_s, reserved_s=reserved_s)

        def arrive():
            count = self.venue.count(weight, self.time.now_s, ours=True)
            answered = None if fate == "no count" else count
            self.time.at(self.time.now_s + back_s, lambda: answer(answered))

        if fate == "lost":
            self.time.at(reserved_s + there_s + back_s, lambda: answer(None))
        else:
            self.time.at(reserved_s + there_s, arrive)

    ways = st.tuples(
        st.floats(0.0, 0.3),
        st.floats(0.0, 0.1) | st.floats(0.0, 3.0),
        st.sampled_from(["answered"] * 4 + ["no count", "lost"]),
    )

    @rule(weight=st.integers(1, 60), priority=st.sampled_from(Priority), ways=ways)
    def reserve(self, weight, priority, ways):
        if self.ledger.reserve(weight, priority, self.time.now_s) == 0.0:
            self.send(weight, *ways)

    @rule(weight=st.integers(10, 60), ways=ways)
    def fill_up(self, weight, ways):
        while self.ledger.reserve(weight, Priority.ORDER, self.time.now_s) == 0.0:
            self.send(weight, *ways)

    @rule(before_s=st.floats(0.0, 0.8), after_s=st.floats(0.0, 0.8), weight=st.integers(10, 50), ways=ways, then=ways)
    def fill_up_before_and_after_the_turn(self, before_s, after_s, weight, ways, then):
        turn_s = (self.time.now_s // 60 + 1) * 60
        self.time.run_until(max(self.time.now_s, turn_s - before_s))
        self.fill_up(weight, ways)
        self.time.run_until(max(self.time.now_s, turn_s + after_s))
        self.fill_up(weight, then)

    @rule(weight=st.integers(1, 60), priority=st.sampled_from(Priority), ways=ways)
    def queue_up(self, weight, priority, ways):
        self.claims[self.ledger.enter(weight, priority, self.time.now_s)] = ways

    @rule()
    def deal(self):
        for claim, ways in list(self.claims.items()):
            if self.ledger.deal(claim, self.time.now_s) == 0.0:
                del self.claims[claim]
                self.ledger.leave(claim)
                self.send(claim.weight, *ways)

    @rule()
    def give_up(self):
        for claim in self.claims:
            self.ledger.leave(claim)
        self.claims.clear()

    @rule(weight=st.integers(1, 80))
    def others_on_the_address(self, weight):
        self.venue.count(weight, self.time.now_s, ours=False)

    @rule(seconds=st.floats(0.0, 20.0))
    def time_passes(self, seconds):
        self.time.run_until(self.time.now_s + seconds)

    @rule(seconds=st.floats(-0.8, 0.8))
    def it_is_about_the_turn_of_the_minute(self, seconds):
        turn_s = (self.time.now_s // 60 + 1) * 60
        self.time.run_until(max(self.time.now_s, turn_s + seconds))

    @invariant()
    def what_is_shown_makes_sense(self):
        status = self.ledger.status(self.time.now_s, now_mono_s=0.0)
        assert 0 <= status.in_flight <= status.weight.used
        assert sum(status.waiting.values()) == len(self.claims) - sum(map(self.served, self.claims))

    def served(self, claim):
        return self.ledger._wakes[claim].is_set()

    def teardown(self):
        self.give_up()
        self.time.run_until(self.time.now_s + 120)
        status = self.ledger.status(self.time.now_s, now_mono_s=0.0)
        assert status.in_flight == 0 and not status.waiting
        assert self.ledger.reserve(self.LIMIT, Priority.ORDER, self.time.now_s) == 0.0


TestLedgerAndVenue = LedgerAndVenue.TestCase
TestLedgerAndVenue.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no finding
    # what fails is a few steps already; to make it less takes minutes
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


class Wake(threading.Event):
    """Tells the simulated worker at once, as the event would tell a thread."""

    def __init__(self, told: Callable[[], None]) -> None:
        super().__init__()
        self._told = told

    def set(self) -> None:
        super().set()
        self._told()


class Hour:
    """Many workers that ask one after another, as threads in ``acquire`` would, and a sandbox that judges them."""

    def __init__(self, offset_s: float) -> None:
        self.time = Simulation(T0 + 17.0)
        self.ledger = RateLedger("binance", clock=self.time)
        self.judge = WeightLedger(6000, 60, 120)
        self.offset_s = offset_s
        self.random = random.Random(4)
        self.statuses: Counter[int] = Counter()
        self.weight: Counter[Priority] = Counter()
        self.longest_wait_s: dict[Priority, float] = defaultdict(float)

    def work(self, priority: Priority, weights: itertools.cycle[int], pause_s: float = 0.0) -> None:
        """One worker: the next request goes ``pause_s`` after the answer to the one before."""
        weight, asked_s = next(weights), self.time.now_s
        done = False

        def look() -> None:
            nonlocal done
            if done:
                return
            wait_s = self.ledger.deal(claim, self.time.now_s)
            if wait_s > 0:
                self.time.at(self.time.now_s + wait_s, look)
                return
            done = True
            self.ledger.leave(claim)
            self.longest_wait_s[priority] = max(self.longest_wait_s[priority], self.time.now_s - asked_s)
            reserved_s = self.time.now_s
            there_s, back_s = self.random.uniform(0.01, 0.3), self.random.uniform(0.01, 0.2)
            self.time.at(reserved_s + there_s, lambda: arrive(reserved_s, back_s))

        def arrive(reserved_s: float, back_s: float) -> None:
            verdict = self.judge.charge("us", weight, self.time.now_s + self.offset_s)
            self.statuses[verdict.status] += 1
            self.weight[priority] += weight
            self.time.at(self.time.now_s + back_s, lambda: answered(verdict.used, reserved_s))

        def answered(used: int, reserved_s: float) -> None:
            self.ledger.settle(weight, used, self.time.now_s, reserved_s=reserved_s)
            self.time.at(self.time.now_s + pause_s, lambda: self.work(priority, weights, pause_s))

        claim = self.ledger.enter(weight, priority, asked_s, Wake(lambda: self.time.at(self.time.now_s, look)))
        look()


@pytest.mark.parametrize("offset_s", [-0.4, 0.0, 0.4])
def test_an_hour_of_forced_resyncs_never_meets_a_429_and_uses_what_it_may(offset_s):
    hour = Hour(offset_s)
    symbols = [hour.random.choice([5, 50, 250]) for _ in range(1_500)]
    resyncs, first = itertools.cycle(symbols), itertools.cycle(symbols)
    for _ in range(40):
        hour.work(Priority.RESYNC, resyncs)
    for _ in range(4):
        hour.work(Priority.INITIAL_SYNC, first)
        hour.work(Priority.AUDIT, itertools.cycle([250]))
    hour.work(Priority.LISTING, itertools.cycle([20]), pause_s=30.0)
    hour.work(Priority.ORDER, itertools.cycle([4]), pause_s=2.0)
    hour.time.run_until(T0 + 17 + 3600)
    assert hour.statuses.keys() == {200}
    share = 60 * 6000 * SHARES[Priority.RESYNC]
    assert sum(hour.weight.values()) >= 0.85 * share
    assert hour.weight[Priority.RESYNC] >= 0.85 * share  # the others did not starve it …
    assert all(hour.weight[priority] > 0 for priority in Priority)  # … nor it them
    assert hour.longest_wait_s[Priority.LISTING] <= 120
    assert hour.longest_wait_s[Priority.ORDER] < 1.0


def test_audits_alone_do_not_starve_a_poll_of_listings():
    hour = Hour(0.0)
    for _ in range(6):
        hour.work(Priority.AUDIT, itertools.cycle([250]))
    hour.work(Priority.LISTING, itertools.cycle([20]), pause_s=60.0)
    hour.time.run_until(T0 + 17 + 3600)
    assert hour.statuses.keys() == {200}
    assert hour.weight[Priority.LISTING] >= 20 * 20
    assert hour.longest_wait_s[Priority.LISTING] <= 120
    assert hour.weight[Priority.AUDIT] >= 0.85 * 60 * 6000 * SHARES[Priority.AUDIT]


@pytest.mark.parametrize("used", [0, 3000, 5399, 6000])
@pytest.mark.parametrize("weights", [[250] * 100, [5] * 1500, [250, 5, 50] * 60, [5500, 5, 5500]])
def test_the_forecast_is_what_then_happens(used, weights):
    time = Simulation(T0 + 20.0)
    ledger = RateLedger("binance", clock=time)
    assert ledger.reserve(used, Priority.ORDER, time.now_s) == 0.0
    ledger.settle(used, used, time.now_s)
    forecast = ledger.forecast(weights, Priority.RESYNC, time.now_s)
    began_s = time.now_s
    for weight in weights:
        while (wait_s := ledger.reserve(weight, Priority.RESYNC, time.now_s)) > 0:
            time.now_s += wait_s
        ledger.settle(weight, None, time.now_s)
    assert forecast.seconds == pytest.approx(time.now_s - began_s, abs=0.01)
    assert forecast.weight == sum(weights) and forecast.share_of_minute == sum(weights) / 6000
