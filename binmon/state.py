"""What must outlive a restart, in SQLite. So far: until when a venue has banned us."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from binmon.errors import ConfigError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS bans (venue TEXT PRIMARY KEY, until_ms INTEGER NOT NULL) STRICT;
"""


class State:
    """The state database. Any thread may call it; ``_lock`` serialises them on the one connection.

    Raises ConfigError when the file cannot be opened or is no database of ours.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()  # guards _connection
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"{path}: expected a writable SQLite file: {error}", key="state.path") from None

    def ban_until_ms(self, venue: str) -> int:
        """UTC milliseconds until which nothing may be sent to ``venue``; 0 when there is no ban."""
        with self._lock:
            row = self._connection.execute("SELECT until_ms FROM bans WHERE venue = ?", (venue,)).fetchone()
        return int(row[0]) if row else 0

    def keep_ban(self, venue: str, until_ms: int) -> None:
        """Remember a ban, also over ``kill -9``."""
        with self._lock:
            self._connection.execute("INSERT OR REPLACE INTO bans VALUES (?, ?)", (venue, until_ms))

    def close(self) -> None:
        with self._lock:
            self._connection.close()
