"""What happened in a keeper happens again in a replay of its incident file: the same moves, the same book."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from binmon.books.book import Book
from binmon.errors import ConfigError
from binmon.incidents.notes import Incident, Reason
from binmon.messages import DepthSnapshot, SymbolsChanged
from binmon.venues.binance.decoding import BinanceDecoder
from tests.books.market import Market, frame
from tests.incidents.scene import EXCERPT, SHARED, Replayed, Scene, recorded, same_levels, update_ids, written

BIDS = [(100 - number, 5) for number in range(40)]
ASKS = [(101 + number, 5) for number in range(40)]


class Live:
    """A scene that is fed a recording, with a line cut out; its moves, from the log."""

    def __init__(self, symbol: str, **options: Any) -> None:
        self.symbol, self.scene = symbol, Scene(symbol, **options)
        decoder = self.decoder = BinanceDecoder()
        self.truth = Book(decoder)  # with the line that is cut out
        self.first_snapshot: DepthSnapshot | None = None
        self.incident: Incident | None = None
        self.at_incident: DepthSnapshot | None = None

    def feed(self, path: Path, cut: int) -> list[dict[str, Any]]:
        """Everything until an incident is handed over; ``cut`` is the number of the update that is lost."""
        scene, began_s, first_ns, updates = self.scene, self.scene.now_s, 0, 0
        with capture_logs() as logs:
            scene.connect()
            for time_ns, kind, payload in recorded(path):
                first_ns = first_ns or time_ns
                while scene.now_s + 0.1 <= began_s + (time_ns - first_ns) / 1e9:
                    scene.wait(0.1)
                    self.incident = scene.incident()
                    if self.incident is not None:
                        # the ring was taken in this very tick
                        self.at_incident = scene.book(self.symbol)
                        break
                    if updates > cut + 4:  # the answer takes a while
                        self.truth.settle()
                        scene.answer(self.truth.as_snapshot("binance", self.symbol))
                if self.incident is not None:
                    break
                if kind == "rest":
                    snapshot = self.decoder.depth("binance", self.symbol, payload)
                    self.truth.load(snapshot)
                    scene.answer(snapshot)
                    continue
                update = self.decoder.update(payload)
                assert update is not None
                if self.truth.update_id and update.last_update_id > self.truth.update_id:
                    self.truth.apply(update, 0)
                updates += 1
                if updates != cut:
                    scene.deliver(payload, time_ns=time_ns)
        assert self.incident is not None and self.at_incident is not None
        return [dict(line) for line in logs if line["event"] == "book.state"]


@pytest.mark.parametrize(("keep_s", "most_bytes"), [(100.0, 64_000_000), (2.0, 64_000_000), (20.0, 300_000)])
def test_a_recording_with_a_line_cut_out(tmp_path: Path, keep_s: float, most_bytes: int) -> None:
    """From the REST snapshot, from an image of the book, and where memory ends before time does."""
    live = Live("BTCUSDT", keep_s=keep_s, most_bytes=most_bytes)
    states = live.feed(EXCERPT, cut=120)
    assert live.incident is not None and live.at_incident is not None
    assert live.incident.trigger.reason is Reason.GAP and live.incident.trigger.subject == "BTCUSDT"
    replayed = Replayed(written(live.incident, tmp_path))
    moves = [(line["from"], line["to"], line["reason"], line["update_id"]) for line in states]
    assert replayed.moves("BTCUSDT") == moves[-2:]  # those after the start
    assert [move[2] for move in moves[-2:]] == ["gap", "gap"]
    (gap,) = replayed.found("gap")
    assert gap.problem and gap.facts["expected"] < gap.facts["first_update_id"]
    book = replayed.books["BTCUSDT"]
    assert book.state == "synced" and book.like_live is True and book.gaps == 1
    assert book.epoch == live.scene.keeper._kept["BTCUSDT"].sync.epoch
    assert same_levels(replayed.book("BTCUSDT"), live.at_incident)
    assert not replayed.found("differs")
    (start,) = replayed.found("started")
    first_id = next(line["update_id"] for line in states if line["to"] == "synced")
    if keep_s < 100:
        assert start.facts["update_id"] > first_id, "it started with an image"
        assert book.verified > 0 or most_bytes < 1_000_000
    else:
        assert start.facts["update_id"] == first_id


def test_a_file_that_was_tampered_with_differs(tmp_path: Path) -> None:
    """What the checks of a replay are for: another quantity shows, also where no machine would see it."""
    live = Live("BTCUSDT", keep_s=4.0)
    live.feed(EXCERPT, cut=120)
    assert live.incident is not None
    path = written(live.incident, tmp_path)
    lines = gzip.decompress(path.read_bytes()).split(b"\n")
    images = [number for number, line in enumerate(lines) if b"\tbook\t" in line]
    at = next(number for number in range(images[0], images[1]) if b"\tws\t" in lines[number])
    assert b'"b":[[' in lines[at]
    lines[at] = lines[at].replace(b'"b":[[', b'"b":[["1.00000000","5.00000000"],[')
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    differs = Replayed(path).found("differs")
    assert differs and all(finding.problem for finding in differs)


def started(*symbols: str, **options: Any) -> tuple[Scene, dict[str, Market]]:
    scene = Scene(*symbols, **options)
    markets = {symbol: Market(symbol, BIDS, ASKS) for symbol in symbols}
    scene.connect()
    for market in markets.values():
        scene.deliver(market.move(("b", 90, 7)))
    scene.answer(*(market.snapshot() for market in markets.values()))
    return scene, markets


def run_on(scene: Scene, markets: dict[str, Market], seconds: float) -> None:
    """Everything moves, four times a second."""
    steps = round(seconds * 4)
    for step in range(steps):
        for market in markets.values():
            scene.deliver(market.move(("b", 60 + step % 30, 1 + step % 9), ("a", 110 + step % 20, 1 + step % 7)))
        scene.wait(0.25)


def replay_of(scene: Scene, tmp_path: Path) -> Replayed:
    incident = scene.incident()
    assert incident is not None
    return Replayed(written(incident, tmp_path))


def test_a_crossed_book(tmp_path: Path) -> None:
    scene, markets = started("AUSDT", "BUSDT", keep_s=4.0)
    run_on(scene, markets, 10)
    bad = markets["AUSDT"].update_id
    scene.deliver(frame("AUSDT", bad + 1, bad + 1, [(150, 3)]))
    markets["AUSDT"].move()
    run_on(scene, {"BUSDT": markets["BUSDT"]}, 1.5)
    scene.answer(markets["AUSDT"].snapshot())
    run_on(scene, markets, 2)
    replayed = replay_of(scene, tmp_path)
    assert replayed.head.incident is not None and replayed.head.incident["reason"] == "crossed"
    (crossed,) = replayed.found("crossed")
    assert (
        crossed.problem and crossed.symbol == "AUSDT" and crossed.facts["bid"] == 1.5 and crossed.facts["ask"] == 1.01
    )
    assert [move[2] for move in replayed.moves("AUSDT")] == ["crossed book", "crossed book"]
    assert not replayed.moves("BUSDT") and not replayed.found("differs")
    assert {book.like_live for book in replayed.books.values()} == {True}
    assert all(book.verified for book in replayed.books.values())


def test_every_change_of_the_top_is_looked_at(tmp_path: Path) -> None:
    """With ``publish.interval_ms: 0`` the crossed book shows at once; a replay does the same."""
    scene, markets = started("AUSDT", top_interval_ms=0, every=1000)
    run_on(scene, markets, 2)
    bad = markets["AUSDT"].update_id
    scene.deliver(frame("AUSDT", bad + 1, bad + 1, [(150, 3)]))
    scene.wait(2.1)
    replayed = replay_of(scene, tmp_path)
    assert [(move[2], move[3]) for move in replayed.moves("AUSDT")] == [("crossed book", bad + 1)]
    assert replayed.books["AUSDT"].like_live is True


def test_what_the_daemon_decided_is_followed(tmp_path: Path) -> None:
    """A stall, an audit: what led to them is longer ago than the file."""
    scene, markets = started("AUSDT", "BUSDT")
    run_on(scene, markets, 3)
    kept = scene.keeper._kept["AUSDT"]
    scene.flight.stalled(kept, "the venue is at update id 9, the stream at 5", scene.now_s)
    kept.sync.invalidate("stalled stream", scene.now_s)
    scene.wait(0.1)
    scene.answer(markets["AUSDT"].snapshot())
    run_on(scene, markets, 1)
    kept = scene.keeper._kept["BUSDT"]
    kept.sync.invalidate("failed audit", scene.now_s)
    scene.wait(0.1)
    scene.answer(markets["BUSDT"].snapshot())
    run_on(scene, markets, 2)
    incident = scene.incident()
    assert incident is not None and scene.incident() is None
    assert (incident.trigger.reason, [one.reason for one in incident.more]) == (Reason.STALL, [Reason.AUDIT])
    replayed = Replayed(written(incident, tmp_path))
    assert [move[1:3] for move in replayed.moves("AUSDT")] == [
        ("waiting_for_snapshot", "stalled stream"), ("synced", "stalled stream"),
    ]  # fmt: skip
    assert {book.like_live for book in replayed.books.values()} == {True}
    assert not replayed.found("differs")


def test_connections_symbols_and_two_feeds(tmp_path: Path) -> None:
    scene, markets = started("AUSDT", keep_s=3.0)
    run_on(scene, markets, 6)
    scene.connect("binance-market-1.2")
    scene.handle(SymbolsChanged("binance", (("CUSDT", 0),), ()))
    scene.disconnect("binance-market-1.1")
    for _ in range(8):
        scene.deliver(markets["AUSDT"].move(), feed="binance-market-1.2")
        scene.wait(0.2)
    scene.disconnect("binance-market-1.2")
    scene.connect("binance-market-1.3")
    scene.deliver(markets["AUSDT"].move(), feed="binance-market-1.3")
    scene.answer(markets["AUSDT"].snapshot())
    for _ in range(3):
        scene.deliver(markets["AUSDT"].move(), feed="binance-market-1.3")
        scene.wait(0.2)
    scene.flight.crashed("binance-listings", "ValueError: what")
    scene.wait(2.2)
    replayed = replay_of(scene, tmp_path)
    assert replayed.head.incident is not None and replayed.head.incident["subject"] == "binance-listings"
    reasons = [move[1:3] for move in replayed.moves("AUSDT")]
    assert reasons == [
        ("waiting_for_events", "closed by the venue"),
        ("waiting_for_snapshot", "first event"),
        ("synced", "closed by the venue"),
    ]
    assert replayed.books["AUSDT"].like_live is True and "CUSDT" in replayed.books
    assert replayed.replay.problems == 0


def test_a_keeper_that_fails_fails_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, markets = started("AUSDT", keep_s=3.0)
    run_on(scene, markets, 5)
    good = Book.apply

    def apply(book: Book, update: Any, receive_time_ns: int) -> bool:
        if b'"6.66' in bytes(update.bids):
            raise ZeroDivisionError("a bug")
        return good(book, update, receive_time_ns)

    monkeypatch.setattr(Book, "apply", apply)
    with pytest.raises(ZeroDivisionError):
        scene.deliver(markets["AUSDT"].move(("b", 666, 1)))
    scene.flight.crashed("binance-books", "ZeroDivisionError: a bug")
    scene.keeper._start_afresh()
    scene.wait(2.2)
    path = written(scene.incident() or pytest.fail("no incident"), tmp_path)
    replayed = Replayed(path)
    (failed,) = replayed.found("failed")
    assert failed.problem and failed.facts == {"error": "ZeroDivisionError: a bug", "message": "FrameChunk"}
    assert replayed.replay.failed
    monkeypatch.setattr(Book, "apply", good)
    repaired = Replayed(path)  # the bug is gone: what the daemon did afterwards is followed
    assert not repaired.found("failed")


def test_only_some_symbols(tmp_path: Path) -> None:
    scene, markets = started("AUSDT", "BUSDT", "CUSDT")
    run_on(scene, markets, 3)
    scene.deliver(frame("BUSDT", 9000, 9001))
    scene.wait(2.1)
    path = written(scene.incident() or pytest.fail("no incident"), tmp_path)
    assert list(Replayed(path, ["AUSDT"]).books) == ["AUSDT"] and not Replayed(path, ["AUSDT"]).found("gap")
    assert list(Replayed(path, ["BUSDT"]).books) == ["BUSDT"] and Replayed(path, ["BUSDT"]).found("gap")
    with pytest.raises(ConfigError, match=r"expected a symbol of the file \(AUSDT, BUSDT, CUSDT\), got 'X'"):
        Replayed(path, ["X"])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the full recordings are not part of the package")
@pytest.mark.parametrize(
    ("name", "symbols"),
    [
        ("spot_4symbols_20211012T002832Z_30s", 4),
        ("binanceus_4symbols_20211012T002434Z_31s", 4),
        ("spot_10symbols_20210405T183323Z_119s", 10),
        ("spot_BTCUSDT_20260607T194756Z_59s_depth5", 1),
        ("spot_BTCUSDT_20240808T235413Z_651s", 1),
    ],
)
def test_every_spot_recording(name: str, symbols: int) -> None:
    path = SHARED / f"{name}.tsv.gz"
    replayed = Replayed(path)
    assert len(replayed.books) == symbols and replayed.replay.problems == 0
    assert all(book.state == "synced" and book.gaps == 0 for book in replayed.books.values())
    assert not replayed.found("state") and len(replayed.found("started")) == symbols
    last: dict[str, int] = {}
    for _, kind, payload in recorded(path):
        if kind == "ws":
            update = BinanceDecoder().update(payload)
            assert update is not None
            last[update.symbol] = update.last_update_id
    assert {symbol: book.update_id for symbol, book in replayed.books.items()} == last


def test_the_excerpt_against_its_own_tops() -> None:
    replayed = Replayed(EXCERPT)
    book = replayed.books["BTCUSDT"]
    assert (book.state, book.bid, book.bid_quantity, book.ask, book.ask_quantity) == (
        "synced", 61849.49, 4.80911, 61849.5, 0.61762,
    )  # fmt: skip


def test_a_recording_with_a_line_cut_out_by_hand(tmp_path: Path) -> None:
    lines = gzip.decompress(EXCERPT.read_bytes()).split(b"\n")
    depth = [number for number, line in enumerate(lines) if b"depthUpdate" in line[:120]]
    lost, following = lines[depth[150]], lines[depth[151]]
    path = tmp_path / "cut.tsv"  # not packed
    path.write_bytes(b"\n".join(line for line in lines if line is not lost))
    replayed = Replayed(path)
    (gap,) = replayed.found("gap")
    first, last = update_ids(following.split(b"\t", 2)[2])
    assert gap.facts == {
        "expected": update_ids(lost.split(b"\t", 2)[2])[0], "first_update_id": first, "last_update_id": last,
    }  # fmt: skip
    assert [move[1] for move in replayed.moves("BTCUSDT")] == ["waiting_for_snapshot"]
    (open_end,) = replayed.found("out_of_step")
    assert open_end.problem and replayed.books["BTCUSDT"].bid is None


def tampered(path: Path, change: Any) -> Replayed:
    """A file with its lines changed by hand: ``change`` gets the fields of each, and gives the payload."""
    lines = [line.split(b"\t", 2) for line in gzip.decompress(path.read_bytes()).split(b"\n")[:-1]]
    changed = [b"\t".join([time_ns, kind, change(kind.decode(), payload)]) for time_ns, kind, payload in lines]
    other = path.with_name("tampered.tsv")
    other.write_bytes(b"\n".join([*changed, b""]))
    return Replayed(other)


def gap_of_one_of_two(tmp_path: Path) -> Path:
    scene, markets = started("AUSDT", "BUSDT", keep_s=4.0)
    run_on(scene, markets, 8)
    markets["AUSDT"].move()
    scene.deliver(markets["AUSDT"].move())
    scene.answer(markets["AUSDT"].snapshot())
    run_on(scene, markets, 2.5)
    return written(scene.incident() or pytest.fail("no incident"), tmp_path)


def test_another_course_of_the_daemon_differs(tmp_path: Path) -> None:
    path = gap_of_one_of_two(tmp_path)
    same = tampered(path, lambda kind, payload: payload)
    assert same.books["AUSDT"].like_live is True and not same.found("differs")
    other = tampered(
        path, lambda kind, payload: payload.replace(b'"gap"', b'"venue reset: what"') if kind == "state" else payload
    )
    assert other.books["AUSDT"].like_live is False and other.books["BUSDT"].like_live is True
    (differs,) = other.found("differs")
    assert differs.symbol == "AUSDT" and "gap" in differs.facts["here"] and "venue reset" in differs.facts["daemon"]


def test_books_whose_sums_alone_are_in_the_file_are_compared_too(tmp_path: Path) -> None:
    path, images = gap_of_one_of_two(tmp_path), 0

    def change(kind: str, payload: bytes) -> bytes:
        nonlocal images
        images += kind == "book" and b'"BUSDT"' in payload
        if kind == "ws" and b'"s":"BUSDT"' in payload and images == 1:
            images = 2
            return payload.replace(b'"b":[[', b'"b":[["0.01000000","5.00000000"],[')
        return payload

    replayed = tampered(path, change)
    differs = replayed.found("differs")
    assert differs and {finding.symbol for finding in differs} == {"BUSDT"}
    assert replayed.books["BUSDT"].verified == 0 and replayed.books["AUSDT"].verified > 0


@pytest.mark.parametrize("phase", [0, 1, 2, 9])
def test_a_crossed_book_shows_at_the_same_update(tmp_path: Path, phase: int) -> None:
    """The daemon looks at every tenth update; a replay that starts with an image knows how many there were."""
    scene, markets = started("AUSDT", keep_s=2.8, top_interval_ms=10**9)
    scene.keeper._kept["AUSDT"].next_top_s = scene.now_s + 10**6
    market = markets["AUSDT"]
    run_on(scene, markets, 8 + phase / 4)
    with capture_logs() as logs:
        scene.deliver(frame("AUSDT", market.update_id + 1, market.update_id + 1, [(150, 3)]))
        market.move()
        run_on(scene, markets, 5)
    (crossed,) = [line for line in logs if line["event"] == "book.state"]
    replayed = replay_of(scene, tmp_path)
    assert [(move[2], move[3]) for move in replayed.moves("AUSDT")] == [("crossed book", crossed["update_id"])]
    assert not replayed.found("differs")
