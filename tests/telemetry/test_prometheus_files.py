"""The shipped rules and dashboard speak of metrics that exist, and the number of series does not grow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from binmon.books.sync import SyncState
from binmon.core.supervisor import WorkerState, WorkerStatus
from binmon.latency.measurement import OrderClass
from binmon.latency.monitor import PHASES
from binmon.net.ledger import RateLedger
from binmon.status import Status, StatusParts, VenueParts
from binmon.telemetry.histogram import DelayHistogram
from binmon.telemetry.metrics import DECLARED, MetricKind

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "docs" / "prometheus"
RULES = SHIPPED / "binmon.rules.yml"
DASHBOARD = SHIPPED / "binmon-dashboard.json"
RULES_TEST = ROOT / "tests" / "system" / "prometheus_rules_test.yml"

# What others give: Prometheus itself, and the client library about the process and about this page.
FOREIGN: dict[str, tuple[str, ...]] = {
    "up": (),
    "process_start_time_seconds": (),
    "process_resident_memory_bytes": (),
    "binmon_metrics_errors_total": ("source",),
}
SCRAPED = ("job", "instance")
VALUES = {
    "state": {state.value for state in SyncState},
    "class": {order_class.value for order_class in OrderClass},
    "phase": set(PHASES),
    "result": {"passed", "failed", "inconclusive"},
    "job": {"binmon"},
}

_METRIC = re.compile(r"\b(up|(?:binmon|process)_\w+)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")


def labels_of(name: str) -> tuple[str, ...]:
    """The labels of a sample name, beside those of the scrape. Raises LookupError when nobody gives it."""
    if name in FOREIGN:
        return FOREIGN[name]
    if name in DECLARED and DECLARED[name].kind is not MetricKind.HISTOGRAM:
        return DECLARED[name].labels
    for suffix, more in (("_bucket", ("le",)), ("_sum", ()), ("_count", ())):
        metric = DECLARED.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if metric is not None and metric.kind is MetricKind.HISTOGRAM:
            return (*metric.labels, *more)
    raise LookupError(f"no such metric: {name}")


def check(expression: str) -> set[str]:
    """The labels that the expression may use. Raises LookupError for a metric or a label that does not exist."""
    bare = _GROUPING.sub(" ", expression)
    found = _METRIC.findall(bare)
    if not found:
        raise LookupError(f"no metric in {expression}")
    known = set(SCRAPED)
    for name, matchers in found:
        labels = {*labels_of(name), *SCRAPED}
        known |= labels
        for label, sign, value in _MATCHER.findall(matchers):
            if label not in labels:
                raise LookupError(f"{name} has no label {label}")
            if value.startswith("$") or label not in VALUES:
                continue
            unknown = set(value.split("|") if "~" in sign else [value]) - VALUES[label]
            if unknown:
                raise LookupError(f"{name}: {label} is never {unknown}")
    for names in _GROUPING.findall(expression):
        unknown = {name.strip() for name in names.split(",") if name.strip()} - known
        if unknown:
            raise LookupError(f"no metric has {unknown} in {expression}")
    return known


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return board


def queries() -> Iterator[tuple[str, str, str]]:
    """Title, expression and legend of every query of the dashboard."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]


@pytest.mark.parametrize(
    "wrong",
    [
        "binmon_book_gap_total > 0",
        "rate(binmon_latency_seconds[5m])",
        "binmon_books_bucket",
        'binmon_books{symbol="BTCUSDT"}',
        'binmon_books{state="in_step"}',
        'binmon_latency_orders_total{class=~"late|missing"}',
        "sum by (symbol) (binmon_books)",
        "vector(1)",
    ],
)
def test_the_check_can_fail(wrong: str) -> None:
    with pytest.raises(LookupError):
        check(wrong)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_a_rule_is_whole_and_speaks_of_what_exists(rule: dict[str, Any]) -> None:
    known = check(rule["expr"])
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description"}
    text = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= known
    assert rule["alert"] in (ROOT / "docs" / "prometheus.md").read_text(encoding="utf-8")
    assert f'alertname="{rule["alert"]}", alertstate="firing", severity="{rule["labels"]["severity"]}"' in (
        RULES_TEST.read_text(encoding="utf-8")
    ), "each rule fires in a test"


def test_alerts_that_are_named_exist() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for path in (RULES, SHIPPED / "alertmanager.yml", ROOT / "docs" / "prometheus.md", RULES_TEST):
        mentioned = set(re.findall(r"\bBinmon[A-Z]\w+", path.read_text(encoding="utf-8")))
        assert mentioned <= set(names), path


def test_what_the_dashboard_asks_for_exists() -> None:
    asked = list(queries())
    for title, expression, legend in asked:
        known = check(expression)
        assert set(re.findall(r"{{(\w+)}}", legend)) <= known, title
    for annotation in dashboard()["annotations"]["list"]:
        check(annotation["expr"])


