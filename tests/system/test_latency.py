"""The delay monitor against the venue, over real sockets: what is late, what is lost, and what nobody may ever do.

``BINMON_ORDERS`` says how many orders the mixture of faults has, ``BINMON_ORDER_KILLS`` how often the daemon is killed
with an order under way.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.system.conftest import DaemonProcess
from tests.system.probing import arm, first_id, noted, number, probing, settled, venue_orders
from tests.system.witness import inject

ORDERS = int(os.environ.get("BINMON_ORDERS", "120"))
KILLS = int(os.environ.get("BINMON_ORDER_KILLS", "3"))

pytestmark = [pytest.mark.system, pytest.mark.timeout(480 + ORDERS + KILLS * 30)]

Start = Callable[..., DaemonProcess]


@pytest.fixture
def venue() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"), rate=20.0, weight_limit=10_000_000)) as sandbox:
        yield sandbox


# nothing is late or lost for the machine's sake
PATIENT = {"threshold_ms": 20_000, "report_timeout_ms": 30_000}


def answered_since(process: DaemonProcess, armed: str) -> bool:
    """Whether the venue has answered an order that was sent since."""
    return any(line["sent_at"] > armed for line in process.events("order.answered"))


def warmed(process: DaemonProcess, orders: int = 3) -> str:
    """Wait for some orders; the prefix of their ids."""
    process.wait_for("latency.measured", count=orders)
    return first_id(process)


@pytest.mark.parametrize("transport", ["rest", "ws_api"])
def test_exactly_the_delayed_orders_alert_and_are_measured_right(venue: Sandbox, daemon: Start, transport: str) -> None:
    # a report that is held back holds back those behind it, so the next order comes after it
    process = daemon(probing(venue, transport=transport, interval_s=1.0, report_timeout_ms=15_000))
    prefix, waits_ns = warmed(process), process.waits_ns()
    ahead = number(process.events("order.sent")[-1]["client_order_id"]) + 8  # armed before they come
    chosen = [f"{prefix}{n}" for n in range(ahead, ahead + 10, 2)]
    for client_order_id in chosen:
        arm(venue, "report_delay", client_order_id, ms=700)
    for client_order_id in chosen:
        process.wait_for("latency.delayed", client_order_id=client_order_id)
    process.until(lambda: chosen[-1] in settled(process))
    starved_s = process.starved_s(waits_ns)
    assert process.stop() == 0
    delayed = process.events("latency.delayed")
    assert [line["client_order_id"] for line in delayed if line["client_order_id"] in chosen] == chosen
    others = [line for line in delayed if line["client_order_id"] not in chosen]
    # a machine that stalls for half a second is late, too, and measured so: once, and as often as it did
    assert len(others) <= 1 + 2 * starved_s and all(line["sent_to_report_ms"] > 500 for line in others)
    delayed = [line for line in delayed if line not in others]
    for line in delayed:
        assert line["class"] == "late" and line["threshold_ms"] == 500
        assert line["over_ms"] == pytest.approx(line["sent_to_report_ms"] - 500)
        assert line["sent_to_report_ms"] >= 700
        # the venue stamps the event when it comes to it, which on a loaded machine is a moment after the match
        way_ms = line["transaction_to_event_ms"] + line["event_to_receive_ms"]
        assert way_ms + line["uncertainty_ms"] >= 699 and line["event_to_receive_ms"] > 350
    # of several, as a loaded machine may wake the daemon late: that delay is real, and measured as well, as is that of
    # the orders whose reports nobody has held back
    usual_ms = max(line["sent_to_report_ms"] for line in process.events("latency.measured", **{"class": "in_time"}))
    assert statistics.median(line["sent_to_report_ms"] for line in delayed) < 725 + usual_ms
    assert process.events("alert.raised", alert="latency.delayed")
    rest = Counter(row["class"] for name, row in settled(process).items() if name not in chosen)
    assert rest["in_time"] >= 6 and rest["late"] == len(others) and rest.total() == rest["in_time"] + rest["late"]


def test_a_higher_threshold_alerts_of_nothing(venue: Sandbox, daemon: Start) -> None:
    process = daemon(probing(venue, threshold_ms=15_000, report_timeout_ms=30_000))
    prefix = warmed(process)
    ahead = number(process.events("order.sent")[-1]["client_order_id"]) + 25  # armed before it comes
    arm(venue, "report_delay", f"{prefix}{ahead}", ms=700)
    process.wait_for("latency.measured", client_order_id=f"{prefix}{ahead}")
    process.wait_for("latency.measured", client_order_id=f"{prefix}{ahead + 5}")
    (line,) = process.events("latency.measured", client_order_id=f"{prefix}{ahead}")
    assert process.stop() == 0
    assert line["class"] == "in_time" and line["sent_to_report_ms"] >= 700
    assert not process.events("latency.delayed") and not process.events("alert.raised")


@pytest.mark.parametrize(("skew_ms", "drift_ppm"), [(3000, 200), (-3000, -200)])
def test_a_clock_that_is_off_and_drifts_changes_no_figure(
    venue: Sandbox, daemon: Start, skew_ms: float, drift_ppm: float
) -> None:
    inject(venue, "clock_skew", ms=skew_ms, drift_ppm=drift_ppm)
    process = daemon(probing(venue, **PATIENT))
    process.wait_for("latency.measured", count=40)
    measured = process.events("latency.measured")
    truth = venue.clock.skew_us
    assert process.stop() == 0
    assert not process.events("order.rejected"), "requests bore the venue's time"
    assert measured[0]["clock_offset_ms"] == pytest.approx(skew_ms, abs=60 + measured[0]["uncertainty_ms"])
    orders, ours = venue_orders(venue), settled(process)
    assert abs(truth / 1000 - skew_ms) < 60
    for name, row in ours.items():
        # what really passed: the venue's time less its skew at that moment, and our own clock
        matched_us = orders[name]["time_us"]
        skew_us = skew_ms * 1000 + (truth - skew_ms * 1000) * 0.5  # the drift of this test is within the bound below
        slack_ms = abs(truth / 1000 - skew_ms) / 2 + 0.5
        really_ms = (matched_us - skew_us) / 1000 - row["sent_ns"] / 1e6
        assert abs(row["sent_to_transaction_ms"] - really_ms) <= row["uncertainty_ms"] + slack_ms, (name, row)
        assert -row["uncertainty_ms"] <= row["sent_to_event_ms"] <= row["sent_to_report_ms"] + row["uncertainty_ms"]


def test_a_clock_that_is_set_is_noticed_and_healed(venue: Sandbox, daemon: Start) -> None:
    process = daemon(probing(venue, **PATIENT))
    warmed(process)
    inject(venue, "clock_skew", ms=-8000)  # further than the venue lets a request be ahead
    (step, *_) = process.wait_for("clock.stepped", clock="venue")
    before = len(process.events("latency.measured"))
    process.wait_for("latency.measured", count=before + 10)
    inject(venue, "clock_skew", ms=9000)
    process.wait_for("clock.stepped", clock="venue", count=2)
    before = len(process.events("latency.measured"))
    process.wait_for("latency.measured", count=before + 10)
    measured = process.events("latency.measured")
    last, unsure_ms = measured[-1], max(line["uncertainty_ms"] for line in measured)
    assert process.stop() == 0
    assert step["by_ms"] == pytest.approx(-8000, abs=100 + unsure_ms)
    assert last["clock_offset_ms"] == pytest.approx(9000, abs=100 + unsure_ms)
    assert -last["uncertainty_ms"] <= last["sent_to_event_ms"] <= last["sent_to_report_ms"] + last["uncertainty_ms"]
    # an order between the step and its discovery may be refused for its time; none is lost or called late for it
    assert {row["class"] for row in settled(process).values()} <= {"in_time", "rejected"}


# What may become of an order -----------------------------------------------------------------------------------------

ANSWERS = ("status", "timeout", "reset", "closed")
BEHIND = 16  # orders that a report held back for 1.3 s may hold back with it, at ten a second
AHEAD = 40


def fates(rng: random.Random) -> tuple[list[tuple[str, dict[str, Any]]], str]:
    """Faults for one order, and the class that it must end in."""
    answer = {"mode": rng.choice(ANSWERS)}
    kind = rng.choice(["TRADE", "TRADE", "NEW"])
    return rng.choice(
        [
            ([], "in_time"),
            ([("report_delay", {"ms": rng.uniform(1000, 1300)})], "late"),
            ([("report_delay", {"ms": rng.uniform(10, 150)})], "in_time"),
            ([("report_duplicate", {"times": 3})], "in_time"),
            ([("report_before_answer", {"ms": rng.uniform(20, 300)})], "in_time"),
            ([("report_lost", {"execution_type": [kind]})], "lost"),
            ([("order_refuse", {})], "rejected"),
            ([("order_refuse", {"code": -1021, "message": "Timestamp for this request is outside of the recvWindow."})],
             "in_time"),
            ([("answer_lost", answer)], "in_time"),
            ([("answer_lost", answer), ("report_delay", {"ms": 1100})], "late"),
            ([("answer_lost", answer), ("report_lost", {"execution_type": ["TRADE"]})], "lost"),
            ([("order_lost", answer)], "unknown"),
        ]
    )  # fmt: skip


@pytest.mark.parametrize("transport", ["rest", "ws_api"])
def test_every_order_ends_in_one_class_and_the_right_one(venue: Sandbox, daemon: Start, transport: str) -> None:
    inject(venue, "query_lag", ms=400)
    process = daemon(probing(venue, transport=transport, interval_s=0.1, threshold_ms=700, report_timeout_ms=8000))
    prefix, rng = warmed(process), random.Random(f"fates {transport}")
    expected: dict[str, str] = {}
    order = number(process.events("order.sent")[-1]["client_order_id"]) + AHEAD
    while len(expected) < ORDERS:
        # Faults go by the beginning of an id, and -17 is the beginning of -170: armed not long before, and yet so long
        # that a busy machine has done it when the order comes.
        process.until(lambda order=order: len(noted(process)) >= order - AHEAD)  # type: ignore[misc]
        faults, expected[f"{prefix}{order}"] = fates(rng)
        if transport == "ws_api":
            # the end of its connection takes the user-data stream with it: other tests are about that
            faults = [(k, {**o, "mode": "timeout"} if o.get("mode") in ("reset", "closed") else o) for k, o in faults]
        for kind, options in faults:
            arm(venue, kind, f"{prefix}{order}", **options)
        order += 1 if expected[f"{prefix}{order}"] != "late" else BEHIND
    process.until(lambda: expected.keys() <= settled(process).keys(), 120, "all orders to be settled")
    assert process.stop() == 0
    ours, theirs = settled(process), venue_orders(venue)
    # what a machine has stalled for longer than the threshold is late, too, and measured so
    stalled = {name for name, row in ours.items() if row["class"] == "late" and row["sent_to_report_ms"] > 700}
    wrong = {
        name: (expected[name], ours[name]["class"], ours[name]["detail"])
        for name in expected
        if ours[name]["class"] != expected[name] and not (expected[name] == "in_time" and name in stalled)
    }
    assert not wrong, wrong
    assert any(expected[name] == ours[name]["class"] == "in_time" for name in expected)
    assert len(ours) >= ORDERS
    executed = {"in_time", "late", "lost"}
    for name, row in ours.items():
        was_filled = name in theirs and theirs[name]["status"] == "FILLED"
        assert was_filled == (row["class"] in executed), (row, theirs.get(name))
    told = Counter(line["client_order_id"] for line in process.events("latency.measured"))
    told.update(line["client_order_id"] for line in process.events("latency.lost"))
    told.update(line["client_order_id"] for line in process.events("order.rejected"))
    assert all(told[name] == 1 for name in expected if expected[name] != "in_time"), told.most_common(3)
    print(transport, Counter(row["class"] for row in ours.values()))


def test_an_order_that_a_crash_left_open_is_settled_and_never_sent_again(venue: Sandbox, daemon: Start) -> None:
    rng = random.Random(7)
    left: list[str] = []
    process = None
    for _ in range(KILLS):
        process = daemon(probing(venue, report_timeout_ms=30_000, interval_s=0.3))
        prefix = warmed(process)
        inject(venue, "report_delay", ms=60_000, seconds=600)
        armed = datetime.now(UTC).isoformat()
        process.until(partial(answered_since, process, armed), what="an order whose report is held back")
        threading.Event().wait(rng.uniform(0, 0.5))
        process.kill()
        inject(venue, "clear")
        answered = {line["client_order_id"] for line in process.events("order.answered")}
        measured = {line["client_order_id"] for line in process.events("latency.measured")}
        assert all(name.startswith(prefix) for name in answered)
        left += sorted(answered - measured)
    assert process is not None and len(left) >= KILLS
    before = noted(process)  # also what was noted down and killed before it left: in the end nobody knows such an order
    process = daemon(probing(venue, interval_s=3600, **PATIENT))  # one order, and none that is under way when it ends
    process.wait_for("latency.restored")
    process.until(lambda: before <= settled(process).keys(), 90, "what was open to be settled")
    warmed(process, 1)
    process.until(lambda: noted(process) == settled(process).keys(), what="the last order")
    assert process.stop() == 0
    ours, theirs = settled(process), venue_orders(venue)  # which also says that none came twice
    assert {ours[name]["class"] for name in left} == {"lost"}
    assert {ours[name]["order_status"] for name in left} == {"FILLED"}
    for name, row in ours.items():
        assert (name in theirs and theirs[name]["status"] == "FILLED") == (row["class"] in ("in_time", "late", "lost"))
    assert noted(process) == ours.keys(), "nothing is left open"


@pytest.mark.parametrize("end", ["rotate", "notice", "reset", "terminated"])
def test_the_user_data_stream_is_replaced_or_mended(venue: Sandbox, daemon: Start, end: str) -> None:
    process = daemon(probing(venue, interval_s=0.1 if end in ("rotate", "notice") else 0.5, **PATIENT))
    warmed(process)
    (subscribed,) = process.events("user_stream.subscribed")
    services = {one["id"]: one for one in venue.state()["connections"] if one.get("service") == "ws_api"}
    (connection,) = services
    if end == "rotate":
        process.process.send_signal(signal.SIGUSR1)
    elif end == "notice":
        inject(venue, "server_shutdown", connection=[connection], close_after_s=45)
    elif end == "reset":
        inject(venue, "disconnect", connection=[connection], mode="rst")
    else:
        inject(venue, "stream_terminated")
    process.wait_for("user_stream.subscribed", count=2)
    if end in ("rotate", "notice"):
        name = subscribed["connection"].rpartition(".")[0]
        process.until(lambda: any(line["connection"].startswith(name) for line in process.events("stream.rotated")))
    before = len(process.events("latency.measured"))
    process.wait_for("latency.measured", count=before + 15)
    assert process.stop() == 0
    classes = Counter(row["class"] for row in settled(process).values())
    if end in ("rotate", "notice"):
        assert set(classes) == {"in_time"} and not process.events("user_stream.down", level="warning")
    else:
        assert set(classes) <= {"in_time", "lost"} and classes["lost"] <= 3
        assert process.events("user_stream.down", level="warning")


def test_a_wiped_venue_resets_what_was_open(venue: Sandbox, daemon: Start) -> None:
    process = daemon(probing(venue, interval_s=0.2, report_timeout_ms=20_000))
    warmed(process)
    inject(venue, "report_lost", seconds=600)
    lost_from = number(process.events("order.sent")[-1]["client_order_id"])
    armed = datetime.now(UTC).isoformat()
    process.until(partial(answered_since, process, armed), what="an order of which nothing will be reported")
    inject(venue, "reset")
    inject(venue, "clear")
    (line, *_) = process.wait_for("latency.lost", within_s=120, **{"class": "reset"})
    assert number(line["client_order_id"]) >= lost_from
    before = len(process.events("latency.measured"))
    process.wait_for("latency.measured", count=before + 3)
    assert process.stop() == 0


def test_the_limits_hold_and_say_so(venue: Sandbox, daemon: Start) -> None:
    config = probing(venue)
    config["execution"]["max_orders_per_day"] = 4
    process = daemon(config)
    (line, *_) = process.wait_for("latency.skipped")
    assert "execution.max_orders_per_day: 4 orders of 4 have been sent" in line["reason"]
    assert process.stop() == 0
    assert len(venue_orders(venue)) == 4
    again = daemon(config)
    again.wait_for("latency.skipped")
    assert again.stop() == 0
    assert len(venue_orders(venue)) == 4, "a restart does not start the day anew"
    config["execution"] |= {"max_orders_per_day": 1000, "max_order_notional": 10}
    small = daemon(config, "small")
    (line, *_) = small.wait_for("latency.skipped")
    assert "execution.max_order_notional" in line["reason"]
    assert small.stop() == 0
    assert len(venue_orders(venue)) == 4


def test_a_stop_waits_for_the_last_report(venue: Sandbox, daemon: Start) -> None:
    inject(venue, "report_delay", ms=150, seconds=3600)
    for turn in range(5):
        # some orders are under way at any time; what it waits is a moment, which may be too short for a busy machine
        process = daemon(probing(venue, interval_s=0.05, **PATIENT), f"daemon {turn}")
        warmed(process, 10)
        assert process.stop() == 0 and process.stop_took_s < 5
        if noted(process) == settled(process).keys():
            break
    else:
        pytest.fail("it never waits for the last report")
    assert {row["class"] for row in settled(process).values()} == {"in_time"}
