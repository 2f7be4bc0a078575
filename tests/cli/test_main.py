"""The command line: finding commands, exit statuses, one-line errors."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from binmon import __version__
from binmon.cli import main as command_line
from binmon.cli.main import main
from binmon.errors import BinmonError, ConfigError


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"binmon {__version__}\n"
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in command_line.COMMANDS)
    rows = [re.fullmatch(r"    (\S+ +)\S.*", line) for line in out.partition("COMMAND  ")[2].splitlines()]
    columns = [len(row[1]) for row in rows if row and row[1].strip() in command_line.COMMANDS]
    assert len(columns) == len(command_line.COMMANDS) and len(set(columns)) == 1, "a column of summaries"
    assert "Binance Spot, Bybit, Kraken and OKX" in out


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["check", "--nothing"], ["-c", "x", "check"]])
def test_a_wrong_command_line_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err


def test_help_imports_no_command() -> None:
    program = (
        "import sys; from binmon.cli.main import main; main(['--help']);"
        "heavy = {'numpy', 'yaml', 'pyarrow', 'requests', 'binmon.sandbox'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_python_m(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("books: {depth: 0}")
    command = [sys.executable, "-W", "error", "-m", "binmon", "check", "-c", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == f"binmon: {path}:1: books.depth: expected an integer from 1 to 5000, got 0\n"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ConfigError("bad", key="a.b", file="f", line=3), 2, "binmon: f:3: a.b: bad\n"),
        (BinmonError("no\nluck"), 1, "binmon: no luck\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 1, ""),
        (None, 0, ""),
    ],
)
def test_errors_become_exit_statuses(
    error: BaseException | None, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text("books: {depth: 7}")

    def run(args: Any) -> int:
        assert args.load_config().books.depth == 7
        assert args.load_full_config().path == Path("own.yaml")
        assert args.load_config() is args.load_config()
        if error is not None:
            raise error
        return 0

    def add_parser(subparsers: Any) -> None:
        subparsers.add_parser("books").add_argument("--config", "-c")

    module = types.SimpleNamespace(add_parser=add_parser, run=run)
    monkeypatch.setattr(command_line.importlib, "import_module", lambda name: module)
    monkeypatch.setattr(command_line.streams, "discard_output", lambda: None)
    assert main(["books", "-c", "own.yaml"]) == status
    assert capsys.readouterr().err == said


def test_sandbox_keeps_its_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--rest-port" in out
    assert "the same keys as these options" in out
    assert main(["sandbox", "--rest-port", "70000"]) == 2


def test_a_file_of_the_sandbox_that_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sandbox.yaml"
    path.write_bytes(b"seed: 7\nsymbols: \xff\xfe\n")
    assert main(["sandbox", "-c", str(path)]) == 2
    assert capsys.readouterr().err == f"binmon sandbox: {path}:2: expected a YAML file in UTF-8, and it is not UTF-8\n"
    assert main(["sandbox", "-c", str(tmp_path / "missing")]) == 2
    assert "expected a readable file" in capsys.readouterr().err
