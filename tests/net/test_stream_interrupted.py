"""A connection that fails while it is made leaves no socket open."""

from __future__ import annotations

import socket
import threading

import pytest
import websocket

from binmon.core.channel import Channel, Overflow
from binmon.net.ledger import RateLedger
from binmon.net.stream import StreamConnection


def test_a_bug_in_the_handshake_closes_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(websocket.WebSocket, "connect", fail)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        connection = StreamConnection(
            "market-1",
            venue="binance",
            url=f"ws://127.0.0.1:{server.getsockname()[1]}/ws",
            streams=("a",),
            out=Channel("inbox", 10, Overflow.DROP_NEWEST),
            ledger=RateLedger("binance"),
        )
        with pytest.raises(ZeroDivisionError) as raised:
            connection.run(threading.Event())
        theirs, _ = server.accept()
        with theirs:
            theirs.settimeout(30)
            # while the error is kept, with all that it holds: nobody else closes it
            assert theirs.recv(1) == b"" and raised.traceback
