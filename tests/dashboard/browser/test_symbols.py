"""A symbol that is listed while somebody looks, and marking it as seen."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright", reason="no playwright: pip install 'binmon[test]'")

from playwright.sync_api import Page, expect

from tests.dashboard.browser.running import PATIENCE_MS, Site, Watcher, log_in

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def test_a_new_symbol_is_seen_live_and_marked_as_seen(site: Site, page: Page, watcher: Watcher) -> None:
    expect.set_options(timeout=2 * PATIENCE_MS)
    log_in(page, site, "/symbols")
    expect(page.locator("#symbols tr").filter(has_text="BTCUSDT")).to_be_visible()
    mark = page.get_by_role("button", name="Mark as seen")
    if mark.is_enabled():  # an account that has never looked: all that is there is new to it
        mark.click()
    expect(page.locator("#news-empty")).to_be_visible()
    expect(mark).to_be_disabled()

    site.fault("new_symbol", symbol="NOVAUSDT")
    news = page.locator("#news-list")
    expect(news.get_by_role("link", name=re.compile("NOVAUSDT"))).to_be_visible()
    expect(page.locator("#nav-new-symbols")).to_have_text("1 new")
    expect(page.locator("#symbols tr").filter(has_text="NOVAUSDT").locator(".new-mark")).to_be_visible()

    mark.click()
    expect(page.locator("#news-empty")).to_be_visible()
    expect(page.locator("#nav-new-symbols")).to_be_hidden()
    expect(page.locator("#symbols tr").filter(has_text="NOVAUSDT").locator(".new-mark")).to_be_hidden()
    page.reload()
    expect(page.locator("#symbols tr").filter(has_text="NOVAUSDT")).to_be_visible()
    expect(page.locator("#news-empty")).to_be_visible()

    page.get_by_label("Search").fill("nova")
    expect(page.locator("#symbols tr")).to_have_count(1)
    page.get_by_role("link", name="NOVAUSDT").click()
    expect(page).to_have_url(re.compile(r"/candles\?.*symbol=NOVAUSDT"))
    expect(page.locator("#market-symbol")).to_have_text("NOVAUSDT")
    assert watcher.complaints == []
