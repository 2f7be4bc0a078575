"""When a file counts as saved."""

from __future__ import annotations

import os
from pathlib import Path

from binmon.config.watching import FileWatch, Stamp, stamp_of


class File:
    """How a file looks, in the hands of the test, and a watch that is asked five times a second."""

    def __init__(self) -> None:
        self.stamp: Stamp | None = (1, 1, 1, 10)
        self.now_s = 100.0
        self.watch = FileWatch(lambda: self.stamp)

    def due_within(self, seconds: float) -> bool:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += 0.2
            if self.watch.due(self.now_s):
                return True
        return False


def test_a_change_is_due_once_it_stays() -> None:
    file = File()
    assert not file.due_within(5)
    file.stamp = (1, 1, 2, 10)
    assert file.due_within(2.5)
    file.watch.taken()
    assert not file.due_within(5)


def test_a_file_that_is_being_written_is_left_alone() -> None:
    file = File()
    for step in range(10):
        file.stamp = (1, 1, 2 + step, 10 * step)
        assert not file.due_within(1.0)
    assert file.due_within(2.5)


def test_a_file_that_was_emptied_is_being_written_and_one_that_is_gone_is_told() -> None:
    file = File()
    file.stamp = (1, 1, 2, 0)
    assert not file.due_within(10)
    file.stamp = None
    assert file.due_within(2.5)
    file.watch.taken()
    assert not file.due_within(10)
    file.stamp = (1, 2, 3, 10)
    assert file.due_within(2.5)


def test_what_somebody_else_took_is_no_news() -> None:
    file = File()
    file.stamp = (1, 1, 2, 10)
    file.watch.taken()
    assert not file.due_within(5)
    file.stamp = (1, 1, 1, 10)  # set back
    assert file.due_within(2.5)


def test_stamps(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    assert stamp_of(path) is None
    path.write_text("a")
    first = stamp_of(path)
    assert first is not None and first == stamp_of(path)
    other = tmp_path / "other"
    other.write_text("b")
    os.utime(other, ns=(first[2], first[2]))
    other.rename(path)
    assert stamp_of(path) != first, "another file of the same time and size"
    assert stamp_of(Path("a\0b")) is None
