"""One connection against a small server on the protocol core of websockets, over real sockets."""

import contextlib
import pathlib
import socket
import ssl
import struct
import threading
import time

import pytest
import structlog
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from binmon.core.channel import Channel, Overflow
from binmon.errors import (
    Banned,
    ChannelFull,
    ProtocolViolation,
    RateLimited,
    StreamClosed,
    VenueUnreachable,
)
from binmon.messages import FrameChunk, StreamDown, StreamUp
from binmon.net.ledger import RateLedger, SlidingBudget
from binmon.net.posts import Post
from binmon.net.stream import StreamConnection

STREAMS = ("btcusdt@depth@100ms", "ethusdt@depth@100ms")


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection, answer):
        self.socket = connection
        self.socket.settimeout(30)
        self.protocol = ServerProtocol(max_size=None)
        self.frames = []
        self.path = None
        self._handshake(answer)

    def _handshake(self, answer):
        while self.path is None:
            self.protocol.receive_data(self.socket.recv(65536))
            for event in self.protocol.events_received():
                assert isinstance(event, Request)
                self.path, self.headers = event.path, event.headers
                if answer is None:
                    self.protocol.send_response(self.protocol.accept(event))
                    self.flush()
                else:
                    self.socket.sendall(answer)

    def flush(self):
        for data in self.protocol.data_to_send():
            if data:
                self.socket.sendall(data)

    def texts(self, *payloads):
        """Several text frames in one write."""
        wire = b"".join(Frame(Opcode.TEXT, payload).serialize(mask=False) for payload in payloads)
        self.socket.sendall(wire)

    def raw(self, data):
        self.socket.sendall(data)

    def frame(self, opcode, payload):
        self.raw(Frame(opcode, payload).serialize(mask=False))

    def receive(self):
        """The next frame of the client as (opcode, payload); None at the end of the connection."""
        while not self.frames:
            data = self.socket.recv(65536)
            if not data:
                return None
            self.protocol.receive_data(data)
            self.frames += [(event.opcode, bytes(event.data)) for event in self.protocol.events_received()]
        return self.frames.pop(0)

    def reset(self):
        """Cut with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Venue:
    """Listens, and runs ``script(peer)`` for each connection in a thread; what a script raises fails the test."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self.listener.getsockname()[1]}/stream?streams={'/'.join(STREAMS)}"
        self.errors, self.threads, self.script, self.answer = [], [], lambda peer: peer.receive(), None
        self.encryption = None
        self.accepting = threading.Thread(target=self._accept)
        self.accepting.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            thread.start()
            self.threads.append(thread)

    def _serve(self, connection):
        if self.encryption is not None:
            try:
                connection = self.encryption.wrap_socket(connection, server_side=True)
            except (ssl.SSLError, ConnectionError):
                connection.close()  # the client did not like our certificate
                return
        with connection:
            try:
                self.script(Peer(connection, self.answer))
            except Exception as error:
                self.errors.append(error)

    def finish(self):
        """Wait until the scripts of all connections have ended."""
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.accepting.join()
        self.finish()


@pytest.fixture
def venue():
    server = Venue()
    yield server
    server.close()
    assert server.errors == []


class Running:
    """A connection in its thread; ``end`` gives what ``run`` raised, or None."""

    def __init__(self, url, *, capacity=1000, overflow=Overflow.DROP_NEWEST, **options):
        self.out = Channel("frames", capacity, overflow)
        options = {"ledger": RateLedger("binance"), "streams": STREAMS, "out": self.out} | options
        self.worker = StreamConnection("market-1", venue="binance", url=url, **options)
        self.stop, self.error = threading.Event(), None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            self.worker.run(self.stop)
        except Exception as error:
            self.error = error

    def message(self, timeout=30.0):
        return self.out.take(timeout)

    def up(self):
        message = self.message()
        assert isinstance(message, StreamUp)
        return message

    def frames(self, count):
        """So many text frames, whatever the reads they came in."""
        found = []
        while len(found) < count:
            message = self.message()
            assert isinstance(message, FrameChunk), message
            found += message.frames
        return found

    def end(self, timeout=30.0):
        self.thread.join(timeout)
        assert not self.thread.is_alive()
        return self.error

    def closed(self):
        """The reason of the StreamClosed, after checking that a StreamDown said the same and came last."""
        error = self.end()
        assert isinstance(error, StreamClosed), error
        last = None
        while (message := self.message(0)) is not None:
            last = message
        assert last == StreamDown("binance", "market-1", STREAMS, error.reason)
        return error.reason


