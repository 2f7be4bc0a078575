"""As a service: under a real systemd in a container, and what the daemon tells whoever listens."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.system.conftest import DaemonProcess, configuration
from tests.system.machine import REPOSITORY, Machine, machine

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]  # making the container's root directory takes a minute

UNITS = ("binmon.service", "binmon@.service")
MOST_EXPOSURE = 1.5
STOP_WITHIN_S = 5.0
WATCHDOG_S = 12  # longer than a busy machine keeps a thread from running
STATUS = re.compile(r"2/2 books, oldest \d+\.\d s, weight \d+/6000, clock [+-]\d+\.\d±\d+\.\d ms")
CONFIG = "/etc/binmon/config.yaml"
REST, STREAM, WS_API = "http://127.0.0.1:7001", "ws://127.0.0.1:7002", "ws://127.0.0.1:7003/ws-api/v3"
VENUE = """[Service]
ExecStart=/opt/binmon/bin/binmon sandbox --rest-port 7001 --stream-port 7002 --ws-api-port 7003 --symbols BTCUSDT,ETHUSDT
"""


def service_configuration(**sections: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "venues": {
            "binance": {"environment": "sandbox", "endpoints": {"rest": REST, "stream": STREAM, "ws_api": WS_API}}
        },
        "books": {"symbols": ["BTCUSDT", "ETHUSDT"], "snapshot_every": 5, "depth": 500},
        "recorder": {"flush_interval_s": 0.5},
        "latency": {"symbol": "BTCUSDT", "interval_s": 0.5, "threshold_ms": 5000},
        "execution": {"max_orders_per_day": 100_000},
    }
    for section, keys in sections.items():
        config.setdefault(section, {}).update(keys)
    return config


@pytest.fixture(scope="module")
def computer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that is set up as docs/systemd.md says, with a venue on it."""
    with machine(tmp_path_factory.mktemp("machine")) as computer:
        run = computer.run
        run("install", "-D", "-m", "644", "/srv/systemd/binmon.sysusers", "/etc/sysusers.d/binmon.conf")
        run("systemd-sysusers")
        for unit in UNITS:
            run("install", "-m", "644", f"/srv/systemd/{unit}", "/etc/systemd/system/")
            # the same, only sooner
            folder = f"/etc/systemd/system/{unit}.d"
            computer.write(f"{folder}/test.conf", f"[Service]\nWatchdogSec={WATCHDOG_S}\nRestartSec=100ms\n")
        computer.write("/etc/systemd/system/venue.service", VENUE)
        run("systemctl", "daemon-reload")
        run("systemctl", "start", "venue")
        (ready,) = computer.until(lambda: computer.said("venue", "sandbox.ready"), "the venue")
        for name in ("api_key", "api_secret"):
            computer.write(f"/etc/credstore/binmon.binance_{name}", ready[name], mode="0600")
        yield computer


def configure(computer: Machine, *, mode: str = "0640", **sections: Any) -> None:
    computer.write(CONFIG, yaml.safe_dump(service_configuration(**sections)), mode=mode, group="binmon")


@pytest.fixture
def service(computer: Machine) -> Iterator[Machine]:
    """The service runs, and is ready."""
    configure(computer)
    computer.run("systemctl", "start", "binmon")
    yield computer
    computer.run("systemctl", "stop", "binmon", check=False)
    computer.run("systemctl", "reset-failed", "binmon", check=False)


def runs_again(computer: Machine, restarts: int) -> Callable[[], bool]:
    def asked() -> bool:
        shown = computer.show("binmon", "NRestarts", "ActiveState", "SubState")
        return shown == {"NRestarts": str(restarts), "ActiveState": "active", "SubState": "running"}

    return asked


def verified(computer: Machine) -> str:
    """What ``binmon books verify`` says of the recording; it must be sound."""
    computer.run("systemctl", "stop", "binmon")
    return computer.run("/opt/binmon/bin/binmon", "books", "verify", "/var/lib/binmon/data").stdout


# In the container -----------------------------------------------------------------------------------------------------


