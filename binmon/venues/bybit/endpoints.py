"""Where Bybit v5 answers, by environment (reference, section 1)."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass

from binmon.venues.environments import Hosts

NAME = "bybit"
PUBLIC_PATH, PRIVATE_PATH = "/v5/public/spot", "/v5/private"


@dataclass(frozen=True, slots=True)
class BybitUrls:
    """Base addresses. ``rest`` has no path; the streams may leave theirs out, see `public_stream` and `private_stream`."""

    rest: str
    public_stream: str
    private_stream: str


URLS = {
    "testnet": BybitUrls(
        "https://api-testnet.bybit.com", "wss://stream-testnet.bybit.com", "wss://stream-testnet.bybit.com"
    ),
    # it has the prices of production, and so no public streams of its own
    "demo": BybitUrls("https://api-demo.bybit.com", "wss://stream.bybit.com", "wss://stream-demo.bybit.com"),
    "production": BybitUrls("https://api.bybit.com", "wss://stream.bybit.com", "wss://stream.bybit.com"),
}

_HOSTS = Hosts(
    testnet=re.compile(r"(api|stream)-testnet\.(bybit\.com|manepa\.jp)"),
    demo=re.compile(r"(api|stream)-demo\.bybit\.com"),
)
environment_of, environment_of_all = _HOSTS.environment_of, _HOSTS.environment_of_all


def public_stream(url: str) -> str:
    """The whole address of the public spot stream: ``url`` with the path of v5 where it has none."""
    return _with_path(url, PUBLIC_PATH)


def private_stream(url: str) -> str:
    """The whole address of the private stream."""
    return _with_path(url, PRIVATE_PATH)


def _with_path(url: str, path: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return parts._replace(path=path).geturl() if parts.path in ("", "/") else url