def until(true):
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_delivers_in_order_with_receive_times(venue):
    expected = [f'{{"u":{number},"x":"{"y" * (number % 300)}"}}'.encode() for number in range(2000)]

    def script(peer):
        assert peer.path.endswith("/".join(STREAMS))
        assert "Sec-WebSocket-Extensions" not in peer.headers
        for begin in range(0, 2000, 50):
            peer.texts(*expected[begin : begin + 50])
        assert peer.receive()[0] is Opcode.CLOSE

    venue.script = script
    before_ns, before_mono_ns = time.time_ns(), time.monotonic_ns()
    with structlog.testing.capture_logs() as lines:
        running = Running(venue.url)
        up = running.up()
        assert (up.venue, up.connection, up.streams) == ("binance", "market-1", STREAMS)
        found, chunks = [], 0
        while len(found) < 2000:
            chunk = running.message()
            assert chunk.connection == "market-1"
            assert before_ns <= chunk.received_ns <= time.time_ns()
            assert before_mono_ns <= chunk.received_mono_ns <= time.monotonic_ns()
            found += chunk.frames
            chunks += 1
        assert found == expected
        assert chunks < 1000  # a message a read, not a frame
        assert running.worker.progress_count == 1
        running.stop.set()
        assert running.end() is None
    assert running.message(0) == StreamDown("binance", "market-1", STREAMS, "stopped")
    connected, disconnected = (line for line in lines if line["event"].startswith("stream."))
    assert connected == {
        "event": "stream.connected", "log_level": "info", "venue": "binance", "connection": "market-1", "streams": 2,
    }  # fmt: skip
    assert (disconnected["event"], disconnected["log_level"]) == ("stream.disconnected", "info")


def test_no_progress_by_a_mere_connection(venue):
    venue.script = lambda peer: (peer.frame(Opcode.PING, b"1"), peer.receive())
    running = Running(venue.url)
    assert "without a close frame" in running.closed()
    assert running.worker.progress_count == 0


def test_a_pong_has_the_payload_of_its_ping(venue):
    venue.script = lambda peer: [
        peer.frame(Opcode.PING, b"1784600000123"),
        pongs.append(peer.receive()),
        peer.frame(Opcode.PING, b""),
        pongs.append(peer.receive()),
    ]
    pongs = []
    Running(venue.url).closed()
    venue.finish()
    assert pongs == [(Opcode.PONG, b"1784600000123"), (Opcode.PONG, b"")]


