"""What is said of prices that cross a line: messages, lines of the log, and signals for whoever wants to hear of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

import structlog

from binmon.messages import AlertName, AlertSignal, PriceCrossed, PriceReturned, Severity
from binmon.watch.thresholds import Crossed, Line, Returned, Side, Threshold, thresholds

log = structlog.get_logger("binmon.watch")

REPEAT_S = 10.0
"""How often the alerts hear that a price stands where it stood, while it is looked at: they tell by it that somebody is
still watching, and count by it how often a condition was seen."""


@dataclass(frozen=True, slots=True)
class Watching:
    """What is watched: ``source`` is ``candle`` or ``trade``, ``what`` such as ``1m close`` and empty for trades."""

    venue: str
    symbol: str
    source: str
    what: str = ""

    def subject(self, line: Line) -> str:
        """The condition of a line, as the alerts name it."""
        return f"{self.venue} {self.symbol} {self.what or self.source} {line.direction.value} {plain(line.price)}"


@dataclass(slots=True)
class Told:
    """What one observation amounts to."""

    messages: list[PriceCrossed | PriceReturned] = field(default_factory=list)
    signals: list[AlertSignal] = field(default_factory=list)


class Lines:
    """The lines of one thing that is watched: observes prices, writes the log, and gives what others should hear."""

    def __init__(self, watching: Watching, wanted: tuple[Line, ...]) -> None:
        self.watching = watching
        self._thresholds = [Threshold(line) for line in dict.fromkeys(wanted)]
        self._told_s: dict[Line, float] = {}
        self.crossings = 0

    @property
    def sides(self) -> tuple[tuple[Line, Side], ...]:
        """Where the price stands to each line."""
        return tuple((threshold.line, threshold.side) for threshold in self._thresholds)

    def change(self, wanted: tuple[Line, ...], at_ns: int) -> Told:
        """Other lines from now on; what is not wanted any more is over."""
        self._thresholds, gone = thresholds(wanted, self._thresholds)
        told = Told()
        for threshold in gone:
            self._told_s.pop(threshold.line, None)
            if threshold.side is Side.BEYOND:
                text = f"{self._name()} is no longer watched for {self._line(threshold.line)}"
                told.signals.append(self._signal(threshold.line, False, text, at_ns, None))
        return told

    def observe(self, price: Decimal, at_ms: int, now_s: float, at_ns: int, arrived_mono_ns: int | None = None) -> Told:
        """Look at a price: ``at_ms`` is the venue's time of it, ``at_ns`` our wall clock."""
        told = Told()
        for threshold in self._thresholds:
            change = threshold.observe(price, at_ms)
            if isinstance(change, Crossed):
                self._crossed(change, told, at_ns, arrived_mono_ns)
            elif isinstance(change, Returned):
                self._returned(change, told, at_ns, arrived_mono_ns)
            elif now_s - self._told_s.get(threshold.line, now_s - REPEAT_S) >= REPEAT_S:
                beyond = threshold.side is Side.BEYOND
                text = f"{self._name()} is at {plain(price)}, {'' if beyond else 'not '}{self._line(threshold.line)}"
                if beyond:
                    text += f" for {_duration(at_ms - threshold.since_ms)}"
                told.signals.append(self._signal(threshold.line, beyond, text, at_ns, None))
            else:
                continue
            self._told_s[threshold.line] = now_s
        return told

    def _crossed(self, change: Crossed, told: Told, at_ns: int, arrived_mono_ns: int | None) -> None:
        line, watching = change.line, self.watching
        self.crossings += 1
        log.warning(
            "price.crossed",
            venue=watching.venue,
            symbol=watching.symbol,
            source=watching.source,
            price=float(change.price),
            threshold=float(line.price),
            direction=line.direction.value,
            watch=watching.what or None,
            already=change.already,
        )
        message = PriceCrossed(
            watching.venue,
            watching.symbol,
            watching.source,
            watching.what,
            change.price,
            line.price,
            line.direction.value,
            change.already,
            change.at_ms,
        )
        when = " already when first looked at" if change.already else ""
        text = f"{self._name()} is at {plain(change.price)}, {self._line(line)}{when}"
        told.messages.append(message)
        told.signals.append(self._signal(line, True, text, at_ns, arrived_mono_ns))

    def _returned(self, change: Returned, told: Told, at_ns: int, arrived_mono_ns: int | None) -> None:
        line, watching = change.line, self.watching
        message = PriceReturned(
            watching.venue,
            watching.symbol,
            watching.source,
            watching.what,
            change.price,
            line.price,
            line.direction.value,
            change.since_ms,
            change.at_ms,
        )
        log.info(
            "price.returned",
            venue=watching.venue,
            symbol=watching.symbol,
            source=watching.source,
            price=float(change.price),
            threshold=float(line.price),
            direction=line.direction.value,
            watch=watching.what or None,
            beyond_s=message.beyond_ms / 1000,
        )
        text = (
            f"{self._name()} is back at {plain(change.price)}, after {_duration(message.beyond_ms)} {self._line(line)}"
        )
        told.messages.append(message)
        told.signals.append(self._signal(line, False, text, at_ns, arrived_mono_ns))

    def _name(self) -> str:
        watching = self.watching
        return f"{watching.symbol} on {watching.venue} ({watching.what or watching.source})"

    @staticmethod
    def _line(line: Line) -> str:
        return f"{line.direction.value} {plain(line.price)}"

    def _signal(self, line: Line, firing: bool, text: str, at_ns: int, arrived_mono_ns: int | None) -> AlertSignal:
        subject = self.watching.subject(line)
        return AlertSignal(
            AlertName.PRICE_CROSSED, subject, firing, Severity.WARNING, text, at_ns, arrived_mono_ns=arrived_mono_ns
        )


def plain(price: Decimal) -> str:
    """A price as people write it: no exponent, no zeros at the end."""
    text = format(price, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _duration(ms: int) -> str:
    """A length of time for people: ``4.2 s``, ``12 min 5 s``, ``3 h 20 min``."""
    seconds = max(0, ms) / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s} s"
    return f"{minutes // 60} h {minutes % 60} min"
