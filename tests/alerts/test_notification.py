"""What messages say."""

from __future__ import annotations

import pytest

from binmon.alerts.notification import in_words, notification, together
from binmon.alerts.rules import Notify, NotifyKind
from binmon.messages import Severity
from tests.alerts.messages import message, signal


def test_a_new_alert_says_what_and_when_and_where() -> None:
    one = message(7, severity=Severity.ERROR)
    assert one.title == "ERROR latency.delayed: binance S7"
    assert one.body == "took 7 s\n2023-11-14T22:13:20Z host-1"


@pytest.mark.parametrize(
    ("effect", "title", "history"),
    [
        (
            Notify(NotifyKind.REMINDER, signal(1), Severity.ERROR, 14, 3, 7500.0, 0.0),
            "Still ERROR latency.delayed: binance S1",
            "for 2 h 5 min; seen 14 times since the last message; it went and came back 3 times",
        ),
        (
            Notify(NotifyKind.REMINDER, signal(1), Severity.ERROR, 0, 0, 7200.0, 3600.0),
            "Still ERROR latency.delayed: binance S1",
            "for 2 h; nothing heard of it for 1 h",
        ),
        (
            Notify(NotifyKind.RECOVERED, signal(1, firing=False), Severity.ERROR, 0, 0, 42.0, 0.0),
            "Over: latency.delayed: binance S1",
            "it lasted 42 s",
        ),
        (
            Notify(NotifyKind.EXPIRED, signal(1), Severity.ERROR, 0, 0, 90000.0, 86400.0),
            "Given up: latency.delayed: binance S1",
            "for 1 d 1 h; nothing heard of it for 1 d",
        ),
        (
            Notify(NotifyKind.RAISED, signal(1, once=True), Severity.INFO, 49, 0, 0.0, 0.0),
            "INFO latency.delayed: binance S1",
            "seen 49 times",
        ),
    ],
)
def test_how_it_went_on(effect: Notify, title: str, history: str) -> None:
    one = notification(effect, 0.0)
    assert (one.title, one.history) == (title, history)


def test_several_in_one_keep_within_the_room_and_name_the_worst() -> None:
    many = [message(n, text="x" * 5000, severity=Severity.CRITICAL if n == 3 else Severity.INFO) for n in range(10)]
    assert len(many[0].text) == 1000
    title, body = together(many, 2000)
    assert title == "10 alerts, worst CRITICAL"
    assert len(body) <= 2000
    assert body.count("\n") == 9
    assert "binance S9" in body


def test_what_would_break_a_service_is_replaced() -> None:
    one = message(text="a\r\nBcc: x\x00\udcff ₿", name="a\nb")
    assert (one.text, one.alert) == ("a  Bcc: x \\udcff ₿", "a b")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min"), (3600, "1 h"), (3661, "1 h 1 min"), (200000, "2 d 7 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
