"""The rows that crash_writer records, made again."""

from binmon.messages import BookSnapshot
from tests.recorder.market import Market

ROWS_A_FLUSH = 3


def same_rows(symbol: str, count: int) -> list[BookSnapshot]:
    """The first rows of a symbol."""
    market = Market(symbol, levels=40)
    return [market.next(resync=market.random.random() < 0.05) for _ in range(count)]
