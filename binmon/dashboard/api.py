"""The API: the views behind the operations of `openapi`."""

from __future__ import annotations

import json
import math
import queue
import time
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify, request

from binmon.dashboard import documents, openapi, settings
from binmon.dashboard.access import Access, visitor
from binmon.dashboard.accounts import AccountRefused
from binmon.dashboard.feed import tops
from binmon.dashboard.hub import Hub
from binmon.dashboard.memory import Memory
from binmon.dashboard.pages import check_book, check_interval, check_symbol
from binmon.dashboard.problems import Refused
from binmon.dashboard.server import OPENING, Opening
from binmon.dashboard.sources import Sources, SymbolEntry
from binmon.dashboard.streams import StreamServer
from binmon.dashboard.topics import Topic, TopicKind
from binmon.messages import BookView

_BOOK_WITHIN_S = 2.0
_MOST_TOPICS = 16  # of one stream
_DEEPEST = 50  # levels of a body: what is deeper can be read, but not written again

Answer = Response | tuple[Response, int]


def make_api(access: Access, sources: Sources, hub: Hub, memory: Memory, streams: StreamServer) -> Blueprint:
    """The routes, one for each entry of `openapi.OPERATIONS`."""
    views = {**_market(sources, hub, memory), **_account(access, streams), **_streams(sources, hub, streams)}
    blueprint = Blueprint("api", __name__)
    for one in openapi.OPERATIONS:
        view = _for_sessions(views[one.name]) if one.session_only else views[one.name]
        blueprint.add_url_rule(one.path, one.name, view, methods=[one.method], provide_automatic_options=False)
    return blueprint


View = Callable[..., Answer]


def _market(sources: Sources, hub: Hub, memory: Memory) -> dict[str, View]:
    def status() -> Answer:
        _, document = sources.health()
        return jsonify(document)

    def venues() -> Answer:
        return jsonify(venues=[documents.venue(one) for one in sources.venues()])

    def symbols() -> Answer:
        venue, limit = request.args.get("venue", ""), _integer("limit", 500, 1, 10_000)
        if venue and venue not in [one.name for one in sources.venues()]:
            raise Refused(404, "unknown_venue", f"unknown venue {venue[:40]!r}")
        search = request.args.get("search", "").strip().upper()[:40]
        as_of_ms = _now_ms()  # before the list is read: what is listed meanwhile must not count as looked at
        fresh = sources.new_symbols(visitor().user)
        new = {(one.venue, one.symbol) for one in fresh}
        only_new = request.args.get("new", "") not in ("", "0")
        entries = [
            one
            for one in (fresh if only_new else sources.symbols())
            if (not venue or one.venue == venue)
            and (not search or search in one.symbol.upper() or search in (one.base.upper(), one.quote.upper()))
        ]
        entries.sort(key=_order(sources, search))
        rows = [documents.symbol(one, new=(one.venue, one.symbol) in new) for one in entries[:limit]]
        return jsonify(symbols=rows, new_count=len(fresh), total=len(entries), as_of_ms=as_of_ms)

    def symbols_seen() -> Answer:
        user, now_ms = visitor().user, _now_ms()
        data = request.get_data(cache=False)
        sources.looked(user, _until_ms(_parsed_object(data), now_ms) if data else now_ms)
        return jsonify(new_count=len(sources.new_symbols(user)))

    def candles() -> Answer:
        venue, symbol = _market_of(sources)
        interval, limit = _text("interval"), _integer("limit", 500, 1, 5_000)
        check_interval(sources, venue, interval)
        _look(hub, Topic(TopicKind.CANDLES, venue, symbol, interval))
        key = (venue, symbol, interval)
        return jsonify(documents.series(key, sources.series(key), limit))

    def trades() -> Answer:
        venue, symbol = _market_of(sources)
        limit = _integer("limit", 100, 1, 1_000)
        _look(hub, Topic(TopicKind.TRADES, venue, symbol))
        before = sources.recent_trades(venue, symbol)
        found = memory.trades((venue, symbol), before, limit)
        return jsonify(venue=venue, symbol=symbol, trades=[documents.trade(one) for one in found])

    def book() -> Answer:
        venue, symbol = _market_of(sources)
        levels = _integer("levels", 100, 1, 5_000)
        check_book(sources, venue, symbol)
        answers: queue.SimpleQueue[BookView | None] = queue.SimpleQueue()
        view = None
        if sources.ask_book(venue, symbol, levels, answers.put):
            try:
                view = answers.get(timeout=_BOOK_WITHIN_S)
            except queue.Empty:
                view = None
        if view is None:
            raise Refused(503, "behind", "the book cannot be looked at now", headers={"Retry-After": "1"})
        return jsonify(documents.book(view))

    def all_tops() -> Answer:
        return jsonify(tops=tops(memory, sources, time.monotonic()))

    def latency() -> Answer:
        since_s = _integer("since_s", 86_400, 1, 31_536_000)
        return jsonify(documents.delays(sources.delays(time.time_ns() - since_s * 10**9)))

    def alerts() -> Answer:
        return jsonify(alerts=[documents.alert(one) for one in memory.alerts(_integer("limit", 100, 1, 500))])

    return {
        "status": status,
        "venues": venues,
        "symbols": symbols,
        "symbols_seen": symbols_seen,
        "candles": candles,
        "trades": trades,
        "book": book,
        "tops": all_tops,
        "latency": latency,
        "alerts": alerts,
        "openapi": lambda: jsonify(openapi.document()),
    }


