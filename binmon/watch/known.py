"""The symbols that are known, in the state database: since when, by which signal, and what each user has seen of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from binmon.messages import FirstSeenBy
from binmon.state import State

_MODULE = "watch"
_STEPS = (
    # baseline symbols were there when the venue was first looked at, so they are news to nobody
    """
    CREATE TABLE watch_symbols (
        venue TEXT NOT NULL, symbol TEXT NOT NULL, base TEXT NOT NULL, quote TEXT NOT NULL, status TEXT NOT NULL,
        first_seen_ms INTEGER NOT NULL, first_seen_by TEXT NOT NULL, lead_ms REAL, changed_ms INTEGER NOT NULL,
        PRIMARY KEY (venue, symbol)
    ) STRICT;
    CREATE INDEX watch_symbols_by_time ON watch_symbols (first_seen_ms);
    CREATE TABLE watch_looked (user TEXT PRIMARY KEY, looked_ms INTEGER NOT NULL) STRICT
    """,
)
_COLUMNS = "venue, symbol, base, quote, status, first_seen_ms, first_seen_by, lead_ms, changed_ms"


@dataclass(frozen=True, slots=True)
class KnownSymbol:
    """A symbol that was seen. ``status`` is the venue's word or one of `watch.listings`; ``lead_ms`` is by how much
    ``first_seen_by`` was ahead of the other signal, None when that is not known."""

    venue: str
    symbol: str
    base: str
    quote: str
    status: str
    first_seen_ms: int
    first_seen_by: FirstSeenBy
    lead_ms: float | None
    changed_ms: int


class KnownSymbols:
    """The tables. Any thread, and any process beside the daemon, may use them. Methods raise StateFailed."""

    def __init__(self, state: State) -> None:
        """Raises ConfigError when a newer binmon has written the database."""
        self._state = state
        state.upgrade(_MODULE, _STEPS)

    def of_venue(self, venue: str) -> dict[str, KnownSymbol]:
        """All that is known of a venue, by symbol."""
        rows = self._state.execute(f"SELECT {_COLUMNS} FROM watch_symbols WHERE venue = ?", (venue,))
        return {one.symbol: one for one in map(_known, rows)}

    def keep(self, symbols: Iterable[KnownSymbol]) -> None:
        """Keep these, in the place of what was known of them; all or none, on disk on return."""
        rows = [msgspec.structs.astuple(_Row.of(one)) for one in symbols]
        if rows:
            # one statement, so one write to the disk for a whole market
            values = ", ".join(f"value ->> {number}" for number in range(_COLUMNS.count(",") + 1))
            self._state.execute(
                f"INSERT OR REPLACE INTO watch_symbols ({_COLUMNS}) SELECT {values} FROM json_each(?)",
                (msgspec.json.encode(rows).decode(),),
            )

    def replace(self, venue: str, symbols: Mapping[str, KnownSymbol]) -> None:
        """Exactly these are known of a venue from now on: it was reset."""
        self.keep(symbols.values())
        names = msgspec.json.encode(list(symbols)).decode()
        self._state.execute(
            "DELETE FROM watch_symbols WHERE venue = ? AND symbol NOT IN (SELECT value FROM json_each(?))",
            (venue, names),
        )

    def new_for(self, user: str) -> list[KnownSymbol]:
        """What was listed since this user looked, newest first; all that ever was for one who never did."""
        rows = self._state.execute(
            f"SELECT {_COLUMNS} FROM watch_symbols WHERE first_seen_by != ? AND first_seen_ms >"
            " coalesce((SELECT looked_ms FROM watch_looked WHERE user = ?), -1) ORDER BY first_seen_ms DESC, symbol",
            (FirstSeenBy.BASELINE.value, user),
        )
        return [_known(row) for row in rows]

    def looked(self, user: str, at_ms: int) -> None:
        """The user has seen all that was listed up to ``at_ms`` (UTC); an earlier time than before changes nothing."""
        self._state.execute(
            "INSERT INTO watch_looked VALUES (?, ?) ON CONFLICT (user) DO UPDATE SET looked_ms ="
            " max(looked_ms, excluded.looked_ms)",
            (user, at_ms),
        )

    def looked_ms(self, user: str) -> int | None:
        """When the user looked last; None for never."""
        rows = self._state.execute("SELECT looked_ms FROM watch_looked WHERE user = ?", (user,))
        return int(rows[0][0]) if rows else None


class _Row(msgspec.Struct):
    venue: str
    symbol: str
    base: str
    quote: str
    status: str
    first_seen_ms: int
    first_seen_by: str
    lead_ms: float | None
    changed_ms: int

    @classmethod
    def of(cls, one: KnownSymbol) -> _Row:
        return cls(
            one.venue,
            one.symbol,
            one.base,
            one.quote,
            one.status,
            one.first_seen_ms,
            one.first_seen_by.value,
            None if one.lead_ms is None else float(one.lead_ms),
            one.changed_ms,
        )


def _known(row: tuple[object, ...]) -> KnownSymbol:
    one = msgspec.convert(row, tuple[str, str, str, str, str, int, FirstSeenBy, float | None, int])
    return KnownSymbol(*one)
