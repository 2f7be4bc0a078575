"""``binmon check``: is the configuration right, what is in force, and do the endpoints answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from binmon.cli.declaring import add_config, declare
from binmon.config.places import why_unwritable
from binmon.errors import ConfigError

if TYPE_CHECKING:
    from binmon.cli.main import Arguments
    from binmon.config import LoadedConfig

_DONE, _FOUND_PROBLEMS = 0, 3


def add_parser(subparsers: Any) -> None:
    """Declare the command and its options."""
    parser = declare(
        subparsers,
        "check",
        summary="validate the configuration and print what is in force",
        description="Validates the configuration and prints it with defaults filled in and secrets masked.",
        examples={
            "binmon check": "is ./config.yaml right, and what does it amount to",
            "binmon check -c new.yaml --connect": "also: does everything named there answer (status 3 when not)",
        },
    )
    add_config(parser)
    parser.add_argument(
        "--connect",
        action="store_true",
        help="also try endpoints, keys, clock and symbols (default: nothing is connected to)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document (default: YAML)")


def run(args: Arguments) -> int:
    """Check and print. Returns 3 when ``--connect`` finds problems; raises :class:`ConfigError` for wrong values."""
    loaded = args.load_full_config()
    config = loaded.config
    _check_writable(Path(config.recorder.directory), "recorder.directory", loaded)
    _check_writable(Path(config.state.path).parent, "state.path", loaded)
    if Path(config.state.path).is_dir():
        raise ConfigError(
            f"expected a file, but {config.state.path} is a directory", key="state.path", file=str(loaded.path)
        )
    from binmon.alerts.targets import check as check_targets  # loads what the URLs need, and nothing without any
    from binmon.wiring.checking import check_start

    check_targets(config.alerts.notify)
    check_start(loaded)
    problems: list[str] = []
    tried: list[str] = []
    if args.connect:
        from binmon.venues.checking import check_connection  # loads the network only when it is asked for
        from binmon.wiring.checking import check_accounts

        problems = [*check_connection(config, tried.append), *check_accounts(config, tried.append)]
    _print(loaded, problems, tried, args)
    for problem in problems:
        print(problem, file=sys.stderr)
    return _FOUND_PROBLEMS if problems else _DONE


def _check_writable(directory: Path, key: str, loaded: LoadedConfig) -> None:
    """Raise :class:`ConfigError` unless files can be made in ``directory``, which need not exist yet."""
    reason = why_unwritable(directory)
    if reason is not None:
        problem = f"expected a directory that can be written, but {str(directory)!r} cannot: {reason}"
        raise ConfigError(problem, key=key, file=str(loaded.path))


def _print(loaded: LoadedConfig, problems: list[str], tried: list[str], args: Arguments) -> None:
    from binmon.config import effective
    from binmon.config.unused import unused

    values = effective(loaded.config)
    if args.json:
        document: dict[str, Any] = {"file": str(loaded.path), "config_hash": loaded.config_hash, "config": values}
        document["unused"] = [{"key": key, "reason": reason} for key, reason in unused(loaded.config)]
        if args.connect:
            document |= {"problems": problems, "tried": tried}
        print(json.dumps(document, ensure_ascii=False))
        return
    print(f"# {loaded.path} is valid; in force is, with hash {loaded.config_hash}:")
    print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120), end="")
    for key, reason in unused(loaded.config):
        print(f"# unused: {key}: {reason}")
    if args.connect:
        print("# tried:")
        for line in tried or ["nothing: the configuration asks nothing of any venue"]:
            print(f"#   {line}")
