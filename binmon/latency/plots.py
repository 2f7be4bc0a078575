"""Plots as SVG for a page that has the styles of `binmon.latency.report`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from binmon.latency.statistics import Bucket

_WIDTH, _LEFT, _RIGHT = 900, 62, 12
_TIME_HEIGHT, _BAR_HEIGHT, _TOP, _BOTTOM = 190, 210, 10, 26
_LOG_FROM = 50.0  # a range wider than this is drawn on a logarithmic scale

_TIME_STEPS_S = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800)

Point = tuple[int, float, str]
"""When (UTC nanoseconds), how much, and the class of its dot."""


@dataclass(frozen=True, slots=True)
class Series:
    """Points in the order of time."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to places between ``low_px`` (for ``low``) and ``high_px``."""

    low: float
    high: float
    low_px: float
    high_px: float
    is_log: bool

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        value = min(max(value, low), high)
        if self.is_log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.low_px + (value - low) / (high - low) * (self.high_px - self.low_px)

    def marks(self) -> list[float]:
        """Round values to label, a few of them."""
        if self.is_log:
            decades = math.log10(self.high / self.low)
            digits = (1, 2, 5) if decades < 2.5 else (1,)
            steps = [float(f"{d}e{e}") for e in range(math.floor(math.log10(self.low)), 12) for d in digits]
        else:
            step = _round_step((self.high - self.low) / 4)
            first = math.ceil(self.low / step - 1e-9)
            steps = [(first + number) * step for number in range(12)]
        return [value for value in steps if self.low <= value <= self.high * (1 + 1e-9)]


def time_plot(
    series: Sequence[Series],
    start_ns: int,
    end_ns: int,
    *,
    threshold: Sequence[tuple[int, float]] = (),
    from_zero: bool = True,
    missing: Sequence[tuple[int, str]] = (),
    label: str = "",
) -> str:
    """Dots over time, and the threshold as it was at each time. ``series`` has at least one point.

    ``missing``: when and of what class are those that have no value; a stroke at the upper edge shows them.
    ``from_zero`` False: the scale holds the values only, for what is around some place far from zero.
    """
    figures = [value for one in series for _, value, _ in one.points]
    shown = [*figures, *(value for _, value in threshold)]
    vertical = _value_scale(min(figures), max(shown), from_zero)
    horizontal = _Scale(start_ns, max(end_ns, start_ns + 1), _LEFT, _WIDTH - _RIGHT, is_log=False)
    parts = [_grid(vertical), _time_axis(start_ns, end_ns, horizontal)]
    dots: dict[str, set[tuple[float, float]]] = {}
    for one in series:
        for at_ns, value, kind in one.points:
            # dots at one place look like one: rounded to half a pixel, many orders stay a small page
            dots.setdefault(kind, set()).add((_half(horizontal(at_ns)), _half(vertical(value))))
    for kind in sorted(dots, key=lambda name: name != "in_time"):  # what is not in time lies on top
        path = "".join(f"M{x:g} {y:g}h.01" for x, y in sorted(dots[kind]))
        parts.append(f'<path class="dots {escape(kind)}" d="{path}"/>')
    strokes = sorted({(kind, _half(horizontal(at_ns))) for at_ns, kind in missing})
    parts += [f'<path class="missing {escape(kind)}" d="M{x:g} {_TOP - 8}v14"/>' for kind, x in strokes]
    if threshold:
        parts.append(f'<path class="threshold" d="{_steps(threshold, horizontal, vertical)}"/>')
    return _svg(_TIME_HEIGHT, label, parts)


