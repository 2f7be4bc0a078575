"""``binmon balances``: what the accounts have, on every configured venue."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from binmon.cli.declaring import add_config, declare
from binmon.cli.execution import begin_log, console, say, tell_what_is_not_kept
from binmon.errors import BinmonError, ConfigError

if TYPE_CHECKING:
    from binmon.cli.main import Arguments

_DONE, _FAILED = 0, 1


def add_parser(subparsers: Any) -> None:
    """Declare the command and its options."""
    parser = declare(
        subparsers,
        "balances",
        summary="balances on every configured venue",
        description="Asks every configured venue that has a key for what the account has, free and locked.",
        examples={"binmon balances --json": "for a script: exact numbers as texts"},
    )
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document (default: a table)")


def run(args: Arguments) -> int:
    """Ask and print; 1 when a venue with a key could not be asked. Raises ConfigError when there is no key at all."""
    from binmon.wiring.execution import trading_floor

    given: Any = args
    loaded = args.load_full_config()
    begin_log(loaded.config.logging)
    with trading_floor(loaded, only_looks=True) as floor:
        tell_what_is_not_kept("balances", floor)
        answers = floor.quotes.accounts()
        sources = floor.quotes.sources
        if not answers:
            raise ConfigError(f"there is no key for any of {', '.join(sources)}", key="venues")
        wrong: dict[str, str] = {}
        for name, answer in answers.items():
            trading = sources[name].trading
            if isinstance(answer, BinmonError):
                wrong[name] = (trading.explain(answer) if trading is not None else None) or str(answer)
    if given.json:
        print(json.dumps({"venues": [_document(name, sources, answers, wrong) for name in sources]}))
    else:
        _show(sources, answers)
    for name, said in wrong.items():
        say("balances", f"{name}: {said}")
    return _FAILED if wrong else _DONE


def _document(name: str, sources: Any, answers: Any, wrong: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"venue": name, "environment": sources[name].environment}
    if name not in answers:
        return row | {"error": "there is no key for it", "balances": []}
    if name in wrong:
        return row | {"error": wrong[name], "balances": []}
    account = answers[name]
    balances = [
        {"asset": one.asset, "free": f"{one.free:f}", "locked": f"{one.locked:f}"}
        for _, one in sorted(account.balances.items())
    ]
    return row | {"can_trade": account.can_trade, "balances": balances}


def _show(sources: Any, answers: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    from binmon.execution.exact import plain

    accounts = {name: answer for name, answer in answers.items() if not isinstance(answer, BinmonError)}
    table = Table("asset", box=None, pad_edge=False)
    for name, account in accounts.items():
        reads_only = "" if account.can_trade else ", reads only"
        table.add_column(f"{name} ({sources[name].environment}{reads_only})", justify="right")
        table.add_column("locked", justify="right")
    for asset in sorted({asset for account in accounts.values() for asset in account.balances}):
        cells = []
        for account in accounts.values():
            balance = account.balances.get(asset)
            cells += (
                ["-", ""] if balance is None else [plain(balance.free), plain(balance.locked) if balance.locked else ""]
            )
        table.add_row(Text(asset), *cells)
    screen = console()
    if accounts:
        screen.print(table)
    for name in sources:
        if name not in answers:
            screen.print(Text(f"{name}: there is no key for it", style="dim"))
