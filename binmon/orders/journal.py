"""The journal of permitted orders in the state database: what the daily limit counts, over restarts."""

from __future__ import annotations

from binmon.messages import OrderRequest
from binmon.state import State

_STEPS = (
    """
    CREATE TABLE order_journal (
        at_ns INTEGER NOT NULL, day TEXT NOT NULL, venue TEXT NOT NULL, environment TEXT NOT NULL,
        symbol TEXT NOT NULL, side TEXT NOT NULL, client_order_id TEXT NOT NULL, notional TEXT NOT NULL
    ) STRICT;
    CREATE INDEX order_journal_by_day ON order_journal (day)
    """,
)


class StateJournal:
    """An `OrderJournal` in the state database. Any thread may call it; all raises StateFailed."""

    def __init__(self, state: State) -> None:
        """Raises ConfigError when a newer binmon has written the database."""
        self._state = state
        state.upgrade("orders", _STEPS)

    def permitted(self, day: str) -> int:
        """Orders permitted on a UTC day (``YYYY-MM-DD``), for all venues together."""
        return int(self._state.execute("SELECT count(*) FROM order_journal WHERE day = ?", (day,))[0][0])

    def note(self, day: str, order: OrderRequest, environment: str, at_ns: int, most: int) -> bool:
        """Note an order before it leaves, unless ``most`` are noted for that day already; it is on disk on return.

        One statement is one transaction, so that a daemon and a command beside it never permit more than ``most``.
        """
        rows = self._state.execute(
            "INSERT INTO order_journal SELECT ?, ?, ?, ?, ?, ?, ?, ?"
            " WHERE (SELECT count(*) FROM order_journal WHERE day = ?) < ? RETURNING 1",
            (
                at_ns,
                day,
                order.venue,
                environment,
                order.symbol,
                order.side.value,
                order.client_order_id,
                f"{order.notional:f}",
                day,
                most,
            ),
        )
        return bool(rows)
