import pytest

from binmon.sandbox.trading.accounts import Accounts
from binmon.sandbox.trading.wallets import InsufficientBalance, Wallet


def test_money_moves_between_free_and_locked():
    wallet = Wallet({"A": 10}.get)
    wallet.lock("A", 7)
    wallet.unlock("A", 2)
    wallet.spend("A", 4)
    wallet.receive("A", 1)
    balance = wallet.balance("A")
    assert (balance.free, balance.locked) == (6, 1)


@pytest.mark.parametrize(
    ("method", "amount"), [("lock", 8), ("lock", -1), ("unlock", 4), ("unlock", -1), ("spend", 4), ("spend", -1)]
)
def test_nothing_goes_below_zero(method, amount):
    wallet = Wallet({"A": 10}.get)
    wallet.lock("A", 3)
    with pytest.raises(InsufficientBalance):
        getattr(wallet, method)("A", amount)
    assert (wallet.balance("A").free, wallet.balance("A").locked) == (7, 3)
    with pytest.raises(ValueError):
        wallet.receive("A", -1)


def test_accounts_have_names_and_owners_of_their_own():
    accounts = Accounts()
    one, two = accounts.add("one", {"A": "1.5"}), accounts.add("two")
    assert (one.wallet.balance("A").free, two.wallet.balance("A").free) == (150_000_000, 0)
    assert accounts.by_owner(two.owner) is two
    assert accounts.by_owner("flow") is None
    assert accounts.all() == [one, two]
    with pytest.raises(ValueError):
        accounts.add("one")
    with pytest.raises(ValueError):
        accounts.add("three", {"A": "-1"})
    one.wallet.receive("A", 1)
    one.wallet.reset()
    assert one.wallet.balance("A").free == 150_000_000
