"""``binmon sandbox``: the local exchange, without the rest of binmon."""

from __future__ import annotations

import argparse
from typing import Any

from binmon.cli.declaring import declare
from binmon.sandbox import app


def add_parser(subparsers: Any) -> None:
    """Declare the command and its options, which are those of the sandbox."""
    parser = declare(
        subparsers,
        "sandbox",
        summary="the local exchange",
        description="Runs a local exchange over loopback that speaks the protocols of Binance Spot and of Bybit v5 Spot, each"
        "\nwith a market and accounts of its own. When it is ready it prints one JSON line with its URLs and keys; a POST to"
        "\n/sandbox/faults of its REST port injects faults.",
        examples={
            "binmon sandbox --rest-port 7001 --stream-port 7002 --ws-api-port 7003 --bybit-port 7004": "at ports that are"
            " known before",
            "binmon sandbox --symbols BTCUSDT,ETHUSDT --seed 7": "the same market every time",
            "binmon sandbox --replay frames.tsv.gz --speed 10": "recorded frames, ten times as fast",
        },
    )
    app.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the sandbox until it is told to stop; the exit status is its own."""
    return app.run(args)
