"""What holds for every page: own files only, no complaint of the browser, readable for everybody, fit for a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("playwright", reason="no playwright: pip install 'binmon[test]'")
pytest.importorskip("axe_playwright_python", reason="no axe-playwright-python: pip install 'binmon[test]'")

import axe_playwright_python as axe
from playwright.sync_api import Browser, Page, expect

from tests.dashboard.browser.running import PAGES, PATIENCE_MS, Site, Watcher, log_in

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]
AXE = Path(axe.__file__).parent / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FILLED = {
    "/": "#workers li",
    "/candles": "#ohlc dd",
    "/trades": "#tape tr",
    "/book": "#bids tr",
    "/latency": "#orders tr",
    "/symbols": "#symbols tr",
    "/settings": "#tokens-empty:not([hidden])",
}
"""What is there once a page has its data."""


def open_filled(page: Page, site: Site, path: str) -> None:
    page.goto(site.url + path)
    expect(page.locator("#link-state")).to_have_text("Live", timeout=PATIENCE_MS)
    expect(page.locator(FILLED[path]).first).to_be_visible(timeout=PATIENCE_MS)


def violations(page: Page) -> list[str]:
    """What axe finds, with the elements."""
    # through the debugger, as the policy of the page forbids what a script tag would do
    page.evaluate(AXE.read_text())
    found: dict[str, Any] = page.evaluate("rules => axe.run(document, {runOnly: {type: 'tag', values: rules}})", RULES)
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes']][:5]}"
        for one in found["violations"]
    ]


def test_pages_ask_no_other_host_and_the_browser_has_nothing_to_complain_of(
    site: Site, page: Page, watcher: Watcher
) -> None:
    page.goto(f"{site.url}/login")
    log_in(page, site)
    for path in PAGES:
        open_filled(page, site, path)
        page.get_by_role("button", name="Theme:").click()
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.goto(f"{site.url}/api/openapi.json")
    assert watcher.hosts == {urlsplit(site.url).netloc}
    assert watcher.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(site: Site, browser: Browser, scheme: Any) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(f"{site.url}/login")
    found = {"/login": violations(page)}
    page.get_by_label("Name").fill("nobody")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#login-error")).to_be_visible(timeout=PATIENCE_MS)
    found["/login refused"] = violations(page)
    log_in(page, site)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    for path in PAGES:
        open_filled(page, site, path)
        if path == "/candles":
            page.get_by_text("Latest candles as a table").click()
            page.locator("#line-above-here").click()
            page.locator("#line-below-here").click()
            expect(page.get_by_role("slider")).to_have_count(2, timeout=PATIENCE_MS)
            found["/candles with lines"] = violations(page)
            page.locator("#line-above").fill("1")  # beyond: the panel has its colour
            page.locator("#line-above").press("Enter")
            expect(page.locator("#panel")).to_have_attribute("data-side", "above", timeout=PATIENCE_MS)
            page.locator("#line-below").fill("soon")
            page.locator("#line-below").press("Enter")
            expect(page.locator("#line-below-problem")).to_be_visible()
        if path == "/trades":
            page.get_by_label("My minimum price").fill("1")
            page.get_by_label("My minimum price").press("Enter")
            expect(page.locator("#panel")).to_have_attribute("data-side", "above", timeout=PATIENCE_MS)
            page.get_by_label("My minimum price").fill("soon")
            page.get_by_label("My minimum price").press("Enter")
            expect(page.locator("#minimum-price-problem")).to_be_visible()
        found[path] = violations(page)
    page.goto(f"{site.url}/candles?venue=binance&symbol=BTCUSD")
    found["not found"] = violations(page)
    context.close()
    assert [f"{path}: {one}" for path, what in found.items() for one in what] == []


def test_nothing_is_wider_than_a_phone(site: Site, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(f"{site.url}/login")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    log_in(page, site)
    for path in PAGES:
        open_filled(page, site, path)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"{path} is {width} px wide"
        for name in ("Overview", "Settings"):
            expect(page.get_by_role("navigation").get_by_role("link", name=name)).to_be_in_viewport()
    context.close()
