"""A dispatcher and a delivery that fail at whatever line, and are run again: every message arrives, in order."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

import binmon.alerts.delivery
import binmon.alerts.dispatcher
from binmon.alerts.delivery import TargetDelivery
from binmon.alerts.dispatcher import AlertDispatcher
from binmon.alerts.notification import Notification
from binmon.alerts.rules import AlertRules
from binmon.alerts.targets import Target
from binmon.core.channel import Channel, Overflow
from tests.alerts.messages import message, signal
from tests.core.interruptions import Interrupted, interrupt, places

MODULE = binmon.alerts.dispatcher


class UntilEmpty(threading.Event):
    """A stop that comes when all is taken."""

    def __init__(self, channel: Channel[Any]) -> None:
        super().__init__()
        self._channel = channel

    def is_set(self) -> bool:
        return not len(self._channel)


class Dispatching:
    """Three conditions, of which one recovers."""

    def __init__(self) -> None:
        self.signals: Channel[Any] = Channel("alerts", 100, Overflow.DROP_OLDEST)
        self.out: Channel[Notification] = Channel("target", 100, Overflow.DROP_OLDEST)
        self.dispatcher = AlertDispatcher("alerts", self.signals, AlertRules(), [self.out])
        for number, firing in ((1, True), (2, True), (1, False), (3, True)):
            self.signals.offer(signal(number, firing=firing))

    def __call__(self) -> None:
        self.dispatcher.run(UntilEmpty(self.signals))

    def told(self) -> list[tuple[str, str]]:
        found = []
        while (one := self.out.take(0)) is not None:
            found.append((one.subject, one.kind.value))
        return found


def test_every_alert_is_told() -> None:
    whole = Dispatching()
    numbers = list(places(whole, MODULE))
    story = whole.told()
    assert [kind for _, kind in story] == ["raised", "raised", "recovered", "raised"] and len(numbers) > 50
    for number in numbers:
        work = Dispatching()
        assert interrupt(work, number, MODULE)
        work()
        told = work.told()
        shortened = [one for index, one in enumerate(told) if index == 0 or one != told[index - 1]]
        assert shortened == story, f"interrupted at {number}"


class Keeping(Target):
    """Keeps what it is sent, and holds up the first of it until it may go on."""

    def __init__(self) -> None:
        super().__init__("notify[0] keeping")
        self.sent: list[str] = []
        self.goes_on = threading.Event()

    def send(self, notifications: Sequence[Notification]) -> None:
        self.goes_on.wait(30)
        self.sent += [one.subject for one in notifications]


def test_a_message_that_is_on_its_way_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Keeping()
    worker, stop = TargetDelivery("alerts-0", target), threading.Event()
    first, second = message(1), message(2)
    worker.queue.offer(first)
    worker.queue.offer(second)

    def fail() -> None:
        """While it waits for the end of the sending."""
        if worker._sending is not None:
            raise Interrupted

    with monkeypatch.context() as broken:
        broken.setattr(worker, "beat", fail)
        with pytest.raises(Interrupted):
            worker.run(stop)
    target.goes_on.set()
    running = threading.Thread(target=worker.run, args=(stop,))
    running.start()
    until(lambda: worker.sent_count == 2)
    stop.set()
    running.join(30)
    assert target.sent == [first.subject, second.subject] and worker.failed_count == 0


def test_what_was_sent_is_not_sent_again_when_telling_so_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Keeping()
    target.goes_on.set()
    worker, stop = TargetDelivery("alerts-0", target), threading.Event()
    worker.queue.offer(message(1))

    class Failing:
        def info(self, *_: object, **__: object) -> None:
            raise Interrupted

    with monkeypatch.context() as broken:
        broken.setattr(binmon.alerts.delivery, "log", Failing())
        with pytest.raises(Interrupted):
            worker.run(stop)
    stop.set()
    worker.run(stop)
    assert len(target.sent) == 1


def until(true: Any) -> None:
    end = threading.Event()
    for _ in range(3000):
        if true():
            return
        end.wait(0.01)
    raise AssertionError("waited in vain")
