"""``binmon users``, and the accounts beside a running daemon."""

from __future__ import annotations

import getpass
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from binmon.cli.main import main
from binmon.dashboard.accounts import MOST_TOKENS, AccountRefused, Accounts, Lifetimes
from binmon.state import State
from tests.dashboard.site import PASSWORD, USER, Site

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``binmon users`` with this on standard input."""
    file = tmp_path / "config.yaml"
    file.write_text(f"state: {{path: {tmp_path}/state.db}}\n")

    def run(*words: str, typed: str = "") -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return main(["users", "-c", str(file), *words])

    return run


def test_an_account_is_added_listed_and_removed(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("add", "anna", "--password-stdin", typed=f"{PASSWORD}\n") == 0
    assert run("add", "bert", "--password-stdin", typed=f"{PASSWORD}\r\nmore\n") == 0
    state = State(tmp_path / "state.db")
    assert Accounts(state).verify("anna", PASSWORD)
    assert Accounts(state).verify("bert", PASSWORD)
    state.close()
    capsys.readouterr()
    assert run("list", "--json") == 0
    users = json.loads(capsys.readouterr().out)["users"]
    assert [(one["name"], one["sessions"], one["tokens"]) for one in users] == [("anna", 0, 0), ("bert", 0, 0)]
    assert run("remove", "anna") == 0
    capsys.readouterr()
    assert run("list") == 0
    table = capsys.readouterr().out
    assert "bert" in table
    assert "anna" not in table
    assert run("remove", "bert") == 0
    assert run("list") == 0
    assert "binmon users add NAME" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "typed", "expected"),
    [
        ("anna", "short\n", "at least 12 characters"), ("anna", "\n", "it is empty"), ("anna", "", "it is empty"),
        ("anna", "anna12345678\n", "the user's name"), ("anna", "password1234\n", "common ones"),
        ("-", f"{PASSWORD}\n", ""), ("a b", f"{PASSWORD}\n", "expected a name"), ("x" * 65, f"{PASSWORD}\n", "expected a name"),
        ("ann\u00e4", f"{PASSWORD}\n", "expected a name"),
    ],
)  # fmt: skip
def test_what_is_refused(run: Run, capsys: pytest.CaptureFixture[str], name: str, typed: str, expected: str) -> None:
    assert run("add", name, "--password-stdin", typed=typed) in (1, 2)
    said = capsys.readouterr()
    assert expected in said.err
    assert said.out == ""
    assert typed.strip() == "" or typed.strip() not in said.err
    assert len(said.err.splitlines()) == 1 or name == "-"


def test_a_second_one_of_the_same_name(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("add", "anna", "--password-stdin", typed=f"{PASSWORD}\n") == 0
    assert run("add", "anna", "--password-stdin", typed=f"{PASSWORD}\n") == 2
    assert "there is a user anna already" in capsys.readouterr().err
    assert run("remove", "nobody") == 2
    assert "there is no user nobody" in capsys.readouterr().err


def test_nothing_to_list_or_remove_makes_no_database(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("list") == 2
    assert run("remove", "anna") == 2
    assert "there is no state database" in capsys.readouterr().err
    assert not (tmp_path / "state.db").exists()


def test_a_password_is_typed_twice(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    answers = iter([PASSWORD, "another-one-entirely", PASSWORD, PASSWORD])
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(answers))
    monkeypatch.setattr(io, "StringIO", Terminal)
    assert run("add", "anna") == 2
    assert "not the same" in capsys.readouterr().err
    assert run("add", "anna") == 0


def test_without_a_terminal_it_says_how(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("add", "anna") == 2
    assert "--password-stdin" in capsys.readouterr().err


def test_beside_a_daemon_that_holds_the_database(run: Run, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.state.claim()
    browser = site.browser()
    assert run("add", "carla", "--password-stdin", typed=f"{PASSWORD}\n") == 0
    assert site.browser("carla").get("/").status_code == 200
    capsys.readouterr()
    assert run("list", "--json") == 0
    users = {one["name"]: one for one in json.loads(capsys.readouterr().out)["users"]}
    assert users[USER]["sessions"] == 1
    assert run("remove", USER) == 0
    assert browser.get("/").status_code == 303


# The tables -----------------------------------------------------------------------------------------------------------


def test_sessions_and_tokens_of_a_user_are_bounded(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    accounts = Accounts(state, Lifetimes())
    state.execute("INSERT INTO dashboard_users VALUES ('anna', 'x', 1, 1)")
    ids = [accounts.open_session("anna", number) for number in range(60)]
    assert accounts.session(ids[0], 60) is None, "the one that was used longest ago ends"
    assert accounts.session(ids[-1], 60) is not None
    for number in range(MOST_TOKENS):
        accounts.add_token("anna", f"token {number}", 1)
    with pytest.raises(AccountRefused, match="revoke one first"):
        accounts.add_token("anna", "one more", 1)
    accounts.remove("anna")
    for table in ("users", "sessions", "tokens", "settings"):
        assert state.execute(f"SELECT count(*) FROM dashboard_{table}") == [(0,)], table
    state.close()


def test_nothing_in_the_database_can_be_used_by_who_reads_it(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    accounts = Accounts(state)
    accounts.add("anna", PASSWORD, 1)
    session, (_, token) = accounts.open_session("anna", 1), accounts.add_token("anna", "t", 1)
    state.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (PASSWORD, session, token):
        assert secret.encode() not in stored
