"""Known symbols and looks of users in the state database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from binmon.messages import FirstSeenBy
from binmon.state import State, StateFailed
from binmon.watch.known import KnownSymbol, KnownSymbols


def symbol(name: str, at_ms: int = 1_000, by: FirstSeenBy = FirstSeenBy.EXCHANGE_INFO) -> KnownSymbol:
    return KnownSymbol("binance", name, name[:3], "USDT", "TRADING", at_ms, by, None, at_ms)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def test_what_is_kept_outlives_a_restart(path: Path) -> None:
    state = State(path)
    known = KnownSymbols(state)
    exotic = replace(symbol("这是测试币456"), lead_ms=12.5, first_seen_by=FirstSeenBy.MINI_TICKER)
    known.keep([symbol("ABCUSDT"), exotic])
    known.keep([replace(symbol("ABCUSDT"), status="BREAK", changed_ms=5_000)])
    known.keep([replace(symbol("ABCUSDT"), venue="bybit")])
    known.keep([])
    state.close()
    state = State(path)
    assert KnownSymbols(state).of_venue("binance") == {
        "ABCUSDT": replace(symbol("ABCUSDT"), status="BREAK", changed_ms=5_000),
        "这是测试币456": exotic,
    }
    state.close()


def test_a_whole_market_is_replaced(path: Path) -> None:
    state = State(path)
    known = KnownSymbols(state)
    known.keep([replace(symbol("ABCUSDT"), venue="bybit")])
    known.keep([symbol(f"A{number}USDT") for number in range(3_000)])
    known.replace("binance", {"A7USDT": symbol("A7USDT", 9), "NEWUSDT": symbol("NEWUSDT", 9)})
    assert set(known.of_venue("binance")) == {"A7USDT", "NEWUSDT"}
    assert set(known.of_venue("bybit")) == {"ABCUSDT"}
    state.close()


def test_each_user_sees_what_is_new_since_the_last_look(path: Path) -> None:
    state = State(path)
    known = KnownSymbols(state)
    known.keep([symbol("OLDUSDT", 900, FirstSeenBy.BASELINE), symbol("ONEUSDT", 1_000), symbol("TWOUSDT", 2_000)])

    def names(user: str) -> list[str]:
        return [one.symbol for one in known.new_for(user)]

    assert names("eve") == names("adam") == ["TWOUSDT", "ONEUSDT"]
    known.looked("eve", 1_500)
    assert (names("eve"), names("adam")) == (["TWOUSDT"], ["TWOUSDT", "ONEUSDT"])
    known.looked("eve", 1_200)
    assert known.looked_ms("eve") == 1_500, "two pages of one user: the later look counts"
    assert known.looked_ms("adam") is None
    known.looked("eve", 2_000)
    assert names("eve") == []
    known.keep([symbol("SIXUSDT", 3_000)])
    assert names("eve") == ["SIXUSDT"]
    state.close()


def test_a_database_that_cannot_be_used_says_so(path: Path) -> None:
    state = State(path)
    known = KnownSymbols(state)
    state.close()
    with pytest.raises(StateFailed):
        known.keep([symbol("ABCUSDT")])
