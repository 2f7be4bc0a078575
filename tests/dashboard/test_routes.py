"""What holds for every route: a login is needed, headers are there, nothing leaks."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator

import pytest
import requests
from structlog.testing import capture_logs

from binmon.dashboard import openapi
from binmon.dashboard.access import SESSION_COOKIE
from binmon.dashboard.application import PUBLIC
from binmon.dashboard.headers import SECURITY_HEADERS, is_known_host, local_path
from tests.dashboard.site import USER, Site, candle

PAGES = ["/", "/candles", "/trades", "/book", "/latency", "/symbols", "/settings"]


def routes(site: Site) -> Iterator[tuple[str, str, str]]:
    """Every method of every route, with something in the place of its variables."""
    for rule in site.app.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "1", rule.rule)
        for method in sorted(rule.methods or ()):
            yield method, path, rule.endpoint


def test_every_route_needs_a_login(site: Site) -> None:
    browser, seen = site.browser(None), 0
    for method, path, endpoint in routes(site):
        if endpoint in PUBLIC:
            continue
        answer = browser.request(method, path)
        seen += 1
        if path.startswith("/api/"):
            assert answer.status_code == 401, (method, path)
            if method != "HEAD":
                assert answer.json()["error"]["code"] == "unauthorized"
        else:
            assert answer.status_code == 303, (method, path)
            assert answer.headers["Location"].startswith("/login"), (method, path)
    assert seen > 30
    assert {"pages.login", "pages.log_in", "pages.static", "pages.favicon"} == PUBLIC, "look at it again before adding"
    assert browser.get("/nothing/like/this").headers["Location"].startswith("/login?next="), "nor is told what there is"
    assert browser.get("/api/nothing").status_code == 401


def test_a_token_is_for_the_api_alone(site: Site) -> None:
    token = site.token()
    for path in PAGES:
        assert site.browser(None).get(path, headers=token).status_code == 303
    assert site.browser(None).get("/api/status", headers=token).status_code == 200


def test_every_route_of_the_api_is_in_the_document(site: Site) -> None:
    document = site.browser().get("/api/openapi.json").json()
    described = {
        (method.upper(), path) for path, of in document["paths"].items() for method in of
    }  # fmt: skip
    served = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in site.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
        if rule.rule.startswith("/api/")
    }
    assert served == described
    assert document["openapi"].startswith("3.1")
    for path, of in document["paths"].items():
        for one in of.values():
            assert one["responses"]
            assert {f"{{{p['name']}}}" for p in one["parameters"] if p["in"] == "path"} == set(
                re.findall(r"\{\w+\}", path)
            )


def matches(value: object, schema: object) -> bool:
    """Whether ``value`` is as a schema of ours says; the few words that ours use."""
    assert isinstance(schema, dict)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    python = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "null": type(None),
        "object": dict,
        "array": list,
    }
    if kinds and not any(isinstance(value, python[kind]) for kind in kinds):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, dict):
        known = schema.get("properties")
        if known is not None and (set(value) - set(known) or set(schema["required"]) - set(value)):
            return False
        return all(
            matches(one, (known or {}).get(name, schema.get("additionalProperties", {}))) for name, one in value.items()
        )
    if isinstance(value, list) and "prefixItems" in schema:
        return len(value) == len(schema["prefixItems"]) and all(map(matches, value, schema["prefixItems"]))
    if isinstance(value, list):
        return all(matches(one, schema.get("items", {})) for one in value)
    return True


QUERIES = {
    "/api/candles": "?venue=binance&symbol=BTCUSDT&interval=1m",
    "/api/trades": "?venue=binance&symbol=BTCUSDT",
    "/api/book": "?venue=binance&symbol=BTCUSDT",
}


def test_answers_are_as_the_document_says(site: Site) -> None:
    from binmon.dashboard.sources import Series

    browser = site.browser()
    site.sources.series_of["binance", "BTCUSDT", "1m"] = Series("live", (candle(0), candle(60_000)))
    site.accounts.add_token(USER, "one", 5)
    for one in openapi.OPERATIONS:
        if one.method == "GET" and one.kind == "application/json":
            answer = browser.get(one.path + QUERIES.get(one.path, ""))
            assert answer.status_code == 200, one.path
            assert matches(answer.json(), one.answer), (one.path, answer.json())


def every_answer(site: Site) -> Iterator[requests.Response]:
    """Of everything that can be asked, by one who is logged in and by one who is not, right and wrong."""
    nobody = site.browser(None)
    for method, path, endpoint in routes(site):
        yield nobody.request(method, path)
        if endpoint == "api.stream":
            continue
        browser = site.browser()
        yield browser.request(
            method,
            path + QUERIES.get(path, ""),
            headers=browser.csrf if method not in ("GET", "HEAD", "OPTIONS") else {},
        )
        yield browser.request(method, path + "?venue=x&symbol=%3Cscript%3E&interval=1&limit=z&new=1")
    browser = site.browser()
    for path in (
        "/nothing",
        "/api/nothing",
        "/static/none",
        "/candles?symbol=NOPE",
        "/candles?price=worst",
        "/candles?interval=9m",
    ):
        yield browser.get(path)
    for method in ("TRACE", "PATCH", "PROPFIND"):
        yield browser.request(method, "/")
    for name in ("css/base.css", "js/theme-early.js", "vendor/lightweight-charts.js"):
        yield nobody.get(f"/static/x/{name}")
    yield browser.get("/", headers={"Host": "evil.example"})
    yield browser.post("/logout", data="x" * 100_000)


def test_headers_and_secrets_of_every_answer(site: Site) -> None:
    site.token()
    secrets = {
        str(value)
        for table in ("dashboard_users", "dashboard_tokens", "dashboard_sessions")
        for row in site.state.execute(f"SELECT * FROM {table}")
        for value in row
        if isinstance(value, str) and len(value) > 20
    }
    seen = 0
    for answer in every_answer(site):
        where = (answer.request.method, answer.request.url, answer.status_code)
        seen += 1
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers.get(name) == value, (where, name)
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert "Cache-Control" in answer.headers, where
        if answer.request.path_url.startswith("/static/") and answer.status_code != 404:
            assert "no-store" not in answer.headers["Cache-Control"] or answer.request.method == "OPTIONS", where
        else:
            assert answer.headers["Cache-Control"] == "no-store", where
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Server"] == "binmon"
        text = answer.text + str(answer.headers.get("Location"))
        for secret in secrets:
            assert secret not in text, where
        assert "Traceback" not in text, where
        assert str(site.path) not in text, where
        assert "<script>" not in text.replace("<script></script>", ""), where
    assert seen > 100


def test_secrets_are_in_no_answer_of_the_api(site: Site) -> None:
    """But for the new token, which is shown once."""
    browser = site.browser()
    made = browser.post("/api/tokens", json={"name": "for me"}, headers=browser.csrf)
    assert made.status_code == 201
    token = made.json()["token"]
    session = browser.cookies[SESSION_COOKIE]
    for one in openapi.OPERATIONS:
        if one.method == "GET" and one.kind == "application/json":
            text = browser.get(one.path + QUERIES.get(one.path, "")).text
            assert token not in text
            assert session not in text
    for page in PAGES:
        text = browser.get(page).text
        assert token not in text
        assert session not in text


def test_an_error_of_ours_tells_nothing_but_that_it_is_one(site: Site) -> None:
    site.sources.fails = RuntimeError("the key is abc123")
    answer = site.browser().get("/api/status")
    assert answer.status_code == 500
    assert answer.json() == {"error": {"code": "failed", "message": "this failed; the log of binmon says why"}}
    assert site.browser().get("/").status_code == 200, "and all the rest goes on"


# Files ----------------------------------------------------------------------------------------------------------------


def test_files_are_kept_by_browsers_until_they_change(site: Site) -> None:
    browser = site.browser(None)
    found = re.search(r"/static/(\w+)/css/base\.css", browser.get("/login").text)
    assert found is not None
    answer = browser.get(found[0])
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    other = browser.get("/static/another-tag/css/base.css")
    assert other.content == answer.content
    assert other.headers["Cache-Control"] == "no-cache"
    again = browser.get("/static/another-tag/css/base.css", headers={"If-None-Match": other.headers["ETag"]})
    assert again.status_code == 304
    script = browser.get(f"/static/{found[1]}/vendor/lightweight-charts.js")
    assert script.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert script.headers["Content-Encoding"] == "gzip"
    plain = browser.get(f"/static/{found[1]}/vendor/lightweight-charts.js", headers={"Accept-Encoding": "identity"})
    assert plain.content == script.content


@pytest.mark.parametrize(
    "path",
    [
        "/static/x/../../api.py",
        "/static/x/%2e%2e/%2e%2e/api.py",
        "/static/x//etc/passwd",
        "/static/../accounts.py",
        "/static/x/..%2f..%2fapi.py",
    ],
)
def test_no_file_but_ours_is_given(site: Site, path: str) -> None:
    with socket.create_connection(site.server.address, timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        text = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b" 404 " in text.split(b"\r\n")[0] or b" 303 " in text.split(b"\r\n")[0]
    assert b"import" not in text
    assert b"root:" not in text


@pytest.mark.parametrize("name", ["%00", "x/%00", "css/%00.css", "x" * 256, "x/" + "y" * 5_000, "css/base.css/x"])
def test_a_name_that_no_file_can_have(site: Site, name: str) -> None:
    with capture_logs() as lines:
        answer = site.browser(None).get(f"/static/{name}")
    assert answer.status_code == 404
    assert not [line for line in lines if line["event"] == "dashboard.failed"]


# Hosts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost:8787", True), ("127.0.0.1:8787", True), ("[::1]:8787", True), ("10.1.2.3", True), ("LOCALHOST", True),
        ("binmon.example", True), ("Binmon.Example:443", True), ("evil.example", False), ("", False), ("localhost.evil", False),
        ("binmon.example.evil", False), ("a b", False), ("localhost@evil", False), ("[::1", False), ("x/y", False),
    ],
)  # fmt: skip
def test_only_names_of_ours_are_answered(host: str, known: bool) -> None:
    assert is_known_host(host, ("binmon.example",)) is known


def test_another_name_is_refused_before_anything_else(sites: Callable[..., Site]) -> None:
    site = sites(hosts=("binmon.example",))
    site.add_user()
    browser = site.browser()
    for path in ("/", "/login", "/api/status", "/static/x/css/base.css"):
        assert browser.get(path, headers={"Host": "rebound.example"}).status_code == 400
    assert browser.get("/login", headers={"Host": "binmon.example"}).status_code in (200, 303)


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/book?symbol=X&venue=y", "/book?symbol=X&venue=y"),
        ("/", "/"),
        (None, "/"),
        ("//x", "/"),
        ("/\\x", "/"),
        ("http:/x", "/"),
        ("/a b", "/"),
    ],
)
def test_paths_after_a_login(path: str | None, leads_to: str) -> None:
    assert local_path(path) == leads_to


def test_the_page_data_cannot_break_out_of_its_place(site: Site) -> None:
    site.sources.instruments_of["binance"]["</script><b>"] = site.sources.instruments_of["binance"]["BTCUSDT"]
    text = site.browser().get("/trades", params={"venue": "binance", "symbol": "</script><b>"}).text
    assert "</script><b>" not in text
    found = re.search(r'id="page-data">(.*?)</script>', text)
    assert found is not None
    assert json.loads(found[1])["symbol"] == "</script><b>"
