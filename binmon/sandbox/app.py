"""The command ``binmon sandbox``: options, the ready line, and a clean end."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from .options import SandboxOptions
from .server import Sandbox

_log = logging.getLogger(__name__)
_POLL_S = 0.25
_FLAGS = {"generated_symbols": "--generate"}
"""Settings whose option has another name."""


class BadOption(ValueError):
    """An option or configuration key is wrong; the text names what, where and what was expected."""


def _symbol_list(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("expected symbols separated by commas, such as BTCUSDT,ETHUSDT")
    return names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the sandbox on a parser. Options that are not given stay ``None``."""
    parser.add_argument("-c", "--config", metavar="FILE", help="YAML file with the same keys as these options")
    parser.add_argument("--rest-port", type=int, metavar="N", help="port of REST; 0 (default): any free one")
    parser.add_argument("--stream-port", type=int, metavar="N", help="port of the market streams; 0: any free one")
    parser.add_argument("--ws-api-port", type=int, metavar="N", help="port of the WebSocket API; 0: any free one")
    parser.add_argument(
        "--bybit-port", type=int, metavar="N", help="port of the Bybit side, REST and streams; 0: any free one"
    )
    parser.add_argument("--symbols", type=_symbol_list, metavar="A,B", help="symbols to list (default: eight of them)")
    parser.add_argument(
        "--bybit-symbols",
        type=_symbol_list,
        metavar="A,B",
        help="symbols of the Bybit side (default: those of --symbols, else nearly those of the Binance side)",
    )
    parser.add_argument(
        "--bybit-basis-bps", type=float, metavar="X", help="usual distance of its prices from the others (default 8)"
    )
    parser.add_argument(
        "--bybit-maker-fee", metavar="X", help="its fee as a share of what a maker gets (default 0.001)"
    )
    parser.add_argument(
        "--bybit-taker-fee", metavar="X", help="its fee as a share of what a taker gets (default 0.001)"
    )
    parser.add_argument(
        "--bybit-ban-s", type=float, metavar="X", help="seconds that it shuts out an address (default 600)"
    )
    parser.add_argument(
        "--bybit-idle-s", type=float, metavar="X", help="seconds of an idle connection to it (default 600)"
    )
    parser.add_argument(
        "--commission", metavar="X", help="fee of the Binance side as a share of what is got (default 0)"
    )
    parser.add_argument(
        "--generate", dest="generated_symbols", type=int, metavar="N", help="list N made-up symbols beside those"
    )
    parser.add_argument(
        "--generated-rate", type=float, metavar="X", help="order-flow actions a second of each made-up symbol"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="decides the order flow and the keys (default 1)")
    parser.add_argument("--replay", metavar="FILE", help="serve a recording (.tsv or .tsv.gz) instead of a market")
    parser.add_argument("--speed", type=float, metavar="X", help="pace of the replay (default 1)")
    parser.add_argument("--rate", type=float, metavar="X", help="order-flow actions a second and named symbol")
    parser.add_argument("--ping-interval-s", type=float, metavar="X", help="seconds between pings (default 20)")
    parser.add_argument("--pong-timeout-s", type=float, metavar="X", help="seconds to wait for a pong (default 60)")
    parser.add_argument(
        "--life-s", type=float, metavar="X", help="life of a stream or WebSocket API connection (default 86400)"
    )
    parser.add_argument(
        "--life-notice-s", type=float, metavar="X", help="announce serverShutdown so long before (default: not at all)"
    )
    parser.add_argument("--weight-limit", type=int, metavar="N", help="request weight a window (default 6000)")
    parser.add_argument("--weight-window-s", type=int, metavar="N", help="length of that window (default 60)")
    parser.add_argument(
        "--connect-limit", type=int, metavar="N", help="connects of a service in 5 minutes (default 300)"
    )
    parser.add_argument(
        "--until-stdin-closes",
        action="store_true",
        default=None,
        help="end when standard input reaches its end",
    )


def run(args: argparse.Namespace) -> int:
    """Run the sandbox until it is told to stop.

    Prints one JSON line on standard output when ready. Returns 0 after a clean end, 2 when an option, the
    configuration or a port was wrong (one line on standard error says what).
    """
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    try:
        options, until_stdin_closes = gather(args)
        sandbox = Sandbox(options)
    except (ValueError, OSError) as error:
        print(f"binmon sandbox: {_explain(error, args)}", file=sys.stderr)
        return 2
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    if until_stdin_closes:
        threading.Thread(target=_watch_stdin, args=(stop,), name="sandbox-stdin", daemon=True).start()
    try:
        sandbox.start()
        print(json.dumps(sandbox.ready(), ensure_ascii=False), flush=True)
        while not stop.wait(_POLL_S):
            continue
    finally:
        sandbox.stop(1.5)
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0


def gather(args: argparse.Namespace) -> tuple[SandboxOptions, bool]:
    """Options from the command line over those of ``--config``, and whether to end with standard input.

    Raises :class:`BadOption` for unknown keys and values out of range, ``OSError`` for an unreadable file.
    """
    values: dict[str, Any] = {}
    source: dict[str, str] = {}
    if args.config is not None:
        for key, value in _read_config(args.config).items():
            values[key] = value
            source[key] = f"{args.config}: {key.replace('_', '-')}"
    for key in (*(option.name for option in fields(SandboxOptions)), "until_stdin_closes"):
        value = getattr(args, key, None)
        if value is not None:
            values[key] = value
            source[key] = _FLAGS.get(key) or f"--{key.replace('_', '-')}"
    for key, value in values.items():
        _check(key, value, source[key])
    until_stdin_closes = bool(values.pop("until_stdin_closes", False))
    return SandboxOptions(**values), until_stdin_closes


