"""A recorder that fails at whatever line, and is run again: every row and every event is recorded once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import binmon.recorder.pending
import binmon.recorder.segment
import binmon.recorder.writer
from binmon.core.channel import Channel
from binmon.messages import BookEvent, BookEventKind
from binmon.recorder import Recorder, recover
from binmon.recorder.reader import open_books
from binmon.recorder.verify import verify
from tests.core.interruptions import Interrupted, interrupt, places
from tests.recorder.market import Market, make_recorder, table_truth, truth

MODULES = (binmon.recorder.writer, binmon.recorder.pending, binmon.recorder.segment)


class UntilEmpty(threading.Event):
    """A stop that comes when all is taken; nobody waits for anything."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def is_set(self) -> bool:
        return not len(self._channel)

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


class Work:
    """Rows of two symbols with an event among them, through a recorder that flushes after every few."""

    def __init__(self, directory: Path) -> None:
        self.recorder: Recorder = make_recorder(directory, flush_interval_s=1e9, pending_bytes=4000)
        btc, eth = Market(), Market("ETHUSDT")
        first = [btc.next(), eth.next(), btc.next(), btc.next(), eth.next()]
        at_ns = first[-2].receive_time_ns + 1
        self.event = BookEvent(at_ns, "binance", "BTCUSDT", BookEventKind.RESYNC, 1, 2, "epoch 2: gap")
        second = [btc.next(resync=True), eth.next(), btc.next(), btc.next()]
        self.rows = [*first, *second]
        for message in [*first, self.event, *second]:
            self.recorder.channel.put(message, 1)

    def __call__(self) -> None:
        self.recorder.run(UntilEmpty(self.recorder.channel))


@pytest.fixture
def small_portions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(binmon.recorder.writer, "_PORTION", 2)
    yield


def check(directory: Path, work: Work) -> None:
    data = open_books(directory)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        wanted = [truth(row) for row in work.rows if row.symbol == symbol]
        assert table_truth(data.arrow(symbol)) == wanted
    assert [row["detail"] for row in data.events().to_pylist()] == [work.event.detail]
    assert work.recorder.rows_lost == work.recorder.events_lost == 0


# between the opening of a file and the next step there is nobody but the interpreter to close it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("small_portions")
@pytest.mark.timeout(300)
def test_nothing_is_lost_and_nothing_is_there_twice(tmp_path: Path) -> None:
    numbers = list(places(Work(tmp_path / "whole"), *MODULES, each=1))
    assert len(numbers) > 120
    for number in numbers:
        directory = tmp_path / str(number)
        work = Work(directory)
        assert interrupt(work, number, *MODULES)
        work()
        recover(directory)
        try:
            check(directory, work)
            assert verify(open_books(directory)) == []
        except AssertionError as error:
            raise AssertionError(f"interrupted at {number}: {error}") from error


@pytest.mark.usefixtures("small_portions")
def test_a_row_that_cannot_be_recorded_is_tried_twice_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(tmp_path)
    bad = work.rows[3]
    encode = binmon.recorder.writer.encode_row

    def encode_row(message, *, delta):
        if message is bad:
            raise Interrupted
        return encode(message, delta=delta)

    monkeypatch.setattr(binmon.recorder.writer, "encode_row", encode_row)
    for _ in range(2):
        with pytest.raises(Interrupted):
            work()
    work()
    assert work.recorder.rows_lost == 1
    wanted = [truth(row) for row in work.rows if row.symbol == "BTCUSDT" and row is not bad]
    assert table_truth(open_books(tmp_path).arrow("BTCUSDT")) == wanted
    details = [row["detail"] for row in open_books(tmp_path).events().to_pylist() if row["kind"] == "gap"]
    assert details == ["rows not recorded: 1 (the recorder failed)"]
