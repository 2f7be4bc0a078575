import json

from binmon.sandbox.fates import Fate
from binmon.sandbox.http_server import Answer

TRUE = Answer(200, '{"orderId":1}')


def test_a_late_answer_is_the_true_one():
    assert Fate("late", seconds=2).rest(TRUE) == Answer(200, '{"orderId":1}', delay_s=2)
    assert Fate("late", seconds=2).error is None


def test_a_status_tells_nothing():
    page = Fate("status", 502).rest(TRUE)
    assert (page.status, page.from_venue) == (502, False)
    assert "502 Bad Gateway" in page.body and "orderId" not in page.body
    assert (Fate("status", 502).error.status, Fate("status").error.code) == (502, -1000)


def test_a_timeout_says_that_nobody_knows():
    answer = Fate("timeout", 504).rest(TRUE)
    assert (answer.status, json.loads(answer.body)["code"]) == (504, -1007)
    assert "execution status unknown" in json.loads(answer.body)["msg"]
    assert Fate("timeout").error.code == -1007


def test_ends_of_the_connection():
    assert Fate("reset").rest(TRUE).reset
    assert Fate("silent", seconds=9).rest(TRUE) == Answer(500, "", reset=True, delay_s=9)
    assert Fate("reset", seconds=9).rest(TRUE).delay_s == 0
    for answer in (TRUE, Answer(503, "{}")):  # whether the order was carried out does not show
        closed = Fate("closed").rest(answer)
        assert (closed.status, closed.break_after) == (200, 0)
    assert Fate("closed").error is None
