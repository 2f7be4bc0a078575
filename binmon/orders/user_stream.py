"""The user-data stream of one account: subscribed, watched, replaced before it ends, and told on when it breaks.

One worker pumps it. Its sockets are `net.stream` connections of a `FeedGroup` with one stream, so that rotation is the
same as for market streams: the successor is subscribed and delivers before the predecessor closes. What both deliver is
handed on once.
"""

from __future__ import annotations

import enum
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from binmon.core.channel import Channel
from binmon.core.worker import Worker
from binmon.errors import RetryError
from binmon.messages import (
    BalancesChanged,
    ExecutionReport,
    FrameChunk,
    RotateFeeds,
    StreamDown,
    StreamUp,
    UserStreamDown,
    UserStreamUp,
)
from binmon.net.posts import Post
from binmon.net.rotation import CloseFeed, FeedGroup, FeedRotated, OpenFeed, RotationWindow
from binmon.venues.base import MalformedFrame, ShutdownNotice
from binmon.venues.trading import (
    OneUserMessage,
    SayNext,
    Several,
    StreamReply,
    Subscribed,
    SubscriptionEnded,
    SubscriptionRefused,
    UserStreamVenue,
)

log = structlog.get_logger("binmon.orders")

STREAM = "user-data"
_CONFIRM_WITHIN_S = 10.0
_SIMPLIFY_AFTER_S = 6.0  # without a single confirmation since the start
_TICK_S = 0.25
_REMEMBERED = 4096  # reports that a second socket may bring again
# A key that is wrong stays wrong: asking every second would look like an attack.
_REFUSED_PAUSE_S = (5.0, 15.0, 60.0, 300.0)

Told = ExecutionReport | BalancesChanged | UserStreamUp | UserStreamDown


class Listener(Protocol):
    """What the stream needs of a channel."""

    def offer(self, message: Any, /) -> bool:
        """Hand over without waiting; False when it was dropped."""


@dataclass(frozen=True, slots=True)
class UserSockets:
    """How connections are had: ``open(feed)``, ``close(feed, reason)``, ``reconnect(feed, reason)``, and
    ``post(feed, post)`` for venues whose opening is a dialogue; it is False when the connection is down."""

    open: Callable[[str], None]
    close: Callable[[str, str], None]
    reconnect: Callable[[str, str], None]
    post: Callable[[str, Post], bool] = lambda feed, post: False


class _Stage(enum.Enum):
    """Where one connection stands."""

    CONNECTED = "connected"  # has asked for the subscription
    SUBSCRIBED = "subscribed"  # the venue has confirmed it
    BROKEN = "broken"  # is being connected anew


_ALLOWED = {
    None: {_Stage.CONNECTED},
    _Stage.CONNECTED: {_Stage.SUBSCRIBED, _Stage.BROKEN},
    _Stage.SUBSCRIBED: {_Stage.BROKEN},
    _Stage.BROKEN: set(),
}


@dataclass(slots=True)
class _Connection:
    since_s: float
    stage: _Stage | None = None

    def move_to(self, stage: _Stage) -> None:
        """The only writer of ``stage``."""
        if stage not in _ALLOWED[self.stage]:
            raise RuntimeError(f"user stream: {self.stage} -> {stage} is not allowed")
        self.stage = stage


