"""What must outlive a restart, in SQLite: until when a venue has banned us, and the tables of other modules.

A module that keeps something here declares its tables as steps (`State.upgrade`): each step leads from one version of
its schema to the next, so that a database of an older binmon is brought up to date, and one of a newer is refused.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from binmon.config.places import is_there
from binmon.errors import ConfigError, RetryError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS bans (venue TEXT PRIMARY KEY, until_ms INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS schema_versions (module TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT;
"""

Value = str | int | float | bytes | None
Row = tuple[Any, ...]


class StateFailed(RetryError):
    """The state database cannot be read or written now: the disk is full, for instance. Nothing was changed."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(path, reason)

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class StateDenied(ConfigError):
    """The state database belongs to somebody else: this user may not write it, or not even look where it is."""


# What is asked for is mostly the newest, so a small cache (256 KiB) does; by itself it would grow with the database to 2 MB.
_SETTINGS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-256;"


class State:
    """The state database. Any thread may call it; ``_lock`` serialises them on the one connection.

    What a call has written is on disk when it returns, so that neither ``kill -9`` nor a power cut undoes it. Raises
    StateDenied when this user may not write the file, ConfigError when it cannot be opened or is no database of ours, and
    StateFailed for whatever fails later.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._claim: TextIO | None = None
        self._lock = threading.Lock()  # guards _connection
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.executescript(_SETTINGS + _SCHEMA)
        except (sqlite3.Error, OSError) as error:
            kind = StateDenied if _is_denied(path, error) else ConfigError
            raise kind(f"{path}: expected a writable SQLite file: {error}", key="state.path") from None

    def claim(self) -> None:
        """Be the only daemon on this database, until it is closed or the process ends, however that happens.

        A second one would take the first one's open orders for its own. Raises ConfigError with who it is.
        """
        path = _lock_of(self.path)
        try:
            file = path.open("a+", encoding="ascii")
        except OSError as error:
            raise ConfigError(f"{path}: expected a writable file: {error}", key="state.path") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            problem = f"{self.path} is in use by another binmon (process {holder}): stop it, or name another file"
            raise ConfigError(problem, key="state.path") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._claim = file

    def execute(self, statement: str, values: Sequence[Value] | dict[str, Value] = ()) -> list[Row]:
        """Run one statement, all of it or nothing, and give its rows. Raises StateFailed."""
        with self._use() as connection:
            return connection.execute(statement, values).fetchall()

    def upgrade(self, module: str, steps: Sequence[str]) -> None:
        """Bring the tables of ``module`` up to date: run the steps (SQL statements) that it has not seen, or none at all.

        A step is never changed once it was shipped; what changes is one more step. Nothing is written where all were
        seen: who only reads can do so from a disk that is full. Raises ConfigError when a newer binmon has written this
        database, StateFailed.
        """
        with self._use() as connection:
            if self._version(connection, module, steps) == len(steps):
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                version = self._version(connection, module, steps)  # another process may have been faster
                for step in steps[version:]:
                    for statement in filter(str.strip, step.split(";")):
                        connection.execute(statement)
                connection.execute("INSERT OR REPLACE INTO schema_versions VALUES (?, ?)", (module, len(steps)))
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                    connection.execute("ROLLBACK")
                raise

    def _version(self, connection: sqlite3.Connection, module: str, steps: Sequence[str]) -> int:
        row = connection.execute("SELECT version FROM schema_versions WHERE module = ?", (module,)).fetchone()
        version = int(row[0]) if row else 0
        if version > len(steps):
            problem = f"{self.path}: expected {module} of version {len(steps)} or older, and it is {version}"
            raise ConfigError(f"{problem}: a newer binmon has written it", key="state.path")
        return version

    def ban_until_ms(self, venue: str) -> int:
        """UTC milliseconds until which nothing may be sent to ``venue``; 0 when there is no ban."""
        rows = self.execute("SELECT until_ms FROM bans WHERE venue = ?", (venue,))
        return int(rows[0][0]) if rows else 0

    def keep_ban(self, venue: str, until_ms: int) -> None:
        """Remember a ban, also over ``kill -9``."""
        self.execute("INSERT OR REPLACE INTO bans VALUES (?, ?)", (venue, until_ms))

    def close(self) -> None:
        """Nothing may be asked afterwards."""
        with self._lock:
            self._connection.close()
        if self._claim is not None:
            self._claim.close()

    @contextlib.contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise StateFailed(self.path, str(error)) from error


def _is_denied(path: Path, error: sqlite3.Error | OSError) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return True
        case sqlite3.SQLITE_CANTOPEN:
            nearest, is_effective = path if is_there(path) else path.parent, os.access in os.supports_effective_ids
            return not os.access(nearest, os.R_OK | os.W_OK, effective_ids=is_effective)
    return False


def is_claimed(path: Path) -> bool:
    """Whether a daemon has claimed the state database ``path`` (`State.claim`)."""
    try:
        file = _lock_of(path).open("rb")
    except OSError:
        return False  # none ever did, or it is not ours to know
    with file:
        try:
            # shared and let go at once: it keeps a daemon that starts just now from nothing but this very moment
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(file, fcntl.LOCK_UN)
        return False


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")
