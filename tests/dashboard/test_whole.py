"""The page of a whole daemon on the embedded sandbox, as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.dashboard.serve import PASSWORD, USER
from tests.dashboard.site import Browser, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]


class Running:
    """``tests.dashboard.serve`` and its log."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        command = [
            sys.executable,
            "-W",
            "error",
            "-m",
            "tests.dashboard.serve",
            "--port",
            "0",
            "--directory",
            str(directory),
        ]
        self.process = subprocess.Popen(
            [*command, "--symbols", "BTCUSDT,ETHUSDT"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until(lambda: bool(self.said("dashboard.listening")))
        self.url = f"http://{self.said('dashboard.listening')[0]['address']}"
        until(lambda: bool(self.said("sandbox.started")))
        self.sandbox = self.said("sandbox.started")[0]["rest"]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def said(self, event: str) -> list[dict[str, Any]]:
        return [line for line in list(self.lines) if line["event"] == event]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = Running(tmp_path_factory.mktemp("daemon"))
    yield made
    assert made.stop() == 0
    assert not made.said("dashboard.failed")
    assert not [line for line in made.said("worker.failed") if line["worker"].startswith("dashboard")]
    assert PASSWORD not in str(made.lines)


@pytest.fixture(scope="module")
def browser(running: Running) -> Browser:
    made = Browser(running.url)
    assert made.log_in(USER, PASSWORD).status_code == 303
    return made


def stream(browser: Browser, topics: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind and data of each event."""
    with browser.get("/api/stream", params={"topics": topics}, stream=True) as answer:
        kind = ""
        for line in answer.iter_lines(chunk_size=1):
            name, _, value = line.decode().partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                yield kind, json.loads(value)


def test_everything_that_a_page_asks_for_is_there(running: Running, browser: Browser) -> None:
    until(lambda: [one["state"] for one in browser.get("/api/tops").json()["tops"]] == ["synced"] * 2)
    until(lambda: all(one["bid"] is not None for one in browser.get("/api/tops").json()["tops"]))
    (venue,) = browser.get("/api/venues").json()["venues"]
    assert (venue["name"], venue["environment"], venue["books"]) == ("binance", "sandbox", ["BTCUSDT", "ETHUSDT"])
    book = browser.get("/api/book?venue=binance&symbol=BTCUSDT&levels=5").json()
    assert len(book["bids"]) == len(book["asks"]) == 5
    assert float(book["bids"][0][0]) < float(book["asks"][0][0])
    until(lambda: bool(browser.get("/api/latency").json()["measurements"]))
    assert "dashboard" in browser.get("/api/status").json()
    assert browser.get("/api/symbols?search=BTCUSDT").json()["symbols"][0]["status"] == "TRADING"
    for page in ("/", "/candles", "/trades", "/book", "/latency", "/symbols", "/settings"):
        assert browser.get(page).status_code == 200


def test_a_series_that_nobody_configured_is_followed_while_somebody_looks(browser: Browser) -> None:
    def ask() -> dict[str, Any]:
        found: dict[str, Any] = browser.get("/api/candles?venue=binance&symbol=ETHUSDT&interval=1s&limit=500").json()
        return found

    assert ask()["state"] == "loading"
    until(lambda: ask()["state"] == "live" and len(ask()["candles"]) > 10)
    for kind, data in stream(browser, "candles:binance:ETHUSDT:1s,trades:binance:ETHUSDT"):
        if kind == "candle" and data["candle"][6]:
            closed = data["candle"]
            break
    until(lambda: closed in ask()["candles"])


def test_after_a_cut_the_candles_are_those_of_the_venue(running: Running, browser: Browser) -> None:
    """The stream of the venue breaks, candles are made meanwhile, and what the page has is the venue's history again."""
    path = "/api/candles?venue=binance&symbol=BTCUSDT&interval=1s&limit=300"
    until(lambda: browser.get(path).json()["state"] == "live")
    before = browser.get(path).json()["candles"][-1][0]
    answer = requests.post(f"{running.sandbox}/sandbox/faults", json={"kind": "disconnect"}, timeout=30)
    assert answer.status_code == 200, answer.text
    until(lambda: browser.get(path).json()["candles"][-1][0] >= before + 10_000)
    until(lambda: browser.get(path).json()["state"] == "live")
    shown = [one for one in browser.get(path).json()["candles"] if one[6]][-200:-2]
    history = requests.get(
        f"{running.sandbox}/api/v3/klines",
        params={
            "symbol": "BTCUSDT",
            "interval": "1s",
            "startTime": shown[0][0],
            "endTime": shown[-1][0],
            "limit": 1000,
        },
        timeout=30,
    ).json()
    assert [one[:6] for one in shown] == [one[:6] for one in history]
    assert len(shown) > 12


def test_accounts_beside_the_running_daemon(running: Running) -> None:
    def users(*words: str, typed: str = "") -> None:
        command = [sys.executable, "-m", "binmon", "users", "-c", str(running.directory / "config.yaml"), *words]
        subprocess.run(command, input=typed, text=True, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)

    users("add", "carla", "--password-stdin", typed="quiet-otters-climb-9\n")
    browser = Browser(running.url)
    assert browser.log_in("carla", "quiet-otters-climb-9").status_code == 303
    assert browser.get("/").status_code == 200
    users("remove", "carla")
    assert browser.get("/").status_code == 303


def test_a_failed_login_is_in_the_log(running: Running) -> None:
    for number in range(3):
        assert Browser(running.url).log_in("nobody", f"wrong-{number}").status_code == 403
    until(lambda: len(running.said("dashboard.login_failed")) == 3)
    line = running.said("dashboard.login_failed")[0]
    assert (line["user"], line["address"], line["level"]) == ("unknown", "127.0.0.1", "warning")
    assert "wrong-" not in str(running.lines)
