"""The pages: shells that our own scripts fill from the API, and the login."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from flask import Blueprint, Response, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as WerkzeugResponse

from binmon.dashboard.access import Access, visitor
from binmon.dashboard.assets import Assets
from binmon.dashboard.headers import local_path
from binmon.dashboard.problems import Refused
from binmon.dashboard.sources import Sources
from binmon.dashboard.streams import StreamServer

Answer = Response | WerkzeugResponse

_PRICES = ("close", "open", "high", "low")
_FOREVER = "public, max-age=31536000, immutable"


def check_symbol(sources: Sources, venue: str, symbol: str) -> None:
    """Raise Refused, with what was perhaps meant, for a symbol or a venue that is not there."""
    names = [one.name for one in sources.venues()]
    if venue not in names:
        expected = ", ".join(names) or "none is connected"
        raise Refused(404, "unknown_venue", f"unknown venue {_shown(venue)}: expected one of {expected}")
    listed = sources.instruments(venue)
    if symbol not in listed:
        near = difflib.get_close_matches(symbol.upper()[:40], listed, n=5, cutoff=0.5)
        hint = f": did you mean {' or '.join(near[:3])}?" if near else ""
        if not listed:
            raise Refused(
                503, "not_yet", f"{venue} has not said yet which symbols it lists", headers={"Retry-After": "5"}
            )
        raise Refused(404, "unknown_symbol", f"{venue} lists no symbol {_shown(symbol)}{hint}", near=near)


def check_interval(sources: Sources, venue: str, interval: str) -> None:
    """Raise Refused for an interval that the venue's candles do not have."""
    valid = next((one.intervals for one in sources.venues() if one.name == venue), ())
    if interval not in valid:
        expected = f"expected one of {', '.join(valid)}" if valid else "binmon follows no candles there"
        raise Refused(404, "unknown_interval", f"{venue} has no candles of {_shown(interval)}: {expected}")


def why_no_book(sources: Sources, venue: str, symbol: str) -> str:
    """That a book is not kept, and what to do about it; empty for one that is kept."""
    if (venue, symbol) in sources.book_states():
        return ""
    # no key is named: it may be books.symbols, or the symbols of an entry of books.venue
    return f"the book of {venue} {symbol} is not kept: add it to the books of {venue} in the configuration"


def check_book(sources: Sources, venue: str, symbol: str) -> None:
    """Raise Refused for a book that is not kept."""
    reason = why_no_book(sources, venue, symbol)
    if reason:
        raise Refused(404, "no_book", reason)


def _shown(text: str) -> str:
    return repr(text[:40])


def _usual(interval: str, of_venue: Sequence[str]) -> str:
    """What to show where nobody has asked for an interval: this one, unless the venue has others only."""
    if not of_venue or interval in of_venue:
        return interval
    return "1m" if "1m" in of_venue else of_venue[0]


