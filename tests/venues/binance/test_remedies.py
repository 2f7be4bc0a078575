"""What people are told to do about a refusal."""

from __future__ import annotations

import re

import pytest

from binmon.errors import BinmonError, RateLimited, RequestRefused, StatusUnknown, VenueUnreachable
from binmon.venues.binance.remedies import explain


def refused(code: int | None, message: str = "", status: int = 400) -> RequestRefused:
    return RequestRefused("http://x/api/v3/order", status, code, message)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (refused(-2014, "API-key format invalid.", 401), "copy venues.binance.api_key again"),
        (refused(-2015, "Invalid API-key, IP, or permissions for action.", 401), "does not accept the key.*IP address"),
        (refused(None, "empty", 401), "does not accept the key"),
        (refused(-1022, "Signature for this request is not valid."), "api_secret .*does not belong to .*api_key"),
        (refused(-1002, "You are not authorized"), "not permitted"),
        (refused(-1021, "Timestamp"), "synchronise"),
        (refused(-2010, "Account has insufficient balance for requested action."), "balance does not cover"),
        (refused(-2010, "Market is closed."), "not trading now"),
        (refused(-1013, "This order type is not possible in this trading phase."), "not trading now"),
        (refused(-2010, "This account may not place or cancel orders."), "account is not allowed to trade"),
        (refused(-2010, "This symbol is not permitted for this account."), "not allowed to trade this symbol"),
        (refused(-2010, "Rest API trading is not enabled."), "other transport"),
        (refused(-2010, "Duplicate order sent."), "client order id already"),
        (refused(-2010, "Market orders are not supported for this symbol."), "no market orders"),
        (refused(-2010, "Quote order qty market orders are not support for this symbol."), "order a quantity"),
        (refused(-1013, "Filter failure: LOT_SIZE"), r"step \(LOT_SIZE\)"),
        (refused(-1013, "Filter failure: MARKET_LOT_SIZE"), r"market orders \(MARKET_LOT_SIZE\)"),
        (refused(-1013, "Filter failure: NOTIONAL"), r"worth less than the least.*\(NOTIONAL\)"),
        (refused(-1013, "Filter failure: SOMETHING_NEW"), "rule SOMETHING_NEW"),
        (refused(-1013, "other"), "breaks a rule"),
        (refused(-1111, "Parameter 'quantity' has too much precision."), "more decimals"),
        (refused(-1121, "Invalid symbol."), "does not list this symbol"),
        (refused(-1102, "Mandatory parameter"), "fault of binmon"),
        (refused(None, "<html>", 404), "no such API"),
        (refused(None, "<html>", 410), "no such API"),
        (RateLimited("WAF", 120.0), "firewall"),
    ],
)
def test_one_line_for_people(error: BinmonError, expected: str) -> None:
    text = explain(error)
    assert text is not None and "\n" not in text and re.search(expected, text)


def test_a_key_that_works_lacks_a_permission() -> None:
    error = refused(-2015, "Invalid API-key, IP, or permissions for action.", 401)
    assert "enable spot trading" in (explain(error, account_works=True) or "")
    assert "enable spot trading" not in (explain(error) or "")


@pytest.mark.parametrize(
    "error",
    [refused(-9999, "?"), refused(None, "?", 400), RateLimited("ORDERS", 1.0), StatusUnknown("a", "b"),
     VenueUnreachable("a", "b")],
)  # fmt: skip
def test_where_there_is_nothing_to_add(error: BinmonError) -> None:
    assert explain(error) is None
