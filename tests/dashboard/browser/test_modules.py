"""The small machines of the page's scripts, in the browser itself but without a daemon."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="no playwright: pip install 'binmon[test]'")

from playwright.sync_api import Page, Route

import binmon

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
STATIC = Path(binmon.__file__).parent / "dashboard" / "static"


@pytest.fixture
def bare(page: Page) -> Page:
    """An empty page from which the modules can be imported as they are served."""

    def serve(route: Route) -> None:
        name = route.request.url.removeprefix("http://binmon.test/")
        if name == "":
            route.fulfill(content_type="text/html", body="<!doctype html><title>bare</title>")
        elif (STATIC / name).is_file():
            kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0] or "text/plain"
            route.fulfill(content_type=kind, body=(STATIC / name).read_bytes())
        else:
            route.fulfill(status=404, body="")

    page.route("http://binmon.test/**", serve)
    page.goto("http://binmon.test/")
    return page


def crossings(page: Page, direction: str, line: str, prices: list[str]) -> list[Any]:
    """What a line says to these prices."""
    script = """async ([direction, line, prices]) => {
        const {Crossing} = await import("/js/core/crossing.js");
        const one = new Crossing(direction, line);
        return prices.map(price => one.look(price));
    }"""
    found: list[Any] = page.evaluate(script, [direction, line, prices])
    return found


def test_a_price_that_wavers_crosses_once(bare: Page) -> None:
    wavering = ["99.9", "100.01", "100", "99.99", "100.01", "100.02", "99.985", "101"]
    assert crossings(bare, "above", "100", wavering) == [None, "crossed", *[None] * 6]
    # the hysteresis is two basis points: 99.98 is back
    assert crossings(bare, "above", "100", ["101", "99.98", "100", "100.01"]) == ["crossed", "back", None, "crossed"]


def test_below_is_the_mirror_and_what_is_no_number_is_nothing(bare: Page) -> None:
    prices = ["", "100", "99.99", "", "nonsense", "100.01", "100.02", "99.5"]
    assert crossings(bare, "below", "100", prices) == [None, None, "crossed", None, None, None, "back", "crossed"]


def test_a_line_that_moves_crosses_nothing_anew_while_the_price_stays_beyond(bare: Page) -> None:
    script = """async () => {
        const {Crossing} = await import("/js/core/crossing.js");
        const first = new Crossing("above", "100");
        const told = [first.look("105")];
        const second = new Crossing("above", "101").follows(first, "105");
        told.push(second.look("105"));
        const third = new Crossing("above", "110").follows(second, "105");
        told.push(third.look("105"), third.look("111"));
        return told;
    }"""
    assert bare.evaluate(script) == ["crossed", None, None, "crossed"]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("price('67012.50000000')", "67,012.5"),
        ("price('67012.50000000', 2)", "67,012.50"),
        ("price('0.00001230')", "0.0000123"),
        ("price('123456789012345678.123456789')", "123,456,789,012,345,678.123456789"),  # digit for digit
        ("price('1000')", "1,000"),
        ("price(null)", "–"),
        ("readPrice(' 67,000.5 ')", "67000.5"),
        ("readPrice('0')", None),
        ("readPrice('-1')", None),
        ("readPrice('1e5')", None),
        ("readPrice('soon')", None),
        ("commonDecimals(['1.50', '2', '0.1230'])", 3),
        ("milliseconds(0.414)", "0.41 ms"),
        ("milliseconds(6213)", "6.21 s"),
        ("milliseconds(null)", "–"),
        ("age(500)", "500 ms"),
        ("age(3_600_000)", "60 min"),
        ("basisPoints('0.01', '65000')", "0.0015 bp"),
        ("moment(1767323045678, 'utc')", "2026-01-02 03:04:05"),
        ("moment(1767323045678, 'ms')", "1767323045678"),
        ("clock(1767323045678, 'utc', true)", "03:04:05.678"),
    ],
)
def test_numbers_and_times_as_people_read_them(bare: Page, call: str, expected: Any) -> None:
    assert bare.evaluate(f"import('/js/core/format.js').then(format => format.{call})") == expected


def test_local_time_is_the_browsers(browser: Any, bare: Page) -> None:
    context = browser.new_context(timezone_id="Asia/Kathmandu")
    page = context.new_page()
    page.route(
        "**/*",
        lambda route: (
            route.fulfill(content_type="text/javascript", body=(STATIC / "js/core/format.js").read_bytes())
            if route.request.url.endswith(".js")
            else route.fulfill(content_type="text/html", body="")
        ),
    )
    page.goto("http://binmon.test/")
    told = page.evaluate("import('/format.js').then(format => format.moment(1767323045678, 'local'))")
    assert told == "2026-01-02 08:49:05"
    context.close()


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("linearTicks(0, 10, 5)", [0, 2, 4, 6, 8, 10]),
        ("linearTicks(5, 5, 4)", [5]),
        ("logTicks(1, 100)", [1, 2, 5, 10, 20, 50, 100]),
        ("logTicks(1, 100000)", [1, 10, 100, 1000, 10000, 100000]),
        ("timeTicks(0, 60000, 4)", [0, 15000, 30000, 45000, 60000]),
    ],
)
def test_ticks_are_round(bare: Page, call: str, expected: list[float]) -> None:
    script = f"import('/js/charts/plot.js').then(plot => plot.{call})"
    # the module reads the page's data where it is imported
    bare.set_content('<script type="application/json" id="page-data">{}</script>')
    assert bare.evaluate(script) == pytest.approx(expected)
