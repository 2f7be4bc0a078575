from pathlib import Path

from binmon.sandbox.key_files import KeyFiles
from binmon.sandbox.trading.accounts import KeyKind
from binmon.sandbox.trading.keys import IssuedKey

KEYS = [
    IssuedKey("main", KeyKind.HMAC, "key-1", "secret-1", None, True),
    IssuedKey("main", KeyKind.ED25519, "key-2", None, b"PEM of two", False),
]


def test_keys_are_described_and_written_once():
    files = KeyFiles(KEYS)
    hmac, curve = files.describe()
    assert hmac == {
        "account": "main", "kind": "HMAC", "api_key": "key-1", "api_secret": "secret-1", "can_trade": True,
    }  # fmt: skip
    path = Path(curve.pop("private_key_file"))
    assert curve == {"account": "main", "kind": "Ed25519", "api_key": "key-2", "can_trade": False}
    assert path.read_bytes() == b"PEM of two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert files.describe()[1]["private_key_file"] == str(path)
    files.remove()
    assert not path.parent.exists()
    files.remove()


def test_nothing_is_written_unless_it_is_asked_for():
    files = KeyFiles(KEYS[:1])
    files.describe()
    files.remove()
