"""Run by test_recovery as a process of its own: records until it is killed, and says what is flushed."""

import sys
from pathlib import Path

from tests.recorder.crash_rows import ROWS_A_FLUSH
from tests.recorder.market import NOON, Market, make_recorder

recorder = make_recorder(Path(sys.argv[1]), max_segment_bytes=60_000)
markets = [Market(symbol, levels=40) for symbol in ("BTCUSDT", "ETHUSDT")]
while True:
    for market in markets:
        for _ in range(ROWS_A_FLUSH):
            recorder.accept(market.next(resync=market.random.random() < 0.05))
    recorder.flush(NOON)
    print(markets[0].update_id, markets[1].update_id, flush=True)
