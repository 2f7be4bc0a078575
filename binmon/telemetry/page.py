"""The page ``docs/logs.md``: written from the vocabulary, and what people do with it."""

from __future__ import annotations

from collections.abc import Iterator

from binmon.telemetry.events import EVENTS, LIMITED, LOGGERS, LogEvent
from binmon.telemetry.fields import FIELDS

_HEAD = """\
# Log events

<!-- Written by `python -m binmon.telemetry.events > docs/logs.md`; edit binmon/telemetry/events.py, fields.py, page.py. -->

One JSON object a line: `timestamp` (RFC 3339 UTC, microseconds), `level`, `event`, `logger`, then the event's own
fields. A field that is marked `?` may be null or left out; all others are always there. An error's traceback is in
`exception`. A line whose `logger` does not begin with `binmon` comes from another package: its `event` is free text.

## Where the lines go

To standard output, and with `logging.file` to a file as well, there as JSON in any case. Each line is written whole and at
once. Neither a full disk nor a missing directory ends the daemon: standard error says so once, and once more when it is
over; what was lost meanwhile is counted (`binmon_log_lines_lost_total`). A file that cannot be opened at the start is a
mistake of the configuration.

**Rotation.** A file that would grow beyond `logging.rotate_mb` becomes `binmon.log.1`, the one before `binmon.log.2`, and
so on; `logging.keep_files` of them are kept, uncompressed. Both apply live. With `rotate_mb: null` the file is left to
others: binmon notices within a second that it was moved away or cut, and needs no signal for that. For logrotate:

```text
/var/log/binmon/binmon.log {
    daily
    rotate 14
    missingok
    notifempty
    compress
    delaycompress
}
```

`delaycompress`, as lines of that second still go into the file that was moved. The directory has to be writable for the
daemon's user (`create` then is not needed).

**Level.** `logging.level` is the least level that is written; `logging.levels` says otherwise for some loggers and for
those below them, and the longest name that fits counts. Both apply live:

```yaml
logging:
  level: warning
  levels: {binmon.books: debug, binmon.net: info, urllib3: error}
```

Of other packages nothing below `warning` is ever written, as their chatter may hold addresses with signatures in them.

| logger | speaks of |
|---|---|
"""

_REPEATS = """\

**Repetitions.** A trouble that lasts may say the same thing again and again. Of lines with the same event, level, logger and
subject (the fields marked *subject* below; sockets of one group count as one) `logging.repeat_limit` are written in
`logging.repeat_window_s` seconds; when that time is over, one line `log.repeated` says how many more there were
(`held_back`) and of what, and `binmon_log_lines_held_back_total` counts them. The daemon's end tells what has not been told
yet. `repeat_limit: 0` writes everything. Only these, and lines of other packages, may be held back at all:
"""