def _read_config(path: str) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BadOption(f"{path}:{line}: expected a YAML file in UTF-8, and it is not UTF-8") from None
    except yaml.YAMLError as error:
        raise BadOption(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise BadOption(f"{path}: expected keys and values, found {type(loaded).__name__}")
    known = {option.name for option in fields(SandboxOptions)} | {"until_stdin_closes"}
    values: dict[str, Any] = {}
    for key, value in loaded.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise BadOption(f"{path}: {key}: unknown key, expected one of {', '.join(sorted(known))}")
        if name in _SHARES and isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if name in _LISTS and value is not None:
            names = value.split(",") if isinstance(value, str) else value
            value = tuple(str(one).strip() for one in names) if isinstance(names, list) else value
        values[name] = value
    return values


_RANGES: dict[str, tuple[type | tuple[type, ...], float, float, str]] = {
    "rest_port": (int, 0, 65535, "a port from 0 to 65535"),
    "stream_port": (int, 0, 65535, "a port from 0 to 65535"),
    "ws_api_port": (int, 0, 65535, "a port from 0 to 65535"),
    "bybit_port": (int, 0, 65535, "a port from 0 to 65535"),
    "bybit_basis_bps": ((int, float), 0, 100, "a number from 0 to 100"),
    "bybit_ban_s": ((int, float), 0.01, 259_200, "seconds above 0"),
    "bybit_idle_s": ((int, float), 0.01, 86_400, "seconds above 0"),
    "seed": (int, -(2**63), 2**63, "an integer"),
    "rate": ((int, float), 0.01, 10_000, "a number from 0.01 to 10000"),
    "generated_symbols": (int, 0, 5000, "an integer from 0 to 5000"),
    "generated_rate": ((int, float), 0.01, 10_000, "a number from 0.01 to 10000"),
    "speed": ((int, float), 0.001, 1_000_000, "a number above 0"),
    "ping_interval_s": ((int, float), 0.01, 86_400, "seconds above 0"),
    "pong_timeout_s": ((int, float), 0.01, 86_400, "seconds above 0"),
    "life_s": ((int, float), 0.01, 10_000_000, "seconds above 0"),
    "life_notice_s": ((int, float), 0.0, 10_000_000, "seconds of 0 or more"),
    "weight_limit": (int, 1, 2**31, "an integer of 1 or more"),
    "weight_window_s": (int, 1, 86_400, "an integer of 1 or more"),
    "ban_s": ((int, float), 0.01, 259_200, "seconds above 0"),
    "connect_limit": (int, 1, 2**31, "an integer of 1 or more"),
    "messages_per_second": (int, 1, 2**31, "an integer of 1 or more"),
    "max_streams": (int, 1, 2**31, "an integer of 1 or more"),
    "backlog_bytes": (int, 1024, 2**40, "an integer of 1024 or more"),
}


_LISTS = ("symbols", "bybit_symbols")
_SHARES = ("bybit_maker_fee", "bybit_taker_fee", "commission")
_SHARE = re.compile(r"0(\.0[0-9]{0,3})?")


def _check(key: str, value: object, where: str) -> None:
    if key in _RANGES:
        kind, low, high, expected = _RANGES[key]
        if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:  # type: ignore[operator]
            raise BadOption(f"{where}: expected {expected}, got {value!r}")
    elif key in _SHARES:
        if not isinstance(value, str | int | float) or isinstance(value, bool) or _SHARE.fullmatch(str(value)) is None:
            raise BadOption(f"{where}: expected a share from 0 to 0.0999 with at most 4 decimals, got {value!r}")
    elif key in _LISTS and value is not None:
        if not isinstance(value, tuple) or not all(isinstance(name, str) for name in value):
            raise BadOption(f"{where}: expected a list of symbols, got {value!r}")
    elif key == "replay" and value is not None and not isinstance(value, str):
        raise BadOption(f"{where}: expected a file name, got {value!r}")


def _explain(error: Exception, args: argparse.Namespace) -> str:
    if isinstance(error, OSError) and error.filename is None:
        ports = [
            f"--{name} {value}"
            for name in ("rest-port", "stream-port", "ws-api-port", "bybit-port")
            if (value := _port(args, name))
        ]
        where = " or ".join(ports) or "loopback"
        return f"cannot listen on 127.0.0.1 ({where}): {error.strerror}; expected a free port, or 0 for any"
    if isinstance(error, OSError):
        return f"cannot read {error.filename}: {error.strerror}; expected a readable file"
    return str(error)


def _port(args: argparse.Namespace, name: str) -> int | None:
    value = getattr(args, name.replace("-", "_"), None)
    return value if isinstance(value, int) else None


def _watch_stdin(stop: threading.Event) -> None:
    """Set ``stop`` when standard input ends; the raw descriptor is read, so that nothing is buffered."""
    while not stop.is_set():
        try:
            if not os.read(0, 4096):
                break
        except OSError:
            break
    stop.set()


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m binmon.sandbox``."""
    parser = argparse.ArgumentParser(prog="binmon sandbox", description="A local exchange over loopback.")
    add_arguments(parser)
    return run(parser.parse_args(arguments))
