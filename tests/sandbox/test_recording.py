import gzip

import pytest

from binmon.sandbox.recording import RecordedEvent, is_depth, load_recording, symbol_of_stream

DEPTH = '{"e":"depthUpdate","E":1,"s":"ABCUSDT","U":%d,"u":%d,"b":[["1.5000","2.00"]],"a":[]}'
LINES = [
    "1\topen\twss://x",
    '2\tws\t{"stream":"abcusdt@depth@100ms","data":' + DEPTH % (10, 12) + "}",
    '3\trest:https://x/api/v3/depth?symbol=ABCUSDT&limit=5\t{"lastUpdateId":8,"bids":[],"asks":[]}',
    '4\tws#2\t{"stream":"abcusdt@trade","data":{"e":"trade"}}',
    "5\tws:xyzbtc@depth\t" + DEPTH % (1, 2),
    '6\trest:https://x/api/v1/depth?symbol=ABCUSDT&limit=5\t{"lastUpdateId":12,"bids":[["1.5000","2.25"]],"asks":[]}',
    '7\tsend\t{"method":"SUBSCRIBE"}',
    '8\tws\t{"result":null,"id":1}',
    '9\trest:https://x/api/v3/time\t{"serverTime":1}',
]


@pytest.fixture
def write(tmp_path):
    def put(lines, name="r.tsv"):
        path = tmp_path / name
        text = "".join(line + "\n" for line in lines).encode()
        path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
        return str(path)

    return put


@pytest.mark.parametrize("name", ["r.tsv", "r.tsv.gz"])
def test_lines_become_entries_with_payloads_verbatim(write, name):
    recording = load_recording(write(LINES, name))
    assert len(recording.entries) == 5
    first = recording.entries[0]
    assert isinstance(first, RecordedEvent)
    assert first.payload == DEPTH % (10, 12)
    assert first.wrapped == LINES[1].split("\t")[2]
    assert recording.streams == {"abcusdt@depth@100ms", "abcusdt@trade", "xyzbtc@depth"}
    assert recording.symbols == ("ABCUSDT", "XYZBTC")


def test_first_snapshot_is_the_one_that_bridges(write):
    recording = load_recording(write(LINES))
    assert recording.first_snapshots["ABCUSDT"].startswith('{"lastUpdateId":12,')
    assert "XYZBTC" not in recording.first_snapshots
    assert recording.depth_positions == {"ABCUSDT": [0], "XYZBTC": [3]}


def test_ticks_are_guessed(write):
    instrument = load_recording(write(LINES)).instruments["ABCUSDT"]
    assert (instrument.tick_e8, instrument.step_e8) == (10_000_000, 1_000_000)
    assert (instrument.base_asset, instrument.quote_asset) == ("ABC", "USDT")


@pytest.mark.parametrize(
    ("lines", "text"),
    [(["no tabs"], "line 1"), ([*LINES[:2], "x\tws\t{}"], "line 3"), ([LINES[0]], "no stream event")],
)
def test_other_files_are_refused(write, lines, text):
    with pytest.raises(ValueError, match=text):
        load_recording(write(lines))


def test_broken_gzip_is_refused(tmp_path):
    path = tmp_path / "r.tsv.gz"
    path.write_bytes(gzip.compress(b"1\tws\t{}\n" * 500)[:-9])
    with pytest.raises(ValueError, match="gzip"):
        load_recording(str(path))


def test_stream_names():
    assert is_depth("btcusdt@depth@0ms") and is_depth("btcusdt@depth") and not is_depth("btcusdt@depth5@100ms")
    assert symbol_of_stream("btcusdt@trade") == "BTCUSDT"
    assert symbol_of_stream("!miniTicker@arr") == ""
