"""``binmon latency``: what the orders of the probe ledger say."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binmon.cli.declaring import add_config, declare
from binmon.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from binmon.cli.main import Arguments
    from binmon.latency.measurement import Measurement
    from binmon.latency.report import ReportRange

_DONE, _FAILED = 0, 1
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BAR_WIDTH = 40
_SHOWN_TROUBLES = 20


def add_parser(subparsers: Any) -> None:
    """Declare the command and its options."""
    parser = declare(
        subparsers,
        "latency",
        summary="report on the timed orders",
        description="Reports on the orders of the probe ledger: classes, percentiles, histogram. With --live it sends orders"
        "\nitself and shows each.",
        examples={
            "binmon latency --since 7d --html week.html": "the last week, also as a page",
            "binmon latency --json | jq .classes": "how many orders of the last day ended how",
            "binmon latency --live --threshold-ms 500": "an order every 20 s, and a bell when a report takes above 500 ms",
        },
    )
    add_config(parser)
    parser.add_argument(
        "--since",
        default="24h",
        metavar="TIME",
        help="oldest order: 90s, 15m, 24h, 7d, or a time such as 2026-01-02T03:04:05Z, UTC (default: 24h)",
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="also write the report as one HTML page (default: none)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document (default: tables)")
    live = parser.add_argument_group("live", "run the probe here and now, in this terminal")
    live.add_argument("--live", action="store_true", help="send orders and show them; asks for what is not given below")
    live.add_argument(
        "--threshold-ms",
        type=int,
        metavar="X",
        help="ring when a report is later; at least 100 (default: latency.threshold_ms)",
    )
    live.add_argument(
        "--interval-s",
        type=float,
        metavar="S",
        help="seconds between two orders; at least 15, but in the sandbox (default: latency.interval_s)",
    )


def run(args: Arguments) -> int:
    """Report on what is in the ledger, or probe live. Raises ConfigError for what is wrong, and without a ledger."""
    if args.live:
        if args.json or args.html is not None:
            raise ConfigError("are for the report, expected --live without them", key="--json and --html")
        from binmon.cli.latency_live import run as run_live

        return run_live(args.load_full_config(), args.threshold_ms, args.interval_s)
    if args.threshold_ms is not None or args.interval_s is not None:
        raise ConfigError("are for --live only", key="--threshold-ms and --interval-s")
    return _report(args)


def parse_since(text: str, now_ns: int) -> int:
    """When ``text`` says, in UTC nanoseconds: an age (``15m``) or a time (RFC 3339; UTC unless it says otherwise).

    Raises ConfigError.
    """
    age = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    try:
        if age:
            since_ns = now_ns - round(float(age[1]) * _UNITS_S[age[2]] * 1e9)
        else:
            moment = datetime.fromisoformat(text.strip())
            # in UTC, as what is beyond the years that there are shows then
            whole = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
            since_ns = int(whole.timestamp()) * 10**9 + whole.microsecond * 1000
    except (ValueError, OverflowError):
        expected = "expected an age such as 90s, 15m, 24h or 7d, or a time such as 2026-01-02T03:04:05Z"
        raise ConfigError(f"{expected}, got {text!r}", key="--since") from None
    return max(0, since_ns)  # before 1970 there are no orders


def _report(args: Any) -> int:
    from binmon.latency.ledger import LedgerReader  # loads only when the command runs
    from binmon.latency.report import ReportRange

    now_ns = time.time_ns()
    start_ns = parse_since(args.since, now_ns)
    reader = LedgerReader(Path(args.load_config().state.path))
    try:
        measurements = reader.between(start_ns, now_ns)
        span = ReportRange(start_ns, now_ns, reader.open_between(start_ns, now_ns))
    finally:
        reader.close()
    if args.html is not None and not _write_page(args.html, measurements, span):
        return _FAILED
    if args.json:
        print(json.dumps(_document(measurements, span), ensure_ascii=False))
    elif not measurements:
        still_open = f"; {span.open_orders} are not settled yet" if span.open_orders else ""
        print(f"no orders were settled since {_utc(start_ns)}{still_open}")
    else:
        _print(measurements, span)
    return _DONE


def _write_page(path: Path, measurements: Sequence[Measurement], span: ReportRange) -> bool:
    from binmon.latency.report import html_report

    try:
        path.write_text(html_report(measurements, span), encoding="utf-8")
    except OSError as error:
        print(f"binmon latency: {path}: {error.strerror or error}", file=sys.stderr)
        return False
    print(f"wrote {path}", file=sys.stderr)
    return True


def _document(measurements: Sequence[Measurement], span: ReportRange) -> dict[str, Any]:
    from binmon.latency.statistics import PHASES, class_counts, histogram, phase_statistics, values

    orders = []
    for one in measurements:
        order = asdict(one)
        order["class"] = order.pop("order_class").value
        order["side"] = one.side.value
        order["quantity"] = None if one.quantity is None else format(one.quantity, "f")
        orders.append(order)
    phases = {}
    for phase in PHASES:
        figures = asdict(phase_statistics(measurements, phase.name))
        del figures["name"]
        phases[phase.name] = figures
    return {
        "since": _utc(span.start_ns),
        "until": _utc(span.end_ns),
        "orders": len(measurements),
        "open_orders": span.open_orders,
        "classes": {order_class.value: count for order_class, count in class_counts(measurements).items()},
        "phases": phases,
        "histogram": [asdict(bucket) for bucket in histogram(values(measurements, "sent_to_report_ms"))],
        "measurements": orders,
    }


def _print(measurements: Sequence[Measurement], span: ReportRange) -> None:
    from rich.table import Table
    from rich.text import Text

    from binmon.latency.measurement import OrderClass
    from binmon.latency.report import MEANINGS, milliseconds, orders, utc
    from binmon.latency.statistics import PHASES, class_counts, histogram, phase_statistics, values

    console = _console()
    places = ", ".join(sorted({f"{one.venue} {one.symbol}" for one in measurements}))
    head = f"{orders(len(measurements))} of {places} since {utc(span.start_ns)} UTC"
    console.print(Text(head + (f", {span.open_orders} still open" if span.open_orders else ""), style="bold"))
    console.print()

    classes = Table("class", box=None, pad_edge=False)
    classes.add_column("orders", justify="right")
    classes.add_column("share", justify="right")
    classes.add_column("meaning")
    for order_class, count in class_counts(measurements).items():
        style = "dim" if count == 0 else "" if order_class is OrderClass.IN_TIME else "yellow"
        share = f"{100 * count / len(measurements):.2f} %"
        classes.add_row(order_class.value, str(count), share, MEANINGS[order_class], style=style)
    console.print(classes)
    console.print()

    phases = Table("phase, ms", box=None, pad_edge=False)
    for heading in ("orders", "p50", "p90", "p99", "p99.9", "max", "mean"):
        phases.add_column(heading, justify="right")
    for phase in PHASES:
        found = phase_statistics(measurements, phase.name)
        figures = (found.p50_ms, found.p90_ms, found.p99_ms, found.p999_ms, found.max_ms, found.mean_ms)
        cells = ["-" if figure is None else milliseconds(figure) for figure in figures]
        phases.add_row(phase.title, str(found.count), *cells)
    console.print(phases)

    buckets = histogram(values(measurements, "sent_to_report_ms"))
    threshold_ms = measurements[-1].threshold_ms
    if buckets:
        console.print()
        console.print(f"sent → report received; the threshold is {threshold_ms:g} ms")
        most = max(bucket.count for bucket in buckets)
        bars = Table(box=None, pad_edge=False, show_header=False)
        bars.add_column(justify="right")
        bars.add_column(justify="right")
        bars.add_column()
        for bucket in buckets:
            bar = "█" * max(1 if bucket.count else 0, round(_BAR_WIDTH * bucket.count / most))
            colour = "yellow" if bucket.from_ms >= threshold_ms else "green"
            bars.add_row(f"{bucket.from_ms:g} - {bucket.below_ms:g} ms", str(bucket.count), Text(bar, colour))
        console.print(bars)

    troubles = [one for one in measurements if one.order_class is not OrderClass.IN_TIME]
    if troubles:
        console.print()
        console.print("not in time" + (f", the newest {_SHOWN_TROUBLES}" if len(troubles) > _SHOWN_TROUBLES else ""))
        table = Table("sent, UTC", "order", "class", "status", box=None, pad_edge=False)
        table.add_column("report, ms", justify="right")
        table.add_column("detail")
        for one in troubles[-_SHOWN_TROUBLES:]:
            report = "-" if one.sent_to_report_ms is None else milliseconds(one.sent_to_report_ms)
            # a Text, as a venue's message may look like markup
            words = (utc(one.sent_ns), one.client_order_id, one.order_class.value, one.order_status, report, one.detail)
            table.add_row(*map(Text, words))
        console.print(table)


def _utc(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _console() -> Any:
    from rich.console import Console

    # a pipe has no width: a line is then never folded
    return Console(file=sys.stdout, highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else 200)
