"""What a ring holds beside the messages of the keeper's inbox. All are frozen; times stand beside them in the ring."""

from __future__ import annotations

import enum
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from binmon.messages import DepthSnapshot, FrameChunk

Entry = tuple[float, Any]
"""Monotonic seconds, and a message or one of the notes below."""


class Reason(enum.StrEnum):
    """Why an incident is written; part of the name of its file."""

    GAP = "gap"  # update ids are missing
    CROSSED = "crossed"  # the best bid is at or above the best ask
    UNREADABLE = "unreadable"  # levels that no book can hold
    STALL = "stall"  # a stream is dead, though its connection is open
    AUDIT = "audit"  # the venue's snapshot shows the book to be wrong
    CRASH = "crash"  # a worker ended by a bug


@dataclass(frozen=True, slots=True)
class PackedFrames:
    """The frames of one read, as a ring keeps them: in one block. Thousands of small ones that stay for a minute would lie
    among what comes and goes, and keep its memory from being given back."""

    connection: str
    received_ns: int
    lengths: bytes  # of each frame, as an array of unsigned integers
    joined: bytes

    @classmethod
    def of(cls, chunk: FrameChunk) -> PackedFrames:
        """Copies the frames."""
        lengths = array("I", map(len, chunk.frames)).tobytes()
        return cls(chunk.connection, chunk.received_ns, lengths, b"".join(chunk.frames))

    @property
    def frames(self) -> tuple[bytes, ...]:
        """Copies them back."""
        found, at = [], 0
        for length in array("I", self.lengths):
            found.append(self.joined[at : at + length])
            at += length
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Ticked:
    """The keeper looked at what is due by time alone."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The keeper failed, and rebuilds all of its books."""


TICKED, RESTARTED = Ticked(), Restarted()


@dataclass(frozen=True, slots=True)
class Answered:
    """A snapshot for the machine of a book, asked for with ``limit``; not ``wanted``: it came too late to be taken."""

    limit: int
    wanted: bool
    snapshot: DepthSnapshot


@dataclass(frozen=True, slots=True)
class Moved:
    """A book went from one state to another (the values of ``SyncState``)."""

    symbol: str
    before: str
    after: str
    reason: str
    update_id: int | None


@dataclass(frozen=True, slots=True)
class Missed:
    """Ids are missing between a book and an event."""

    symbol: str
    expected: int
    first_update_id: int
    last_update_id: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """A book was made a snapshot."""

    symbol: str
    epoch: int
    update_id: int


@dataclass(frozen=True, slots=True)
class Trigger:
    """Something worth an incident. ``subject`` is a symbol, or the worker that crashed."""

    reason: Reason
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Incident:
    """A ring to be written: everything that its file will say.

    ``time_ns`` and ``mono_s`` are the same moment, that of the first trigger, by the wall clock and by the clock of the
    entries. ``up`` are the connections that were up when the first entry came, with their streams; ``books`` the epochs of
    those kept now. ``settings`` is what a replay needs of the configuration.
    """

    venue: str
    trigger: Trigger
    more: tuple[Trigger, ...]
    time_ns: int
    mono_s: float
    entries: tuple[Entry, ...]
    up: Mapping[str, tuple[str, ...]]
    books: Mapping[str, int]
    settings: Mapping[str, Any] = field(default_factory=dict)
    held_back: int = 0  # since the last file
