"""Kraken tells its time in whole seconds: a few questions at the right moments bound it as well as milliseconds would."""

from __future__ import annotations

import random
import threading

import pytest
import responses

from binmon.core.clock import ClockEstimator, ClockSample, VenueClock
from binmon.errors import VenueFailed
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.venues.kraken.rest import take_sample, turn_in_s

SECOND_NS = 10**9
URL = "http://127.0.0.1:1"


@pytest.mark.parametrize("seed", range(20))
def test_each_question_halves_what_is_possible(seed: int) -> None:
    rng = random.Random(seed)
    ahead_ns, round_trip_ns = rng.randrange(-5 * SECOND_NS, 5 * SECOND_NS) + 10**18, 20 * 10**6
    estimator, now_ns = ClockEstimator(), rng.randrange(10**12)
    for _ in range(12):
        reading = estimator.reading(now_ns, 0)
        if reading is not None:
            wait_s = turn_in_s(reading, now_ns)
            assert 0.0 <= wait_s < 1.0
            now_ns += int(wait_s * SECOND_NS)
        read_ns = now_ns + rng.randrange(round_trip_ns)
        told_ns = (read_ns + ahead_ns) // SECOND_NS * SECOND_NS
        assert not estimator.add(ClockSample(now_ns, now_ns + round_trip_ns, told_ns, SECOND_NS, 0))
        now_ns += round_trip_ns + 200 * 10**6
    reading = estimator.reading(now_ns, 0)
    assert reading is not None
    assert abs(reading.venue_minus_mono_ns - ahead_ns) <= reading.uncertainty_ns < 60 * 10**6


@responses.activate
def test_a_question() -> None:
    ledger, clock, stop = RateLedger("kraken"), VenueClock("kraken"), threading.Event()
    rest = RestSession("kraken", URL, ledger)
    path = f"{URL}/0/public/Time"
    responses.get(path, json={"error": [], "result": {"unixtime": 1764000000, "rfc1123": "x"}})
    with pytest.raises(IndexError):
        take_sample(rest, ledger, clock, stop)  # the mock sends nothing, so nothing departs
    for body in ({"error": [], "result": {}}, {"error": ["EGeneral:Permission denied"]}):
        responses.upsert(responses.GET, path, json=body)
        with pytest.raises(VenueFailed):
            take_sample(rest, ledger, clock, stop)
