"""The count of one minute, in the cases where our count and the venue's come apart."""

import pytest

from binmon.net.weights import WeightWindow

T0 = 1_800_000_000.0  # the turn of a minute
MID = T0 + 30


def window(limit=100):
    return WeightWindow(limit, edge_s=0.5)


def fits(one, weight, now_s):
    return one.wait_s(weight, 1.0, now_s) == 0.0


def test_what_was_answered_shortly_before_the_turn_may_have_been_counted_after_it():
    one = window()
    one.take(80, T0 + 59.3)  # a venue that is 0.4 s ahead counts it at 59.7, in its new minute
    one.settle(80, 80, T0 + 59.9, T0 + 59.3)
    assert not fits(one, 21, T0 + 61) and fits(one, 20, T0 + 61)
    assert fits(one, 100, T0 + 121)


def test_what_is_under_way_at_the_turn_counts_after_it():
    one = window()
    one.take(80, MID)
    assert not fits(one, 21, T0 + 61) and fits(one, 20, T0 + 61)
    one.settle(80, None, T0 + 62, MID)
    assert not fits(one, 21, T0 + 63)


def test_the_counts_of_requests_at_the_same_time_are_not_added_up():
    one = window(1000)
    for _ in range(5):
        one.take(100, MID)
    for number in range(5):  # the venue has counted all five before it answers the first
        one.settle(100, 500, MID + 1 + number / 10, MID)
    assert one.used(MID + 2) == 500


def test_what_failed_counts_until_a_later_count_holds_it():
    one = window(1000)
    one.take(200, MID)
    one.take(50, MID + 0.1)
    one.settle(200, None, MID + 1, MID)
    one.settle(50, 50, MID + 2, MID + 0.1)  # sent before the failure was known: it may not be in the 50
    assert one.used(MID + 2) == 250
    one.take(50, MID + 3)
    one.settle(50, 300, MID + 4, MID + 3)  # sent after it: the venue had counted it, if it ever did
    assert one.used(MID + 4) == 300


def test_a_count_lower_than_one_heard_before_is_not_believed():
    one = window(1000)
    one.take(10, MID)
    one.settle(10, 500, MID + 1, MID)
    one.take(10, MID + 2)
    one.settle(10, 20, MID + 3, MID + 2)
    assert one.used(MID + 3) == 510


def test_a_venue_that_counts_too_little_is_not_believed():
    one = window(1000)
    for number in range(3):
        one.take(100, MID + number)
        one.settle(100, number + 1, MID + number + 0.5, MID + number)
    assert one.used(MID + 4) == 300


def test_what_was_not_sent_is_given_back():
    one = window()
    one.take(100, MID)
    one.give_back(100)
    assert one.in_flight == 0 and fits(one, 100, MID)


def test_what_is_promised_to_others_is_not_there():
    one = window()
    assert one.wait_s(50, 1.0, MID, claimed=50) == 0.0
    assert one.wait_s(51, 1.0, MID, claimed=50) == pytest.approx(30.0)
    assert one.left_s(MID) == pytest.approx(30.0)
