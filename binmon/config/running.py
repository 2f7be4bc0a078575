"""The configuration that a daemon runs, as it notes it in the state database for whoever asks later (``binmon plan``).

Secrets are masked in it, so whether one has changed cannot be told from it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from binmon.config.loading import LoadedConfig, effective
from binmon.config.places import is_there
from binmon.config.plan import Started
from binmon.config.schema import Config
from binmon.errors import ConfigError
from binmon.state import State

_STEPS = (
    "CREATE TABLE running_config (one INTEGER PRIMARY KEY CHECK (one = 1), file TEXT NOT NULL, config_hash TEXT NOT NULL,"
    " at_ns INTEGER NOT NULL, effective TEXT NOT NULL) STRICT",
    "ALTER TABLE running_config ADD COLUMN started TEXT NOT NULL DEFAULT ''",
)


@dataclass(frozen=True, slots=True)
class NotedConfig:
    """What the last daemon on a state database ran; secrets in ``config`` are masked. ``at`` is RFC 3339, UTC; ``started``
    are the venues that it has."""

    file: str
    config_hash: str
    at: str
    config: Config
    started: Started


def as_noted(config: Config) -> Config:
    """``config`` with its secrets masked: what may be compared with what was noted."""
    return msgspec.json.decode(json.dumps(effective(config)), type=Config)


def note_running(state: State, loaded: LoadedConfig, started: Started | None = None) -> None:
    """Note what is in force now, in a daemon with these venues (by default those that its configuration needs).

    Raises StateFailed, and ConfigError for a database of a newer binmon.
    """
    state.upgrade("running_config", _STEPS)
    there = started or Started.by(loaded.config, loaded.present_keys)
    venues = {"books": sorted(there.books), "watching": sorted(there.watching)}
    state.execute(
        "INSERT OR REPLACE INTO running_config VALUES (1, ?, ?, ?, ?, ?)",
        (
            str(loaded.path.absolute()),
            loaded.config_hash,
            time.time_ns(),
            json.dumps(effective(loaded.config)),
            json.dumps(venues),
        ),
    )


def last_noted(path: Path) -> NotedConfig:
    """What the daemon on the state database ``path`` runs, or ran last. Raises ConfigError when that is not known."""
    unknown = f"{path}: no daemon has noted its configuration there; expected --against FILE, the file that it runs"
    if not is_there(path):
        raise ConfigError(unknown, key="state.path")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            row = connection.execute(
                "SELECT file, config_hash, at_ns, effective, started FROM running_config"
            ).fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        # a database without the table is one that no daemon has used
        problem = unknown if "no such table" in str(error) else f"{path}: expected a state database: {error}"
        raise ConfigError(problem, key="state.path") from None
    if row is None:
        raise ConfigError(unknown, key="state.path")
    file, config_hash, at_ns, text, venues = row
    try:
        config = msgspec.json.decode(text, type=Config)
        started = msgspec.json.decode(venues, type=Started)
    except msgspec.DecodeError:  # a ValidationError is one
        problem = f"{path}: another version of binmon has noted its configuration there; expected --against FILE"
        raise ConfigError(problem, key="state.path") from None
    at = datetime.fromtimestamp(at_ns // 10**9, UTC).isoformat().replace("+00:00", "Z")
    return NotedConfig(file, config_hash, at, config, started)
