"""A stream that is cut, a daemon that is gone for a while or stands still, a browser that sleeps or is offline.

``BINMON_CUT_S`` says how long the venue's streams are cut.
"""

from __future__ import annotations

import json
import os
import re
import urllib.request
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("playwright", reason="no playwright: pip install 'binmon[test]'")

from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from tests.dashboard.browser.running import PATIENCE_MS, Site, free_port, log_in, running_site

CUT_S = int(os.environ.get("BINMON_CUT_S", "20"))
pytestmark = [pytest.mark.system, pytest.mark.timeout(900 + 2 * CUT_S)]
CANDLES = "/candles?venue=binance&symbol=BTCUSDT&interval=1m"


# What the chart itself holds is seen by putting the library's first series of candles where a test finds it.
SHOW_THE_CHART = """
let library;
Object.defineProperty(globalThis, "LightweightCharts", {
  get: () => library,
  set(real) {
    const createChart = (...how) => {
      const chart = real.createChart(...how);
      const addSeries = chart.addSeries.bind(chart);
      chart.addSeries = (kind, ...more) => {
        const series = addSeries(kind, ...more);
        if (kind === real.CandlestickSeries) globalThis.candlesOfTheChart = series;
        return series;
      };
      return chart;
    };
    library = { ...real, createChart };
  },
});
"""
STEPS_S = {"1s": 1, "1m": 60}


@pytest.fixture(autouse=True)
def _patient() -> None:
    expect.set_options(timeout=2 * PATIENCE_MS)


def expect_live(page: Page) -> None:
    expect(page.locator("#link-state")).to_have_text("Live")
    expect(page.locator("#series-state")).to_have_text("live")


def closed_candles(page: Page) -> list[list[str]]:
    """The rows of the table but the open candle's: [opened in ms, open, high, low, close]."""
    rows = page.locator("#candle-rows tr").filter(has_text="closed")
    texts = [row.split("\t") for row in rows.all_inner_texts()]
    return [[cell.strip().replace(",", "") for cell in row[:5]] for row in texts]


def test_a_daemon_that_comes_back_is_met_again_with_the_same_candles(
    browser: Browser, page: Page, tmp_path: Path
) -> None:
    port = free_port()
    with running_site(tmp_path / "site", port=port) as site:
        log_in(page, site, CANDLES)
        expect_live(page)
    expect(page.locator("#link-state")).to_have_text("Reconnecting")
    expect(page.locator("#series-state")).to_have_text("stale")
    with running_site(tmp_path / "site", port=port) as site:
        expect_live(page)  # the session has outlived the daemon, and so has the page
        page.get_by_label("Time").select_option("ms")
        page.get_by_text("Latest candles as a table").click()
        expect(page.locator("#candle-rows tr")).to_have_count(20)

        def is_the_servers() -> bool:
            told = page.evaluate(
                "fetch('/api/candles?venue=binance&symbol=BTCUSDT&interval=1m&limit=40').then(one => one.json())"
            )
            known = {str(one[0]): [float(figure) for figure in one[1:5]] for one in told["candles"] if one[6]}
            shown = closed_candles(page)
            return len(shown) >= 18 and all(known.get(row[0]) == [float(cell) for cell in row[1:]] for row in shown)

        for _ in range(240):  # a candle may close between the two looks
            if is_the_servers():
                break
            page.wait_for_timeout(500)
        else:
            pytest.fail("the candles of the page are not those of the server")


