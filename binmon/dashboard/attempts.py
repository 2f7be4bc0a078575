"""How often somebody may be wrong about a password. A machine: it takes attempts and ``now``, and does no I/O.

Wrong passwords are counted by user name (existing or not, so that the answer does not tell) and by address. After
`WRONG_BEFORE_LOCK` of them the name or address is locked: for a minute at first, twice as long each time after, up to
a bound. While it is locked not even the right password is looked at, and such attempts neither count nor lengthen it.
What was counted is forgotten a day after the last wrong password.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

WRONG_BEFORE_LOCK = 10
FIRST_LOCK_S = 60.0
LONGEST_LOCK_S = {"user": 900.0, "address": 3600.0}
"""A name's locks stay short: whoever knows it could keep its owner out with them."""
_FORGET_AFTER_S = 86_400.0
_MOST_KEPT = 10_000


@dataclass(slots=True)
class _Count:
    wrong: int = 0  # since the last lock, or since the beginning
    locks: int = 0
    locked_until_s: float = 0.0
    last_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Locked:
    """A name or an address that has just been locked: ``kind`` is user or address."""

    kind: str
    subject: str
    wrong: int
    for_s: float


Key = tuple[str, str]


class LoginAttempts:
    """Not locked against threads: its owner sees to that."""

    def __init__(self, most_kept: int = _MOST_KEPT) -> None:
        self._most_kept = most_kept
        self._counts: OrderedDict[Key, _Count] = OrderedDict()  # the one that was wrong longest ago first

    def __len__(self) -> int:
        return len(self._counts)

    def locked_for_s(self, user: str, address: str, now_s: float) -> float:
        """For how long neither this name nor this address may try; 0.0: it may."""
        found = (self._counts.get(key) for key in _keys(user, address))
        return max((one.locked_until_s - now_s for one in found if one is not None), default=0.0)

    def wrong(self, user: str, address: str, now_s: float) -> list[Locked]:
        """A wrong password, or a user that does not exist. Gives what is locked by it."""
        self._forget(now_s)
        return [locked for key in _keys(user, address) if (locked := self._count(key, now_s)) is not None]

    def right(self, user: str, address: str) -> None:
        """A login. The name starts afresh; an address does not, as others may try from it."""
        self._counts.pop(("user", user), None)
        found = self._counts.get(("address", address))
        if found is not None and not found.locks:
            found.wrong = 0

    def _count(self, key: Key, now_s: float) -> Locked | None:
        count = self._counts.setdefault(key, _Count())
        self._counts.move_to_end(key)
        count.last_s = now_s
        count.wrong += 1
        if count.wrong < WRONG_BEFORE_LOCK:
            return None
        kind, subject = key
        for_s = min(LONGEST_LOCK_S[kind], FIRST_LOCK_S * 2.0 ** min(count.locks, 30))
        wrong, count.wrong = count.wrong, 0
        count.locks += 1
        count.locked_until_s = now_s + for_s
        return Locked(kind, subject, wrong, for_s)

    def _forget(self, now_s: float) -> None:
        while self._counts:
            key, oldest = next(iter(self._counts.items()))
            if now_s - oldest.last_s < _FORGET_AFTER_S and len(self._counts) <= self._most_kept:
                return
            del self._counts[key]


def _keys(user: str, address: str) -> tuple[Key, Key]:
    return ("user", user), ("address", address)
