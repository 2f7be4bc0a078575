"""Where Binance Spot answers, by environment (reference, section 1), and which environment an address belongs to."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass

from binmon.config.checks import is_loopback


@dataclass(frozen=True, slots=True)
class BinanceUrls:
    """Base addresses: REST without a path, market streams without a path, WebSocket API complete."""

    rest: str
    stream: str
    ws_api: str


URLS = {
    "testnet": BinanceUrls(
        "https://testnet.binance.vision",
        "wss://stream.testnet.binance.vision",
        "wss://ws-api.testnet.binance.vision/ws-api/v3",
    ),
    "demo": BinanceUrls(
        "https://demo-api.binance.com", "wss://demo-stream.binance.com", "wss://demo-ws-api.binance.com/ws-api/v3"
    ),
    "production": BinanceUrls(
        "https://api.binance.com", "wss://stream.binance.com:9443", "wss://ws-api.binance.com:443/ws-api/v3"
    ),
}

# from the one where a mistake costs nothing to the one where it costs money
ENVIRONMENTS = ("sandbox", "testnet", "demo", "production")
_PLAIN_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\](:\d*)?|[A-Za-z0-9.\-]+(:\d*)?")
_TESTNET = re.compile(r"([a-z0-9\-]+\.)*testnet\.binance\.vision")
_DEMO = re.compile(r"demo-[a-z0-9\-]+\.binance\.com")


def environment_of(url: str) -> str:
    """Where requests to ``url`` end up: ``sandbox`` (this machine), ``testnet``, ``demo`` or ``production``.

    The address alone is looked at, for it decides whose money an order spends, whatever the configuration calls it.
    What is not known to be harmless is production: an unknown host may be a gateway to it. So is an address that is
    written so unusually that two programs may read two hosts in it.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname
        _ = parts.port  # raises for one that is none
    except ValueError:
        return "production"
    if not host or not _PLAIN_HOST.fullmatch(parts.netloc):
        return "production"
    if is_loopback(host):
        return "sandbox"
    if _TESTNET.fullmatch(host):
        return "testnet"
    if _DEMO.fullmatch(host):
        return "demo"
    return "production"


def environment_of_all(urls: Iterable[str]) -> str:
    """The most serious environment of several addresses that are used together; of none it is production."""
    found = [ENVIRONMENTS.index(environment_of(url)) for url in urls]
    return ENVIRONMENTS[max(found)] if found else "production"
