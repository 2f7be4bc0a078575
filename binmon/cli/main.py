"""The command ``binmon``: finds the subcommand, hands it its arguments, turns errors into exit statuses.

A command is a module here with ``add_parser(subparsers)`` and ``run(args) -> int``. Only the module of the command
that is asked for is imported, so that ``binmon --help`` is quick.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binmon import __version__
from binmon.cli import streams
from binmon.cli.declaring import EXIT_STATUSES, HelpFormatter, add_config, epilog
from binmon.errors import BinmonError, ConfigError

if TYPE_CHECKING:
    from binmon.config import Config, LoadedConfig

DONE, FAILED, WRONG = 0, 1, 2
"""Exit statuses: done; failed while running; command line or configuration wrong; a check found problems."""
INTERRUPTED = 130
_NEED_NO_OUTPUT = ("run",)  # the log of the daemon may go into a file alone

COMMANDS: dict[str, str] = {
    "run": "the daemon in the foreground",
    "check": "validate the configuration and print what is in force",
    "plan": "what a reload would change",
    "sandbox": "the local exchange",
    "books": "look at the recordings",
    "latency": "report on the timed orders",
    "price": "prices on every configured venue, and the best one",
    "order": "a market order on the best venue",
    "balances": "balances on every configured venue",
    "candles": "history, then the live candle",
    "trades": "live trades",
    "symbols": "trading symbols, and what is new",
    "replay": "replay an incident file or a recording",
    "users": "accounts of the web page",
    "completion": "the script that completes command lines in a shell",
}


_EXAMPLES = {
    "binmon run": "run ./config.yaml; as it is shipped, on the embedded sandbox",
    "binmon check --connect": "is the configuration right, and does everything named there answer",
    "binmon latency --live": "just see how late execution reports are",
    "binmon books show BTCUSDT": "the newest recorded book",
}


class Arguments(argparse.Namespace):
    """The parsed command line, which can load the configuration that it names."""

    config: Path | str | None = None
    needs_output: bool = True
    _loaded: LoadedConfig | None = None

    def load_full_config(self) -> LoadedConfig:
        """The configuration and where it comes from, read once. Raises :class:`ConfigError`."""
        if self._loaded is None:
            from binmon.config import load

            self._loaded = load(None if self.config is None else Path(self.config), os.environ)
        return self._loaded

    def load_config(self) -> Config:
        """The configuration, read once. Raises :class:`ConfigError`."""
        return self.load_full_config().config


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    streams.prepare()
    arguments = sys.argv[1:] if argv is None else argv
    args = Arguments()
    status = _status_of(lambda: _run(arguments, args), args)
    # also of help, and of what was printed before an error
    return _status_of(_flush, args) or status


def _run(arguments: Sequence[str], args: Arguments) -> int:
    _parser(arguments).parse_args(arguments, namespace=args)
    if args.needs_output:
        streams.require_output()
    else:
        streams.do_without_output()
    return int(args.run_command(args))


def _flush() -> int:
    streams.flush_output()
    return DONE


def _status_of(step: Callable[[], int], args: Arguments) -> int:
    """What ``step`` returns, or the exit status of the error that it ends by, which is said."""
    try:
        return step()
    except SystemExit as stopped:  # argparse: 0 after --help and --version, 2 after a mistake
        return stopped.code if isinstance(stopped.code, int) else WRONG
    except ConfigError as error:
        # what shows only while running does not know the file that it comes from
        return _say(error if args._loaded is None else args._loaded.placed(error), WRONG)
    except BinmonError as error:
        return _say(error, FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # the reader of our output went away, as `head` does: no fault of ours, and nothing more to say
        streams.discard_output()
        return FAILED
    except streams.OutputFailed as error:
        streams.discard_output()
        return _say(error, FAILED)


def _say(error: BaseException, status: int) -> int:
    text = " ".join(str(error).split())
    print(f"binmon: {text}", file=sys.stderr)
    if "NOTIFY_SOCKET" in os.environ:
        from binmon.core.systemd import ServiceManager

        # the line `Status:` of `systemctl status`, which outlives the process
        ServiceManager.of(os.environ).tell(STATUS=text)
    return status


def whole_parser() -> argparse.ArgumentParser:
    """The parser with every command in it; loads all of their modules."""
    parser, subparsers = _top()
    for name in COMMANDS:
        _add_command(name, subparsers)
    return parser


def _top() -> tuple[argparse.ArgumentParser, Any]:
    parser = argparse.ArgumentParser(
        prog="binmon",
        description="Watches Binance Spot, Bybit, Kraken and OKX the way a careful operator would: keeps and records order"
        "\nbooks; on Binance and Bybit also candles, trades and orders, which it times.",
        epilog=epilog(_EXAMPLES, tuple(EXIT_STATUSES)),
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"binmon {__version__}", help="print the version and end"
    )
    return parser, parser.add_subparsers(
        metavar="COMMAND", required=True, help="what to do; binmon COMMAND --help says more"
    )


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser, subparsers = _top()
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        if name == wanted:
            _add_command(name, subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    return parser


def _add_command(name: str, subparsers: Any) -> None:
    module = importlib.import_module(f"binmon.cli.{name}")
    module.add_parser(subparsers)
    command: argparse.ArgumentParser = subparsers.choices[name]
    command.set_defaults(run_command=module.run, needs_output=name not in _NEED_NO_OUTPUT)
    try:
        add_config(command)
    except argparse.ArgumentError:
        return  # the command declares it itself; that of the sandbox, for instance, is a file of another kind


if __name__ == "__main__":
    sys.exit(main())
