"""``binmon`` with its own stopwatch: ``python benchmarks/market_probe.py FIGURES [--try FILE] run -c config.yaml``.

The same daemon, except that ``BookKeeper.handle`` notes for every chunk how long after its receipt its last frame was
applied. Each second a line of JSON goes to FIGURES: lag in ms a message, CPU seconds a thread, queues and counters.
FILE is a Python file that runs before the daemon: to try a change out without touching the product.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import sys
import threading
import time
from pathlib import Path
from typing import Any

from binmon.books.keeper import BookKeeper
from binmon.books.sync import SyncState
from binmon.core.channel import Channel
from binmon.messages import FrameChunk
from binmon.recorder.finisher import SegmentFinisher
from binmon.recorder.writer import Recorder

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class Probe:
    """Collects; one line a second."""

    def __init__(self, figures: Path) -> None:
        self._file = figures.open("w", buffering=1)
        self._lags: list[tuple[int, int, int]] = []  # lag in ns at the end of the chunk, frames, time of handling in ns
        self.keepers: list[BookKeeper] = []
        self.recorders: list[Recorder] = []
        self.finishers: list[SegmentFinisher] = []
        self.channels: list[Channel[Any]] = []
        self._pauses: list[float] = []
        self._pause_began_s = 0.0

    def install(self) -> None:
        """Wrap what has to be watched."""
        for kind, made in (
            (BookKeeper, self.keepers),
            (Recorder, self.recorders),
            (SegmentFinisher, self.finishers),
            (Channel, self.channels),
        ):
            _remember(kind, made)
        plain = BookKeeper.handle
        clock = time.monotonic_ns

        def handle(keeper: BookKeeper, message: Any, now_s: float) -> None:
            if type(message) is not FrameChunk:
                plain(keeper, message, now_s)
                return
            begin_ns = clock()
            plain(keeper, message, now_s)
            now_ns = clock()
            self._lags.append((now_ns - message.received_mono_ns, len(message.frames), now_ns - begin_ns))

        BookKeeper.handle = handle  # type: ignore[method-assign]
        gc.callbacks.append(self._on_collection)
        threading.Thread(target=self._write, name="probe", daemon=True).start()

    def _on_collection(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._pause_began_s = time.perf_counter()
        else:
            self._pauses.append(time.perf_counter() - self._pause_began_s)

    def _write(self) -> None:
        next_s = time.monotonic() + 1.0
        while True:
            time.sleep(max(0.0, next_s - time.monotonic()))
            next_s += 1.0
            lags, self._lags = self._lags, []
            pauses, self._pauses = self._pauses, []
            synced = sum(state is SyncState.SYNCED for keeper in self.keepers for state in keeper.states.values())
            line = {
                "at_s": time.monotonic(),
                "lags": sorted((round(lag / 1e6, 3), frames) for lag, frames, _ in lags),
                "handling_s": sum(taken for *_, taken in lags) / 1e9,
                "cpu_s": thread_cpu_s(),
                "synced": synced,
                "gaps": sum(kept.sync.gaps for keeper in self.keepers for kept in keeper._kept.values()),
                "rows": sum(recorder.rows_written for recorder in self.recorders),
                "rows_lost": sum(recorder.rows_lost for recorder in self.recorders),
                "finished": sum(finisher.rows_written for finisher in self.finishers),
                "depth": {channel.name: len(channel) for channel in self.channels},
                "dropped": {channel.name: channel.dropped for channel in self.channels},
                "collections": len(pauses),
                "collecting_s": round(sum(pauses), 4),
                "longest_collection_ms": round(max(pauses, default=0.0) * 1e3, 2),
            }
            self._file.write(json.dumps(line) + "\n")


def _remember(kind: type, made: list[Any]) -> None:
    plain = kind.__init__

    def init(self: Any, *args: Any, **named: Any) -> None:
        plain(self, *args, **named)
        made.append(self)

    kind.__init__ = init  # type: ignore[misc]


def thread_cpu_s() -> dict[str, float]:
    """CPU seconds of every thread of this process since its start, by name; those that are not Python's as "native"."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    taken: dict[str, float] = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        name = names.get(int(task.name), "native")
        taken[name] = taken.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND
    return taken


if __name__ == "__main__":
    from binmon.cli.main import main

    figures_path, *rest = sys.argv[1:]
    while rest[:1] == ["--try"]:
        runpy.run_path(rest[1])
        rest = rest[2:]
    Probe(Path(figures_path)).install()
    sys.exit(main(rest))
