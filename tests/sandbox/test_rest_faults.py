import json
import time

import pytest

from binmon.sandbox.fault_kinds import checked
from binmon.sandbox.http_server import Answer
from binmon.sandbox.rest_faults import RestFault, StaleSnapshot

TRUE = Answer(200, '{"lastUpdateId":5000,"bids":[["1","1"]],"asks":[]}')


@pytest.fixture
def fault():
    return lambda **options: RestFault("rest", checked({"kind": "rest", **options})[1])


def test_filters_and_count(fault):
    one = fault(path="/depth", symbols=["AAUSDT"], count=2)
    assert one.hits("/api/v3/depth", "limit=5&symbol=AAUSDT")
    assert not one.hits("/api/v3/depth", "symbol=BBUSDT")
    assert not one.hits("/api/v3/time", "symbol=AAUSDT")
    one.use()
    assert not one.finished
    one.use()
    assert one.finished
    assert one.describe()["left"] == 0


@pytest.mark.parametrize("status", [403, 418, 429, 500, 502, 503, 504])
def test_statuses(fault, status):
    answer = fault(status=status).answer(lambda: TRUE)
    assert answer.status == status
    assert ("Retry-After" in answer.headers) == (status in (418, 429))
    if answer.content_type.startswith("application/json"):
        assert json.loads(answer.body)["code"] < 0
    else:
        assert answer.body.startswith("<html>")


@pytest.mark.parametrize("status", [403, 502, 504])
def test_pages_of_the_infrastructure_name_the_status_and_know_no_weight(fault, status):
    answer = fault(status=status).answer(lambda: TRUE)
    assert not answer.from_venue
    assert answer.content_type == "text/html"
    assert f"<h1>{status} " in answer.body


def test_a_418_says_until_when(fault):
    answer = fault(status=418, retry_after=60).answer(lambda: TRUE)
    until_ms = int(json.loads(answer.body)["msg"].split("until ")[1].split(".")[0])
    assert answer.headers["Retry-After"] == "60"
    assert abs(until_ms - time.time() * 1000 - 60_000) < 10_000


def test_spoilt_answers_keep_the_true_status(fault):
    assert fault(mode="truncated").answer(lambda: TRUE).break_after == len(TRUE.body) // 2
    assert fault(mode="slow", delay_s=2).answer(lambda: TRUE).delay_s == 2
    assert fault(mode="reset").answer(lambda: TRUE).reset


def test_stale_snapshot_is_set_back_and_cut():
    frozen = {"AAUSDT": {"lastUpdateId": 4000, "bids": [["1", "1"], ["2", "2"]], "asks": []}}
    fault = StaleSnapshot("stale_snapshot", checked({"kind": "stale_snapshot", "ids_back": 10})[1], frozen)
    assert fault.hits("/api/v3/depth", "symbol=AAUSDT") and not fault.hits("/api/v3/depth", "symbol=BBUSDT")
    assert json.loads(fault.answer("symbol=AAUSDT", TRUE).body) == {
        "lastUpdateId": 3990,
        "bids": [["1", "1"]],
        "asks": [],
    }
    refused = Answer(429, "{}")
    assert fault.answer("symbol=AAUSDT", refused) is refused
