"""The probe ledger: every order of ours, noted down before it is sent, with its class and figures once it has them.

An order that is noted but has no class was open when the daemon ended. It is asked for at the next start and settled
then; it is never sent again, as its client order id stands here.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

from binmon.config.places import is_there
from binmon.errors import BinmonError, ConfigError
from binmon.latency.effects import OpenOrder
from binmon.latency.measurement import Measurement, OrderClass
from binmon.messages import OrderRequest, OrderSide
from binmon.state import Row, State, StateFailed, Value

# figures of a measurement that are plain numbers; a new one is a new step of the schema
_FIGURES = (
    "waited_ms", "threshold_ms", "sent_to_answer_ms", "sent_to_report_ms", "first_report_ms", "first_fill_ms", "last_fill_ms",
    "sent_to_event_ms", "sent_to_transaction_ms", "transaction_to_event_ms", "event_to_receive_ms", "uncertainty_ms",
    "clock_offset_ms", "over_ms",
)  # fmt: skip
_MODULE = "latency"
_STEPS = (
    # quantity, quote_amount and notional are decimals in plain text; sent_mono_ns is of the boot with this id
    f"""
    CREATE TABLE latency_orders (
        client_order_id TEXT PRIMARY KEY, venue TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL,
        quantity TEXT, quote_amount TEXT, notional TEXT NOT NULL,
        sent_ns INTEGER NOT NULL, boot_id TEXT NOT NULL, sent_mono_ns INTEGER NOT NULL,
        order_id INTEGER, class TEXT, order_status TEXT, detail TEXT,
        {", ".join(f"{name} REAL" for name in _FIGURES)}
    ) STRICT;
    CREATE INDEX latency_orders_by_time ON latency_orders (sent_ns);
    CREATE INDEX latency_orders_open ON latency_orders (sent_ns) WHERE class IS NULL
    """,
)
_COLUMNS = ("venue", "symbol", "client_order_id", "side", "quantity", "sent_ns", "class", "order_status", "detail")
_SELECT = f"SELECT {', '.join((*_COLUMNS, *_FIGURES))} FROM latency_orders"
_LATEST_NS = 2**63 - 1  # the largest integer of SQLite, in the year 2262
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class LedgerRefused(BinmonError):
    """An order must not be sent, as it could not be noted down (client id, reason)."""

    def __init__(self, client_order_id: str, reason: str) -> None:
        self.client_order_id, self.reason = client_order_id, reason
        super().__init__(client_order_id, reason)

    def __str__(self) -> str:
        return f"order {self.client_order_id} is not sent, as it cannot be noted down: {self.reason}"


class ProbeLedger:
    """The ledger in the state database. Any thread may call it. All but ``note`` raise StateFailed."""

    def __init__(self, state: State, boot_id: str | None = None) -> None:
        """``boot_id`` tells one start of this machine from another (None: ask the system). Raises ConfigError."""
        self._state = state
        self._boot_id = current_boot_id() if boot_id is None else boot_id
        state.upgrade(_MODULE, _STEPS)

    def note(self, order: OrderRequest, sent_ns: int, sent_mono_ns: int) -> None:
        """Note an order that is about to be sent; it is on disk on return.

        Raises LedgerRefused: the order must not be sent, because the disk refuses or because its id was used before.
        """
        values: tuple[Value, ...] = (
            order.client_order_id, order.venue, order.symbol, order.side.value, _text(order.quantity),
            _text(order.quote_amount), _text(order.notional), sent_ns, self._boot_id, sent_mono_ns,
        )  # fmt: skip
        try:
            self._state.execute(
                "INSERT INTO latency_orders (client_order_id, venue, symbol, side, quantity, quote_amount, notional,"
                " sent_ns, boot_id, sent_mono_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
        except StateFailed as error:
            raise LedgerRefused(order.client_order_id, str(error)) from error

    def accepted(self, client_order_id: str, order_id: int) -> None:
        """The venue has the order: if it does not know it after a restart, the venue was reset."""
        self._state.execute(
            "UPDATE latency_orders SET order_id = ? WHERE client_order_id = ?", (order_id, client_order_id)
        )

    def settle(self, measurement: Measurement) -> None:
        """Keep class and figures of an order. An order keeps its first class."""
        names = ("class", "order_status", "detail", "sent_ns", "quantity", *_FIGURES)
        values: list[Value] = [
            measurement.order_class.value,
            measurement.order_status,
            measurement.detail,
            measurement.sent_ns,
            _text(measurement.quantity),
        ]
        values += [getattr(measurement, name) for name in _FIGURES]
        assignments = ", ".join(f"{name} = ?" for name in names)
        self._state.execute(
            f"UPDATE latency_orders SET {assignments} WHERE client_order_id = ? AND class IS NULL",
            (*values, measurement.client_order_id),
        )

    def open_orders(self, now_ns: int, now_mono_ns: int) -> list[OpenOrder]:
        """Orders without a class, oldest first: what a crash left, when asked at the start.

        ``now_ns`` is the wall clock: the age of an order from before the machine's last start goes by it.
        """
        rows = self._state.execute(
            "SELECT venue, symbol, side, client_order_id, notional, quantity, quote_amount, sent_ns, boot_id, sent_mono_ns,"
            " order_id FROM latency_orders WHERE class IS NULL ORDER BY sent_ns"
        )
        return [self._open_order(row, now_ns, now_mono_ns) for row in rows]

    def between(self, start_ns: int, end_ns: int) -> list[Measurement]:
        """Settled orders that were sent from ``start_ns`` on and before ``end_ns`` (UTC), oldest first."""
        return [_measurement(row) for row in self._state.execute(*_settled(start_ns, end_ns))]

    def _open_order(self, row: Row, now_ns: int, now_mono_ns: int) -> OpenOrder:
        venue, symbol, side, client_order_id, notional, quantity, quote_amount, sent_ns, boot_id, mono_ns, order_id = (
            row
        )
        order = OrderRequest(
            venue,
            symbol,
            OrderSide(side),
            client_order_id,
            Decimal(notional),
            _decimal(quantity),
            _decimal(quote_amount),
        )
        if boot_id != self._boot_id or not self._boot_id:
            mono_ns = now_mono_ns - max(0, now_ns - sent_ns)
        return OpenOrder(order, sent_ns, mono_ns, order_id)


class LedgerReader:
    """Reads the ledger of a daemon that may be running, without disturbing it. Close it."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError when there is no ledger at ``path``."""
        self._path = path
        if not is_there(path):
            raise ConfigError(f"expected the state database of a daemon, and there is no file {path}", key="state.path")
        self._connection = self._open("mode=ro")
        try:
            self._has_orders = self._tables()
        except sqlite3.OperationalError as error:
            self._connection.close()
            # Beside a database that nobody has open, SQLite wants to make files, which it may not be allowed to. What
            # nobody writes may be read without them; where there is a journal, somebody does.
            if is_there(path.with_name(f"{path.name}-wal")):
                raise self._wrong(error) from None
            self._connection = self._open("mode=ro&immutable=1")
            with self._or_say():
                self._has_orders = self._tables()
        except sqlite3.Error as error:
            self._connection.close()
            raise self._wrong(error) from None

    def between(self, start_ns: int, end_ns: int) -> list[Measurement]:
        """Settled orders that were sent from ``start_ns`` on and before ``end_ns`` (UTC), oldest first."""
        if not self._has_orders:
            return []
        with self._or_say():
            return [_measurement(row) for row in self._connection.execute(*_settled(start_ns, end_ns))]

    def open_between(self, start_ns: int, end_ns: int) -> int:
        """How many orders of that time have no class yet."""
        if not self._has_orders:
            return 0
        with self._or_say():
            found = self._connection.execute(
                "SELECT count(*) FROM latency_orders WHERE class IS NULL AND sent_ns >= ? AND sent_ns < ?",
                _span(start_ns, end_ns),
            ).fetchone()
        return int(found[0])

    def close(self) -> None:
        """Nothing may be asked afterwards."""
        self._connection.close()

    def _open(self, options: str) -> sqlite3.Connection:
        with self._or_say():
            return sqlite3.connect(f"file:{quote(str(self._path.resolve()))}?{options}", uri=True)

    def _tables(self) -> bool:
        statement = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'latency_orders'"
        return bool(self._connection.execute(statement).fetchone()[0])

    def _wrong(self, error: Exception) -> ConfigError:
        return ConfigError(f"{self._path}: expected the state database of a daemon: {error}", key="state.path")

    @contextlib.contextmanager
    def _or_say(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._wrong(error) from None


def current_boot_id() -> str:
    """What tells this start of the machine from others; empty where the system has no such thing."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _settled(start_ns: int, end_ns: int) -> tuple[str, tuple[int, int]]:
    statement = f"{_SELECT} WHERE class IS NOT NULL AND sent_ns >= ? AND sent_ns < ? ORDER BY sent_ns"
    return statement, _span(start_ns, end_ns)


def _span(start_ns: int, end_ns: int) -> tuple[int, int]:
    return min(start_ns, _LATEST_NS), min(end_ns, _LATEST_NS)


def _measurement(row: Row) -> Measurement:
    venue, symbol, client_order_id, side, quantity, sent_ns, order_class, order_status, detail = row[: len(_COLUMNS)]
    figures = dict(zip(_FIGURES, row[len(_COLUMNS) :], strict=True))
    return Measurement(
        venue=venue,
        symbol=symbol,
        client_order_id=client_order_id,
        side=OrderSide(side),
        quantity=_decimal(quantity),
        sent_ns=sent_ns,
        order_class=OrderClass(order_class),
        order_status=order_status,
        detail=detail,
        **figures,
    )


def _text(number: Decimal | None) -> str | None:
    return None if number is None else format(number, "f")


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
