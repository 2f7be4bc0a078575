"""When an alert is raised, repeated and over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from binmon.alerts.rules import FLAP_HOLD_S, STALE_S, AlertRules, ConditionState, Notify, NotifyKind, Rule
from binmon.messages import AlertName, AlertSignal, Severity

RAISED, REMINDER, RECOVERED, EXPIRED = NotifyKind
HOUR_S = 3600.0


def signal(
    firing: bool = True,
    severity: Severity = Severity.WARNING,
    subject: str = "binance BTCUSDT",
    once: bool = False,
    text: str = "took 7 s",
) -> AlertSignal:
    return AlertSignal(AlertName.LATENCY_DELAYED, subject, firing, severity, text, 10**18, once)


def machine(**patience: Any) -> AlertRules:
    return AlertRules({"latency.delayed": Rule(**patience)})


def kinds(effects: Sequence[Notify]) -> list[NotifyKind]:
    return [effect.kind for effect in effects]


def test_without_a_rule_the_first_signal_raises_and_the_first_good_one_ends_it() -> None:
    rules = machine()
    (raised,) = rules.on_signal(signal(text="first"), 10.0)
    assert (raised.kind, raised.signal.text, raised.count) == (RAISED, "first", 1)
    assert rules.firing_count == 1
    (over,) = rules.on_signal(signal(False, text="fine"), 25.0)
    assert (over.kind, over.signal.text, over.duration_s, over.severity) == (
        RECOVERED,
        "fine",
        15.0,
        Severity.WARNING,
    )
    assert rules.firing_count == 0


def test_good_signals_of_what_never_fired_say_nothing_and_cost_nothing() -> None:
    rules = machine()
    assert rules.on_signal(signal(False), 0.0) == []
    assert len(rules._conditions) == 0


def test_subjects_are_apart() -> None:
    rules = machine()
    assert kinds(rules.on_signal(signal(subject="a"), 0.0)) == [RAISED]
    assert kinds(rules.on_signal(signal(subject="b"), 0.0)) == [RAISED]
    assert rules.on_signal(signal(subject="a"), 1.0) == []


def test_for_count_wants_signals_in_a_row() -> None:
    rules = machine(for_count=3)
    assert rules.on_signal(signal(), 0.0) == rules.on_signal(signal(), 1.0) == []
    assert rules.on_signal(signal(False), 2.0) == []
    assert rules.on_signal(signal(), 3.0) == rules.on_signal(signal(), 4.0) == []
    (raised,) = rules.on_signal(signal(), 5.0)
    assert (raised.kind, raised.count, raised.duration_s) == (RAISED, 3, 2.0)


def test_what_is_said_twice_of_one_sighting_is_seen_once() -> None:
    rules = machine(for_count=2)
    first, second = replace(signal(), sighting="order 1"), replace(signal(), sighting="order 2")
    assert rules.on_signal(first, 0.0) == rules.on_signal(first, 1.0) == []
    (raised,) = rules.on_signal(second, 2.0)
    assert (raised.kind, raised.count) == (RAISED, 2)
    worse = replace(second, severity=Severity.CRITICAL, text="worse")
    (reminder,) = rules.on_signal(worse, 3.0)  # what is new is told all the same
    assert (reminder.kind, reminder.count, reminder.signal.text) == (REMINDER, 0, "worse")


def test_a_sighting_after_a_good_one_counts_again() -> None:
    rules = machine(for_count=2)
    one = replace(signal(), sighting="order 1")
    rules.on_signal(one, 0.0)
    rules.on_signal(signal(False), 1.0)
    assert rules.on_signal(one, 2.0) == []
    assert rules.state("latency.delayed", "binance BTCUSDT") is ConditionState.PENDING


def test_for_s_is_over_without_another_signal() -> None:
    rules = machine(for_s=30.0)
    assert rules.on_signal(signal(), 0.0) == []
    assert rules.tick(29.9) == []
    assert kinds(rules.tick(30.0)) == [RAISED]


def test_count_and_time_must_both_be_met() -> None:
    rules = machine(for_count=2, for_s=30.0)
    rules.on_signal(signal(), 0.0)
    assert rules.tick(100.0) == []
    assert kinds(rules.on_signal(signal(), 101.0)) == [RAISED]


def test_clear_count_and_clear_s() -> None:
    rules = machine(clear_count=2, clear_s=30.0)
    rules.on_signal(signal(), 0.0)
    assert rules.on_signal(signal(False), 10.0) == rules.on_signal(signal(False), 20.0) == []
    assert rules.state("latency.delayed", "binance BTCUSDT") is ConditionState.RESOLVING
    assert rules.tick(39.9) == []
    (over,) = rules.tick(40.0)
    assert (over.kind, over.duration_s) == (RECOVERED, 10.0)


def test_what_comes_back_while_it_clears_was_never_over_and_is_counted() -> None:
    rules = machine(clear_s=30.0, resend_every_s=HOUR_S)
    rules.on_signal(signal(), 0.0)
    for at_s in (10.0, 50.0):
        assert rules.on_signal(signal(False), at_s) == []
        assert rules.on_signal(signal(), at_s + 20.0) == []
    (reminder,) = rules.tick(HOUR_S)
    assert (reminder.kind, reminder.count, reminder.returns) == (REMINDER, 2, 2)


def test_further_signals_are_counted_and_told_with_the_reminder() -> None:
    rules = machine(resend_every_s=60.0)
    rules.on_signal(signal(), 0.0)
    for at_s in range(1, 60):
        assert rules.on_signal(signal(), float(at_s)) == []
    (reminder,) = rules.tick(60.0)
    assert (reminder.kind, reminder.count, reminder.duration_s, reminder.silent_s) == (REMINDER, 59, 60.0, 1.0)
    assert rules.tick(119.9) == []
    assert kinds(rules.tick(120.0)) == [REMINDER]


def test_getting_worse_is_told_at_once_and_only_once() -> None:
    rules = machine()
    rules.on_signal(signal(), 0.0)
    (worse,) = rules.on_signal(signal(severity=Severity.CRITICAL), 1.0)
    assert (worse.kind, worse.severity) == (REMINDER, Severity.CRITICAL)
    assert rules.on_signal(signal(severity=Severity.ERROR), 2.0) == []
    assert rules.on_signal(signal(severity=Severity.CRITICAL), 3.0) == []


def test_a_new_episode_begins_with_its_own_severity() -> None:
    rules = machine()
    rules.on_signal(signal(severity=Severity.CRITICAL), 0.0)
    rules.on_signal(signal(False), 1.0)
    (again,) = rules.on_signal(signal(severity=Severity.INFO), 2.0)
    assert again.severity is Severity.INFO


def flap(rules: AlertRules, for_s: float, period_s: float) -> list[tuple[float, NotifyKind]]:
    told: list[tuple[float, NotifyKind]] = []
    now_s, firing = 0.0, True
    while now_s < for_s:
        told += [(now_s, kind) for kind in kinds(rules.on_signal(signal(firing), now_s))]
        told += [(now_s, kind) for kind in kinds(rules.tick(now_s))]
        now_s, firing = now_s + period_s, not firing
    return told


@pytest.mark.parametrize("period_s", [0.5, 20.0, 61.0, 130.0, 700.0, 2000.0])
def test_flapping_does_not_flood(period_s: float) -> None:
    told = flap(machine(resend_every_s=HOUR_S), 24 * HOUR_S, period_s)
    raised = [at_s for at_s, kind in told if kind is RAISED]
    doublings = math.ceil(math.log2(HOUR_S / FLAP_HOLD_S)) + 2
    for begin_s in range(24):
        inside = [at_s for at_s in raised if begin_s * HOUR_S <= at_s < (begin_s + 1) * HOUR_S]
        assert len(inside) <= (doublings if begin_s == 0 else 4), (begin_s, inside)
    assert len(told) < 24 * 8


def test_a_raise_is_never_held_back_by_flapping() -> None:
    rules = machine(resend_every_s=HOUR_S)
    flap(rules, HOUR_S, 45.0)
    now_s = 10 * HOUR_S
    assert kinds([*rules.on_signal(signal(False), now_s), *rules.tick(now_s + HOUR_S)]) == [RECOVERED]
    assert kinds(rules.on_signal(signal(), now_s + HOUR_S + 1)) == [RAISED]


def test_a_condition_that_came_back_must_stay_good_for_longer_and_one_that_rested_need_not() -> None:
    rules = machine(resend_every_s=HOUR_S)
    rules.on_signal(signal(), 0.0)
    assert kinds(rules.on_signal(signal(False), 1.0)) == [RECOVERED]
    assert kinds(rules.on_signal(signal(), 2.0)) == [RAISED]
    assert rules.on_signal(signal(False), 3.0) == rules.tick(62.9) == []
    assert kinds(rules.tick(63.0)) == [RECOVERED]
    assert kinds(rules.on_signal(signal(), 64.0)) == [RAISED]
    assert rules.on_signal(signal(False), 65.0) == rules.tick(184.9) == []
    assert kinds(rules.tick(185.0)) == [RECOVERED]
    assert rules.tick(185.0 + HOUR_S) == []
    assert len(rules._conditions) == 0, "it is forgotten"
    assert kinds(rules.on_signal(signal(), 10_000.0)) == [RAISED]
    assert kinds(rules.on_signal(signal(False), 10_001.0)) == [RECOVERED]


def test_silence_is_no_recovery_but_ends_after_a_day() -> None:
    rules = machine(resend_every_s=HOUR_S)
    rules.on_signal(signal(), 0.0)
    told = [effect for at_s in range(60, int(STALE_S) + 120, 60) for effect in rules.tick(float(at_s))]
    assert kinds(told) == [REMINDER] * 23 + [EXPIRED]
    assert told[-1].silent_s == pytest.approx(STALE_S)
    assert rules.state("latency.delayed", "binance BTCUSDT") is ConditionState.OK


def test_a_pending_condition_that_nobody_speaks_of_any_more_is_forgotten_without_a_word() -> None:
    rules = machine(for_count=2)
    rules.on_signal(signal(), 0.0)
    assert rules.tick(STALE_S) == []
    assert len(rules._conditions) == 0
    assert rules.on_signal(signal(), STALE_S + 1) == []


def test_a_good_signal_alone_is_not_enough_where_two_are_wanted_and_then_it_is_given_up() -> None:
    rules = machine(clear_count=2, resend_every_s=HOUR_S)
    rules.on_signal(signal(), 0.0)
    rules.on_signal(signal(False), 1.0)
    assert rules.tick(STALE_S) == []
    assert kinds(rules.tick(STALE_S + 1.0)) == [EXPIRED]


def test_an_event_is_told_at_once_and_has_no_end() -> None:
    rules = machine(for_count=5)
    (listed,) = rules.on_signal(signal(once=True), 0.0)
    assert (listed.kind, listed.count) == (RAISED, 1)
    assert rules.on_signal(signal(False, once=True), 1.0) == []
    assert rules.tick(60.0) == rules.tick(STALE_S) == []
    assert rules.firing_count == 0
    assert len(rules._events) == 0


def test_the_same_event_again_within_a_minute_is_counted_and_told_after_it() -> None:
    rules = machine()
    rules.on_signal(signal(once=True), 0.0)
    for at_s in range(1, 50):
        assert rules.on_signal(signal(once=True, text=f"event {at_s}"), float(at_s)) == []
    assert rules.tick(59.9) == []
    (more,) = rules.tick(60.0)
    assert (more.kind, more.count, more.signal.text) == (RAISED, 49, "event 49")
    assert rules.tick(120.0) == []
    assert kinds(rules.on_signal(signal(once=True), 121.0)) == [RAISED]


def test_what_finds_no_room_is_counted() -> None:
    rules = AlertRules(capacity=3)
    for number in range(5):
        rules.on_signal(signal(subject=f"s{number}", once=number == 1), 0.0)
    assert (rules.refused_count, rules.firing_count) == (2, 2)
    assert kinds(rules.on_signal(signal(False, subject="s0"), 1.0)) == [RECOVERED]


def test_other_rules_apply_to_the_conditions_as_they_stand() -> None:
    rules = machine(for_s=100.0)
    rules.on_signal(signal(), 0.0)
    rules.configure({}, Rule())
    assert kinds(rules.tick(1.0)) == [RAISED]


def test_a_transition_that_is_not_in_the_table_is_refused() -> None:
    rules = machine()
    rules.on_signal(signal(), 0.0)
    (condition,) = rules._conditions.values()
    with pytest.raises(RuntimeError, match="FIRING -> PENDING"):
        condition.move_to(ConditionState.PENDING)


class Conditions(RuleBasedStateMachine):
    """Any signals at any times: what people are told must make sense to somebody who sees only that."""

    @initialize(
        for_count=st.integers(1, 3),
        for_s=st.sampled_from([0.0, 5.0, 90.0]),
        clear_count=st.integers(1, 3),
        clear_s=st.sampled_from([0.0, 5.0, 90.0]),
        resend_every_s=st.sampled_from([1.0, 60.0, 600.0]),
    )
    def begin(self, **patience: Any) -> None:
        self.patience = Rule(**patience)
        self.rules = AlertRules(default=self.patience)
        self.now_s = 0.0
        self.history: dict[str, list[tuple[float, bool, Severity]]] = {}
        self.told: dict[str, list[tuple[float, Notify]]] = {}

    @rule(subject=st.sampled_from("ab"), firing=st.booleans(), severity=st.sampled_from(list(Severity)))
    def speak(self, subject: str, firing: bool, severity: Severity) -> None:
        self.history.setdefault(subject, []).append((self.now_s, firing, severity))
        self.keep(self.rules.on_signal(signal(firing, severity, subject), self.now_s))

    @rule(subject=st.sampled_from("ab"), times=st.integers(2, 6))
    def flap(self, subject: str, times: int) -> None:
        for number in range(times):
            self.speak(subject, number % 2 == 0, Severity.ERROR)
            self.wait(1.0)

    @rule(seconds=st.sampled_from([0.0, 0.5, 4.0, 30.0, 61.0, 599.0, 5000.0, STALE_S]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.keep(self.rules.tick(self.now_s))

    def keep(self, effects: list[Notify]) -> None:
        for effect in effects:
            subject = effect.signal.subject
            told = self.told.setdefault(subject, [])
            self.judge(effect, told, self.history[subject])
            told.append((self.now_s, effect))
        per_subject = [effect.signal.subject for effect in effects]
        assert len(set(per_subject)) == len(per_subject), "one message a condition at a time"

    def judge(self, effect: Notify, told: list[tuple[float, Notify]], history: list[Any]) -> None:
        last_s, last = told[-1] if told else (-math.inf, None)
        known = last is not None and last.kind in (RAISED, REMINDER)
        run = self.run_of(history)
        if effect.kind is RAISED:
            assert not known, "raised twice"
            assert history[-1][1], "raised while it is good"
            assert len(run) >= self.patience.for_count
            assert self.now_s - run[0][0] >= self.patience.for_s
            assert effect.severity == max((one[2] for one in run), key=list(Severity).index)
        elif effect.kind is REMINDER:
            assert known
            worse = list(Severity).index(effect.severity) > list(Severity).index(last.severity)
            assert worse or self.now_s - last_s >= self.patience.resend_every_s
        elif effect.kind is RECOVERED:
            assert known
            assert not history[-1][1], "over while it fires"
            assert len(run) >= self.patience.clear_count
            assert self.now_s - run[0][0] >= self.patience.clear_s
        else:
            assert known
            assert self.now_s - history[-1][0] >= STALE_S
        begin = 0 if known else len(history) - len(run)
        since = [one for one in history[begin:] if one[1] and (not known or one[0] >= last_s)]
        assert effect.count <= len(since)
        assert effect.duration_s >= 0
        assert effect.silent_s == self.now_s - history[-1][0]

    @staticmethod
    def run_of(history: list[Any]) -> list[Any]:
        """The signals at the end that say the same, without a day of silence among them."""
        run: list[Any] = []
        for one in reversed(history):
            if one[1] is not history[-1][1] or (run and run[0][0] - one[0] >= STALE_S):
                break
            run.insert(0, one)
        return run

    @invariant()
    def what_people_believe_is_the_state(self) -> None:
        for subject, history in getattr(self, "history", {}).items():
            told = self.told.get(subject, [])
            known = bool(told) and told[-1][1].kind in (RAISED, REMINDER)
            state = self.rules.state("latency.delayed", subject)
            assert known is (state in (ConditionState.FIRING, ConditionState.RESOLVING))
            if state in (ConditionState.PENDING, ConditionState.FIRING):
                assert history[-1][1]
            # nothing that is due is left undone
            run = self.run_of(history)
            long_s = self.now_s - run[0][0]
            if history[-1][1] and len(run) >= self.patience.for_count and long_s >= self.patience.for_s:
                assert known or told[-1][1].kind is EXPIRED, "it holds for long, and nobody was told"
            longest_s = max(self.patience.clear_s, self.patience.resend_every_s, 0.0)
            enough = len(run) >= self.patience.clear_count and long_s >= longest_s
            if not history[-1][1] and enough and self.now_s > history[-1][0]:
                assert not known, "it is good for long, and people still worry"


TestConditions = Conditions.TestCase
TestConditions.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
