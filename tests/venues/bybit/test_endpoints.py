"""Which money an address spends, and where the streams are."""

from __future__ import annotations

import pytest

from binmon.venues.bybit.endpoints import URLS, environment_of, environment_of_all, private_stream, public_stream


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        ("http://127.0.0.1:8080", "sandbox"),
        ("ws://localhost:1/v5/private", "sandbox"),
        ("https://api-testnet.bybit.com", "testnet"),
        ("wss://stream-testnet.bybit.com/v5/private", "testnet"),
        ("https://api-demo.bybit.com", "demo"),
        ("wss://stream-demo.bybit.com", "demo"),
        ("https://api.bybit.com", "production"),
        ("https://api.bybit.eu", "production"),
        ("https://api-testnet.bybit.com.example.org", "production"),
        ("https://example.org/api-testnet.bybit.com", "production"),
        ("https://api-testnet.bybit.com@api.bybit.com", "production"),
        ("https://api-testnet.bybit.com:x", "production"),
        ("", "production"),
    ],
)
def test_environments(url: str, environment: str) -> None:
    assert environment_of(url) == environment


@pytest.mark.parametrize("environment", URLS)
def test_each_environment_has_addresses_of_its_own_for_orders(environment: str) -> None:
    urls = URLS[environment]
    assert environment_of_all([urls.rest, urls.private_stream]) == environment


def test_the_most_serious_of_several() -> None:
    assert environment_of_all(["http://127.0.0.1:1", "wss://stream.bybit.com"]) == "production"
    assert environment_of_all([]) == "production"


def test_the_paths_of_the_streams_may_be_left_out() -> None:
    assert public_stream("wss://stream.bybit.com") == "wss://stream.bybit.com/v5/public/spot"
    assert private_stream("wss://stream.bybit.com/") == "wss://stream.bybit.com/v5/private"
    assert private_stream("ws://127.0.0.1:1/other") == "ws://127.0.0.1:1/other"
