"""Channels: bounded, named, and never silent about what they drop."""

from __future__ import annotations

import pytest

from binmon.core.channel import Channel, Overflow
from binmon.errors import ChannelFull


def test_newest_is_dropped_and_counted() -> None:
    channel: Channel[int] = Channel("rows", 2, Overflow.DROP_NEWEST)
    assert [channel.offer(n) for n in range(4)] == [True, True, False, False]
    assert channel.dropped == 2 and [channel.take(0), channel.take(0), channel.take(0)] == [0, 1, None]


def test_oldest_is_dropped_and_counted() -> None:
    channel: Channel[int] = Channel("tops", 2, Overflow.DROP_OLDEST)
    assert all(channel.offer(n) for n in range(4))
    assert channel.dropped == 2 and [channel.take(0), channel.take(0)] == [2, 3]


def test_put_waits_and_then_says_which_channel_is_full() -> None:
    channel: Channel[int] = Channel("inbox", 1, Overflow.DROP_NEWEST)
    channel.put(1, 0.01)
    with pytest.raises(ChannelFull, match="inbox"):
        channel.put(2, 0.01)
    assert channel.dropped == 0


def test_a_channel_holds_at_least_one() -> None:
    with pytest.raises(ValueError, match="capacity"):
        Channel("none", 0, Overflow.DROP_NEWEST)
