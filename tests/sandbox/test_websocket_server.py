"""A websocket service with a dialogue of a test: what is said on a connection is none of the service's business."""

import itertools
import time

import pytest
import websocket

from binmon.sandbox import handshake
from binmon.sandbox.clock import VenueClock
from binmon.sandbox.frames import frame
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.websocket_server import WebSocketServer


class Echo:
    """Says what it hears, in capitals."""

    streams = ()

    def __init__(self, connection):
        self.connection = connection
        self.told = []

    def greet(self, request):
        if request.path != "/echo":
            return handshake.refused(handshake.Refusal(404, "Not Found", "")), False
        return handshake.accepted(request)

    def opened(self):
        self.told.append("opened")

    def hear(self, text):
        self.connection.say(text.upper())

    def shutdown_notice(self):
        return frame(b"goodbye")

    def ended(self):
        self.told.append("ended")

    def look(self):
        return {"told": list(self.told)}


@pytest.fixture
def serve():
    """Start services that end with the test."""
    running = []

    def serve(**options):
        dialogues = []

        def converse(connection):
            dialogues.append(Echo(connection))
            return dialogues[-1]

        limit = options.pop("messages_per_second", None)
        server = WebSocketServer(
            "echo", 0, converse, SandboxOptions(**options), VenueClock(), itertools.count(7), limit
        )  # fmt: skip
        server.dialogues = dialogues
        server.start()
        running.append(server)
        return server

    yield serve
    for server in running:
        server.stop(time.monotonic() + 5)


@pytest.fixture
def connect(serve):
    """Connect clients that are closed with the test, before the services are."""
    clients = []

    def connect(server, path="/echo"):
        clients.append(websocket.create_connection(f"ws://127.0.0.1:{server.port}{path}", timeout=20))
        return clients[-1]

    yield connect
    for client in clients:
        client.shutdown()


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_texts_go_to_the_dialogue_and_back(serve, connect):
    server = serve()
    client = connect(server)
    client.send("hello")
    assert client.recv() == "HELLO"
    [connection] = server.connections()
    info = connection.info()
    assert (info["id"], info["service"], info["path"], info["told"]) == (7, "echo", "/echo", ["opened"])
    client.close()
    until(lambda: server.dialogues[0].told == ["opened", "ended"])
    until(lambda: server.counters() == {"connects": 1, "disconnects": 1, "frames_delivered": 0})


def test_the_dialogue_refuses_urls(serve, connect):
    server = serve()
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        connect(server, "/other")
    assert caught.value.status_code == 404
    until(lambda: server.dialogues[0].told == ["ended"])
    assert "connects" not in server.counters()


def test_a_fault_refuses_before_the_dialogue_is_asked(serve, connect):
    server = serve()
    server.refuse = lambda: "http_503"
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        connect(server, "/other")
    assert caught.value.status_code == 503


def test_events_and_the_shutdown_notice_are_counted(serve, connect):
    server = serve()
    client = connect(server)
    until(server.connections)
    [connection] = server.connections()
    until(lambda: connection.delivering)
    connection.deliver(frame(b"news"))
    connection.announce_shutdown()
    assert [client.recv(), client.recv()] == ["news", "goodbye"]
    assert connection.info()["events"] == 2


@pytest.mark.parametrize(("limit", "ends"), [(3, True), (None, False)])
def test_messages_are_limited_where_the_service_says_so(serve, connect, limit, ends):
    client = connect(serve(messages_per_second=limit))
    frame = websocket.ABNF.create_frame("x", websocket.ABNF.OPCODE_TEXT).format()
    client.sock.sendall(frame * 20)  # in one piece, so that they arrive within a second
    opcodes = []
    while len(opcodes) < 20 and 0x8 not in opcodes:
        opcodes.append(client.recv_frame().opcode)
    assert (0x8 in opcodes) is ends


def test_commands_run_in_the_thread_of_the_connection(serve, connect):
    server = serve()
    client = connect(server)
    until(server.connections)
    [connection] = server.connections()
    connection.command(lambda: connection.say("from inside"))
    assert client.recv() == "from inside"
