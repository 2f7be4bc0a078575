"""Keys and who may use them."""

import dataclasses

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from binmon.sandbox.parameters import ApiError, Parameters
from binmon.sandbox.trading.accounts import Accounts, KeyKind
from binmon.sandbox.trading.keys import open_accounts

SIGNATURE = "Signature for this request is not valid."


def opened(seed=1):
    accounts = Accounts()
    return accounts, open_accounts(accounts, seed, f"key{seed}", f"secret{seed}")


def test_the_same_seed_has_the_same_keys():
    first, second, other = (opened(seed)[1] for seed in (1, 1, 2))
    assert first == second
    assert not {one.api_key for one in first} & {one.api_key for one in other}


def test_private_keys_fit():
    accounts, issued = opened()
    for one in issued:
        if one.private_key_pem is None:
            continue
        found = accounts.by_key(one.api_key)
        assert found is not None and found[1].kind is one.kind
        private = serialization.load_pem_private_key(one.private_key_pem, None)
        extra = (PKCS1v15(), hashes.SHA256()) if one.kind is KeyKind.RSA else ()
        found[1].secret.verify(private.sign(b"x", *extra), b"x", *extra)


def test_secrets_are_not_shown():
    for one in opened()[1]:
        assert "secret" not in repr(one).replace("api_secret", "")
        assert "PRIVATE" not in repr(one)


def test_balances_of_the_default_accounts():
    accounts, _ = opened()
    main, poor = accounts.all()
    assert main.wallet.balance("BTC").free == 100 * 10**8
    assert main.wallet.balance("LISTEDLATER").free == 1_000_000 * 10**8
    assert poor.wallet.balance("USDT").free == 0


def test_a_disabled_key_is_unknown(venue):
    _, issued = None, open_accounts(venue.side.accounts, 1, "key", "secret")
    main = venue.side.accounts.by_key("key")[0]

    def verdict(key, payload=b"x", signature="00", security="USER_DATA", timestamp=1_784_600_000_000):
        with pytest.raises(ApiError) as caught:
            venue.side.authorize(key, payload, signature, Parameters(f"timestamp={timestamp}"), security)
        return caught.value.status, caught.value.code

    assert verdict("key") == (400, -1022)
    assert verdict("key", timestamp=1) == (400, -1021)
    assert verdict("key", signature=None) == (400, -1102)
    assert verdict(None) == verdict("") == (401, -2014)
    reader = next(one for one in issued if not one.can_trade)
    assert verdict(reader.api_key, security="TRADE") == (401, -2015)
    assert verdict(reader.api_key) == (400, -1022)
    main.keys = [dataclasses.replace(one, enabled=False) for one in main.keys]
    assert verdict("key") == (401, -2015)


def test_a_listener_is_told_until_it_leaves(venue):
    told = []
    venue.alice.listen(told.append)
    venue.limit("BUY", "10", "1", newClientOrderId="mine")
    venue.ask("order.cancel", orderId=1, newClientOrderId="stop")
    assert [(event.kind, event.client_order_id, event.order_id, event.execution_type) for event in told] == [
        ("executionReport", "mine", 1, "NEW"), ("outboundAccountPosition", "", 0, ""),
        ("executionReport", "mine", 1, "CANCELED"), ("outboundAccountPosition", "", 0, ""),
    ]  # fmt: skip
    assert all(event.symbol == ("ABCXYZ" if event.order_id else "") for event in told)
    venue.alice.unlisten(told.append)
    told.clear()
    venue.limit("BUY", "10", "1")
    assert told == []
