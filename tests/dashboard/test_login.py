"""Login, sessions and forms, over a real socket."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from binmon.dashboard.access import FORM_COOKIE, SESSION_COOKIE
from binmon.dashboard.accounts import Lifetimes
from binmon.dashboard.attempts import WRONG_BEFORE_LOCK
from tests.dashboard.site import PASSWORD, USER, Browser, Listener, Site, until


def test_the_way_in_and_out(site: Site) -> None:
    browser = site.browser(None)
    first = browser.get("/candles?venue=binance&symbol=ETHUSDT")
    assert (first.status_code, first.headers["Location"]) == (
        303,
        "/login?next=/candles%3Fvenue%3Dbinance%26symbol%3DETHUSDT",
    )
    field = browser.form(first.headers["Location"])
    with capture_logs() as lines:
        answer = browser.post(
            "/login", data={"csrf": field, "name": USER, "password": PASSWORD, "next": "/candles?symbol=ETHUSDT"}
        )
    assert (answer.status_code, answer.headers["Location"]) == (303, "/candles?symbol=ETHUSDT")
    assert {"event": "dashboard.login", "user": USER, "address": "127.0.0.1", "log_level": "info"} in lines
    assert browser.get("/").status_code == 200
    assert browser.get("/login").headers["Location"] == "/", "who is logged in needs no form"
    old = browser.cookies[SESSION_COOKIE]
    assert browser.post("/logout", data={"csrf": browser.form("/")}).headers["Location"] == "/login"
    assert browser.get("/").status_code == 303
    again = site.browser(None)
    again.cookies[SESSION_COOKIE] = old
    assert again.get("/").status_code == 303, "the session has ended, not only its cookie"


def test_cookies_are_out_of_reach(site: Site) -> None:
    browser = site.browser(None)
    for answer in (browser.get("/login"), browser.log_in()):
        for cookie in answer.headers["Set-Cookie"].split(", binmon"):
            if "Expires=Thu, 01 Jan 1970" not in cookie:
                assert "HttpOnly" in cookie
                assert "SameSite=Strict" in cookie
    stored = site.state.execute("SELECT hex(id_hash), csrf FROM dashboard_sessions")
    assert browser.cookies[SESSION_COOKIE] not in str(stored), "who reads the database has no session by it"


def test_cookies_are_secure_behind_https(sites: Callable[..., Site]) -> None:
    site = sites(behind_proxy=True)
    site.add_user()
    browser = site.browser(None)
    browser.headers["X-Forwarded-Proto"] = "https"
    answer = browser.get("/login")
    assert "Secure" in answer.headers["Set-Cookie"]
    assert "max-age" in answer.headers["Strict-Transport-Security"]


def test_a_wrong_password_and_an_unknown_user_are_answered_alike(site: Site) -> None:
    browser = site.browser(None)
    wrong, unknown = browser.log_in(USER, "not-the-password"), browser.log_in("nobody", "not-the-password")
    assert wrong.status_code == unknown.status_code == 403

    def without_what_differs(text: str, name: str) -> str:
        import re

        return re.sub(r'name="csrf" value="[^"]+"', "", text).replace(f'value="{name}"', "")

    assert without_what_differs(wrong.text, USER) == without_what_differs(unknown.text, "nobody")
    assert "wrong name or password" in wrong.text


def test_ten_wrong_passwords_lock_and_the_log_says_so(site: Site) -> None:
    browser = site.browser(None)
    with capture_logs() as lines:
        for _ in range(WRONG_BEFORE_LOCK):
            assert browser.log_in(USER, "not-the-password").status_code == 403
        locked = browser.log_in(USER, PASSWORD)
    assert locked.status_code == 429, "the right password is not looked at"
    assert 0 < int(locked.headers["Retry-After"]) <= 61
    assert "too many wrong passwords" in locked.text
    assert SESSION_COOKIE not in browser.cookies
    said = [line for line in lines if line["event"] == "dashboard.locked"]
    assert [(line["locked"], line["subject"], line["count"]) for line in said] == [
        ("user", USER, WRONG_BEFORE_LOCK), ("address", "127.0.0.1", WRONG_BEFORE_LOCK),
    ]  # fmt: skip
    assert "not-the-password" not in str(lines)
    assert browser.log_in("somebody-else", "not-the-password").status_code == 429, "the address is locked, too"


def test_what_was_typed_as_a_name_is_not_written_down(site: Site) -> None:
    with capture_logs() as lines:
        site.browser(None).log_in("my-secret-password", "x")
    assert "my-secret-password" not in str(lines)
    assert [line["user"] for line in lines if line["event"] == "dashboard.login_failed"] == ["unknown"]


def test_logins_through_a_proxy_are_counted_by_its_client(sites: Callable[..., Site]) -> None:
    site = sites(behind_proxy=True)
    site.add_user()
    with capture_logs() as lines:
        browser = site.browser(None)
        browser.headers["X-Forwarded-For"] = "203.0.113.9, 198.51.100.7"
        browser.log_in(USER, "not-the-password")
    assert [line["address"] for line in lines if line["event"] == "dashboard.login_failed"] == ["198.51.100.7"]


def test_without_a_proxy_nobody_says_who_he_is(site: Site) -> None:
    with capture_logs() as lines:
        browser = site.browser(None)
        browser.headers["X-Forwarded-For"] = "198.51.100.7"
        browser.log_in(USER, "not-the-password")
    assert [line["address"] for line in lines if line["event"] == "dashboard.login_failed"] == ["127.0.0.1"]


# Forms ----------------------------------------------------------------------------------------------------------------


def test_a_login_form_is_sent_once(site: Site) -> None:
    browser = site.browser(None)
    field = browser.form()
    cookie = browser.cookies[FORM_COOKIE]
    data = {"csrf": field, "name": USER, "password": PASSWORD}
    assert browser.post("/login", data=data).status_code == 303
    replay = site.browser(None)
    replay.cookies.set(FORM_COOKIE, cookie, path="/login")
    answer = replay.post("/login", data=data)
    assert answer.status_code == 400
    assert SESSION_COOKIE not in replay.cookies
    assert "sent before" in answer.text


@pytest.mark.parametrize("field", ["", "made-up", "a.b.c"])
def test_a_forged_login_form_is_refused(site: Site, field: str) -> None:
    browser = site.browser(None)
    browser.form()
    answer = browser.post("/login", data={"csrf": field, "name": USER, "password": PASSWORD})
    assert answer.status_code == 400
    assert SESSION_COOKIE not in browser.cookies


def test_a_login_form_of_another_browser_is_refused(site: Site) -> None:
    field = site.browser(None).form()
    browser = site.browser(None)
    browser.form()
    assert browser.post("/login", data={"csrf": field, "name": USER, "password": PASSWORD}).status_code == 400


def test_forms_of_other_sites_and_sessions_are_refused(site: Site) -> None:
    site.add_user("bert")
    browser, other = site.browser(), site.browser("bert")
    for csrf in (None, "", "made-up", other.form("/")):
        answer = browser.post("/logout", data={} if csrf is None else {"csrf": csrf})
        assert answer.status_code == 403
        headers = {} if csrf is None else {"X-CSRF-Token": csrf}
        for method, path in (
            ("PUT", "/api/settings"),
            ("POST", "/api/tokens"),
            ("POST", "/api/symbols/seen"),
            ("POST", "/api/password"),
            ("DELETE", "/api/tokens/1"),
        ):
            refused = browser.request(method, path, json={"name": "x"}, headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forged"), path
    assert browser.get("/").status_code == 200
    right = {"csrf": browser.form("/")}
    for origin in ("https://evil.example", "null", "http://localhost.evil.example"):
        assert browser.post("/logout", data=right, headers={"Origin": origin}).status_code == 403
    assert browser.post("/logout", data=right, headers={"Origin": site.url}).status_code == 303


def test_a_form_of_a_session_that_has_ended_is_refused(site: Site) -> None:
    browser = site.browser()
    field = browser.form("/")
    assert browser.post("/logout", data={"csrf": field}).status_code == 303
    browser.log_in()
    assert browser.post("/logout", data={"csrf": field}).status_code == 403


# Sessions -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "x", "x" * 43, "x" * 5000, "../../etc/passwd", "' OR 1=1 --", "%00", "ä" * 43])
def test_a_tampered_cookie_leads_to_the_login(site: Site, value: str) -> None:
    browser = site.browser(None)
    header = {"Cookie": f"{SESSION_COOKIE}={value}".encode()}
    answer = browser.get("/candles", headers=header)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?next=/candles")
    assert browser.get("/api/status", headers=header).status_code == 401


def test_one_changed_letter_is_enough(site: Site) -> None:
    browser = site.browser()
    true = browser.cookies[SESSION_COOKIE]
    changed = ("A" if true[0] != "A" else "B") + true[1:]
    assert site.browser(None).get("/", headers={"Cookie": f"{SESSION_COOKIE}={changed}"}).status_code == 303
    assert site.browser(None).get("/", headers={"Cookie": f"{SESSION_COOKIE}={true}"}).status_code == 200


def test_sessions_end_by_time(sites: Callable[..., Site]) -> None:
    site = sites(lifetimes=Lifetimes(idle_ms=3_600_000, longest_ms=7_200_000))
    site.add_user()
    browser = site.browser()
    now_ms = time.time_ns() // 1_000_000
    site.state.execute("UPDATE dashboard_sessions SET seen_ms = ?", (now_ms - 3_500_000,))
    assert browser.get("/").status_code == 200, "not yet, and it is used by that"
    assert site.state.execute("SELECT seen_ms FROM dashboard_sessions")[0][0] >= now_ms
    site.state.execute("UPDATE dashboard_sessions SET seen_ms = ?", (now_ms - 3_700_000,))
    assert browser.get("/").status_code == 303
    assert site.state.execute("SELECT * FROM dashboard_sessions") == []
    browser.log_in()
    site.state.execute("UPDATE dashboard_sessions SET created_ms = ?", (now_ms - 7_300_000,))
    assert browser.get("/").status_code == 303


def test_a_login_ends_the_session_before_it(site: Site) -> None:
    browser = site.browser(None)
    field = browser.form()
    first = site.browser()
    cookies = {SESSION_COOKIE: first.cookies[SESSION_COOKIE], FORM_COOKIE: browser.cookies[FORM_COOKIE]}
    header = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    answer = Browser(site.url).post("/login", data={"csrf": field, "name": USER, "password": PASSWORD}, headers=header)
    assert answer.status_code == 303
    assert first.get("/").status_code == 303, "no session is handed on to whoever logs in"


def test_removing_a_user_ends_all_that_he_has(site: Site) -> None:
    browser, token = site.browser(), site.token()
    listener = Listener(site, "status", token)
    assert listener.next().kind == "hello"
    site.accounts.remove(USER)
    assert browser.get("/").status_code == 303
    assert site.browser(None).get("/api/status", headers=token).status_code == 401
    site.feed._due_s["owners"] = 0.0  # as if half a minute had passed
    until(lambda: site.streams.streams_count == 0)
    assert all(one.kind == "status" for one in listener.events()), "and it has ended"


def test_no_account_yet(sites: Callable[..., Site]) -> None:
    site = sites()
    assert "binmon users add" in site.browser(None).get("/login").text
    site.add_user()
    assert "binmon users add" not in site.browser(None).get("/login").text


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)", "/a\r\nSet-Cookie: x=1", "/\t/evil.example", "", "evil", "/" * 2000],
)  # fmt: skip
def test_no_link_leads_elsewhere_after_the_login(site: Site, wanted: str) -> None:
    browser = site.browser(None)
    page = browser.get("/login", params={"next": wanted})
    assert "evil.example" not in page.text
    assert browser.log_in(next=wanted).headers["Location"] == "/"
