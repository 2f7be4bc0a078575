"""The order of those who wait for weight."""

from binmon.messages import Priority
from binmon.net.claims import OVERDUE_S, ClaimQueue
from binmon.net.weights import WeightWindow

T0 = 1_800_000_000.0
MID = T0 + 30
NEXT = T0 + 61  # in the next minute, past its edge


class Case:
    """A full minute of 1000, and whoever queues up in it."""

    def __init__(self):
        self.window = WeightWindow(1000, edge_s=0.5)
        self.queue = ClaimQueue(self.window)
        self.window.take(1000, MID)
        self.window.settle(1000, 1000, MID, MID)

    def enter(self, priority, weight=10, now_s=MID):
        return self.queue.enter(weight, Priority[priority], now_s)

    def served(self, now_s):
        return [(claim.priority.name, claim.weight) for claim in self.queue.deal(now_s)]


def test_higher_priorities_go_first_and_then_who_came_first():
    case = Case()
    for priority in ("LISTING", "AUDIT", "RESYNC", "INITIAL_SYNC", "ORDER"):
        case.enter(priority, 10, MID)
        case.enter(priority, 20, MID)
    assert case.served(MID + 1) == []
    assert case.queue.waiting() == dict.fromkeys(Priority, 2) and len(case.queue) == 10
    assert case.served(NEXT) == [
        (priority.name, weight) for priority in Priority for weight in (10, 20)
    ]  # fmt: skip
    assert case.queue.waiting() == {}


def test_a_light_request_does_not_take_what_a_heavy_one_before_it_waits_for():
    case = Case()
    case.enter("RESYNC", 600)
    case.enter("RESYNC", 500)
    case.enter("RESYNC", 10)
    case.enter("INITIAL_SYNC", 10)
    assert case.served(NEXT) == [("RESYNC", 600)]  # 900 is the share; the second needs what is left of it
    assert case.queue.claimed_against(Priority.LISTING, NEXT) == 520
    assert case.queue.claimed_against(Priority.ORDER, NEXT) == 0
    case.window.settle(600, 600, NEXT + 1, NEXT)
    # by now the initial sync is overdue, so it goes before the second of the resyncs
    assert case.served(NEXT + 60) == [("RESYNC", 500), ("INITIAL_SYNC", 10), ("RESYNC", 10)]


def test_an_overdue_priority_gets_one_request_ahead_of_all_but_orders():
    case = Case()
    case.enter("AUDIT", 250, NEXT - OVERDUE_S)
    case.enter("AUDIT", 250, NEXT - OVERDUE_S)
    case.enter("LISTING", 20, NEXT - OVERDUE_S)
    for _ in range(4):
        case.enter("RESYNC", 200, NEXT - 1)
    case.enter("ORDER", 100, NEXT - 1)
    assert case.served(NEXT) == [("ORDER", 100), ("AUDIT", 250), ("LISTING", 20), ("RESYNC", 200), ("RESYNC", 200)]
    assert case.queue.waiting() == {Priority.RESYNC: 2, Priority.AUDIT: 1}


def test_who_gives_up_and_comes_back_has_waited_all_the_while():
    case = Case()
    first = case.enter("LISTING", 20, NEXT - OVERDUE_S)
    assert case.queue.leave(first) and not case.queue.leave(first)
    case.enter("RESYNC", 900, NEXT - 1)
    case.enter("LISTING", 20, NEXT - 1)
    assert case.served(NEXT) == [("LISTING", 20)]


def test_a_request_that_can_never_go_keeps_nobody_out():
    case = Case()
    never = case.enter("ORDER", 1001)
    last = case.enter("LISTING", 10)
    assert case.queue.claimed_before(last, MID)[0] == 0
    assert case.served(NEXT) == [("LISTING", 10)]
    assert case.queue.leave(never)
