import json

import pytest

from binmon.sandbox.fault_kinds import checked
from binmon.sandbox.frame_faults import frame_bytes


@pytest.fixture
def made():
    return lambda kind, **options: frame_bytes(kind, checked({"kind": kind, **options})[1])


def test_lengths_announced_and_sent(made):
    whole, cut = made("oversized", bytes=70_000), made("oversized", bytes=70_000, complete=False)
    for data in (whole, cut):
        assert int.from_bytes(data[2:10], "big") == 70_000
    assert len(whole) == 70_010
    assert len(cut) == 1034
    assert json.loads(whole[10:])["e"] == "filler"
    assert made("binary", bytes=300)[4:] == bytes(range(256)) + bytes(44)
    assert made("empty") == b"\x81\x00"


def test_what_is_wrong_with_a_frame(made):
    assert made("masked")[1] & 0x80
    assert made("malformed", mode="header")[0] & 0x70
    for mode in ("json", "truncated"):
        with pytest.raises(ValueError):
            json.loads(made("malformed", mode=mode)[2:])
    with pytest.raises(UnicodeDecodeError):
        made("malformed", mode="utf8")[2:].decode()
