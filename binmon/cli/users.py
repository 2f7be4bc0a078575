"""``binmon users``: who may log in to the web page. Works beside a running daemon."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binmon.cli.declaring import add_config, declare
from binmon.errors import ConfigError

if TYPE_CHECKING:
    from binmon.cli.main import Arguments
    from binmon.dashboard.accounts import Accounts

_DONE = 0


class NotTyped(ConfigError):
    """No usable password was given; ``str()`` is one line for people."""


def add_parser(subparsers: Any) -> None:
    """Declare the command, its actions and their options."""
    parser = declare(
        subparsers,
        "users",
        summary="accounts of the web page",
        description="Adds, removes and lists the accounts of the web page. The daemon need not be stopped for it.",
        examples={
            "binmon users add anna": "a new account; the password is asked for, twice",
            "pass show binmon | binmon users add anna --password-stdin": "the first line of standard input is the password",
            "binmon users remove anna": "the account, its logins and its tokens end at once",
        },
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, help="what to do")
    add = declare(
        actions,
        "add",
        summary="a new account",
        description="Adds an account. The password has at least 12 characters and is none of the common ones.",
        examples={"binmon users add anna": "the password is asked for, twice"},
    )
    add.add_argument("name", metavar="NAME", help="letters, digits and ._@-")
    add.add_argument(
        "--password-stdin",
        action="store_true",
        help="read the password from the first line of standard input (default: ask for it on the terminal)",
    )
    remove = declare(
        actions,
        "remove",
        summary="take an account away",
        description="Removes an account, with its logins, tokens and settings.",
        examples={"binmon users remove anna": "whoever is logged in as anna is not any more"},
    )
    remove.add_argument("name", metavar="NAME", help="the account to remove")
    listing = declare(
        actions,
        "list",
        summary="the accounts that there are",
        description="Lists the accounts, when they were made, and how many logins and tokens each has.",
        examples={"binmon users list --json": "for programs"},
    )
    listing.add_argument("--json", action="store_true", help="print one JSON document (default: a table)")
    add_config(parser)
    for action in (add, remove, listing):
        # not set where it is not given there: it would overwrite what stands before the action
        add_config(action, default=argparse.SUPPRESS)


def run(args: Arguments) -> int:
    """Do it. Raises ConfigError with one line for what is wrong with the name, the password or the state database."""
    from binmon.config.places import is_there
    from binmon.dashboard.accounts import AccountRefused, Accounts
    from binmon.state import State

    path = Path(args.load_config().state.path)
    action: str = args.action
    if action != "add" and not is_there(path):
        raise ConfigError(f"there is no state database {path}, so there are no accounts", key="state.path")
    state = State(path)
    try:
        return _ACTIONS[action](Accounts(state), args)
    except AccountRefused as error:
        raise ConfigError(str(error)) from error
    finally:
        state.close()


def _add(accounts: Accounts, args: Any) -> int:
    password = _from_stdin() if args.password_stdin else _typed(args.name)
    accounts.add(args.name, password, time.time_ns() // 1_000_000)
    print(f"{args.name} may log in now")
    return _DONE


def _remove(accounts: Accounts, args: Any) -> int:
    accounts.remove(args.name)
    print(f"{args.name} is removed")
    return _DONE


def _list(accounts: Accounts, args: Any) -> int:
    users = accounts.users()
    if args.json:
        rows = [
            {"name": one.name, "created_ms": one.created_ms, "sessions": one.sessions, "tokens": one.tokens}
            for one in users
        ]
        print(json.dumps({"users": rows}, ensure_ascii=False))
        return _DONE
    if not users:
        print("no account yet: binmon users add NAME")
        return _DONE
    width = max(4, *(len(one.name) for one in users))
    print(f"{'name':<{width}}  {'since':<16}  logins  tokens")
    for one in users:
        since = time.strftime("%Y-%m-%d %H:%M", time.gmtime(one.created_ms / 1000))
        print(f"{one.name:<{width}}  {since}  {one.sessions:>6}  {one.tokens:>6}")
    return _DONE


def _typed(name: str) -> str:
    """A password that was typed twice alike. Raises NotTyped, after the first time for one that would be refused."""
    from binmon.dashboard.passwords import SHORTEST, weakness

    if not sys.stdin.isatty():
        raise NotTyped("there is no terminal to ask for the password: use --password-stdin")
    print(f"At least {SHORTEST} characters, and none of the common passwords.", file=sys.stderr, flush=True)
    try:
        first = getpass.getpass("Password: ")
        problem = weakness(name, first)
        if problem is not None:
            raise NotTyped(f"{problem}; nothing was changed")
        if first != getpass.getpass("Once more: "):
            raise NotTyped("the two are not the same; nothing was changed")
    except EOFError:
        raise NotTyped("no password was typed; nothing was changed") from None
    return first


def _from_stdin() -> str:
    line = sys.stdin.readline(4096)
    password = line.rstrip("\r\n")
    if not password:
        raise NotTyped("expected the password on the first line of standard input, and it is empty")
    return password


_ACTIONS = {"add": _add, "remove": _remove, "list": _list}
