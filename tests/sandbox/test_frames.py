import pytest
from websockets.frames import Opcode
from websockets.protocol import CLIENT, Protocol

from binmon.sandbox import frames


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536, 200_000])
def test_frames_are_read_back_by_a_client(length):
    client = Protocol(CLIENT)
    client.receive_data(frames.frame(b"x" * length))
    [received] = client.events_received()
    assert received.opcode is Opcode.TEXT
    assert len(received.data) == length


def test_fragments_with_a_ping_between():
    client = Protocol(CLIENT)
    client.receive_data(frames.fragmented(b"abcdefg", 3, b"p"))
    received = client.events_received()
    assert [frame.opcode for frame in received] == [Opcode.TEXT, Opcode.PING, Opcode.CONT, Opcode.CONT]
    assert b"".join(frame.data for frame in received if frame.opcode is not Opcode.PING) == b"abcdefg"
    assert frames.fragmented(b"", 3, None) == frames.frame(b"")


def test_masked_and_reserved_frames_are_protocol_errors():
    for data in (frames.masked(b"hello"), frames.frame(b"x", opcode=0x3), frames.frame(b"x", reserved=7)):
        client = Protocol(CLIENT)
        client.receive_data(data)
        assert client.parser_exc is not None
