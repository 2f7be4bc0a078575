"""The frame cutter against wsproto and websockets, two parsers of other hands."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.uri import parse_uri
from wsproto.frame_protocol import FrameProtocol, ParseFailed

from binmon.errors import ProtocolViolation
from binmon.net.frames import BINARY, CLOSE, PING, PONG, TEXT, FrameCutter, close_code_and_reason


def encoded(opcode, payload, *, final=True, reserved=0, masked=False, length_bytes=None):
    """One frame as a server may or may not send it."""
    length = len(payload)
    if length_bytes is None:
        length_bytes = 0 if length < 126 else 2 if length < 65536 else 8
    mask_bit = 0x80 if masked else 0
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    if length_bytes == 0:
        head += bytes([mask_bit | length])
    else:
        head += bytes([mask_bit | (126 if length_bytes == 2 else 127)]) + length.to_bytes(length_bytes, "big")
    return head + (b"\0\0\0\0" if masked else b"") + payload


def cut(wire, places=(), **options):
    """(messages, close code of the violation or None) of a wire that arrives in pieces."""
    cutter = FrameCutter(**options)
    messages = []
    edges = [0, *sorted(place % (len(wire) + 1) for place in places), len(wire)]
    for begin, end in itertools.pairwise(edges):
        try:
            messages += cutter.feed(wire[begin:end])
        except ProtocolViolation as violation:
            return messages, violation.close_code
    return messages, cutter.violation and cutter.violation.close_code


def by_wsproto(wire):
    """The same by wsproto."""
    protocol = FrameProtocol(client=True, extensions=[])
    protocol.receive_bytes(wire)
    messages, parts = [], []
    try:
        for frame in protocol.received_frames():
            payload = frame.payload
            if frame.opcode == CLOSE:
                code, reason = payload
                payload = b"" if code == 1005 else int(code).to_bytes(2, "big") + reason.encode()
            elif isinstance(payload, str):
                payload = payload.encode()
            if frame.opcode >= CLOSE:
                messages.append((int(frame.opcode), bytes(payload)))
                continue
            parts.append(bytes(payload))
            if frame.message_finished:
                messages.append((int(frame.opcode), b"".join(parts)))
                parts = []
    except ParseFailed as failed:
        return messages, int(failed.code)
    return messages, None


texts = st.one_of(
    st.text(max_size=200).map(str.encode),
    st.sampled_from([0, 1, 124, 125, 126, 127, 65535, 65536, 70001]).map(lambda size: b"x" * size),
)
controls = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))


@st.composite
def whole_messages(draw):
    """Frames of one valid message, with control frames between its fragments."""
    kind = draw(st.sampled_from(["text", "text", "binary", "control", "fragmented"]))
    if kind == "control":
        return encoded(*draw(controls))
    payload = draw(texts)
    if kind == "text":
        return encoded(TEXT, payload)
    if kind == "binary":
        return encoded(BINARY, payload)
    # fragments may cut a character in two
    edges = sorted(draw(st.lists(st.integers(0, len(payload)), min_size=1, max_size=4)))
    pieces = [payload[a:b] for a, b in zip([0, *edges], [*edges, len(payload)], strict=True)]
    wire = b""
    for number, piece in enumerate(pieces):
        if number and draw(st.booleans()):
            wire += encoded(*draw(controls))
        wire += encoded(TEXT if number == 0 else 0, piece, final=number == len(pieces) - 1)
    return wire


closes = st.one_of(
    st.just(b""),
    st.tuples(st.sampled_from([1000, 1001, 1008, 1011, 3000, 4999]), st.text(max_size=20)).map(
        lambda said: said[0].to_bytes(2, "big") + said[1].encode()
    ),
)
cuts = st.lists(st.integers(0, 1 << 20), max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(whole_messages(), max_size=8), st.none() | closes, cuts)
def test_any_valid_traffic_cut_anywhere_is_what_another_parser_reads(pieces, close, places):
    wire = b"".join(pieces) + (b"" if close is None else encoded(CLOSE, close))
    found = cut(wire, places)
    assert found[1] is None
    assert found == by_wsproto(wire)


odd_frames = st.builds(
    encoded,
    st.integers(0, 15),
    st.one_of(
        st.binary(max_size=3), st.sampled_from([b"y" * 125, b"y" * 126, b"\x03\xe8", b"\x03\xed", b"\x03\xe8\xff"])
    ),
    final=st.booleans(),
    reserved=st.sampled_from([0, 0, 0, 1, 4]),
    masked=st.sampled_from([False, False, False, True]),
).filter(lambda frame: not (frame[0] & 15 <= 1 and not frame[2:].isascii()))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(whole_messages(), odd_frames), max_size=5), cuts)
def test_traffic_that_may_break_the_rules_ends_alike(pieces, places):
    wire = b"".join(pieces)
    ours, theirs = cut(wire, places), by_wsproto(wire)
    assert ours[1] == theirs[1]
    assert ours[0] == theirs[0]


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_byte_by_byte(size):
    wire = encoded(TEXT, b"a" * size) + encoded(PING, b"p") + encoded(TEXT, b"end")
    cutter = FrameCutter()
    messages = []
    for byte in wire:
        messages += cutter.feed(bytes([byte]))
    assert messages == [(TEXT, b"a" * size), (PING, b"p"), (TEXT, b"end")]


BROKEN = {
    "masked": encoded(TEXT, b"a", masked=True),
    "reserved bit": encoded(TEXT, b"a", reserved=4),
    "reserved data opcode": encoded(3, b""),
    "reserved control opcode": encoded(11, b""),
    "fragmented ping": encoded(PING, b"", final=False),
    "long ping": encoded(PING, b"a" * 126),
    "continuation alone": encoded(0, b"a"),
    "message inside a message": encoded(TEXT, b"a", final=False) + encoded(TEXT, b"b"),
    "top bit": bytes([0x81, 127]) + b"\x80" + bytes(7),
    "half a close code": encoded(CLOSE, b"\x03"),
    "close code 1005": encoded(CLOSE, b"\x03\xed"),
    "close code 999": encoded(CLOSE, (999).to_bytes(2, "big")),
    "16-bit length for a short text": encoded(TEXT, b"a", length_bytes=2),
    "64-bit length for a short text": encoded(TEXT, b"a" * 300, length_bytes=8),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_violation(name):
    assert cut(BROKEN[name]) == ([], 1002)


@pytest.mark.parametrize("name", [name for name in BROKEN if name not in ("close code 1005", "close code 999")])
def test_messages_before_a_violation_are_not_lost(name):
    cutter = FrameCutter()
    good = encoded(TEXT, b"one") + encoded(TEXT, b"two")
    assert cutter.feed(good + BROKEN[name]) == [(TEXT, b"one"), (TEXT, b"two")]
    assert cutter.violation is not None and cutter.violation.close_code == 1002
    with pytest.raises(ProtocolViolation):
        cutter.feed(b"")
    with pytest.raises(ProtocolViolation):
        cutter.feed(good)


def test_a_reason_that_is_not_utf8():
    assert cut(encoded(CLOSE, b"\x03\xe8\xff")) == ([], 1007)


@pytest.mark.parametrize(
    "wire",
    [
        bytes([0x81, 127]) + (70_001).to_bytes(8, "big"),  # told by its header, before the payload
        encoded(BINARY, b"a" * 70_001),
        encoded(TEXT, b"a" * 40_000, final=False) + encoded(0, b"a" * 30_001),
    ],
)
def test_too_big_agrees_with_websockets(wire):
    assert cut(wire, max_payload=70_000) == ([], 1009)
    other = ClientProtocol(parse_uri("ws://localhost/"), max_size=70_000, state=State.OPEN)
    other.receive_data(wire)
    assert other.parser_exc is not None
    assert b"".join(other.data_to_send())[2:4] != b""
    assert other.close_sent.code == 1009


def test_exactly_the_greatest_size_passes_and_a_smaller_limit_is_refused():
    assert cut(encoded(TEXT, b"a" * 70_000), max_payload=70_000)[0] == [(TEXT, b"a" * 70_000)]
    with pytest.raises(ValueError, match="65535"):
        FrameCutter(max_payload=1000)


def test_what_follows_a_close_frame_is_ignored():
    cutter = FrameCutter()
    assert cutter.feed(encoded(CLOSE, b"") + encoded(TEXT, b"a") + b"\xff\xff") == [(CLOSE, b"")]
    assert cutter.feed(b"\xff\xff") == [] and cutter.violation is None


def test_the_words_of_a_close_frame():
    assert close_code_and_reason(b"") == (1005, "")
    assert close_code_and_reason(b"\x03\xf0too slow") == (1008, "too slow")
