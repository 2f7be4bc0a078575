"""New symbols: which signal was first and by how much, and what is no news."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from binmon.messages import FirstSeenBy, Instrument, SymbolListed, SymbolStatus
from binmon.watch.known import KnownSymbol
from binmon.watch.listings import (
    CONFIRM_WITHIN_S,
    DELISTED,
    MOST_AT_ONCE,
    UNCONFIRMED,
    UNLISTED,
    Baseline,
    Confirmed,
    Keep,
    ListingState,
    ListingWatch,
    LookNow,
    ManyChanged,
    Unlisted,
    VenueReset,
)

START = ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT", "EEEUSDT", "FFFUSDT")
REPORTS = (SymbolListed, SymbolStatus, ManyChanged, VenueReset)


def instrument(symbol: str, status: str = "TRADING") -> Instrument:
    return Instrument("binance", symbol, symbol[:-4], symbol[-4:], status, Decimal(1), Decimal(1))


class Hand:
    """A watch, its venue, and its database."""

    def __init__(
        self, symbols: Iterable[str] = START, *, known: dict[str, KnownSymbol] | None = None, interval_s: float = 60.0,
        ticker: bool = True,
    ) -> None:  # fmt: skip
        self.venue = {symbol: instrument(symbol) for symbol in symbols}
        self.database = dict(known or {})
        self.watch = ListingWatch("binance", self.database, interval_s, ticker=ticker)
        self.now_s = 1_000.0
        self.asked: list[tuple[int, int]] = []
        self.said: list = []

    @property
    def now_ms(self) -> int:
        return 1_700_000_000_000 + int(self.now_s * 1000)

    @property
    def now_ns(self) -> int:
        return int(self.now_s * 1e9)

    def look(self) -> None:
        changed = False
        while self.watch.effects:
            effect = self.watch.effects.popleft()
            changed = True
            if isinstance(effect, LookNow):
                self.asked.append((effect.token, self.now_ns))
            elif isinstance(effect, Keep):
                if effect.whole:
                    self.database.clear()
                self.database.update({one.symbol: one for one in effect.symbols})
            else:
                self.said.append(effect)
        if changed:
            assert self.database == dict(self.watch.known), "the database knows what the watch knows"

    def pass_time(self, seconds: float, *, answer: bool = True, step_s: float = 0.1) -> None:
        end_s = round(self.now_s + seconds, 3)
        while self.now_s < end_s:
            self.now_s = round(min(end_s, self.now_s + step_s), 3)
            self.watch.tick(self.now_s)
            self.look()
            if answer:
                self.answer()

    def answer(self, **others: Instrument) -> None:
        while self.asked:
            token, asked_ns = self.asked.pop()
            listed = {**self.venue, **others}
            self.watch.on_symbols(token, listed, self.now_s, asked_ns, self.now_ns, self.now_ms)
            self.look()

    def fail(self, retry_after_s: float = 0.0) -> None:
        while self.asked:
            self.watch.on_failed(self.asked.pop()[0], retry_after_s, self.now_s)
            self.look()

    def ticker(self, *symbols: str) -> None:
        self.watch.on_ticker(symbols, self.now_s, self.now_ns, self.now_ms)
        self.look()

    def restart(self) -> Hand:
        other = Hand((), known=self.database, interval_s=self.watch.interval_s)
        other.venue, other.now_s = self.venue, self.now_s
        return other

    def take(self) -> list:
        said, self.said = self.said, []
        return said


def ready(**options) -> Hand:
    hand = Hand(**options)
    hand.ticker("AAAUSDT")
    hand.pass_time(1.0)
    assert hand.take() == [Baseline(len(hand.venue))]
    return hand


def test_the_first_look_is_no_news_and_neither_is_a_restart() -> None:
    hand = ready()
    assert all(one.first_seen_by is FirstSeenBy.BASELINE for one in hand.database.values())
    again = hand.restart()
    assert again.watch.state is ListingState.KNOWN
    again.ticker(*START)
    again.pass_time(300.0)
    assert again.take() == []


def test_the_ticker_is_first_and_the_list_is_asked_at_once() -> None:
    hand = ready()
    hand.venue["NEWUSDT"] = instrument("NEWUSDT")
    hand.pass_time(10.0)
    assert hand.take() == []
    hand.ticker("AAAUSDT", "NEWUSDT")
    assert len(hand.asked) == 1
    seen_ms = hand.now_ms
    hand.now_s = round(hand.now_s + 0.25, 3)
    hand.answer()
    (listed,) = hand.take()
    assert listed == SymbolListed(
        "binance", "NEWUSDT", "NEW", "USDT", "TRADING", FirstSeenBy.MINI_TICKER, 250.0, seen_ms
    )
    assert hand.database["NEWUSDT"].lead_ms == 250.0
    hand.ticker("NEWUSDT")
    hand.pass_time(300.0)
    assert hand.take() == [], "once"


def test_the_list_is_first_and_the_ticker_confirms_within_a_moment() -> None:
    hand = ready()
    hand.venue["NEWUSDT"] = instrument("NEWUSDT")
    hand.pass_time(58.9)
    hand.pass_time(0.3, answer=False)
    assert len(hand.asked) == 1
    hand.answer()
    assert hand.take() == []
    hand.now_s = round(hand.now_s + 0.4, 3)
    hand.ticker("NEWUSDT")
    (listed,) = hand.take()
    assert (listed.first_seen_by, listed.lead_ms) == (FirstSeenBy.EXCHANGE_INFO, 400.0)


def test_what_the_ticker_does_not_show_is_reported_all_the_same_and_confirmed_later() -> None:
    hand = ready()
    hand.venue["NEWUSDT"] = instrument("NEWUSDT", "BREAK")
    hand.pass_time(60.0 + CONFIRM_WITHIN_S + 0.2)
    (listed,) = hand.take()
    assert (listed.status, listed.first_seen_by, listed.lead_ms) == ("BREAK", FirstSeenBy.EXCHANGE_INFO, None)
    hand.venue["NEWUSDT"] = instrument("NEWUSDT")
    hand.ticker("NEWUSDT")
    (confirmed,) = hand.take()
    assert isinstance(confirmed, Confirmed)
    assert confirmed.lead_ms > 900
    hand.pass_time(61.0)
    (status,) = hand.take()
    assert (status.status, status.previous) == ("TRADING", "BREAK")
    assert hand.database["NEWUSDT"].lead_ms == confirmed.lead_ms


def test_a_short_interval_is_kept() -> None:
    hand = ready(interval_s=2.0)
    hand.venue["NEWUSDT"] = instrument("NEWUSDT")
    hand.pass_time(2.3)
    assert [type(one) for one in hand.take()] == [SymbolListed]


def test_without_a_ticker_nothing_is_waited_for() -> None:
    hand = Hand(ticker=False)
    hand.pass_time(1.0)
    hand.take()
    hand.venue["NEWUSDT"] = instrument("NEWUSDT")
    hand.pass_time(60.0)
    (listed,) = hand.take()
    assert (listed.first_seen_by, listed.lead_ms) == (FirstSeenBy.EXCHANGE_INFO, None)


def test_statuses_and_delistings_and_their_end() -> None:
    hand = ready()
    hand.venue["AAAUSDT"] = instrument("AAAUSDT", "HALT")
    gone = hand.venue.pop("BBBUSDT")
    hand.pass_time(60.0)
    assert [(one.symbol, one.previous, one.status) for one in hand.take()] == [
        ("AAAUSDT", "TRADING", "HALT"), ("BBBUSDT", "TRADING", DELISTED),
    ]  # fmt: skip
    hand.pass_time(120.0)
    assert hand.take() == []
    hand.venue["BBBUSDT"] = gone
    hand.pass_time(60.0)
    assert [(one.symbol, one.previous, one.status) for one in hand.take()] == [("BBBUSDT", DELISTED, "TRADING")]


def test_a_reset_is_one_line_and_not_1500_listings() -> None:
    hand = ready(symbols=[f"A{number}USDT" for number in range(1500)])
    hand.venue = {f"B{number}USDT": instrument(f"B{number}USDT") for number in range(1500)}
    hand.ticker("B1USDT", "B2USDT")
    hand.answer()
    assert hand.take() == [VenueReset(1500, 1500, 1500)]
    hand.ticker(*hand.venue)
    hand.pass_time(200.0)
    assert hand.take() == []
    assert set(hand.database) == set(hand.venue)


def test_a_venue_that_comes_back_bit_by_bit_is_a_few_lines() -> None:
    names = [f"A{number}USDT" for number in range(1500)]
    hand = ready(symbols=names)
    hand.venue = {}
    hand.pass_time(61.0)
    assert hand.take() == [], "a venue that lists nothing is being built"
    hand.venue = {name: instrument(name) for name in names[:10]}
    hand.pass_time(61.0)
    hand.venue = {name: instrument(name) for name in names}
    hand.pass_time(61.0)
    said = hand.take()
    assert [type(one) for one in said] == [VenueReset, ManyChanged]
    assert len(said[1].listed) == 1490


def test_maintenance_is_one_line() -> None:
    hand = ready(symbols=[f"A{number}USDT" for number in range(100)])
    hand.venue = {symbol: instrument(symbol, "BREAK") for symbol in hand.venue}
    hand.pass_time(60.0)
    (many,) = hand.take()
    assert (len(many.changed), many.listed, many.gone, many.statuses) == (100, (), (), {"BREAK": 100})


def test_a_symbol_of_the_ticker_that_is_not_listed_is_a_listing_when_it_is() -> None:
    hand = ready()
    hand.ticker("XXXUSDT")
    hand.pass_time(100.0)
    assert hand.take() == [Unlisted("XXXUSDT")]
    assert hand.database["XXXUSDT"].status == UNLISTED
    hand.ticker("XXXUSDT")
    hand.pass_time(1.0)
    assert hand.take() == []
    hand.venue["XXXUSDT"] = instrument("XXXUSDT")
    hand.pass_time(60.0)
    (listed,) = hand.take()
    assert listed.first_seen_by is FirstSeenBy.MINI_TICKER
    assert listed.lead_ms > 90_000


def test_symbols_of_the_ticker_before_the_first_list_are_no_news() -> None:
    hand = Hand()
    hand.ticker("XXXUSDT", "AAAUSDT")
    hand.pass_time(1.0)
    assert hand.take() == [Baseline(6)]
    hand.ticker("XXXUSDT")
    hand.pass_time(200.0)
    assert hand.take() == []


def test_while_the_list_cannot_be_had_the_ticker_is_believed() -> None:
    hand = ready()
    hand.venue["NEWUSDT"] = instrument("NEWUSDT")
    hand.ticker("NEWUSDT")
    for _ in range(150):
        hand.fail()
        hand.pass_time(0.1, answer=False)
    (listed,) = hand.take()
    assert (listed.status, listed.first_seen_by, listed.lead_ms) == (UNCONFIRMED, FirstSeenBy.MINI_TICKER, None)
    hand.answer()
    hand.pass_time(70.0)
    (confirmed,) = hand.take()
    assert isinstance(confirmed, Confirmed)
    assert hand.database["NEWUSDT"].status == "TRADING"


def test_a_list_that_was_asked_for_before_the_ticker_is_not_enough() -> None:
    hand = ready()
    hand.pass_time(59.0)
    hand.pass_time(0.2, answer=False)
    assert len(hand.asked) == 1
    hand.now_s = round(hand.now_s + 0.1, 3)
    hand.ticker("NEWUSDT")
    hand.answer()
    hand.venue["NEWUSDT"] = instrument("NEWUSDT")
    hand.pass_time(0.2)
    assert [one.symbol for one in hand.take()] == ["NEWUSDT"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["list", "break", "trade", "ticker", "ticker", "pass", "pass", "fail", "restart"]),
        st.integers(0, 7),
    ),
    max_size=50,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_every_new_symbol_is_reported_once_whatever_the_order(steps: list[tuple[str, int]]) -> None:
    hand = ready()
    reported: list[str] = []
    added: set[str] = set()
    for what, number in steps:
        name = f"N{number}USDT"
        if what == "list":
            hand.venue.setdefault(name, instrument(name))
            added.add(name)
        elif what in ("break", "trade") and name in hand.venue:
            hand.venue[name] = replace(hand.venue[name], status="BREAK" if what == "break" else "TRADING")
        elif what == "ticker" and name in hand.venue:
            hand.ticker(name, "AAAUSDT")
        elif what == "pass":
            hand.pass_time(0.7 * (number + 1))
        elif what == "fail":
            hand.fail()
        elif what == "restart":
            said = hand.take()
            reported += [one.symbol for one in said if isinstance(one, SymbolListed)]
            hand = hand.restart()
    hand.pass_time(130.0, step_s=1.0)
    said = hand.take()
    reported += [one.symbol for one in said if isinstance(one, SymbolListed)]
    assert sorted(reported) == sorted(added)
    assert not any(isinstance(one, VenueReset | ManyChanged | Unlisted) for one in said)
    assert {one.symbol: one.status for one in hand.database.values()} == {
        one.symbol: one.status for one in hand.venue.values()
    }
    assert len(added) < MOST_AT_ONCE
