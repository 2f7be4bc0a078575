"""What is signed, and when a request was made (reference: Bybit v5, 2.2 to 2.4 and 5.1)."""

from __future__ import annotations

from ..trading.accounts import ApiKey
from ..trading.signatures import verify
from .errors import RetError

DEFAULT_WINDOW_MS = 5000
_AHEAD_MS = 1000


def check_time(timestamp: str, window: str, now_ms: int) -> None:
    """Refuse (10002) what is too old, or a second or more ahead of the venue's clock, however long the window is."""
    if not timestamp.isdigit() or not (window or "0").isdigit():
        raise RetError(10001, "Request parameter error: timestamp or recv_window is no number.")
    made, window_ms = int(timestamp), int(window) if window else DEFAULT_WINDOW_MS
    if not now_ms - window_ms <= made < now_ms + _AHEAD_MS:
        raise RetError(
            10002,
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{made}],server_timestamp[{now_ms}],recv_window[{window_ms}]",
        )


def check_signature(key: ApiKey, timestamp: str, window: str, payload: str, signature: str) -> None:
    """Refuse (10004) a signature that does not fit the query or body as it came over the wire."""
    origin = f"{timestamp}{key.key}{window}{payload}"
    if not verify(key, origin.encode(), signature):
        raise RetError(10004, f"error sign! origin_string[{origin}]")


def is_logon(key: ApiKey, expires: str, signature: str, now_ms: int) -> bool:
    """Whether an ``auth`` request of a websocket may pass: not expired, and signed well."""
    return expires.isdigit() and int(expires) > now_ms and verify(key, f"GET/realtime{expires}".encode(), signature)
