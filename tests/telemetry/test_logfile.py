"""The log's own file: whole lines, rotation, and everything that may happen to it meanwhile."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from binmon.telemetry import logfile
from binmon.telemetry.logfile import LogFile


class File:
    """A log file with a clock of its own, and what was said of it."""

    def __init__(self, path: Path, rotate_bytes: int | None = None, keep_files: int = 3) -> None:
        self.path, self.now_s, self.told = path, 0.0, list[str]()
        self.written = 0
        self.log = LogFile(path, rotate_bytes, keep_files, tell=self.told.append)

    def write(self, count: int = 1) -> None:
        """Lines of ten bytes: {"n":0000}."""
        for _ in range(count):
            self.log.write(f'{{"n":{self.written:4d}}}', self.now_s)
            self.written += 1

    def later(self, seconds: float = 2.0) -> None:
        self.now_s += seconds


@pytest.fixture
def files(tmp_path: Path) -> Iterator[list[File]]:
    made: list[File] = []
    yield made
    for one in made:
        one.log.close()


def numbers(*paths: Path) -> list[int]:
    """What the files hold, which is whole lines and nothing else."""
    found: list[int] = []
    for path in paths:
        text = path.read_text()
        assert not text or text.endswith("\n")
        found += [json.loads(line)["n"] for line in text.splitlines()]
    return found


def rotated(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir() if one.name.startswith(path.name))


def test_it_is_rotated_at_whole_lines_and_so_many_are_kept(tmp_path: Path, files: list[File]) -> None:
    path = tmp_path / "log"
    file = File(path, rotate_bytes=35)
    files.append(file)
    file.write(3)
    assert rotated(path) == ["log"]
    file.write(1)
    assert (numbers(path), numbers(tmp_path / "log.1")) == ([3], [0, 1, 2])
    file.write(12)
    assert rotated(path) == ["log", "log.1", "log.2", "log.3"]
    assert numbers(*(tmp_path / f"log.{n}" for n in (3, 2, 1)), path) == list(range(6, 16))
    assert all(one.stat().st_size <= 35 for one in tmp_path.iterdir())
    assert not file.told and not file.log.lost


def test_a_line_longer_than_the_limit_has_a_file_of_its_own(tmp_path: Path, files: list[File]) -> None:
    file = File(tmp_path / "log", rotate_bytes=5)
    files.append(file)
    file.write(3)
    assert numbers(tmp_path / "log.2", tmp_path / "log.1", tmp_path / "log") == [0, 1, 2]


def test_an_earlier_file_is_appended_to_and_counts(tmp_path: Path, files: list[File]) -> None:
    path = tmp_path / "log"
    path.write_text('{"n":7}\n' * 4)
    file = File(path, rotate_bytes=35)
    files.append(file)
    file.write(1)
    assert numbers(tmp_path / "log.1", path) == [7, 7, 7, 7, 0]


def test_other_limits_apply_at_once(tmp_path: Path, files: list[File]) -> None:
    path = tmp_path / "log"
    file = File(path, rotate_bytes=10, keep_files=5)
    files.append(file)
    (tmp_path / "log.9").write_text("")
    (tmp_path / "log.old").write_text("")
    (tmp_path / "log.1.gz").write_text("")
    file.write(10)
    assert rotated(path) == ["log", *(f"log.{n}" for n in range(1, 6)), "log.1.gz", "log.old"] or rotated(
        path
    ) == sorted(["log", *(f"log.{n}" for n in range(1, 6)), "log.1.gz", "log.old"])
    file.log.keep_files = 2
    file.write(1)
    assert rotated(path) == ["log", "log.1", "log.1.gz", "log.2", "log.old"]
    file.log.rotate_bytes = None
    file.write(50)
    assert rotated(path) == ["log", "log.1", "log.1.gz", "log.2", "log.old"]
    assert len(numbers(path)) == 51


def test_a_rotation_that_was_cut_off_loses_nothing(tmp_path: Path, files: list[File]) -> None:
    path = tmp_path / "log"
    file = File(path, rotate_bytes=10, keep_files=9)
    files.append(file)
    file.write(5)
    # killed between two renames: number 2 is free
    (tmp_path / "log.2").rename(tmp_path / "log.3x")
    (tmp_path / "log.3x").rename(tmp_path / "log.9")
    file.write(1)
    assert numbers(*(tmp_path / f"log.{n}" for n in (4, 3, 9, 2, 1)), path) == list(range(6))


def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path, files: list[File]) -> None:
    path = tmp_path / "log"
    file = File(path)
    files.append(file)
    file.write(2)
    path.rename(tmp_path / "log.moved")
    file.write(2)  # within a second they go to the file that was moved
    file.later()
    file.write(2)
    assert (numbers(tmp_path / "log.moved"), numbers(path)) == ([0, 1, 2, 3], [4, 5])
    path.unlink()
    file.later()
    file.log.tick(file.now_s)  # also without a line
    assert path.exists()
    path.write_text("")  # cut, as copytruncate does
    file.later()
    file.write(1)
    assert numbers(path) == [6] and not file.told and not file.log.lost


def test_a_link_stays_where_it_is(tmp_path: Path, files: list[File]) -> None:
    (tmp_path / "disk").mkdir()
    path, real = tmp_path / "log", tmp_path / "disk" / "real"
    path.symlink_to(real)
    file = File(path, rotate_bytes=10)
    files.append(file)
    file.write(2)
    assert path.is_symlink() and numbers(tmp_path / "disk" / "real.1", real) == [0, 1]


def test_the_mode_of_the_file_is_kept(tmp_path: Path, files: list[File]) -> None:
    path = tmp_path / "log"
    file = File(path, rotate_bytes=10)
    files.append(file)
    path.chmod(0o666)
    file.write(2)
    assert path.stat().st_mode & 0o777 == 0o666


def test_what_is_no_file_is_not_rotated(files: list[File]) -> None:
    file = File(Path(os.devnull), rotate_bytes=10)
    files.append(file)
    file.write(5)
    file.later()
    file.write(5)
    assert not file.told and not file.log.lost and not Path("/dev/null.1").exists()


def test_a_directory_that_vanishes_and_comes_back(tmp_path: Path, files: list[File]) -> None:
    place = tmp_path / "place"
    place.mkdir()
    path = place / "log"
    file = File(path, rotate_bytes=10_000)
    files.append(file)
    file.write(1)
    shutil.rmtree(place)
    for _ in range(5):
        file.later()
        file.write(2)
    assert file.log.lost == 10
    assert file.told == [f"the log file {path} cannot be written: No such file or directory"]
    place.mkdir()
    file.later()
    file.write(2)
    assert numbers(path) == [11, 12]
    assert file.told[1:] == [f"the log file {path} is written again; 10 lines were lost"]


def test_a_directory_that_was_moved_keeps_getting_lines_until_there_is_another(
    tmp_path: Path, files: list[File]
) -> None:
    place, moved = tmp_path / "place", tmp_path / "moved"
    place.mkdir()
    path = place / "log"
    file = File(path, rotate_bytes=25)
    files.append(file)
    file.write(1)
    place.rename(moved)
    for _ in range(4):
        file.later()
        file.write(1)
    assert numbers(moved / "log") == [0, 1, 2, 3, 4] and not file.log.lost
    assert len(file.told) == 1, "that it is written where it should not be is said once"
    place.mkdir()
    file.later()
    file.write(1)
    assert numbers(path) == [5] and file.told[-1].endswith("is written again; 0 lines were lost")


def test_a_full_disk_takes_whole_lines_or_none(
    tmp_path: Path, files: list[File], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    file = File(path)
    files.append(file)
    room = 25
    write = os.write

    def short(fd: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(fd, data[:room])
        room -= written
        return written

    monkeypatch.setattr(logfile.os, "write", short)
    file.write(5)
    assert numbers(path) == [0, 1]
    assert file.log.lost == 3
    assert file.told == [f"the log file {path} cannot be written: No space left on device"]
    room = 10_000
    file.write(1)
    assert numbers(path) == [0, 1, 5]
    assert file.told[1:] == [f"the log file {path} is written again; 3 lines were lost"]
    # full again soon after: once in a minute is enough
    room = 0
    file.write(1)
    room = 10_000
    file.write(1)
    assert len(file.told) == 2 and file.log.lost == 4
    file.later(60)
    room = 0
    file.write(1)
    assert len(file.told) == 3


def test_a_torn_line_that_cannot_be_taken_back_is_a_line_by_itself(
    tmp_path: Path, files: list[File], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    file = File(path)
    files.append(file)
    write = os.write
    answers = [4, None]

    def torn(fd: int, data: bytes) -> int:
        answer = answers.pop(0) if answers else len(data)
        if answer is None:
            raise OSError(errno.EIO, "Input/output error")
        return write(fd, data[:answer])

    def refused(fd: int, size: int) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(logfile.os, "write", torn)
    monkeypatch.setattr(logfile.os, "ftruncate", refused)
    file.write(3)
    assert path.read_text().splitlines() == ['{"n"', '{"n":   1}', '{"n":   2}']


def test_a_rotation_that_is_not_allowed_is_said_once_and_loses_nothing(
    tmp_path: Path, files: list[File], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    file = File(path, rotate_bytes=25)
    files.append(file)
    tried: list[Path] = []
    replace = Path.replace

    def refused(self: Path, target: Path) -> Path:
        tried.append(target)
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "replace", refused)
    file.write(10)
    file.later(61)
    file.write(10)
    assert len(tried) == 2, "tried again after a minute, not with every line"
    assert file.told == [f"the log file {path} cannot be rotated and grows: Permission denied"]
    assert numbers(path) == list(range(20)) and not file.log.lost
    monkeypatch.setattr(Path, "replace", replace)
    file.later(61)
    file.write(1)
    assert (numbers(tmp_path / "log.1"), numbers(path)) == (list(range(20)), [20])


def test_a_small_disk_fills_up_and_gets_room_again(tmp_path: Path, files: list[File]) -> None:
    """With a file system of its own, as root."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    words = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    try:
        path = place / "log"
        file = File(path, rotate_bytes=20_000)
        filler = place / "filler"
        filler.write_bytes(bytes(30_000))
        file.write(6000)
        assert 0 < file.log.lost < 6000
        assert file.told == [f"the log file {path} cannot be written: No space left on device"]
        filler.unlink()
        file.later()
        before = file.written
        file.write(10)
        assert file.told[1] == f"the log file {path} is written again; {file.log.lost} lines were lost"
        kept = numbers(*(one for one in sorted(place.iterdir(), reverse=True) if one.name != "log"), path)
        assert kept[-10:] == list(range(before, before + 10))
        assert kept == sorted(kept)
        file.log.close()
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_logrotate_itself(tmp_path: Path, files: list[File]) -> None:
    """The stanza of docs/logs.md, run by the real program."""
    program = shutil.which("logrotate") or shutil.which("logrotate", path="/usr/sbin:/sbin")
    if program is None:
        pytest.skip("logrotate is not installed")
    page = (Path(__file__).parents[2] / "docs/logs.md").read_text(encoding="utf-8")
    stanza = page.partition("```text\n")[2].partition("```")[0]
    directory = tmp_path / "log"
    directory.mkdir(mode=0o755)
    path = directory / "binmon.log"
    settings = tmp_path / "logrotate.conf"
    settings.write_text(stanza.replace("/var/log/binmon/binmon.log", str(path)))
    settings.chmod(0o644)
    file = File(path)
    files.append(file)
    for _ in range(3):
        file.write(3)
        words = [program, "--force", "--state", str(tmp_path / "state"), str(settings)]
        subprocess.run(words, check=True, capture_output=True, text=True)
        file.write(1)  # within the second
        file.later()
        file.write(1)
    texts = [gzip.decompress(one.read_bytes()).decode() for one in sorted(directory.glob("*.gz"), reverse=True)]
    assert len(texts) == 2
    texts += [(directory / "binmon.log.1").read_text(), path.read_text()]
    assert [json.loads(line)["n"] for text in texts for line in text.splitlines()] == list(range(15))


def test_a_closed_file_takes_nothing(tmp_path: Path) -> None:
    file = File(tmp_path / "log")
    file.write(1)
    file.log.close()
    file.later()
    file.write(1)
    file.log.close()
    assert file.log.lost == 1 and numbers(tmp_path / "log") == [0]


def test_a_path_that_cannot_be_opened_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LogFile(tmp_path / "nowhere" / "log")