def _account(access: Access, streams: StreamServer) -> dict[str, View]:
    accounts = access.accounts

    def get_settings() -> Answer:
        return jsonify(accounts.settings(visitor().user))

    def keep_settings() -> Answer:
        document = _json_object(settings.LARGEST)
        accounts.keep_settings(visitor().user, document)
        return jsonify(document)

    def change_settings() -> Answer:
        changes = _json_object(settings.LARGEST)
        return jsonify(accounts.change_settings(visitor().user, lambda kept: settings.merged(kept, changes)))

    def tokens() -> Answer:
        rows = [
            {"id": one.id, "name": one.name, "created_ms": one.created_ms, "last_used_ms": one.used_ms}
            for one in accounts.tokens(visitor().user)
        ]
        return jsonify(tokens=rows)

    def add_token() -> Answer:
        name = _member(_json_object(), "name", 100)
        try:
            token, text = accounts.add_token(visitor().user, name, _now_ms())
        except AccountRefused as error:
            raise Refused(409, "too_many", str(error)) from None
        return jsonify(id=token.id, name=token.name, created_ms=token.created_ms, token=text), 201

    def revoke_token(token_id: int) -> Answer:
        # a larger number is none of SQLite's
        if token_id >= 1 << 63 or not accounts.revoke_token(visitor().user, token_id):
            raise Refused(404, "unknown_token", "you have no token with this id")
        streams.end(frozenset([f"token:{token_id}"]))
        return jsonify(revoked=token_id)

    def password() -> Answer:
        who, document = visitor(), _json_object()
        assert who.session is not None  # the operation is for sessions only
        current, new = _member(document, "current", 1000), _member(document, "new", 1000)
        if not access.password_is_right(who.user, current):
            raise Refused(400, "wrong_password", "the current password is not right")
        try:
            accounts.change_password(who.session, new, _now_ms())
        except AccountRefused as error:
            raise Refused(400, "weak_password", str(error)) from None
        others = {one.key for one in streams.owners() if one.user == who.user and one.key.startswith("session:")}
        streams.end(frozenset(others - {who.owner.key}))
        return jsonify(changed=True)

    return {
        "settings": get_settings,
        "keep_settings": keep_settings,
        "change_settings": change_settings,
        "tokens": tokens,
        "add_token": add_token,
        "revoke_token": revoke_token,
        "password": password,
    }


def _streams(sources: Sources, hub: Hub, streams: StreamServer) -> dict[str, View]:
    def stream() -> Answer:
        topics = frozenset(_topic(one) for one in _text("topics").split(",") if one)
        if not 1 <= len(topics) <= _MOST_TOPICS:
            raise Refused(400, "bad_topics", f"expected 1 to {_MOST_TOPICS} topics, got {len(topics)}")
        for one in topics:
            if one.venue:
                check_symbol(sources, one.venue, one.symbol)
            if one.kind is TopicKind.CANDLES:
                check_interval(sources, one.venue, one.interval)
            if one.kind is TopicKind.BOOK:
                check_book(sources, one.venue, one.symbol)
        answer = Response(content_type="text/event-stream; charset=utf-8")
        answer.headers["X-Accel-Buffering"] = "no"  # nginx hands on what it gets at once
        if request.method == "HEAD":
            return answer
        _admit(hub, topics)
        place = streams.reserve(visitor().owner)
        if place is None:
            raise Refused(
                429, "too_many_streams", "too many streams are open: close another page", headers={"Retry-After": "10"}
            )
        # the web server hands the connection over once the head of the answer is known; the body comes from elsewhere
        request.environ[OPENING] = Opening(streams, place, topics, _seen_id())
        return answer

    return {"stream": stream}


