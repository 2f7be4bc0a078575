"""The report as one self-contained HTML page: no script, no request to anywhere, readable in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html import escape

from binmon import __version__
from binmon.latency.measurement import Measurement, OrderClass
from binmon.latency.plots import Series, histogram_plot, time_plot
from binmon.latency.statistics import PHASES, class_counts, histogram, phase_statistics, values

MEANINGS: dict[OrderClass, str] = {
    OrderClass.IN_TIME: "all execution reports came, none later than the threshold",
    OrderClass.LATE: "all execution reports came, one later than the threshold",
    OrderClass.LOST: "the stream did not bring all reports; the venue confirms how the order ended",
    OrderClass.REJECTED: "the venue, or our own limits, refused it",
    OrderClass.UNKNOWN: "nobody can say whether it was executed",
    OrderClass.RESET: "the venue had accepted it, and knows it no more",
}
_TROUBLE = (OrderClass.LATE, OrderClass.LOST, OrderClass.UNKNOWN, OrderClass.RESET, OrderClass.REJECTED)
_WITHOUT_TIMES = (OrderClass.LOST, OrderClass.UNKNOWN, OrderClass.RESET)
_MOST_ROWS = 500
_LEAST_AXIS_NS = 60 * 10**9  # a single order of just now is no reason for an axis of milliseconds


@dataclass(frozen=True, slots=True)
class ReportRange:
    """What a report is about: orders sent in this time (UTC nanoseconds), and how many of them have no class yet."""

    start_ns: int
    end_ns: int
    open_orders: int


def html_report(measurements: Sequence[Measurement], span: ReportRange) -> str:
    """The page. ``measurements`` are in the order of sending; there may be none."""
    threshold_ms = measurements[-1].threshold_ms if measurements else None
    drawn = _drawn(measurements, span)
    body = [
        "<h1>Order latency</h1>",
        f"<p>{_span(span)}: {orders(len(measurements))}{_where(measurements)}"
        + (f", {span.open_orders} still open" if span.open_orders else "")
        + (f". Threshold {threshold_ms:g} ms" if threshold_ms is not None else "")
        + ".</p>",
    ]
    if measurements:
        body += [
            _classes(measurements),
            _percentiles(measurements),
            _distribution(measurements),
            _over_time(measurements, drawn),
            _clock(measurements, drawn),
            _troubles(measurements),
        ]
    else:
        body.append("<p>No order was settled in this time.</p>")
    body.append(
        f"<footer>binmon {escape(__version__)}. Times of our own are by the monotonic clock; what compares our clock with the "
        "venue's is right within the uncertainty, and is not shown where the uncertainty is larger than it.</footer>"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="color-scheme" content="light dark">'
        f"<title>binmon: order latency</title><style>{_STYLE}</style></head><body><main>\n"
        + "\n".join(body)
        + "\n</main>"
        "</body></html>\n"
    )


def utc(time_ns: int) -> str:
    """``2026-01-02 03:04:05`` of UTC nanoseconds."""
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y-%m-%d %H:%M:%S}"


def orders(count: int) -> str:
    """``3 orders``."""
    return "1 order" if count == 1 else f"{count} orders"


def _drawn(measurements: Sequence[Measurement], span: ReportRange) -> ReportRange:
    """What the axes of time show: from shortly before the first order on. On a young ledger the dots of a whole day would
    lie on top of each other."""
    if not measurements:
        return span
    first_ns = min(measurements[0].sent_ns, span.end_ns - _LEAST_AXIS_NS)
    margin_ns = (span.end_ns - first_ns) // 50  # so that the first dot is not on the edge
    return replace(span, start_ns=max(span.start_ns, first_ns - margin_ns))


def _span(span: ReportRange) -> str:
    return f"{utc(span.start_ns)} to {utc(span.end_ns)} UTC"


def _where(measurements: Sequence[Measurement]) -> str:
    places = sorted({f"{one.venue} {one.symbol}" for one in measurements})
    return f" of {escape(', '.join(places))}" if places else ""


def _classes(measurements: Sequence[Measurement]) -> str:
    rows = []
    for order_class, count in class_counts(measurements).items():
        share = f"{100 * count / len(measurements):.2f} %"
        style = ' class="none"' if count == 0 else ""
        rows.append(
            f'<tr{style}><th scope="row"><i class="mark {order_class.value}"></i>{order_class.value}</th>'
            f"<td>{count}</td><td>{share}</td><td class=text>{MEANINGS[order_class]}</td></tr>"
        )
    head = '<tr><th>class</th><th class=number>orders</th><th class=number>share</th><th class="text">meaning</th></tr>'
    return (
        f'<h2>How the orders ended</h2><table id="classes"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'
    )


def _percentiles(measurements: Sequence[Measurement]) -> str:
    rows = []
    for phase in PHASES:
        found = phase_statistics(measurements, phase.name)
        figures = (found.p50_ms, found.p90_ms, found.p99_ms, found.p999_ms, found.max_ms, found.mean_ms)
        cells = "".join(f"<td>{'–' if figure is None else milliseconds(figure)}</td>" for figure in figures)
        rows.append(f'<tr><th scope="row">{escape(phase.title)}</th><td>{found.count}</td>{cells}</tr>')
    names = "".join(f"<th class=number>{name}</th>" for name in ("orders", "p50", "p90", "p99", "p99.9", "max", "mean"))
    head = f"<tr><th>phase, ms</th>{names}</tr>"
    return f'<h2>Percentiles</h2><table id="percentiles"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def _distribution(measurements: Sequence[Measurement]) -> str:
    figures = values(measurements, "sent_to_report_ms")
    if not figures:
        return ""
    plot = histogram_plot(histogram(figures), measurements[-1].threshold_ms)
    return f"<h2>Sent → report received, distribution</h2><figure>{plot}</figure>"


def _over_time(measurements: Sequence[Measurement], span: ReportRange) -> str:
    plots = []
    thresholds = [(one.sent_ns, one.threshold_ms) for one in measurements]
    missing = [(one.sent_ns, one.order_class.value) for one in measurements if one.order_class in _WITHOUT_TIMES]
    for phase in PHASES:
        points = [(one.sent_ns, value, one.order_class.value) for one in measurements if (value := getattr(one, phase.name)) is not None]  # fmt: skip
        if points:
            line = thresholds if phase.name in ("sent_to_report_ms", "event_to_receive_ms") else ()
            gone = missing if phase.name == "sent_to_report_ms" else ()
            plot = time_plot(
                [Series(phase.title, points)],
                span.start_ns,
                span.end_ns,
                threshold=line,
                missing=gone,
                label=phase.title,
            )
            plots.append(f"<figure><figcaption>{escape(phase.title)}, ms</figcaption>{plot}</figure>")
    note = "<p>One dot an order, by the time of its sending; the dashed line is the threshold. Strokes at the upper edge are orders whose reports did not all come.</p>"
    return f"<h2>Over time</h2>{note}{''.join(plots)}" if plots else ""


def _clock(measurements: Sequence[Measurement], span: ReportRange) -> str:
    offsets = [(one.sent_ns, one.clock_offset_ms, "offset") for one in measurements if one.clock_offset_ms is not None]
    doubts = [(one.sent_ns, one.uncertainty_ms, "doubt") for one in measurements if one.uncertainty_ms is not None]
    if not offsets and not doubts:
        return "<h2>Clock</h2><p>The venue's clock was not known in this time.</p>"
    plots = []
    if offsets:
        plot = time_plot([Series("offset", offsets)], span.start_ns, span.end_ns, from_zero=False, label="clock offset")
        plots.append(f"<figure><figcaption>The venue's clock minus ours, ms</figcaption>{plot}</figure>")
    if doubts:
        plot = time_plot([Series("uncertainty", doubts)], span.start_ns, span.end_ns, label="uncertainty")
        plots.append(f"<figure><figcaption>Uncertainty of what compares the clocks, ± ms</figcaption>{plot}</figure>")
    return f"<h2>Clock</h2>{''.join(plots)}"


def _troubles(measurements: Sequence[Measurement]) -> str:
    found = [one for one in measurements if one.order_class in _TROUBLE]
    if not found:
        return "<h2>Not in time</h2><p>Every order was in time.</p>"
    rows = []
    for one in reversed(found[-_MOST_ROWS:]):
        cells = (
            utc(one.sent_ns), one.client_order_id, one.order_class.value, one.order_status, _figure(one.sent_to_report_ms),
            _figure(one.over_ms), _figure(one.waited_ms), one.detail,
        )  # fmt: skip
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    names = ("sent, UTC", "order", "class", "status", "report, ms", "over, ms", "waited, ms", "detail")
    head = "".join(f"<th>{name}</th>" for name in names)
    more = f"<p>The newest {_MOST_ROWS} of {len(found)}.</p>" if len(found) > _MOST_ROWS else ""
    table = f'<table id="troubles"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f"<h2>Not in time</h2>{more}<div class=wide>{table}</div>"


def milliseconds(figure: float) -> str:
    """A figure with about four digits."""
    digits = 3 if abs(figure) < 10 else 2 if abs(figure) < 100 else 1
    return f"{figure:,.{digits}f}"


def _figure(figure: float | None) -> str:
    return "" if figure is None else milliseconds(figure)


_STYLE = """
:root{--page:#fcfcfb;--text:#1d1d1b;--quiet:#65645f;--line:#dddbd5;--dot:#2a6fb0;--late:#c2571a;--lost:#b3261e;
--rejected:#7a6a9c;--unknown:#8a6d00;--reset:#5c6b73;--bar:#2a6fb0}
@media (prefers-color-scheme:dark){:root{--page:#1a1a19;--text:#ecebe7;--quiet:#a3a19a;--line:#3b3a37;--dot:#6aa9e4;
--late:#f0935a;--lost:#f2766e;--rejected:#b3a3d6;--unknown:#d9bd52;--reset:#a4b3bb;--bar:#6aa9e4}}
body{background:var(--page);color:var(--text);font:15px/1.5 system-ui,sans-serif;margin:0}
main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem}
p,footer,figcaption{color:var(--quiet)}footer{margin-top:2.5rem;font-size:.85rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td,th.number{text-align:right}tbody th,thead th{text-align:left;font-weight:600;white-space:nowrap}
thead th.number{text-align:right}td.text,#troubles td{text-align:left}thead th{color:var(--quiet);font-weight:400}
tr.none{opacity:.55}.wide{overflow-x:auto}#troubles td{font-size:.87rem;white-space:nowrap}
#troubles td:last-child{white-space:normal;min-width:16rem}
figure{margin:.6rem 0 1.2rem}svg{width:100%;height:auto;display:block}
svg text{fill:var(--quiet);font:11px system-ui,sans-serif}svg .grid{stroke:var(--line);stroke-width:1}
svg .threshold{stroke:var(--lost);stroke-width:1.3;stroke-dasharray:6 4;fill:none}
svg .dots{stroke-linecap:round;stroke-width:3.2;fill:none;stroke:var(--dot)}
svg .dots.late{stroke:var(--late);stroke-width:5}
svg .missing{stroke-width:2.5;stroke:var(--lost)}svg .missing.unknown{stroke:var(--unknown)}
svg .missing.reset{stroke:var(--reset)}
svg rect{fill:var(--bar)}svg rect.over{fill:var(--late)}
.mark{display:inline-block;width:.65em;height:.65em;border-radius:50%;margin-right:.5em;background:var(--dot)}
.mark.late{background:var(--late)}.mark.lost{background:var(--lost)}.mark.rejected{background:var(--rejected)}
.mark.unknown{background:var(--unknown)}.mark.reset{background:var(--reset)}
""".strip()
