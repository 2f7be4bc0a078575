"""A stream that is cut, a daemon that is gone for a while or stands still, a browser that sleeps or is offline."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("playwright", reason="no playwright: pip install 'binmon[test]'")

from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from tests.dashboard.browser.running import PATIENCE_MS, Site, free_port, log_in, running_site

pytestmark = [pytest.mark.system, pytest.mark.timeout(420)]
CANDLES = "/candles?venue=binance&symbol=BTCUSDT&interval=1m"


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

        for _ in range(60):  # a candle may close between the two looks
            if is_the_servers():
                break
            page.wait_for_timeout(500)
        else:
            pytest.fail("the candles of the page are not those of the server")


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
    page.clock.fast_forward("01:00:00")
    for _ in range(int(2 * PATIENCE_MS / 100)):
        if len(streams) > before:
            break
        page.wait_for_timeout(100)
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
