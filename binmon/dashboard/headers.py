"""What every answer says to the browser about safety, and which requests are not answered because of it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import urlsplit

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "media-src 'self'",
        "font-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
)

SECURITY_HEADERS: dict[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=(), interest-cohort=()",
}
"""On every answer, whoever gives it."""

_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


def is_known_host(header: str, known: Collection[str]) -> bool:
    """Whether a request for this host is meant for us.

    A page elsewhere can point a name of its own at our address and have the visitor's browser ask us (DNS rebinding); it
    cannot do so with a bare address or with localhost. So those are ours, and of names only those that are ``known``.
    """
    found = _HOST.fullmatch(header)
    if found is None:
        return False
    name = found["name"].strip("[]").rstrip(".").lower()
    if name == "localhost" or name in {one.lower() for one in known}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_same_origin(origin: str | None, host: str) -> bool:
    """Whether a request that changes something comes from our own pages, as far as its Origin says. Programs send none."""
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def local_path(path: str | None) -> str:
    """``path`` if it leads to a page of ours, else the first page: no link may send anybody elsewhere after the login."""
    if not path or not path.startswith("/") or len(path) > 1000:
        return "/"
    if path.startswith("//") or "\\" in path or any(ord(one) < 0x21 or ord(one) == 0x7F for one in path):
        return "/"
    parts = urlsplit(path)
    return "/" if parts.scheme or parts.netloc else path
