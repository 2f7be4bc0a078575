"""Whole pages on a stage: what they do with answers and events that no sandbox gives."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("playwright", reason="no playwright: pip install 'binmon[test]'")

from playwright.sync_api import Page, expect

from tests.dashboard.browser.running import until
from tests.dashboard.browser.stage import Stage

pytestmark = [pytest.mark.system, pytest.mark.timeout(420)]
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
    with stage.page.expect_response("**/api/symbols/seen"):
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
    expect(page.get_by_role("textbox", name="Sound below")).to_have_value("90.00")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    until(page, lambda: any(method == "PATCH" for method, *_ in stage.asked), "the line to be saved")
    patches = [body for method, path, body in stage.asked if method == "PATCH"]
    assert patches[:1] == [{"candle_lines": {"binance:BTCUSDT:1m": {"above": "1100", "below": "90"}}}]


LISTED = [(venue, symbol) for venue in ("binance", "bybit") for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")]


def matching(parameters: dict[str, str]) -> dict[str, Any]:
    """The symbols as the server finds them, those of the venue that is looked at first."""
    search, here = parameters.get("search", "").upper(), parameters.get("beside", "").partition(":")[0]
    found = [one for one in LISTED if search in one[1] and parameters.get("venue", one[0]) == one[0]]
    found.sort(key=lambda one: one[0] != here)
    rows = [{"venue": venue, "symbol": symbol, "status": "TRADING", "base": symbol[:3]} for venue, symbol in found]
    return {"symbols": rows, "new_count": 0, "total": len(rows)}


def at(venue: str, symbol: str) -> re.Pattern[str]:
    return re.compile(rf"venue={venue}&symbol={symbol}\b")


def test_enter_opens_what_stands_in_the_box_however_fast_it_was_typed(stage: Stage) -> None:
    page, keyboard = stage.page, stage.page.keyboard
    stage.answers |= {"/api/symbols": matching, "/api/trades": {"trades": []}}
    box, options = page.locator("#symbol-search"), page.locator("#symbol-list li")

    def start() -> None:
        stage.open("trades", venue="binance", symbol="BTCUSDT")
        box.fill("ETH")
        expect(options).to_have_count(2)

    start()
    box.select_text()
    keyboard.type("SOLUSDT")
    keyboard.press("Enter")  # before the search for it
    page.wait_for_url(at("binance", "SOLUSDT"))
    start()
    keyboard.press("ArrowDown")
    keyboard.press("Enter")  # an entry that was moved to
    page.wait_for_url(at("bybit", "ETHUSDT"))
    start()
    keyboard.press("ArrowDown")
    box.select_text()
    keyboard.type("xrp")
    keyboard.press("Enter")  # that entry belongs to another text
    page.wait_for_url(at("binance", "XRPUSDT"))
    start()
    box.fill("nothing")
    box.press("Enter")
    page.wait_for_url(at("binance", "NOTHING"))  # whose page says what was perhaps meant


@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize(("typed", "symbol"), [("BTCUSDT", "BTCUSDT"), ("sol", "SOLUSDT")])
def test_what_is_searched_is_opened_at_the_venue_that_is_looked_at(
    stage: Stage, typed: str, symbol: str, is_slow: bool
) -> None:
    stage.answers |= {"/api/symbols": matching, "/api/trades": {"trades": []}}
    stage.open("trades", venue="bybit", symbol="ETHUSDT")
    box = stage.page.locator("#symbol-search")
    box.fill(typed)
    if is_slow:
        expect(stage.page.locator("#symbol-list li").first).to_have_text(f"{symbol}bybit")
    box.press("Enter")
    stage.page.wait_for_url(at("bybit", symbol))


def test_another_venue_keeps_the_symbol_where_it_lists_it(stage: Stage) -> None:
    venues = [{"name": name, "books": ["BTCUSDT"], "intervals": []} for name in ("binance", "bybit")]
    stage.answers |= {"/api/venues": {"venues": venues}, "/api/symbols": matching, "/api/trades": {"trades": []}}
    for symbol, expected in (("SOLUSDT", "SOLUSDT"), ("ONLYUSDT", "BTCUSDT")):
        stage.open("trades", venue="binance", symbol=symbol)
        stage.page.locator("#venue").select_option("bybit")
        stage.page.wait_for_url(at("bybit", expected))


def test_a_phone_shows_the_venue_beside_the_symbol(stage: Stage) -> None:
    row = {"symbol": "BTCUSDT", "base": "BTC", "quote": "USDT", "status": "TRADING", "first_seen_ms": 1, "new": False}
    rows = [row | {"venue": venue} for venue in ("binance", "bybit")]
    stage.answers["/api/symbols"] = {"symbols": rows, "new_count": 0, "total": 2, "as_of_ms": 1}
    stage.page.set_viewport_size({"width": 390, "height": 844})
    stage.open("symbols")
    names = stage.page.locator("#symbols th")
    expect(names).to_have_text(["BTCUSDT binance", "BTCUSDT bybit"], use_inner_text=True)
    stage.page.set_viewport_size({"width": 1280, "height": 900})
    expect(names).to_have_text(["BTCUSDT", "BTCUSDT"], use_inner_text=True)


def test_a_book_that_is_not_kept_is_said_to_be_at_once_and_shown_once_it_is_kept(stage: Stage) -> None:
    page, said = stage.page, "the book of binance SOLUSDT is not kept: add it"
    venue: dict[str, Any] = {"name": "binance", "books": [], "intervals": []}
    stage.answers["/api/venues"] = {"venues": [venue]}
    stage.open("book", venue="binance", symbol="SOLUSDT", refusal=said)
    state = page.locator("#series-state")
    expect(state).to_have_text("not kept")
    for panel in ("#ladder-empty", "#depth-empty"):
        expect(page.locator(panel)).to_have_text(said)
    expect(page.locator("#link-state")).to_have_text("Live")
    assert page.evaluate("sources.map(one => one.url.includes('book'))") == [False]
    assert not [one for one in stage.asked if one[1] == "/api/book"]
    levels = {"bids": [["100", "1"]], "asks": [["101", "1"]], "synced": True, "update_id": 1, "age_ms": 1}
    stage.answers["/api/book"] = levels
    stage.answers["/api/venues"] = {"venues": [venue | {"books": ["SOLUSDT"]}]}
    page.wait_for_function("sources.at(-1).url.includes('book%3Abinance%3ASOLUSDT')")
    stage.tell("open")
    expect(page.locator("#bids tr")).to_have_count(1)
    expect(state).to_have_text("live")
    stage.answers["/api/venues"] = {"venues": [venue]}
    stage.answers["/api/book"] = 404
    page.locator("#depth-levels").select_option("200")
    expect(state).to_have_text("not kept")  # it is not any more
    expect(page.locator("#bids tr")).to_have_count(0)


REFUSED = ("1e3", "abc", "0", "99999999999999999999")


def test_a_price_that_is_none_is_told_beside_it_until_it_is_mended(stage: Stage) -> None:
    page = stage.page
    candles = [[60_000 * minute, "100", "101", "99", "100", "1", True] for minute in range(3)]
    stage.answers |= {"/api/candles": {"state": "live", "candles": candles}, "/api/trades": {"trades": []}}
    stage.answers["/api/settings"] = 503  # one that keeps nothing would take the lines away again
    market = {"venue": "binance", "symbol": "BTCUSDT", "interval": "1m"}

    def check(field: str, held: str, nothing: str) -> None:
        box, problem = page.locator(f"#{field}"), page.locator(f"#{field}-problem")
        for instead in (nothing, held):
            for typed in REFUSED:
                box.fill(typed)
                box.press("Enter")
                expect(box).to_have_accessible_description(re.compile(f"^expected a price such as 65000.5; {instead}"))
                expect(problem).to_have_role("alert")
                expect(box).to_have_attribute("aria-invalid", "true")
            box.fill("64000")
            box.press("Enter")  # the second time it is what holds already
            expect(problem).to_have_text("")
            expect(box).not_to_have_attribute("aria-invalid", "true")
        box.fill("abc")
        box.press("Enter")
        expect(problem).not_to_have_text("")
        page.locator(f"#{field.removesuffix('-price')}-clear").click()
        expect(problem).to_have_text("")
        expect(box).to_have_value("")

    stage.open("candles", **market, intervals=["1m"], price="close")
    expect(page.locator("#market-price")).to_have_text("100.00")
    for direction in ("above", "below"):
        check(f"line-{direction}", "the line at 64,000.00 stays in force", "no line is set")
    stage.open("trades", venue="binance", symbol="BTCUSDT")
    check("minimum-price", "the minimum of 64,000 stays in force", "no minimum is set")
