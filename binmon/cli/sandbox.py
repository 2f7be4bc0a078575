"""``binmon sandbox``: the local exchange, without the rest of binmon."""

from __future__ import annotations

import argparse
from typing import Any

from binmon.sandbox import app


def add_parser(subparsers: Any) -> None:
    """Declare the command and its options, which are those of the sandbox."""
    app.add_arguments(subparsers.add_parser("sandbox", help="the local exchange", description="A local exchange over loopback."))  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run the sandbox until it is told to stop; the exit status is its own."""
    return app.run(args)
