"""The embedded sandbox: a process of its own that lives and dies with the daemon."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from binmon.core.deadline import Deadline
from binmon.errors import BinmonError

_READY_WITHIN_S = 30.0
_LOOK_S = 0.1
_BYBIT = ("bybit_rest", "bybit_public_stream", "bybit_private_stream", "bybit_api_key", "bybit_api_secret")


class SandboxFailed(BinmonError):
    """The sandbox process did not come up, or ended by itself; carries what it said."""


@dataclass(frozen=True, slots=True)
class SandboxUrls:
    """Where the sandbox listens, and a key to its own account. ``ws_api`` is empty where it serves none, as are those of
    Bybit, whose account and key are its own."""

    rest: str
    stream: str
    ws_api: str = ""
    api_key: str = field(default="", repr=False)
    api_secret: str = field(default="", repr=False)
    bybit_rest: str = ""
    bybit_public_stream: str = ""
    bybit_private_stream: str = ""
    bybit_api_key: str = field(default="", repr=False)
    bybit_api_secret: str = field(default="", repr=False)


class SandboxProcess:
    """``python -m binmon.sandbox`` as a child. Its standard input is a pipe of ours: when this process dies, however
    that happens, the pipe closes and the sandbox ends."""

    def __init__(self, symbols: Sequence[str], stopped: Callable[[], bool] = lambda: False) -> None:
        """Start it and wait until it is ready, or ``stopped`` says that nobody waits any more. Raises SandboxFailed."""
        command = [sys.executable, "-m", "binmon.sandbox", "--until-stdin-closes"]
        if symbols:
            command += ["--symbols", ",".join(symbols)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # a group of its own: Ctrl-C on the terminal ends the daemon first, which then ends the sandbox
            start_new_session=True,
        )
        self.urls = self._wait_until_ready(stopped)

    def _wait_until_ready(self, stopped: Callable[[], bool]) -> SandboxUrls:
        stdout = self._process.stdout
        assert stdout is not None
        patience = Deadline(_READY_WITHIN_S)
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while not (ready := selector.select(_LOOK_S)) and not patience.passed and not stopped():
                continue
        line = stdout.readline() if ready else b""
        try:
            said = json.loads(line)
            bybit = {name: said.get(name) or "" for name in _BYBIT}
            return SandboxUrls(
                said["rest"], said["stream"], said.get("ws_api") or "", said["api_key"], said["api_secret"], **bybit
            )
        except (ValueError, KeyError, TypeError):
            self.stop(Deadline(1.0))
            raise SandboxFailed(f"the sandbox did not come up within {_READY_WITHIN_S:.0f} s: {line!r}") from None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def stop(self, deadline: Deadline) -> None:
        """End it: politely, then by force."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(max(0.2, deadline.remaining_s()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