def test_a_cut_leaves_the_charts_equal_to_the_venues_history(context: BrowserContext, tmp_path: Path) -> None:
    def history(site: Site, interval: str) -> dict[int, list[float]]:
        """What the venue says now of the candles that have closed: [open, high, low, close] by when they opened, in s."""
        address = f"{site.sandbox}/api/v3/klines?symbol=BTCUSDT&interval={interval}&limit=1000"
        with urllib.request.urlopen(address, timeout=60) as answer:
            rows = json.load(answer)[:-1]
        return {row[0] // 1000: [float(figure) for figure in row[1:5]] for row in rows}

    def shown(page: Page) -> dict[int, list[float]]:
        told = page.evaluate("candlesOfTheChart.data().map(one => [one.time, one.open, one.high, one.low, one.close])")
        assert [row[0] for row in told] == sorted({row[0] for row in told}), "no candle twice, in order of time"
        return {row[0]: row[1:] for row in told}

    context.add_init_script(SHOW_THE_CHART)
    with running_site(tmp_path / "site") as site:
        pages = {interval: context.new_page() for interval in STEPS_S}
        log_in(pages["1m"], site, CANDLES)
        pages["1s"].goto(f"{site.url}{CANDLES.removesuffix('1m')}1s")
        for page in pages.values():
            expect_live(page)
        site.fault("refuse_connections", service="stream", seconds=CUT_S + 3600)  # until every page has noticed
        site.fault("disconnect", service="stream", mode="rst")
        for page in pages.values():
            page.bring_to_front()
            expect(page.locator("#series-state")).not_to_have_text("live")
        cut_at_s = max(shown(pages["1s"]))
        pages["1m"].wait_for_timeout(CUT_S * 1000)
        site.fault("clear")
        for interval, page in pages.items():
            page.bring_to_front()
            expect_live(page)
            while max(shown(page)) + STEPS_S[interval] < cut_at_s + CUT_S + 5:
                page.wait_for_timeout(200)
            for _ in range(240):  # what was missed may still be on its way
                ours = shown(page)
                del ours[max(ours)]  # not closed yet
                theirs = history(site, interval)
                compared = {opened: candle for opened, candle in ours.items() if opened >= min(theirs)}
                expected = {opened: candle for opened, candle in theirs.items() if min(ours) <= opened <= max(ours)}
                if compared == expected:
                    break
                page.wait_for_timeout(500)
            assert all(b - a == STEPS_S[interval] for a, b in pairwise(ours)), "no hole"
            assert compared == expected
            assert len(compared) > min(CUT_S, 400) if interval == "1s" else len(compared) > 100
            assert min(compared) < cut_at_s or CUT_S > 400


def test_a_daemon_that_stands_still_is_seen_to(site: Site, page: Page) -> None:
    log_in(page, site, CANDLES)
    expect_live(page)
    site.pause()
    try:
        expect(page.locator("#link-state")).to_have_text(re.compile("No news|Reconnecting"))
        expect(page.locator("#series-state")).to_have_text("stale")
    finally:
        site.resume()
    expect_live(page)


def test_a_browser_that_slept_for_an_hour_resumes_where_it_was(site: Site, page: Page) -> None:
    streams: list[Request] = []
    page.on("request", lambda one: streams.append(one) if "/api/stream" in one.url else None)
    page.clock.install()
    log_in(page, site, CANDLES)
    expect_live(page)
    price = page.locator("#ohlc")
    seen = price.inner_text()
    expect(price).not_to_have_text(seen, use_inner_text=True)
    before = len(streams)
    # nothing reaches a browser that sleeps: an event that came while the clock is put forward would be news of just now
    site.pause()
    try:
        page.wait_for_timeout(1000)
        page.clock.fast_forward("01:00:00")
        for _ in range(int(2 * PATIENCE_MS / 100)):
            if len(streams) > before:
                break
            page.wait_for_timeout(100)
    finally:
        site.resume()
    assert len(streams) > before, "an hour without news, and the page did not connect again"
    resumed = parse_qs(urlsplit(streams[-1].url).query)
    assert resumed.get("last_event_id", [""])[0].isdigit()
    expect_live(page)
    seen = price.inner_text()
    expect(price).not_to_have_text(seen, use_inner_text=True)


def test_offline_is_said_and_over_by_itself(site: Site, page: Page, context: BrowserContext) -> None:
    log_in(page, site, CANDLES)
    expect_live(page)
    context.set_offline(True)
    expect(page.locator("#link-state")).to_have_text("Offline")
    expect(page.locator("#notices")).to_contain_text("You are offline")
    context.set_offline(False)
    expect_live(page)
    expect(page.locator("#notices")).not_to_contain_text("You are offline")


def test_too_many_open_pages_are_told_so(browser: Browser, page: Page, context: BrowserContext, tmp_path: Path) -> None:
    with running_site(tmp_path / "site") as site:
        log_in(page, site, "/book")
        refusals = 0

        def refuse(route: object) -> None:
            nonlocal refusals
            refusals += 1
            route.fulfill(  # type: ignore[attr-defined]
                status=429,
                content_type="application/json",
                body='{"error": {"code": "too_many", "message": "8 streams are open already"}}',
            )

        context.route("**/api/stream**", refuse)
        page.reload()
        expect(page.locator("#notices")).to_contain_text("8 streams are open already")
        expect(page.locator("#bids tr").first).to_be_visible()  # what there is without a stream is shown
        context.unroute("**/api/stream**")
        expect(page.locator("#link-state")).to_have_text("Live")
        assert refusals > 0