def test_the_units_are_sound_and_little_exposed(computer: Machine) -> None:
    for unit in ("binmon.service", "binmon@one.service"):
        done = computer.run("systemd-analyze", "verify", "--man=no", f"/etc/systemd/system/{unit}")
        assert done.stdout + done.stderr == ""
        said = computer.run("systemd-analyze", "security", "--no-pager", unit).stdout
        exposure = re.search(rf"Overall exposure level for {re.escape(unit)}: ([0-9.]+)", said)
        assert exposure is not None and float(exposure[1]) <= MOST_EXPOSURE, said


def test_ready_with_a_status_a_journal_of_json_and_keys_from_credentials(service: Machine) -> None:
    shown = service.show("binmon", "ActiveState", "Type", "MainPID", "ExecMainStartTimestamp")
    assert (shown["ActiveState"], shown["Type"]) == ("active", "notify")
    service.until(lambda: STATUS.fullmatch(service.show("binmon", "StatusText")["StatusText"]), "the status")
    (ready,) = service.said("binmon", "daemon.ready")[-1:]
    assert ready["missing"] == []
    # ready came after both books and the user-data stream, in the journal's own order
    messages = [entry["MESSAGE"] for entry in service.journal("binmon") if entry.get("_PID") == shown["MainPID"]]
    lines = [json.loads(message) for message in messages]  # every line is one
    events = [line["event"] for line in lines]
    synced = [number for number, line in enumerate(lines) if line["event"] == "book.state" and line["to"] == "synced"]
    assert len(synced) >= 2 and synced[1] < events.index("daemon.ready")
    assert events.index("user_stream.subscribed") < events.index("daemon.ready")
    # only who has the key is told of orders
    service.until(lambda: service.said("binmon", "latency.measured"), "a timed order")
    status = service.run("cat", f"/proc/{shown['MainPID']}/status").stdout
    assert re.search(r"^NoNewPrivs:\t1$", status, re.M) and re.search(r"^Seccomp:\t2$", status, re.M)
    assert re.search(r"^CapBnd:\t0+$", status, re.M) and not re.search(r"^Uid:\t0\t", status, re.M)


def test_reload_applies_a_threshold(service: Machine) -> None:
    pid = service.show("binmon", "MainPID")
    began_s = time.time()
    configure(service, latency={"threshold_ms": 4321})
    service.run("systemctl", "reload", "binmon")
    service.until(lambda: service.said("binmon", "config.reloaded", since_s=began_s), "config.reloaded")
    service.until(
        lambda: any(
            line["threshold_ms"] == 4321 for line in service.said("binmon", "latency.measured", since_s=began_s)
        ),
        "an order judged by the new threshold",
    )
    service.until(lambda: service.show("binmon", "ActiveState") == {"ActiveState": "active"}, "the end of the reload")
    assert service.show("binmon", "MainPID") == pid
    assert not service.said("binmon", "stream.disconnected", since_s=began_s)


def test_sigstop_is_answered_by_the_watchdog(service: Machine) -> None:
    began_s = time.time()
    pid = service.show("binmon", "MainPID")["MainPID"]
    service.run("systemctl", "kill", "--signal=STOP", "binmon")
    service.until(runs_again(service, 1), "the restart", 90)
    assert service.show("binmon", "MainPID")["MainPID"] != pid

    def said(pattern: str) -> int:
        messages = [str(entry["MESSAGE"]) for entry in service.journal("binmon", since_s=began_s)]
        return sum(re.search(pattern, message) is not None for message in messages)

    # the journal may be a moment behind
    service.until(lambda: said("Watchdog timeout"), "the watchdog's words")
    # Of a process that runs on meanwhile the stacks are read without a lock: that may be cut short. The main thread is the
    # last of them, so what it did is not sure to be told.
    service.until(lambda: said("^(Current thread|Thread) 0x") > 10, "the stacks of the threads, as they were")
    assert "sound" in verified(service)


