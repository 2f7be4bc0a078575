"""The embedded sandbox of a daemon that runs, for those who look beside it."""

from __future__ import annotations

import time

from binmon.core.companion import SandboxFailed, SandboxUrls, lent_sandbox
from binmon.errors import BinmonError
from binmon.state import State, is_claimed

_LOOK_EVERY_S = 1.0
_NOTHING_LENT = 5  # looks in a row while nothing comes: a daemon that starts has lent nothing yet


class Lender:
    """The daemon that runs on a state database, if one does. ``lent`` is where its sandbox was when this was made; None:
    there is none to be had."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.lent = self._now()
        self._due_s = 0.0
        self._nothing_lent = 0

    def _now(self) -> SandboxUrls | None:
        if not is_claimed(self._state.path):
            return None
        try:
            return lent_sandbox(self._state)
        except BinmonError:
            return None  # a database that cannot be written now, or of a newer binmon, is no reason not to look

    def check(self, *, is_trouble: bool) -> None:
        """Raise SandboxFailed when the daemon has ended, or was started anew with another sandbox: that is another market,
        with a history of its own. ``is_trouble``: the one that was lent does not answer."""
        now_s = time.monotonic()
        if self.lent is None or now_s < self._due_s:
            return
        self._due_s = now_s + _LOOK_EVERY_S
        if not is_claimed(self._state.path):
            raise SandboxFailed(
                "the daemon has ended, and with it its local exchange, which was looked at: look again for another one"
            )
        if is_trouble:  # asked for only then: the sandbox has better things to do
            there = self._now()
            self._nothing_lent = self._nothing_lent + 1 if there is None else 0
            if self._nothing_lent >= _NOTHING_LENT:
                raise SandboxFailed("the daemon has no local exchange any more, which was looked at: look again")
            if there is not None and there.rest != self.lent.rest:
                raise SandboxFailed(
                    "the daemon was started anew, with another local exchange than was looked at: look again"
                )
