"""The page ``docs/sandbox.md``, written from the options and the table of faults."""

from __future__ import annotations

import argparse
import json
import sys

from .app import add_arguments
from .fault_kinds import EVENT_ORDER, KINDS, REST_ORDER
from .fault_options import REQUIRED, Option

_HEAD = """\
# The sandbox

<!-- Written by `python -m binmon.sandbox.reference > docs/sandbox.md`; edit binmon/sandbox. -->

`binmon sandbox` is a local exchange on loopback that speaks Binance's REST, market streams and WebSocket API. It prints
one JSON line with its addresses and keys when it is ready:

* `rest`: base URL of REST, without `/api/v3`
* `stream`: base URL of the market streams, without `/ws` or `/stream`
* `ws_api`: URL of the WebSocket API, with its path
* `api_key`, `api_secret`: the HMAC key of the account `main`
* `keys`: all keys, with `account`, `kind` (`HMAC`, `Ed25519`, `RSA`), `api_key`, `can_trade`, and `api_secret` or
  `private_key_file` (PEM, removed at the end)

The account `main` has plenty of every asset; `poor` has nothing. One key of `main` reads only. A replay has no accounts.

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
| `GET /sandbox/orders` | every order that was ever accepted or refused |
| `GET /sandbox/faults` | this table as JSON, the order of faults, and those armed |
| `POST /sandbox/faults` | arms one: `{"kind": "gap", "symbols": ["BTCUSDT"], "count": 2}`; 400 says what was wrong |

An option in *italics* must be given. Counts of event faults are counted per symbol (per stream where `streams` is given),
once an event: every connection that a fault concerns gets the same wrong event. `connection` takes ids from the state; one
that is not open is refused. Without it, and without `service`, a fault of connections reaches streams and WebSocket API
alike; `symbols` and `streams` choose connections by their market streams, so never one of the WebSocket API.

Events of user data are counted once an event, too, however many connections they go to. Faults of orders hold for REST
and WebSocket API alike: `order_refuse` and `order_lost` come when the request has been checked and would go to the
matching engine, `answer_lost` and `report_before_answer` when it has been carried out; an order that the venue itself
refuses does not use them up. `rest` faults come after these, or instead of them where the venue is not even asked.

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
    faults = ["| kind | does | options |", "|---|---|---|"]
    for name, kind in KINDS.items():
        options = "<br>".join(_option(key, option) for key, option in kind.options.items())
        faults.append(f"| `{name}` | {kind.meaning} | {options} |")
    return _HEAD + "\n".join(lines) + "\n" + _DESK + order + "\n" + "\n".join(faults) + "\n"


def _option(name: str, option: Option) -> str:
    if option.default is REQUIRED:
        return f"*`{name}`*: {option.meaning}"
    default = "" if option.default is None else f" ({json.dumps(option.default)})"
    choices = f"; one of {', '.join(map(str, option.choices))}" if option.choices else ""
    return f"`{name}`{default}: {option.meaning}{choices}"


if __name__ == "__main__":
    sys.stdout.write(reference())
