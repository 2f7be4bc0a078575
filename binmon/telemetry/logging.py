"""Log set-up: one line an event, whole lines only, to one output and perhaps a file.

``structlog.get_logger("binmon.books")`` gives a logger; its name becomes the field ``logger``. What other packages
log through the standard library comes out in the same form, from WARNING on.
"""

from __future__ import annotations

import datetime
import enum
import json
import logging
import math
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Literal

import structlog

from binmon.errors import ConfigError
from binmon.telemetry.events import LIMITED, VOCABULARY
from binmon.telemetry.fields import SUBJECTS
from binmon.telemetry.logfile import LogFile
from binmon.telemetry.output import Output
from binmon.telemetry.repeats import Kind, Repeated, RepeatFilter, subject_of

Format = Literal["json", "console"]

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_FIRST = ("timestamp", "level", "event", "logger")
_DEEPEST = 8
_SUBJECT_OF = {name: tuple(one for one in VOCABULARY[name].fields if one in SUBJECTS) for name in LIMITED}
_MOST_NAMES = 1000
_LONGEST_TEXT = 200
_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class LogDetails:
    """What may be said of the log beside its least level.

    ``levels`` are those of some loggers and of what is below them (``binmon`` is above ``binmon.books``); the longest name
    that fits counts. The file is rotated before it is longer than ``rotate_bytes`` (None: never), and ``keep_files`` old ones
    are kept. Of lines that repeat each other ``repeat_limit`` are written in ``repeat_window_s`` seconds (0: all).
    """

    levels: Mapping[str, str] = field(default_factory=dict)
    rotate_bytes: int | None = None
    keep_files: int = 5
    repeat_limit: int = 0
    repeat_window_s: float = 60.0


class _Least:
    """The least level of each logger. Never changed: another takes its place."""

    def __init__(self, level: str, levels: Mapping[str, str]) -> None:
        self.level, self.levels = level, dict(levels)
        self._found: dict[str, int] = {}

    def of(self, name: str) -> int:
        """The number of the least level that ``name`` writes."""
        found = self._found.get(name)
        if found is None:
            found = _LEVELS[self._asked(name)]
            if len(self._found) < _MOST_NAMES:
                self._found[name] = found
        return found

    def _asked(self, name: str) -> str:
        while name:
            if name in self.levels:
                return self.levels[name]
            name = name.rpartition(".")[0]
        return self.level


class _Active:
    """What the loggers use now. They are cached for good, so they must ask here; set_up() changes it under them."""

    def __init__(self) -> None:
        self.least = _Least("info", {})
        self.repeats = RepeatFilter(_write_repeated)
        self.output: Output | None = None
        self.render = _Renderer("json", colours=False, with_file=False)


class _Logger:
    """The innermost logger of structlog: hands ``(line, file_line)`` to the output."""

    def __init__(self, *names: Any) -> None:
        self.name = str(names[0]) if names else "binmon"

    def msg(self, line: str, file_line: str | None = None) -> None:
        """Write one finished line."""
        if _active.output is not None:
            _active.output.write(line, file_line)

    debug = info = warning = warn = error = err = critical = fatal = exception = log = failure = msg


class _StandardHandler(logging.Handler):
    """Brings records of the standard library through the same processors."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a record that cannot be formatted is written as it came."""
        try:
            message = record.getMessage()
        except Exception:  # wrong arguments for the format: the caller's mistake, still worth a line
            text = record.msg if isinstance(record.msg, str) else _safe_repr(record.msg)
            message = f"{text} {_safe_repr(record.args)}"
        event: Any = {"event": message, "logger": record.name, "exc_info": record.exc_info}
        method = record.levelname.lower() if record.levelname.lower() in _LEVELS else "warning"
        logger = _Logger(record.name)
        # the same text with other numbers is a repetition
        kind = Kind(record.name, method, _NUMBERS.sub("#", message[:_LONGEST_TEXT]), is_ours=False)
        if _LEVELS[method] < _active.least.of(record.name) or not _active.repeats.admits(kind):
            return
        for processor in (_add_logger, _add_level, _add_timestamp, _format_exception, _render):
            event = processor(logger, method, event)
        lines, _ = event
        logger.msg(*lines)