def test_kill_is_answered_by_a_restart_with_nothing_lost(service: Machine) -> None:
    service.until(lambda: len(service.said("binmon", "latency.measured")) > 2, "orders")
    began_s = time.time()
    service.run("systemctl", "kill", "--signal=KILL", "binmon")
    service.until(runs_again(service, 1), "the restart", 90)
    service.until(lambda: service.said("binmon", "latency.measured", since_s=began_s), "orders again")
    service.until(
        lambda: any(line["rows"] > 0 for line in service.said("binmon", "recorder.segment_finished", since_s=began_s)),
        "what the one before left",
    )
    finished = service.said("binmon", "recorder.segment_finished", since_s=began_s)
    assert all(line["rows_lost"] == 0 for line in finished)
    assert "sound" in verified(service)


def test_a_stop_comes_within_its_time(service: Machine) -> None:
    service.until(lambda: service.said("binmon", "latency.measured"), "orders")
    service.run("systemctl", "stop", "binmon")
    # by systemd's own account: from the signal until nothing is left
    moments = service.show("binmon", "ActiveExitTimestampMonotonic", "InactiveEnterTimestampMonotonic")
    began_us, ended_us = map(int, moments.values())
    assert 0 <= ended_us - began_us < STOP_WITHIN_S * 1e6
    shown = service.show("binmon", "ActiveState", "Result", "ExecMainStatus")
    assert shown == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
    assert service.said("binmon", "daemon.stopped")[-1:]


@pytest.mark.parametrize(
    ("mode", "sections", "reason"),
    [
        ("0600", {}, f"{CONFIG}: cannot be read: Permission denied"),
        ("0640", {"latency": {"treshold_ms": 5}}, "latency.treshold_ms"),
        ("0640", {"latency": {"symbol": "NOSUCHUSDT"}}, "NOSUCHUSDT is not listed by binance"),  # only the venue knows
    ],
)
def test_a_wrong_configuration_fails_the_start_with_the_reason(
    computer: Machine, mode: str, sections: dict[str, Any], reason: str
) -> None:
    configure(computer, mode=mode, **sections)
    try:
        assert computer.run("systemctl", "start", "binmon", check=False).returncode != 0
        shown = computer.show("binmon", "ActiveState", "Result", "ExecMainStatus", "NRestarts")
        assert shown == {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "2", "NRestarts": "0"}
        status = computer.run("systemctl", "status", "--no-pager", "--full", "binmon", check=False).stdout
        (line,) = re.findall(r'^ *Status: "(.*)"$', status, re.M)
        assert reason in line, status
    finally:
        computer.run("systemctl", "stop", "binmon", check=False)
        computer.run("systemctl", "reset-failed", "binmon", check=False)


def test_instances_run_beside_each_other(service: Machine) -> None:
    config = service_configuration(metrics={"listen": "127.0.0.1:9788"}, latency={"enabled": False})
    service.write("/etc/binmon/second.yaml", yaml.safe_dump(config), mode="0640", group="binmon")
    service.run("systemctl", "start", "binmon@second")
    try:
        for unit in ("binmon", "binmon@second"):
            assert service.show(unit, "ActiveState") == {"ActiveState": "active"}
        assert service.run("stat", "-c", "%U %a", "/var/lib/binmon-second/data").stdout.split() == ["binmon", "750"]
    finally:
        service.run("systemctl", "stop", "binmon@second")


# Without a container --------------------------------------------------------------------------------------------------


class ServiceManagerAtHome:
    """A socket as systemd has one, and what it was told."""

    def __init__(self, path: Path) -> None:
        self.told: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                text = self._socket.recv(65536).decode()
            except TimeoutError:
                continue
            self.told.append(dict(line.split("=", 1) for line in text.split("\n")))

    def having(self, name: str) -> list[dict[str, str]]:
        return [fields for fields in list(self.told) if name in fields]

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManagerAtHome]:
    path = tmp_path / "notify"
    manager = ServiceManagerAtHome(path)
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    yield manager
    manager.close()


