"""Where Binance Spot answers, by environment (reference, section 1), and which environment an address belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from binmon.venues.environments import Hosts


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

_HOSTS = Hosts(
    testnet=re.compile(r"([a-z0-9\-]+\.)*testnet\.binance\.vision"), demo=re.compile(r"demo-[a-z0-9\-]+\.binance\.com")
)
environment_of, environment_of_all = _HOSTS.environment_of, _HOSTS.environment_of_all
