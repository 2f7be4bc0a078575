"""The embedded sandbox: a process of its own that lives and dies with the daemon.

A daemon notes in its state database where its sandbox is, so that a command beside it trades on the same one. The keys in
that note are those of a local exchange that ends with the daemon: they are worth nothing.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from binmon.core.deadline import Deadline
from binmon.errors import BinmonError
from binmon.state import State

_READY_WITHIN_S = 30.0
_LOOK_S = 0.1
_ANSWERS_WITHIN_S = 1.0
_STEPS = (
    "CREATE TABLE lent_sandbox (one INTEGER PRIMARY KEY CHECK (one = 1), pid INTEGER NOT NULL, urls TEXT NOT NULL) STRICT",
)
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


def lend_sandbox(state: State, urls: SandboxUrls) -> None:
    """Note where the sandbox of this process is, for commands beside it. Raises StateFailed."""
    state.upgrade("lent_sandbox", _STEPS)
    state.execute("INSERT OR REPLACE INTO lent_sandbox VALUES (1, ?, ?)", (os.getpid(), json.dumps(asdict(urls))))


def lent_sandbox(state: State) -> SandboxUrls | None:
    """The sandbox of a daemon that runs on this state database; None where there is none, or it does not answer."""
    state.upgrade("lent_sandbox", _STEPS)
    rows = state.execute("SELECT pid, urls FROM lent_sandbox")
    if not rows or not _is_alive(int(rows[0][0])):
        return None
    try:
        urls = SandboxUrls(**json.loads(rows[0][1]))
        # straight to this machine, whatever proxies the environment names
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{urls.rest}/sandbox/state", timeout=_ANSWERS_WITHIN_S) as answer:
            return urls if answer.status == 200 else None
    except (OSError, ValueError, TypeError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True
