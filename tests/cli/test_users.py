"""``binmon users``: what it refuses, before a terminal and without one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.looks import start, terminal


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("typed", "problem"), [("short", "at least 12 characters"), ("password1234", "common ones")])
def test_the_rule_is_said_before_it_is_asked_for(tmp_path: Path, typed: str, problem: str) -> None:
    (tmp_path / "config.yaml").write_text("state: {path: state.db}")
    with terminal(tmp_path, "users", "add", "anna") as screen:
        text = screen.until(lambda text: "Password: " in text)
        assert "At least 12 characters" in text.partition("Password: ")[0]
        screen.type(f"{typed}\n")
        assert screen.finish() == 2
        said = screen.text.partition("Password: ")[2]
        assert problem in said and "nothing was changed" in said
        assert "Once more" not in said and typed not in screen.text, "refused after the first time"


def test_what_is_wrong_with_name_or_password_is_2(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("state: {path: state.db}")

    def users(*words: str, typed: str = "a-long-enough-one\n") -> tuple[int, str]:
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with start(tmp_path, "users", *words, **streams) as process:
            _, errors = process.communicate(typed.encode(), timeout=60)
        return process.returncode, errors.decode()

    assert users("add", "anna", "--password-stdin") == (0, "")
    for words, typed, said in (
        (("add", "bert"), "", "there is no terminal to ask for the password: use --password-stdin"),
        (("add", "bert", "--password-stdin"), "\n", "it is empty"),
        (("add", "bert", "--password-stdin"), "short\n", "at least 12 characters"),
        (("add", "anna", "--password-stdin"), "a-long-enough-one\n", "there is a user anna already"),
        (("add", "a b", "--password-stdin"), "a-long-enough-one\n", "expected a name"),
        (("remove", "nobody"), "", "there is no user nobody"),
    ):
        status, errors = users(*words, typed=typed)
        assert status == 2 and said in errors and errors.count("\n") == 1, errors
