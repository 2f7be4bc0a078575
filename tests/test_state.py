"""The state database."""

from __future__ import annotations

from pathlib import Path

import pytest

from binmon.errors import ConfigError
from binmon.net.ledger import RateLedger
from binmon.state import State


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
