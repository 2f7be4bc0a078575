"""What the venue allows an address and an account."""

from __future__ import annotations

import pytest

from binmon.messages import Priority
from binmon.venues.bybit.limits import EndpointLimits, ledger_of

CREATE = "/v5/order/create"
NOW_MS = 1_764_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def headers(limit: int, left: int, reset_ms: int) -> dict[str, str]:
    return {"X-Bapi-Limit": f"{limit}", "X-Bapi-Limit-Status": f"{left}", "X-Bapi-Limit-Reset-Timestamp": f"{reset_ms}"}


def test_twenty_orders_a_second() -> None:
    clock = Clock()
    limits = EndpointLimits(clock)
    assert [limits.take(CREATE) for _ in range(20)] == [0.0] * 20
    assert 1.0 < limits.take(CREATE) <= 1.1
    assert limits.take("/v5/order/cancel") == 0.0  # each endpoint has its own
    clock.now_s += 1.1
    assert limits.take(CREATE) == 0.0


def test_the_limit_of_the_headers_is_believed() -> None:
    clock = Clock()
    limits = EndpointLimits(clock)
    assert limits.heard(CREATE, headers(2, 1, NOW_MS), NOW_MS) == 0.0
    assert [limits.take(CREATE) for _ in range(2)] == [0.0, 0.0]
    assert limits.take(CREATE) > 0


def test_a_limit_that_is_used_up_blocks_until_it_is_reset() -> None:
    clock = Clock()
    limits = EndpointLimits(clock)
    assert limits.heard(CREATE, headers(20, 0, NOW_MS + 700), NOW_MS) == 0.7
    assert limits.take(CREATE) == pytest.approx(0.7)
    clock.now_s += 0.7
    assert limits.take(CREATE) == 0.0


def test_a_refusal_blocks_and_the_longest_counts() -> None:
    clock = Clock()
    limits = EndpointLimits(clock)
    limits.limited(CREATE, 1.0)
    limits.limited(CREATE, 0.3)
    assert limits.take(CREATE) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "told", [{}, {"X-Bapi-Limit": "x"}, {"X-Bapi-Limit": "0", "X-Bapi-Limit-Status": "-1"}, headers(0, 0, 10**30)]
)
def test_headers_without_sense_change_nothing(told: dict[str, str]) -> None:
    clock = Clock()
    limits = EndpointLimits(clock)
    assert limits.heard(CREATE, told, NOW_MS) is None
    assert [limits.take(CREATE) for _ in range(20)] == [0.0] * 20


def test_no_header_blocks_for_long() -> None:
    limits = EndpointLimits(Clock())
    assert limits.heard(CREATE, headers(20, 0, NOW_MS + 10**9), NOW_MS) == 60.0


def test_no_five_seconds_hold_more_than_600_requests() -> None:
    now_s = 1_764_000_000.0 - 0.5  # as bad as it gets: right before one window ends
    ledger = ledger_of(clock=lambda: now_s)
    sent: list[float] = []
    for step in range(2000):
        at_s = now_s + step * 0.005
        if ledger.reserve(1, Priority.ORDER, at_s) == 0.0:
            sent.append(at_s)
            ledger.settle(1, None, at_s)
    most = max(sum(at_s <= other < at_s + 5 for other in sent) for at_s in sent)
    assert 250 < most <= 600
