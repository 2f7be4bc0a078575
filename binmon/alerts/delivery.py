"""The workers that bring messages to people: one for each target, so that a slow one delays nobody else."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from binmon.alerts.notification import Notification
from binmon.alerts.targets import TOTAL_TIMEOUT_S, Target, TargetFailed, TargetRefused, build
from binmon.core.backoff import Backoff, BackoffPolicy
from binmon.core.channel import Channel, Overflow
from binmon.core.deadline import Deadline
from binmon.core.worker import Worker

log = structlog.get_logger("binmon.alerts")

QUEUE_CAPACITY = 200
_LOOK_S = 0.25
_TURN_S = 0.1  # the longest that a stop goes unnoticed while a message is being sent
_MOST_REFUSALS = 3  # a service that does not want a message may be asked again, but not for an hour
_MOST_HANGING = 3  # sendings that were given up and still have not returned
_POLICY = BackoffPolicy(first_s=1.0, factor=2.0, cap_s=120.0, jitter=0.3)

_Failure = TargetFailed | TargetRefused


@dataclass(frozen=True, slots=True)
class _Sending:
    """One call of ``Target.send`` in a thread of its own. ``answers`` gets None when it is done, else why not."""

    batch: tuple[Notification, ...]
    thread: threading.Thread
    answers: queue.SimpleQueue[_Failure | None]


class TargetDelivery(Worker):
    """Takes messages from ``queue`` (bounded; the oldest is dropped) and sends them in order, each until it is taken.

    A failure is tried again with growing, jittered pauses of at most two minutes, or when the service says; after
    ``max_age_s`` a message is given up, as it is after three refusals (a wrong token does not heal). What a service
    took but did not acknowledge in time is sent again: a message may come twice, but not get lost silently.

    Sending happens in a thread that can be given up: no library bounds a request as a whole, and a stop must not wait.
    At a stop, what waits is tried once more for ``drain_s``.

    For ``/metrics``: ``sent_count``, ``failed_count`` (attempts), ``given_up_count`` (messages), ``queue.dropped``,
    ``last_error``, and ``failing_since_mono_s`` (None while messages arrive).
    """

    def __init__(
        self,
        name: str,
        target: Target,
        *,
        policy: BackoffPolicy = _POLICY,
        capacity: int = QUEUE_CAPACITY,
        attempt_s: float = TOTAL_TIMEOUT_S + 5.0,
        max_age_s: float = 3600.0,
        drain_s: float = 1.0,
    ) -> None:
        super().__init__(name)
        self.target = target
        self.queue: Channel[Notification] = Channel(name, capacity, Overflow.DROP_OLDEST)
        self.sent_count = 0
        self.failed_count = 0
        self.given_up_count = 0
        self.last_error = ""
        self.failing_since_mono_s: float | None = None
        self._backoff = Backoff(policy)
        self._attempt_s, self._max_age_s, self._drain_s = attempt_s, max_age_s, drain_s
        self._batch: tuple[Notification, ...] = ()
        self._tries = 0  # of the batch
        self._refusals = 0  # of the batch
        self._sending: _Sending | None = None  # whose end is waited for
        self._hanging: list[_Sending] = []
        self._drained_by: Deadline | None = None

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.beat()
            if not self._batch:
                self._begin(self._next(_LOOK_S))
                continue
            failure = None if self._arrived_late() else self._attempt(stop)
            if stop.is_set() and failure is not None:
                break  # tried once more below
            if failure is None:
                self._sent()
                self._pause(self.target.pause_s, stop)
            else:
                self._pause(self._failed(failure), stop)
        self._drain(stop)

    # A batch: the messages that are sent as one ----------------------------------------------------------------------

    def _next(self, timeout_s: float) -> tuple[Notification, ...]:
        first = self.queue.take(timeout_s)
        if first is None:
            return ()
        batch = [first]
        while len(batch) < self.target.most_at_once and (one := self.queue.take(0)) is not None:
            batch.append(one)
        return tuple(batch)

    def _begin(self, batch: tuple[Notification, ...]) -> None:
        """Make ``batch`` the one that is sent; messages that have waited for too long behind others are given up."""
        self._batch, self._tries, self._refusals = batch, 0, 0
        self._give_up([one for one in batch if self._is_old(one, 0.0)], "it had waited for too long")

    def _is_old(self, one: Notification, in_s: float) -> bool:
        return time.monotonic() + in_s - one.created_mono_s > self._max_age_s

    def _give_up(self, messages: Sequence[Notification], error: str) -> None:
        """Take ``messages`` out of the batch for good."""
        for one in messages:
            self.given_up_count += 1
            self._log_failure(one, error, None)
        self._batch = tuple(one for one in self._batch if not any(one is lost for lost in messages))

    def _sent(self) -> None:
        self._tries += 1
        batch, self._batch = self._batch, ()  # first: whatever else fails, it is not sent again
        self._backoff.reset()
        self.last_error, self.failing_since_mono_s = "", None
        for one in batch:
            self.sent_count += 1
            log.info("alert.sent", alert=one.alert, subject=one.subject, target=self._target_name, attempt=self._tries)
        self.progress()

    def _failed(self, failure: _Failure) -> float:
        """Take a failure in; how long to wait before the next attempt."""
        self._tries += 1
        self.failed_count += 1
        self.last_error = failure.reason
        if self.failing_since_mono_s is None:
            self.failing_since_mono_s = time.monotonic()
        retry_in_s = self._backoff.next_delay_s()
        lost: list[Notification] = []
        if isinstance(failure, TargetRefused):
            self._refusals += 1
            if self._refusals >= _MOST_REFUSALS:
                lost = list(self._batch)
        else:
            retry_in_s = max(retry_in_s, failure.retry_after_s)
        lost = lost or [one for one in self._batch if self._is_old(one, retry_in_s)]
        self._give_up(lost, failure.reason)
        for one in self._batch:
            self._log_failure(one, failure.reason, retry_in_s)
        return retry_in_s

    def _log_failure(self, one: Notification, error: str, retry_in_s: float | None) -> None:
        log.error(
            "alert.failed",
            alert=one.alert,
            subject=one.subject,
            target=self._target_name,
            attempt=self._tries,
            error=error,
            retry_in_s=None if retry_in_s is None else round(retry_in_s, 3),
            final=retry_in_s is None,
        )

    @property
    def _target_name(self) -> str:
        return self.target.describe()

    # One attempt ----------------------------------------------------------------------------------------------------

    def _attempt(self, stop: threading.Event) -> _Failure | None:
        """Send the batch; None when it was taken. Returns early, as failed, when a stop leaves no more time."""
        self._hanging = [sending for sending in self._hanging if sending.thread.is_alive()]
        if self._sending is None:
            if len(self._hanging) >= _MOST_HANGING:
                return TargetFailed("earlier attempts still hang")
            self._sending = self._send(self._batch)
        # else this worker has failed while it waited: the message is on its way
        sending = self._sending
        deadline = Deadline(self._attempt_s)
        while (left_s := self._left_s(deadline, stop)) > 0:
            self.beat()
            try:
                failure = sending.answers.get(timeout=min(_TURN_S, left_s))
            except queue.Empty:
                continue
            self._sending = None
            return failure
        self._hanging.append(sending)
        self._sending = None
        return TargetFailed("no end of the attempt in time")

    def _send(self, batch: tuple[Notification, ...]) -> _Sending:
        answers: queue.SimpleQueue[_Failure | None] = queue.SimpleQueue()
        target = self.target

        def send() -> None:
            try:
                target.send(batch)
                answers.put(None)
            except (TargetFailed, TargetRefused) as failure:
                answers.put(failure)
            except Exception as error:  # a bug of the target; its text may quote a URL
                answers.put(TargetFailed(type(error).__name__))

        thread = threading.Thread(target=send, name=f"{self.name}-sending", daemon=True)
        thread.start()
        return _Sending(batch, thread, answers)

    def _arrived_late(self) -> bool:
        """Whether an attempt at this batch that was given up has succeeded after all."""
        return any(
            sending.batch == self._batch and not sending.answers.empty() and sending.answers.get() is None
            for sending in self._hanging
        )

    # Waiting --------------------------------------------------------------------------------------------------------

    def _pause(self, seconds: float, stop: threading.Event) -> None:
        deadline = Deadline(seconds)
        while not deadline.passed and not stop.wait(min(1.0, deadline.remaining_s())):
            self.beat()

    def _left_s(self, deadline: Deadline, stop: threading.Event) -> float:
        if stop.is_set() and self._drained_by is None:
            self._drained_by = Deadline(self._drain_s)
        left_s = deadline.remaining_s()
        return left_s if self._drained_by is None else min(left_s, self._drained_by.remaining_s())

    def _drain(self, stop: threading.Event) -> None:
        """What waits is tried once while there is time; the rest is given up, and said."""
        while self._batch or len(self.queue):
            self.beat()
            if not self._batch:
                self._begin(self._next(0))
                continue
            failure: _Failure | None = TargetFailed("the daemon stopped before it was sent")
            if self._left_s(Deadline(self._attempt_s), stop) > 0:
                failure = self._attempt(stop)
            if failure is None:
                self._sent()
            else:
                self._tries += 1
                self._give_up(list(self._batch), failure.reason)


def deliveries(urls: Sequence[str]) -> list[TargetDelivery]:
    """A worker for each URL of ``alerts.notify``; raises ConfigError as ``targets.build`` does."""
    return [TargetDelivery(f"alerts-{index}", target) for index, target in enumerate(build(urls))]
