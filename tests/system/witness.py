"""What system tests know of the venue by themselves: the venue as a process, and a second client that keeps the truth.

The witness has the plainest book there is and shares no code with the daemon. Faults are aimed past it.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import requests
import websocket

import binmon
from tests.system.conftest import PATIENCE_S

_LIMIT = 5000
_BADGE = "witness@trade"  # a stream of no symbol, by which the venue's list of connections shows the witness


class Addresses(Protocol):
    """Where a sandbox listens, whether it lives in this process or in its own."""

    @property
    def rest_url(self) -> str: ...
    @property
    def stream_url(self) -> str: ...


class VenueProcess:
    """The sandbox as a process of its own, so that it and the witness do not share one interpreter under load."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "binmon.sandbox", "--until-stdin-closes", *options],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.rest_url, self.stream_url = str(ready["rest"]), str(ready["stream"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()


def inject(venue: Addresses, kind: str, **options: Any) -> dict[str, Any]:
    """Arm a fault; fails the test when the sandbox does not understand it."""
    answer = requests.post(f"{venue.rest_url}/sandbox/faults", json={"kind": kind, **options}, timeout=PATIENCE_S)
    done: dict[str, Any] = answer.json()
    assert done.get("ok"), done
    return done


def state(venue: Addresses) -> dict[str, Any]:
    """What the sandbox says of itself."""
    answer: dict[str, Any] = requests.get(f"{venue.rest_url}/sandbox/state", timeout=PATIENCE_S).json()
    return answer


