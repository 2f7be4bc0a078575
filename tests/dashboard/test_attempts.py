"""The machine that locks after wrong passwords, without a clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from binmon.dashboard.attempts import FIRST_LOCK_S, LONGEST_LOCK_S, WRONG_BEFORE_LOCK, LoginAttempts


def wrong(attempts: LoginAttempts, times: int, now_s: float, user: str = "anna", address: str = "a") -> list[str]:
    return [one.kind for _ in range(times) for one in attempts.wrong(user, address, now_s)]


def test_ten_wrong_ones_lock_the_name_and_the_address() -> None:
    attempts = LoginAttempts()
    assert wrong(attempts, WRONG_BEFORE_LOCK - 1, 0.0) == []
    assert attempts.locked_for_s("anna", "a", 0.0) == 0
    assert wrong(attempts, 1, 0.0) == ["user", "address"]
    assert attempts.locked_for_s("anna", "elsewhere", 1.0) == FIRST_LOCK_S - 1
    assert attempts.locked_for_s("bert", "a", 1.0) == FIRST_LOCK_S - 1
    assert attempts.locked_for_s("bert", "elsewhere", 1.0) <= 0
    assert attempts.locked_for_s("anna", "a", FIRST_LOCK_S) <= 0


def test_locks_grow_up_to_a_bound() -> None:
    attempts, now_s, lasted = LoginAttempts(), 0.0, []
    for _ in range(9):
        wrong(attempts, WRONG_BEFORE_LOCK, now_s)
        lasted.append(attempts.locked_for_s("anna", "b", now_s))
        now_s += 4000
    assert lasted[:4] == [60, 120, 240, 480]
    assert lasted[-1] == LONGEST_LOCK_S["user"]
    assert attempts.locked_for_s("b", "a", now_s - 4000) == LONGEST_LOCK_S["address"]


def test_a_login_lets_the_name_start_afresh_but_no_lock_of_the_address() -> None:
    attempts = LoginAttempts()
    wrong(attempts, WRONG_BEFORE_LOCK - 1, 0.0)
    attempts.right("anna", "a")
    assert wrong(attempts, WRONG_BEFORE_LOCK - 1, 1.0) == []
    # who has one account must not be able to try others for ever with it in between
    for _ in range(5):
        wrong(attempts, WRONG_BEFORE_LOCK, 2.0, user="bert")
        attempts.right("anna", "a")
    assert attempts.locked_for_s("anna", "a", 3.0) > 0


def test_what_was_long_ago_is_forgotten_and_memory_is_bounded() -> None:
    attempts = LoginAttempts(most_kept=100)
    for number in range(1000):
        wrong(attempts, 1, float(number), user=f"user-{number}", address=f"address-{number}")
    assert len(attempts) <= 102
    wrong(attempts, 1, 200_000.0)
    assert len(attempts) == 2


@given(st.lists(st.tuples(st.sampled_from(["anna", "bert"]), st.sampled_from("ab"), st.booleans(), st.floats(0, 900))))
def test_never_more_than_ten_wrong_ones_between_two_locks(
    events: list[tuple[str, str, bool, float]],
) -> None:
    attempts, now_s = LoginAttempts(), 0.0
    since: dict[tuple[str, str], int] = {}
    for user, address, right, pause_s in events:
        now_s += pause_s
        if attempts.locked_for_s(user, address, now_s) > 0:
            continue
        if right:
            attempts.right(user, address)
            since[("user", user)] = 0
            continue
        locked = {(one.kind, one.subject) for one in attempts.wrong(user, address, now_s)}
        key = ("user", user)
        since[key] = 0 if key in locked else since.get(key, 0) + 1
        assert since[key] < WRONG_BEFORE_LOCK
        for kind, subject in locked:
            probe = (subject, "elsewhere") if kind == "user" else ("somebody", subject)
            assert attempts.locked_for_s(*probe, now_s) >= FIRST_LOCK_S
