"""The probe ledger."""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from binmon.errors import ConfigError
from binmon.latency import ledger as module
from binmon.latency.ledger import LedgerReader, LedgerRefused, ProbeLedger, current_boot_id
from binmon.latency.measurement import Measurement, OrderClass
from binmon.state import State
from tests.latency.messages import MS, WALL, S, measurement, request
from tests.users import open_to_all, somebody_else

ROOT = Path(__file__).parents[2]
ALWAYS = (0, 2**63 - 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "state.db"


@pytest.fixture
def state(path: Path) -> Iterator[State]:
    state = State(path)
    yield state
    state.close()


def full() -> Measurement:
    """Every field has a value of its own."""
    values: dict[str, object] = {}
    for number, field in enumerate(dataclasses.fields(Measurement)):
        values[field.name] = 1000 + number + 0.123456789
    return measurement(
        0, OrderClass.LATE, **{name: value for name, value in values.items() if name.endswith("_ms")},
        quantity=Decimal("0.00010000"), detail="a 'detail'; -- ☃",
    )  # fmt: skip


def test_every_figure_is_a_column() -> None:
    names = {field.name for field in dataclasses.fields(Measurement) if field.name.endswith("_ms")}
    assert names == set(module._FIGURES)


def test_an_order_from_note_to_class(state: State, path: Path) -> None:
    ledger = ProbeLedger(state)
    ledger.note(request("o0"), WALL, 5 * S)
    assert ledger.between(*ALWAYS) == []
    (open_order,) = ledger.open_orders(WALL + S, 6 * S)
    assert (open_order.order, open_order.sent_ns, open_order.sent_mono_ns) == (request("o0"), WALL, 5 * S)
    assert open_order.order_id is None
    ledger.accepted("o0", 77)
    assert ledger.open_orders(WALL + S, 6 * S)[0].order_id == 77
    ledger.settle(full())
    ledger.settle(measurement(0, OrderClass.LOST))  # it keeps its first class
    assert ledger.between(*ALWAYS) == [full()]
    assert format(ledger.between(*ALWAYS)[0].quantity or 0, "f") == "0.00010000"
    assert ledger.open_orders(WALL, 0) == []
    reader = LedgerReader(path)
    assert reader.between(*ALWAYS) == [full()]
    reader.close()


def test_an_amount_of_quote_currency(state: State) -> None:
    ledger = ProbeLedger(state)
    ledger.note(request("o0", None), WALL, 0)
    assert ledger.open_orders(WALL, 0)[0].order == request("o0", None)


def test_orders_of_a_time(state: State, path: Path) -> None:
    ledger = ProbeLedger(state)
    for number in (2, 0, 1, 3):
        ledger.note(request(f"o{number}"), WALL + number * S, 0)
        if number != 3:
            ledger.settle(measurement(number))
    reader = LedgerReader(path)
    for one in (ledger, reader):
        assert [found.client_order_id for found in one.between(WALL, WALL + 2 * S)] == ["o0", "o1"]
        assert [found.client_order_id for found in one.between(WALL + 1, WALL + 9 * S)] == ["o1", "o2"]
    assert reader.open_between(WALL, WALL + 9 * S) == 1 and reader.open_between(WALL, WALL + 3 * S) == 0
    reader.close()


def test_an_order_of_another_boot_is_aged_by_the_wall_clock(path: Path, state: State) -> None:
    ProbeLedger(state, boot_id="then").note(request("o0"), WALL, 900 * S)
    assert ProbeLedger(state, boot_id="then").open_orders(WALL + 60 * S, 960 * S)[0].sent_mono_ns == 900 * S
    assert ProbeLedger(state, boot_id="now").open_orders(WALL + 60 * S, 50 * S)[0].sent_mono_ns == -10 * S
    # a wall clock that was set back: never younger than now
    assert ProbeLedger(state, boot_id="now").open_orders(WALL - S, 50 * S)[0].sent_mono_ns == 50 * S
    assert len(current_boot_id()) == 36


def test_what_cannot_be_noted_must_not_be_sent(state: State) -> None:
    ledger = ProbeLedger(state)
    ledger.note(request("o0"), WALL, 0)
    with pytest.raises(LedgerRefused, match=r"order o0 is not sent.*UNIQUE"):
        ledger.note(request("o0"), WALL, 0)
    state.execute(f"PRAGMA max_page_count = {state.execute('PRAGMA page_count')[0][0]}")
    with pytest.raises(LedgerRefused, match=r"order o\d+ is not sent, as it cannot be noted down: .*state\.db: .*full"):
        for number in range(1, 10_000):
            ledger.note(request(f"o{number}"), WALL, 0)


def test_kill_9_loses_nothing_that_was_noted(path: Path) -> None:
    command = [sys.executable, str(ROOT / "tests/latency/crash_ledger.py"), str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(100)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read().splitlines()
    words = [tuple(line.split()) for line in said if len(line.split()) == 2]
    state = State(path)
    ledger = ProbeLedger(state)
    settled = {found.client_order_id for found in ledger.between(*ALWAYS)}
    open_orders = {order.order.client_order_id: order for order in ledger.open_orders(WALL, 0)}
    assert len(open_orders) <= 1 and not settled & open_orders.keys()
    for word, name in words:
        assert name in settled or word != "settled"
        assert name in settled or name in open_orders
        if word == "accepted" and name in open_orders:
            assert open_orders[name].order_id == int(name[1:])
    assert len(words) >= 100
    state.close()


def test_reading_while_the_daemon_writes(state: State, path: Path) -> None:
    ledger = ProbeLedger(state)
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            reader = LedgerReader(path)
            found = reader.between(*ALWAYS)
            assert [one.client_order_id for one in found] == [f"o{number}" for number in range(len(found))]
            seen.append(len(found))
            reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    number = 0
    try:
        while len(set(seen)) < 5 and number < 20_000:
            ledger.note(request(f"o{number}"), WALL + number * S, number * MS)
            ledger.settle(measurement(number))
            number += 1
    finally:
        done.set()
        thread.join()
    assert seen == sorted(seen) and len(set(seen)) >= 5


def test_a_reader_changes_nothing(state: State, path: Path) -> None:
    ProbeLedger(state).note(request("o0"), WALL, 0)
    reader = LedgerReader(path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("DELETE FROM latency_orders")
    reader.close()


def test_a_directory_that_may_not_be_written() -> None:
    with open_to_all() as place:
        path = place / "state.db"
        state = State(path)
        ledger = ProbeLedger(state)
        ledger.note(request("o0"), WALL, 0)
        ledger.settle(measurement(0))
        state.close()
        place.chmod(0o555)
        with somebody_else():
            with pytest.raises(PermissionError):
                (place / "another").touch()
            reader = LedgerReader(path)
            assert len(reader.between(*ALWAYS)) == 1
            reader.close()
        place.chmod(0o755)


def test_no_ledger(tmp_path: Path, state: State, path: Path) -> None:
    with pytest.raises(ConfigError, match=r"state\.path: expected the state database.*there is no file"):
        LedgerReader(tmp_path / "nothing.db")
    reader = LedgerReader(path)  # a daemon that never probed
    assert reader.between(*ALWAYS) == [] and reader.open_between(*ALWAYS) == 0
    reader.close()
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is no database, and it is long enough to be looked at" * 50)
    with pytest.raises(ConfigError, match="not a database"):
        LedgerReader(broken)