def test_what_the_daemon_tells(manager: ServiceManagerAtHome, daemon: Callable[..., DaemonProcess]) -> None:
    with Sandbox(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"), rate=50.0)) as venue:
        config = configuration(
            venue.rest_url, venue.stream_url, ["BTCUSDT", "ETHUSDT"], books={"depth": 100}, latency={"enabled": False}
        )
        process = daemon(config)
        process.until(lambda: bool(manager.having("READY")), what="READY")
        process.wait_for("daemon.ready")
        events = [(line["event"], line.get("to")) for line in list(process.lines)]
        assert events[: events.index(("daemon.ready", None))].count(("book.state", "synced")) >= 2
        process.until(lambda: any(STATUS.fullmatch(one["STATUS"]) for one in manager.having("STATUS")), what="STATUS")
        known = len(manager.having("WATCHDOG"))
        process.until(lambda: len(manager.having("WATCHDOG")) >= known + 3, what="WATCHDOG")
        assert process.stop() == 0
    end_s = time.monotonic() + 60
    while not manager.having("STOPPING"):  # whoever listens may be a moment behind
        assert time.monotonic() < end_s, "nothing was told of the stop"
        threading.Event().wait(0.05)
    assert manager.having("STOPPING") == [{"STOPPING": "1", "STATUS": "stopping: SIGTERM"}]
    assert len(manager.having("READY")) == 1


HANGING = """
import pathlib, sys, threading
from binmon.books.keeper import BookKeeper
from binmon.cli.main import main

def hang_here(keeper, now_s, tick=BookKeeper.tick):
    if pathlib.Path("hang").exists():
        threading.Event().wait()
    tick(keeper, now_s)

BookKeeper.tick, BookKeeper.silence_limit_s = hang_here, 10.0
sys.exit(main(["run", "-c", "config.yaml", "--log-format", "json"]))
"""


def test_a_worker_that_hangs_is_written_down_and_the_watchdog_left_to_bite(
    manager: ServiceManagerAtHome, tmp_path: Path
) -> None:
    with Sandbox(SandboxOptions(symbols=("BTCUSDT",), rate=50.0)) as venue:
        config = configuration(venue.rest_url, venue.stream_url, ["BTCUSDT"], latency={"enabled": False})
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        with (tmp_path / "stdout").open("wb") as out, (tmp_path / "stderr").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", HANGING],
                cwd=tmp_path,
                stdout=out,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            )
        try:
            until(lambda: len(manager.having("WATCHDOG")) >= 2 and manager.having("READY"), process)
            (tmp_path / "hang").touch()
            until(lambda: "worker.stalled" in (tmp_path / "stdout").read_text(), process)
            until(lambda: "thread binance-books" in (tmp_path / "stderr").read_text(), process)
            status = "0/1 books" if not manager.having("STATUS") else manager.having("STATUS")[-1]["STATUS"]
            until(lambda: "hanging: binance-books" in manager.having("STATUS")[-1]["STATUS"], process)
            told = len(manager.having("WATCHDOG"))  # all that came before are heard: they come in order
            threading.Event().wait(2.5)  # five times the pause between two, had it gone on
            assert len(manager.having("WATCHDOG")) == told, status
            assert process.poll() is None  # killing is the watchdog's
            process.send_signal(signal.SIGABRT)
            assert process.wait(60) == -signal.SIGABRT
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    (line,) = [json.loads(one) for one in (tmp_path / "stdout").read_text().splitlines() if '"worker.stalled"' in one]
    assert line["worker"] == "binance-books" and any("hang_here" in place for place in line["where"])
    errors_text = (tmp_path / "stderr").read_text()
    assert errors_text.count("thread binance-books") == 1  # once
    assert "Fatal Python error: Aborted" in errors_text


def until(true: Callable[[], Any], process: subprocess.Popen[bytes], within_s: float = 60.0) -> None:
    end_s = time.monotonic() + within_s
    while not true():
        assert process.poll() is None, "the daemon ended"
        assert time.monotonic() < end_s, "waited in vain"
        threading.Event().wait(0.05)
