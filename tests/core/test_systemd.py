"""sd_notify over a real datagram socket, and the watchdog's interval."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from binmon.core.systemd import ServiceManager, watchdog_interval_s


class Listener:
    """The other side: what systemd is."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(30)

    def next(self) -> dict[str, str]:
        text = self.socket.recv(65536).decode()
        return dict(line.split("=", 1) for line in text.split("\n"))

    def is_quiet(self) -> bool:
        self.socket.settimeout(0)
        try:
            self.socket.recv(65536)
        except BlockingIOError:
            return True
        return False


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notify"


@pytest.fixture
def listener(path: Path) -> Iterator[Listener]:
    listener = Listener(str(path))
    yield listener
    listener.socket.close()


def test_tells_all_fields_in_one_message(path: Path, listener: Listener) -> None:
    manager = ServiceManager(str(path))
    assert manager.listens
    assert manager.tell(READY=1, STATUS="12/12 books, clock +1.2±0.4 ms")
    assert listener.next() == {"READY": "1", "STATUS": "12/12 books, clock +1.2±0.4 ms"}
    assert listener.is_quiet()


def test_a_line_break_in_a_value_begins_no_other_field(path: Path, listener: Listener) -> None:
    ServiceManager(str(path)).tell(STATUS="one\nSTOPPING=1\r\ntwo")
    assert listener.next() == {"STATUS": "one STOPPING=1 two"}


def test_an_abstract_address() -> None:
    name = f"binmon-test-{os.getpid()}-{time.monotonic_ns()}"
    listener = Listener("\0" + name)
    try:
        assert ServiceManager("@" + name).tell(WATCHDOG=1)
        assert listener.next() == {"WATCHDOG": "1"}
    finally:
        listener.socket.close()


def test_a_reload_bears_the_monotonic_time(path: Path, listener: Listener) -> None:
    before_us = time.monotonic_ns() // 1000
    assert ServiceManager(str(path)).tell_reloading()
    fields = listener.next()
    assert fields.pop("RELOADING") == "1"
    assert before_us <= int(fields.pop("MONOTONIC_USEC")) <= time.monotonic_ns() // 1000
    assert not fields


@pytest.mark.parametrize("variables", [{}, {"NOTIFY_SOCKET": ""}, {"WATCHDOG_USEC": "5000000"}])
def test_nothing_happens_without_a_socket(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("a socket was made")

    manager = ServiceManager.of(variables)
    monkeypatch.setattr(socket, "socket", never)
    assert not manager.listens and manager.watchdog_s is None
    assert not manager.tell(READY=1)
    assert not manager.tell_reloading()


def test_an_address_of_another_family_is_left_alone_and_said() -> None:
    with capture_logs() as lines:
        manager = ServiceManager("vsock:2:1234", 5.0)
    assert [line["event"] for line in lines] == ["service.untold"]
    assert not manager.listens and manager.watchdog_s is None
    assert not manager.tell(READY=1)


def test_a_manager_that_went_away_is_said_once_and_told_again_when_it_returns(path: Path) -> None:
    manager = ServiceManager(str(path))
    with capture_logs() as lines:
        assert not manager.tell(STATUS="a")
        assert not manager.tell(STATUS="b")
    assert [line["event"] for line in lines] == ["service.untold"]
    listener = Listener(str(path))
    try:
        assert manager.tell(STATUS="c")
        assert listener.next() == {"STATUS": "c"}
    finally:
        listener.socket.close()


def test_a_manager_that_does_not_read_does_not_stop_us(path: Path, listener: Listener) -> None:
    manager = ServiceManager(str(path))
    sent = 0
    began_s = time.monotonic()
    with capture_logs():
        while manager.tell(STATUS="x" * 1000):
            sent += 1
            assert sent < 100_000
    assert sent > 0  # its queue took some
    assert time.monotonic() - began_s < 60


@pytest.mark.parametrize(
    ("usec", "pid", "interval_s"),
    [
        ("30000000", "", 30.0),
        ("30000000", "42", 30.0),
        ("30000000", "43", None),  # that of our parent
        ("500000", "42", 0.5),
        ("0", "42", None),
        ("", "42", None),
        ("-1", "42", None),
        ("soon", "42", None),
        ("٣", "42", None),
    ],
)
def test_the_interval_of_the_watchdog(usec: str, pid: str, interval_s: float | None) -> None:
    assert watchdog_interval_s({"WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}, 42) == interval_s


def test_no_watchdog_without_its_variables() -> None:
    assert watchdog_interval_s({}, 42) is None


def test_the_environment_tells_all(path: Path, listener: Listener) -> None:
    variables = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}
    manager = ServiceManager.of(variables)
    assert manager.watchdog_s == 2.0
    assert manager.tell(READY=1)
    assert listener.next() == {"READY": "1"}
