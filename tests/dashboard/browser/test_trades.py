"""The trades page: live, green above the user's minimum price, and heard."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright", reason="no playwright: pip install 'binmon[test]'")

from playwright.sync_api import Page, expect

from tests.dashboard.browser.running import PATIENCE_MS, Site, Watcher, log_in, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def test_the_panel_turns_green_and_a_sound_plays_above_the_minimum(site: Site, page: Page, watcher: Watcher) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    log_in(page, site, "/trades?venue=binance&symbol=BTCUSDT")
    expect(page.locator("#series-state")).to_have_text("live")
    expect(page.locator("#market-price")).to_have_text(re.compile(r"\d"))
    expect(page.locator("#tape tr").nth(5)).to_be_visible()
    expect(page.locator("#tape td.side").first).to_have_text(re.compile("^(buy|sell)$"))

    def price() -> float:
        return float(page.locator("#market-price").inner_text().replace(",", ""))

    now = price()

    minimum = page.get_by_label("My minimum price")
    minimum.fill(f"{now * 1.01:.2f}")
    minimum.press("Enter")
    panel = page.locator("#panel")
    expect(panel).to_have_attribute("data-side", "none")
    site.fault("set_price", symbol="BTCUSDT", price=f"{now * 1.02:.2f}")
    expect(panel).to_have_attribute("data-side", "above")
    expect(page.locator("#sound-rise")).to_have_attribute("data-played", "1")
    expect(page.locator("#crossing")).to_contain_text("above your minimum")
    red, green, blue = panel.evaluate(
        "one => getComputedStyle(one).backgroundColor.match(/[0-9]+/g).slice(0, 3).map(Number)"
    )
    assert green > red
    assert green > blue

    # many more trades above it: no second sound
    note = page.locator("#market-note").inner_text()
    expect(page.locator("#market-note")).not_to_have_text(note)
    site.fault("set_price", symbol="BTCUSDT", price=f"{now * 1.03:.2f}")
    until(page, lambda: price() > now * 1.025, "a trade at the new price")
    expect(page.locator("#sound-rise")).to_have_attribute("data-played", "1")

    # back below it, and above it again: heard again
    site.fault("set_price", symbol="BTCUSDT", price=f"{now:.2f}")
    expect(panel).to_have_attribute("data-side", "none")
    site.fault("set_price", symbol="BTCUSDT", price=f"{now * 1.02:.2f}")
    expect(page.locator("#sound-rise")).to_have_attribute("data-played", "2")

    # muted: seen, but not heard; and the minimum is kept for this user
    page.get_by_role("button", name="Sound on").click()
    expect(page.get_by_role("button", name="Sound off")).to_be_visible()
    site.fault("set_price", symbol="BTCUSDT", price=f"{now:.2f}")
    expect(panel).to_have_attribute("data-side", "none")
    site.fault("set_price", symbol="BTCUSDT", price=f"{now * 1.02:.2f}")
    expect(panel).to_have_attribute("data-side", "above")
    expect(page.locator("#sound-rise")).to_have_attribute("data-played", "2")
    page.reload()
    expect(page.get_by_role("button", name="Sound off")).to_be_visible()
    expect(minimum).to_have_value(re.compile(r"\d"))
    assert watcher.complaints == []
