"""HTTP with the weight ledger in front and our error tree behind; nothing of requests is raised to a caller."""

from __future__ import annotations

import json
import math
import re
import threading
import urllib.parse
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

import msgspec
import requests
import urllib3

from binmon.errors import Banned, NotSent, RateLimited, RequestRefused, VenueFailed, VenueUnreachable
from binmon.messages import Priority
from binmon.net.ledger import DEFAULT_BANNED_S, DEFAULT_LIMITED_S, ORDERS, REQUEST_WEIGHT, RateLedger
from binmon.net.patience import Departure, Patience, PatientAdapter

T = TypeVar("T")

USED_WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"
ORDER_COUNT_HEADER = "x-mbx-order-count-"  # then the interval: 10S, 1D
FIREWALL_S = 120.0  # 403: the firewall names no time; Binance Spot advises minutes
TOO_MANY_ORDERS = -1015
_TEXT_KEPT = 200  # characters of an error body that is not JSON
_JSON_BEGINS = frozenset(b'{["-0123456789tfn')
# what no library between us and the wire rewrites; the hexadecimal digits of an escape must be capitals
_UNTOUCHED = re.compile(r"(?:[A-Za-z0-9\-._~!$'()*+,;:@/?&=]|%[0-9A-F]{2})*")
_SIGNATURE = re.compile(r"(?:^|&)signature=([^&]*)")
_IN_BODY = frozenset(["POST", "PUT"])


@dataclass(frozen=True, slots=True)
class Letter:
    """A request that is signed in its headers: ``query`` (without ``?``) and ``body`` leave exactly as they are, the body
    as JSON. None: no body at all."""

    query: str = ""
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusals:
    """How a venue means the statuses with which it turns requests away; the defaults are those of Binance Spot.

    ``limited_s`` is how long a 429 lasts that names no time, ``forbidden_s`` a 403. ``forbidden_bans``: a 403 means that
    the address is banned, as a 418 does.
    """

    limited_s: float = DEFAULT_LIMITED_S
    forbidden_s: float = FIREWALL_S
    forbidden_bans: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Failure:
    """No whole answer: what to tell the caller, and what was behind it."""

    error: VenueUnreachable | VenueFailed
    cause: BaseException | None


