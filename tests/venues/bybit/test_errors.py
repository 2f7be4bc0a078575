"""Each code of the reference (bybit-v5, section 7) by what is done about it."""

from __future__ import annotations

import msgspec
import pytest

from binmon.errors import Banned, RateLimited, RequestRefused, VenueFailed
from binmon.venues.bybit.errors import Envelope, Kind, envelope_of, failure, kind_of, result_of
from binmon.venues.bybit.remedies import explain

# every code that the reference lists, by its column "reaction"
UNKNOWN = [10000, 10014, 10016, 110072, 170001, 170007, 170032, 170035, 170141, 170146, 170147]
LIMITED = [10006, 10403, 20003, 170005, 170222]
BUSY = [429, 10429]
TIME = [10002, -1]
REFUSED = [
    10001, 10003, 10004, 10005, 10007, 10008, 10009, 10010, 10017, 10024, 10027, 10028, 10029, 10404, 10019, 20001, 20006,
    -2015, 33004, 110001, 110003, 110004, 110007, 110012, 170003, 170033, 170105, 170115, 170116, 170117, 170121, 170124,
    170130, 170131, 170132, 170133, 170134, 170136, 170137, 170139, 170140, 170142, 170143, 170144, 170145, 170148, 170149,
    170150, 170151, 170157, 170159, 170190, 170191, 170192, 170193, 170194, 170197, 170198, 170201, 170210, 170212, 170213,
    170217, 170218, 170228, 170229, 170341, 170371, 170372, 170381, 170382, 170810,
]  # fmt: skip


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        ([0], Kind.DONE),
        (UNKNOWN, Kind.UNKNOWN),
        (LIMITED, Kind.LIMITED),
        (BUSY, Kind.BUSY),
        (TIME, Kind.TIME),
        (REFUSED, Kind.REFUSED),
    ],
)
def test_kinds(codes: list[int], kind: Kind) -> None:
    assert {code: kind_of(code) for code in codes} == dict.fromkeys(codes, kind)


@pytest.mark.parametrize("code", [1, 5, 500, 3_100_001, -1000, 9999, 160_000, 200_000])
def test_a_code_that_nobody_knows_says_nothing_to_rely_on(code: int) -> None:
    assert kind_of(code) is Kind.UNKNOWN


@pytest.mark.parametrize(
    ("code", "error"),
    [(170131, RequestRefused), (10002, RequestRefused), (10006, RateLimited), (429, RateLimited), (10016, VenueFailed)],
)
def test_errors(code: int, error: type[Exception]) -> None:
    assert isinstance(failure("http://x", Envelope(code, "text")), error)


def test_how_long_a_limit_lasts() -> None:
    waits = [
        failure("http://x", Envelope(10006), retry_after_s=told).retry_after_s  # type: ignore[attr-defined]
        for told in (None, 0.0, 0.7)
    ]
    assert waits == [1.0, 0.3, 0.7]


def test_no_error_shows_the_key() -> None:
    text = "error sign! origin_string[1764000000000SandboxKey015000{}]"
    error = failure("http://x", Envelope(10004, text), hidden="SandboxKey01")
    assert isinstance(error, RequestRefused) and "SandboxKey01" not in str(error) and "***5000" in str(error)


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{}", b'{"retCode":"x"}', b'{"retCode":0', b"\xff", b"[" * 100_000]
)
def test_what_is_no_envelope(body: bytes) -> None:
    with pytest.raises(VenueFailed, match="unreadable"):
        envelope_of("http://x", body)


def test_an_envelope_may_leave_out_what_is_not_needed() -> None:
    answer = envelope_of("http://x", b'{"retCode":10001,"retMsg":null,"result":null}')
    assert (answer.code, answer.message, answer.time) == (10001, None, 0)
    with pytest.raises(VenueFailed, match="unreadable"):
        result_of("http://x", answer, msgspec.json.Decoder(dict))


@pytest.mark.parametrize("code", REFUSED)
def test_a_person_is_told_what_to_do_or_the_venues_words(code: int) -> None:
    told = explain(RequestRefused("http://x", 200, code, "its words"))
    assert told is None or (len(told) > 20 and "\n" not in told)


def test_remedies() -> None:
    def told(code: int | None, status: int = 200, url: str = "http://x") -> str:
        return explain(RequestRefused(url, status, code, "no")) or ""

    assert "venues.bybit.api_key" in told(10003) and "clock" in told(10002) and "balance" in told(170131)
    assert "api_key" in told(None, 401) and "endpoints" in told(None, 404)
    assert "api_secret" in told(None, 200, "wss://x/v5/private")
    assert "403" in (explain(Banned(600.0)) or "") and "overloaded" in (explain(RateLimited("SYSTEM", 1.0)) or "")
    assert explain(VenueFailed("x", 500, "no")) is None and explain(RateLimited("REQUESTS", 1.0)) is None
