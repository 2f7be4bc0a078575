"""Bytes off a socket → messages: ``python benchmarks/frames.py``.

FrameCutter over reads of 32 KiB against websocket-client's ``recv()`` on the same socket pair, and against the
parser of ``websockets`` fed with the same reads. Mixed sizes: 2 % of 2 KB, 15 % of 600 bytes, the rest 150.
"""

from __future__ import annotations

import importlib.util
import random
import socket
import threading
from collections.abc import Callable

from table import interleaved, show

from binmon.net.frames import FrameCutter

COUNT = 30_000
READ = 32 * 1024


def stream(seed: int = 7) -> bytes:
    """``COUNT`` text frames as a server sends them."""
    dice = random.Random(seed)
    parts = []
    for size in dice.choices((2_078, 600, 150), (2, 15, 83), k=COUNT):
        parts.append(b"\x81\x7e" + size.to_bytes(2, "big") + b"x" * size)
    return b"".join(parts)


def with_sender(wire: bytes, receive: Callable[[socket.socket], int]) -> int:
    """Run ``receive`` on one end while a thread sends ``wire`` into the other."""
    near, far = socket.socketpair()
    sender = threading.Thread(target=far.sendall, args=(wire,))
    sender.start()
    try:
        return receive(near)
    finally:
        sender.join()
        near.close()
        far.close()


def cutter(near: socket.socket) -> int:
    one, count = FrameCutter(), 0
    while count < COUNT:
        count += len(one.feed(near.recv(READ)))
    return count


def websocket_client(near: socket.socket) -> int:
    import websocket

    client = websocket.WebSocket(skip_utf8_validation=True)  # generous: its check is pure Python without wsaccel
    client.sock, client.connected = near, True
    for _ in range(COUNT):
        client.recv()
    return COUNT


def websockets_parser(near: socket.socket) -> int:
    from websockets.frames import Opcode
    from websockets.protocol import CLIENT, Protocol

    protocol, count = Protocol(CLIENT), 0
    while count < COUNT:
        protocol.receive_data(near.recv(READ))
        count += sum(event.opcode is Opcode.TEXT for event in protocol.events_received())
    return count


if __name__ == "__main__":
    wire = stream()
    engines: dict[str, Callable[[], int]] = {"binmon": lambda: with_sender(wire, cutter)}
    for name, module, engine in (
        ("websocket-client", "websocket", websocket_client),
        ("websockets", "websockets", websockets_parser),
    ):
        if importlib.util.find_spec(module) is None:
            print(f"{name}: not installed, skipped")
        else:
            engines[name] = lambda engine=engine: with_sender(wire, engine)  # type: ignore[misc]
    costs = interleaved(engines)
    show("Frame received, mixed sizes, socket pair", costs, "binmon", [("websocket-client", 12.0)])
