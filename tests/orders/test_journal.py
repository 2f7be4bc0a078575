"""The journal in the state database: the limit of a day, also over processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

from binmon.errors import OrderForbidden
from binmon.messages import OrderRequest, OrderSide
from binmon.orders.gate import OrderGate, OrderLimits
from binmon.orders.journal import StateJournal
from binmon.state import State

LIMITS = OrderLimits(False, Decimal(100), 25)
NOON_NS = 1_790_000_000 * 10**9

PERMITS = """
import sys
from decimal import Decimal
from pathlib import Path
from tests.orders.test_journal import permits
print(permits(Path(sys.argv[1]), sys.argv[2], 20))
"""


def permits(path: Path, name: str, count: int) -> int:
    """How many of ``count`` orders a process of its own gets through."""
    state = State(path)
    gate = OrderGate(LIMITS, StateJournal(state), lambda: NOON_NS)
    passed = 0
    for number in range(count):
        order = OrderRequest("binance", "BTCUSDT", OrderSide.BUY, f"{name}-{number}", Decimal(10), Decimal("0.1"))
        try:
            gate.permit(order, "sandbox")
            passed += 1
        except OrderForbidden as forbidden:
            assert forbidden.limit == "execution.max_orders_per_day"
    state.close()
    return passed


def test_processes_share_the_limit_of_a_day(tmp_path: Path) -> None:
    path, root = tmp_path / "state.db", Path(__file__).parents[2]
    State(path).close()
    command = [sys.executable, "-c", PERMITS, str(path)]
    running = [
        subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True, cwd=root) for name in ("a", "b", "c")
    ]
    passed = [int(process.communicate(timeout=90)[0]) for process in running]
    assert sum(passed) == 25


def test_connections_of_one_process_share_it_too(tmp_path: Path) -> None:
    path, passed = tmp_path / "state.db", []
    State(path).close()
    threads = [
        threading.Thread(target=lambda name=name: passed.append(permits(path, name, 20))) for name in ("a", "b", "c")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert sum(passed) == 25


def test_looking_first_is_not_enough(tmp_path: Path) -> None:
    """Between the look and the note another process was quicker."""
    state = State(tmp_path / "state.db")
    journal = StateJournal(state)

    class Stale(StateJournal):
        def permitted(self, day: str) -> int:
            return 0

    gate = OrderGate(OrderLimits(False, Decimal(100), 1), Stale(state), lambda: NOON_NS)
    order = OrderRequest("binance", "BTCUSDT", OrderSide.BUY, "one", Decimal(10), Decimal("0.1"))
    gate.permit(order, "sandbox")
    try:
        gate.permit(order, "sandbox")
    except OrderForbidden as forbidden:
        assert forbidden.limit == "execution.max_orders_per_day"
    else:
        raise AssertionError("permitted")
    assert journal.permitted("2026-09-21") == 1 and gate.permitted == 1 and gate.forbidden == 1
    state.close()
