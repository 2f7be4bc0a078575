"""Signatures against the vectors of the reference (2.6, appendix B), and every way in which a key can be unusable."""

from __future__ import annotations

import base64
import os
import pathlib
import traceback
import urllib.parse

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa

from binmon.config.schema import BinanceConfig
from binmon.errors import ConfigError
from binmon.venues.binance.signing import KeyKind, Signer, signer_of

KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(SEED)
WIDE = "１２３４５６"
TAIL = "side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(key, encryption=None, form=serialization.PrivateFormat.PKCS8) -> bytes:
    hidden = encryption or serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, hidden)


def written(directory: pathlib.Path, content: bytes, mode: int = 0o600) -> str:
    path = directory / "key.pem"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"symbol=LTCBTC&{TAIL}", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        (
            f"symbol={urllib.parse.quote(WIDE)}&{TAIL}",
            "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3",
        ),
        (  # query and body joined with no separator
            f"symbol=LTCBTC&{TAIL}".replace("GTC&quantity", "GTCquantity"),
            "0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77",
        ),
    ],
)
def test_hmac_of_rest(query: str, expected: str) -> None:
    signer = signer_of(BinanceConfig(api_key=KEY, api_secret=SECRET))
    assert signer.kind is KeyKind.HMAC and signer.api_key == KEY
    assert signer.rest(query) == f"{query}&signature={expected}"


def test_rest_refuses_what_is_not_encoded() -> None:
    with pytest.raises(UnicodeEncodeError):
        Signer.hmac(KEY, SECRET).rest(f"symbol={WIDE}")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (
            {"symbol": "BTCUSDT", "side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01000000",
             "price": "52000.00", "recvWindow": 100, "timestamp": 1645423376532},
            "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
        ),
        (
            {"symbol": WIDE, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1.00000000",
             "price": "0.10000000", "recvWindow": 5000, "timestamp": 1645423376532},
            "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
        ),
        ({"timestamp": 1747385641636}, "681110a6057ad58657af22f5640fab9dd17418834cdfccdc81be8b0f7b2cde3e"),
        (
            {"timestamp": 1747385641636, "recvWindow": 5000},
            "49601ffc5b0122c3c7ee3ea85ef7d6cd76256f5191a57c976418faa32e917653",
        ),
    ],
)  # fmt: skip
def test_hmac_of_the_websocket_api(parameters: dict[str, str | int], expected: str) -> None:
    signed = Signer.hmac(KEY, SECRET).websocket({**parameters, "apiKey": KEY, "signature": "an old one"})
    assert signed == {**parameters, "apiKey": KEY, "signature": expected}
    assert list(signed) == [*sorted([*parameters, "apiKey"]), "signature"]


def test_values_are_signed_as_json_writes_them() -> None:
    signed = Signer(KeyKind.HMAC, KEY, lambda payload: payload.decode()).websocket({"b": True, "c": False, "a": 1})
    assert signed["signature"] == "a=1&b=true&c=false"
    with pytest.raises(TypeError, match="float"):
        Signer.hmac(KEY, SECRET).websocket({"quantity": 0.1})  # type: ignore[dict-item]


