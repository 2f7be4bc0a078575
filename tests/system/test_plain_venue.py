"""The daemon at a venue that speaks less of the protocol than the sandbox: nothing here may depend on what is optional."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.system.conftest import DaemonProcess
from tests.system.plain_venue import PlainVenue
from tests.system.probing import probing, settled

pytestmark = [pytest.mark.system, pytest.mark.timeout(420)]

Start = Callable[..., DaemonProcess]


def config(venue: Any, **latency: Any) -> dict[str, Any]:
    # nothing is late or lost for the machine's sake
    made = probing(venue, **{"interval_s": 1.0, "threshold_ms": 4000, "report_timeout_ms": 30_000, **latency})
    made["books"]["symbols"] = ["BTCUSDT"]
    return made


@pytest.mark.parametrize("acknowledges", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_orders_are_timed_there_as_well(daemon: Start, strict: bool, acknowledges: bool) -> None:
    with PlainVenue(strict=strict, acknowledges=acknowledges, delays_ms={3: 6000, 5: 6000}) as venue:
        process = daemon(config(venue))
        process.wait_for("latency.measured", count=6, within_s=60)
        process.wait_for("latency.delayed", count=2)
        process.wait_for("book.state", symbol="BTCUSDT", to="synced")
        assert process.stop() == 0
    assert len(set(venue.posted)) == len(venue.posted) and not venue.unheard
    ours = settled(process)
    late = [line["client_order_id"] for line in process.events("latency.delayed")]
    assert late == [venue.posted[2], venue.posted[4]]
    assert {name for name, row in ours.items() if row["class"] != "in_time"} == set(late)
    for line in process.events("latency.delayed"):
        assert line["sent_to_report_ms"] >= 6000 and line["uncertainty_ms"] >= 1.0, "the venue tells milliseconds"


def test_a_time_that_cannot_be_had_any_more_ends_nothing(daemon: Start) -> None:
    with PlainVenue() as venue:
        process = daemon(config(venue))
        process.wait_for("latency.measured", count=2)
        venue.time_fails = True
        process.wait_for("latency.skipped")
        venue.time_fails = False
        process.wait_for("latency.resumed")
        assert process.stop() == 0
    assert not process.events("worker.failed") and not process.events("worker.fatal")


def test_a_market_that_closes_is_not_ordered_from_again_and_again(daemon: Start) -> None:
    with PlainVenue() as venue:
        process = daemon(config(venue))
        process.wait_for("latency.measured", count=2)
        venue.is_closed = True
        (line, *_) = process.wait_for("latency.skipped")
        assert "not trading now" in line["reason"]
        process.wait_for("order.rejected", count=3)
        venue.is_closed = False
        process.wait_for("latency.resumed", within_s=150)  # later and later, where many were refused
        assert process.stop() == 0
    assert {row["class"] for row in settled(process).values()} == {"in_time", "rejected"}