def _for_sessions(view: View) -> View:
    """A token must not make tokens, or change the password: who has stolen one could keep the account with that."""

    def checked(**values: Any) -> Answer:
        if visitor().session is None:
            raise Refused(403, "session_needed", "this needs a login: a token is not enough")
        return view(**values)

    return checked


# Parameters -----------------------------------------------------------------------------------------------------------


def _text(name: str) -> str:
    found = request.args.get(name, "")
    if not found:
        raise Refused(400, "missing", f"expected the parameter {name}")
    return found


def _integer(name: str, default: int, least: int, most: int) -> int:
    text = request.args.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise Refused(400, "bad_parameter", f"{name}: expected a number from {least} to {most}")
    return int(text)


def _market_of(sources: Sources) -> tuple[str, str]:
    venue, symbol = _text("venue"), _text("symbol")
    check_symbol(sources, venue, symbol)
    return venue, symbol


def _order(sources: Sources, search: str) -> Callable[[SymbolEntry], tuple[bool, ...]]:
    """What a search most likely means comes first; all else stays in its order. ``search`` is in capitals."""
    venue, _, symbol = request.args.get("beside", "").partition(":")
    beside = sources.instruments(venue).get(symbol)
    quote = "" if beside is None else beside.quote

    def key(one: SymbolEntry) -> tuple[bool, ...]:
        name = one.symbol.upper()
        return (
            name != search,
            one.status == "DELISTED",
            one.venue != venue,
            one.base.upper() != search,
            not name.startswith(search),
            one.quote != quote,
        )

    return key


def _topic(text: str) -> Topic:
    try:
        return Topic.parse(text)
    except ValueError as error:
        raise Refused(400, "bad_topics", str(error)) from None


def _look(hub: Hub, topic: Topic) -> None:
    _admit(hub, frozenset([topic]))
    hub.look([topic])


def _admit(hub: Hub, topics: frozenset[Topic]) -> None:
    if not hub.admits(topics):
        raise Refused(429, "too_much", "too many markets are looked at", headers={"Retry-After": "60"})


def _seen_id() -> int | None:
    text = request.headers.get("Last-Event-ID") or request.args.get("last_event_id", "")
    if not text:
        return None
    # what is no id of ours is one of which nothing is known
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _json_object(most_bytes: int = 1 << 16) -> dict[str, Any]:
    return _parsed_object(request.get_data(cache=False), most_bytes)


def _parsed_object(data: bytes, most_bytes: int = 1 << 16) -> dict[str, Any]:
    """The object of a body. Raises Refused for all that is none, or that could not be kept or sent again as it is."""
    if len(data) > most_bytes:
        raise Refused(413, "too_large", f"expected at most {most_bytes} bytes")
    try:
        document = json.loads(data, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise Refused(400, "not_json", "expected a JSON object") from None
    if not isinstance(document, dict):
        raise Refused(400, "not_json", "expected a JSON object")
    _check(document)
    return document


def _no_constant(name: str) -> None:
    raise Refused(400, "not_json", f"expected a JSON object, and {name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Refused(400, "bad_number", f"expected finite numbers, and {text[:40]} is too large for one")
    return value


def _check(document: dict[str, Any]) -> None:
    """Raise Refused for text that is no Unicode (JSON can write half of a surrogate pair), and for too many levels."""
    waiting: list[tuple[Any, int]] = [(document, 1)]
    while waiting:
        value, level = waiting.pop()
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Refused(400, "bad_text", "expected Unicode text: it has half of a surrogate pair") from None
        elif isinstance(value, (dict, list)):
            if level > _DEEPEST:
                raise Refused(400, "too_deep", f"expected at most {_DEEPEST} levels of lists and objects")
            inner = [*value, *value.values()] if isinstance(value, dict) else value
            waiting.extend((one, level + 1) for one in inner)


def _until_ms(document: dict[str, Any], now_ms: int) -> int:
    """The time of ``until_ms``, at most now; now without one."""
    value = document.get("until_ms", now_ms)
    # a truth value is an int of Python, but no number of JSON
    if set(document) - {"until_ms"} or not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Refused(400, "bad_member", "expected until_ms alone: milliseconds UTC, a whole number from 0 on")
    return min(value, now_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _member(document: dict[str, Any], name: str, longest: int) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= longest:
        raise Refused(400, "bad_member", f"{name}: expected a text of 1 to {longest} characters")
    return value
