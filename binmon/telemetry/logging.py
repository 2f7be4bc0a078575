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
import sys
import threading
from collections.abc import MutableMapping
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Literal

import structlog

from binmon.errors import ConfigError

Format = Literal["json", "console"]

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_FIRST = ("timestamp", "level", "event", "logger")
_DEEPEST = 8


class Output:
    """Where lines go. Each is written and flushed whole, under one lock.

    A stream that no longer takes lines (its reader is gone, its disk is full) never raises into the worker that
    logs: the first failure is said once on standard error, if that is another stream, and counted in ``lost``.
    """

    def __init__(self, stream: IO[str], file: IO[str] | None = None) -> None:
        self.lost = 0
        self._stream: IO[str] | None = stream
        self._file = file
        self._told = False
        self._lock = threading.Lock()  # guards everything here

    def write(self, line: str, file_line: str | None = None) -> None:
        """Write ``line`` to the stream, and ``file_line`` (default: the same) to the file."""
        with self._lock:
            if self._file is not None:
                self._write_to(self._file, line if file_line is None else file_line)
            if self._stream is None:
                self.lost += 1
            elif isinstance(self._write_to(self._stream, line), (BrokenPipeError, ValueError)):
                self._silence(self._stream)
                self._stream = None  # its reader is gone for good; a full disk, by contrast, may get room again

    def close(self) -> None:
        """Close the file; the stream belongs to the caller."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _write_to(self, stream: IO[str], line: str) -> Exception | None:
        try:
            try:
                stream.write(line + "\n")
            except UnicodeEncodeError:
                stream.write(line.encode("ascii", "backslashreplace").decode("ascii") + "\n")
            stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self.lost += 1
            self._tell(stream, error)
            return error
        return None

    def _silence(self, stream: IO[str]) -> None:
        """Point a broken standard output to nowhere, or the interpreter fails at its end to flush what is left."""
        try:
            if stream.fileno() == 1:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 1)
                os.close(nowhere)
        except (OSError, ValueError):
            return  # a closed stream has nothing left to flush

    def _tell(self, stream: IO[str], error: Exception) -> None:
        if self._told or sys.stderr is None or stream is sys.stderr:
            return
        self._told = True
        try:
            sys.stderr.write(f"binmon: the log cannot be written: {error}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            self.lost += 1  # nobody is left to tell


class _Active:
    """What the loggers use now. They are cached for good, so they must ask here; set_up() changes it under them."""

    def __init__(self) -> None:
        self.level = _LEVELS["info"]
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
            message = f"{record.msg} {_safe_repr(record.args)}"
        event: Any = {"event": message, "logger": record.name, "exc_info": record.exc_info}
        method = record.levelname.lower()
        logger = _Logger(record.name)
        try:
            for processor in (_drop_low, _add_logger, _add_level, _add_timestamp, _format_exception, _render):
                event = processor(logger, method if method in _LEVELS else "warning", event)
        except structlog.DropEvent:
            return
        lines, _ = event
        logger.msg(*lines)


def set_up(
    level: str = "info", format: Format = "json", stream: IO[str] | None = None, file: Path | None = None
) -> Output:
    """Configure structlog and the standard library; called again, it redirects loggers that exist already.

    ``level`` is the least that is written. ``format`` is that of ``stream`` (default: standard output); ``file`` is
    appended to and always gets JSON lines. Raises :class:`ConfigError` when ``file`` cannot be opened. Returns the
    output.
    """
    stream = sys.stdout if stream is None else stream
    try:
        appended = None if file is None else file.open("a", encoding="utf-8")
    except OSError as error:
        problem = f"expected a file that can be written, but {str(file)!r} cannot: {error.strerror}"
        raise ConfigError(problem, key="logging.file") from error
    if _active.output is not None:
        _active.output.close()
    _active.output = Output(stream, appended)
    _active.render = _Renderer(format, colours=_is_terminal(stream), with_file=file is not None)
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
    return _active.output


def set_level(level: str) -> None:
    """Change the least level that is written, from now on and in all threads."""
    _active.level = _LEVELS[level]


def _drop_low(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if _LEVELS.get(_level_name(method), _LEVELS["info"]) < _active.level:
        raise structlog.DropEvent
    return event


def _level_name(method: str) -> str:
    return {"warn": "warning", "err": "error", "exception": "error", "fatal": "critical"}.get(method, method)


def _render(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    return _active.render(logger, method, event)


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
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
    _add_timestamp,
    _format_exception,
    _render,
]
"""One list for good, as cached loggers keep it; ``structlog.testing.capture_logs`` changes it in place."""
