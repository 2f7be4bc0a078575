"""A whole market through one daemon: ``python benchmarks/market.py [--symbols N | --grow FROM..TO] [--seconds T]``.

N symbols, ten updates a second each, every tenth update of each recorded as a full-depth row, over loopback sockets from
``load_venue.py``. Sustained means, over the whole time: p99 from frame received to book applied below 50 ms, nothing
dropped, no gap, at least 99 % of the rows on disk, and a lag that is not growing at the end.

Figures come from the daemon's own ``/metrics``; with ``--probe`` from ``market_probe.py``, which times every chunk
from inside and sees each second by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from load_market import IDS_AN_UPDATE, Market
from load_venue import LATE_S
from market_processes import EVERY, SETTLE_S, Daemon, Samples, Venue, sample_stacks, show_stacks, wait_until_synced

UPDATES_A_SECOND = 10
P99_MS = 50.0
ROWS_SHARE = 0.99
FLUSH_S = 1.0
PACE_SHARE = 0.01  # late ticks of the generator that a run may have


@dataclass
class Outcome:
    """One run, in numbers."""

    symbols: int
    seconds: float
    p50_ms: float
    p99_ms: float
    p99_first_ms: float  # of the first and the last quarter
    p99_last_ms: float
    messages: float
    rows: float
    rows_lost: float
    dropped: float
    gaps: float
    threads: dict[str, float] = field(default_factory=dict)  # share of a core
    venue_cpu: float = 0.0
    late_ticks: int = 0
    ticks: int = 1
    latest_tick_ms: float = 0.0
    cut_off: int = 0
    unsent: int = 0
    others_cpu: float = 0.0  # cores that everything else on this machine used meanwhile
    notes: list[str] = field(default_factory=list)

    @property
    def rows_expected(self) -> float:
        """Rows come on disk once a flush, so one flush interval may be missing at either end without being lost."""
        return self.symbols * UPDATES_A_SECOND / EVERY * max(0.0, self.seconds - FLUSH_S)

    @property
    def problems(self) -> list[str]:
        """Why the run was not sustained; empty when it was."""
        expected = self.rows_expected
        found = []
        if self.p99_ms >= P99_MS:
            found.append(f"p99 {self.p99_ms:.1f} ms")
        if self.dropped or self.rows_lost or self.gaps or self.cut_off:
            found.append(
                f"{self.dropped:.0f} dropped, {self.rows_lost:.0f} rows lost, {self.gaps:.0f} gaps, {self.cut_off} cut off"
            )
        if self.rows < ROWS_SHARE * expected:
            found.append(f"{self.rows / expected:.1%} of the rows")
        if self.p99_last_ms > max(2 * self.p99_first_ms, 0.5 * P99_MS):
            found.append(f"lag grows: p99 {self.p99_first_ms:.1f} → {self.p99_last_ms:.1f} ms")
        return found

    @property
    def generator_kept_pace(self) -> bool:
        """Whether the run says anything about the daemon at all."""
        return self.late_ticks <= PACE_SHARE * self.ticks


def quantile(before: dict[str, float], after: dict[str, float], share: float) -> float:
    """A quantile in ms of a Prometheus histogram between two scrapes, interpolated in its bucket."""
    edges = sorted((float(edge), after[edge] - before.get(edge, 0.0)) for edge in after)
    if not edges or not edges[-1][1]:
        return float("nan")
    wanted, lower, below = share * edges[-1][1], 0.0, 0.0
    for edge, count in edges:
        if count >= wanted:
            if edge == float("inf"):
                return float("inf")
            return 1e3 * (lower + (edge - lower) * (wanted - below) / max(1.0, count - below))
        lower, below = edge, count
    return float("inf")


def measure_by_metrics(symbols: int, seconds: float, daemon: Daemon) -> Outcome:
    """Scrape at the start, at both ends of the quarters, and at the end."""
    try:
        scrapes = [daemon.scrape()]
    except OSError as error:
        raise RuntimeError(f"no metrics at {daemon.metrics} ({error}): use --probe") from None
    begin_s = time.monotonic()
    for share in (0.25, 0.75, 1.0):
        time.sleep(max(0.0, begin_s + share * seconds - time.monotonic()))
        scrapes.append(daemon.scrape())
    taken_s = time.monotonic() - begin_s
    first, last = scrapes[0], scrapes[-1]

    def grown(name: str) -> dict[str, float]:
        return {key: value - first.get(name, {}).get(key, 0.0) for key, value in last.get(name, {}).items()}

    def lag(begin: Samples, end: Samples, share: float) -> float:
        name = "binmon_book_apply_lag_seconds_bucket"
        return quantile(begin.get(name, {}), end.get(name, {}), share)

    workers = grown("binmon_worker_cpu_seconds_total")
    return Outcome(
        symbols,
        taken_s,
        lag(first, last, 0.5),
        lag(first, last, 0.99),
        lag(scrapes[0], scrapes[1], 0.99),
        lag(scrapes[2], scrapes[3], 0.99),
        messages=float("nan"),
        rows=sum(grown("binmon_recorder_rows_total").values()),
        rows_lost=sum(grown("binmon_recorder_rows_lost_total").values()),
        dropped=sum(grown("binmon_channel_dropped_total").values()),
        gaps=sum(grown("binmon_book_gaps_total").values()),
        threads={name: used / taken_s for name, used in workers.items()},
        notes=[
            f"waiting in channels at the end: { {k: v for k, v in last.get('binmon_channel_depth', {}).items() if v} }",
            f"memory {last['process_resident_memory_bytes'][''] / 1e6:.0f} MB at the end, "
            f"{first['process_resident_memory_bytes'][''] / 1e6:.0f} MB at the begin",
        ],
    )


def measure_by_probe(symbols: int, seconds: float, daemon: Daemon) -> Outcome:
    """Read the probe's lines of the time."""
    begin_s = time.monotonic()
    time.sleep(seconds)
    end_s = time.monotonic()
    lines = [json.loads(line) for line in daemon.figures_path.read_text().splitlines()]
    before = [line for line in lines if line["at_s"] < begin_s][-1]
    inside = [line for line in lines if begin_s <= line["at_s"] <= end_s]
    last, taken_s = inside[-1], inside[-1]["at_s"] - before["at_s"]

    def quantiles(some: list[dict[str, Any]]) -> tuple[float, float]:
        lags = np.array([pair for line in some for pair in line["lags"]])
        if not len(lags):
            return float("nan"), float("nan")
        lags = lags[lags[:, 0].argsort()]
        shares = lags[:, 1].cumsum() / lags[:, 1].sum()
        return float(lags[shares.searchsorted(0.5), 0]), float(lags[min(shares.searchsorted(0.99), len(lags) - 1), 0])

    quarter = max(1, len(inside) // 4)
    p50, p99 = quantiles(inside)
    worst = max(max((lag for lag, _ in line["lags"]), default=0.0) for line in inside)
    busy = sum(line["handling_s"] for line in inside) / taken_s
    chunks = sum(len(line["lags"]) for line in inside)
    messages = sum(frames for line in inside for _, frames in line["lags"])
    deepest = {name: max(line["depth"].get(name, 0) for line in inside) for name in last["depth"]}
    return Outcome(
        symbols,
        taken_s,
        p50,
        p99,
        quantiles(inside[:quarter])[1],
        quantiles(inside[-quarter:])[1],
        messages=messages,
        rows=last["rows"] - before["rows"],
        rows_lost=last["rows_lost"] - before["rows_lost"],
        dropped=sum(last["dropped"].values()) - sum(before["dropped"].values()),
        gaps=last["gaps"] - before["gaps"],
        threads={
            name: (used - before["cpu_s"].get(name, 0.0)) / taken_s
            for name, used in last["cpu_s"].items()
            if name != "probe"
        },
        notes=[
            f"longest lag {worst:.1f} ms; keeper in its hands {busy:.0%} of the time; {messages / max(1, chunks):.1f} "
            f"frames a chunk; most waiting: { {name: most for name, most in deepest.items() if most} }",
            f"rows finished into files {last['finished'] - before['finished']}; collecting garbage {sum(line['collecting_s'] for line in inside) / taken_s:.1%} of the time, "
            f"the longest {max(line['longest_collection_ms'] for line in inside):.1f} ms; synced {last['synced']}",
        ],
    )


def verify(market: Market, directory: Path, most_rows: int = 50) -> str:
    """Compare recorded rows of the first symbol of each kind with the venue's books; of ids and times all are looked at."""
    from binmon.recorder.reader import BookDataset
    from binmon.recorder.sources import row_at
    from binmon.recorder.tables import integers

    compared = wrong = skipped = 0
    delays_ms: list[float] = []
    for number in sorted({kind.name: number for number, kind in reversed(list(enumerate(market.kinds)))}.values()):
        symbol = market.symbols[number]
        tables = list(BookDataset(directory).tables(symbol=symbol))
        ids = np.concatenate([integers(table, "update_id") for table in tables])
        skipped += int(np.count_nonzero(np.diff(ids) != EVERY * IDS_AN_UPDATE))
        step = max(1, len(ids) // most_rows)
        for table in tables:
            received, sent = integers(table, "receive_time"), integers(table, "event_time")
            delays_ms += ((received - sent * 10**6) / 1e6).tolist()
            for place in range(0, len(table), step):
                row = row_at(table, place)
                compared += 1
                sides = market.book_at(symbol, row.update_id)
                recorded = ((row.bid_price, row.bid_quantity), (row.ask_price, row.ask_quantity))
                wrong += sides is None or not all(
                    prices.tolist() == [market.price(symbol, tick) for tick, _ in levels]
                    and quantities.tolist() == [float(quantity) for _, quantity in levels]
                    for (prices, quantities), levels in zip(recorded, sides, strict=True)
                )
    p50, p99 = np.quantile(delays_ms, [0.5, 0.99])
    return (
        f"{compared} recorded rows compared with the venue's books: {wrong} differ, {skipped} steps are not {EVERY} updates; "
        f"sent → received p50 {p50:.0f} ms, p99 {p99:.0f} ms"
    )


def run(symbols: int, options: argparse.Namespace) -> Outcome:
    """One run with so many symbols, from an empty directory."""
    with tempfile.TemporaryDirectory(prefix="market-", dir=options.directory, ignore_cleanup_errors=True) as name:
        directory = Path(name)
        venue = Venue(symbols, options)
        daemon = Daemon(directory, venue, options)
        stacks: subprocess.Popen[bytes] | None = None
        try:
            began_s = time.monotonic()
            wait_until_synced(symbols, venue, daemon)
            synced_s = time.monotonic() - began_s - SETTLE_S
            begin, first_line = venue.figures(), len(venue.lines)
            busy_s, at_s = _busy_s(), time.monotonic()
            if options.stacks:
                stacks = sample_stacks(daemon, options.seconds - 2, directory / "stacks")
            measured = measure_by_probe if options.probe else measure_by_metrics
            outcome = measured(symbols, options.seconds, daemon)
            end, lines = venue.figures(), venue.lines[first_line:]
            outcome.others_cpu = (_busy_s() - busy_s) / (time.monotonic() - at_s)
            if stacks is not None:
                stacks.wait(30)
        finally:
            daemon.end()
            venue.end()
        outcome.venue_cpu = (end["cpu_s"] - begin["cpu_s"]) / (end["at_s"] - begin["at_s"])
        outcome.others_cpu -= outcome.venue_cpu + sum(outcome.threads.values())
        outcome.late_ticks, outcome.ticks = end["late_ticks"] - begin["late_ticks"], end["ticks"] - begin["ticks"]
        outcome.latest_tick_ms = max(line["latest_s"] for line in lines) * 1e3
        outcome.cut_off = end["cut_off"] - begin["cut_off"]
        outcome.unsent = max(line["unsent_bytes"] for line in lines)
        outcome.messages = end["frames"] - begin["frames"]
        outcome.notes.append(f"synced after {synced_s:.1f} s with {end['depths']} snapshots")
        if options.verify:
            outcome.notes.append(verify(Market(symbols, length=options.cycle), directory / "data"))
        show(outcome)
        if stacks is not None:
            show_stacks(directory / "stacks")
        if options.keep_log:
            shutil.copy(daemon.log, options.keep_log)
        return outcome


def _busy_s() -> float:
    """CPU seconds that the whole machine has spent on work."""
    fields = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")  # without idle and waiting for disks


def show(outcome: Outcome) -> None:
    """Print one run."""
    problems = outcome.problems
    verdict = "sustained" if not problems else "NOT sustained: " + "; ".join(problems)
    if not outcome.generator_kept_pace:
        verdict = f"says nothing, the generator did not keep pace ({verdict})"
    print(f"\n{outcome.symbols} symbols, {outcome.seconds:.0f} s: {verdict}")
    print(
        f"  {outcome.messages / outcome.seconds:,.0f} messages/s, {outcome.rows / outcome.seconds:,.0f} rows/s; received → "
        f"applied p50 {outcome.p50_ms:.2f} ms, p99 {outcome.p99_ms:.2f} ms (first quarter {outcome.p99_first_ms:.2f}, last {outcome.p99_last_ms:.2f})"
    )
    threads = sorted(outcome.threads.items(), key=lambda pair: -pair[1])
    print(
        f"  daemon {sum(outcome.threads.values()):.0%} of a core: "
        + ", ".join(f"{n} {u:.1%}" for n, u in threads if u > 0.002)
    )
    print(
        f"  generator {outcome.venue_cpu:.1%} of a core, {outcome.late_ticks} of {outcome.ticks} ticks more than {LATE_S * 1e3:.0f} ms late, "
        f"the latest {outcome.latest_tick_ms:.1f} ms; left unread at most {outcome.unsent:,} bytes"
    )
    print(f"  machine: {os.cpu_count()} cores, used by others meanwhile {max(0.0, outcome.others_cpu):.0%} of a core")
    for note in outcome.notes:
        print(f"  {note}")
    sys.stdout.flush()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=1_500)
    parser.add_argument("--grow", metavar="FROM..TO", help="one run after another, until one is not sustained")
    parser.add_argument("--step", type=int, default=250, help="how many symbols more each time (default: 250)")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument(
        "--rotate-s", type=float, help="default: a third of the time, so that segments are finished in it"
    )
    parser.add_argument("--tick-ms", type=float, default=10.0, help="the generator sends so often (default: 10)")
    parser.add_argument("--cycle", type=int, default=100, help="updates after which the generator's books repeat")
    parser.add_argument("--log-level", default="warning", help="info writes a line for every top (default: warning)")
    parser.add_argument("--directory", help="where recordings go meanwhile (default: the system's temporary directory)")
    parser.add_argument("--probe", action="store_true", help="time every chunk from inside the daemon")
    parser.add_argument(
        "--try",
        dest="try_file",
        action="append",
        default=[],
        metavar="FILE",
        help="run before the daemon, with --probe",
    )
    parser.add_argument("--stacks", action="store_true", help="show where the time goes, by py-spy")
    parser.add_argument(
        "--verify", action="store_true", help="compare recorded rows of some symbols with the venue's books"
    )
    parser.add_argument("--keep-log", metavar="FILE", help="copy of the daemon's log")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the processes are ended, too
    if options.rotate_s is None:
        options.rotate_s = max(5.0, options.seconds / 3)
    if options.grow is None:
        run(options.symbols, options)
        return
    first, last = (int(number) for number in options.grow.split(".."))
    most = 0
    for symbols in range(first, last + 1, options.step):
        outcome = run(symbols, options)
        if not outcome.generator_kept_pace or outcome.problems:
            break
        most = symbols
    print(
        f"\nsustained: {most} symbols, {most * UPDATES_A_SECOND:,} messages/s, {most * UPDATES_A_SECOND // EVERY:,} rows/s"
    )


if __name__ == "__main__":
    main()
