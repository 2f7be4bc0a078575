"""Questions and answers over a connection that carries other messages, too: each answer finds who asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from binmon.errors import NotSent, VenueUnreachable
from binmon.net.posts import Post

_LOOK_S = 0.2  # a stop is noticed within this


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole frame, and when it was received."""

    body: bytes
    received_ns: int
    received_mono_ns: int


@dataclass(slots=True)
class _Question:
    connection: str
    done: threading.Event = field(default_factory=threading.Event)
    departed: bool = False
    answer: Answer | None = None
    unsent: str = ""  # why it never left
    lost: str = ""  # why no answer will come


class Dialogue:
    """Any thread may ask; whoever reads the connection calls ``answered`` and ``lost``.

    ``post(connection, post)`` sends a text on a connection and is False when it is not up; ``connection()`` names the
    one to ask on now, None when there is none. ``_lock`` guards the questions under way.
    """

    def __init__(
        self, url: str, connection: Callable[[], str | None], post: Callable[[str, Post], bool], timeout_s: float = 10.0
    ) -> None:
        self._url, self._connection, self._post, self._timeout_s = url, connection, post, timeout_s
        self._lock = threading.Lock()
        self._questions: dict[str, _Question] = {}

    def ask(
        self, request_id: str, payload: bytes, departure: Callable[[int, int], None], stop: threading.Event
    ) -> Answer:
        """Send ``payload`` and wait for the answer that bears ``request_id``, which must not be under way already.

        ``departure(sent_ns, sent_mono_ns)`` is told right before it leaves, in the connection's thread. Raises NotSent
        when it certainly did not leave, VenueUnreachable when it did and no answer came.
        """
        name = self._connection()
        if name is None:
            raise NotSent(self._url, "no connection is up")
        question = _Question(name)
        with self._lock:
            if request_id in self._questions:
                raise ValueError(f"request {request_id} is under way already")
            self._questions[request_id] = question

        def departed(sent_ns: int, sent_mono_ns: int) -> None:
            question.departed = True
            departure(sent_ns, sent_mono_ns)

        def failed(reason: str) -> None:
            question.unsent = reason
            question.done.set()

        try:
            if not self._post(name, Post(payload, departed, failed)):
                raise NotSent(self._url, f"{name} is not up")
            waited_s = 0.0
            while not question.done.wait(_LOOK_S):
                waited_s += _LOOK_S
                if waited_s >= self._timeout_s or stop.is_set():
                    break
        finally:
            with self._lock:
                del self._questions[request_id]
        if question.answer is not None:
            return question.answer
        # A post that has not departed by now may still do so: only the connection's own word says that it never will.
        if question.unsent and not question.departed:
            raise NotSent(self._url, question.unsent)
        waited = "told to stop" if stop.is_set() else f"no answer within {self._timeout_s:g} s"
        raise VenueUnreachable(self._url, question.lost or waited)

    def answered(self, request_id: str, body: bytes, received_ns: int, received_mono_ns: int) -> bool:
        """An answer has come; False when nobody waits for it (any more)."""
        with self._lock:
            question = self._questions.get(request_id)
        if question is None:
            return False
        question.answer = Answer(body, received_ns, received_mono_ns)
        question.done.set()
        return True

    def lost(self, connection: str, reason: str) -> None:
        """A connection is down: what was asked on it gets no answer any more."""
        with self._lock:
            questions = [one for one in self._questions.values() if one.connection == connection]
        for question in questions:
            question.lost = question.lost or reason
            question.done.set()
