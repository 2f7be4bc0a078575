import json

import pytest

from binmon.sandbox.fault_kinds import EVENT_ORDER, KINDS, REQUIRED, BadFault, checked, table


def test_defaults_are_filled_in():
    kind, options = checked({"kind": "gap", "symbols": "BTCUSDT"})
    assert kind == "gap"
    assert options == {
        "count": None,
        "seconds": None,
        "symbols": ["BTCUSDT"],
        "streams": None,
        "connection": None,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_refuses_what_it_does_not_know(kind):
    with pytest.raises(BadFault, match="no option"):
        checked({"kind": kind, "colour": 1})
    if any(option.default is REQUIRED for option in KINDS[kind].options.values()):
        with pytest.raises(BadFault, match="needs the option"):
            checked({"kind": kind})
    else:
        checked({"kind": kind})


@pytest.mark.parametrize(
    "request_",
    [
        {"kind": "gap", "count": True},
        {"kind": "gap", "count": -1},
        {"kind": "rest", "status": 404},
        {"kind": "report_delay", "ms": -1},
        {"kind": "disconnect", "service": "rest"},
        {"kind": "answer_lost", "mode": "lost"},
    ],
)
def test_values_out_of_range(request_):
    with pytest.raises(BadFault, match="expected"):
        checked(request_)


def test_only_signed_numbers_may_be_negative():
    assert checked({"kind": "clock_skew", "ms": -5, "drift_ppm": -0.5})[1]["drift_ppm"] == -0.5
    assert checked({"kind": "order_refuse", "code": -1013})[1]["code"] == -1013


def test_table_can_be_printed():
    assert set(json.loads(json.dumps(table()))) == set(KINDS)


def test_the_order_names_kinds_once():
    assert len(set(EVENT_ORDER)) == len(EVENT_ORDER)
    assert set(EVENT_ORDER) <= set(KINDS)
