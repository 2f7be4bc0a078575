import socket

import pytest

from binmon.sandbox import outbox as outbox_module
from binmon.sandbox.outbox import Outbox


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    left.setblocking(False)
    right.settimeout(30)
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def clock(standing):
    return standing(outbox_module)


def read(reader, length):
    data = b""
    while len(data) < length:
        data += reader.recv(65536)
    return data


def test_what_does_not_fit_waits_and_wakes(pair):
    woken = []
    outbox = Outbox(pair[0], 50_000_000, lambda: woken.append(1))
    data = bytes(range(256)) * 20_000
    assert outbox.put(data) and outbox.put(b"end")
    outbox.flush()
    assert outbox.pending_bytes > 0 and woken
    assert outbox.next_write() == (True, None)
    received = b""
    while outbox.pending_bytes:
        received += pair[1].recv(1 << 20)
        outbox.flush()
    received += read(pair[1], len(data) + 3 - len(received))
    assert received == data + b"end"
    assert outbox.sent_bytes == len(received)


def test_bound(pair):
    outbox = Outbox(pair[0], 10, lambda: None)
    assert outbox.put(b"12345678")
    assert not outbox.put(b"123")
    assert outbox.put(b"123", unlimited=True)
    outbox.close()
    assert outbox.put(b"1" * 100)
    assert outbox.pending_bytes == 0


def test_held_outbox_writes_nothing(pair):
    outbox = Outbox(pair[0], 100, lambda: None)
    outbox.hold(True)
    outbox.put(b"x")
    outbox.flush()
    assert outbox.next_write() == (False, None)
    outbox.hold(False)
    outbox.flush()
    assert pair[1].recv(10) == b"x"


def test_slow_link_keeps_order(pair, clock):
    outbox = Outbox(pair[0], 100, lambda: None)
    outbox.slow_down(0.2, 0, 0.05)
    outbox.put(b"a")
    clock.now += 0.06
    outbox.put(b"b")
    outbox.flush()
    writable, due = outbox.next_write()
    assert not writable and due - clock.now == pytest.approx(0.14)
    clock.now = due + 0.01
    outbox.flush()
    assert read(pair[1], 2) == b"ab"
    outbox.slow_down(0.0, 100, 5)
    outbox.put(b"x" * 30)
    assert outbox.next_write()[1] - clock.now == pytest.approx(0.3)


def test_gone_client_is_not_an_error(pair):
    outbox = Outbox(pair[0], 1000, lambda: None)
    pair[1].close()
    for _ in range(3):
        outbox.put(b"x")
        outbox.flush()
    assert outbox.pending_bytes == 0