def make_pages(access: Access, sources: Sources, streams: StreamServer, assets: Assets) -> Blueprint:
    """The routes."""
    pages = Blueprint("pages", __name__)

    def page(name: str, **more: Any) -> str:
        who = visitor()
        assert who.session is not None  # tokens are for the API
        data = {"page": name, "csrf": who.session.csrf, "user": who.user, **more}
        return render_template(f"{name}.html", page=name, page_data=data, **more)

    def chosen(kind: str) -> dict[str, Any]:
        """What the query asks for, or the first of the configuration."""
        favourite = sources.favourite(kind)
        venue = request.args.get("venue") or (favourite[0] if favourite else "")
        symbol = request.args.get("symbol") or (favourite[1] if favourite and venue == favourite[0] else "")
        if not symbol and venue:
            symbol = next(iter(sources.instruments(venue)), "")
        if venue or symbol:
            check_symbol(sources, venue, symbol)
        intervals = next((list(one.intervals) for one in sources.venues() if one.name == venue), [])
        interval = request.args.get("interval") or _usual((favourite[2] if favourite else "") or "1m", intervals)
        return {"venue": venue, "symbol": symbol, "interval": interval, "intervals": intervals}

    @pages.get("/")
    def overview() -> str:
        return page("overview")

    @pages.get("/candles")
    def candles() -> str:
        found = chosen("candles")
        if found["intervals"]:
            check_interval(sources, found["venue"], found["interval"])
        price = request.args.get("price", "close")
        if price not in _PRICES:
            raise Refused(
                404, "unknown_price", f"a candle has no price {_shown(price)}: expected one of {', '.join(_PRICES)}"
            )
        return page("candles", **found, price=price, prices=_PRICES)

    @pages.get("/trades")
    def trades() -> str:
        return page("trades", **chosen("trades"))

    @pages.get("/book")
    def book() -> str:
        found = chosen("book")
        refusal = why_no_book(sources, found["venue"], found["symbol"]) if found["symbol"] else ""
        return page("book", **found, refusal=refusal)  # a page all the same: it shows the book once it is kept

    @pages.get("/latency")
    def latency() -> str:
        return page("latency")

    @pages.get("/symbols")
    def symbols() -> str:
        return page("symbols")

    @pages.get("/settings")
    def settings() -> str:
        return page("settings")

    # Login --------------------------------------------------------------------------------------------------------

    def login_form(status: int = 200, problem: str = "", user: str = "") -> Response:
        browser = access.forms.new_browser()
        field = access.new_login_field(browser)
        answer = make_response(
            render_template(
                "login.html",
                page="login",
                csrf=field,
                next=local_path(request.values.get("next")),
                error=problem,
                name=user[:64],
                no_accounts=not access.accounts.exist(),
                page_data={"page": "login"},
            ),
            status,
        )
        access.new_form(answer, browser)
        return answer

    @pages.get("/login")
    def login() -> Answer:
        if access.recognise() is not None:
            return redirect(local_path(request.args.get("next")), 303)
        return login_form()

    @pages.post("/login")
    def log_in() -> Answer:
        user = request.form.get("name", "")
        try:
            access.check_form(request)
            right = access.password_is_right(user, request.form.get("password", ""))
        except Refused as refused:
            answer = login_form(refused.status, refused.message, user)
            answer.headers.update(refused.headers)
            return answer
        if not right:
            return login_form(403, "wrong name or password", user)
        before = access.recognise()
        if before is not None and before.session is not None:
            access.accounts.close_session(before.session.key)
        answer = make_response(redirect(local_path(request.form.get("next")), 303))
        access.log_in(answer, user)
        return answer

    @pages.post("/logout")
    def logout() -> Response:
        who = visitor()
        answer = make_response(redirect("/login", 303))
        if who.session is not None:
            access.log_out(answer, who.session)
            streams.end(frozenset([who.owner.key]))
        return answer

    @pages.get("/favicon.ico")
    def favicon() -> Answer:
        return redirect(assets.url("img/favicon.svg"))

    # Files --------------------------------------------------------------------------------------------------------

    @pages.get("/static/<path:name>")
    def static(name: str) -> Answer:
        tag, _, rest = name.partition("/")
        found = assets.get(rest) if rest else None
        is_lasting = found is not None and tag == assets.tag and not assets.reloads
        found = found or assets.get(name)
        if found is None:
            raise Refused(404, "no_such_file", "there is no such file")
        packed = found.packed if "gzip" in request.headers.get("Accept-Encoding", "") else None
        answer = Response(found.content if packed is None else packed, content_type=found.kind)
        if packed is not None:
            answer.headers["Content-Encoding"] = "gzip"
        answer.vary.add("Accept-Encoding")
        answer.set_etag(found.tag + ("-gzip" if packed is not None else ""))
        answer.headers["Cache-Control"] = _FOREVER if is_lasting else "no-cache"
        return answer.make_conditional(request)

    return pages


def near_links(near: Iterable[str], venue: str) -> list[dict[str, str]]:
    """Links to the same page with symbols that were perhaps meant."""
    more = {name: value for name, value in request.args.items() if name in ("interval", "price")}
    return [
        {
            "venue": venue,
            "symbol": symbol,
            "url": f"{quote(request.path)}?{urlencode({'venue': venue, 'symbol': symbol, **more})}",
        }
        for symbol in near
    ]