def test_the_dashboard_can_be_provisioned() -> None:
    board = dashboard()
    assert board["id"] is None and board["uid"] == "binmon" and "__inputs" not in board
    variables = {one["name"]: one for one in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    for one in variables.values():
        if one["type"] == "query":
            metric = re.fullmatch(r"label_values\((.+), (\w+)\)", one["query"]["query"])
            assert metric is not None and metric[2] in check(metric[1])
    panels = board["panels"]
    titles = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert titles == ["Health", "Books", "Latency of orders", "Rates", "Recorder", "Clock"]
    ids = [panel["id"] for panel in panels]
    assert len(ids) == len(set(ids))
    places: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places and at["x"] + at["w"] <= 24, f"{panel['title']} lies over another panel"
        places |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    used = set(re.findall(r"\$(\w+)", " ".join(expression for _, expression, _ in queries())))
    assert used <= {*variables, "__rate_interval"}


# How many series there are ------------------------------------------------------------------------------------------


class Keeper:
    """What a keeper of books shows of itself."""

    def __init__(self, symbols: int) -> None:
        self.lag = DelayHistogram()
        self.states = {f"S{number}USDT": SyncState.SYNCED for number in range(symbols)}

    def counters(self) -> dict[str, int]:
        return {}

    def connections(self) -> dict[str, str]:
        return {f"binance-market-1.{number}": "live" for number in range(2)}


class Workers:
    """Statuses as the supervisor gives them."""

    def __init__(self) -> None:
        self.given: list[WorkerStatus] = []

    def statuses(self) -> list[WorkerStatus]:
        return self.given


def worker(name: str, progress: int, state: WorkerState = WorkerState.RUNNING, beat_age_s: float = 0.1) -> WorkerStatus:
    return WorkerStatus(name, state, beat_age_s, progress, "")


def page(status: Status) -> dict[tuple[str, ...], Any]:
    return {(f.name, *(value for _, value in f.labels)): f.value for f in status.figures()}


def test_the_number_of_series_does_not_depend_on_how_many_symbols_there_are() -> None:
    few, many = (
        Status(
            StatusParts(
                Workers(),
                "1",
                "x",
                venues={"binance": VenueParts(RateLedger("binance"), Keeper(symbols))},
                per_symbol=50,
            )
        )
        for symbols in (50, 2000)
    )
    assert page(few).keys() == page(many).keys()


def test_the_number_of_series_does_not_grow_with_rotations_and_counters_do_not_fall() -> None:
    workers = Workers()
    status = Status(StatusParts(workers, "1", "x"))
    series: set[tuple[str, ...]] = set()
    before, done = 0.0, 0
    for generation in range(1, 500):
        # every socket reads ten frames more than it had read when its successor came beside it
        old, new = f"binance-market-1.{generation}", f"binance-market-1.{generation + 1}"
        for statuses in (
            [worker(old, 1000), worker("binance-user-data", 5), worker(f"binance-user-data.{generation}", 3)],
            [worker(old, 1010), worker(new, 20), worker("binance-user-data", 5)],
            [worker(old, 1010, WorkerState.STOPPED, 99.0), worker(new, 30), worker("binance-user-data", 5)],
        ):
            workers.given = statuses
            found = page(status)
            series |= found.keys()
            now = found["binmon_worker_progress_total", "binance-market-1.*"]
            assert now >= before, "a counter that falls is a restart to whoever takes its rate"
            assert found["binmon_worker_up", "binance-market-1.*"] == 1
            assert found["binmon_worker_beat_age_seconds", "binance-market-1.*"] == 0.1
            before = now
        done += 1010
    assert before == done + 30
    labels = {key[1] for key in series if key[0] == "binmon_worker_up"}
    assert labels == {"binance-market-1.*", "binance-user-data", "binance-user-data.*"}


def test_a_group_is_up_when_all_its_sockets_are() -> None:
    workers = Workers()
    status = Status(StatusParts(workers, "1", "x"))
    for second, up in (
        (WorkerState.RUNNING, 1),
        (WorkerState.BACKOFF, 0),
        (WorkerState.FATAL, 0),
        (WorkerState.STOPPED, 1),
    ):
        workers.given = [worker("binance-market-1.1", 0), worker("binance-market-1.2", 0, second)]
        assert page(status)["binmon_worker_up", "binance-market-1.*"] == up, second
    workers.given = [worker("binance-market-1.1", 0, WorkerState.STOPPED)]
    assert page(status)["binmon_worker_up", "binance-market-1.*"] == 0


def test_what_was_counted_between_two_scrapes_is_not_lost() -> None:
    workers = Workers()
    status = Status(StatusParts(workers, "1", "x"))
    workers.given = [worker("binance-market-1.1", 10)]
    status.observe()
    workers.given = [worker("binance-market-1.2", 5)]
    assert page(status)["binmon_worker_progress_total", "binance-market-1.*"] == 15
    workers.given = [worker("binance-books", 7)]
    found = page(status)
    assert ("binmon_worker_up", "binance-market-1.*") not in found
    workers.given = [worker("binance-books", 2)]  # another one of the same name
    assert page(status)["binmon_worker_progress_total", "binance-books"] == 9
