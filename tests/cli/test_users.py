"""``binmon users add`` before a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.looks import terminal


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("typed", "problem"), [("short", "at least 12 characters"), ("password1234", "common ones")])
def test_the_rule_is_said_before_it_is_asked_for(tmp_path: Path, typed: str, problem: str) -> None:
    (tmp_path / "config.yaml").write_text("state: {path: state.db}")
    with terminal(tmp_path, "users", "add", "anna") as screen:
        text = screen.until(lambda text: "Password: " in text)
        assert "At least 12 characters" in text.partition("Password: ")[0]
        screen.type(f"{typed}\n")
        assert screen.finish() == 1
        said = screen.text.partition("Password: ")[2]
        assert problem in said and "nothing was changed" in said
        assert "Once more" not in said and typed not in screen.text, "refused after the first time"
