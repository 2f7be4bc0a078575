"""One message to people: what it says, in words and as fields."""

from __future__ import annotations

import datetime
import socket
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from binmon.alerts.rules import Notify, NotifyKind
from binmon.messages import Severity

_LONGEST_TEXT = 1_000
_LONGEST_NAME = 200
_SEVERITIES = tuple(Severity)


@dataclass(frozen=True, slots=True)
class Notification:
    """A message on its way to a target. ``created_mono_s`` tells its age; ``at_ns`` is the signal's wall clock, UTC."""

    kind: NotifyKind
    alert: str
    subject: str
    severity: Severity
    text: str
    at_ns: int
    count: int
    returns: int
    duration_s: float
    silent_s: float
    created_mono_s: float
    host: str

    @property
    def title(self) -> str:
        """One line: how bad, what, and of what."""
        what = f"{self.alert}: {self.subject}" if self.subject else self.alert
        if self.kind is NotifyKind.RECOVERED:
            return f"Over: {what}"
        if self.kind is NotifyKind.EXPIRED:
            return f"Given up: {what}"
        still = "Still " if self.kind is NotifyKind.REMINDER else ""
        return f"{still}{self.severity.upper()} {what}"

    @property
    def body(self) -> str:
        """The signal's text, how it has gone on, and when and where that was."""
        return "\n".join(part for part in (self.text, self.history, f"{self.at} {self.host}".rstrip()) if part)

    @property
    def history(self) -> str:
        """How long and how often, where that says more than the text; empty for what is new."""
        parts: list[str] = []
        if self.kind is NotifyKind.RECOVERED:
            parts.append(f"it lasted {in_words(self.duration_s)}")
        elif self.kind is not NotifyKind.RAISED or self.duration_s >= 1:
            parts.append(f"for {in_words(self.duration_s)}")
        if self.kind is NotifyKind.EXPIRED or (self.kind is NotifyKind.REMINDER and self.silent_s >= 60):
            parts.append(f"nothing heard of it for {in_words(self.silent_s)}")
        if self.count > 1 or (self.kind is NotifyKind.REMINDER and self.count):
            since = "" if self.kind is NotifyKind.RAISED else " since the last message"
            parts.append(f"seen {self.count} times{since}" if self.count > 1 else f"seen once{since}")
        if self.returns:
            parts.append("it went and came back" + (f" {self.returns} times" if self.returns > 1 else ""))
        return "; ".join(parts)

    @property
    def at(self) -> str:
        """When the signal was given: RFC 3339, UTC, seconds."""
        return datetime.datetime.fromtimestamp(self.at_ns // 10**9, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def notification(effect: Notify, now_mono_s: float, host: str = "") -> Notification:
    """The message for an effect of the rules. Texts are made such that any service takes them: short, and one line of
    what UTF-8 can say."""
    signal = effect.signal
    return Notification(
        effect.kind,
        _line(signal.name, _LONGEST_NAME),
        _line(signal.subject, _LONGEST_NAME),
        effect.severity,
        _line(signal.text, _LONGEST_TEXT),
        signal.at_ns,
        effect.count,
        effect.returns,
        effect.duration_s,
        effect.silent_s,
        now_mono_s,
        host or socket.gethostname(),
    )


def together(notifications: Sequence[Notification], longest: int) -> tuple[str, str]:
    """Title and body of several messages in one, the body at most ``longest`` characters (about)."""
    if len(notifications) == 1:
        return notifications[0].title, cut(notifications[0].body, longest)
    worst = worst_of(notifications)
    share = max(40, longest // len(notifications) - 1)
    lines = [cut(" - ".join(filter(None, (one.title, one.text, one.history))), share) for one in notifications]
    return f"{len(notifications)} alerts, worst {worst.upper()}", "\n".join(lines)


def worst_of(notifications: Sequence[Notification]) -> Severity:
    """The worst severity of those that are not over; INFO when all are."""
    live = [one.severity for one in notifications if one.kind is not NotifyKind.RECOVERED]
    return max(live, key=_SEVERITIES.index, default=Severity.INFO)


def cut(text: str, longest: int) -> str:
    """``text``, at most ``longest`` characters of it."""
    return text if len(text) <= longest else text[: max(0, longest - 1)] + "…"


def _line(text: str, longest: int) -> str:
    # a line break in a title would end a header of a mail
    printable = "".join(" " if unicodedata.category(one) == "Cc" else one for one in text[: longest + 1])
    return cut(printable.encode("utf-8", "backslashreplace").decode("utf-8"), longest)


def in_words(seconds: float) -> str:
    """A duration for people: ``42 s``, ``12 min``, ``3 h 5 min``, ``2 d 4 h``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        hours, rest = divmod(whole, 3600)
        return f"{hours} h" + (f" {rest // 60} min" if rest >= 60 else "")
    days, rest = divmod(whole, 86_400)
    return f"{days} d" + (f" {rest // 3600} h" if rest >= 3600 else "")
