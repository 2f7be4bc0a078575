"""Lines of the log: their form, their order, and that logging never raises."""

from __future__ import annotations

import enum
import io
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from binmon.errors import ConfigError
from binmon.telemetry.logging import set_level, set_up


class State(enum.Enum):
    SYNCED = "synced"


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    set_up(stream=io.StringIO())
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_keys_come_in_order() -> None:
    stream = io.StringIO()
    set_up("info", "json", stream)
    structlog.get_logger("binmon.books").info("book.state", symbol="BTCUSDT", **{"from": "a", "to": "b"})
    (line,) = lines(stream)
    assert list(line) == ["timestamp", "level", "event", "logger", "symbol", "from", "to"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"])
    assert (line["level"], line["event"], line["logger"]) == ("info", "book.state", "binmon.books")


def test_values_of_any_type() -> None:
    stream = io.StringIO()
    set_up(stream=stream)
    circle: list[Any] = []
    circle.append(circle)
    structlog.get_logger("x").info(
        "e",
        decimal=Decimal("1.10"),
        state=State.SYNCED,
        nan=float("nan"),
        array=np.float64(1.5),
        whole=np.int64(3),
        path=Path("/a"),
        error=ValueError("why"),
        things=(1, {State.SYNCED: 2}, {3}),
        circle=circle,
        surrogate="\udcff",
        text="é\n",
        broken=Unprintable(),
        huge=10**30,
    )
    (line,) = lines(stream)
    assert line["decimal"] == "1.10"
    assert line["state"] == "synced"
    assert line["nan"] is None
    assert (line["array"], line["whole"], line["path"], line["error"]) == (1.5, 3, "/a", "why")
    assert line["things"] == [1, {"synced": 2}, [3]]
    assert line["text"] == "é\n"
    assert "without text" in line["broken"]
    assert line["huge"] == 10**30


def test_levels_and_cached_loggers_follow_a_new_set_up() -> None:
    first, second = io.StringIO(), io.StringIO()
    logger = structlog.get_logger("x")
    set_up("warning", stream=first)
    logger.info("hidden")
    logger.warning("shown")
    assert [line["event"] for line in lines(first)] == ["shown"]
    set_up("info", stream=second)
    logger.info("moved")
    assert [line["event"] for line in lines(second)] == ["moved"]
    set_level("error")
    logger.warning("hidden")
    logger.critical("worker.fatal")
    assert [line["level"] for line in lines(second)] == ["info", "critical"]


def test_exceptions_are_one_string() -> None:
    stream = io.StringIO()
    set_up(stream=stream)
    try:
        raise ValueError("why")
    except ValueError as error:
        structlog.get_logger("x").exception("worker.failed", worker="w")
        caught = error
    structlog.get_logger("x").warning("worker.failed", exc_info=caught)
    structlog.get_logger("x").warning("worker.failed", exc_info=True)
    first, second, third = lines(stream)
    assert first["level"] == "error"
    assert first["exception"].startswith("Traceback") and first["exception"].endswith("ValueError: why")
    assert second["exception"] == first["exception"]
    assert "exception" not in third
    assert "exc_info" not in third


def test_the_standard_library_comes_from_warning_on() -> None:
    stream = io.StringIO()
    set_up("debug", stream=stream)
    root = logging.getLogger()  # without pytest's own handlers, which fail on a wrong format
    root.handlers[:] = [handler for handler in root.handlers if type(handler).__module__.startswith("binmon")]
    foreign = logging.getLogger("urllib3.connectionpool")
    foreign.info("hidden")
    foreign.warning("pool %s is full", "a")
    foreign.warning("%d", "not a number")
    try:
        raise OSError("gone")
    except OSError:
        foreign.exception("failed")
    first, second, third = lines(stream)
    assert list(first) == ["timestamp", "level", "event", "logger"]
    assert (first["event"], first["logger"]) == ("pool a is full", "urllib3.connectionpool")
    assert "not a number" in second["event"]
    assert "OSError: gone" in third["exception"]


def test_the_console_and_the_file(tmp_path: Path) -> None:
    stream, path = io.StringIO(), tmp_path / "log"
    output = set_up("info", "console", stream, path)
    structlog.get_logger("binmon.books").info("book.gap", symbol="BTCUSDT", price=Decimal("1.0"))
    output.close()
    assert re.fullmatch(r"\S+Z \[info +\] book\.gap +\[binmon\.books\] symbol=BTCUSDT price=1\.0\n", stream.getvalue())
    assert json.loads(path.read_text())["event"] == "book.gap"


def test_a_file_that_cannot_be_opened_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        set_up(file=tmp_path / "nowhere" / "log")
    assert str(caught.value).startswith("logging.file: expected a file that can be written, but ")


def test_threads_write_whole_lines() -> None:
    stream = io.StringIO()
    set_up(stream=stream)
    logger = structlog.get_logger("x")
    threads = [
        threading.Thread(target=lambda: [logger.info("e", text="y" * 300, i=i) for i in range(100)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(stream)) == 800


def test_a_closed_stream_never_raises_and_is_said_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    stream = io.StringIO()
    output = set_up(stream=stream, file=tmp_path / "log")
    stream.close()
    for _ in range(3):
        structlog.get_logger("x").info("e")
    assert output.lost == 3
    assert capsys.readouterr().err.count("the log cannot be written") == 1
    assert len((tmp_path / "log").read_text().splitlines()) == 3


def test_a_reader_that_goes_away_does_not_change_the_exit_status() -> None:
    program = (
        "import structlog, sys; from binmon.telemetry.logging import set_up\n"
        "set_up(); log = structlog.get_logger('x'); log.info('first'); sys.stdin.readline()\n"
        "for _ in range(5): log.info('e')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout and process.stdin and process.stderr
        assert json.loads(process.stdout.readline())["event"] == "first"
        process.stdout.close()
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.wait(10) == 0
        assert process.stderr.read().count("the log cannot be written") == 1


def test_bound_and_captured() -> None:
    stream = io.StringIO()
    set_up(stream=stream)
    logger = structlog.get_logger("x").bind(venue="binance")
    logger.info("e")
    assert lines(stream)[0]["venue"] == "binance"
    with structlog.testing.capture_logs() as captured:
        logger.info("f", a=1)
    assert captured == [{"venue": "binance", "a": 1, "event": "f", "log_level": "info"}]
    logger.info("g")
    assert [line["event"] for line in lines(stream)] == ["e", "g"]
