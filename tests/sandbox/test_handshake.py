import pytest

from binmon.sandbox.handshake import Refusal, Target, parse_target, refused


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


def test_refusals_are_whole_answers():
    data = refused(Refusal(429, "Too Many Requests", '{"code":-1034}', (("Retry-After", "7"),)))
    head, body = data.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 Too Many Requests")
    assert b"Retry-After: 7" in head and b"application/json" in head and b"Content-Length: 14" in head
    assert body == b'{"code":-1034}'