_AFTER_REPEATS = """
All others are always written: whatever is data (`book.top`, `latency.measured`, all of orders, prices, symbols and
alerts), what says that a trouble is over, and what this page's readers count.

## Questions and answers

With `LOG=binmon.log`, or `binmon run | tee binmon.log`; under systemd put
`journalctl -u binmon -o cat --since today |` before a `jq` that has no file. `-R 'fromjson?'` skips what is no JSON,
such as systemd's own lines in the journal.

What is wrong, newest last:

```sh
jq -c 'select(.level == "error" or .level == "critical")' "$LOG"
```

Only the story, without the tops of books and the measurements:

```sh
jq -c 'select(.event | IN("book.top", "latency.measured", "order.sent", "order.answered") | not)' "$LOG"
```

How often each event came:

```sh
jq -r .event "$LOG" | sort | uniq -c | sort -rn
```

When one book was lost and how it came back:

```sh
jq -r 'select(.event == "book.state" and .venue == "binance" and .symbol == "BTCUSDT") | [.timestamp, .from, .to, .reason] | @tsv' "$LOG"
```

Gaps by book, with how many updates were missing:

```sh
jq -r 'select(.event == "book.gap") | [.timestamp, .venue, .symbol, .first_update_id - .expected] | @tsv' "$LOG"
```

Which books are not synced now (the last state of each since the last start, without those that a reload has let go):

```sh
jq -n -c 'reduce inputs as $l ({}; ($l.venue + " " + $l.symbol) as $book | if $l.event == "daemon.started" then {} elif $l.event == "book.state" then .[$book] = $l.to elif $l.event == "book.dropped" then del(.[$book]) else . end) | with_entries(select(.value != "synced"))' "$LOG"
```

Median, 95th percentile and worst delay of the execution reports, in milliseconds:

```sh
jq -s '[.[] | select(.event == "latency.measured").sent_to_report_ms] | sort | {count: length, median: .[(length / 2 | floor)], p95: .[(length * 0.95 | floor)], worst: .[-1]}' "$LOG"
```

Orders that came too late, and by how much:

```sh
jq -r 'select(.event == "latency.delayed") | [.timestamp, .client_order_id, .sent_to_report_ms, .over_ms] | @tsv' "$LOG"
```

Everything about one order:

```sh
jq -c --arg id "$ORDER" 'select(.client_order_id == $id)' "$LOG"
```

Why connections ended, most frequent first:

```sh
jq -r 'select(.event == "stream.disconnected") | .reason' "$LOG" | sort | uniq -c | sort -rn
```

What a reload changed, and why one was refused:

```sh
jq -c 'select(.event == "config.reloaded" or .event == "config.rejected") | del(.logger, .level)' "$LOG"
```

How many lines were held back, by event:

```sh
jq -s -c 'map(select(.event == "log.repeated")) | group_by(.of) | map({key: .[0].of, value: (map(.held_back) | add)}) | from_entries' "$LOG"
```

A traceback as people read it:

```sh
jq -r 'select(.exception) | .timestamp, .exception' "$LOG"
```

The tops of one book as a table for a spreadsheet:

```sh
jq -r 'select(.event == "book.top" and .venue == "binance" and .symbol == "BTCUSDT") | [.timestamp, .bid, .ask, .age_ms] | @csv' "$LOG"
```

From the journal (levels are in the JSON; the journal itself knows only lines):

```console
journalctl -u binmon -o cat -f | jq -R -c 'fromjson? | select(.level != "info" and .level != "debug")'
journalctl -u binmon -o cat -b | jq -R -c 'fromjson? | select(.event == "worker.failed")'
journalctl -u binmon -o cat --since "1 hour ago" | jq -R -r 'fromjson? | .event' | sort | uniq -c | sort -rn
journalctl -u binmon -o cat --since 03:00 --until 05:00 | jq -R -c 'fromjson? | select(.event == "stream.rotated")'
```

## Events

| event | level | fields | meaning |
|---|---|---|---|
"""

_FIELDS = """
## Fields

Types are those of JSON; `time` is text as in `timestamp`, `texts` a list of text, `objects` a list of objects. Numbers end in
their unit (`_ms`, `_s`).

| field | type | subject | meaning |
|---|---|---|---|
"""


def reference() -> str:
    """The page ``docs/logs.md``."""
    loggers = "".join(f"| `{name}` | {what} |\n" for name, what in sorted(LOGGERS.items()))
    limited = "".join(f"`{event.name}`, " for event in EVENTS if event.name in LIMITED).removesuffix(", ")
    events = "".join(_event_rows())
    fields = "".join(
        f"| `{field.name}` | {field.type} | {'yes' if field.names_subject else ''} | {field.meaning} |\n"
        for field in sorted(FIELDS.values(), key=lambda one: one.name)
    )
    return _HEAD + loggers + _REPEATS + "\n" + limited + ".\n" + _AFTER_REPEATS + events + _FIELDS + fields


def _event_rows() -> Iterator[str]:
    for event in EVENTS:
        fields = ", ".join(_shown(event, name) for name in event.fields)
        yield f"| `{event.name}` | {', '.join(event.levels)} | {fields} | {event.meaning} |\n"


def _shown(event: LogEvent, name: str) -> str:
    """The field's name, its ``?``, and its type where it is another one than elsewhere."""
    mark = "?" if name in event.optional else ""
    declared = FIELDS.get(name)
    other = event.types.get(name)
    note = f" ({other})" if declared is not None and other is not None and other is not declared.type else ""
    return f"`{name}{mark}`{note}"
