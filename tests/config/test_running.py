"""What a daemon has noted of its configuration, and what is said where nothing was."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from binmon.config import load
from binmon.config.plan import Started
from binmon.config.running import last_noted, note_running
from binmon.errors import ConfigError
from binmon.state import State


def test_what_was_noted_comes_back(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("latency: {threshold_ms: 700}\n")
    loaded = load(tmp_path / "config.yaml", {})
    state = State(tmp_path / "state.db")
    note_running(state, loaded, Started(["okx"], ["binance"]))
    state.close()
    noted = last_noted(tmp_path / "state.db")
    assert (noted.config, noted.config_hash, noted.file) == (loaded.config, loaded.config_hash, str(loaded.path))
    assert (set(noted.started.books), set(noted.started.watching)) == ({"okx"}, {"binance"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no daemon has noted its configuration there; expected --against FILE"),
        (b"", "no daemon has noted its configuration there"),
        (b"garbage, and much of it" * 100, "expected a state database: file is not a database"),
    ],
)
def test_why_nothing_is_known(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "state.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        last_noted(path)


def test_what_another_version_has_noted(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = State(path)
    (tmp_path / "config.yaml").write_text("")
    note_running(state, load(tmp_path / "config.yaml", {}))
    state.close()
    for changed in ("started = ''", "effective = '{}', started = '[]'"):
        with sqlite3.connect(path) as connection:
            connection.execute(f"UPDATE running_config SET {changed}")
        connection.close()
        with pytest.raises(ConfigError, match="another version of binmon has noted"):
            last_noted(path)