class RestSession:
    """Requests to one venue. Any number of threads may share it: each gets a connection pool of its own,
    because requests does not promise that a session may be used by two threads at once.

    Never retries by itself: who asks knows whether the answer is still wanted.
    """

    def __init__(
        self,
        venue: str,
        base_url: str,
        ledger: RateLedger,
        *,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 10.0,
        total_timeout_s: float = 30.0,
        headers: Mapping[str, str] | None = None,
        trust_env: bool = False,
        refusals: Refusals | None = None,
    ) -> None:
        """``read_timeout_s`` is the longest pause between two reads of an answer, ``total_timeout_s`` the longest from
        the sending to the end of the answer. ``trust_env`` lets requests look for proxies and ``.netrc`` in the
        environment; off, as a stray variable must not reroute us."""
        self.venue = venue
        self.base_url = base_url.rstrip("/")
        self._ledger = ledger
        self._timeouts_s, self._total_timeout_s = (connect_timeout_s, read_timeout_s), total_timeout_s
        self._headers = dict(headers or {})
        self._trust_env = trust_env
        self._refusals = refusals or Refusals()
        self._of_thread = threading.local()
        self._lock = threading.Lock()  # guards _sessions
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()

    def limited(self, error: RateLimited) -> None:
        """A venue said so in the body of an answer: everyone waits, as after a 429."""
        self._ledger.limited(error.retry_after_s, self._ledger.clock(), error.scope)

    def get(
        self, path: str, params: Mapping[str, str], weight: int, priority: Priority, stop: threading.Event
    ) -> bytes:
        """The body of the answer to GET ``path``.

        Waits for ``weight`` in the ledger first (until ``stop``). Raises VenueUnreachable (no connection, no answer
        in time or before ``stop``), VenueFailed (5xx, a truncated body, something that is not JSON), RateLimited (429,
        403, or the ledger), Banned (418) and RequestRefused (other 4xx).
        """
        url = self.base_url + path
        self._ledger.acquire(weight, priority, stop)

        def prepare(session: requests.Session) -> requests.PreparedRequest:
            return session.prepare_request(requests.Request("GET", url, params=dict(params)))

        answer = self._exchange(url, prepare, weight, stop)
        if isinstance(answer, _Failure):
            raise answer.error from answer.cause
        return self._content(url, answer)

    def send(
        self,
        method: str,
        path: str,
        query: Callable[[], str | Letter] | str,
        weight: int,
        priority: Priority,
        stop: threading.Event,
        *,
        headers: Mapping[str, str] | None = None,
        departure: Departure | None = None,
        free_on_success: bool = False,
        hidden: Sequence[str] = (),
        max_wait_s: float | None = None,
        heard: Callable[[Mapping[str, str]], None] | None = None,
    ) -> bytes:
        """The body of the answer to a request whose every byte counts, because it is signed.

        ``query`` is made when the wait for weight is over, so that its timestamp is fresh, and leaves exactly as it is:
        a text as a form in the body of POST and PUT, else in the address; a `Letter` as it says. ``departure`` is told
        right before the first byte is written, the connection standing; what it raises keeps the request back.
        ``free_on_success``: the venue takes no weight for it when it succeeds (Binance Spot, orders). ``max_wait_s`` is
        how long it may wait for its weight (None: as long as any). ``heard`` is told the headers of an answer, whatever
        its status.

        Raises what ``get`` raises. NotSent, RateLimited, Banned and RequestRefused say that it was certainly not
        executed; VenueFailed and any other VenueUnreachable that it may have been. No error holds the query, its
        signature, or a text of ``hidden``, not even where the answer quotes it.
        Raises ValueError for a query that something on the way would rewrite.
        """
        url = self.base_url + path
        self._ledger.acquire(weight, priority, stop, max_wait_s=max_wait_s)
        extra = dict(headers or {})
        secrets = list(hidden)

        def prepare(session: requests.Session) -> requests.PreparedRequest:
            made = query() if callable(query) else query
            text = made.query if isinstance(made, Letter) else made
            if not _UNTOUCHED.fullmatch(text):
                raise ValueError("a query that would not leave as it is: encode it first")
            if signature := _SIGNATURE.search(text):
                secrets.extend([signature[1], urllib.parse.unquote(signature[1])])
            if isinstance(made, Letter):
                extra.update(made.headers)
                if made.body is not None:
                    extra["Content-Type"] = "application/json"
            elif method in _IN_BODY:
                extra["Content-Type"] = "application/x-www-form-urlencoded"
                request = requests.Request(method, url, headers=extra, data=text.encode("ascii"))
                return session.prepare_request(request)
            body = made.body if isinstance(made, Letter) else None
            prepared = session.prepare_request(requests.Request(method, url, headers=extra, data=body))
            prepared.url = f"{url}?{text}" if text else url  # put there last, so that nobody encodes it again
            return prepared

        answer = self._exchange(url, prepare, weight, stop, departure, free_on_success, secrets)
        if isinstance(answer, _Answer) and heard is not None:
            heard(answer.headers)
        if isinstance(answer, _Failure):
            raise answer.error  # on its own: what is behind it holds the request, with its address and headers
        return self._content(url, answer, secrets)

    def get_json(
        self,
        path: str,
        params: Mapping[str, str],
        weight: int,
        priority: Priority,
        stop: threading.Event,
        decode: Callable[[bytes], T],
    ) -> T:
        """``get``, then ``decode`` of the body; a body that does not decode raises VenueFailed."""
        body = self.get(path, params, weight, priority, stop)
        try:
            return decode(body)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise VenueFailed(self.base_url + path, 200, f"unreadable: {_first_line(error)}") from error

    def close(self) -> None:
        """Close the connections of all threads. A request under way may fail with VenueUnreachable."""
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.close()

    def _exchange(
        self,
        url: str,
        prepare: Callable[[requests.Session], requests.PreparedRequest],
        weight: int,
        stop: threading.Event,
        departure: Departure | None = None,
        free_on_success: bool = False,
        hidden: Sequence[str] = (),
    ) -> _Answer | _Failure:
        """One request and its whole answer. ``weight`` was acquired; it is settled here, whatever happens."""
        session, patience = self._of_this_thread()
        reserved_s = self._ledger.clock()
        used: int | None = None
        answer: _Answer | _Failure | None = None
        patience.begin(self._total_timeout_s, stop, departure)
        try:
            prepared = prepare(session)
            settings = session.merge_environment_settings(prepared.url, {}, True, None, None)
            with session.send(prepared, timeout=self._timeouts_s, allow_redirects=False, **settings) as response:
                used = _whole_number(response.headers.get(USED_WEIGHT_HEADER))
                self._take_order_counts(response.headers)
                answer = _Answer(response.status_code, response.headers, self._body(url, response))
        except requests.Timeout as error:
            reason = patience.ended_by or f"no answer in time ({type(error).__name__})"
            answer = _Failure(_unreachable(patience, url, reason), error)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            reason = patience.ended_by or _masked(_root(error), hidden)
            answer = _Failure(_unreachable(patience, url, reason), error)
        except VenueFailed as error:
            answer = _Failure(VenueFailed(error.url, error.status, _masked(error.reason, hidden)), error.__cause__)
        finally:
            free = free_on_success and isinstance(answer, _Answer) and answer.status == 200
            self._ledger.settle(weight, used, self._ledger.clock(), reserved_s=reserved_s, free=free)
        return answer

    def _content(self, url: str, answer: _Answer, hidden: Sequence[str] = ()) -> bytes:
        """The body of a 200 with JSON; raises for everything else."""
        body = answer.body
        if answer.status == 200 and body.lstrip()[:1] and body.lstrip()[0] in _JSON_BEGINS:
            return body
        # an error page may quote the request that it is about
        body = _masked(body.decode("utf-8", "replace"), hidden).encode()
        if answer.status != 200:
            self._refuse(url, answer.status, answer.headers, body)
        raise VenueFailed(url, 200, f"not JSON: {_text(body)}")

    def _of_this_thread(self) -> tuple[requests.Session, Patience]:
        """The session of this thread, and how long its requests may take."""
        known: tuple[requests.Session, Patience] | None = getattr(self._of_thread, "known", None)
        if known is None:
            session, patience = requests.Session(), Patience()
            session.trust_env = self._trust_env
            session.headers.update(self._headers)
            adapter = PatientAdapter(patience)
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            known = self._of_thread.known = (session, patience)
            with self._lock:
                self._sessions.add(session)
        return known

    def _take_order_counts(self, headers: Mapping[str, str]) -> None:
        """Tell the ledger how many orders the venue counts; only answers to orders say so."""
        for name, text in headers.items():
            if name.lower().startswith(ORDER_COUNT_HEADER) and (count := _whole_number(text)) is not None:
                self._ledger.orders_used(name[len(ORDER_COUNT_HEADER) :].upper(), count, self._ledger.clock())

    def _body(self, url: str, response: requests.Response) -> bytes:
        """All of the body, or VenueFailed when the connection gave less than it promised."""
        try:
            body = response.content
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
            raise VenueFailed(url, response.status_code, f"a broken body: {_first_line(error)}") from error
        promised = _whole_number(response.headers.get("Content-Length"))
        # an encoded body has another length than its content
        if promised is not None and "Content-Encoding" not in response.headers and promised != len(body):
            raise VenueFailed(url, response.status_code, f"a truncated body: {len(body)} of {promised} bytes")
        return body

    def _refuse(self, url: str, status: int, headers: Mapping[str, str], body: bytes) -> NoReturn:
        """Everything but 200. Binance Spot, HTTP return codes; where another venue differs, `Refusals` says so."""
        retry_after = headers.get("Retry-After")
        code, message = _code_and_message(body)
        now_s = self._ledger.clock()
        if status == 429:
            wait_s = _seconds(retry_after, self._refusals.limited_s)
            scope = ORDERS if code == TOO_MANY_ORDERS else REQUEST_WEIGHT
            self._ledger.limited(wait_s, now_s, scope)
            raise RateLimited(scope, wait_s)
        if status == 418:
            wait_s = _seconds(retry_after, DEFAULT_BANNED_S)
            self._ledger.banned(wait_s, now_s)
            raise Banned(wait_s)
        if status == 403:
            wait_s = _seconds(retry_after, self._refusals.forbidden_s)
            if self._refusals.forbidden_bans:
                self._ledger.banned(wait_s, now_s)
                raise Banned(wait_s)
            self._ledger.limited(wait_s, now_s, "WAF")
            raise RateLimited("WAF", wait_s)
        if 400 <= status < 500:
            raise RequestRefused(url, status, code, message)
        # a redirect, or a success without content, is as little an answer as a server error
        raise VenueFailed(url, status, message)


