"""``binmon completion``: the scripts, and what bash makes of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from binmon.cli.completion import SHELLS
from binmon.cli.main import COMMANDS, main

COMPLETE = """
source "$1"
COMP_WORDS=("${@:2}")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
COMP_LINE="${COMP_WORDS[*]}"
COMP_POINT=${#COMP_LINE}
function=$(complete -p binmon | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$function" binmon "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", "bash"]) == 0
    path = tmp_path / "script"
    path.write_text(capsys.readouterr().out)
    return path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ch"], {"check"}),
        ([""], set(COMMANDS)),
        (["books", ""], {"ls", "show", "export", "verify"}),
        (["books", "export", "--t"], {"--to"}),
        (["books", "export", "--to", ""], {"csv", "jsonl"}),
        (["run", "--log-format", "c"], {"console"}),
        (["sandbox", "--rest"], {"--rest-port"}),
        (["completion", ""], set(SHELLS)),
        (["check", "-c", "my-"], {"my-config.yaml"}),
        (["books", "ls", "rec"], {"recordings"}),
    ],
)
def test_bash_completes(words: list[str], expected: set[str], script: Path, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    (tmp_path / "my-config.yaml").touch()
    (tmp_path / "record.txt").touch()  # no directory, and so no answer for DIR
    (tmp_path / "recordings").mkdir()
    done = subprocess.run(
        [bash, "--norc", "-c", COMPLETE, "bash", script, "binmon", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stderr == ""
    found = {word.rstrip("/ ") for word in done.stdout.splitlines()} - {""}
    assert expected <= found
    if words[-1]:
        assert found == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_sound_and_knows_every_command(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)
    for option in ("--rest-port", "--against", "--update-id", "--threshold-ms", "--log-format", "--connect"):
        assert option in text
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} to read the script")
    path = tmp_path / "script"
    path.write_text(text)
    done = subprocess.run([program, "-n", path], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fish"]) == 2
    assert "bash" in capsys.readouterr().err
