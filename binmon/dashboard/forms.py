"""Forms of somebody who has no session yet: the login form can be sent once, by the browser that it was given to, for an hour.

Nothing is kept of a form until it is sent: it carries when it was made and a signature that joins it to a cookie of the
browser. Only what was sent is remembered, as long as it could be sent again.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict

VALID_FOR_S = 3600.0
_MOST_USED = 20_000


class LoginForms:
    """Any thread may call it. A restart of the daemon ends all forms."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()  # guards _used
        self._used: OrderedDict[str, float] = OrderedDict()  # by form, until when it could be sent again

    def new_browser(self) -> str:
        """What the browser's cookie says."""
        return secrets.token_urlsafe(24)

    def issue(self, browser: str, now_s: float) -> str:
        """The hidden field of a form for this browser."""
        number, until = secrets.token_urlsafe(12), f"{now_s + VALID_FOR_S:.0f}"
        return f"{number}.{until}.{self._sign(number, until, browser)}"

    def take(self, field: str, browser: str, now_s: float) -> bool:
        """Whether the form is one of ours, of this browser, in time and not sent before. It cannot be sent again."""
        number, _, rest = field.partition(".")
        until, _, signature = rest.partition(".")
        if not browser or not hmac.compare_digest(
            signature.encode("utf-8", "replace"), self._sign(number, until, browser).encode()
        ):
            return False
        until_s = float(until)  # ours, as it is signed
        with self._lock:
            while self._used and (next(iter(self._used.values())) < now_s or len(self._used) > _MOST_USED):
                self._used.popitem(last=False)
            if now_s > until_s or number in self._used:
                return False
            self._used[number] = until_s
        return True

    def _sign(self, *parts: str) -> str:
        text = "\n".join(parts).encode("utf-8", "replace")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()
