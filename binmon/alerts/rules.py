"""When an alert is raised, repeated and over: the machine behind the dispatcher. It does no I/O and reads no clock.

One condition is a name and a subject (``latency.delayed`` of ``binance BTCUSDT``). Whoever watches it sends signals:
it holds, or it was looked at and does not hold. The machine answers with what people should be told.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from binmon.messages import AlertSignal, Severity

FLAP_HOLD_S = 60.0
"""How long a condition that came back once must stay good before it is called over; doubled with every return."""

STALE_S = 86_400.0
"""A condition that nobody has said anything of for so long is given up (or twice its own times, if that is longer)."""

ONCE_GAP_S = 60.0
"""An event of the same name and subject is told at most this often; those between are counted."""

_SEVERITIES = tuple(Severity)  # in the order of growing severity


class ConditionState(enum.Enum):
    """Where one condition stands."""

    OK = "ok"  # it does not hold; people were told so, or never heard of it
    PENDING = "pending"  # it holds, but not yet long or often enough to tell
    FIRING = "firing"  # it holds, and people know
    RESOLVING = "resolving"  # it does not hold any more, but not yet long or often enough to tell


_ALLOWED = {
    ConditionState.OK: {ConditionState.PENDING},
    ConditionState.PENDING: {ConditionState.FIRING, ConditionState.OK},
    ConditionState.FIRING: {ConditionState.RESOLVING, ConditionState.OK},
    ConditionState.RESOLVING: {ConditionState.FIRING, ConditionState.OK},
}


class NotifyKind(enum.StrEnum):
    """What a message to people says."""

    RAISED = "raised"  # it holds now
    REMINDER = "reminder"  # it still holds, or has become worse
    RECOVERED = "recovered"  # it is over
    EXPIRED = "expired"  # nobody has said anything of it for so long that it is given up


@dataclass(frozen=True, slots=True)
class Rule:
    """How patient one alert is. Counts are of signals in a row (several of one sighting are one), times in seconds; both
    parts of a pair must be met."""

    for_count: int = 1  # firing signals before it is raised
    for_s: float = 0.0  # how long it must have held before it is raised
    clear_count: int = 1  # good signals before it is over
    clear_s: float = 0.0  # how long it must have been good before it is over
    resend_every_s: float = 3600.0  # how often people are reminded


@dataclass(frozen=True, slots=True)
class Notify:
    """An effect of the machine: tell people of ``signal``, the newest of its condition."""

    kind: NotifyKind
    signal: AlertSignal
    severity: Severity  # the worst since it was raised
    count: int  # firing signals since the last message, this one included
    returns: int  # how often it had seemed over and came back, since the last message
    duration_s: float  # from the first firing signal to now, or to the first good one when it is over
    silent_s: float  # since its last signal


@dataclass(slots=True)
class _Condition:
    """One condition; times are of the monotonic clock."""

    latest: AlertSignal
    heard_s: float  # the newest signal
    began_s: float  # the first firing signal of this episode
    state: ConditionState = ConditionState.OK
    in_a_row: int = 0  # signals of the kind that PENDING and RESOLVING wait for
    good_since_s: float = 0.0
    worst: Severity = Severity.INFO
    told: Severity = Severity.INFO  # the worst that people have heard of
    told_s: float = 0.0
    count: int = 0  # firing signals since the last message
    sighting: str = ""  # of the newest firing signal
    returns: int = 0
    flaps: int = 0  # how often in a row it was raised again soon after it was over
    over_s: float | None = None  # when it was over last

    def move_to(self, state: ConditionState) -> None:
        """The only writer of ``state``."""
        if state not in _ALLOWED[self.state]:
            raise RuntimeError(f"alert {self.latest.name}: {self.state.name} -> {state.name} is not allowed")
        self.state = state


@dataclass(slots=True)
class _Event:
    """What is remembered of an event that ends by itself."""

    latest: AlertSignal
    told_s: float
    count: int = 0  # since the last message


_Key = tuple[str, str]


@dataclass(slots=True)
class AlertRules:
    """All conditions. ``now_s`` is monotonic and never runs backwards; call ``tick`` often, for what only time brings.

    People are told of a condition in the order raised, any number of reminders, then recovered or expired; never twice
    the same in a row but for reminders.

    * While it fires, further signals are only counted; after ``resend_every_s`` a reminder says how many there were.
      One comes early when the condition has become worse than people know.
    * **Flapping.** A raise is never held back: it may be the real thing. Its end is. A condition that is raised again
      within ``resend_every_s`` of its end must afterwards stay good for a minute before it is over again, then two
      minutes, four, up to ``resend_every_s``. What comes back meanwhile is counted and told with the next message. So a
      condition that flaps for ever is raised half a dozen times in its first hour, then once in ``resend_every_s``.
    * **Silence** is not recovery: a condition that fires stays so, and the reminders say since when nobody has said
      anything. After a day it is given up as EXPIRED. One that was only pending is forgotten without a word.
    * An event (``once``) is told at once and has no end; the same again within a minute is counted and told after it.

    At most ``capacity`` conditions are held; what finds no room is counted in ``refused_count``.
    """

    rules: Mapping[str, Rule] = field(default_factory=dict)
    default: Rule = field(default_factory=Rule)
    capacity: int = 20_000
    refused_count: int = 0
    _conditions: dict[_Key, _Condition] = field(default_factory=dict)
    _events: dict[_Key, _Event] = field(default_factory=dict)

    def configure(self, rules: Mapping[str, Rule], default: Rule) -> None:
        """Other rules, for the conditions as they stand; the waits that are under way are measured by the new ones."""
        self.rules, self.default = rules, default

    def rule(self, name: str) -> Rule:
        """The rule of alert ``name``."""
        return self.rules.get(name, self.default)

    def state(self, name: str, subject: str) -> ConditionState:
        """Where a condition stands; OK also when it was never heard of."""
        condition = self._conditions.get((name, subject))
        return ConditionState.OK if condition is None else condition.state

    @property
    def firing_count(self) -> int:
        """How many conditions people now take to hold."""
        known = (ConditionState.FIRING, ConditionState.RESOLVING)
        return sum(condition.state in known for condition in list(self._conditions.values()))

    def on_signal(self, signal: AlertSignal, now_s: float) -> list[Notify]:
        """Take one signal in; what people should be told at once."""
        key = (signal.name, signal.subject)
        if signal.once:
            return self._on_event(key, signal, now_s) if signal.firing else []
        condition = self._conditions.get(key)
        if condition is None:
            if not signal.firing:
                return []
            if self._is_full():
                return []
            condition = self._conditions[key] = _Condition(signal, now_s, now_s)
        condition.latest, condition.heard_s = signal, now_s
        if signal.firing:
            self._on_firing(condition, now_s)
        else:
            self._on_good(condition, now_s)
        return self._due(condition, now_s)

    def tick(self, now_s: float) -> list[Notify]:
        """What time alone brings: raises and recoveries that were waited for, reminders, and what has gone silent."""
        effects: list[Notify] = []
        for key, condition in list(self._conditions.items()):
            # what is given up needs no reminder before; what is due otherwise comes before giving up
            steps = (self._due, self._expired)
            for step in reversed(steps) if condition.state is ConditionState.FIRING else steps:
                if told := step(condition, now_s):
                    effects += told
                    break
            if condition.state is ConditionState.OK and self._is_forgotten(condition, now_s):
                del self._conditions[key]
        for key, event in list(self._events.items()):
            if now_s - event.told_s >= self._once_gap_s(event.latest.name):
                if not event.count:
                    del self._events[key]
                    continue
                effects.append(_event_effect(event))
                event.told_s, event.count = now_s, 0
        return effects

    # Signals ------------------------------------------------------------------------------------------------------

    def _on_firing(self, condition: _Condition, now_s: float) -> None:
        severity, sighting = condition.latest.severity, condition.latest.sighting
        again = sighting != "" and sighting == condition.sighting
        condition.sighting = sighting
        if condition.state is ConditionState.OK:
            condition.began_s, condition.in_a_row, condition.count = now_s, 1, 1
            condition.worst, condition.returns = severity, 0
            condition.move_to(ConditionState.PENDING)
            return
        condition.worst = max(condition.worst, severity, key=_SEVERITIES.index)
        if again and condition.state is not ConditionState.RESOLVING:
            return
        condition.count += 1
        if condition.state is ConditionState.PENDING:
            condition.in_a_row += 1
        elif condition.state is ConditionState.RESOLVING:
            condition.returns += 1
            condition.move_to(ConditionState.FIRING)

    def _on_good(self, condition: _Condition, now_s: float) -> None:
        if condition.state is ConditionState.PENDING:
            condition.move_to(ConditionState.OK)
        elif condition.state is ConditionState.FIRING:
            condition.good_since_s, condition.in_a_row = now_s, 1
            condition.move_to(ConditionState.RESOLVING)
        elif condition.state is ConditionState.RESOLVING:
            condition.in_a_row += 1

    def _on_event(self, key: _Key, signal: AlertSignal, now_s: float) -> list[Notify]:
        event = self._events.get(key)
        if event is not None and now_s - event.told_s < self._once_gap_s(signal.name):
            event.latest, event.count = signal, event.count + 1
            return []
        if event is None:
            if self._is_full():
                return []
            event = self._events[key] = _Event(signal, now_s)
        event.latest, event.count = signal, event.count + 1
        effect = _event_effect(event)
        event.told_s, event.count = now_s, 0
        return [effect]

    # Time ---------------------------------------------------------------------------------------------------------

    def _due(self, condition: _Condition, now_s: float) -> list[Notify]:
        rule = self.rule(condition.latest.name)
        effects: list[Notify] = []
        if (
            condition.state is ConditionState.PENDING
            and condition.in_a_row >= rule.for_count
            and now_s - condition.began_s >= rule.for_s
        ):
            soon = condition.over_s is not None and now_s - condition.over_s < rule.resend_every_s
            condition.flaps = condition.flaps + 1 if soon else 0
            condition.move_to(ConditionState.FIRING)
            effects.append(_told(condition, NotifyKind.RAISED, now_s, until_s=now_s))
        elif condition.state is ConditionState.FIRING:
            worse = _SEVERITIES.index(condition.worst) > _SEVERITIES.index(condition.told)
            if worse or now_s - condition.told_s >= rule.resend_every_s:
                effects.append(_told(condition, NotifyKind.REMINDER, now_s, until_s=now_s))
        elif (
            condition.state is ConditionState.RESOLVING
            and condition.in_a_row >= rule.clear_count
            and now_s - condition.good_since_s >= max(rule.clear_s, _hold_s(condition.flaps, rule))
        ):
            condition.move_to(ConditionState.OK)
            condition.over_s = now_s
            effects.append(_told(condition, NotifyKind.RECOVERED, now_s, until_s=condition.good_since_s))
        return effects

    def _expired(self, condition: _Condition, now_s: float) -> list[Notify]:
        rule = self.rule(condition.latest.name)
        stale_s = max(STALE_S, 2 * rule.for_s, 2 * rule.clear_s, 2 * rule.resend_every_s)
        if condition.state is ConditionState.OK or now_s - condition.heard_s < stale_s:
            return []
        pending = condition.state is ConditionState.PENDING
        condition.move_to(ConditionState.OK)
        if pending:
            return []
        condition.over_s = now_s
        return [_told(condition, NotifyKind.EXPIRED, now_s, until_s=condition.heard_s)]

    def _is_forgotten(self, condition: _Condition, now_s: float) -> bool:
        """Whether nothing of an OK condition matters any more: it would not count as flapping."""
        return condition.over_s is None or now_s - condition.over_s >= self.rule(condition.latest.name).resend_every_s

    def _is_full(self) -> bool:
        full = len(self._conditions) + len(self._events) >= self.capacity
        self.refused_count += full
        return full

    def _once_gap_s(self, name: str) -> float:
        return min(ONCE_GAP_S, self.rule(name).resend_every_s)


def _hold_s(flaps: int, rule: Rule) -> float:
    """How long a condition that has come back so often must stay good."""
    # the exponent is bounded: a condition that flaps for months must not overflow a float
    return min(rule.resend_every_s, FLAP_HOLD_S * 2.0 ** min(flaps - 1, 64)) if flaps else 0.0


def _told(condition: _Condition, kind: NotifyKind, now_s: float, *, until_s: float) -> Notify:
    """The message, and what it leaves behind: people know now."""
    effect = Notify(
        kind,
        condition.latest,
        condition.worst,
        condition.count,
        condition.returns,
        max(0.0, until_s - condition.began_s),
        now_s - condition.heard_s,
    )
    condition.told, condition.told_s = condition.worst, now_s
    condition.count = condition.returns = 0
    return effect


def _event_effect(event: _Event) -> Notify:
    return Notify(NotifyKind.RAISED, event.latest, event.latest.severity, event.count, 0, 0.0, 0.0)
