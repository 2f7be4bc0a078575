"""The edges of the timing rule (reference: 2.5)."""

import pytest

from binmon.sandbox.parameters import ApiError, Parameters
from binmon.sandbox.trading.timing import Timing, check_arrival, check_still_valid, read

NOW = 1_784_600_000_000_000
OLD = "Timestamp for this request is outside of the recvWindow."
NEW = "Timestamp for this request was 1000ms ahead of the server's time."


def verdict(timestamp_us, window=None, check=check_arrival):
    query = f"timestamp={timestamp_us}" + (f"&recvWindow={window}" if window is not None else "")
    try:
        check(read(Parameters(query)), NOW)
    except ApiError as error:
        return error.status, error.code, error.message
    return None


@pytest.mark.parametrize(
    ("offset_us", "window", "text"),
    [
        (0, None, None),
        (999_999, None, None),
        (1_000_000, None, NEW),
        (-5_000_000, None, None),
        (-5_000_001, None, OLD),
        (-2_500_125, "2500.125", None),
        (-2_500_126, "2500.125", OLD),
        (-60_000_000, "60000", None),
        (-60_000_001, "60000", OLD),
        (-1, "0", OLD),
        (0, "0", None),
        (20_000_000, None, NEW),
    ],
)
def test_edges(offset_us, window, text):
    assert verdict(NOW + offset_us, window) == (None if text is None else (400, -1021, text))


def test_milliseconds_and_microseconds():
    assert read(Parameters("timestamp=1784600000123")) == Timing(1_784_600_000_123_000, 5_000_000)
    assert read(Parameters("timestamp=1784600000123456")).made_us == 1_784_600_000_123_456
    assert read(Parameters("timestamp=99999999999999")).made_us == 99_999_999_999_999_000


def test_before_2017():
    assert verdict(1_483_228_799_999_000) == (400, -1021, OLD)


def test_the_second_look_only_minds_age():
    assert verdict(NOW + 5_000_000, check=check_still_valid) is None
    assert verdict(NOW - 5_000_001, check=check_still_valid) == (400, -1021, OLD)


@pytest.mark.parametrize(
    ("query", "code", "text"),
    [
        ("", -1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed."),
        ("timestamp=", -1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed."),
        ("timestamp=x", -1100, "Illegal characters found in parameter 'timestamp'; legal range is '^[0-9]{1,20}$'."),
        ("timestamp=-5", -1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed."),
        (
            "timestamp=1&recvWindow=60000.001",
            -1102,
            "'recvWindow' contains unexpected value. Cannot be greater than 60000.",
        ),
        ("timestamp=1&recvWindow=1.2345", -1100, None),
        ("timestamp=1&recvWindow=", -1105, "Parameter 'recvWindow' was empty."),
    ],
)
def test_malformed(query, code, text):
    with pytest.raises(ApiError) as caught:
        read(Parameters(query))
    assert caught.value.code == code
    assert text in (None, caught.value.message)
