"""The daemon with its page in a process of its own, and a browser that looks at it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request

from tests.dashboard.serve import PASSWORD, USER
from tests.ports import free_port

REPOSITORY = Path(__file__).parents[3]
READY_WITHIN_S = 180.0
PATIENCE_MS = 60_000
"""How long a test waits for what it looks at: machines are slow when several tests run at once."""
PAGES = ("/", "/candles", "/trades", "/book", "/latency", "/symbols", "/settings")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def browser_path() -> str | None:
    """Where this machine has Chromium, if it has; BINMON_BROWSER names another."""
    named = os.environ.get("BINMON_BROWSER")
    return named or next((found for name in BROWSERS if (found := shutil.which(name)) is not None), None)


class Site:
    """A daemon with a page, and the sandbox that it watches."""

    def __init__(self, process: subprocess.Popen[str], url: str, log: list[str]) -> None:
        self._process, self.url, self._log = process, url, log

    @property
    def sandbox(self) -> str:
        """The sandbox's REST address, from the log."""
        return str(self._event("sandbox.started")["rest"])

    def fault(self, kind: str, **options: Any) -> None:
        """Tell the sandbox to do something."""
        body = json.dumps({"kind": kind, **options}).encode()
        request = urllib.request.Request(
            f"{self.sandbox}/sandbox/faults", data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200, answer.read()

    def is_ready(self) -> None:
        """Wait until the venue has answered and the books stand: before that, pages say that there is no such symbol."""
        self._event("daemon.ready")

    def stop(self) -> None:
        """End the process, and whatever it started."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Let it stand still, as a machine that is starved; `resume` ends that."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on."""
        self._process.send_signal(signal.SIGCONT)

    def _event(self, name: str) -> dict[str, Any]:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            for line in tuple(self._log):
                if line.startswith("{") and f'"{name}"' in line:
                    found = json.loads(line)
                    if found["event"] == name:
                        return dict(found)
            assert self._process.poll() is None, "".join(self._log[-30:])
            threading.Event().wait(0.1)
        raise AssertionError(f"no {name} within {READY_WITHIN_S:g} s:\n" + "".join(self._log[-30:]))


@contextmanager
def running_site(directory: Path, *, port: int | None = None, more: str = "") -> Iterator[Site]:
    """A daemon of its own, ready to be logged in to. ``directory`` keeps its state, so a second one there goes on."""
    port = port or free_port()
    arguments = ["--port", str(port), "--directory", str(directory), *(["--more", more] if more else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.dashboard.serve", *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        lines.extend(iter(process.stdout.readline, ""))

    reader = threading.Thread(target=read, daemon=True)
    # lines are to be seen while the process runs: extend() of an iterator appends one by one
    reader.start()
    site = Site(process, f"http://127.0.0.1:{port}", lines)
    try:
        _wait_until_it_answers(site, process, lines)
        site.is_ready()
        yield site
    finally:
        site.resume()
        site.stop()
        reader.join(10)
        if process.stdout is not None:
            process.stdout.close()


def _wait_until_it_answers(site: Site, process: subprocess.Popen[str], lines: list[str]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the daemon ended:\n" + "".join(lines[-30:])
        try:
            with urllib.request.urlopen(f"{site.url}/login", timeout=20):
                return
        except (urllib.error.URLError, OSError):
            threading.Event().wait(0.2)
    raise AssertionError("the page did not answer:\n" + "".join(lines[-30:]))


def launch(playwright: Playwright) -> Browser:
    """Chromium without a window. Sound may play without a click only as in a user's browser: not before one."""
    path = browser_path()
    assert path is not None
    return playwright.chromium.launch(
        executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--mute-audio"]
    )


class Watcher:
    """What a browser has asked for, and what it complained about."""

    def __init__(self, context: BrowserContext) -> None:
        self.hosts: set[str] = set()
        self.complaints: list[str] = []
        context.on("request", self._asked)
        context.on("console", self._said)
        context.on("weberror", lambda error: self.complaints.append(f"error: {error.error}"))

    def _asked(self, request: Request) -> None:
        self.hosts.add(request.url.split("/")[2] if "://" in request.url else request.url)

    def _said(self, message: ConsoleMessage) -> None:
        is_behind = "status of 503" in message.text and "/api/book?" in message.location["url"]
        if is_behind:
            return  # a busy machine has no book to show for a moment: the page says so, and asks again
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")


def until(page: Page, true: Callable[[], object], what: str) -> None:
    """Ask until the answer is yes."""
    deadline = time.monotonic() + 2 * PATIENCE_MS / 1000
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        page.wait_for_timeout(100)


def settings_of(page: Page) -> dict[str, Any]:
    """What the server keeps for the user."""
    found: dict[str, Any] = page.evaluate("fetch('/api/settings').then(answer => answer.json())")
    return found


def log_in(page: Page, site: Site, path: str = "/") -> None:
    """By the form, to the page at ``path``."""
    page.goto(f"{site.url}{path}")
    page.get_by_label("Name").fill(USER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{site.url}{path}")
