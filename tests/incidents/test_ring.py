"""The ring: bounded in time and memory, and what it knows of its beginning; images of books; limits on files."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.books.keeper import KeeperSettings
from binmon.books.observing import BookImage
from binmon.incidents.limits import IncidentLimits
from binmon.incidents.notes import TICKED, PackedFrames, Reason
from binmon.incidents.ring import Ring
from binmon.messages import FrameChunk, SnapshotArrived, StreamDown, StreamUp
from tests.books.market import Market
from tests.incidents.scene import Scene
from tests.incidents.test_replay import ASKS, BIDS, run_on, started

FRAME = b"x" * 1000


def chunk(frames: int = 1) -> FrameChunk:
    return FrameChunk("c", 1, 1, (FRAME,) * frames)


@given(st.lists(st.binary(max_size=30), max_size=9).map(tuple))
def test_frames_come_out_of_the_ring_as_they_went_in(frames: tuple[bytes, ...]) -> None:
    packed = PackedFrames.of(FrameChunk("c", 7, 1, frames))
    assert (packed.connection, packed.received_ns, packed.frames) == ("c", 7, frames)


def test_old_entries_go() -> None:
    ring = Ring(10.0, 10**9)
    for second in range(30):
        ring.note((float(second), chunk()))
        ring.settle(float(second))
    assert [now_s for now_s, _ in ring.entries()] == [float(second) for second in range(19, 30)]
    assert ring.seconds == 10.0 and not ring.limited


def test_memory_is_bounded_whatever_comes() -> None:
    ring = Ring(10.0, 200_000)
    for number in range(2000):
        ring.note((number / 1000, chunk(3)))
        if number % 50 == 49:
            ring.settle(number / 1000)
    assert ring.limited and ring.bytes <= 200_000
    assert 50 <= len(ring) <= 60 and ring.entries()[-1][0] == 1.999
    ring.note((50.0, chunk()))
    ring.settle(50.0)
    assert len(ring) == 1 and not ring.limited and 1000 < ring.bytes < 2000


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(0, 5)), max_size=60), st.integers(2_000, 60_000))
def test_bytes_are_those_of_the_entries(steps: list[tuple[float, int]], most: int) -> None:
    ring, now_s = Ring(5.0, most), 0.0
    for passed_s, frames in steps:
        now_s += passed_s
        ring.note((now_s, chunk(frames)))
        ring.settle(now_s)
        alone = Ring(1e9, 10**12)
        for entry in ring.entries():
            alone.note(entry)
        alone.settle(now_s)
        assert alone.bytes == ring.bytes and len(alone) == len(ring)
        assert all(now_s - entry[0] <= 5.0 for entry in ring.entries())


def test_what_held_at_the_beginning_is_known() -> None:
    ring = Ring(5.0, 10**9)
    ring.note((0.0, StreamUp("v", "one", ("a", "b"), 0)))
    ring.note((1.0, StreamUp("v", "two", ("c",), 0)))
    ring.note((2.0, StreamDown("v", "two", ("c",), "why")))
    ring.note((3.0, KeeperSettings(7, 5000, 0, 1000)))
    ring.settle(4.0)
    assert ring.up == {} and ring.settings is None
    ring.settle(6.5)
    assert ring.up == {"one": ("a", "b"), "two": ("c",)}
    ring.settle(9.0)
    assert ring.up == {"one": ("a", "b")}
    assert ring.settings is not None and ring.settings.snapshot_every == 7


def test_snapshots_for_machines_are_kept_once() -> None:
    ring = Ring(5.0, 10**9)
    snapshot = Market("A", BIDS, ASKS).snapshot()
    ring.note((0.0, SnapshotArrived(4, snapshot)))
    ring.note((0.0, SnapshotArrived(-4, snapshot)))
    ring.settle(0.0)
    assert [message.token for _, message in ring.entries()] == [-4]
    assert ring.bytes > 2 * 16 * 40


def images(scene: Scene) -> list[BookImage]:
    return [message for _, message in scene.flight.ring.entries() if isinstance(message, BookImage)]


def test_every_book_has_its_image_in_time() -> None:
    symbols = [f"S{number}USDT" for number in range(30)]
    scene, markets = started(*symbols, keep_s=4.0)
    run_on(scene, markets, 9)
    taken: dict[str, list[float]] = {}
    for now_s, message in scene.flight.ring.entries():
        if isinstance(message, BookImage):
            taken.setdefault(message.symbol, []).append(now_s)
    assert taken.keys() == set(symbols)
    for times in taken.values():
        assert scene.now_s - times[0] > 4.0 + 2.0, "keep_s before a trigger that is written now"
        assert all(later - earlier < 2.5 for earlier, later in itertools.pairwise(times))


def test_images_of_many_books_are_cut_to_the_best_levels() -> None:
    symbols = [f"S{number}USDT" for number in range(50)]
    # room for twenty levels a side of each, three times, in a third of the memory
    scene, markets = started(*symbols, keep_s=4.0, most_bytes=3 * 3 * 50 * 32 * 20)
    run_on(scene, markets, 6)
    found = images(scene)
    assert found and all(image.cut and image.bid_price.size == 20 and image.ask_price.size == 20 for image in found)
    assert scene.flight.ring.bytes <= 3 * 3 * 50 * 32 * 20
    book = scene.book(symbols[0])
    image = next(image for image in reversed(found) if image.symbol == symbols[0])
    assert set(image.bid_price.tolist()) <= set(book.bid_price.tolist()) | set(image.bid_price.tolist())
    assert image.bid_price.max() >= book.bid_price[5]


def test_an_image_does_not_touch_the_book_and_settles_to_it() -> None:
    scene, markets = started("AUSDT", every=1000)
    for step in range(7):
        scene.deliver(markets["AUSDT"].move(("b", 95, 10 + step), ("a", 103, 20 + step)))
    from binmon.books.observing import image_of

    kept = scene.keeper._kept["AUSDT"]
    image = image_of(kept, 10**6)
    assert len(image.waiting_bids) == 7 and not image.cut  # nothing was merged for it
    snapshot = image.settled("binance", markets["AUSDT"].decoder)
    truth = markets["AUSDT"].snapshot()
    assert snapshot.last_update_id == truth.last_update_id
    assert snapshot.bid_price.tolist() == truth.bid_price.tolist()
    assert snapshot.ask_quantity.tolist() == truth.ask_quantity.tolist()
    assert len(kept.book._bids.waiting) == 7


def test_memory_of_a_whole_market_of_books() -> None:
    """1,500 books of 200 levels a side: the images hold what the budget says, and the ring reports all of it."""
    symbols = [f"S{number}USDT" for number in range(1500)]
    sides = [(100_000 - number, 5) for number in range(200)], [(100_001 + number, 5) for number in range(200)]
    scene = Scene(*symbols, keep_s=4.0, most_bytes=10_000_000)
    scene.connect()
    snapshot = Market("X", *sides).snapshot()
    scene.wait(3.2)  # quiet symbols ask
    for symbol in symbols:
        kept = scene.keeper._kept[symbol]
        one = snapshot.__class__(**{**_fields(snapshot), "symbol": symbol})
        scene.handle(SnapshotArrived(kept.sync.token, one))
    scene.wait(10.0)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    scene.wait(12.0)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(images(scene)) > 1500
    assert scene.flight.ring.bytes <= 10_000_000
    assert grown < 12_000_000, "what was traced replaces what was there before"


def _fields(snapshot: Any) -> dict[str, Any]:
    return {name: getattr(snapshot, name) for name in snapshot.__dataclass_fields__}


def test_limits_by_reason_and_subject_and_by_the_hour() -> None:
    limits = IncidentLimits(repeat_after_s=60.0, per_hour=3)
    assert limits.allow(Reason.GAP, "A", 0.0)
    assert not limits.allow(Reason.GAP, "A", 59.0)
    assert limits.allow(Reason.STALL, "A", 59.0)
    limits.covered(Reason.GAP, "B", 59.0)
    assert not limits.allow(Reason.GAP, "B", 60.0)
    assert limits.allow(Reason.GAP, "A", 60.0)
    assert not limits.allow(Reason.GAP, "C", 200.0), "three in this hour"
    assert limits.held_back == 3
    assert limits.allow(Reason.GAP, "C", 3600.0)


def test_a_storm_becomes_one_file() -> None:
    symbols = [f"S{number}USDT" for number in range(40)]
    scene, markets = started(*symbols, limits=IncidentLimits(repeat_after_s=60.0, per_hour=30))
    run_on(scene, markets, 2)
    for _ in range(10):
        for market in markets.values():
            market.move()  # lost
            scene.deliver(market.move())
        scene.wait(0.3)
        scene.answer(*(market.snapshot() for market in markets.values()))
        run_on(scene, markets, 1)
    written = []
    while (incident := scene.incident()) is not None:
        written.append(incident)
    assert len(written) == 1
    assert len(written[0].more) >= 39
    triggers = scene.flight.triggers[Reason.GAP]
    assert triggers == 1 + len(written[0].more) + scene.limits.held_back and scene.limits.held_back >= 100


@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_the_frames_that_follow_are_in_it(seconds: float) -> None:
    scene, markets = started("AUSDT", after_s=seconds)
    run_on(scene, markets, 1)
    markets["AUSDT"].move()
    trigger_s = scene.now_s
    scene.deliver(markets["AUSDT"].move())
    run_on(scene, markets, seconds + 1)
    incident = scene.incident()
    assert incident is not None and incident.mono_s == trigger_s
    followed_s = incident.entries[-1][0] - trigger_s
    assert seconds - 0.01 <= followed_s <= seconds + 0.2
    assert any(
        isinstance(message, FrameChunk | PackedFrames) and now_s > trigger_s for now_s, message in incident.entries
    )
    assert TICKED in [message for _, message in incident.entries]
