"""What was decided and what became of it, in the state database: comparisons, and every order that was sent for one.

An order is noted before it leaves. One that is noted and has no end was under way when the process ended, or nobody could
say what became of it; it can be asked for by its id (`binmon order look`), and its id is never used again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from binmon.messages import OrderRequest, OrderSide
from binmon.state import State

_STEPS = (
    # quantity, quote_amount and notional are decimals in plain text; end is empty until there is one
    """
    CREATE TABLE execution_decisions (
        id INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL, chosen TEXT NOT NULL,
        reason TEXT NOT NULL, document TEXT NOT NULL
    ) STRICT;
    CREATE INDEX execution_decisions_by_time ON execution_decisions (at_ns);
    CREATE TABLE execution_orders (
        client_order_id TEXT PRIMARY KEY, decision INTEGER, at_ns INTEGER NOT NULL, venue TEXT NOT NULL,
        environment TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL, quantity TEXT, quote_amount TEXT,
        notional TEXT NOT NULL, end TEXT NOT NULL, document TEXT NOT NULL
    ) STRICT;
    CREATE INDEX execution_orders_by_time ON execution_orders (at_ns)
    """,
)
_COLUMNS = "client_order_id, at_ns, venue, environment, symbol, side, quantity, quote_amount, notional, end, document"


@dataclass(frozen=True, slots=True)
class NotedOrder:
    """One order of the history. ``end`` is the word of `outcomes.End`, empty while nobody knows; ``document`` says more."""

    order: OrderRequest
    environment: str
    at_ns: int
    end: str
    document: Mapping[str, Any]


class ExecutionHistory:
    """The tables. Any thread may call it; all raises StateFailed."""

    def __init__(self, state: State) -> None:
        """Raises ConfigError when a newer binmon has written the database."""
        self._state = state
        state.upgrade("execution", _STEPS)

    def decided(self, at_ns: int, symbol: str, side: OrderSide, chosen: str, reason: str, document: Any) -> int:
        """Keep a decision; gives its number. ``chosen`` is empty when nobody was."""
        text = json.dumps(document, ensure_ascii=False)
        rows = self._state.execute(
            "INSERT INTO execution_decisions (at_ns, symbol, side, chosen, reason, document) VALUES (?, ?, ?, ?, ?, ?)"
            " RETURNING id",
            (at_ns, symbol, side.value, chosen, reason, text),
        )
        return int(rows[0][0])

    def note(self, order: OrderRequest, environment: str, decision: int | None, at_ns: int) -> bool:
        """Note an order that is about to leave; it is on disk on return. False: its id was used before, do not send it."""
        rows = self._state.execute(
            "INSERT INTO execution_orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', '{}') ON CONFLICT DO NOTHING"
            " RETURNING 1",
            (
                order.client_order_id,
                decision,
                at_ns,
                order.venue,
                environment,
                order.symbol,
                order.side.value,
                _text(order.quantity),
                _text(order.quote_amount),
                _text(order.notional),
            ),
        )
        return bool(rows)

    def ended(self, client_order_id: str, end: str, document: Any) -> None:
        """Keep what became of an order; ``end`` stays empty while nobody knows."""
        self._state.execute(
            "UPDATE execution_orders SET end = ?, document = ? WHERE client_order_id = ?",
            (end, json.dumps(document, ensure_ascii=False), client_order_id),
        )

    def order(self, client_order_id: str) -> NotedOrder | None:
        """One order by our id."""
        rows = self._state.execute(
            f"SELECT {_COLUMNS} FROM execution_orders WHERE client_order_id = ?", (client_order_id,)
        )
        return _noted(rows[0]) if rows else None

    def newest(self, count: int) -> list[NotedOrder]:
        """The newest orders, newest first."""
        rows = self._state.execute(
            f"SELECT {_COLUMNS} FROM execution_orders ORDER BY at_ns DESC, client_order_id LIMIT ?", (count,)
        )
        return [_noted(row) for row in rows]

    def decisions(self, count: int) -> list[dict[str, Any]]:
        """The newest decisions, newest first, as they were logged."""
        rows = self._state.execute("SELECT document FROM execution_decisions ORDER BY id DESC LIMIT ?", (count,))
        return [json.loads(row[0]) for row in rows]


def _noted(row: tuple[Any, ...]) -> NotedOrder:
    client_order_id, at_ns, venue, environment, symbol, side, quantity, quote_amount, notional, end, document = row
    order = OrderRequest(
        venue,
        symbol,
        OrderSide(side),
        client_order_id,
        Decimal(notional),
        None if quantity is None else Decimal(quantity),
        None if quote_amount is None else Decimal(quote_amount),
    )
    return NotedOrder(order, environment, at_ns, end, json.loads(document))


def _text(number: Decimal | None) -> str | None:
    return None if number is None else f"{number:f}"
