"""One file of bad input for each rule: the message of each is exactly that of its first line."""

from __future__ import annotations

from pathlib import Path

import pytest

from binmon.cli.main import main
from binmon.config import load
from binmon.errors import ConfigError

BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_the_message_is_exact_and_the_command_exits_2_with_one_line(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    expected = path.read_text().splitlines()[0].removeprefix("# expect: ")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert str(caught.value) == f"{path}:{expected}"

    assert main(["check", "-c", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"binmon: {path}:{expected}\n"


def test_there_are_bad_files() -> None:
    assert len(BAD) > 40


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file or directory; expected a YAML file"),
        (b"books: {}\n# \xff", "cannot be read: not UTF-8; expected a YAML file"),
        (b"# \x01", "not valid YAML: the character 1 is not allowed"),
        (b"[" * 5000, "not valid YAML for binmon: nested too deeply"),
    ],
)
def test_unreadable_files(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert caught.value.problem == problem
    assert "\n" not in str(caught.value)


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory; expected a YAML file"):
        load(tmp_path, {})


def test_no_file_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("binmon.config.loading.SEARCHED", (Path("config.yaml"), Path("other.yaml")))
    with pytest.raises(
        ConfigError, match=r"neither config\.yaml nor other\.yaml exists, expected one of them or -c FILE"
    ):
        load(None, {})


def test_recursion_of_an_alias_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("books: &b\n  symbols: *b\n")
    with pytest.raises(ConfigError):
        load(path, {})