def set_up(
    level: str = "info",
    format: Format = "json",
    stream: IO[str] | None = None,
    file: Path | None = None,
    details: LogDetails | None = None,
) -> Output:
    """Configure structlog and the standard library; called again, it redirects loggers that exist already.

    ``level`` is the least that is written. ``format`` is that of ``stream`` (default: standard output); ``file`` is
    appended to and always gets JSON lines; ``details`` (default: none of them) may be changed later with `configure`.
    Raises :class:`ConfigError` when ``file`` cannot be opened. Returns the output.
    """
    stream = sys.stdout if stream is None else stream
    try:
        appended = None if file is None else LogFile(file)
    except OSError as error:
        problem = f"expected a file that can be written, but {str(file)!r} cannot: {error.strerror}"
        raise ConfigError(problem, key="logging.file") from error
    if _active.output is not None:
        _active.output.close()
    _active.output = Output(stream, appended)
    _active.render = _Renderer(format, colours=_takes_colours(stream), with_file=file is not None)
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        context_class=dict,
        logger_factory=_Logger,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    if not any(isinstance(handler, _StandardHandler) for handler in root.handlers):
        root.addHandler(_StandardHandler(logging.WARNING))
    root.setLevel(logging.WARNING)
    set_level(level)
    configure(details or LogDetails())
    return _active.output


def set_level(level: str) -> None:
    """Change the least level that is written, from now on and in all threads, by loggers that have none of their own."""
    _active.least = _Least(level, _active.least.levels)


def configure(details: LogDetails) -> None:
    """Change everything but the least level, from now on and in all threads."""
    _active.least = _Least(_active.least.level, details.levels)
    _active.repeats.configure(details.repeat_limit, details.repeat_window_s)
    if _active.output is not None:
        _active.output.rotate(details.rotate_bytes, details.keep_files)


def tick() -> None:
    """What is due without a line: counts of what was held back, a look at the file. To be called about every second."""
    _active.repeats.tick()
    if _active.output is not None:
        _active.output.tick()


def flush_repeats() -> None:
    """Tell how many lines were held back and not told of yet; before the end."""
    _active.repeats.flush()


@dataclass(frozen=True, slots=True)
class LogCounts:
    """Lines that were not written since the start: on purpose, by event (``other``: of other packages), and because an
    output did not take them."""

    held_back: Mapping[str, int]
    lost_by_stream: int
    lost_by_file: int


def counts() -> LogCounts:
    """What has become of lines; any thread may ask."""
    output = _active.output
    lost = (0, 0) if output is None else (output.lost, output.file_lost)
    return LogCounts(_active.repeats.held_back, *lost)