class UserStream(Worker):
    """Takes FrameChunk, StreamUp, StreamDown, RotateFeeds and RotationWindow from ``inbox``; tells ``listeners`` of reports, balances
    and of the subscription coming and going, and ``reply`` of answers to what was posted.

    A report that a listener had no room for is counted in ``dropped``; whoever waits for it asks the venue after a while.
    ``lost`` is told of a connection that is down, so that nobody waits for answers from it.
    """

    silence_limit_s = 20.0  # it waits for nothing but its inbox

    def __init__(
        self,
        name: str,
        venue: UserStreamVenue,
        inbox: Channel[Any],
        listeners: Sequence[Listener],
        sockets: UserSockets,
        window: RotationWindow,
        *,
        reply: Callable[[StreamReply, int, int], object] = lambda reply, ns, mono_ns: None,
        lost: Callable[[str, str], None] = lambda connection, reason: None,
        refused: Callable[[Exception], str | None] = lambda error: None,
        subscribed: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(name)
        self._venue, self._inbox, self._listeners, self._sockets = venue, inbox, listeners, sockets
        self._reply, self._lost, self._refused, self._told_subscribed = reply, lost, refused, subscribed
        self._group = FeedGroup(name, (STREAM,), window)
        self._connections: dict[str, _Connection] = {}
        self._seen: OrderedDict[tuple[str, int, int, int, str], None] = OrderedDict()
        self._up = False
        self._in_hand: Any = None  # the message that is being taken in
        self._refusals = 0
        self._reopen_at_s: float | None = None
        self._never_confirmed_since_s: float | None = time.monotonic()
        self.subscribed_to: str | None = None  # the connection that orders may be posted on; read by any thread
        self.reports = self.duplicates = self.dropped = self.malformed = self.breaks = 0

    def run(self, stop: threading.Event) -> None:
        """Pump until ``stop``. After a failure, the message that was in hand is taken once more: copies of reports are
        known, but nobody says twice that a connection is down."""
        if not self._group.feeds:
            self._group.start()
        self._carry_out()
        self._take_again()
        while not stop.is_set():
            self.beat()
            self._in_hand = self._inbox.take(_TICK_S)
            while self._in_hand is not None:
                self.take(self._in_hand)
                self._in_hand = self._inbox.take(0)
            self.tick(time.monotonic(), time.time())

    def connections(self) -> dict[str, str]:
        """The state of every connection by name. Any thread."""
        connected = dict(self._connections)  # one step, so it may change meanwhile
        stages = {name: one.stage.value for name, one in connected.items() if one.stage is not None}
        return {name: stages.get(name, "connecting") for name in tuple(self._group.feeds)}

    def _take_again(self) -> None:
        message, self._in_hand = self._in_hand, None
        if message is None:
            return
        try:
            self.take(message)
        except Exception:
            if isinstance(message, FrameChunk):
                self._break(message.connection, "what it brought could not be taken in: reports may be missing")
            raise

    # What happens -------------------------------------------------------------------------------------------------

    def take(self, message: Any) -> None:
        """One message of the inbox."""
        if isinstance(message, FrameChunk):
            for frame in message.frames:
                self._take_frame(frame, message)
        elif isinstance(message, StreamUp):
            # Not up for the group yet: it is when the venue has confirmed.
            if message.connection in self._connections:  # and nobody has heard its end
                self._down(message.connection, "connected anew")
            connection = self._connections[message.connection] = _Connection(time.monotonic())
            connection.move_to(_Stage.CONNECTED)
        elif isinstance(message, StreamDown):
            self._down(message.connection, message.reason)
        elif isinstance(message, RotateFeeds):
            self._group.rotate(message.reason, message.connection)
            self._carry_out()
        elif isinstance(message, RotationWindow):
            self._group.window = message

    def tick(self, now_s: float, now_utc_s: float) -> None:
        """Time passed."""
        for name, connection in list(self._connections.items()):
            if connection.stage is _Stage.CONNECTED and now_s - connection.since_s > _CONFIRM_WITHIN_S:
                self._break(name, "the subscription was not confirmed")
        never_s = self._never_confirmed_since_s
        if never_s is not None and now_s - never_s > _SIMPLIFY_AFTER_S:
            self._never_confirmed_since_s = None
            if self._venue.simplify():
                self._group.change((), "asking for less")
                self._carry_out()
                self._group.change((STREAM,), "asking for less")
        if self._reopen_at_s is not None and now_s >= self._reopen_at_s:
            self._reopen_at_s = None
            self._group.change((STREAM,), "asking again")
        self._group.tick(now_s, now_utc_s)
        self._carry_out()

    # Inside -------------------------------------------------------------------------------------------------------

    def _take_frame(self, frame: bytes, chunk: FrameChunk) -> None:
        name = chunk.connection
        try:
            message = self._venue.decode(frame, name, chunk.received_ns, chunk.received_mono_ns)
        except MalformedFrame as error:
            self.malformed += 1
            log.warning("user_stream.malformed", venue=self._venue.name, connection=name, reason=str(error))
            self._break(name, "an unreadable frame: reports may be missing")
            return
        for one in message.messages if isinstance(message, Several) else (message,):
            self._take_message(one, chunk)

    def _take_message(self, message: OneUserMessage | None, chunk: FrameChunk) -> None:
        name = chunk.connection
        if isinstance(message, ExecutionReport):
            self._report(message)
        elif isinstance(message, BalancesChanged):
            self._tell(message)
        elif isinstance(message, StreamReply):
            self._reply(message, chunk.received_ns, chunk.received_mono_ns)
        elif isinstance(message, Subscribed):
            self._subscribed(name, chunk.received_mono_ns)
        elif isinstance(message, SayNext):
            self._say(name, message)
        elif isinstance(message, SubscriptionEnded):
            self._break(name, message.reason)
        elif isinstance(message, SubscriptionRefused):
            self._was_refused(name, message.error)
        elif isinstance(message, ShutdownNotice):
            self._group.rotate("serverShutdown", name)
            self._carry_out()

    def _say(self, name: str, message: SayNext) -> None:
        """Go on with the opening. What does not leave says nothing: the connection is down then, or not confirmed in
        time."""
        for payload in message.messages:
            self._sockets.post(name, Post(payload, lambda sent_ns, sent_mono_ns: None, lambda reason: None))

    def _report(self, report: ExecutionReport) -> None:
        self._group.on_event(report.connection, STREAM, report.received_mono_ns / 1e9, report.event_time_us)
        key = (report.symbol, report.order_id, report.execution_id, report.event_time_us, report.client_order_id)
        if key in self._seen:
            self.duplicates += 1
            return
        self._tell(report)  # before it counts as seen: twice is better than never
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        self.reports += 1
        self.progress()

    def _subscribed(self, name: str, at_mono_ns: int) -> None:
        connection = self._connections.get(name)
        if connection is None or connection.stage is not _Stage.CONNECTED:
            return
        self._never_confirmed_since_s = None
        self._refusals = 0
        self.progress()
        log.info("user_stream.subscribed", venue=self._venue.name, connection=name)
        self._told_subscribed()
        self._group.on_up(name, time.monotonic())
        self._carry_out()
        if not self._up:
            self._tell(UserStreamUp(self._venue.name, name, True, at_mono_ns))
            self._up = True
        self.subscribed_to = name
        connection.move_to(_Stage.SUBSCRIBED)  # last: what fails in the midst of this is done again

    def _was_refused(self, name: str, error: Exception) -> None:
        self._never_confirmed_since_s = None  # it understands, and says no
        said = self._refused(error) or str(error)
        log.error("user_stream.refused", venue=self._venue.name, connection=name, error=said)
        if isinstance(error, RetryError):
            self._break(name, str(error))
            return
        pause_s = _REFUSED_PAUSE_S[min(self._refusals, len(_REFUSED_PAUSE_S) - 1)]
        self._refusals += 1
        self._reopen_at_s = time.monotonic() + pause_s
        self._group.change((), "the venue refused the subscription")
        self._carry_out()

    def _break(self, name: str, reason: str) -> None:
        """This connection is worthless: connect it anew."""
        connection = self._connections.get(name)
        if connection is not None and connection.stage is not _Stage.BROKEN:
            self._ended(name, reason)
            self._sockets.reconnect(name, reason)
            connection.move_to(_Stage.BROKEN)

    def _down(self, name: str, reason: str) -> None:
        connection = self._connections.get(name)
        if connection is not None and connection.stage is not _Stage.BROKEN:
            self._ended(name, reason)
        self._lost(name, reason)
        self._group.on_down(name, time.monotonic())
        self._carry_out()
        self._connections.pop(name, None)

    def _ended(self, name: str, reason: str) -> None:
        """No events from this connection any more; a break when there is no other."""
        others = [
            other
            for other, connection in self._connections.items()
            if other != name and connection.stage is _Stage.SUBSCRIBED
        ]
        self.subscribed_to = others[-1] if others else None
        if self._up and not others:
            self._tell(UserStreamDown(self._venue.name, reason, time.monotonic_ns()))
            self._up = False
            self.breaks += 1
            write = log.info if reason == "stopped" else log.warning
            write("user_stream.down", venue=self._venue.name, connection=name, reason=reason)

    def _tell(self, message: Told) -> None:
        for listener in self._listeners:
            if not listener.offer(message):
                self.dropped += 1
                log.error("user_stream.dropped", venue=self._venue.name, message=type(message).__name__)

    def _carry_out(self) -> None:
        effects = self._group.effects
        while effects:
            effect = effects[0]  # taken away when it is done: a socket that was not opened is waited for in vain
            if isinstance(effect, OpenFeed):
                self._sockets.open(effect.feed)
            elif isinstance(effect, CloseFeed):
                self._sockets.close(effect.feed, effect.reason)
            elif isinstance(effect, FeedRotated):
                log.info(
                    "stream.rotated",
                    venue=self._venue.name,
                    connection=effect.successor,
                    streams=len(effect.streams),
                    reason=effect.reason,
                    overlap_ms=round(effect.overlap_ms, 3),
                )
            effects.popleft()
