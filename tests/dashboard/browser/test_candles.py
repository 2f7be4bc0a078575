"""A user logs in, sees history become live candles, draws lines, sees and hears a crossing, and logs out."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright", reason="no playwright: pip install 'binmon[test]'")

from playwright.sync_api import Page, expect

from tests.dashboard.browser.running import PATIENCE_MS, USER, Site, Watcher, log_in, settings_of, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
CANDLES = "/candles?venue=binance&symbol=BTCUSDT&interval=1m"


@pytest.fixture(autouse=True)
def _patient() -> None:
    expect.set_options(timeout=PATIENCE_MS)


def price_of(page: Page) -> float:
    """The price in large."""
    expect(page.locator("#market-price")).to_have_text(re.compile(r"\d"))
    return float(page.locator("#market-price").inner_text().replace(",", ""))


def open_live_candles(page: Page, site: Site) -> None:
    log_in(page, site, CANDLES)
    expect(page.locator("#link-state")).to_have_text("Live")
    expect(page.locator("#series-state")).to_have_text("live")


def test_history_becomes_live_and_a_crossing_is_seen_and_heard(site: Site, page: Page, watcher: Watcher) -> None:
    open_live_candles(page, site)
    page.get_by_text("Latest candles as a table").click()
    rows = page.locator("#candle-rows tr")
    expect(rows).to_have_count(20)  # history was there at once: nobody waits 20 minutes
    expect(rows.nth(1)).to_contain_text("closed")
    expect(page.locator("#chart canvas").first).to_be_visible()

    before = price_of(page)
    page.get_by_role("textbox", name="Sound above").fill(f"{before * 1.01:.2f}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("slider", name="Sound above")).to_be_visible()
    expect(page.locator("#panel")).to_have_attribute("data-side", "within")
    assert page.locator("#sound-rise").get_attribute("data-played") == "0"
    quiet = page.locator("#panel").evaluate("panel => getComputedStyle(panel).backgroundColor")

    site.fault("set_price", symbol="BTCUSDT", price=f"{before * 1.02:.2f}")
    expect(page.locator("#panel")).to_have_attribute("data-side", "above")
    expect(page.locator("#sound-rise")).to_have_attribute("data-played", "1")
    expect(page.locator("#crossing")).to_contain_text("above")
    expect(page.locator("#announcer")).to_contain_text("is above")
    expect(page.locator("#crossings li")).to_have_count(1)
    expect(page.locator("#panel")).not_to_have_css("background-color", quiet)

    # live: the open candle goes on changing, and the crossing is told once all the same
    for _ in range(3):
        seen = page.locator("#ohlc").inner_text()
        expect(page.locator("#ohlc")).not_to_have_text(seen, use_inner_text=True)
    expect(page.locator("#sound-rise")).to_have_attribute("data-played", "1")

    site.fault("set_price", symbol="BTCUSDT", price=f"{before * 0.99:.2f}")
    expect(page.locator("#panel")).to_have_attribute("data-side", "within")
    expect(page.locator("#sound-fall")).to_have_attribute("data-played", "0")  # no line below was asked for

    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{site.url}/login")
    page.goto(f"{site.url}/candles")
    expect(page).to_have_url(re.compile("/login"))
    assert watcher.complaints == []


def test_set_takes_what_was_typed(site: Site, page: Page) -> None:
    open_live_candles(page, site)
    box, handle = page.locator("#line-above"), page.get_by_role("slider", name="Sound above")
    box.fill("99000.5")
    page.locator("#line-above-here").click()
    expect(handle).to_have_attribute("aria-valuenow", "99000.50")
    box.fill("98,000")
    page.locator("#line-above-here").click()
    expect(handle).to_have_attribute("aria-valuenow", "98000.00")
    page.get_by_role("button", name="Remove the line above").click()
    expect(box).to_have_value("")
    page.locator("#line-above-here").click()
    expect(handle).to_have_attribute("aria-valuenow", re.compile("^6[45]"))  # near the price
    page.get_by_role("button", name="Remove the line above").click()


def test_a_book_that_is_not_kept_is_said_to_be(site: Site, page: Page) -> None:
    said = "the book of binance BTCUSDT is not kept: add it to the books of binance in the configuration"
    page.route(
        "**/api/book?**",
        lambda route: route.fulfill(status=404, json={"error": {"code": "no_book", "message": said}}),
    )
    log_in(page, site, "/book?venue=binance&symbol=BTCUSDT")
    page.route("**/api/stream?**", lambda route: route.abort())  # no picture from there either
    page.reload()
    expect(page.locator("#series-state")).to_have_text("not kept")
    expect(page.locator("#ladder-empty")).to_have_text(said)
    page.unroute("**/api/book?**")
    page.unroute("**/api/stream?**")
    expect(page.locator("#bids tr").first).to_be_visible()  # it is kept now, and what was said of it is gone
    expect(page.locator("#series-state")).to_have_text("live")


def test_a_listed_symbol_without_a_book_costs_no_refused_request(site: Site, page: Page, watcher: Watcher) -> None:
    log_in(page, site, "/book?venue=binance&symbol=PAUSEUSDT")
    expect(page.locator("#series-state")).to_have_text("not kept")
    expect(page.locator("#ladder-empty")).to_contain_text("add it to the books of binance")
    expect(page.locator("#link-state")).to_have_text("Live")
    page.wait_for_timeout(7_000)  # it is looked at whether it is kept by now
    assert watcher.complaints == []


def test_a_line_is_dragged_moved_by_keys_and_kept_for_the_user(site: Site, page: Page) -> None:
    open_live_candles(page, site)
    page.locator("#line-below-here").click()
    box = page.get_by_role("textbox", name="Sound below")
    expect(box).to_have_value(re.compile(r"\d"))
    typed = float(box.input_value().replace(",", ""))
    handle = page.get_by_role("slider", name="Sound below")
    site.fault("freeze", seconds=3600)  # the axis follows the market, and the line follows the axis
    place = None
    for _ in range(100):
        before, place = place, handle.bounding_box()
        if place is not None and place == before:
            break
        page.wait_for_timeout(500)
    assert place is not None
    page.mouse.move(place["x"] + 20, place["y"] + place["height"] / 2)
    page.mouse.down()
    page.mouse.move(place["x"] + 20, place["y"] + 60, steps=5)
    page.mouse.up()
    expect(box).not_to_have_value(f"{typed:,.2f}")
    dragged = float(box.input_value().replace(",", ""))
    assert dragged < typed
    expect(handle).to_be_focused()

    page.keyboard.press("ArrowUp")
    expect(handle).not_to_have_attribute("aria-valuenow", f"{dragged:.2f}")
    kept = float(handle.get_attribute("aria-valuenow") or "0")
    assert kept > dragged
    page.keyboard.press("ArrowUp")
    expect(handle).not_to_have_attribute("aria-valuenow", f"{kept:.2f}")
    kept = float(handle.get_attribute("aria-valuenow") or "0")

    def saved() -> bool:
        line = settings_of(page).get("candle_lines", {}).get("binance:BTCUSDT:1m") or {}
        return float(line.get("below") or 0) == kept

    until(page, saved, "the line as it is kept for the user")
    page.reload()
    expect(page.get_by_role("slider", name="Sound below")).to_have_attribute("aria-valuenow", f"{kept:.2f}")
    page.get_by_role("button", name="Remove the line below").click()
    expect(page.get_by_role("slider", name="Sound below")).to_have_count(0)
    expect(box).to_have_value("")


def test_another_symbol_is_searched_and_what_is_wrong_is_said(site: Site, page: Page) -> None:
    open_live_candles(page, site)
    search = page.get_by_role("combobox", name="Symbol")
    search.click()
    search.fill("ethu")
    expect(page.get_by_role("option", name=re.compile("ETHUSDT"))).to_be_visible()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("symbol=ETHUSDT"))
    expect(page.locator("#market-symbol")).to_have_text("ETHUSDT")
    expect(page.locator("#series-state")).to_have_text("live")

    page.get_by_label("Interval").select_option("5m")
    page.wait_for_url(re.compile("interval=5m"))
    page.get_by_label("Time").select_option("ms")
    expect(page.locator("#ohlc")).to_have_text(re.compile(r"\d{13}"))
    page.get_by_role("textbox", name="Sound above").fill("soon")
    page.keyboard.press("Enter")
    expect(page.get_by_role("textbox", name="Sound above")).to_have_attribute("aria-invalid", "true")

    page.goto(f"{site.url}/candles?venue=binance&symbol=ETHUSD")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
    page.get_by_role("link", name=re.compile("ETHUSDT")).click()
    expect(page.locator("#market-symbol")).to_have_text("ETHUSDT")
    expect(page.get_by_role("button", name=re.compile(f"Log out {USER}"))).to_be_visible()
