"""``binmon completion``: the script that completes command lines in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from binmon.cli.declaring import declare

if TYPE_CHECKING:
    from binmon.cli.main import Arguments

_DONE = 0
SHELLS = ("bash", "zsh")


def add_parser(subparsers: Any) -> None:
    """Declare the command and its options."""
    parser = declare(
        subparsers,
        "completion",
        summary="the script that completes command lines in a shell",
        description="Prints a script for bash or zsh that completes commands, options and names of files.",
        examples={
            "source <(binmon completion bash)": "complete in this shell; the line may stand in ~/.bashrc",
            "binmon completion bash > /etc/bash_completion.d/binmon": "for everybody on this machine",
            "binmon completion zsh > ~/.zfunc/_binmon": "for zsh, where ~/.zfunc is in fpath before compinit",
        },
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell that the script is for")


def run(args: Arguments) -> int:
    """Print the script."""
    import shtab  # loads only when the command runs

    from binmon.cli.main import whole_parser

    parser = whole_parser()
    for action in _actions(parser):
        # by the type that the help names, as argparse itself knows no files
        kind = {"FILE": shtab.FILE, "NEW": shtab.FILE, "RUNNING": shtab.FILE, "DIR": shtab.DIRECTORY}
        if isinstance(action.metavar, str) and action.metavar in kind:
            action.complete = kind[action.metavar]  # type: ignore[attr-defined]
    print(shtab.complete(parser, vars(args)["shell"]))
    return _DONE


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
