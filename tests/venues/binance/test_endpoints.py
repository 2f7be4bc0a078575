"""Which environment an address belongs to: what is not known to be harmless is production."""

from __future__ import annotations

import pytest

from binmon.venues.binance.endpoints import URLS, environment_of, environment_of_all


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080", "sandbox"),
        ("ws://127.9.8.7:1/ws-api/v3", "sandbox"),
        ("http://localhost:80", "sandbox"),
        ("http://[::1]:80", "sandbox"),
        ("https://testnet.binance.vision", "testnet"),
        ("https://api1.testnet.binance.vision", "testnet"),
        ("wss://ws-api.testnet.binance.vision:9443/ws-api/v3", "testnet"),
        ("https://TESTNET.Binance.Vision/", "testnet"),
        ("https://demo-api.binance.com", "demo"),
        ("wss://demo-ws-api.binance.com/ws-api/v3?timeUnit=MICROSECOND", "demo"),
        ("https://api.binance.com", "production"),
        ("https://api1.binance.com", "production"),
        ("https://api4.binance.com", "production"),
        ("https://api-gcp.binance.com", "production"),
        ("wss://ws-api.binance.com:443/ws-api/v3", "production"),
        ("https://www.binance.com", "production"),
        ("https://demo-.binance.com.evil.test", "production"),
        ("https://demo-api.binance.com.evil.test", "production"),
        ("https://demo-api.eu.binance.com", "production"),
        ("https://xdemo-api.binance.com", "production"),
        ("https://eviltestnet.binance.vision", "production"),
        ("https://testnet.binance.vision.evil.test", "production"),
        ("https://testnet.binance.vision@api.binance.com", "production"),
        ("https://api.binance.com\\@testnet.binance.vision", "production"),
        ("https://api.binance.com@127.0.0.1", "production"),
        ("https://testnet.binance.vision:x", "production"),
        ("https://data-api.binance.vision", "production"),
        ("https://gateway.example", "production"),
        ("https://10.0.0.7:8443", "production"),
        ("http://0.0.0.0:1", "production"),
        ("http://[fe80::1]", "production"),
        ("http://127.0.0.1.evil.test", "production"),
        ("testnet.binance.vision", "production"),
        ("", "production"),
        ("https://[", "production"),
    ],
)
def test_environment_of(url: str, expected: str) -> None:
    assert environment_of(url) == expected


def test_the_addresses_of_an_environment_belong_to_it() -> None:
    for name, urls in URLS.items():
        assert {environment_of(url) for url in (urls.rest, urls.stream, urls.ws_api)} == {name}


def test_several_addresses_are_as_serious_as_the_most_serious() -> None:
    test, demo, live = URLS["testnet"], URLS["demo"], URLS["production"]
    assert environment_of_all(["http://127.0.0.1", test.rest]) == "testnet"
    assert environment_of_all([demo.rest, test.ws_api]) == "demo"
    assert environment_of_all(["http://127.0.0.1", live.ws_api, test.rest]) == "production"
    assert environment_of_all([]) == "production"


def test_production_is_believed_whatever_the_address() -> None:
    assert environment_of_all(["http://127.0.0.1:1"], "production") == "production"
    assert environment_of_all(["http://127.0.0.1:1"], "testnet") == "sandbox"
    assert environment_of_all(["https://api.binance.com"], "testnet") == "production"
