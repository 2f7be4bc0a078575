from __future__ import annotations

from pathlib import Path

import pytest
import zstandard

from binmon.recorder.frames import MAGIC, FrameHead, FrameKind, SegmentScan, encode_frame, read_data, scan

COMPRESSOR, DECOMPRESSOR = zstandard.ZstdCompressor(level=1), zstandard.ZstdDecompressor()


def frame(number: int, rows: int = 3) -> bytes:
    head = FrameHead(FrameKind.BOOKS, rows, 0, number, number + 1, number, "binance", f"币{number}USDT")
    return encode_frame(head, f"data of {number} ".encode() * 20, COMPRESSOR)


def scanned(path: Path, content: bytes, *, check_data: bool = True) -> SegmentScan:
    path.write_bytes(content)
    with path.open("rb") as file:
        return scan(file, check_data=check_data)


def test_heads_and_data_come_back(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    found = scanned(path, frame(1) + frame(2) + encode_frame(FrameHead(FrameKind.CLOSED), b"", COMPRESSOR))
    assert [f.head.symbol for f in found.frames] == ["币1USDT", "币2USDT", ""]
    assert found.frames[1].head == FrameHead(FrameKind.BOOKS, 3, 200, 2, 3, 2, "binance", "币2USDT")
    assert (found.rows, found.closed, found.torn_bytes, found.damaged_bytes) == (6, True, 0, 0)
    with path.open("rb") as file:
        assert read_data(file, found.frames[1], DECOMPRESSOR) == b"data of 2 " * 20


def test_every_torn_tail_leaves_the_frames_before_it(tmp_path: Path) -> None:
    whole, torn = frame(1), frame(2)
    for cut in range(1, len(torn)):
        found = scanned(tmp_path / "frames", whole + torn[:cut])
        assert (len(found.frames), found.end, found.torn_bytes) == (1, len(whole), cut), cut


@pytest.mark.parametrize("check_data", [True, False])
def test_no_single_damaged_byte_hides_other_frames_or_passes_unseen(tmp_path: Path, check_data: bool) -> None:
    first, second, third = frame(1), frame(2), frame(3)
    path = tmp_path / "frames"
    for position in range(len(second)):
        damaged = bytearray(second)
        damaged[position] ^= 0xFF
        found = scanned(path, first + bytes(damaged) + third, check_data=check_data)
        with path.open("rb") as file:
            readable = [f.head.last_epoch for f in found.frames if read_data(file, f, DECOMPRESSOR) is not None]
        assert readable == [1, 3], position


def test_rows_of_damaged_data_are_counted(tmp_path: Path) -> None:
    damaged = bytearray(frame(2, rows=5))
    damaged[-1] ^= 1
    found = scanned(tmp_path / "frames", frame(1) + bytes(damaged) + frame(3))
    assert (found.rows_lost, found.damaged_bytes, found.torn_bytes) == (5, len(damaged), 0)


def test_the_mark_inside_data_is_no_frame(tmp_path: Path) -> None:
    noise = MAGIC * 300_000  # longer than one block of the search
    found = scanned(tmp_path / "frames", frame(1) + noise + frame(2))
    assert [f.head.last_epoch for f in found.frames] == [1, 2]
    assert found.damaged_bytes == len(noise)
