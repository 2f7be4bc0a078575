"""Depth streams: whoever applies everything has the window."""

from hypothesis import given
from hypothesis import strategies as st

from binmon.sandbox.bybit.books import REPEAT_US, BookStream

sides = st.dictionaries(st.integers(1, 40), st.integers(1, 9), max_size=30)
steps = st.lists(
    st.one_of(st.tuples(sides, sides), st.sampled_from(["restart", "renew", "join"])), min_size=1, max_size=30
)


class Client:
    """Applies frames as the reference says (4.3), and says when one does not follow."""

    def __init__(self):
        self.bids, self.asks, self.u = {}, {}, None

    def apply(self, frame):
        """False when the book is not to be trusted any more."""
        if frame.is_snapshot:
            self.bids, self.asks, self.u = dict(frame.bids), dict(frame.asks), frame.u
            return True
        if frame.u != self.u + 1:
            return False
        self.u = frame.u
        for side, levels in ((self.bids, frame.bids), (self.asks, frame.asks)):
            for price, lots in levels:
                if lots:
                    side[price] = lots
                else:
                    del side[price]  # a level that nobody was told about is never deleted
        return True


@given(steps, st.sampled_from([50, 200]))
def test_snapshot_and_deltas_are_the_window(actions, depth):
    stream, client, seq = BookStream(depth, 100), Client(), 0
    bids, asks = [], []
    for action in actions:
        seq += 1
        if action == "join":
            client.apply(stream.snapshot(seq))
        elif action == "restart":
            stream.restart()
        elif action == "renew":
            stream.renew()
        else:
            bids, asks = sorted(action[0].items(), reverse=True)[:depth], sorted(action[1].items())[:depth]
        whole = action in ("restart", "renew")
        before = stream.u
        frame = stream.refresh(bids, asks, seq, seq, seq)
        if frame is None:
            assert not whole
            continue
        assert frame.u == (1 if action == "restart" else before + 1)
        assert frame.is_snapshot == whole
        if client.u is None:
            client.apply(stream.snapshot(seq))
        else:
            assert client.apply(frame)
        assert (client.bids, client.asks) == (dict(bids), dict(asks))
        assert (frame.seq, frame.cts_us) == (seq, seq)


def test_nothing_is_said_about_nothing():
    stream = BookStream(50, 7)
    assert stream.refresh([(10, 1)], [(11, 1)], 1, 1, 1).u == 8
    assert stream.refresh([(10, 1)], [(11, 1)], 2, 2, 2) is None
    assert (stream.u, stream.seq, stream.seen_seq) == (8, 1, 2)


def test_depth_one_sends_snapshots_only_and_repeats_the_last():
    stream = BookStream(1, 7)
    first = stream.refresh([(10, 1)], [(11, 1)], 1, 1, 1000)
    assert first.is_snapshot
    second = stream.refresh([(10, 2)], [(11, 1)], 2, 2, 2000)
    assert second.is_snapshot and (second.bids, second.asks) == ([(10, 2)], [(11, 1)])
    assert not stream.repeats(2000 + REPEAT_US - 1)
    assert stream.repeats(2000 + REPEAT_US)
    assert stream.snapshot(2000 + REPEAT_US) == second
    assert not stream.repeats(2001 + REPEAT_US)
    assert not BookStream(50, 1).repeats(10**12)


def test_ids_that_go_back_are_noticed():
    stream, client = BookStream(50, 100), Client()
    stream.refresh([(10, 1)], [], 1, 1, 1)
    client.apply(stream.snapshot(1))
    stream.step_back(5)
    frame = stream.refresh([(10, 2)], [], 2, 2, 2)
    assert frame.u < client.u
    assert not client.apply(frame)
    stream.step_back(10_000)
    assert stream.u == 1  # the next one is 2: never the 1 of a restart
