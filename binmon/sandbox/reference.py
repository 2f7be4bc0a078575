"""The page ``docs/sandbox.md``, written from the options and the table of faults."""

from __future__ import annotations

import argparse
import json
import sys

from .app import add_arguments
from .fault_kinds import EVENT_ORDER, KINDS, REQUIRED, REST_ORDER, Option

_HEAD = """\
# The sandbox

<!-- Written by `python -m binmon.sandbox.reference > docs/sandbox.md`; edit binmon/sandbox. -->

`binmon sandbox` is a local exchange on loopback that speaks Binance's REST and market streams. It prints one JSON line
with its addresses when it is ready. There is no WebSocket API yet.

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
| `GET /sandbox/state` | symbols; connections with id, streams, age, events sent, delay; counters; faults that are armed; falsified levels |
| `GET /sandbox/faults` | this table as JSON, the order of faults, and those armed |
| `POST /sandbox/faults` | arms one: `{"kind": "gap", "symbols": ["BTCUSDT"], "count": 2}`; 400 says what was wrong |

An option in *italics* must be given. Counts of event faults are counted per symbol (per stream where `streams` is given),
once an event: every connection that a fault concerns gets the same wrong event. `connection` takes ids from the state; one
that is not open is refused.

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
