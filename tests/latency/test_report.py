"""The HTML page and its plots."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

from binmon.latency.measurement import Measurement, OrderClass
from binmon.latency.plots import Series, histogram_plot, time_plot
from binmon.latency.report import ReportRange, html_report
from binmon.latency.statistics import histogram
from tests.latency.messages import WALL, S, measurement

SPAN = ReportRange(WALL - S, WALL + 3600 * S, 2)
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags nest, and gathers what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.tables: dict[str, list[list[str]]] = {}
        self._table: list[list[str]] | None = None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._table = self.tables.setdefault(values["id"] or "", [])
        elif self._table is not None and tag == "tr":
            self._table.append([])
        elif self._table is not None and tag in ("td", "th"):
            self._table[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self._table = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._table and self._table[-1] and self.open[-1] in ("td", "th"):
            self._table[-1][-1] += data


def some() -> list[Measurement]:
    found = [measurement(number, sent_to_report_ms=3.0 + number % 7) for number in range(300)]
    found[10] = measurement(10, OrderClass.LATE, sent_to_report_ms=6500.0, over_ms=1500.0)
    found[20] = measurement(20, OrderClass.LOST, waited_ms=30_020.0, detail="<script>alert('x')</script> & \"more\"")
    found[30] = measurement(30, OrderClass.UNKNOWN, order_status="NOT_FOUND")
    return found


def test_the_page_holds_what_it_should() -> None:
    page = Page(html_report(some(), SPAN))
    assert page.tags[0][0] == "html"
    rows = {row[0]: row[1:3] for row in page.tables["classes"][1:]}
    assert rows["in_time"] == ["297", "99.00 %"] and rows["late"] == ["1", "0.33 %"] and len(rows) == 6
    report = page.tables["percentiles"][1]
    assert (
        report[0] == "sent → report received" and report[1] == "298" and report[2] == "6.000" and report[6] == "6,500.0"
    )
    troubles = page.tables["troubles"][1:]
    assert [row[1] for row in troubles] == ["o30", "o20", "o10"]  # the newest first
    assert troubles[1][7] == "<script>alert('x')</script> & \"more\"" and troubles[2][5] == "1,500.0"
    assert "2 still open" in page.text and "2026-05-28" in page.text
    assert [tag for tag, _ in page.tags].count("svg") >= 11


def test_the_page_is_whole_by_itself() -> None:
    text = html_report(some(), SPAN)
    tags = Page(text).tags
    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object", "base", "form"}
    for _, attributes in tags:
        assert not {name for name in attributes if name.startswith("on")} | (attributes.keys() & {"src", "href"})
    assert not re.search(r"url\(|@import|https?:", text)
    assert "prefers-color-scheme:dark" in text and "default-src 'none'" in text


def test_names_cannot_break_out() -> None:
    evil = '"><img src=x>&amp;'
    found = [
        measurement(0, OrderClass.LATE, venue=evil, symbol=evil, client_order_id=evil, order_status=evil, over_ms=1.0)
    ]
    page = Page(html_report(found, SPAN))
    assert "img" not in {tag for tag, _ in page.tags} and evil in page.text


def test_no_orders_and_no_figures() -> None:
    assert "No order was settled" in Page(html_report([], SPAN)).text
    page = Page(html_report([measurement(0, OrderClass.LOST)], SPAN))
    assert "The venue's clock was not known" in page.text and page.tables["troubles"][1][2] == "lost"
    assert "Every order was in time" in Page(html_report([measurement()], SPAN)).text


def test_only_the_newest_troubles_are_listed() -> None:
    found = [measurement(number, OrderClass.LOST) for number in range(700)]
    page = Page(html_report(found, SPAN))
    assert len(page.tables["troubles"]) == 501 and page.tables["troubles"][1][1] == "o699"
    assert "The newest 500 of 700" in page.text


def dots(plot: str) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for path in ET.fromstring(plot).iter("path"):
        if "dots" in path.attrib["class"]:
            found += [(float(x), float(y)) for x, y in re.findall(r"M([\d.]+) ([\d.]+)h", path.attrib["d"])]
    return sorted(found)


def test_dots_lie_where_they_belong() -> None:
    points = [(0, 0.0, "in_time"), (50, 5.0, "late"), (100, 10.0, "in_time")]
    plot = time_plot([Series("x", points)], 0, 100, threshold=[(0, 2.0), (50, 8.0)])
    first, second, third = dots(plot)
    assert first[0] < second[0] < third[0] and second[0] == (first[0] + third[0]) / 2
    assert first[1] > second[1] > third[1] and abs(second[1] - (first[1] + third[1]) / 2) <= 0.5
    (threshold,) = [one for one in ET.fromstring(plot).iter("path") if one.attrib["class"] == "threshold"]
    assert threshold.attrib["d"].count("H") == 2 and threshold.attrib["d"].count("V") == 1
    classes = [one.attrib["class"] for one in ET.fromstring(plot).iter("path")]
    assert classes == ["dots in_time", "dots late", "threshold"]


def test_a_wide_range_is_logarithmic_and_equal_dots_are_one() -> None:
    points = [(0, 1.0, "in_time"), (50, 100.0, "in_time"), (100, 10_000.0, "in_time"), (100, 10_000.0, "in_time")]
    first, second, third = dots(time_plot([Series("x", points)], 0, 100))
    assert abs((first[1] - second[1]) - (second[1] - third[1])) <= 1


def test_times_are_round_and_missing_ones_are_shown() -> None:
    plot = time_plot(
        [Series("x", [(WALL, 1.0, "in_time")])], WALL, WALL + 86_400 * S, missing=[(WALL + 43_200 * S, "lost")]
    )
    texts = [one.text for one in ET.fromstring(plot).iter("text")]
    assert {"21:00", "00:00", "05-29"} & set(texts) == {"21:00", "05-29"} and len(texts) >= 6
    (stroke,) = [one for one in ET.fromstring(plot).iter("path") if one.attrib["class"] == "missing lost"]
    assert stroke.attrib["d"].startswith("M475 ")
    for span_s in (1, 60, 3600, 40 * 86_400, 4000 * 86_400):
        plot = time_plot([Series("x", [(WALL, 1.0, "in_time")])], WALL, WALL + span_s * S)
        assert len(list(ET.fromstring(plot).iter("text"))) <= 9 + 8


def test_odd_ranges_are_drawn() -> None:
    for value in (0.0, -5.0, 1e-9, 1e9, 7.0):
        for from_zero in (True, False):
            plot = time_plot([Series("x", [(5, value, "offset")])], 5, 5, from_zero=from_zero)
            assert len(dots(plot)) == 1


def test_bars() -> None:
    plot = ET.fromstring(histogram_plot(histogram([1.0] * 10 + [60.0] * 5), 50.0))
    bars = list(plot.iter("rect"))
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights[0] == 2 * heights[-1] and not any(heights[1:-1])
    assert [bar.attrib.get("class") for bar in bars][-1] == "over" and bars[0].attrib.get("class") is None
