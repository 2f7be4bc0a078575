"""Levels as most venues print them, ``[["price","quantity"],…]``, from text to arrays.

Updates wait as text until somebody reads; then all of them are parsed in one go, which is cheaper than one by one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

import msgspec
import numpy as np

from binmon.levels import NO_CHANGES
from binmon.messages import Floats, LevelChanges
from binmon.venues.base import MalformedFrame, ParsedLevels

# a number of so many characters may have more digits than a double holds
_LONG_NUMBER = re.compile(rb'"([\d.]{16,})"')
_LONG_SHAPE = b'"' + b"0" * 16
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789.", b"0" * 10)
_EXACT_DIGITS = 15
# Broken UTF-8 and absurd nesting are not DecodeErrors; one bad frame must never be more than a malformed frame.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_DIGITS_AND_POINT = b"0123456789."
_PUNCTUATION = b'[]"'
_LEVEL_SHAPE = b'["",""],'  # a level without its digits


class LevelTexts:
    """The part of a ``venues.base.MarketDecoder`` that depends on nothing that went before.

    Numbers below ``exact_below`` are known to have at most 15 digits (a venue that prints eight decimals: ten million),
    so that only where larger ones occur each is looked at. Zero: the venue promises nothing.
    """

    def __init__(self, exact_below: float = 0.0) -> None:
        self._exact_below = exact_below
        self._levels = msgspec.json.Decoder(list[list[tuple[float, float]]], strict=False)
        self._pairs = msgspec.json.Decoder(list[tuple[float, float]], strict=False)
        self._numbers = msgspec.json.Decoder(list[float])

    def levels(self, texts: Sequence[bytes]) -> ParsedLevels:
        """Parse one side of many updates in one go; prices and quantities must be what a book can hold."""
        joined = _joined(texts)
        if joined is None:
            return ParsedLevels(NO_CHANGES, None)
        flat = self._flat(joined)
        if flat is None:
            joined = b"[" + b",".join(texts) + b"]"
            try:
                parsed = self._levels.decode(joined)
            except UNREADABLE as error:
                raise MalformedFrame(f"levels: {error}") from None
            flat = np.fromiter(chain.from_iterable(chain.from_iterable(parsed)), dtype=np.float64)
        if flat.size == 0:
            return ParsedLevels(NO_CHANGES, None)
        largest = _checked(flat)
        inexact = first_inexact(joined) if largest >= self._exact_below else None
        return ParsedLevels(LevelChanges(flat[0::2], flat[1::2]), inexact)

    def sides(self, bids: Sequence[bytes], asks: Sequence[bytes]) -> tuple[ParsedLevels, ParsedLevels]:
        """Parse both sides of many updates at once: half the overhead of one after the other."""
        bids_joined, asks_joined = _joined(bids), _joined(asks)
        if bids_joined is None or asks_joined is None:
            return self.levels(bids), self.levels(asks)
        joined = bids_joined + b"," + asks_joined
        flat = self._flat(joined)
        if flat is None:
            return self.levels(bids), self.levels(asks)
        largest = _checked(flat)
        inexact = first_inexact(joined) if largest >= self._exact_below else None
        # in the usual form, which this is, every level has one bracket of its own
        split = 2 * bids_joined.count(b"[")
        return (
            ParsedLevels(LevelChanges(flat[0:split:2], flat[1:split:2]), inexact),
            ParsedLevels(LevelChanges(flat[split::2], flat[split + 1 :: 2]), inexact),
        )

    def _flat(self, joined: bytes) -> Floats | None:
        """Price, quantity, price … of levels in the venue's usual form; None for any other form, however legal.

        One list of numbers costs two thirds of a list of pairs of texts: no tuples, no look into each text. What
        stripping the punctuation would hide is seen before, in the text without its digits.
        """
        shape = joined.translate(None, _DIGITS_AND_POINT)
        if shape + b"," != _LEVEL_SHAPE * ((len(shape) + 1) // len(_LEVEL_SHAPE)):
            return None
        try:
            numbers = self._numbers.decode(b"[" + joined.translate(None, _PUNCTUATION) + b"]")
        except UNREADABLE:
            return None  # such as an empty text or two points: the other way says what is wrong
        return np.fromiter(numbers, dtype=np.float64, count=len(numbers))

    def pairs(self, text: bytes) -> list[tuple[float, float]]:
        """One side of one update as plain pairs, in order. Raises MalformedFrame."""
        try:
            pairs = self._pairs.decode(text)
        except UNREADABLE as error:
            raise MalformedFrame(f"levels: {error}") from None
        plain = bytes(text)
        if b"-" in plain or b"n" in plain or b"N" in plain or b"e" in plain or b"E" in plain:
            self.levels([text])  # a sign, an exponent, a word: it says what is wrong, if anything is
        return pairs


def _joined(texts: Sequence[bytes]) -> bytes | None:
    """The levels of many updates as one text, None for no levels. That each is JSON was checked with its frame."""
    # empty sides and outer brackets go
    insides = [plain[1:-1] for text in texts if (plain := bytes(text)) != b"[]"]
    return b",".join(insides) if insides else None


def _checked(flat: Floats) -> float:
    """The largest of price, quantity, price …; raises MalformedFrame for what no book can hold."""
    largest = flat.max()
    # NaN compares false with everything, so it ends here, too
    if not (flat.min() >= 0.0 and largest < np.inf and flat[0::2].min() > 0.0):
        raise MalformedFrame("levels: a price that is not positive, or a quantity that is negative or no number")
    return float(largest)


def first_inexact(text: bytes) -> str | None:
    """The first quoted number with more than 15 significant digits, which a double would round; None without."""
    if _LONG_SHAPE not in text.translate(_DIGITS_AS_ZEROS):
        return None  # the usual case, found out in less than half of the time that the search takes
    for match in _LONG_NUMBER.finditer(text):
        whole, _, fraction = match[1].partition(b".")
        digits = (whole + fraction.rstrip(b"0")).lstrip(b"0")
        if not fraction.rstrip(b"0"):
            digits = digits.rstrip(b"0")
        if len(digits) > _EXACT_DIGITS:
            return match[1].decode()
    return None
