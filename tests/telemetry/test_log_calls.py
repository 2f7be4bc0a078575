"""Every call of a logger in binmon writes a declared event, at a declared level, with its declared fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from binmon.telemetry.events import LOGGERS, VOCABULARY
from tests.telemetry.log_calls import LogCall, modules

MODULES = modules()
CALLS = [call for module in MODULES for call in module.calls()]

# Where the name is made at run time: by the file and the expression.
DYNAMIC = {
    ("binmon/core/supervisor.py", "event"): ("worker.started", "worker.restarted"),
    ("binmon/alerts/dispatcher.py", "f'alert.{effect.kind.value}'"): (
        "alert.raised",
        "alert.reminder",
        "alert.recovered",
        "alert.expired",
    ),
}
# The contract names them; what writes them is not part of this version yet, or not found as a call of a logger.
UNWRITTEN = {"price.crossed", "symbol.listed", "symbol.status", "log.repeated"}


def events_of(call: LogCall) -> tuple[str, ...]:
    return call.events or DYNAMIC.get((call.file, call.dynamic), ())


def wrong_with(call: LogCall) -> list[str]:
    names = events_of(call)
    if not names:
        return [f"{call.place}: which event is {call.dynamic}? (see DYNAMIC)"]
    wrong = [f"{call.place}: the fields of {one} cannot be read" for one in call.unresolved]
    for name in names:
        event = VOCABULARY.get(name)
        if event is None:
            wrong.append(f"{call.place}: {name} is not declared in binmon/telemetry/events.py")
            continue
        levels = set() if len(call.levels) == 5 else call.levels - set(event.levels)
        wrong += [f"{call.place}: {name} is not declared at the level {level}" for level in sorted(levels)]
        undeclared = call.possible - {*event.fields, "exception"}
        wrong += [f"{call.place}: {name} has no field {field}" for field in sorted(undeclared)]
        missing = set(event.fields) - event.optional - call.certain
        if not call.unresolved:
            wrong += [f"{call.place}: {name} lacks its field {field}" for field in sorted(missing)]
    return wrong


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.place} {'|'.join(call.events) or call.dynamic}")
def test_a_call_is_as_declared(call: LogCall) -> None:
    assert not wrong_with(call)


def test_every_declared_event_is_written_somewhere() -> None:
    written = {name for call in CALLS for name in events_of(call)}
    assert sorted(VOCABULARY.keys() - written) == sorted(UNWRITTEN - written)


def test_every_logger_is_declared() -> None:
    assert {name for module in MODULES for name in module.loggers()} == LOGGERS.keys()


SOURCE = """
import structlog
log = structlog.get_logger("binmon.books")
LOST = "latency.lost"

def facts(order):
    return {"venue": 1, "symbol": 2}

def f(self, event, wrong):
    log.info("book.gap", venue=1, symbol=2, expected=3, first_update_id=4)
    (log.error if wrong else log.info)("book.audit", **facts(1), **({"found": 1} if wrong else {}), size=1)
    more = facts(2)
    write = log.info if wrong else log.warning
    write("no.event", **more)
    log.debug(LOST, **self.rest())
    log.warning(event)
"""


def test_the_check_can_fail(tmp_path: Path) -> None:
    (tmp_path / "binmon").mkdir()
    (tmp_path / "binmon" / "made_up.py").write_text(SOURCE)
    (module,) = modules(tmp_path)
    found = [wrong for call in module.calls() for wrong in wrong_with(call)]
    where = "binmon/made_up.py"
    assert sorted(found) == sorted(
        [
            f"{where}:10: book.gap is not declared at the level info",
            f"{where}:10: book.gap lacks its field last_update_id",
            f"{where}:11: book.audit has no field size",
            f"{where}:11: book.audit lacks its field update_id",
            f"{where}:11: book.audit lacks its field levels",
            f"{where}:11: book.audit lacks its field mismatches",
            f"{where}:11: book.audit lacks its field excepted",
            f"{where}:14: no.event is not declared in binmon/telemetry/events.py",
            f"{where}:15: the fields of self.rest() cannot be read",
            f"{where}:15: latency.lost is not declared at the level debug",
            f"{where}:16: which event is event? (see DYNAMIC)",
        ]
    )
    assert list(module.loggers()) == ["binmon.books"]