def test_a_flood_of_pings_is_answered_within_the_limit_and_the_newest_last(venue):
    pongs, arrived = [], []

    def script(peer):
        began = time.monotonic()
        for number in range(30):
            peer.frame(Opcode.PING, str(number).encode())
            time.sleep(0.01)
        while not pongs or pongs[-1] != b"29":
            pongs.append(peer.receive()[1])
            arrived.append(time.monotonic() - began)

    venue.script = script
    Running(venue.url).closed()
    venue.finish()
    assert len(pongs) >= 2
    assert pongs == sorted(pongs, key=int)
    # four in a second, however long the pings took
    assert all(at_s > 0.9 * (number // 4) for number, at_s in enumerate(arrived))


def test_opening_messages_are_sent_within_the_limit_before_the_stream_is_up(venue):
    asked = []

    def script(peer):
        for _ in range(6):
            frame = peer.receive()
            asked.append((time.monotonic(), frame))
        peer.texts(b'{"result":null,"id":1}')

    venue.script = script
    messages = tuple(f'{{"id":{number}}}'.encode() for number in range(6))
    began = time.monotonic()
    running = Running(venue.url, opening_messages=messages)
    up = running.up()
    assert running.frames(1) == [b'{"result":null,"id":1}']
    running.closed()
    venue.finish()
    assert [frame for _, frame in asked] == [(Opcode.TEXT, message) for message in messages]
    assert asked[4][0] - began > 0.9
    assert up.at_mono_ns / 1e9 > began + 0.9


def test_binary_and_empty_frames_are_counted_and_dropped(venue):
    def script(peer):
        peer.frame(Opcode.BINARY, b"\0\1")
        peer.texts(b"", b"a")
        peer.raw(Frame(Opcode.TEXT, b"b", fin=False).serialize(mask=False))
        peer.frame(Opcode.PING, b"between")
        peer.raw(Frame(Opcode.CONT, b"c").serialize(mask=False))
        assert peer.receive() == (Opcode.PONG, b"between")

    venue.script = script
    running = Running(venue.url)
    running.up()
    assert running.frames(2) == [b"a", b"bc"]
    running.closed()
    assert (running.worker.binary_frames, running.worker.empty_frames) == (1, 1)


@pytest.mark.parametrize(
    ("payload", "reason", "answer"),
    [
        (b"\x03\xf0Too slow", "closed by the venue with code 1008: Too slow", b"\x03\xf0"),
        (b"\x03\xe9", "closed by the venue with code 1001", b"\x03\xe9"),
        (b"", "closed by the venue without a code", b"\x03\xe8"),
    ],
)
def test_a_close_frame_is_answered_and_what_came_before_is_delivered(venue, payload, reason, answer):
    answers = []

    def script(peer):
        peer.texts(b"last words")
        peer.frame(Opcode.CLOSE, payload)
        answers.append(peer.receive())

    venue.script = script
    with structlog.testing.capture_logs() as lines:
        running = Running(venue.url)
        running.up()
        assert running.frames(1) == [b"last words"]
        assert running.closed() == reason
    venue.finish()
    assert answers == [(Opcode.CLOSE, answer)]
    [line] = [line for line in lines if line["event"] == "stream.disconnected"]
    assert (line["log_level"], line["reason"], line["streams"]) == ("warning", reason, 2)


def test_an_end_without_a_close_frame(venue):
    venue.script = lambda peer: peer.texts(b"a")
    assert Running(venue.url).closed() == "closed without a close frame"


def test_a_reset(venue):
    gate = threading.Event()
    venue.script = lambda peer: (gate.wait(30), peer.reset())
    running = Running(venue.url)
    running.up()
    gate.set()
    assert "connection lost" in running.closed()


@pytest.mark.parametrize("pings", [False, True])
def test_silence_ends_a_connection_and_pings_are_no_silence(venue, pings):
    done = threading.Event()

    def script(peer):
        while pings and not done.wait(0.1):
            peer.frame(Opcode.PING, b"")
        with contextlib.suppress(ConnectionError):
            while peer.receive() is not None:
                pass

    venue.script = script
    silence_s = 4.0 if pings else 0.4
    running = Running(venue.url, silence_s=silence_s)
    running.up()
    if pings:
        assert not running.thread.join(5.0) and running.thread.is_alive()
        done.set()
    said = running.closed()
    assert said.startswith("silent for ") and float(said.split()[2]) >= silence_s


def test_a_request_to_reconnect(venue):
    frames = []
    venue.script = lambda peer: frames.append(peer.receive())
    running = Running(venue.url)
    running.up()
    began = time.monotonic()
    running.worker.reconnect("3 streams are silent")
    assert running.closed() == "3 streams are silent"
    assert time.monotonic() - began < 20
    venue.finish()
    assert frames == [(Opcode.CLOSE, b"\x03\xe8")]


def test_a_request_of_the_connection_before_is_forgotten(venue):
    venue.script = lambda peer: peer.texts(b"a")
    running = Running(venue.url)
    running.closed()
    running.worker.reconnect("too late")
    with pytest.raises(StreamClosed, match="without a close frame"):
        running.worker.run(threading.Event())


def test_a_stop_is_quick_even_when_the_venue_does_not_answer(venue):
    gate = threading.Event()
    venue.script = lambda peer: gate.wait(60)
    running = Running(venue.url)
    running.up()
    began = time.monotonic()
    running.stop.set()
    assert running.end() is None
    assert 0.9 < time.monotonic() - began < 20
    gate.set()


def test_a_stop_ends_with_the_answer_of_the_venue(venue, monkeypatch):
    monkeypatch.setattr("binmon.net.stream.CLOSE_WAIT_S", 60.0)

    def script(peer):
        assert peer.receive() == (Opcode.CLOSE, b"\x03\xe8")
        peer.texts(b"too late")
        peer.frame(Opcode.CLOSE, b"\x03\xe8")
        assert peer.receive() is None

    venue.script = script
    running = Running(venue.url)
    running.up()
    began = time.monotonic()
    running.stop.set()
    assert running.end() is None
    assert time.monotonic() - began < 20
    assert isinstance(running.message(0), StreamDown)


def test_a_protocol_violation_costs_nothing_that_came_before(venue):
    answers = []

    def script(peer):
        good = Frame(Opcode.TEXT, b"good").serialize(mask=False)
        peer.raw(good + b"\xc1\x01a")
        answers.append(peer.receive())

    venue.script = script
    running = Running(venue.url)
    running.up()
    assert running.frames(1) == [b"good"]
    error = running.end()
    assert isinstance(error, ProtocolViolation)
    venue.finish()
    assert answers == [(Opcode.CLOSE, b"\x03\xea")]
    assert running.message(0).reason == "protocol violation: a reserved bit is set"


@pytest.mark.parametrize(
    ("head", "error", "wait_s"),
    [
        ("429 Too Many Requests\r\nRetry-After: 7", RateLimited, 7.0),
        ("429 Too Many Requests", RateLimited, 60.0),
        ("418 I'm a teapot\r\nRetry-After: 300", Banned, 300.0),
        ("503 Service Unavailable", VenueUnreachable, 0.0),
        ("200 OK", VenueUnreachable, 0.0),
        ("302 Found\r\nLocation: ws://127.0.0.1:1/", VenueUnreachable, 0.0),
        ("nonsense", VenueUnreachable, 0.0),
        (
            "101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong",
            VenueUnreachable,
            0.0,
        ),
    ],
)
def test_a_refused_handshake(venue, head, error, wait_s):
    venue.answer = f"HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n".encode()
    venue.script = lambda peer: None
    running = Running(venue.url)
    raised = running.end()
    assert type(raised) is error
    assert raised.retry_after_s == wait_s
    assert running.message(0) is None  # never up, so never down


def test_nobody_there_and_an_unknown_name_and_no_answer():
    assert isinstance(Running("ws://127.0.0.1:1/").end(), VenueUnreachable)
    assert isinstance(Running("ws://venue.invalid/").end(60), VenueUnreachable)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        running = Running(f"ws://127.0.0.1:{mute.getsockname()[1]}/", connect_timeout_s=0.2)
        assert isinstance(running.end(), VenueUnreachable)
        running = Running(f"wss://127.0.0.1:{mute.getsockname()[1]}/", connect_timeout_s=0.2)
        assert isinstance(running.end(), VenueUnreachable)
    for url in ("http://venue.test/", "ws:///path", "venue.test"):
        with pytest.raises(ValueError, match="WebSocket URL"):
            Running(url)


def test_proxies_of_the_environment_are_not_obeyed(venue, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    venue.script = lambda peer: peer.texts(b"a")
    running = Running(venue.url)
    running.up()
    running.closed()


def test_tls_and_a_certificate_that_nobody_vouches_for(venue):
    certificate = pathlib.Path(__file__).parent / "tls" / "localhost.pem"
    venue.encryption = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    venue.encryption.load_cert_chain(certificate)
    expected = [b"z" * size for size in (10, 20_000, 70_000, 5)] * 20

    def script(peer):
        peer.texts(*expected)
        peer.frame(Opcode.PING, b"p")
        assert peer.receive() == (Opcode.PONG, b"p")
        assert peer.receive()[0] is Opcode.CLOSE

    venue.script = script
    url = venue.url.replace("ws://", "wss://")
    running = Running(url, ssl_context=ssl.create_default_context(cafile=certificate))
    running.up()
    assert running.frames(80) == expected
    running.thread.join(0.6)  # some turns without data
    running.stop.set()
    assert running.end() is None
    error = Running(url).end()
    assert isinstance(error, VenueUnreachable) and "certificate" in error.reason


def test_the_connect_budget_is_waited_for_and_a_stop_ends_the_wait(venue):
    venue.script = lambda peer: peer.texts(b"a")
    budget = SlidingBudget(1, 0.5)
    began = time.monotonic()
    budget.spend(time.monotonic())
    running = Running(venue.url, ledger=RateLedger("binance", connects=budget))
    running.up()
    assert time.monotonic() - began > 0.4
    running.closed()
    budget = SlidingBudget(1, 300.0)
    budget.spend(time.monotonic())
    running = Running(venue.url, ledger=RateLedger("binance", connects=budget))
    running.stop.set()
    assert running.end() is None and running.message(0) is None


def test_a_full_channel_drops_chunks_and_says_so_once_a_burst(venue):
    read, go_on = threading.Semaphore(0), threading.Event()

    def script(peer):
        for number in range(6):
            assert read.acquire(timeout=30)
            peer.texts(str(number).encode())
        go_on.wait(30)
        peer.texts(b"after")
        assert peer.receive()[0] is Opcode.CLOSE

    venue.script = script
    with structlog.testing.capture_logs() as lines:
        running = Running(venue.url, capacity=2)
        for handled in range(1, 7):  # each in a read of its own: that the stream is up, and what follows
            until(lambda handled=handled: len(running.out) + running.out.dropped == handled)
            read.release()
        until(lambda: running.out.dropped == 5)
        running.up()
        assert running.frames(1) == [b"0"]
        go_on.set()
        assert running.frames(1) == [b"after"]
        running.stop.set()
        assert running.end() is None
    assert running.worker.chunks_lost == running.out.dropped == 5
    overflows = [line for line in lines if line["event"] == "stream.overflow"]
    assert [(line["count"], line["log_level"]) for line in overflows] == [(5, "warning")]


def test_a_burst_of_drops_is_told_at_the_latest_when_the_connection_ends(venue):
    read, room = threading.Event(), threading.Event()
    venue.script = lambda peer: (peer.texts(b"a"), read.wait(30), peer.texts(b"b"), room.wait(30))
    with structlog.testing.capture_logs() as lines:
        running = Running(venue.url, capacity=1)
        until(lambda: running.out.dropped == 1)
        read.set()
        until(lambda: running.out.dropped == 2)
        running.up()
        room.set()
        assert running.closed() == "closed without a close frame"
    assert [line["count"] for line in lines if line["event"] == "stream.overflow"] == [2]


def test_a_stream_up_that_finds_no_room_is_an_error(venue):
    out = Channel("frames", 1, Overflow.DROP_NEWEST)
    out.offer(StreamDown("binance", "other", (), ""))
    running = Running(venue.url, out=out, put_timeout_s=0.1)
    assert isinstance(running.end(), ChannelFull)


# Posts ------------------------------------------------------------------------------------------------------------


class Letter:
    """A post that remembers what became of it."""

    def __init__(self, text):
        self.fate = []
        self.post = Post(text, lambda ns, mono_ns: self.fate.append(mono_ns), self.fate.append)


@pytest.mark.parametrize("encrypted", [False, True])
def test_posts_leave_at_once_and_answers_come_back(venue, monkeypatch, encrypted):
    monkeypatch.setattr("binmon.net.stream.POLL_S", 5.0)

    def echo(peer):
        while (message := peer.receive()) is not None and message[0] is Opcode.TEXT:
            peer.texts(b"echo " + message[1])

    venue.script = echo
    options = {}
    if encrypted:
        certificate = pathlib.Path(__file__).parent / "tls" / "localhost.pem"
        venue.encryption = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        venue.encryption.load_cert_chain(certificate)
        options["ssl_context"] = ssl.create_default_context(cafile=certificate)
    url = venue.url.replace("ws://127.0.0.1", "wss://localhost") if encrypted else venue.url
    running = Running(url, takes_posts=True, **options)
    running.up()
    trips = []
    for number in range(20):
        letter = Letter(b"%d" % number)
        before = time.monotonic_ns()
        assert running.worker.post(letter.post)
        assert running.frames(1) == [b"echo %d" % number]
        (departed_ns,) = letter.fate
        assert before <= departed_ns
        trips.append(time.monotonic_ns() - before)
    # not the time after which a reader looks up by itself: posts wake it
    assert sorted(trips)[10] < 2e9
    running.stop.set()
    assert running.end(60) is None
    assert not running.worker.post(Letter(b"late").post)


def test_opening_messages_are_made_for_every_connection(venue):
    asked, received = iter(range(10)), []

    def script(peer):
        received.append(peer.receive()[1])
        peer.reset()

    venue.script = script
    worker = None
    for _ in range(2):
        running = Running(venue.url, opening_messages=lambda: (b"%d" % next(asked),))
        worker = running.worker
        assert isinstance(running.end(), StreamClosed)
    assert worker is not None and received == [b"0", b"1"]


def test_a_connection_without_posts_takes_none(venue):
    running = Running(venue.url)
    running.up()
    letter = Letter(b"x")
    assert not running.worker.post(letter.post) and letter.fate == []
    running.stop.set()
    running.end()


@pytest.mark.parametrize("takes_posts", [False, True])
def test_heartbeats_are_sent_while_the_connection_lives(venue, takes_posts):
    heard = []

    def script(peer):
        peer.texts(b"a")
        while len(heard) < 3:
            heard.append((peer.receive(), time.monotonic()))
        peer.texts(b"b")
        assert peer.receive()[0] is Opcode.CLOSE

    venue.script = script
    began = time.monotonic()
    running = Running(venue.url, heartbeat=b'{"op":"ping"}', heartbeat_every_s=0.4, takes_posts=takes_posts)
    running.up()
    assert running.frames(1) == [b"a"]
    deadline = time.monotonic() + 30
    while (message := running.message()) is None or message.frames != (b"b",):
        assert time.monotonic() < deadline
    running.stop.set()
    assert running.end(30) is None
    assert [frame for frame, _ in heard] == [(Opcode.TEXT, b'{"op":"ping"}')] * 3
    # never sooner than asked for; the first is not sent at once
    assert heard[2][1] - began > 1.1


def test_heartbeats_are_sent_beside_a_stream_that_never_rests(venue):
    beats = []

    def script(peer):
        peer.socket.settimeout(0.005)
        deadline = time.monotonic() + 30
        while len(beats) < 2 and time.monotonic() < deadline:
            peer.texts(b"x" * 100)
            try:
                beats.append(peer.receive())
            except TimeoutError:
                continue

    venue.script = script
    running = Running(venue.url, heartbeat=b"ping", heartbeat_every_s=0.3)
    assert isinstance(running.end(40), StreamClosed)
    assert beats == [(Opcode.TEXT, b"ping")] * 2


def test_a_heartbeat_waits_for_the_budget_of_messages(venue):
    beats, ledger = [], RateLedger("binance")
    budget = ledger.outgoing("market-1")
    spent = time.monotonic()
    budget._spent_s.extend([spent] * budget.limit)

    def script(peer):
        beats.append((peer.receive(), time.monotonic()))

    venue.script = script
    running = Running(venue.url, ledger=ledger, heartbeat=b"ping", heartbeat_every_s=0.01)
    assert isinstance(running.end(40), StreamClosed)
    ((frame, at),) = beats
    assert frame == (Opcode.TEXT, b"ping") and at - spent >= 1.0


def test_a_peer_that_never_answers_heartbeats_is_dead(venue):
    venue.script = lambda peer: [peer.receive() for _ in range(100)]
    running = Running(venue.url, heartbeat=b"ping", heartbeat_every_s=0.3, silence_s=0.8)
    error = running.end(40)
    assert isinstance(error, StreamClosed) and "silent for" in error.reason


def test_a_heartbeat_without_a_pause_is_refused():
    with pytest.raises(ValueError, match="heartbeats"):
        StreamConnection(
            "m", venue="x", url="ws://127.0.0.1:1", streams=(), out=None, ledger=RateLedger("x"), heartbeat=b"p",
            heartbeat_every_s=0.0,
        )  # fmt: skip
