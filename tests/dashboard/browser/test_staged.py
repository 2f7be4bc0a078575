"""Whole pages on a stage: what they do with answers and events that no sandbox gives."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("playwright", reason="no playwright: pip install 'binmon[test]'")

from playwright.sync_api import Page, expect

from tests.dashboard.browser.stage import Stage

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
TOPIC = "trades:bybit:BTCUSDT"


@pytest.fixture
def stage(page: Page) -> Stage:
    return Stage(page)


def trade(number: int, ms: int) -> list[Any]:
    return [str(2**63 + number), ms, "100.5", str(number), "buy"]


def test_trades_with_ids_beyond_what_a_number_holds_are_shown_each_once(stage: Stage) -> None:
    page, rows = stage.page, stage.page.locator("#tape tr")
    stage.answers["/api/trades"] = {"trades": [trade(number, 1_000) for number in (5, 4, 9)]}
    stage.open("trades", venue="bybit", symbol="BTCUSDT")
    expect(rows).to_have_count(3)
    # all in the same millisecond, and not counted upwards; one of them is in the picture already
    stage.tell("trade", {"topic": TOPIC, "trades": [trade(number, 1_000) for number in (3, 9, 8)]}, 2)
    expect(rows).to_have_count(5)
    assert [row.split("\t")[3].strip() for row in rows.all_inner_texts()] == ["8", "3", "9", "4", "5"]
    for turn in range(10):
        stage.tell("trade", {"topic": TOPIC, "trades": [trade(100 * turn + one, 2_000) for one in range(20, 90)]}, 3)
        page.evaluate("new Promise(requestAnimationFrame)")
    expect(rows.first).to_contain_text("989")
    expect(rows).to_have_count(80)


def test_an_alert_that_is_in_the_list_and_comes_as_an_event_is_shown_once(stage: Stage) -> None:
    alert = {"time_ms": 5_000, "name": "gap", "subject": "x", "kind": "raised", "severity": "error", "text": "a gap"}
    stage.answers["/api/alerts"] = {"alerts": [alert]}
    stage.open("overview")
    expect(stage.page.locator("#alerts li")).to_have_count(1)
    stage.tell("alert", {"alert": alert}, 2)
    stage.tell("alert", {"alert": alert | {"kind": "recovered"}}, 3)
    expect(stage.page.locator("#alerts li")).to_have_count(2)
    expect(stage.page.locator("#alerts li").first).to_contain_text("recovered")


def test_seen_is_what_was_in_the_picture(stage: Stage) -> None:
    names = ("symbol", "base", "quote", "status", "first_seen_by")
    row = dict.fromkeys(names, "NEWUSDT") | {"venue": "binance", "first_seen_ms": 1, "new": True}

    def symbols(parameters: dict[str, str]) -> dict[str, Any]:
        return {"symbols": [row], "new_count": 1, "total": 1, "as_of_ms": 70 if "new" in parameters else 80}

    stage.answers |= {"/api/symbols": symbols, "/api/symbols/seen": {"new_count": 0}}
    stage.open("symbols")
    mark = stage.page.get_by_role("button", name="Mark as seen")
    mark.click()
    expect(mark).to_be_enabled()
    assert ("POST", "/api/symbols/seen", {"until_ms": 70}) in stage.asked


@pytest.mark.parametrize(("interval", "expected"), [("1s", "1m"), ("5m", "5m")])
def test_a_venue_without_the_interval_is_shown_with_one_it_has(stage: Stage, interval: str, expected: str) -> None:
    page = stage.page
    venue = {"name": "binance", "books": [], "intervals": ["1s", "1m", "5m"]}
    found = {"symbol": "BTCUSDT", "venue": "bybit", "status": "TRADING"}
    other = {"name": "bybit", "books": [], "intervals": ["1m", "5m"]}
    stage.answers |= {"/api/venues": {"venues": [venue, other]}, "/api/candles": {"state": "live", "candles": []}}
    stage.answers["/api/symbols"] = {"symbols": [found], "new_count": 0, "total": 1}
    shown = {"venue": "binance", "symbol": "BTCUSDT", "interval": interval}
    stage.open("candles", f"interval={interval}", **shown, intervals=["1s", "1m", "5m"], price="close")
    page.locator("#symbol-search").click()
    page.locator("#symbol-list li").click()
    page.wait_for_url(re.compile(f"venue=bybit.*interval={expected}|interval={expected}.*venue=bybit"))
    page.go_back()
    page.locator("#venue").select_option("bybit")
    page.wait_for_url(re.compile(f"venue=bybit.*interval={expected}|interval={expected}.*venue=bybit"))


def test_a_line_of_a_page_that_could_not_read_the_settings_keeps_the_other_one(stage: Stage) -> None:
    page = stage.page
    kept = {"binance:BTCUSDT:1m": {"above": None, "below": "90"}}
    candles = [[60_000 * minute, "100", "101", "99", "100", "1", True] for minute in range(3)]
    stage.answers |= {"/api/settings": 503, "/api/candles": {"state": "live", "candles": candles}}
    market = {"venue": "binance", "symbol": "BTCUSDT", "interval": "1m"}
    stage.open("candles", **market, intervals=["1m"], price="close")
    expect(page.locator("#notices")).to_contain_text("could not be read")
    expect(page.locator("#market-price")).to_have_text("100.00")
    above = page.get_by_role("textbox", name="Sound above")
    above.fill("0,5")
    above.press("Enter")
    expect(above).to_have_attribute("aria-invalid", "true")
    above.fill("1,100")
    above.press("Enter")
    expect(page.locator("#notices")).to_contain_text("could not be saved")
    assert not [one for one in stage.asked if one[0] != "GET"]
    stage.answers["/api/settings"] = {"candle_lines": kept, "theme": "dark"}
    expect(page.get_by_role("textbox", name="Sound below")).to_have_value("90.00", timeout=20_000)
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    patches = [body for method, path, body in stage.asked if method == "PATCH"]
    assert patches[:1] == [{"candle_lines": {"binance:BTCUSDT:1m": {"above": "1100", "below": "90"}}}]
