"""Several questions at once, one deadline for all of them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from binmon.errors import BinmonError, VenueUnreachable

T = TypeVar("T")

_LOOK_S = 0.05  # the longest that a stop goes unnoticed
Question = Callable[[threading.Event], T]


def together(
    questions: Mapping[str, Question[T]], within_s: float, stop: threading.Event
) -> dict[str, T | BinmonError]:
    """Ask all of ``questions``, each in a thread of its own, and give the answers by name, in the order of the questions.

    Whoever has not answered after ``within_s``, or when ``stop`` is set, is cut off by the event that it was handed, and
    has a VenueUnreachable for an answer. What a question raises of `BinmonError` is its answer; whatever else is a fault of
    ours, and is raised here.
    """
    answers: queue.SimpleQueue[tuple[str, T | Exception]] = queue.SimpleQueue()
    cut = threading.Event()

    def put(name: str, question: Question[T]) -> None:
        try:
            answers.put((name, question(cut)))
        except Exception as error:  # handed over, see below
            answers.put((name, error))

    for name, question in questions.items():
        threading.Thread(target=put, args=(name, question), name=f"ask-{name}", daemon=True).start()
    found: dict[str, T | Exception] = {}
    until_s = time.monotonic() + within_s
    while len(found) < len(questions) and not stop.is_set() and (left_s := until_s - time.monotonic()) > 0:
        try:
            told_name, told_answer = answers.get(timeout=min(left_s, _LOOK_S))
        except queue.Empty:
            continue
        found[told_name] = told_answer
    cut.set()
    told: dict[str, T | BinmonError] = {}
    for name in questions:
        answer = found[name] if name in found else VenueUnreachable(name, f"no answer within {within_s:g} s")
        if isinstance(answer, BinmonError) or not isinstance(answer, Exception):
            told[name] = answer
        else:
            raise answer
    return told