def depth(venue: Addresses, symbol: str, limit: int = _LIMIT) -> dict[str, Any]:
    """The venue's book now, by REST."""
    parameters: dict[str, Any] = {"symbol": symbol, "limit": limit}
    answer = requests.get(f"{venue.rest_url}/api/v3/depth", params=parameters, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    book: dict[str, Any] = answer.json()
    return book


class Witness:
    """A second client of the venue. It remembers every event of its streams, and so knows the truth at each update id.

    What it knows may be asked at any time; more may follow until ``finish``.
    """

    def __init__(self, venue: Addresses, symbols: Sequence[str]) -> None:
        streams = [f"{symbol.lower()}@depth@100ms" for symbol in symbols]
        self._venue = venue
        streams.append(_BADGE)
        self.socket = websocket.create_connection(
            f"{venue.stream_url}/stream?streams={'/'.join(streams)}", timeout=PATIENCE_S
        )
        self.events: dict[str, list[dict[str, Any]]] = {symbol: [] for symbol in symbols}
        self.snapshots: dict[str, dict[str, Any]] = {}
        while not all(self.events.values()):
            self._take()
        self._since_s = time.monotonic()
        self.heard_s = 0.0  # how long it listened, known once it has finished
        self.cut_off = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)
        self._thread.start()
        for symbol in symbols:
            self.snapshots[symbol] = depth(venue, symbol)

    def _take(self) -> None:
        text = self.socket.recv()
        if not text:
            raise websocket.WebSocketConnectionClosedException("the venue has closed the witness's connection")
        data = json.loads(text)["data"]
        if data["e"] == "depthUpdate":
            self.events[data["s"]].append(data)

    def _run(self) -> None:
        self.socket.settimeout(0.2)
        while not self._stop.is_set():
            try:
                self._take()
            except websocket.WebSocketTimeoutException:
                continue
            except (websocket.WebSocketConnectionClosedException, OSError):
                self.cut_off = True
                return

    def finish(self, *, may_be_cut_off: bool = False) -> None:
        """Hear no more. A witness whose connection the venue has ended would prove less than it seems to."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        self.heard_s = time.monotonic() - self._since_s
        self.socket.shutdown()  # closes the socket also where the venue has ended the connection before
        assert may_be_cut_off or not self.cut_off, "the witness lost its connection"

    def others(self) -> list[dict[str, Any]]:
        """The venue's connections that are not the witness's own, oldest first: those of the daemon.

        Without those that play dead, which do not even notice that the daemon has left them.
        """
        connections = state(self._venue)["connections"]
        return [one for one in connections if _BADGE not in one["streams"] and not one["dead"]]

    def update_ids(self, symbol: str) -> list[int]:
        """The last update id of every event, in order."""
        return [event["u"] for event in self.events[symbol]]

    def books(self, symbol: str) -> Iterator[tuple[int, dict[float, float], dict[float, float]]]:
        """Update id, bids and asks after each event since the snapshot."""
        snapshot = self.snapshots[symbol]
        bids, asks = ({float(p): float(q) for p, q in snapshot[side]} for side in ("bids", "asks"))
        last = snapshot["lastUpdateId"]
        for event in list(self.events[symbol]):
            if event["u"] <= last:
                continue
            assert event["U"] <= last + 1, "the witness itself must see no gap"
            last = event["u"]
            for side, changes in ((bids, event["b"]), (asks, event["a"])):
                for price, quantity in changes:
                    side.pop(float(price), None)
                    if float(quantity):
                        side[float(price)] = float(quantity)
            yield last, bids, asks

    def horizon(self, symbol: str) -> tuple[float, float]:
        """From which price to which the witness knows the book: all of it, unless its snapshot was cut."""
        snapshot = self.snapshots[symbol]
        bids, asks = snapshot["bids"], snapshot["asks"]
        low = float(bids[-1][0]) if len(bids) == _LIMIT else -math.inf
        return low, float(asks[-1][0]) if len(asks) == _LIMIT else math.inf


def rows_against_truth(
    directory: Path,
    witness: Witness,
    symbol: str,
    *,
    start: int | None = None,
    concerned: Callable[[Any], bool] = lambda row: True,
) -> int:
    """Compare every recorded row inside its known depth with the witness at the same update id; returns how many.

    Only rows received since ``start`` (nanoseconds), and of these the ones that are ``concerned``: it is asked with
    the columns of the dataset as attributes.
    """
    frame = binmon.open_books(directory).pandas(symbol, start)
    rows = {row.update_id: row for row in frame.itertuples() if concerned(row)}
    compared = 0
    low, high = witness.horizon(symbol)
    for update_id, bids, asks in witness.books(symbol):
        row = rows.get(update_id)
        if row is None:
            continue
        compared += 1
        floor = low if math.isnan(row.bid_known_to) else max(row.bid_known_to, low)
        ceiling = high if math.isnan(row.ask_known_to) else min(row.ask_known_to, high)
        recorded_bids = dict(zip(row.bid_price, row.bid_quantity, strict=True))
        recorded_asks = dict(zip(row.ask_price, row.ask_quantity, strict=True))
        for side, recorded, true in (
            (
                "bids",
                {p: q for p, q in recorded_bids.items() if p >= floor},
                {p: q for p, q in bids.items() if p >= floor},
            ),
            (
                "asks",
                {p: q for p, q in recorded_asks.items() if p <= ceiling},
                {p: q for p, q in asks.items() if p <= ceiling},
            ),
        ):
            wrong = sorted(set(recorded.items()) ^ set(true.items()))
            assert not wrong, f"{symbol} {side} at {update_id}, epoch {row.epoch}: {len(wrong)} differ: {wrong[:6]}"
    return compared


def nothing_missing(directory: Path, witness: Witness, symbol: str) -> int:
    """Every update between the first and the last row is a row (``snapshot_every: 1``); returns how many rows."""
    update_ids: list[int] = []
    updates: set[int] = set()
    epochs: set[int] = set()
    for table in binmon.open_books(directory).tables(symbol):
        update_ids += table.column("update_id").to_pylist()
        updates.update(table.column("updates").to_pylist())
        epochs.update(table.column("epoch").to_pylist())
    assert update_ids, f"{symbol} has no rows"
    assert updates == {1} and len(epochs) == 1, f"{symbol}: updates {updates}, epochs {epochs}"
    first, last = update_ids[0], update_ids[-1]
    heard = [update_id for update_id in witness.update_ids(symbol) if first <= update_id <= last]
    missing, invented = sorted(set(heard) - set(update_ids)), sorted(set(update_ids) - set(heard))
    assert not missing and not invented, f"{symbol}: {len(missing)} missing {missing[:5]}, invented {invented[:5]}"
    assert update_ids == heard, f"{symbol}: rows are doubled or out of order"
    return len(update_ids)


def book_events(directory: Path, symbol: str | None = None) -> list[dict[str, Any]]:
    """The rows of ``book_events``, oldest first."""
    rows: list[dict[str, Any]] = binmon.open_books(directory).events().to_pylist()
    return [row for row in rows if symbol is None or row["symbol"] == symbol]