def test_ed25519(tmp_path: pathlib.Path) -> None:
    signer = signer_of(BinanceConfig(api_key=KEY, private_key_file=written(tmp_path, pem(ED25519))))
    assert signer.kind is KeyKind.ED25519
    query = (
        "symbol=BTCUSDT&side=SELL&type=LIMIT&timeInForce=GTC&quantity=1&price=0.2"
        "&timestamp=1668481559918&recvWindow=5000"
    )
    assert signer.rest(query) == (
        query
        + "&signature=XtZirsmmi0noRzUfkqktvkVfxpkq%2FWtbLg2UOL3QGYdUBZVlqOBEMuEVw8zioY93N54NcKj9UuAXQEa9zgTDBg%3D%3D"
    )
    key = "4yNzx3yWC5bS6YTwEkSRaC0nRmSQIIStAUOh1b6kqaBrTLIhjCpI5lJH8q8R8WNO"
    assert signer.websocket({"apiKey": key, "timestamp": 1747385641636})["signature"] == (
        "pJBg0B+FverOfqH6iQP4ZqVsmwmEs0iET0zc6TrrELGicygzqHHGrNXZYyYzXp1p1HrI8muZ8tHKeqZ2OVkPCA=="
    )


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_rsa(tmp_path: pathlib.Path, rsa_key: rsa.RSAPrivateKey, form: serialization.PrivateFormat) -> None:
    signer = signer_of(BinanceConfig(api_key=KEY, private_key_file=written(tmp_path, pem(rsa_key, form=form))))
    assert signer.kind is KeyKind.RSA
    query, _, encoded = signer.rest("a=1&b=2").rpartition("&signature=")
    assert query == "a=1&b=2" and not set(encoded) & set("+/=")
    text = urllib.parse.unquote(encoded)
    assert len(text) == 344 and signer.websocket({"a": 1, "b": "2"})["signature"] == text
    rsa_key.public_key().verify(base64.b64decode(text), b"a=1&b=2", padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, r"^venues\.binance\.api_key: no API key: set it here, or BINANCE_API_KEY and BINANCE_API_SECRET$"),
        ({"api_key": KEY}, r"^venues\.binance\.api_secret: missing.*set the secret, or private_key_file"),
        ({"api_secret": SECRET}, r"^venues\.binance\.api_key: missing, though api_secret is set"),
        ({"private_key_file": "/x"}, r"^venues\.binance\.api_key: missing, though private_key_file is set"),
        (
            {"api_key": KEY, "api_secret": SECRET, "private_key_file": "/x"},
            r"^venues\.binance\.private_key_file: expected either this or api_secret, got both",
        ),
        ({"api_key": f"{KEY}\n", "api_secret": SECRET}, r"^venues\.binance\.api_key: has blanks or line ends around"),
        ({"api_key": KEY, "api_secret": f" {SECRET}"}, r"^venues\.binance\.api_secret: has blanks or line ends around"),
        ({"api_key": KEY, "api_secret": f"{SECRET}\n{SECRET}"}, r"api_secret: has blanks or line ends inside"),
        ({"api_key": f"{KEY}\u00a0x", "api_secret": SECRET}, r"api_key: has blanks or line ends inside"),
        ({"api_key": f"{KEY}é", "api_secret": SECRET}, r"api_key: has characters other than printable ASCII"),
        ({"api_key": KEY, "api_secret": f"{SECRET}\0"}, r"api_secret: has characters other than printable ASCII"),
        ({"api_key": KEY, "api_secret": KEY}, r"api_secret: is the same as api_key"),
    ],
)
def test_settings_that_make_no_key(given: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        signer_of(BinanceConfig(**given))
    assert_silent(caught.value)


def public_pem(key) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


BEST = serialization.BestAvailableEncryption(b"password")
BODY = pem(ED25519).split(b"\n")[1]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", r"is not PEM"),
        (b"\x30\x2e\x02\x01", r"is not PEM"),
        (public_pem(ED25519), r"holds a public key: name the file of the private key"),
        (pem(ED25519, BEST), r"is encrypted: decrypt it with `openssl pkey"),
        (
            pem(rsa.generate_private_key(65537, 2048), BEST, serialization.PrivateFormat.TraditionalOpenSSL),
            r"is encrypted",
        ),
        (pem(ED25519, form=serialization.PrivateFormat.OpenSSH), r"format of OpenSSH"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", r"holds no private key"),
        (pem(ED25519).replace(BODY, BODY[:-8]), r"cannot be read as a PEM PKCS#8 private key"),
        (pem(ec.generate_private_key(ec.SECP256R1())), r"is a key of kind .*E.*, expected Ed25519 or RSA"),
        (pem(ed448.Ed448PrivateKey.generate()), r"is a key of kind .*Ed448.*, expected Ed25519 or RSA"),
        (pem(dsa.generate_private_key(1024)), r"is a key of kind .*DSA.*, expected Ed25519 or RSA"),
        (pem(rsa.generate_private_key(65537, 1024)), r"RSA key of 1024 bits, expected at least 2048"),
    ],
)
def test_key_files_that_cannot_sign(tmp_path: pathlib.Path, content: bytes, problem: str) -> None:
    file = written(tmp_path, content)
    with pytest.raises(ConfigError, match=problem) as caught:
        signer_of(BinanceConfig(api_key=KEY, private_key_file=file))
    assert str(caught.value).startswith(f"venues.binance.private_key_file: {file} ")
    assert_silent(caught.value, BODY.decode())
    lines = [line.decode() for line in content.split(b"\n")[1:-2] if line.isascii()]
    assert_silent(caught.value, *filter(None, lines))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o644])
def test_key_files_that_others_may_read(tmp_path: pathlib.Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, pem(ED25519), mode)
    with pytest.raises(ConfigError, match=rf"can be read by others \(mode {mode:04o}\): `chmod 600 {file}`"):
        signer_of(BinanceConfig(api_key=KEY, private_key_file=file))
    # a service's credentials are closed to others by their directory
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    if mode & 0o007:
        with pytest.raises(ConfigError, match="can be read by others"):
            signer_of(BinanceConfig(api_key=KEY, private_key_file=file))
    else:
        assert signer_of(BinanceConfig(api_key=KEY, private_key_file=file)).kind is KeyKind.ED25519


def test_key_files_that_are_none(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.pem no such file: set the path"):
        signer_of(BinanceConfig(api_key=KEY, private_key_file=str(tmp_path / "nowhere.pem")))
    with pytest.raises(ConfigError, match=r"is not a file"):
        signer_of(BinanceConfig(api_key=KEY, private_key_file=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"is not a file"):
        signer_of(BinanceConfig(api_key=KEY, private_key_file="/dev/null"))
    file = written(tmp_path, pem(ED25519))
    with pytest.raises(ConfigError, match=r"cannot be read \(Not a directory\)"):
        signer_of(BinanceConfig(api_key=KEY, private_key_file=f"{file}/inside"))
    if os.geteuid() != 0:
        pathlib.Path(file).chmod(0)
        with pytest.raises(ConfigError, match=r"cannot be read \(Permission denied\)"):
            signer_of(BinanceConfig(api_key=KEY, private_key_file=file))


def test_a_signer_shows_no_secret() -> None:
    for signer in (Signer.hmac(KEY, SECRET), Signer.private(KEY, ED25519)):
        for shown in (repr(signer), str(signer), f"{signer}", f"{[signer]}"):
            assert SECRET not in shown and KEY not in shown and BODY.decode() not in shown
        assert shown.startswith("[Signer(")


def assert_silent(error: BaseException, *secrets: str) -> None:
    """Neither the error nor what it was raised from shows a secret."""
    seen: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or any(one is known for known in seen):
            continue
        seen.append(one)
        pending += [one.__cause__, one.__context__]
        shown = f"{one}\n{one!r}\n" + "".join(traceback.format_exception(one))
        for secret in (KEY, SECRET, *secrets):
            assert secret not in shown
    assert "\n" not in str(error)
