"""The checksum of Kraken's books against the vectors of the reference, and numbers that must stay exact."""

from __future__ import annotations

import decimal
from decimal import Decimal

import pytest

from binmon.venues.kraken.checksum import Precision, checksum


def levels(precision: Precision, *rows: tuple[str, str]) -> list[tuple[str, str]]:
    return [precision.texts(Decimal(price), Decimal(quantity)) for price, quantity in rows]


def test_the_vectors_of_the_reference() -> None:
    precision = Precision(1, 8)
    asks = levels(precision, ("70001.2", "0.01500000"), ("70001.9", "0.20000000"), ("70003.0", "1.00000000"))
    bids = levels(precision, ("70001.1", "0.30000000"), ("70000.0", "0.00050000"), ("69999.8", "2.25000000"))
    assert checksum(asks, bids) == 2796347414
    precision = Precision(5, 8)
    asks = levels(precision, ("0.01702", "1000.00000000"), ("0.01703", "5.50000000"))
    assert checksum(asks, levels(precision, ("0.01701", "0.75000000"))) == 1521349059


def test_without_levels() -> None:
    assert checksum([], []) == 0


@pytest.mark.parametrize("quantity", ["1e-8", "1E-08", "0.00000001", "0.000000010"])
def test_numbers_are_the_same_however_they_were_printed(quantity: str) -> None:
    assert Precision(7, 8).texts(Decimal("1e-7"), Decimal(quantity)) == ("0.0000001", "0.00000001")


@pytest.mark.parametrize("quantity", ["0.000000001", "1e999999999", "123456789012345678901234567890123456789.5", "NaN"])
def test_nothing_is_rounded(quantity: str) -> None:
    try:
        texts = Precision(1, 8).texts(Decimal(1), Decimal(quantity))
    except decimal.DecimalException:
        return
    assert texts == ("1.0", "NaN")  # refused by whoever decodes it
