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
from binmon.telemetry import logging as ours
from binmon.telemetry.logging import LogDetails, configure, counts, flush_repeats, set_level, set_up, tick
from binmon.telemetry.output import Output


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
        assert process.wait(60) == 0
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


def named(stream: io.StringIO, event: str) -> list[dict[str, Any]]:
    return [line for line in lines(stream) if line["event"] == event]


def test_the_longest_name_that_fits_gives_the_level() -> None:
    stream = io.StringIO()
    levels = {"binmon": "error", "binmon.books": "debug", "binmon.net": "warning"}
    set_up("info", stream=stream, details=LogDetails(levels=levels))
    for name in ("binmon.books", "binmon.books.audit", "binmon.net", "binmon.network", "other"):
        for level in ("debug", "info", "warning", "error"):
            getattr(structlog.get_logger(name), level)("e")
    found = [(line["logger"], line["level"]) for line in lines(stream)]
    assert found == [
        *(("binmon.books", level) for level in ("debug", "info", "warning", "error")),
        *(("binmon.books.audit", level) for level in ("debug", "info", "warning", "error")),
        ("binmon.net", "warning"),
        ("binmon.net", "error"),
        ("binmon.network", "error"),
        *(("other", level) for level in ("info", "warning", "error")),
    ]


def test_levels_of_loggers_change_while_they_log() -> None:
    stream = io.StringIO()
    logger = structlog.get_logger("binmon.books")
    set_up("info", stream=stream)
    logger.debug("before")
    configure(LogDetails(levels={"binmon.books": "debug"}))
    logger.debug("more")
    set_level("error")
    logger.debug("still more: a level of its own")
    configure(LogDetails())
    logger.warning("less")
    set_level("info")
    logger.info("as before")
    assert [line["event"] for line in lines(stream)] == ["more", "still more: a level of its own", "as before"]


def test_other_packages_have_levels_too() -> None:
    stream = io.StringIO()
    set_up("debug", stream=stream, details=LogDetails(levels={"urllib3": "error"}))
    logging.getLogger("urllib3.connectionpool").warning("hidden")
    logging.getLogger("urllib3.connectionpool").error("shown")
    logging.getLogger("requests").warning("shown, too")
    assert [line["event"] for line in lines(stream)] == ["shown", "shown, too"]


def test_repetitions_are_held_back_and_told_of() -> None:
    stream = io.StringIO()
    before = counts().held_back
    set_up("info", stream=stream, details=LogDetails(repeat_limit=3, repeat_window_s=3600.0))
    net, books = structlog.get_logger("binmon.net"), structlog.get_logger("binmon.books")
    for number in range(10):
        net.warning(
            "stream.disconnected",
            venue="binance",
            connection=f"binance-market-1.{number}",
            streams=number,
            reason=str(number),
        )
        net.info("stream.connected", venue="binance", connection=f"binance-market-1.{number}", streams=number)
        books.info("book.top", venue="binance", symbol="BTCUSDT", bid=1.0)
        books.warning("snapshot.failed", venue="binance", symbol=f"S{number}USDT", error="x", retry_after_s=1.0)
    assert len(named(stream, "stream.disconnected")) == 3, "only the number of the connection and the reason differ"
    assert len(named(stream, "stream.connected")) == len(named(stream, "book.top")) == 10, "never held back"
    assert len(named(stream, "snapshot.failed")) == 10, "each of another symbol"
    tick()
    assert not named(stream, "log.repeated"), "the time is not over"
    flush_repeats()
    (told,) = named(stream, "log.repeated")
    assert told.pop("over_s") >= 0
    assert {name: value for name, value in told.items() if name != "timestamp"} == {
        "level": "warning",
        "event": "log.repeated",
        "logger": "binmon.net",
        "of": "stream.disconnected",
        "held_back": 7,
        "venue": "binance",
        "connection": "binance-market-1.*",
    }
    assert counts().held_back.get("stream.disconnected", 0) - before.get("stream.disconnected", 0) == 7


def test_what_other_packages_repeat_is_held_back_whatever_its_numbers() -> None:
    stream = io.StringIO()
    set_up("info", stream=stream, details=LogDetails(repeat_limit=2, repeat_window_s=3600.0))
    foreign = logging.getLogger("urllib3.connectionpool")
    for number in range(5):
        foreign.warning("try %d failed", number)
    foreign.warning("something else")
    flush_repeats()
    assert [line["event"] for line in lines(stream)] == [
        "try 0 failed", "try 1 failed", "something else", "log.repeated",
    ]  # fmt: skip
    assert (lines(stream)[-1]["of"], lines(stream)[-1]["held_back"]) == ("try # failed", 3)


def test_an_event_of_any_type_is_written() -> None:
    stream = io.StringIO()
    set_up(stream=stream, details=LogDetails(repeat_limit=1))
    structlog.get_logger("x").info(["a", "list"])
    structlog.get_logger("x").info(None)
    assert [line["event"] for line in lines(stream)] == [["a", "list"], None]


def test_the_file_rotates_as_configured_and_while_it_is_written(tmp_path: Path) -> None:
    stream, path = io.StringIO(), tmp_path / "log"
    output = set_up(stream=stream, file=path, details=LogDetails(rotate_bytes=2000, keep_files=2))
    logger = structlog.get_logger("x")

    def work() -> None:
        for number in range(50):
            logger.info("e", number=number, text="y" * 30)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    output.close()
    parts = [tmp_path / "log.2", tmp_path / "log.1", path]
    assert sorted(tmp_path.iterdir()) == sorted(parts)
    assert all(part.stat().st_size <= 2000 for part in parts)
    kept = [line for part in parts for line in part.read_text().splitlines()]
    assert kept == stream.getvalue().splitlines()[-len(kept) :], "the same whole lines, in the same order"


def test_a_file_that_vanishes_is_said_counted_and_found_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [0.0]
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr(ours, "Output", lambda stream, file: Output(stream, file, monotonic=lambda: now_s[0]))
    set_up(stream=io.StringIO(), file=place / "log", details=LogDetails(rotate_bytes=10_000))
    logger = structlog.get_logger("x")
    logger.info("e", number=1)
    (place / "log").unlink()
    place.rmdir()
    now_s[0] = 2.0
    logger.info("e", number=2)
    assert counts().lost_by_file == 1 and counts().lost_by_stream == 0
    place.mkdir()
    now_s[0] = 4.0
    tick()
    assert (place / "log").exists(), "also without a line"
    logger.info("e", number=3)
    assert [json.loads(line)["number"] for line in (place / "log").read_text().splitlines()] == [3]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "cannot be written" in said[0] and "1 lines were lost" in said[1]
