"""``binmon plan``: what a reload would change, what of it is applied live, and what needs a restart."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binmon.cli.declaring import add_config, declare

if TYPE_CHECKING:
    from binmon.cli.main import Arguments
    from binmon.config.plan import Change

_DONE = 0
_SYMBOL_KEYS = ("books.venue", "books.symbols", "latency.venue", "latency.symbol", "watch.candles", "watch.trades")
_HEADINGS = {"live": "applied by a reload", "restart": "needs a restart"}


def add_parser(subparsers: Any) -> None:
    """Declare the command and its options."""
    parser = declare(
        subparsers,
        "plan",
        summary="what a reload would change",
        description="Compares a configuration with the one that the daemon runs: what a reload would apply, and what needs"
        "\na restart. Nothing is changed.",
        examples={
            "binmon plan": "./config.yaml against what the daemon has noted that it runs",
            "binmon plan -c new.yaml --against /etc/binmon/config.yaml": "one file against another, secrets too",
        },
    )
    add_config(parser, "NEW", "the new file (default: ./config.yaml, else /etc/binmon/config.yaml)")
    parser.add_argument(
        "--against", type=Path, metavar="RUNNING", help="the file that runs (default: what the daemon has noted)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document (default: lines to read)")


def run(args: Arguments) -> int:
    """Compare and print. Raises ConfigError for a wrong file, and when it is not known what runs."""
    import os

    from binmon.alerts.targets import check as check_targets  # loads what the URLs need, and nothing without any
    from binmon.config import load
    from binmon.config.plan import Started, diff, summary
    from binmon.config.running import as_noted, last_noted
    from binmon.config.unused import unused

    new = args.load_full_config()
    check_targets(new.config.alerts.notify)
    if args.against is not None:
        against = load(args.against, os.environ)
        changes = diff(against.config, new.config, Started.by(against.config, against.present_keys))
        said = {"file": str(against.path), "config_hash": against.config_hash}
    else:
        noted = last_noted(Path(new.config.state.path))
        changes = diff(noted.config, as_noted(new.config), noted.started)
        said = {"file": noted.file, "config_hash": noted.config_hash, "noted_at": noted.at}
    secrets_compared = args.against is not None
    if args.json:
        document: dict[str, Any] = {"file": str(new.path), "config_hash": new.config_hash, "against": said}
        for how in _HEADINGS:
            document[how] = [_plain(change) for change in changes if change.how == how]
        print(json.dumps({**document, "secrets_compared": secrets_compared}, ensure_ascii=False))
        return _DONE
    noted_at = f", noted at {said['noted_at']}" if "noted_at" in said else ""
    print(f"# {new.path} against {said['file']} (hash {said['config_hash']}{noted_at})")
    for how, heading in _HEADINGS.items():
        lines = summary([change for change in changes if change.how == how])
        if lines:
            print(f"{heading}:")
            print("\n".join(f"  {line}" for line in lines))
    if not changes:
        print("nothing changes")
    for key, reason in unused(new.config):
        print(f"# unused: {key}: {reason}")
    if any(change.key in _SYMBOL_KEYS for change in changes):
        print("# symbols are not checked here, and unknown ones are refused: binmon check --connect asks the venues")
    if not secrets_compared:
        print("# secrets were not compared, as the daemon does not note them: --against FILE does")
    return _DONE


def _plain(change: Change) -> dict[str, Any]:
    plain = asdict(change)
    del plain["how"]
    return plain
