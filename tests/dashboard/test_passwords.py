"""What is too weak, and that hashes tell right from wrong."""

from __future__ import annotations

import pytest

from binmon.dashboard import passwords


@pytest.mark.parametrize(
    "password",
    [
        "", "short", "elevenchars", "aaaaaaaaaaaaaaaa", "abababababababab", "abcdefghijklmnop", "123456789012",
        "210987654321", "password1234", "Password!1234", "LetMeIn-12345678", "anna-anna-anna", "anna12345678",
        "correct horse battery staple", "line\nbreaks-in-it", "x" * 300, "9182736455463728",
        "quiet-otters-climb-\ud83d",
    ],
)  # fmt: skip
def test_weak_ones_are_refused(password: str) -> None:
    problem = passwords.weakness("anna", password)
    assert problem is not None
    assert problem.startswith("expected a password")
    assert not password or password not in problem


@pytest.mark.parametrize(
    "password", ["quiet-otters-climb-9", "Zwölf Boxkämpfer jagen", "k3$Nv!q8#Lr2@w", "annas lange reise nach rom"]
)
def test_strong_ones_are_taken(password: str) -> None:
    assert passwords.weakness("anna", password) is None


def test_a_hash_tells_right_from_wrong() -> None:
    stored = passwords.hashed("quiet-otters-climb-9")
    assert passwords.matches("quiet-otters-climb-9", stored)
    assert not passwords.matches("quiet-otters-climb-8", stored)
    assert "otters" not in stored
    assert stored != passwords.hashed("quiet-otters-climb-9"), "each has a salt of its own"


def test_the_same_letters_composed_differently_are_the_same_password() -> None:
    stored = passwords.hashed("Zw\u00f6lf Boxk\u00e4mpfer")
    assert passwords.matches("Zwo\u0308lf Boxka\u0308mpfer", stored)


def test_what_a_browser_can_send_is_no_error() -> None:
    assert not passwords.matches("\ud800 half a character", passwords.hashed("quiet-otters-climb-9"))


def test_nobody_is_never_right(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int, int]] = []
    real = passwords._scrypt

    def counted(password: str, salt: bytes, n: int, r: int, p: int, length: int) -> bytes:
        calls.append((n, r, p))
        return real(password, salt, n, r, p, length)

    stored = passwords.hashed("quiet-otters-climb-9")
    monkeypatch.setattr(passwords, "_scrypt", counted)
    assert not passwords.matches("quiet-otters-climb-9", None)
    passwords.matches("quiet-otters-climb-9", stored)
    assert calls[0] == calls[1], "a user that does not exist costs as much as one that does"


def test_older_parameters_still_work_and_are_told() -> None:
    import base64
    import hashlib

    salt = b"0123456789abcdef"
    key = hashlib.scrypt(b"quiet-otters-climb-9", salt=salt, n=1024, r=8, p=1, dklen=32)
    stored = f"scrypt$n=1024,r=8,p=1${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"
    assert passwords.matches("quiet-otters-climb-9", stored)
    assert passwords.is_outdated(stored)
    assert not passwords.is_outdated(passwords.hashed("quiet-otters-climb-9"))
