"""What tests of the commands that look at the market need: a venue, the command as a process, a terminal before it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests
import yaml

from binmon.sandbox.server import Sandbox
from tests.ports import held_port

ROOT = Path(__file__).parents[2]
WITHIN_S = 60.0


def configure(directory: Path, venue: Sandbox, **more: Any) -> None:
    """A ``config.yaml`` that names the addresses of ``venue``, and a state database of its own."""
    assert venue.bybit is not None
    ready = venue.ready()
    config = {
        "venues": {
            "binance": {
                "environment": "sandbox",
                "endpoints": {"rest": venue.rest_url, "stream": venue.stream_url},
            },
            "bybit": {
                "environment": "sandbox",
                "endpoints": {"rest": ready["bybit_rest"], "public_stream": ready["bybit_public_stream"]},
            },
        },
        **more,
    }
    (directory / "config.yaml").write_text(yaml.safe_dump(config))


@contextmanager
def held_ports() -> Iterator[dict[str, int]]:
    """Ports for a sandbox that comes and goes, by the options that name them: nobody else gets them meanwhile."""
    names = ("rest_port", "stream_port", "ws_api_port", "bybit_port")
    with ExitStack() as held:
        yield {name: held.enter_context(held_port()) for name in names}


def fault(sandbox: Sandbox, kind: str, **options: Any) -> None:
    answer = requests.post(f"{sandbox.rest_url}/sandbox/faults", json={"kind": kind, **options}, timeout=30)
    assert answer.ok, answer.text


def start(directory: Path, *arguments: str, environment: Any = None, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "error", "-m", "binmon", *arguments]
    return subprocess.Popen(command, cwd=directory, env=variables(environment), **options)


def redirected(
    directory: Path, redirection: str, *arguments: str, environment: Any = None
) -> subprocess.CompletedProcess[bytes]:
    """The command to its end, with what a shell makes of ``redirection``, such as ``>&-``."""
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-W", "error", "-m", "binmon", *arguments]
    return subprocess.run(
        command,
        cwd=directory,
        env=variables(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=WITHIN_S,
        check=False,
    )


def variables(more: Any = None) -> dict[str, str]:
    """The environment of a command, as it is everywhere; ``more`` is set as well."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "TZ": "America/New_York"}
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PYTHONUNBUFFERED"):
        variables.pop(name, None)
    return {**variables, **(more or {})}


@contextmanager
def piped(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command with a pipe behind it; ended by force, if nothing else has ended it."""
    process = start(directory, *arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def read_json(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The next line."""
    assert process.stdout is not None
    ready = select.select([process.stdout], [], [], WITHIN_S)[0] if not process.stdout.peek() else True
    assert ready, "no line came"
    text = process.stdout.readline().decode()
    assert text, process.communicate()[1].decode()
    line: dict[str, Any] = json.loads(text)
    return line


def interrupt(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Ctrl-C; exit status and standard error."""
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=WITHIN_S)
    return process.returncode, errors.decode()


def run(directory: Path, *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run to the end: exit status, lines, standard error."""
    with piped(directory, *arguments) as process:
        output, errors = process.communicate(timeout=WITHIN_S)
        return process.returncode, [json.loads(line) for line in output.splitlines()], errors.decode()


class Terminal:
    """A pseudo terminal with somebody before it, and a command in it."""

    def __init__(
        self, directory: Path, *arguments: str, columns: int = 80, rows: int = 24, environment: Any = None
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        self.process = start(directory, *arguments, environment=environment, **streams, start_new_session=True)
        os.close(theirs)
        self.seen = b""

    def until(self, true: Callable[[str], object]) -> str:
        """Read until ``true`` of what was shown."""
        end = time.monotonic() + WITHIN_S
        while not true(self.text):
            assert time.monotonic() < end, self.text[-2000:]
            assert self._read() or self.process.poll() is None, self.text[-2000:]
        return self.text

    def type(self, text: str) -> None:
        """At the keyboard."""
        os.write(self._ours, text.encode())

    def interrupt(self) -> int:
        """Ctrl-C, read to the end; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.finish()

    def finish(self) -> int:
        """Read to the end; the exit status."""
        end = time.monotonic() + WITHIN_S
        while self.process.poll() is None:
            assert time.monotonic() < end, "it does not end"
            self._read()
        while self._read():
            continue
        return self.process.returncode

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], 0.1)[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:
            return False  # the other end is closed
        self.seen += data
        return bool(data)

    @property
    def text(self) -> str:
        """What was shown, without colours and moves."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen.decode(errors="replace")).replace("\r", "\n")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)


@contextmanager
def terminal(
    directory: Path, *arguments: str, columns: int = 80, rows: int = 24, environment: Any = None
) -> Iterator[Terminal]:
    made = Terminal(directory, *arguments, columns=columns, rows=rows, environment=environment)
    try:
        yield made
    finally:
        made.close()
