"""Tops of book as lines of the log."""

from __future__ import annotations

import threading

import pytest
from structlog.testing import capture_logs

import binmon.publish.publisher
from binmon.core.channel import Channel, Overflow
from binmon.messages import TopOfBook
from binmon.publish.publisher import TopPublisher
from tests.core.interruptions import interrupt, places


class Twice(threading.Event):
    """A stop that comes after two looks."""

    looks = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.looks += 1
        return self.looks > 2


class Work:
    """Three tops."""

    def __init__(self) -> None:
        tops: Channel[TopOfBook] = Channel("publisher", 10, Overflow.DROP_OLDEST)
        self.publisher = TopPublisher("publisher", tops)
        for update_id in (1, 2, 3):
            tops.offer(TopOfBook("binance", "BTCUSDT", 1.0, 2.0, 3.0, 4.0, update_id, 5, 6, 7.0))

    def __call__(self) -> None:
        self.publisher.run(Twice())


def published(logs: list) -> list[int]:
    return [line["update_id"] for line in logs if line["event"] == "book.top"]


def test_every_top_is_a_line_also_when_it_fails_in_the_midst() -> None:
    with capture_logs() as logs:
        numbers = list(places(Work(), binmon.publish.publisher))
    assert published(logs) == [1, 2, 3] and len(numbers) > 10
    for number in numbers:
        work = Work()
        with capture_logs() as logs:
            assert interrupt(work, number, binmon.publish.publisher)
            work()
        assert list(dict.fromkeys(published(logs))) == [1, 2, 3], f"interrupted at {number}"


@pytest.mark.parametrize("to_log", [True, False])
def test_tops_may_be_taken_and_not_written(to_log: bool) -> None:
    work = Work()
    work.publisher.to_log = to_log
    with capture_logs() as logs:
        work()
    assert len(published(logs)) == (3 if to_log else 0) and work.publisher.progress_count == 3
