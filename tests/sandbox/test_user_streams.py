"""User events between account and connection, without any connection."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.sandbox.clock import VenueClock
from binmon.sandbox.trading.accounts import Accounts, UserEvent
from binmon.sandbox.user_streams import UserStreams, UserSubscription, Way, envelope


def event(number):
    return UserEvent("executionReport", "BTCUSDT", f"id-{number}", number, number, "NEW", lambda micro: text(number))


def text(number):
    return f'{{"e":"executionReport","E":{number},"n":"{number}"}}'


class NoFaults:
    armed = False

    def ways(self, event, connections):
        raise AssertionError("nobody is asked when nothing is armed")


class Faults:
    """Every event goes the way that was set."""

    armed = True

    def __init__(self, **ways):
        self.way = {int(number.lstrip("c")): way for number, way in ways.items()}
        self.asked = []

    def ways(self, event, connections):
        self.asked.append((event.order_id, list(connections)))
        return self.way


def way(copies=1, delay_s=0.0, late=False):
    one = Way()
    one.copies, one.delay_s, one.stamped_late = copies, delay_s, late
    return one


@pytest.fixture
def account():
    return Accounts().add("main")


@pytest.fixture
def make():
    """Make streams that end with the test."""
    made = []

    def make(faults):
        streams = UserStreams(VenueClock(), faults)
        streams.start()
        made.append(streams)
        return streams

    yield make
    for streams in made:
        streams.stop(5)


def subscription(account, connection=1, identifier=0):
    sent = []
    return UserSubscription(connection, identifier, account, False, sent.append), sent


def test_envelope():
    assert envelope(0, "{}") == '{"subscriptionId":0,"event":{}}'
    assert envelope(None, "{}") == '{"event":{}}'


def test_events_go_at_once_to_everyone_who_subscribed(account, make):
    streams = make(NoFaults())
    (first, to_first), (second, to_second) = subscription(account), subscription(account, 2, 7)
    account.publish(event(1))
    streams.add(first)
    account.publish(event(2))
    streams.add(second)
    account.publish(event(3))
    streams.remove(first)
    account.publish(event(4))
    assert to_first == [envelope(0, text(2)), envelope(0, text(3))]
    assert to_second == [envelope(7, text(3)), envelope(7, text(4))]


def test_accounts_do_not_hear_of_each_other(make):
    accounts, streams = Accounts(), make(NoFaults())
    one, other = accounts.add("one"), accounts.add("other")
    mine, sent = subscription(one)
    streams.add(mine)
    other.publish(event(1))
    assert sent == []


def test_a_fault_is_asked_once_an_event_and_answers_for_each_connection(account, make):
    faults = Faults(c1=way(copies=0), c2=way(copies=3))
    streams = make(faults)
    (first, to_first), (second, to_second) = subscription(account), subscription(account, 2)
    streams.add(first)
    streams.add(second)
    account.publish(event(1))
    assert faults.asked == [(1, [1, 2])]
    assert to_first == []
    assert to_second == [envelope(0, text(1))] * 3


def test_what_is_held_back_comes_by_itself(account, make):
    streams = make(Faults(c1=way(delay_s=0.05)))
    arrived = threading.Event()
    sent = []

    def send(one):
        sent.append(one)
        arrived.set()

    streams.add(UserSubscription(1, 0, account, False, send))
    account.publish(event(1))
    assert arrived.wait(20)
    assert sent == [envelope(0, text(1))]


def test_hurry_lets_everything_go(account, make):
    streams = make(Faults(c1=way(delay_s=3600)))
    mine, sent = subscription(account)
    streams.add(mine)
    account.publish(event(1))
    account.publish(event(2))
    assert sent == []
    streams.hurry()
    assert sent == [envelope(0, text(1)), envelope(0, text(2))]


def test_an_event_of_a_slow_venue_is_stamped_when_it_goes(account):
    mine, sent = subscription(account)
    mine.put(event(5), way(late=True), 0.0)
    clock = VenueClock()
    before = clock.now_ms()
    mine.release(0.0, clock)
    stamped = int(sent[0].split('"E":')[1].split(",")[0])
    assert before <= stamped <= clock.now_ms()
    assert '"n":"5"' in sent[0]


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5), st.integers(0, 3)), max_size=20))
def test_nothing_overtakes_on_one_subscription(steps):
    """Whatever is delayed: order is kept, copies are counted, nothing goes before its time."""
    account = Accounts().add("main")
    mine, sent = subscription(account)
    now, expected, due = 0.0, [], {}
    for number, (pause, delay, copies) in enumerate(steps):
        now += pause
        mine.put(event(number), way(copies, delay), now)
        expected += [envelope(0, text(number))] * copies
        due[envelope(0, text(number))] = now + delay
        mine.release(now, VenueClock())
        assert sent == expected[: len(sent)]
        assert all(due[one] <= now for one in sent)
    mine.release(now + 5, VenueClock())
    assert sent == expected
    assert mine.next_due is None
