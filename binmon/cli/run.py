"""``binmon run``: the daemon in the foreground."""

from __future__ import annotations

import argparse
import faulthandler
import importlib.abc
import os
import sys
from typing import Any, Literal

from binmon.cli import streams
from binmon.cli.declaring import add_config, declare
from binmon.core import memory


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = declare(
        subparsers,
        "run",
        summary="run the daemon in the foreground",
        description="Runs the daemon until Ctrl-C or SIGTERM. Its log is its output. SIGHUP applies a changed file, SIGUSR1"
        "\nreplaces every socket.",
        examples={
            "binmon run": "run ./config.yaml; as it is shipped: the embedded sandbox, no key, no network",
            "binmon run -c my.yaml | tee -a log.jsonl": "another file; JSON lines, as the output is no terminal",
        },
    )
    add_config(parser)
    parser.add_argument(
        "--log-format",
        choices=("json", "console"),
        default=None,
        help="form of the log (default: console on a terminal, else json, one object a line)",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Run until a signal; 0 after a clean stop, 1 after a failure. Raises ConfigError."""
    memory.keep_little()
    _load_arrow_alone()  # before all that uses it

    from binmon.daemon import Daemon
    from binmon.wiring.logs import set_up_log

    # Of a crash in compiled code, and of a watchdog's SIGABRT, the stacks of all threads are left on standard error,
    # also when it is the main thread that hangs.
    faulthandler.enable(2)
    loaded = args.load_full_config()
    log_format: Literal["json", "console"] = args.log_format or ("console" if sys.stdout.isatty() else "json")
    set_up_log(loaded.config.logging, log_format, sys.stdout)
    # Short numpy calls of one worker beside a busy one wait for the interpreter's switch interval; the default of
    # 5 ms costs them most of their speed, and half a millisecond a whole market's.
    sys.setswitchinterval(0.0001)
    try:
        return int(Daemon(loaded).run())
    finally:
        streams.drop_unwritten()  # the log has said that it could not be written


class _NoPandas(importlib.abc.MetaPathFinder):
    """Says of pandas that it is not installed."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Part of the import system."""
        if fullname == "pandas":
            raise ModuleNotFoundError("the daemon does without pandas", name=fullname)


def _load_arrow_alone() -> None:
    """Arrow looks for pandas, once, when it makes its first array. Where analysts have it installed, that would cost the
    daemon 54 MB and half a second in which all threads wait, for what only readers of recordings use.

    And it brings an allocator of its own, which holds on to what each of its threads needed once.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # read when Arrow is loaded
    import pyarrow as pa

    absent = _NoPandas()
    sys.meta_path.insert(0, absent)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(absent)
