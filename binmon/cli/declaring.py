"""How a command declares itself: one form of help for all of them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CONFIG_HELP = "file of the configuration (default: ./config.yaml, else /etc/binmon/config.yaml)"
EXIT_STATUSES: Mapping[int, str] = {
    0: "done",
    1: "it failed while running",
    2: "the command line or the configuration is wrong; the message says where, and what was expected",
    3: "a check found problems",
    130: "interrupted by Ctrl-C",
}


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Leaves the lines of descriptions and examples as they are."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, max_help_position=30, **options)

    def add_argument(self, action: argparse.Action) -> None:
        """Make room for it. argparse forgets that commands are indented by more than their own list: the longest name would
        break the column."""
        super().add_argument(action)
        for command in self._iter_indented_subactions(action):
            room = len(self._format_action_invocation(command)) + self._current_indent + self._indent_increment
            self._action_max_length = max(self._action_max_length, room)


def declare(
    subparsers: Any, name: str, summary: str, description: str, examples: Mapping[str, str], **options: Any
) -> argparse.ArgumentParser:
    """Add a command or an action: ``summary`` stands in the list of them, ``examples`` are command lines and meanings."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog(examples),
        formatter_class=HelpFormatter,
        **options,
    )
    return parser


def add_config(parser: argparse.ArgumentParser, metavar: str = "FILE", help: str = CONFIG_HELP, **options: Any) -> None:
    """Declare ``-c`` as every command has it."""
    parser.add_argument("-c", "--config", type=Path, metavar=metavar, help=help, **options)


def epilog(examples: Mapping[str, str], statuses: Sequence[int] = ()) -> str:
    """The end of a help text: examples, and the meanings of exit statuses where they are asked for."""
    blocks = ["examples:\n" + "\n".join(f"  {line}\n      {meaning}" for line, meaning in examples.items())]
    if statuses:
        blocks.append("exit status:\n" + "\n".join(f"  {status:<5}{EXIT_STATUSES[status]}" for status in statuses))
    return "\n\n".join(blocks)
