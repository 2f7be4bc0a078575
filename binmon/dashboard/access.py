"""Who may: the checks that every request goes through before any view sees it, and the login."""

from __future__ import annotations

import hmac
import threading
import time
from dataclasses import dataclass

import structlog
from flask import Request, Response, g, request

from binmon.dashboard import headers
from binmon.dashboard.accounts import TOKEN_PREFIX, Accounts, Session
from binmon.dashboard.attempts import LoginAttempts
from binmon.dashboard.forms import VALID_FOR_S, LoginForms
from binmon.dashboard.problems import Refused
from binmon.dashboard.streams import Owner

log = structlog.get_logger("binmon.dashboard")

SESSION_COOKIE, FORM_COOKIE = "binmon_session", "binmon_form"
LARGEST_FORM = 64 << 10
_SAFE = ("GET", "HEAD", "OPTIONS")
_MOST_WAITING = 4  # logins that wait for the one that is looked at
_LONGEST_NAME, _LONGEST_PASSWORD = 64, 256


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: by a ``session``, or by the token with id ``token_id``."""

    user: str
    session: Session | None
    token_id: int | None

    @property
    def owner(self) -> Owner:
        """As the streams know it."""
        key = f"session:{self.session.key}" if self.session is not None else f"token:{self.token_id}"
        return Owner(self.user, key)


def visitor() -> Visitor:
    """Who asks. Only where the checks have let the request through."""
    found: Visitor = g.visitor
    return found


def is_api() -> bool:
    """Whether the request is for the API, so that its answer is JSON."""
    return request.path == "/api" or request.path.startswith("/api/")


class Access:
    """The checks. ``hosts`` are names of ours beside localhost."""

    def __init__(self, accounts: Accounts, hosts: tuple[str, ...] = ()) -> None:
        self.accounts, self._hosts = accounts, hosts
        self.forms = LoginForms()
        self._attempts = LoginAttempts()
        self._one_login = threading.Lock()  # guards _attempts, and lets one password be checked at a time
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)

    # Every request ------------------------------------------------------------------------------------------------

    def check_request(self) -> None:
        """What holds for everybody. Raises Refused."""
        if not headers.is_known_host(request.headers.get("Host", ""), self._hosts):
            raise Refused(400, "unknown_host", "this is not the name of this server: add it to dashboard.hosts")
        if (request.content_length or 0) > LARGEST_FORM:
            raise Refused(413, "too_large", f"expected at most {LARGEST_FORM} bytes")

    def recognise(self) -> Visitor | None:
        """Who asks; None: nobody we know."""
        now_ms = time.time_ns() // 1_000_000
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            found = self.accounts.user_of_token(token.strip(), now_ms) if token.startswith(TOKEN_PREFIX) else None
            return None if found is None else Visitor(found[0], None, found[1])
        cookie = request.cookies.get(SESSION_COOKIE, "")
        session = self.accounts.session(cookie, now_ms) if 20 < len(cookie) < 100 else None
        return None if session is None else Visitor(session.user, session, None)

    def check_change(self, who: Visitor) -> None:
        """Whether a request that changes something comes from our own page. Raises Refused."""
        if request.method in _SAFE or who.session is None:
            return
        self.check_origin()
        given = request.headers.get("X-CSRF-Token") or request.form.get("csrf", "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), who.session.csrf.encode()):
            raise Refused(403, "forged", "this form is not of your session: load the page anew and try again")

    @staticmethod
    def check_origin() -> None:
        """Raises Refused for a form of another site."""
        if not headers.is_same_origin(request.headers.get("Origin"), request.host):
            raise Refused(403, "forged", "this form comes from another site")

    # Login --------------------------------------------------------------------------------------------------------

    def new_login_field(self, browser: str) -> str:
        """The hidden field of a login form for this browser."""
        return self.forms.issue(browser, time.time())

    def new_form(self, answer: Response, browser: str) -> None:
        """Give the browser the cookie that belongs to its login form."""
        answer.set_cookie(
            FORM_COOKIE,
            browser,
            max_age=int(VALID_FOR_S),
            path="/login",
            secure=request.is_secure,
            httponly=True,
            samesite="Strict",
        )

    def check_form(self, sent: Request) -> None:
        """Raises Refused unless the login form is ours, of this browser and not sent before."""
        self.check_origin()
        browser = sent.cookies.get(FORM_COOKIE, "")
        if not self.forms.take(sent.form.get("csrf", ""), browser, time.time()):
            raise Refused(400, "stale_form", "this form was sent before or is too old: please try again")

    def password_is_right(self, user: str, password: str) -> bool:
        """Look at a password. Raises Refused while there were too many wrong ones, which is no longer looked at then."""
        address = request.remote_addr or "unknown"
        user = user if len(user) <= _LONGEST_NAME else user[:_LONGEST_NAME] + "…"
        if not self._waiting.acquire(blocking=False):
            raise Refused(503, "busy", "too many logins at once: please try again", headers={"Retry-After": "2"})
        try:
            with self._one_login:
                return self._look_at(user, password, address)
        finally:
            self._waiting.release()

    def _look_at(self, user: str, password: str, address: str) -> bool:
        now_s = time.monotonic()
        for_s = self._attempts.locked_for_s(user, address, now_s)
        if for_s > 0:
            minutes = max(1, round(for_s / 60))
            raise Refused(
                429,
                "locked",
                f"too many wrong passwords: try again in {minutes} minute{'s' if minutes > 1 else ''}",
                headers={"Retry-After": str(int(for_s) + 1)},
            )
        if len(password) <= _LONGEST_PASSWORD and self.accounts.verify(user, password):
            self._attempts.right(user, address)
            log.info("dashboard.login", user=user, address=address)
            return True
        # a name that nobody has is not written down: people type their password there
        named = user if self.accounts.has_user(user) else "unknown"
        log.warning("dashboard.login_failed", user=named, address=address)
        for locked in self._attempts.wrong(user, address, now_s):
            subject = named if locked.kind == "user" else locked.subject
            log.warning(
                "dashboard.locked", locked=locked.kind, subject=subject, count=locked.wrong, lock_s=locked.for_s
            )
        return False

    def log_in(self, answer: Response, user: str) -> None:
        """Open a session for the browser that gets ``answer``."""
        session_id = self.accounts.open_session(user, time.time_ns() // 1_000_000)
        answer.set_cookie(
            SESSION_COOKIE,
            session_id,
            max_age=self.accounts.lifetimes.longest_ms // 1000,
            path="/",
            secure=request.is_secure,
            httponly=True,
            samesite="Strict",
        )
        answer.delete_cookie(FORM_COOKIE, path="/login")

    def log_out(self, answer: Response, session: Session) -> None:
        """End the session."""
        self.accounts.close_session(session.key)
        answer.delete_cookie(SESSION_COOKIE, path="/", secure=request.is_secure, httponly=True, samesite="Strict")
        answer.headers["Clear-Site-Data"] = '"cache"'
        log.info("dashboard.logout", user=session.user)
