from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from binmon.recorder import exchange, finish_segment
from binmon.recorder.exchange import adding, alone, clear_work, take_out, why_no_exchange, work_path
from binmon.recorder.segment import segment_paths
from tests.recorder.market import NOON, Market, make_recorder


def test_two_directories_take_each_others_place(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    exchange.exchange(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one" / "other").exists() and (tmp_path / "other" / "one").exists()


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        exchange.exchange(tmp_path / "one", tmp_path / "other")


def test_a_file_system_that_can(tmp_path: Path) -> None:
    assert why_no_exchange(tmp_path) is None
    assert not any((tmp_path / ".work").iterdir())


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EPERM])
def test_a_file_system_that_has_no_second_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(first: Path, second: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    assert why_no_exchange(tmp_path) == f"{type(OSError(number, '')).__name__}: {os.strerror(number)}"
    assert not any((tmp_path / ".work").iterdir())


def test_a_full_disk_says_nothing_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(first: Path, second: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="No space"):
        why_no_exchange(tmp_path)


def test_those_who_add_share_and_who_rearranges_is_alone(tmp_path: Path) -> None:
    with adding(tmp_path) as first, adding(tmp_path) as second, alone(tmp_path) as third:
        assert (first, second, third) == (True, True, False)
    with alone(tmp_path) as first, adding(tmp_path) as second, alone(tmp_path) as third:
        assert (first, second, third) == (True, False, False)
    with alone(tmp_path) as held:
        assert held


def test_a_segment_is_finished_later_while_the_dataset_is_rearranged(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    recorder.accept(Market().next())
    recorder.flush(NOON)
    recorder.close_segment()
    (segment,) = segment_paths(tmp_path)
    with alone(tmp_path):
        assert finish_segment(segment, tmp_path, "parquet") is None
    assert not list(tmp_path.rglob("*.parquet")) and segment.exists()
    done = finish_segment(segment, tmp_path, "parquet")
    assert done is not None and done.rows == 1


def test_the_work_directory_is_emptied(tmp_path: Path) -> None:
    clear_work(tmp_path)  # there is none
    partition = tmp_path / "books"
    partition.mkdir()
    place = take_out(tmp_path, partition)
    assert place.is_dir() and not partition.exists() and place != work_path(tmp_path)
    clear_work(tmp_path)
    assert not (tmp_path / ".work").exists()
