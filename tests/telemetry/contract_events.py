"""The log events of the contract (What users may rely on, "Log events"), as they stand there: never edited here alone.

A row may name several events; its fields then are those of all of them together.
"""

ROWS = """
| `daemon.started`, `daemon.stopping`, `daemon.stopped` | info | version, config_hash; reason; |
| `worker.started`, `worker.failed`, `worker.restarted`, `worker.fatal` | info…critical | worker, attempt, delay_s, error |
| `stream.connected`, `stream.disconnected`, `stream.rotated`, `stream.stalled` | info/warning | venue, connection, streams, reason, overlap_ms |
| `book.state` | info | venue, symbol, from, to (`waiting_for_events`, `waiting_for_snapshot`, `synced`), reason, update_id |
| `book.gap` | warning | venue, symbol, expected, first_update_id, last_update_id |
| `book.audit` | info/error | venue, symbol, update_id, levels, mismatches |
| `book.snapshot_dropped` | warning | venue, symbol, count |
| `book.top` | info | venue, symbol, bid, bid_quantity, ask, ask_quantity, update_id, age_ms |
| `order.sent`, `order.answered`, `order.rejected` | info/warning | venue, symbol, client_order_id, side, quantity, sent_at, round_trip_ms, code, message |
| `latency.measured` | info | venue, symbol, client_order_id, class, sent_to_report_ms, sent_to_event_ms, event_to_receive_ms, uncertainty_ms, clock_offset_ms, threshold_ms |
| `latency.delayed` | warning | the same, and over_ms |
| `latency.lost` | error | venue, symbol, client_order_id, waited_ms, order_status |
| `price.crossed` | warning | venue, symbol, source (candle, trade), price, threshold, direction |
| `symbol.listed`, `symbol.status` | warning/info | venue, symbol, status, first_seen_by, lead_ms |
| `config.reloaded`, `config.rejected` | info/error | config_hash, changes; key, reason |
| `rate.limited`, `rate.banned` | warning/error | venue, scope, used, limit, retry_after_s |
| `recorder.recovered`, `recorder.segment_closed` | warning/info | path, rows, bytes, rows_lost |
| `alert.sent`, `alert.failed` | info/error | alert, target, attempt |
"""


def rows() -> list[tuple[list[str], list[str], list[str]]]:
    """Names, levels and fields of each row."""
    found: list[tuple[list[str], list[str], list[str]]] = []
    for row in ROWS.strip().splitlines():
        names_cell, level_cell, field_cell = (cell.strip() for cell in row.strip("|").split("|"))
        names = [name.strip(" `") for name in names_cell.split(",")]
        levels = {"info…critical": ["info", "warning", "error", "critical"]}.get(level_cell, level_cell.split("/"))
        field_cell = _without_brackets(field_cell)
        if field_cell.startswith("the same, and "):
            fields = [*found[-1][2], field_cell.removeprefix("the same, and ")]
        else:
            fields = [field.strip() for field in field_cell.replace(";", ",").split(",") if field.strip()]
        found.append((names, levels, fields))
    return found


def _without_brackets(text: str) -> str:
    while "(" in text:
        before, _, rest = text.partition("(")
        text = before.rstrip() + rest.partition(")")[2]
    return text
