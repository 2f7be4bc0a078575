"""``binmon latency --html`` on a ledger that is young."""

from __future__ import annotations

import dataclasses
import re

from binmon.latency.measurement import Measurement
from binmon.latency.report import ReportRange, html_report
from tests.latency.messages import WALL, S, measurement

DAY = 24 * 3600 * S


def places(measurements: list[Measurement], start_ns: int, end_ns: int) -> list[float]:
    """Where the dots of the first plot over time lie, of 900."""
    page = html_report(measurements, ReportRange(start_ns, end_ns, 0))
    found = re.search(r'class="dots in_time" d="([^"]*)"', page)
    assert found is not None
    return [float(one) for one in re.findall(r"M([\d.]+) ", found[1])]


def sent(*seconds: float) -> list[Measurement]:
    return [dataclasses.replace(measurement(number), sent_ns=WALL + int(at * S)) for number, at in enumerate(seconds)]


def test_the_axis_begins_at_the_first_order() -> None:
    end_ns = WALL + 600 * S
    found = places(sent(0, 200, 400, 599), end_ns - DAY, end_ns)
    assert found[0] < 120 and found[-1] > 850, "from one edge to the other"
    assert found[1] - found[0] > 200


def test_an_axis_is_a_minute_at_least() -> None:
    (place,) = places(sent(0), WALL - DAY, WALL + S)
    assert place > 850


def test_an_axis_never_begins_before_what_was_asked_for() -> None:
    found = places(sent(0, DAY // S), WALL, WALL + DAY)
    assert found[0] == 62, "on the edge"
