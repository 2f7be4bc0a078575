"""The API, over a real socket."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from binmon.dashboard import settings
from binmon.dashboard.feed import BookAnswered
from binmon.dashboard.sources import Series, SymbolEntry
from tests.dashboard.site import MARKET, PASSWORD, USER, Browser, Listener, Site, candle, instrument, trade, until, view

BTC = {"venue": "binance", "symbol": "BTCUSDT"}


def error(browser: Browser, path: str, **params: object) -> tuple[int, str, str]:
    """Status, code and message."""
    answer = browser.get(path, params=params)  # type: ignore[arg-type]
    problem = answer.json()["error"]
    return answer.status_code, problem["code"], problem["message"]


def test_candles(site: Site) -> None:
    browser = site.browser()
    loading = browser.get("/api/candles", params={**BTC, "interval": "1m"}).json()
    assert (loading["state"], loading["candles"]) == ("loading", [])
    until(lambda: bool(site.sources.followed))
    assert site.sources.followed[-1] == (frozenset([(*MARKET, "1m")]), frozenset()), "whoever asks has it followed"
    candles = tuple(candle(60_000 * number, closed=True) for number in range(10))
    site.sources.series_of[*MARKET, "1m"] = Series("live", candles)
    found = browser.get("/api/candles", params={**BTC, "interval": "1m", "limit": 2}).json()
    assert found == {
        **BTC,
        "interval": "1m",
        "state": "live",
        "candles": [
            [480_000, "100.50", "100.50", "100.50", "100.50", "1.50000000", True],
            [540_000, "100.50", "100.50", "100.50", "100.50", "1.50000000", True],
        ],
    }


def test_trades(site: Site) -> None:
    browser = site.browser()
    site.sources.before = [trade(1), trade(2)]
    assert [one[0] for one in browser.get("/api/trades", params=BTC).json()["trades"]] == ["1", "2"]
    until(lambda: bool(site.sources.followed))
    for number in (2, 3, 4):  # the second was there before we listened, and is not told twice
        site.inbox.offer(trade(number, "100.50000000"))
    until(lambda: len(browser.get("/api/trades", params=BTC).json()["trades"]) == 4)
    assert browser.get("/api/trades", params={**BTC, "limit": 1}).json()["trades"] == [
        ["4", 1004, "100.50000000", "0.5", "sell"]
    ]
    site.inbox.offer(trade(2**63 - 1))
    until(lambda: browser.get("/api/trades", params=BTC).json()["trades"][-1][0] == "9223372036854775807")


def test_a_book(site: Site) -> None:
    browser = site.browser()
    found = browser.get("/api/book", params=BTC).json()
    assert found == {
        **BTC,
        "synced": True,
        "update_id": 7,
        "event_time_ms": 5000,
        "age_ms": 12.5,
        "bids": [["100.5", "1.5"], ["100.25", "0.00001"]],
        "asks": [["101.5", "1.5"], ["101.25", "0.00001"]],
    }
    assert error(browser, "/api/book", venue="binance", symbol="SOLUSDT")[:2] == (404, "no_book")
    site.sources.answers = False
    assert error(browser, "/api/book", **BTC)[:2] == (503, "behind")


def test_symbols(site: Site) -> None:
    browser = site.browser()
    site.sources.entries += site.sources.new
    found = browser.get("/api/symbols").json()
    assert (found["new_count"], found["total"]) == (1, 3)
    assert [(one["symbol"], one["new"]) for one in found["symbols"]] == [
        ("BTCUSDT", False),
        ("ETHUSDT", False),
        ("NEWUSDT", True),
    ]
    assert [one["symbol"] for one in browser.get("/api/symbols?search=eth").json()["symbols"]] == ["ETHUSDT"]
    assert [one["symbol"] for one in browser.get("/api/symbols?new=1").json()["symbols"]] == ["NEWUSDT"]
    assert len(browser.get("/api/symbols?limit=1").json()["symbols"]) == 1
    assert error(browser, "/api/symbols", venue="nope")[:2] == (404, "unknown_venue")
    assert browser.post("/api/symbols/seen", headers=browser.csrf).json() == {"new_count": 0}
    assert browser.get("/api/symbols").json()["new_count"] == 0
    site.add_user("bert")
    assert site.browser("bert").get("/api/symbols").json()["new_count"] == 1, "each user for himself"


def test_a_search_finds_first_what_it_most_likely_means(site: Site) -> None:
    def entry(venue: str, base: str, quote: str = "USDT", status: str = "TRADING") -> SymbolEntry:
        return SymbolEntry(venue, base + quote, base, quote, status, 1_000, "baseline")

    browser = site.browser()
    site.sources.instruments_of["bybit"] = {"BTCUSDT": instrument("BTCUSDT", "bybit")}
    site.sources.entries = [
        *(entry("binance", one) for one in ("BTC", "GONE", "SOL", "SOLV", "WSOL")),
        *(entry("bybit", "SOL", one) for one in ("BRL", "EUR", "USDT")),
        *(entry("bybit", one) for one in ("BTC", "SOLV")),
        entry("bybit", "GONE", status="DELISTED"),
    ]

    def found(**params: str) -> list[str]:
        rows = browser.get("/api/symbols", params=params).json()["symbols"]
        return [f"{one['venue']} {one['symbol']}" for one in rows]

    at_bybit = ["bybit SOLUSDT", "bybit SOLBRL", "bybit SOLEUR", "bybit SOLVUSDT"]
    at_binance = ["binance SOLUSDT", "binance SOLVUSDT", "binance WSOLUSDT"]
    assert found(search="sol", beside="bybit:BTCUSDT") == [*at_bybit, *at_binance]
    assert found(search="sol", beside="binance:BTCUSDT")[:3] == at_binance
    assert found(search="sol", beside="binance:BTCUSDT", limit="1") == ["binance SOLUSDT"]
    assert found(search="BTCUSDT", beside="bybit:SOLEUR") == ["bybit BTCUSDT", "binance BTCUSDT"]
    assert found(search="wsolusdt", beside="bybit:BTCUSDT") == ["binance WSOLUSDT"]
    assert found(search="goneusdt", beside="bybit:BTCUSDT") == ["binance GONEUSDT", "bybit GONEUSDT"]
    assert found(search="solusdt", limit="1") == ["binance SOLUSDT"], "exactly this one comes before all others"
    assert found(search="btc", beside="nowhere:x") == ["binance BTCUSDT", "bybit BTCUSDT"]
    assert found() == [f"{one.venue} {one.symbol}" for one in site.sources.entries], "in its order without a search"


def test_a_book_that_is_not_kept_is_refused_with_advice_that_holds_for_every_configuration(site: Site) -> None:
    browser = site.browser()
    said = "the book of binance SOLUSDT is not kept: add it to the books of binance in the configuration"
    assert error(browser, "/api/book", venue="binance", symbol="SOLUSDT") == (404, "no_book", said)
    assert error(browser, "/api/stream", topics="book:binance:SOLUSDT") == (404, "no_book", said)

    def refusal(symbol: str) -> str:
        text = browser.get("/book", params={"venue": "binance", "symbol": symbol}).text
        found = re.search(r'id="page-data">(.*?)</script>', text)
        assert found is not None
        return str(json.loads(found[1])["refusal"])

    assert (refusal("SOLUSDT"), refusal("BTCUSDT")) == (said, "")


def test_what_is_listed_after_the_list_was_read_stays_new(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = site.browser()
    csrf = browser.csrf
    read = site.sources.symbols

    def symbols() -> Sequence[SymbolEntry]:
        """A symbol is listed just after the list was read."""
        found = list(read())
        time.sleep(0.002)
        site.sources.new = [dataclasses.replace(site.sources.new[0], first_seen_ms=time.time_ns() // 1_000_000)]
        return found

    monkeypatch.setattr(site.sources, "symbols", symbols)
    before_ms = time.time_ns() // 1_000_000
    as_of_ms = browser.get("/api/symbols").json()["as_of_ms"]
    assert before_ms <= as_of_ms < (site.sources.new[0].first_seen_ms or 0)

    def seen(body: object) -> int:
        return int(browser.post("/api/symbols/seen", json=body, headers=csrf).json()["new_count"])

    assert seen({"until_ms": as_of_ms}) == 1
    assert seen({"until_ms": site.sources.new[0].first_seen_ms}) == 0, "at that time or before"
    assert seen({"until_ms": 0}) == 0, "a mark never moves back"
    assert seen({"until_ms": 10**30}) == 0
    assert site.sources.seen[USER] <= time.time_ns() // 1_000_000, "what is listed later is new, whatever was sent"
    site.sources.new = [dataclasses.replace(site.sources.new[0], first_seen_ms=site.sources.seen[USER] + 1)]
    until(lambda: seen({}) == 0)


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "1",
        "{",
        *(f'{{"until_ms": {one}}}' for one in ("-1", "1.5", "true", "null", '"5"', "1e999")),
        '{"until": 5}',
    ],
)
def test_a_time_that_is_none(site: Site, body: str) -> None:
    browser = site.browser()
    answer = browser.post("/api/symbols/seen", data=body, headers=browser.csrf)
    assert answer.status_code == 400
    assert browser.get("/api/symbols").json()["new_count"] == 1


@pytest.mark.parametrize("path", ["/api/candles", "/api/trades", "/api/book"])
def test_an_unknown_symbol_is_answered_with_what_was_perhaps_meant(site: Site, path: str) -> None:
    browser = site.browser()
    more = {"interval": "1m"}
    status, code, message = error(browser, path, venue="binance", symbol="BTCUSD", **more)
    assert (status, code) == (404, "unknown_symbol")
    assert "did you mean BTCUSDT" in message
    assert error(browser, path, venue="nope", symbol="BTCUSDT", **more)[:2] == (404, "unknown_venue")
    assert error(browser, path, symbol="BTCUSDT", **more) == (400, "missing", "expected the parameter venue")
    assert "\n" not in error(browser, path, venue="binance", symbol="x\n" * 1000, **more)[2]


@pytest.mark.parametrize("page", ["/candles", "/trades", "/book"])
def test_an_unknown_symbol_in_the_address_of_a_page(site: Site, page: str) -> None:
    answer = site.browser().get(page, params={"venue": "binance", "symbol": "BTCUSD"})
    assert answer.status_code == 404
    assert f"{page}?venue=binance&amp;symbol=BTCUSDT" in answer.text
    assert site.browser().get(page, params={"venue": "n'ope<b>", "symbol": "x"}).status_code == 404


def test_pages_choose_what_the_configuration_has_first(site: Site) -> None:
    text = site.browser().get("/candles").text
    assert '"symbol": "BTCUSDT"' in text
    assert '"interval": "5m"' in text


@pytest.mark.parametrize(("intervals", "shown"), [(("1m", "3m"), "1m"), (("1m", "5m"), "5m"), (("3m", "1h"), "3m")])
def test_a_venue_without_the_favourite_interval(site: Site, intervals: tuple[str, ...], shown: str) -> None:
    site.sources.instruments_of["other"] = {"BTCUSDT": instrument("BTCUSDT", "other")}
    site.sources.intervals_of["other"] = intervals
    browser = site.browser()
    page = browser.get("/candles?venue=other&symbol=BTCUSDT")
    assert page.status_code == 200
    assert f'"interval": "{shown}"' in page.text
    assert browser.get("/candles?venue=other&symbol=BTCUSDT&interval=7m").status_code == 404, "who names one means it"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/candles?venue=binance&symbol=BTCUSDT&interval=7m", "unknown_interval"),
        ("/api/candles?venue=binance&symbol=BTCUSDT&interval=1m&limit=0", "bad_parameter"),
        ("/api/candles?venue=binance&symbol=BTCUSDT&interval=1m&limit=9999999", "bad_parameter"),
        ("/api/candles?venue=binance&symbol=BTCUSDT&interval=1m&limit=-1", "bad_parameter"),
        ("/api/candles?venue=binance&symbol=BTCUSDT&interval=1m&limit=²", "bad_parameter"),
        ("/api/book?venue=binance&symbol=BTCUSDT&levels=1e3", "bad_parameter"),
        ("/api/latency?since_s=soon", "bad_parameter"),
        ("/api/stream", "missing"),
        ("/api/stream?topics=,", "bad_topics"),
        ("/api/stream?topics=nope", "bad_topics"),
        ("/api/stream?topics=candles:binance:BTCUSDT", "bad_topics"),
        ("/api/stream?topics=trades:binance:BTCUSD", "unknown_symbol"),
        ("/api/stream?topics=trades:nope:BTCUSDT", "unknown_venue"),
        ("/api/stream?topics=candles:binance:BTCUSDT:7m", "unknown_interval"),
        ("/api/stream?topics=book:binance:SOLUSDT", "no_book"),
    ],
)
def test_mistakes_are_named(site: Site, path: str, code: str) -> None:
    answer = site.browser(None).get(path, headers=site.token())
    assert answer.json()["error"]["code"] == code
    assert answer.status_code in (400, 404)


def test_settings_are_of_each_user(site: Site) -> None:
    site.add_user("bert")
    browser = site.browser()
    document = {"theme": "dark", "candle_lines": {"binance:BTCUSDT:1m": {"above": "70000.10"}}, "ä": [1, None, True]}
    assert browser.get("/api/settings").json() == {}
    assert browser.put("/api/settings", json=document, headers=browser.csrf).json() == document
    assert browser.get("/api/settings").json() == document
    assert site.browser("bert").get("/api/settings").json() == {}
    for body in ("", "[]", "{", '"x"', '{"a": NaN}', "[" * 5000, "\xff"):
        refused = browser.put("/api/settings", data=body.encode("latin-1"), headers=browser.csrf)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "not_json"), body[:10]
    large = browser.put("/api/settings", data=json.dumps({"x": "y" * 17_000}), headers=browser.csrf)
    assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")
    assert browser.get("/api/settings").json() == document


def test_settings_are_changed_in_parts(site: Site) -> None:
    browser = site.browser()
    csrf = browser.csrf

    def patch(changes: object) -> requests.Response:
        return browser.patch("/api/settings", json=changes, headers=csrf)

    assert patch({"theme": "dark", "other": {"a": 1}}).json() == {"theme": "dark", "other": {"a": 1}}
    assert patch({"candle_lines": {"x": {"above": "1"}, "y": {"below": "2"}}}).status_code == 200
    assert patch({"minimum_prices": {"z": "5"}}).status_code == 200
    found = patch({"other": {"b": 2}, "candle_lines": {"x": {"above": "3"}, "y": None, "nobody": None}}).json()
    expected = {
        "theme": "dark",
        "other": {"b": 2},
        "candle_lines": {"x": {"above": "3"}},
        "minimum_prices": {"z": "5"},
    }
    assert found == browser.get("/api/settings").json() == expected
    assert patch({}).json() == expected
    for changes in ({"candle_lines": []}, {"minimum_prices": None}, [], "x"):
        assert patch(changes).status_code == 400, changes
    assert browser.patch("/api/settings", json={}).status_code == 403, "no token of the form"
    assert site.browser(None).patch("/api/settings", json={}).status_code == 401
    assert site.browser(None).patch("/api/settings", json={"by": "script"}, headers=site.token()).status_code == 200
    assert browser.get("/api/settings").json() == {**expected, "by": "script"}


def test_the_newest_entries_of_a_map_are_kept(site: Site) -> None:
    browser = site.browser()
    csrf = browser.csrf
    assert browser.put("/api/settings", json={"candle_lines": "what is this"}, headers=csrf).status_code == 200
    entries = {f"m{number}": number for number in range(settings.MOST_ENTRIES)}
    for changes in (entries, {"m0": 0, "new": 1}):
        found = browser.patch("/api/settings", json={"candle_lines": changes}, headers=csrf).json()["candle_lines"]
    assert list(found) == [*(f"m{number}" for number in range(2, settings.MOST_ENTRIES)), "m0", "new"]
    assert list(browser.get("/api/settings").json()["candle_lines"]) == list(found)


def test_settings_that_become_too_large_in_parts(site: Site) -> None:
    browser = site.browser()
    csrf = browser.csrf
    assert browser.patch("/api/settings", json={"a": "y" * 9_000}, headers=csrf).status_code == 200
    for changes in ({"b": "y" * 9_000}, {"b": "y" * 17_000}):
        large = browser.patch("/api/settings", json=changes, headers=csrf)
        assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")
    assert list(browser.get("/api/settings").json()) == ["a"]
    assert browser.patch("/api/settings", json={"a": "", "b": "y" * 9_000}, headers=csrf).status_code == 200


def test_changes_at_the_same_time_all_survive(site: Site) -> None:
    browser, token = site.browser(), site.token()
    csrf = browser.csrf
    start = threading.Barrier(8)

    def change(number: int) -> list[int]:
        mine = site.browser(None)
        start.wait(60)
        return [
            mine.patch("/api/settings", json={"candle_lines": {f"{number}-{one}": one}}, headers=token).status_code
            for one in range(5)
        ]

    with ThreadPoolExecutor(8) as pool:
        statuses = [status for several in pool.map(change, range(8)) for status in several]
    assert statuses == [200] * 40
    assert len(browser.patch("/api/settings", json={}, headers=csrf).json()["candle_lines"]) == 40


@pytest.mark.parametrize("kept", [False, True])
def test_a_change_within_another_is_not_lost(site: Site, kept: bool) -> None:
    """Whoever else changes the settings, between the look at them and the write."""
    if kept:
        site.accounts.keep_settings(USER, {"before": 1})
    others = iter([lambda found: {**found, "theirs": 1}])

    def ours(found: dict[str, Any]) -> dict[str, Any]:
        for other in others:
            site.accounts.change_settings(USER, other)
        return {**found, "ours": 1}

    expected = {**({"before": 1} if kept else {}), "theirs": 1, "ours": 1}
    assert site.accounts.change_settings(USER, ours) == expected
    assert site.accounts.settings(USER) == expected


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (r'{"name": "\ud83d"}', "bad_text", "half of a surrogate pair"),
        (r'{"name": "x", "\udc00": 1}', "bad_text", "half of a surrogate pair"),
        (r'{"name": "x", "a": [{"b": ["\ud800x"]}]}', "bad_text", "half of a surrogate pair"),
        ('{"name": "x", "a": [1e999]}', "bad_number", "1e999 is too large"),
        ('{"name": "x", "a": -1e999}', "bad_number", "finite"),
        ('{"name": "x", "a": NaN}', "not_json", "NaN"),
        ('{"name": "x", "a": -Infinity}', "not_json", "-Infinity"),
        ('{"name": "x", "a": ' + "[" * 60 + "]" * 60 + "}", "too_deep", "50 levels"),
        ('{"name": "x", "a": ' + "[" * 700 + "]" * 700 + "}", "too_deep", "50 levels"),
    ],
)
def test_a_body_that_cannot_be_kept_is_refused(site: Site, body: str, code: str, says: str) -> None:
    browser = site.browser()
    csrf = browser.csrf
    for method, path in (
        ("PUT", "/api/settings"),
        ("PATCH", "/api/settings"),
        ("POST", "/api/tokens"),
        ("POST", "/api/password"),
        ("POST", "/api/symbols/seen"),
    ):
        answer = browser.request(method, path, data=body, headers=csrf)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), path
        assert says in answer.json()["error"]["message"]
    pair = browser.put("/api/settings", data=r'{"a": "\ud83d\ude00"}', headers=csrf)
    assert pair.json() == {"a": "😀"}, "a whole pair is a character"


# Tokens ---------------------------------------------------------------------------------------------------------------


def test_tokens_are_made_used_and_revoked(site: Site) -> None:
    browser = site.browser()
    made = browser.post("/api/tokens", json={"name": "my script"}, headers=browser.csrf).json()
    header = {"Authorization": f"Bearer {made['token']}"}
    (before,) = browser.get("/api/tokens").json()["tokens"]
    assert (before["id"], before["name"], before["last_used_ms"]) == (made["id"], "my script", None)
    script = site.browser(None)
    assert script.get("/api/tops", headers=header).status_code == 200
    assert script.put("/api/settings", json={"a": 1}, headers=header).status_code == 200, "no form, so nothing to forge"
    assert browser.get("/api/tokens").json()["tokens"][0]["last_used_ms"] is not None
    assert made["token"] not in str(site.state.execute("SELECT * FROM dashboard_tokens"))
    listener = Listener(site, "alerts", header)
    assert listener.next().kind == "hello"
    assert browser.delete(f"/api/tokens/{made['id']}", headers=browser.csrf).status_code == 200
    assert script.get("/api/tops", headers=header).status_code == 401
    assert list(listener.events()) == [], "its streams end, too"
    listener.close()
    assert browser.delete(f"/api/tokens/{made['id']}", headers=browser.csrf).status_code == 404
    assert browser.delete(f"/api/tokens/{10**30}", headers=browser.csrf).status_code == 404


def test_a_token_of_another_user_cannot_be_revoked(site: Site) -> None:
    site.add_user("bert")
    token, _ = site.accounts.add_token("bert", "his", 1)
    browser = site.browser()
    assert browser.delete(f"/api/tokens/{token.id}", headers=browser.csrf).status_code == 404
    assert len(site.accounts.tokens("bert")) == 1
    assert browser.get("/api/tokens").json() == {"tokens": []}


def test_a_token_can_neither_make_tokens_nor_change_the_password(site: Site) -> None:
    header, script = site.token(), site.browser(None)
    for method, path in (
        ("GET", "/api/tokens"),
        ("POST", "/api/tokens"),
        ("DELETE", "/api/tokens/1"),
        ("POST", "/api/password"),
    ):
        answer = script.request(method, path, headers=header, json={"name": "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "session_needed"), path


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Bearer x", "Bearer binmon_x", "Basic YTpi", "Bearer binmon_" + "ä" * 43]
)
def test_what_is_no_token_is_none(site: Site, value: str) -> None:
    site.token()
    answer = site.browser(None).get("/api/status", headers={"Authorization": value.encode()})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_wrong_token_is_not_made_good_by_a_cookie(site: Site) -> None:
    """Else a page elsewhere could send a form with a header that switches the check of forms off."""
    browser = site.browser()
    assert browser.post("/api/symbols/seen", headers={"Authorization": "Bearer x"}).status_code == 401


# Password -------------------------------------------------------------------------------------------------------------


def test_the_password_is_changed_and_other_sessions_end(site: Site) -> None:
    browser, other = site.browser(), site.browser()
    csrf = browser.csrf

    def change(current: str, new: str) -> tuple[int, str]:
        answer = browser.post("/api/password", json={"current": current, "new": new}, headers=csrf)
        return answer.status_code, answer.json().get("error", {}).get("code", "")

    assert change("not-the-password", "brave-herons-dive-4") == (400, "wrong_password")
    assert change(PASSWORD, "anna") == (400, "weak_password")
    assert change(PASSWORD, "") == (400, "bad_member")
    assert other.get("/").status_code == 200
    assert change(PASSWORD, "brave-herons-dive-4") == (200, "")
    assert browser.get("/").status_code == 200
    assert other.get("/").status_code == 303
    assert site.browser(None).log_in(USER, PASSWORD).status_code == 403
    assert site.browser(None).log_in(USER, "brave-herons-dive-4").status_code == 303


def test_an_answer_of_the_keeper_that_nobody_waits_for_any_more_is_no_trouble(site: Site) -> None:
    from binmon.dashboard.topics import Topic

    site.inbox.offer(BookAnswered(Topic.parse("book:binance:BTCUSDT"), view(3)))
    site.inbox.offer(object())
    assert site.browser().get("/api/tops").json()["tops"][0]["state"] == "synced"
