"""Without a mouse: the login, the way to every page, and the order in which the keyboard goes through one."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright", reason="no playwright: pip install 'binmon[test]'")

from playwright.sync_api import Page, expect

from tests.dashboard.browser.running import PASSWORD, PATIENCE_MS, USER, Site

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def test_the_keyboard_alone_logs_in_and_goes_to_every_page(site: Site, page: Page) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    page.goto(f"{site.url}/login")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type(USER)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}/")

    for name in ("Candles", "Trades", "Book", "Latency", "Symbols", "Settings", "Overview"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        for _ in range(12):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.dataset.nav") == name.lower():
                break
        else:
            pytest.fail(f"the keyboard does not come to {name}")
        focused = page.get_by_role("navigation").get_by_role("link", name=re.compile(name))
        expect(focused).to_be_focused()
        assert focused.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"  # seen where it is
        page.keyboard.press("Enter")
        expect(page).to_have_title(re.compile(rf"{name}|BTCUSDT", re.IGNORECASE))
        expect(page.locator(f"[data-nav={name.lower()}]")).to_have_attribute("aria-current", "page")
        page.wait_for_load_state()  # what is pressed before may be lost

    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # skip to the content
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
