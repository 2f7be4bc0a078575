import pytest

from binmon.sandbox.handshake import Refusal, Target, parse_target


@pytest.mark.parametrize(
    ("path", "combined", "streams", "micro"),
    [
        ("/ws", False, (), False),
        ("/ws/btcusdt@trade", False, ("btcusdt@trade",), False),
        ("/ws/btcusdt%40trade", False, ("btcusdt@trade",), False),
        ("/stream", True, (), False),
        ("/stream?streams=a@depth/b@trade", True, ("a@depth", "b@trade"), False),
        ("/stream?streams=a%40depth%2Fb@trade&timeUnit=MICROSECOND", True, ("a@depth", "b@trade"), True),
        ("/ws/%E8%BF%99456@trade?timeUnit=microsecond", False, ("这456@trade",), True),
    ],
)
def test_targets(path, combined, streams, micro):
    assert parse_target(path) == Target(path, combined, streams, micro)


@pytest.mark.parametrize(("path", "status"), [("/", 404), ("/wss", 404), ("/ws?timeUnit=NANO", 400)])
def test_refusals(path, status):
    refusal = parse_target(path)
    assert isinstance(refusal, Refusal)
    assert refusal.status == status
