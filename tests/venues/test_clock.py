"""The worker that keeps a venue's clock: it survives questions without answers, and tells of steps."""

from __future__ import annotations

import http.server
import threading
import time

import pytest
import structlog

from binmon.core.clock import ClockSample, VenueClock
from binmon.errors import VenueUnreachable
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from binmon.venues.binance.time import in_microseconds, take_sample
from binmon.venues.clock import ClockFollower


def sample(ahead_ns=0, wall_ns=0):
    now = time.monotonic_ns()
    return ClockSample(now - 100_000, now, time.time_ns() + ahead_ns, 1000, time.time_ns() - now + wall_ns)


def test_samples_readings_and_steps():
    clock, answers, readings = VenueClock("binance"), [], []
    follower = ClockFollower("clock", clock, lambda stop: answers.pop(0), readings.append)
    stop = threading.Event()
    answers += [sample(), sample(), sample(5 * 10**9), sample(5 * 10**9, wall_ns=-(10**9))]
    with structlog.testing.capture_logs() as logs:
        for _ in range(4):
            follower.ask(stop)
    steps = [(line["clock"], round(line["by_ms"], -2)) for line in logs]
    assert steps == [("venue", 5000.0), ("local", -1000.0)]
    assert len(readings) == 4 and follower.progress_count == 4 and clock.steps == 2
    assert abs(readings[2].venue_minus_wall_ns - 5 * 10**9) < 10**8


def test_questions_without_answers_are_told_once_and_when_it_is_over():
    clock, failing = VenueClock("binance"), [True]

    def take(stop):
        if failing[0]:
            raise VenueUnreachable("https://x", "no route")
        return sample()

    follower, stop = ClockFollower("clock", clock, take), threading.Event()
    with structlog.testing.capture_logs() as logs:
        for _ in range(10):
            follower.ask(stop)
        failing[0] = False
        follower.ask(stop)
    assert [line["event"] for line in logs] == ["clock.unknown", "clock.known"]


@pytest.mark.parametrize(("refuses", "asked"), [("MICROSECOND", 2), ("", 2)])
def test_a_time_that_is_refused_is_asked_for_without_microseconds_and_stops_nobody(refuses, asked):
    """A worker that failed at it five times would end the daemon."""
    seen = []

    class Door(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            unit = self.headers.get("X-MBX-TIME-UNIT", "")
            seen.append(unit)
            is_refused = unit == refuses or not refuses
            body = b'{"code":-1194,"msg":"no"}' if is_refused else b'{"serverTime":1790000000123}'
            self.send_response(400 if is_refused else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    rest = RestSession("binance", f"http://127.0.0.1:{server.server_address[1]}", RateLedger("binance"))
    try:
        follower = ClockFollower("clock", VenueClock("binance"), lambda stop: take_sample(rest, stop))
        follower.ask(threading.Event())
        assert len(seen) == asked and follower.progress_count == (1 if refuses else 0)
        if refuses:
            assert take_sample(rest, threading.Event()).resolution_ns == 1_000_000
    finally:
        rest.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_it_runs_until_it_is_stopped():
    clock, stop = VenueClock("binance"), threading.Event()
    thread = threading.Thread(
        target=ClockFollower("clock", clock, lambda stop: sample(), interval_s=60).run, args=(stop,)
    )
    thread.start()
    end = time.monotonic() + 30
    while clock.samples < 5 and time.monotonic() < end:
        stop.wait(0.01)
    stop.set()
    thread.join(30)
    assert not thread.is_alive() and clock.samples >= 5


def test_the_venue_is_asked_for_microseconds_and_understood_in_either_unit():
    assert in_microseconds(1_790_000_000_123) == (1_790_000_000_123_000, 1_000_000)
    assert in_microseconds(1_790_000_000_123_456) == (1_790_000_000_123_456, 1_000)
    with Sandbox(SandboxOptions(symbols=("BTCUSDT",))) as venue:
        rest = RestSession("binance", venue.rest_url, RateLedger("binance"))
        for _ in range(20):  # a busy machine may pause between a look at one clock and that at another
            clock = VenueClock("binance")
            for _ in range(5):
                one = take_sample(rest, threading.Event())
                assert one.resolution_ns == 1000 and one.sent_mono_ns < one.received_mono_ns <= time.monotonic_ns()
                clock.add([one])
            reading = clock.reading()
            assert reading is not None
            # it is the very clock of this machine
            if abs(reading.venue_minus_wall_ns) <= reading.uncertainty_ns + 200_000:
                break
        else:
            pytest.fail(f"{reading.venue_minus_wall_ns} ns off")
        rest.close()
