"""``binmon latency --html`` on a ledger that is young, and times that no order can have."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from binmon.cli.main import main
from binmon.latency.ledger import ProbeLedger
from binmon.latency.measurement import Measurement
from binmon.latency.report import ReportRange, html_report
from binmon.state import State
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


@pytest.mark.parametrize(
    ("since", "status", "said"),
    [
        ("2262-04-11T23:47:16Z", 0, "no orders were settled since 2262-04-11T23:47:16Z\n"),
        ("2262-04-12", 0, "no orders were settled since 2262-04-12T00:00:00Z\n"),
        ("9999-12-31T23:59:59Z", 0, "no orders were settled since 9999-12-31T23:59:59Z\n"),
        ("9999-12-31T23:59:59-01:00", 2, ""),
    ],
)
def test_since_a_time_that_is_far_ahead(
    since: str, status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = State(tmp_path / "state.db")
    ProbeLedger(state)
    state.close()
    (tmp_path / "config.yaml").write_text(f"state: {{path: {tmp_path}/state.db}}\n")
    page = tmp_path / "page.html"
    words = ["latency", "-c", str(tmp_path / "config.yaml"), "--html", str(page), "--since", since]
    assert main(words) == status
    out, err = capsys.readouterr()
    assert out == said and page.exists() is (status == 0)
    assert status == 0 or "--since: expected an age such as" in err
