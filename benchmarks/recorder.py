"""Full-depth rows → files on disk: ``python benchmarks/recorder.py``.

5,000 levels a side, a row every 10th update, through Recorder and SegmentFinisher; against pyarrow from Python
objects with its defaults, and CSV.gz. Wall time, the median of the runs; all of them write to the same disk.
"""

from __future__ import annotations

import csv
import gzip
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import data
import pyarrow as pa
import pyarrow.parquet as pq

from binmon.books.book import Book
from binmon.core.channel import Channel, Overflow
from binmon.messages import BookSnapshot
from binmon.recorder.finisher import SegmentFinisher
from binmon.recorder.writer import Recorder
from binmon.venues.binance.decoding import BinanceDecoder

ROWS, CSV_ROWS, EVERY, RUNS = 200, 20, 10, 3


def rows() -> list[BookSnapshot]:
    """Consecutive similar books, as the keeper hands them over."""
    messages, decoder = data.major(ROWS * EVERY), BinanceDecoder()
    book, made, since = Book(decoder), [], None
    book.load(decoder.depth("binance", messages.symbol, messages.snapshot))
    for number, frame in enumerate(messages.frames, start=1):
        update = decoder.update(frame)
        assert update is not None
        book.apply(update, 1_784_600_000_000_000_000 + number)
        if number % EVERY == 0:
            book.settle()
            changes = book.take_changes()
            made.append(
                BookSnapshot(
                    "binance", messages.symbol, book.event_time_ms, book.receive_time_ns, book.update_id, EVERY, 1,
                    book.bid_known_to, book.ask_known_to, *book.bids(), *book.asks(), since, changes.bids, changes.asks,
                )
            )  # fmt: skip
            since = book.update_id
    return made


def ours(directory: Path, made: list[BookSnapshot]) -> int:
    channel: Channel[Any] = Channel("rows", len(made), Overflow.DROP_NEWEST)
    closed: Channel[Path] = Channel("closed", 10, Overflow.DROP_NEWEST)
    recorder = Recorder(directory, channel, closed)
    for number, row in enumerate(made, start=1):
        recorder.accept(row)
        if number % 50 == 0:
            recorder.flush(row.receive_time_ns)
    recorder.flush(made[-1].receive_time_ns)
    recorder.close_segment()
    stop = threading.Event()
    stop.set()
    finisher = SegmentFinisher(directory, closed, finish_on_stop_s=600.0)
    finisher.run(stop)
    assert recorder.rows_written == len(made), "rows are missing"
    return sum(path.stat().st_size for path in directory.rglob("*.parquet"))


def python_objects(directory: Path, made: list[BookSnapshot]) -> int:
    path = directory / "rows.parquet"
    table = pa.Table.from_pylist(
        [
            {
                "update_id": row.update_id,
                **{
                    name: getattr(row, name).tolist()
                    for name in ("bid_price", "bid_quantity", "ask_price", "ask_quantity")
                },
            }
            for row in made
        ]
    )
    pq.write_table(table, path)
    return path.stat().st_size


def csv_gz(directory: Path, made: list[BookSnapshot]) -> int:
    path = directory / "rows.csv.gz"
    with gzip.open(path, "wt", compresslevel=6, newline="") as file:
        writer = csv.writer(file)
        for row in made:
            sides = (row.bid_price, row.bid_quantity, row.ask_price, row.ask_quantity)
            writer.writerow([row.update_id, *(json.dumps(side.tolist()) for side in sides)])
    return path.stat().st_size


if __name__ == "__main__":
    made = rows()
    engines: dict[str, tuple[Callable[[Path, list[BookSnapshot]], int], list[BookSnapshot]]] = {
        "binmon": (ours, made),
        "Parquet from Python objects": (python_objects, made),
        "CSV.gz": (csv_gz, made[:CSV_ROWS]),
    }
    taken: dict[str, list[float]] = {name: [] for name in engines}
    sizes: dict[str, float] = {}
    for _ in range(RUNS):
        for name, (engine, given) in engines.items():
            with tempfile.TemporaryDirectory() as directory:
                begin = time.perf_counter()
                size = engine(Path(directory), given)
                taken[name].append(len(given) / (time.perf_counter() - begin))
                sizes[name] = size / len(given)
    rates = {name: statistics.median(values) for name, values in taken.items()}
    print(f"\nFull-depth rows\n{'':30s}{'rows/s':>9s}{'bytes a row':>13s}{'rows/s: binmon':>16s}{'bytes: binmon':>15s}")
    targets = {"Parquet from Python objects": (4.0, 1.0), "CSV.gz": (50.0, 0.15)}
    for name, rate in rates.items():
        faster, smaller = rates["binmon"] / rate, sizes["binmon"] / sizes[name]
        line = f"{name:30s}{rate:9.0f}{sizes[name]:13.0f}{faster:15.1f}×{smaller:14.2f}×"
        if name in targets:
            fast, small = targets[name]
            line += f"  target {fast:.0f}×, {small:.2f}×: " + ("yes" if faster >= fast and smaller <= small else "no")
        print(line)
