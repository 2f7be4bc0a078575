"""The state database."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from binmon.config.places import is_there
from binmon.config.running import last_noted
from binmon.errors import ConfigError
from binmon.latency.ledger import LedgerReader
from binmon.net.ledger import RateLedger
from binmon.state import State, StateDenied, StateFailed
from tests.users import open_to_all, somebody_else


def test_a_ban_is_kept_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.db"
    state = State(path)
    ledger = RateLedger("binance", on_ban=lambda until_ms: state.keep_ban("binance", until_ms))
    ledger.banned(120.0, 1_000.0)
    state.close()
    again = State(path)
    assert again.ban_until_ms("binance") == ledger.ban_until_ms >= 1_120_000
    assert again.ban_until_ms("bybit") == 0
    again.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_text("this is not a database, but it is long enough to look at" * 100)
    with pytest.raises(ConfigError, match=r"state\.path.*writable SQLite"):
        State(path)


@pytest.fixture
def shut() -> Iterator[Path]:
    """A directory that this user may not look into."""
    with open_to_all() as place:
        directory = place / "shut"
        directory.mkdir()
        (directory / "state.db").touch()
        directory.chmod(0)
        with somebody_else():
            yield directory
        directory.chmod(0o700)


def test_where_this_user_may_not_look_everybody_says_so(shut: Path) -> None:
    path = shut / "state.db"
    assert is_there(path), "nobody may take it for missing"
    with pytest.raises(StateDenied, match=r"state\.path.*writable SQLite"):
        State(path)
    with pytest.raises(StateDenied, match=r"state\.path.*Permission denied"):
        State(shut / "deeper" / "state.db")
    for read in (last_noted, LedgerReader):
        with pytest.raises(ConfigError, match=r"state\.path.*unable to open"):
            read(path)


STEPS = (
    "CREATE TABLE things (name TEXT) STRICT; INSERT INTO things VALUES ('first')",
    "ALTER TABLE things ADD COLUMN size INTEGER",
)


def test_tables_of_a_module_are_brought_up_to_date_once(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = State(path)
    state.upgrade("things", STEPS[:1])
    state.execute("INSERT INTO things VALUES (?)", ("second",))
    state.close()
    state = State(path)
    for _ in range(2):
        state.upgrade("things", STEPS)
        assert state.execute("SELECT name, size FROM things ORDER BY name") == [("first", None), ("second", None)]
    state.upgrade("others", ("CREATE TABLE others (name TEXT)",))
    with pytest.raises(ConfigError, match=r"state\.path.*expected things of version 1 or older, and it is 2"):
        state.upgrade("things", STEPS[:1])
    state.close()


def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    with pytest.raises(StateFailed, match="nothing"):
        state.upgrade("things", ("CREATE TABLE things (name TEXT)", "INSERT INTO nothing VALUES (1)"))
    state.upgrade("things", STEPS)
    assert state.execute("SELECT count(*) FROM things") == [(1,)]
    state.close()


def test_who_only_reads_needs_no_room(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = State(path)
    state.upgrade("things", STEPS)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # nobody else can write now, be it for this or for a disk that is full
    reader = State(path)
    reader.upgrade("things", STEPS)
    assert reader.execute("SELECT name FROM things") == [("first",)]
    other.execute("COMMIT")
    other.close()
    reader.close()
    state.close()


def test_a_full_disk_is_told_and_passes(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    state.upgrade("things", STEPS)
    pages = state.execute("PRAGMA page_count")[0][0]
    state.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StateFailed, match="full"):
        state.execute("INSERT INTO things VALUES (?, ?)", ("x" * 100_000, 1))
    assert state.execute("SELECT count(*) FROM things") == [(1,)]
    state.execute("PRAGMA max_page_count = 100000")
    state.keep_ban("binance", 5)
    assert state.ban_until_ms("binance") == 5
    state.close()


def test_threads_take_turns(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    state.upgrade("things", STEPS)

    def write(number: int) -> None:
        for size in range(50):
            state.execute("INSERT INTO things VALUES (?, ?)", (f"{number}", size))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state.execute("SELECT count(*) FROM things") == [(201,)]
    state.close()


def test_one_daemon_a_database(tmp_path: Path) -> None:
    first, second = State(tmp_path / "state.db"), State(tmp_path / "state.db")
    first.claim()
    with pytest.raises(ConfigError, match=f"in use by another binmon \\(process {os.getpid()}\\)"):
        second.claim()
    first.close()
    second.claim()
    second.close()
    second.close()  # twice is no error
