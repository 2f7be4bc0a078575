from binmon.sandbox.limits import WeightLedger

MINUTE = 1_784_599_980.0


def test_window_is_aligned_and_starts_anew():
    ledger = WeightLedger(100, 60, 120)
    assert ledger.charge("a", 60, MINUTE + 59).status == 200
    refused = ledger.charge("a", 50, MINUTE + 59.5)
    assert (refused.status, refused.used, refused.retry_after_s) == (429, 110, 1)
    assert ledger.charge("b", 50, MINUTE + 59.5).status == 200
    assert ledger.charge("a", 50, MINUTE + 60).used == 50
    assert ledger.used("a", MINUTE + 61) == 50


def test_ignoring_429_is_a_ban_that_grows():
    ledger = WeightLedger(10, 60, 120)
    lengths = []
    now = MINUTE
    for _ in range(3):
        verdicts = []
        while not verdicts or verdicts[-1].status != 418:
            verdicts.append(ledger.charge("a", 6, now))
        assert [one.status for one in verdicts].count(429) == 10
        lengths.append(verdicts[-1].retry_after_s)
        assert ledger.charge("a", 1, now + 30).status == 418
        assert ledger.charge("a", 1, now + 30).retry_after_s == lengths[-1] - 30
        now += (lengths[-1] // 60 + 1) * 60
    assert lengths == [121, 241, 481]
    ledger.forgive()
    assert ledger.charge("a", 1, now - 60).status == 200


def test_a_ban_counts_down_and_is_forgiven():
    ledger = WeightLedger(100, 60, 120.0)
    assert ledger.ban("a", 30.0, 1000.0).banned_until_ms == 1_030_000
    verdict = ledger.charge("a", 1, 1010.0)
    assert (verdict.status, verdict.retry_after_s) == (418, 21)
    assert ledger.charge("b", 1, 1010.0).status == 200
    assert ledger.charge("a", 1, 1031.0).status == 200
    ledger.ban("a", 30.0, 1040.0)
    ledger.forgive()
    assert ledger.charge("a", 1, 1041.0).status == 200


def test_weight_may_be_added_afterwards():
    ledger = WeightLedger(10, 60, 120)
    assert ledger.charge("a", 0, MINUTE).status == 200
    ledger.add("a", 11, MINUTE)
    assert ledger.used("a", MINUTE) == 11
    assert ledger.charge("a", 0, MINUTE).status == 429