def _unreachable(patience: Patience, url: str, reason: str) -> VenueUnreachable:
    return VenueUnreachable(url, reason) if patience.departed else NotSent(url, reason)


def _masked(text: str, hidden: Sequence[str]) -> str:
    """``text`` without secrets."""
    for secret in filter(None, hidden):
        text = text.replace(secret, "***")
    return text


def _code_and_message(body: bytes) -> tuple[int | None, str]:
    """``code`` and ``msg`` of an error body (Bybit: ``retCode``, ``retMsg``); (None, the text) when it is not the venue's
    JSON."""
    try:
        content = json.loads(body)
    except ValueError:
        return None, _text(body)
    if not isinstance(content, dict):
        return None, _text(body)
    code, message = content.get("code", content.get("retCode")), content.get("msg", content.get("retMsg"))
    if not isinstance(message, str):
        return None, _text(body)
    return code if isinstance(code, int) else None, message


def _text(body: bytes) -> str:
    """The beginning of a body as one line, for a message."""
    return " ".join(body[: 4 * _TEXT_KEPT].decode("utf-8", "replace").split())[:_TEXT_KEPT] or "empty"


def _root(error: BaseException) -> str:
    """What really happened, below the layers of requests and urllib3 that wrap it."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.strerror and not isinstance(error, requests.RequestException):
            return error.strerror
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
        if not isinstance(inner, BaseException):
            inner = next((argument for argument in error.args if isinstance(argument, BaseException)), None)
        if inner is None:
            break
        error = inner
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:_TEXT_KEPT]


def _whole_number(text: str | None) -> int | None:
    """A header that should be digits; None when it is missing or something else."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else None


def _seconds(text: str | None, default_s: float) -> float:
    """Retry-After in seconds; the default when it is missing, a date, or senseless."""
    try:
        seconds = float(text) if text is not None else default_s
    except ValueError:
        return default_s
    return seconds if math.isfinite(seconds) and seconds >= 0 else default_s
