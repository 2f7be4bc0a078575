"""Run by test_ledger as a process of its own: notes orders down until it is killed, and says what is on disk."""

import sys
import time
from pathlib import Path

from binmon.latency.ledger import ProbeLedger
from binmon.state import State
from tests.latency.messages import measurement, request

ledger = ProbeLedger(State(Path(sys.argv[1])))
number = 0
while True:
    name = f"o{number}"
    ledger.note(request(name), time.time_ns(), time.monotonic_ns())
    print("noted", name, flush=True)
    ledger.accepted(name, number)
    print("accepted", name, flush=True)
    ledger.settle(measurement(number))
    print("settled", name, flush=True)
    number += 1