def _drop_low(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if _LEVELS.get(_level_name(method), _LEVELS["info"]) < _active.least.of(getattr(logger, "name", "binmon")):
        raise structlog.DropEvent
    return event


def _hold_back(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """After the fields are bound and the level is known. Most events are never held back, and cost a look-up here."""
    name = event.get("event")
    if isinstance(name, str) and (fields := _SUBJECT_OF.get(name)) is not None:
        kind = Kind(event["logger"], event["level"], name, subject_of(event, fields))
        if not _active.repeats.admits(kind):
            raise structlog.DropEvent
    return event


def _write_repeated(repeated: Repeated) -> None:
    """The line of a count, by the logger and at the level of the lines that were held back."""
    kind = repeated.kind
    event: Any = {
        "event": "log.repeated",
        "logger": kind.logger or "other",
        "of": kind.event,
        "held_back": repeated.held_back,
        "over_s": round(repeated.over_s, 3),
        **dict(kind.subject),
    }
    logger = _Logger(kind.logger)
    for processor in (_add_level, _add_timestamp, _render):
        event = processor(logger, kind.level, event)
    lines, _ = event
    logger.msg(*lines)


def _level_name(method: str) -> str:
    return {"warn": "warning", "err": "error", "exception": "error", "fatal": "critical"}.get(method, method)


def _render(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    return _active.render(logger, method, event)


def _takes_colours(stream: IO[str]) -> bool:
    try:
        return stream.isatty() and not os.environ.get("NO_COLOR")  # https://no-color.org
    except (ValueError, OSError):
        return False


def _add_logger(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.setdefault("logger", getattr(logger, "name", "binmon"))
    return event


def _add_level(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["level"] = _level_name(method)
    return event


def _add_timestamp(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    now = datetime.datetime.now(datetime.UTC)
    event["timestamp"] = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return event


def _format_exception(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """``exc_info`` in any of its forms becomes one string ``exception``; local variables are never shown."""
    given = event.pop("exc_info", None)
    if not given:
        return event
    if isinstance(given, BaseException):
        given = (type(given), given, given.__traceback__)
    elif not isinstance(given, tuple):
        given = sys.exc_info()
    if given[0] is not None:
        event["exception"] = logging.Formatter().formatException(given)
    return event


class _Renderer:
    """The last processor: the fields in their order as one line, and another for the file where they differ."""

    def __init__(self, format: Format, *, colours: bool, with_file: bool) -> None:
        self._console = structlog.dev.ConsoleRenderer(
            colors=colours, sort_keys=False, pad_event_to=24, exception_formatter=structlog.dev.plain_traceback
        )
        self._format, self._with_file = format, with_file

    def __call__(
        self, logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        fields = {name: event.pop(name, None) for name in _FIRST}
        fields.update((str(name), value) for name, value in event.items())
        line = to_json(fields) if self._format == "json" or self._with_file else None
        if self._format == "json":
            return (line,), {}
        shown = self._console(logger, method, {name: _plain(value) for name, value in fields.items()})
        return (shown, line), {}


def to_json(fields: MutableMapping[str, Any]) -> str:
    """``fields`` as one line of JSON. Never raises: what JSON has no form for is written as text."""
    try:
        return json.dumps({name: _plain(value) for name, value in fields.items()}, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError, UnicodeError):
        return json.dumps({str(name): _safe_repr(value) for name, value in fields.items()}, ensure_ascii=True)


def _plain(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return _plain(value.value, depth + 1) if depth < _DEEPEST else str(value)
    if isinstance(value, str):
        # A lone surrogate (a file name that is not UTF-8) cannot be written; it is shown escaped.
        return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if depth < _DEEPEST:
        if isinstance(value, dict):
            return {str(_plain(name, depth + 1)): _plain(one, depth + 1) for name, one in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [_plain(one, depth + 1) for one in value]
    return _text(value, depth)


def _text(value: Any, depth: int) -> Any:
    item = getattr(value, "item", None)  # a scalar of NumPy
    if getattr(value, "shape", None) == () and callable(item) and depth < _DEEPEST:
        return _plain(item(), _DEEPEST)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    try:
        # Exceptions, decimals, paths and dates read best as text; anything else shows what it is.
        plain = isinstance(value, (BaseException, datetime.date, datetime.timedelta, Decimal, Path))
        text = str(value) if plain else repr(value)
    except Exception:
        return _safe_repr(value)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # a __repr__ that raises must not take the worker down with it
        return f"<{type(value).__name__} without text: {type(error).__name__}>"


_active = _Active()
_PROCESSORS: list[Any] = [
    _drop_low,
    structlog.contextvars.merge_contextvars,
    _add_logger,
    _add_level,
    _hold_back,
    _add_timestamp,
    _format_exception,
    _render,
]
"""One list for good, as cached loggers keep it; ``structlog.testing.capture_logs`` changes it in place."""
