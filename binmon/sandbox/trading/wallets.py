"""Balances of one account: free and locked amounts in units of 0.00000001 (e8), never below zero."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class Balance:
    """What an account has of one asset, in e8 units."""

    free: int = 0
    locked: int = 0


class InsufficientBalance(Exception):
    """More was to be taken than there is. Nothing has changed."""


class Wallet:
    """The balances of one account. Not thread-safe: the account's lock guards it.

    ``grant`` says what there is of an asset at first, so that assets listed later have their share, too; ``named`` are
    assets to show from the beginning.
    """

    def __init__(self, grant: Callable[[str], int], named: Iterable[str] = ()) -> None:
        self._grant = grant
        self._named = tuple(named)
        self._balances: dict[str, Balance] = {}
        self.reset()

    def reset(self) -> None:
        """Put every balance back to the grant."""
        self._balances = {}
        for asset in self._named:
            self.balance(asset)

    def balance(self, asset: str) -> Balance:
        """The balance of an asset."""
        balance = self._balances.get(asset)
        if balance is None:
            balance = self._balances[asset] = Balance(self._grant(asset))
        return balance

    def assets(self) -> list[str]:
        """Assets that have been touched, in order of the first touch."""
        return list(self._balances)

    def lock(self, asset: str, amount: int) -> None:
        """Set free money aside for an order. Raises :class:`InsufficientBalance`."""
        balance = self.balance(asset)
        if not 0 <= amount <= balance.free:
            raise InsufficientBalance(asset)
        balance.free -= amount
        balance.locked += amount

    def unlock(self, asset: str, amount: int) -> None:
        """Give locked money back. Raises :class:`InsufficientBalance` when less is locked."""
        balance = self.balance(asset)
        if not 0 <= amount <= balance.locked:
            raise InsufficientBalance(asset)
        balance.locked -= amount
        balance.free += amount

    def spend(self, asset: str, amount: int) -> None:
        """Pay with locked money. Raises :class:`InsufficientBalance` when less is locked."""
        balance = self.balance(asset)
        if not 0 <= amount <= balance.locked:
            raise InsufficientBalance(asset)
        balance.locked -= amount

    def receive(self, asset: str, amount: int) -> None:
        """Take in money, free to use. Raises ``ValueError`` when the amount is below zero."""
        if amount < 0:
            raise ValueError(f"cannot receive {amount} of {asset}")
        self.balance(asset).free += amount
