"""The log as the configuration wants it."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from binmon.config.schema import LoggingConfig
from binmon.telemetry.logging import Format, LogDetails, set_up
from binmon.telemetry.output import Output

KEYS = ("logging.levels", "logging.rotate_mb", "logging.keep_files", "logging.repeat_limit", "logging.repeat_window_s")
"""What a reload applies by `log_details_of`."""

_MB = 1_000_000


def log_details_of(section: LoggingConfig) -> LogDetails:
    """Everything but level and file."""
    return LogDetails(
        section.levels,
        None if section.rotate_mb is None else int(section.rotate_mb * _MB),
        section.keep_files,
        section.repeat_limit,
        section.repeat_window_s,
    )


def set_up_log(section: LoggingConfig, format: Format, stream: IO[str]) -> Output:
    """Begin to log. Raises ConfigError when the file cannot be opened."""
    file = Path(section.file) if section.file else None
    return set_up(section.level, format, stream, file, log_details_of(section))