def histogram_plot(buckets: Sequence[Bucket], threshold_ms: float) -> str:
    """One bar a bucket; those wholly over the threshold have another colour."""
    most = max(bucket.count for bucket in buckets)
    bottom = _BAR_HEIGHT - _BOTTOM
    vertical = _Scale(0, most, bottom, _TOP + 14, is_log=False)
    width = (_WIDTH - _LEFT - _RIGHT) / len(buckets)
    parts = []
    for number, bucket in enumerate(buckets):
        x, y = _LEFT + number * width, vertical(bucket.count)
        over = ' class="over"' if bucket.from_ms >= threshold_ms else ""
        title = f"{bucket.from_ms:g} to {bucket.below_ms:g} ms: {bucket.count}"
        bar_width = max(1.0, min(width - 3, 90))
        parts.append(
            f'<rect{over} x="{x + (width - bar_width) / 2:.1f}" y="{y:.1f}" width="{bar_width:.1f}" '
            f'height="{bottom - y:.1f}"><title>{title}</title></rect>'
        )
        if bucket.count:
            parts.append(_text(x + width / 2, y - 4, str(bucket.count), "middle"))
        if len(buckets) < 16 or number % 2 == 0:
            parts.append(_text(x, _BAR_HEIGHT - 8, _plain(bucket.from_ms), "middle"))
    parts.append(_text(_WIDTH - _RIGHT, _BAR_HEIGHT - 8, "ms", "end"))
    parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    return _svg(_BAR_HEIGHT, "distribution", parts)


def _value_scale(least: float, most: float, from_zero: bool) -> _Scale:
    bottom = _TIME_HEIGHT - _BOTTOM
    if from_zero and least > 0 and most / least > _LOG_FROM:
        return _Scale(least / 1.3, most * 1.3, bottom, _TOP, is_log=True)
    low, high = (min(0.0, least), max(0.0, most)) if from_zero else (least, most)
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return _Scale(low if low == 0 else low - margin, high + margin, bottom, _TOP, is_log=False)


def _grid(vertical: _Scale) -> str:
    parts = []
    for value in vertical.marks():
        y = vertical(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_LEFT - 8, y + 4, _plain(value), "end"))
    return "".join(parts)


def _time_axis(start_ns: int, end_ns: int, horizontal: _Scale) -> str:
    span_s = (end_ns - start_ns) / 1e9
    step_s = next((step for step in _TIME_STEPS_S if span_s / step <= 8), math.ceil(span_s / 8 / 86400) * 86400)
    form = "%H:%M:%S" if step_s < 60 else "%H:%M" if step_s < 86400 else "%m-%d"
    parts = []
    at_s = math.ceil(start_ns / 1e9 / step_s) * step_s
    while at_s * 10**9 <= end_ns:
        moment = datetime.fromtimestamp(at_s, UTC)
        text = f"{moment:%m-%d}" if step_s < 86400 and at_s % 86400 == 0 else f"{moment:{form}}"
        x = horizontal(at_s * 10**9)
        anchor = "start" if x < _LEFT + 20 else "end" if x > _WIDTH - _RIGHT - 20 else "middle"
        parts.append(_text(x, _TIME_HEIGHT - 8, text, anchor))
        at_s += step_s
    return "".join(parts)


def _steps(threshold: Sequence[tuple[int, float]], horizontal: _Scale, vertical: _Scale) -> str:
    """The threshold over the whole width; it changes where an order was sent under another one."""
    path, before = f"M{_LEFT} {vertical(threshold[0][1]):.1f}", threshold[0][1]
    for at_ns, value in threshold:
        if value != before:
            path += f"H{horizontal(at_ns):.1f}V{vertical(value):.1f}"
            before = value
    return f"{path}H{_WIDTH - _RIGHT}"


def _round_step(rough: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(rough))
    return next((digit * magnitude for digit in (1, 2, 5) if rough <= digit * magnitude), 10 * magnitude)


def _half(place: float) -> float:
    return round(place * 2) / 2


def _plain(value: float) -> str:
    text = f"{value:,.6f}".rstrip("0").rstrip(".") if abs(value) < 1000 else f"{value:,.0f}"
    return "0" if text == "-0" else text


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: int, label: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
