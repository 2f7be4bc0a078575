"""A hundred rotations in a row, with feeds that lag and lose what is under way when they end: no gap, ever."""

from __future__ import annotations

import random
from collections import deque

import numpy as np
import pytest

from binmon.books.sync import ApplyUpdate, BookSync, FetchSnapshot, GapFound, StateChanged, SyncState
from binmon.messages import DepthSnapshot
from binmon.net.rotation import CloseFeed, FeedGroup, FeedRotated, FeedState, OpenFeed, RotationWindow
from tests.books.test_sync import Event

STEP_S = 0.05
EMPTY = np.empty(0)


class Wire:
    """One socket: what is under way arrives ``lag_s`` after it was sent, and is lost when the socket ends."""

    def __init__(self, streams: tuple[str, ...], up_s: float, lag_s: float) -> None:
        self.streams, self.up_s, self.lag_s = streams, up_s, lag_s
        self.up = False
        self.under_way: deque[tuple[float, str, Event]] = deque()


class Simulation:
    """A venue with some streams, the sockets of one group, and a book for each stream."""

    def __init__(self, seed: int, redundancy: int, losses: bool) -> None:
        self.random = random.Random(seed)
        self.losses = losses
        self.now_s = 0.0
        self.streams = tuple(f"s{number}" for number in range(4))
        self.pace = dict(zip(self.streams, (0.05, 0.1, 0.7, 20.0), strict=True))
        self.ids = dict.fromkeys(self.streams, 100)
        self.next_s = dict.fromkeys(self.streams, 0.0)
        self.books = {stream: BookSync() for stream in self.streams}
        self.applied = dict.fromkeys(self.streams, 0)
        self.wires: dict[str, Wire] = {}
        self.rotated: list[FeedRotated] = []
        self.group = FeedGroup(
            "g", self.streams, RotationWindow.parse("03:00-05:00"), redundancy=redundancy, rng=self.random
        )
        self.group.start()

    def step(self) -> None:
        self.now_s += STEP_S
        self.market()
        for name, wire in list(self.wires.items()):
            if not wire.up and self.now_s >= wire.up_s:
                wire.up = True
                for stream in wire.streams:
                    self.books[stream].on_feed_up(name, self.now_s)
                self.group.on_up(name, self.now_s)
            while name in self.wires and wire.under_way and wire.under_way[0][0] <= self.now_s:
                _, stream, event = wire.under_way.popleft()
                self.group.on_event(name, stream, self.now_s)
                if self.books[stream].on_update(event, 1, self.now_s, name):
                    self.applied[stream] += 1
                self.carry_out(stream)
        for stream, sync in self.books.items():
            sync.tick(self.now_s)
            self.carry_out(stream)
        self.group.tick(self.now_s, self.now_s + 43_200.0)
        self.sockets()
        if self.losses and self.random.random() < 0.002:
            self.lose_one()

    def market(self) -> None:
        for stream in self.streams:
            if self.now_s >= self.next_s[stream]:
                self.next_s[stream] = self.now_s + self.pace[stream] * self.random.uniform(0.5, 1.5)
                first = self.ids[stream] + 1
                self.ids[stream] += self.random.randint(1, 3)
                event = Event(first, self.ids[stream], int(self.now_s * 1000))
                for wire in self.wires.values():
                    if wire.up and stream in wire.streams:
                        wire.under_way.append((self.now_s + wire.lag_s, stream, event))

    def lose_one(self) -> None:
        """A successor, or a twin, is lost and comes back: another one carries all streams meanwhile."""
        live = [name for name, feed in self.group.feeds.items() if feed.state is FeedState.LIVE]
        lossy = [name for name, feed in self.group.feeds.items() if feed.state is FeedState.PROVING]
        lossy += live[1:]
        if lossy:
            name = self.random.choice(lossy)
            wire = self.wires[name]
            self.end(name)
            if name in self.group.feeds:
                self.wires[name] = Wire(wire.streams, self.now_s + 0.4, wire.lag_s)

    def end(self, name: str) -> None:
        wire = self.wires.pop(name, None)
        if wire is not None and wire.up:
            for stream in wire.streams:
                self.books[stream].on_feed_down(name, "ended", self.now_s)
                self.carry_out(stream)
            self.group.on_down(name, self.now_s)
            self.sockets()

    def sockets(self) -> None:
        while self.group.effects:
            match self.group.effects.popleft():
                case OpenFeed(_, feed, streams):
                    up_s = self.now_s + self.random.uniform(0.05, 0.5)
                    self.wires[feed] = Wire(streams, up_s, self.random.uniform(0.0, 0.4))
                case CloseFeed(feed, _):
                    self.end(feed)
                case FeedRotated() as rotated:
                    self.rotated.append(rotated)

    def carry_out(self, stream: str) -> None:
        sync = self.books[stream]
        while sync.effects:
            match sync.effects.popleft():
                case FetchSnapshot(token):
                    answer = DepthSnapshot("v", "S", self.ids[stream], EMPTY, EMPTY, EMPTY, EMPTY)
                    sync.on_snapshot(token, answer, self.now_s)
                case ApplyUpdate():
                    self.applied[stream] += 1
                case GapFound() as gap:
                    pytest.fail(f"{stream}: {gap} at {self.now_s:.2f} s, after {len(self.rotated)} rotations")
                case StateChanged(before, after, reason):
                    assert before is not SyncState.SYNCED, f"{stream} left for {after.value}: {reason}"


@pytest.mark.parametrize("redundancy", [1, 2])
@pytest.mark.parametrize("losses", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_hundred_rotations_leave_no_gap(seed: int, losses: bool, redundancy: int) -> None:
    simulation = Simulation(seed, redundancy, losses)
    while simulation.now_s < 5.0:
        simulation.step()
    while len(simulation.rotated) < 100:
        if not simulation.group.overlapping:
            simulation.group.rotate("asked")
            simulation.sockets()
        simulation.step()
        assert simulation.now_s < 3000, f"only {len(simulation.rotated)} rotations"
    for stream, sync in simulation.books.items():
        assert sync.state is SyncState.SYNCED and sync.epoch == 1 and sync.gaps == 0
        # all that was sent has arrived, but for what is under way now
        assert simulation.ids[stream] - (sync.update_id or 0) <= 3 * (0.6 / simulation.pace[stream] + 1) * 2
        assert simulation.applied[stream] > 0
    assert all(rotated.overlap_ms >= 500 for rotated in simulation.rotated) or losses
