"""The page ``docs/sandbox.md``, written from the options and the table of faults."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping

from .app import add_arguments
from .bybit.fault_kinds import KINDS as BYBIT_KINDS
from .fault_kinds import EVENT_ORDER, KINDS, REST_ORDER
from .fault_options import REQUIRED, Kind, Option

_HEAD = """\
# The sandbox

<!-- Written by `python -m binmon.sandbox.reference > docs/sandbox.md`; edit binmon/sandbox. -->

`binmon sandbox` is a local exchange on loopback that speaks Binance's REST, market streams and WebSocket API, and beside
them [Bybit's protocol](#the-bybit-side). It prints one JSON line with its addresses and keys when it is ready:

* `rest`: base URL of REST, without `/api/v3`
* `stream`: base URL of the market streams, without `/ws` or `/stream`
* `ws_api`: URL of the WebSocket API, with its path
* `api_key`, `api_secret`: the HMAC key of the account `main`
* `keys`: all keys, with `account`, `kind` (`HMAC`, `Ed25519`, `RSA`), `api_key`, `can_trade`, and `api_secret` or
  `private_key_file` (PEM, removed at the end)
* `bybit_rest`, `bybit_public_stream`, `bybit_private_stream`, `bybit_trade_stream`: the same of the Bybit side: the base
  URL of its REST, without `/v5`, and the whole URLs of its streams; all are on one port
* `bybit_api_key`, `bybit_api_secret`, `bybit_keys`: keys of its accounts, which are its own (`HMAC` and `RSA`)
* `symbols`, `bybit_symbols`: what each side lists

The account `main` has plenty of every asset; `poor` has nothing. One key of `main` reads only. A replay has no accounts and
no Bybit side.

User data comes over the WebSocket API: `userDataStream.subscribe.signature` with any key, or `session.logon` with the
Ed25519 key and then `userDataStream.subscribe`. The events of an order go out before its answer unless a fault delays
them.

A symbol's book is made when somebody subscribes to one of its streams or asks for it; until then the symbol costs
nothing (`"awake": false` in the state).

## Options

All of them may also stand in the YAML file of `--config`.

| option | meaning |
|---|---|
"""

_DESK = """
## State and faults

| request on the REST port | answer |
|---|---|
| `GET /sandbox/state` | symbols; connections with id, `service` (`stream`, `ws_api`), streams or user data subscriptions, age, events sent, delay; counters; faults that are armed; falsified levels |
| `GET /sandbox/orders` | every order that was ever accepted or refused, with its fills and their fees to the last digit |
| `GET /sandbox/balances` | all money of all accounts to the last digit |
| `GET /sandbox/faults` | this table as JSON, the order of faults, and those armed |
| `POST /sandbox/faults` | arms one: `{"kind": "gap", "symbols": ["BTCUSDT"], "count": 2}`; 400 says what was wrong |

The Bybit port answers the same requests. Each port means its own venue, unless a request says otherwise: `?venue=bybit` in
the query of a GET, `"venue": "bybit"` in the JSON of a fault (or `binance`). What is said here about streams and WebSocket
API holds for the Binance side.

An option in *italics* must be given. Counts of event faults are counted per symbol (per stream where `streams` is given),
once an event: every connection that a fault concerns gets the same wrong event. `connection` takes ids from the state; one
that is not open is refused. Without it, and without `service`, a fault of connections reaches streams and WebSocket API
alike; `symbols` and `streams` choose connections by their market streams, so never one of the WebSocket API.

Events of user data are counted once an event, too, however many connections they go to. Faults of orders hold for REST
and WebSocket API alike: `order_refuse` and `order_lost` come when the request has been checked and would go to the
matching engine, `answer_lost` and `report_before_answer` when it has been carried out; an order that the venue itself
refuses does not use them up. `rest` faults come after these, or instead of them where the venue is not even asked.

"""

_BYBIT = """
## The Bybit side

Bybit v5, `category=spot`, over the same matching engine, with a market, a clock, accounts, limits and faults of its own.

* **One port**: `/v5/...` is REST, `/v5/public/spot`, `/v5/private` and `/v5/trade` are the streams.
* **Prices** stand around those of the Binance side: their distance, the basis (`--bybit-basis-bps`), wanders and changes its
  sign within minutes. Moves are followed, jumps (`set_price`) are not: a distance that somebody sets stays. Ticks and lots are
  the venue's own. By default `MNTUSDT` is listed here only, and `BNBUSDT` and the special symbols on the Binance side only.
* **REST, public**: `market/time`, `instruments-info`, `tickers`, `orderbook`, `kline`, `recent-trade`, `price-limit`,
  `system/status`.
* **REST, signed**: `order/create`, `cancel`, `cancel-all`, `realtime`, `history`, `spot-borrow-check`, `execution/list`,
  `account/wallet-balance`, `fee-rate`, `info`, `instruments-info`, `user/query-api`. Limits a second and account with their
  headers; 600 requests in 5 s from one address shut it out (403) for `--bybit-ban-s`.
* **Order entry**: `order.create` and `order.cancel`.
* **Orders**: Market (by quantity or value, with slippage tolerance) and Limit (GTC, IOC, FOK, PostOnly), self-trade prevention;
  no amendments, batches, triggers or margin. A limit order farther than 1 % beyond the middle of the book is refused, a
  market order trades no farther than 2 %. A client id is never taken twice.
* **Amounts** are exact: nothing is rounded but `avgPrice` and the worth in dollars, so a fee is its rate times what was got.
* **Books**: each depth has its own `u`, `seq` is common; what leaves the window of a topic is deleted. REST shows the state and
  the `u` of depth 1000, which may be 200 ms old while somebody listens to that depth.
* **Private topics**: `order`, `execution`, `execution.fast`, `wallet` and their `.spot` forms. The pushes of an order go out before
  its answer unless a fault delays them. Connections that are idle for `--bybit-idle-s` are cut.

Its faults; the options of those that the Binance side has too mean the same. Where events are chosen, topics stand for
streams; faults of depth events reach depth 50 and more, that of depth 1 by its name only. An order whose answer is lost
(`answer_lost`) is answered by a `retCode` that tells nothing (10016) in the mode `timeout`. A halted symbol is one whose status
is `Closed`.

"""


def reference() -> str:
    """The page as Markdown."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    lines = []
    for action in parser._actions:
        value = f" {action.metavar}" if action.metavar else ""
        lines.append(f"| `{action.option_strings[0]}{value}` | {action.help} |")
    events = " → ".join(f"`{kind}`" for kind in EVENT_ORDER)
    order = (
        "Faults that are armed together are applied in this order, whatever came first; of one kind the oldest first.\n\n"
        f"* Events: {events}, then the delays and cuts of the connection. What an earlier fault has dropped for every "
        "connection a later one concerns does not count for the later one. A malformed event is not fragmented.\n"
        f"* REST: {' → '.join(REST_ORDER)}; one of each at most, the oldest that matches. A fault that answers without "
        "asking the venue leaves the counts of the step before it untouched.\n"
    )
    options = "\n".join(lines)
    return f"{_HEAD}{options}\n{_DESK}{order}\n{_table(KINDS)}{_BYBIT}{_table(BYBIT_KINDS)}"


def _table(kinds: Mapping[str, Kind]) -> str:
    rows = ["| kind | does | options |", "|---|---|---|"]
    for name, kind in kinds.items():
        options = "<br>".join(_option(key, option) for key, option in kind.options.items())
        rows.append(f"| `{name}` | {kind.meaning} | {options} |")
    return "\n".join(rows) + "\n"


def _option(name: str, option: Option) -> str:
    if option.default is REQUIRED:
        return f"*`{name}`*: {option.meaning}"
    default = "" if option.default is None else f" ({json.dumps(option.default)})"
    choices = f"; one of {', '.join(map(str, option.choices))}" if option.choices else ""
    return f"`{name}`{default}: {option.meaning}{choices}"


if __name__ == "__main__":
    sys.stdout.write(reference())
