"""Cuts the byte stream of a WebSocket server into messages: RFC 6455 section 5, client side, without I/O.

No extension is offered in our handshake, so reserved bits stay zero. Text is handed on as bytes and is *not*
checked to be UTF-8 here: the JSON decoder checks that anyway, and doing it twice would cost as much as the cutting.
"""

from __future__ import annotations

from binmon.errors import ProtocolViolation

CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

PROTOCOL_ERROR = 1002
NOT_UTF8 = 1007
TOO_BIG = 1009

_FINAL = 0x80
_RESERVED_BITS = 0x70
_OPCODE = 0x0F
_MASKED = 0x80
_LENGTH_16 = 126  # the real length stands in the two bytes that follow
_LENGTH_64 = 127  # the real length stands in the eight bytes that follow
_MAX_CONTROL = 125
_FINAL_TEXT = _FINAL | TEXT
_NEVER_SENT_CLOSE_CODES = frozenset({1005, 1006, 1015})  # RFC 6455 section 7.4.1: for local use only


class FrameCutter:
    """Takes bytes as they come off the socket and returns the messages that they complete.

    A violation of the protocol must not cost the messages before it. So ``feed`` raises at once only when it has
    completed nothing; otherwise it returns what was complete, keeps the error in ``violation``, and raises it at
    the next call. A caller looks at ``violation`` after it has handed the messages on.

    What follows a CLOSE frame is ignored, RFC 6455 section 1.4.

    Not thread-safe: one cutter belongs to one connection and its thread.
    """

    def __init__(self, max_payload: int = 16 * 1024 * 1024) -> None:
        """``max_payload`` bounds a message in bytes, all its fragments together; at least 65535."""
        if max_payload < 0xFFFF:
            # the fast path does not look: what a 16-bit length can say is always allowed
            raise ValueError(f"max_payload must be at least 65535, not {max_payload}")
        self.max_payload = max_payload
        self.violation: ProtocolViolation | None = None
        self._closed = False
        self._rest: list[bytes] = []  # an incomplete frame, in pieces
        self._rest_size = 0
        self._needed = 0  # bytes without which nothing in _rest can be completed
        self._fragments: list[bytes] | None = None  # of the data message under way
        self._fragments_size = 0
        self._fragments_opcode = TEXT

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Messages and control frames completed by ``data``, in order, as (opcode, payload).

        Raises ProtocolViolation, see the class. Control frames that come between the fragments of a message are
        returned before it, as RFC 6455 section 5.4 has it.
        """
        if self.violation is not None:
            raise self.violation
        if self._closed:
            return []
        if self._rest:
            self._rest.append(data)
            self._rest_size += len(data)
            if self._rest_size < self._needed:
                return []  # joining only once keeps a message of many reads linear
            data = b"".join(self._rest)
            self._rest.clear()
        messages: list[tuple[int, bytes]] = []
        try:
            position = self._cut(data, messages)
        except ProtocolViolation as violation:
            self.violation = violation
            if not messages:
                raise
            return messages
        if position < len(data):
            self._rest.append(data[position:])
            self._rest_size = len(data) - position
        return messages

    def _cut(self, data: bytes, messages: list[tuple[int, bytes]]) -> int:
        """The hot path: whole unfragmented text frames with short lengths. Returns where the rest begins."""
        append = messages.append
        end = len(data)
        position = 0
        while position + 2 <= end:
            if data[position] == _FINAL_TEXT and self._fragments is None:
                length = data[position + 1]
                if length < _LENGTH_16:
                    begin = position + 2
                    stop = begin + length
                    if stop > end:
                        self._needed = stop - position
                        return position
                    append((TEXT, data[begin:stop]))
                    position = stop
                    continue
                if length == _LENGTH_16:
                    begin = position + 4
                    if begin > end:
                        self._needed = 4
                        return position
                    length = data[position + 2] << 8 | data[position + 3]
                    if length >= _LENGTH_16:
                        stop = begin + length
                        if stop > end:
                            self._needed = stop - position
                            return position
                        append((TEXT, data[begin:stop]))
                        position = stop
                        continue
            after = self._cut_any(data, position, end, messages)
            if after < 0:
                return position
            position = after
        self._needed = 2
        return position

    def _cut_any(self, data: bytes, position: int, end: int, messages: list[tuple[int, bytes]]) -> int:
        """One frame of any kind. Returns where the next begins, or -1 when this one is not complete."""
        first, length = data[position], data[position + 1]
        final, opcode = first & _FINAL, first & _OPCODE
        self._check_head(first, length, opcode)
        begin = position + 2
        if length >= _LENGTH_16:
            size = 2 if length == _LENGTH_16 else 8
            if begin + size > end:
                self._needed = 2 + size
                return -1
            length = int.from_bytes(data[begin : begin + size], "big")
            if length >> 63:
                raise ProtocolViolation("a 64-bit length with its top bit set", PROTOCOL_ERROR)
            if length < _LENGTH_16 or (size == 8 and length <= 0xFFFF):
                raise ProtocolViolation(f"length {length} in more bytes than it needs", PROTOCOL_ERROR)
            begin += size
        total = length if opcode >= CLOSE else length + (self._fragments_size if self._fragments is not None else 0)
        if total > self.max_payload:
            raise ProtocolViolation(f"a message of {total} bytes, more than {self.max_payload}", TOO_BIG)
        stop = begin + length
        if stop > end:
            self._needed = stop - position
            return -1
        payload = data[begin:stop]
        if opcode >= CLOSE:
            if opcode == CLOSE:
                _check_close(payload)
                self._closed = True
                stop = end
            messages.append((opcode, payload))
        elif final and self._fragments is None:
            messages.append((opcode, payload))
        else:
            self._take_fragment(opcode, payload, bool(final), messages)
        return stop

    def _check_head(self, first: int, second: int, opcode: int) -> None:
        """What the first two bytes of a frame alone can violate."""
        if first & _RESERVED_BITS:
            raise ProtocolViolation("a reserved bit is set", PROTOCOL_ERROR)
        if second & _MASKED:
            raise ProtocolViolation("a masked frame from the server", PROTOCOL_ERROR)
        if opcode >= CLOSE:
            if opcode > PONG:
                raise ProtocolViolation(f"reserved opcode {opcode:#x}", PROTOCOL_ERROR)
            if not first & _FINAL:
                raise ProtocolViolation("a fragmented control frame", PROTOCOL_ERROR)
            if second > _MAX_CONTROL:
                raise ProtocolViolation("a control frame of more than 125 bytes", PROTOCOL_ERROR)
        elif opcode > BINARY:
            raise ProtocolViolation(f"reserved opcode {opcode:#x}", PROTOCOL_ERROR)
        elif opcode == CONTINUATION:
            if self._fragments is None:
                raise ProtocolViolation("a continuation without a beginning", PROTOCOL_ERROR)
        elif self._fragments is not None:
            raise ProtocolViolation("a new message inside a fragmented one", PROTOCOL_ERROR)

    def _take_fragment(self, opcode: int, payload: bytes, final: bool, messages: list[tuple[int, bytes]]) -> None:
        """Keep one fragment; the last one completes the message."""
        if self._fragments is None:
            self._fragments, self._fragments_size, self._fragments_opcode = [], 0, opcode
        self._fragments.append(payload)
        self._fragments_size += len(payload)
        if final:
            messages.append((self._fragments_opcode, b"".join(self._fragments)))
            self._fragments = None


def close_code_and_reason(payload: bytes) -> tuple[int, str]:
    """What the payload of a CLOSE frame says; 1005 ("no code") when it is empty, RFC 6455 section 7.1.5."""
    if not payload:
        return 1005, ""
    return int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8", "replace")


def _check_close(payload: bytes) -> None:
    """RFC 6455 sections 5.5.1 and 7.4: no payload, or a code that may be sent and a reason in UTF-8."""
    if not payload:
        return
    if len(payload) == 1:
        raise ProtocolViolation("a close frame with half a code", PROTOCOL_ERROR)
    code = int.from_bytes(payload[:2], "big")
    if not 1000 <= code <= 4999 or code in _NEVER_SENT_CLOSE_CODES:
        raise ProtocolViolation(f"close code {code} must not be sent", PROTOCOL_ERROR)
    try:
        payload[2:].decode("utf-8")
    except UnicodeDecodeError:
        raise ProtocolViolation("a close reason that is not UTF-8", NOT_UTF8) from None
