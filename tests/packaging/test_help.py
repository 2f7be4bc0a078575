"""The help of every command, and of all their options."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

import pytest

from binmon.cli.declaring import EXIT_STATUSES
from binmon.cli.main import COMMANDS, main, whole_parser


def parsers(
    parser: argparse.ArgumentParser, name: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, command in action.choices.items():
                yield from parsers(command, (*name, word))


ALL = dict(parsers(whole_parser()))
OPTIONS = [
    pytest.param(name, action, id=" ".join((*name, *(action.option_strings[-1:] or [action.dest]))))
    for name, parser in ALL.items()
    for action in parser._actions
    if not isinstance(action, argparse._HelpAction)
]


def test_every_command_is_known() -> None:
    assert {name[0] for name in ALL if name} == set(COMMANDS)
    assert len({name for name in ALL if name[:1] == ("books",)}) == 5


@pytest.mark.parametrize("name", ALL, ids=" ".join)
def test_a_command_says_what_it_does_and_gives_examples(
    name: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*name, "--help"]) == 0
    text = capsys.readouterr().out
    description = ALL[name].description
    assert description is not None and re.fullmatch(r"[A-Z].{20,}\.", description, re.S), description
    examples = text.partition("\nexamples:\n")[2].partition("\n\n")[0]
    assert re.search(rf"^  (source <\()?binmon {' '.join(name)}", examples, re.M), examples
    assert "%" not in text
    assert all(len(line) <= 120 for line in text.splitlines())


@pytest.mark.parametrize("name", [name for name in ALL if name], ids=" ".join)
def test_the_list_of_commands_says_what_each_is_for(name: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name[:-1], "--help"]) == 0
    assert re.search(rf"^    {name[-1]}\s+\S+ \S+", capsys.readouterr().out, re.M)


@pytest.mark.parametrize(("name", "action"), OPTIONS)
def test_an_option_says_what_it_is_and_what_holds_without_it(name: tuple[str, ...], action: argparse.Action) -> None:
    assert action.help and len(action.help.split()) >= 3, action
    if action.required or action.nargs == 0 or not action.option_strings or name == ("sandbox",):
        return  # an option without a value is off; those of the sandbox have their defaults in docs/sandbox.md
    assert "(default: " in action.help
    if action.default not in (None, argparse.SUPPRESS):
        assert f"(default: {action.default})" in action.help


@pytest.mark.parametrize("name", ALL, ids=" ".join)
def test_every_example_is_a_command_line_that_is_understood(name: tuple[str, ...]) -> None:
    epilog = ALL[name].epilog
    assert epilog is not None
    lines = re.findall(r"^  (?:source <\()?binmon ([^|>)\n]*)", epilog, re.M)
    assert lines
    for line in lines:
        if "--help" not in line:
            whole_parser().parse_args(line.split())


def test_the_help_of_the_whole_has_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out.partition("\nexit status:\n")[2]
    assert [int(line.split()[0]) for line in text.splitlines() if line] == list(EXIT_STATUSES) == [0, 1, 2, 3, 130]


@pytest.mark.parametrize("name", [name for name in ALL if len(name) == 1], ids=" ".join)
def test_a_command_takes_a_configuration(name: tuple[str, ...]) -> None:
    options = {option for action in ALL[name]._actions for option in action.option_strings}
    assert "--config" in options
    assert name == ("sandbox",) or "-c" in options
