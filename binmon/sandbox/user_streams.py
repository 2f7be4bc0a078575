"""User data on its way from the accounts to the connections that have subscribed to it.

An event reaches a subscription at once unless a fault holds it back; what follows on the same subscription waits
behind it, as it would on one TCP connection.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from .clock import VenueClock, stamp
from .trading.accounts import Account, UserEvent

_EVENT_TIME = re.compile(r'"E":[0-9]+')


class Way:
    """How one event goes to one subscription: how often (0: never), how late, and what its ``E`` says then."""

    __slots__ = ("copies", "delay_s", "stamped_late")

    def __init__(self) -> None:
        self.copies = 1
        self.delay_s = 0.0
        self.stamped_late = False


class EventFaults(Protocol):
    """What may disturb user events on their way."""

    armed: bool

    def ways(self, event: UserEvent, connections: Iterable[int]) -> dict[int, Way]:
        """How an event goes to each of these connections (asked once an event)."""


class UserSubscription:
    """One account's events on one connection: their envelope, and what is held back."""

    def __init__(
        self, connection: int, identifier: int, account: Account, micro: bool, send: Callable[[str], None]
    ) -> None:
        self.connection = connection
        self.account = account
        self.micro = micro
        self._identifier = identifier
        self._send = send
        self._held: deque[tuple[float, UserEvent, bool]] = deque()

    @property
    def next_due(self) -> float | None:
        """When the first event that is held back may go (monotonic seconds)."""
        return self._held[0][0] if self._held else None

    def put(self, event: UserEvent, way: Way, now: float) -> None:
        """Take an event; it goes with :meth:`release`."""
        self._held.extend((now + way.delay_s, event, way.stamped_late) for _ in range(way.copies))

    def release(self, now: float, clock: VenueClock) -> None:
        """Send what is due; nothing overtakes what came before it."""
        while self._held and self._held[0][0] <= now:
            _, event, stamped_late = self._held.popleft()
            for text in self._texts(event, clock.now_us() if stamped_late else None):
                self._send(text)

    def _texts(self, event: UserEvent, stamped_us: int | None) -> list[str]:
        """The messages that tell an event, with another event time where one is given (µs)."""
        text = event.text(self.micro)
        if stamped_us is not None:
            text = _EVENT_TIME.sub(f'"E":{stamp(stamped_us, self.micro)}', text, count=1)
        return [envelope(self._identifier, text)]

    def hurry(self) -> None:
        """Let everything go at the next :meth:`release`."""
        self._held = deque((0.0, event, late) for _, event, late in self._held)


def envelope(identifier: int | None, event: str) -> str:
    """An event as a WebSocket API connection gets it (reference: Binance Spot, 7.4)."""
    return f'{{"event":{event}}}' if identifier is None else f'{{"subscriptionId":{identifier},"event":{event}}}'


class UserStreams:
    """All subscriptions, by account. Safe to use from any thread.

    The lock of the subscriptions is taken while an account's lock is held, never the other way round.
    """

    def __init__(self, clock: VenueClock, faults: EventFaults) -> None:
        self._clock = clock
        self._faults = faults
        self._listening = threading.Lock()  # guards the set below; never taken while an account's lock is held
        self._heard: set[Account] = set()
        self._changed = threading.Condition()  # guards everything below
        self._subscriptions: dict[Account, tuple[UserSubscription, ...]] = {}
        self._stopped = False
        self._thread = threading.Thread(target=self._release, name="sandbox-user-events", daemon=True)

    def start(self) -> None:
        """Start letting go of what is held back."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Stop; what is held back then is lost."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def add(self, subscription: UserSubscription) -> None:
        """Deliver an account's events to a subscription from now on."""
        account = subscription.account
        with self._listening:
            if account not in self._heard:
                self._heard.add(account)
                account.listen(lambda event: self._publish(account, event))
        with self._changed:
            self._subscriptions[account] = (*self._subscriptions.get(account, ()), subscription)

    def remove(self, subscription: UserSubscription) -> None:
        """Stop delivering; what is held back for it is lost."""
        with self._changed:
            everyone = self._subscriptions.get(subscription.account, ())
            self._subscriptions[subscription.account] = tuple(one for one in everyone if one is not subscription)

    def hurry(self) -> None:
        """Let go of everything that is held back."""
        with self._changed:
            for subscription in self._everyone():
                subscription.hurry()
                subscription.release(time.monotonic(), self._clock)

    def _publish(self, account: Account, event: UserEvent) -> None:
        """Take an event of an account (which holds the account's lock)."""
        with self._changed:
            subscriptions = self._subscriptions.get(account, ())
            if not subscriptions:
                return
            ways = self._faults.ways(event, [one.connection for one in subscriptions]) if self._faults.armed else {}
            now = time.monotonic()
            for subscription in subscriptions:
                subscription.put(event, ways.get(subscription.connection) or Way(), now)
                subscription.release(now, self._clock)
            if any(one.next_due is not None for one in subscriptions):
                self._changed.notify()

    def _release(self) -> None:
        with self._changed:
            while not self._stopped:
                now = time.monotonic()
                for subscription in self._everyone():
                    subscription.release(now, self._clock)
                dues = [due for one in self._everyone() if (due := one.next_due) is not None]
                self._changed.wait(max(0.0, min(dues) - time.monotonic()) if dues else None)

    def _everyone(self) -> list[UserSubscription]:
        return [one for group in self._subscriptions.values() for one in group]
