"""The API key of an account at Binance, and how it signs (reference, section 2).

REST signs the percent-encoded query exactly as it leaves; the WebSocket API signs the raw text of all parameters,
sorted by name. Nothing in here shows a secret: not a ``repr``, not an error.
"""

from __future__ import annotations

import base64
import enum
import hmac
import os
import stat
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from binmon.config.schema import BinanceConfig
from binmon.errors import ConfigError

API_KEY, API_SECRET, KEY_FILE = (f"venues.binance.{name}" for name in ("api_key", "api_secret", "private_key_file"))
_LEAST_RSA_BITS = 2048  # reference 2.2
_LARGEST_FILE = 65_536  # bytes; a key of 4096 bits takes 3,300
_MAKE_ONE = "make one with `openssl genpkey -algorithm ed25519 -out FILE` and register its public half with Binance"

Value = str | int | bool


class KeyKind(enum.StrEnum):
    """How a key signs."""

    HMAC = "HMAC"
    ED25519 = "Ed25519"
    RSA = "RSA"


class Signer:
    """One API key. Any number of threads may sign with it."""

    __slots__ = ("_sign", "api_key", "kind")

    def __init__(self, kind: KeyKind, api_key: str, sign: Callable[[bytes], str]) -> None:
        """``sign`` turns a payload into the text of its signature: hexadecimal for HMAC, else base64."""
        self.kind, self.api_key, self._sign = kind, api_key, sign

    @classmethod
    def hmac(cls, api_key: str, secret: str) -> Signer:
        """A key with a shared secret."""
        secret_bytes = secret.encode("ascii")
        return cls(KeyKind.HMAC, api_key, lambda payload: hmac.digest(secret_bytes, payload, "sha256").hex())

    @classmethod
    def private(cls, api_key: str, key: Ed25519PrivateKey | RSAPrivateKey) -> Signer:
        """A key whose public half is registered with the venue."""
        if isinstance(key, Ed25519PrivateKey):
            return cls(KeyKind.ED25519, api_key, lambda payload: _base64(key.sign(payload)))
        padding, digest = PKCS1v15(), hashes.SHA256()
        return cls(KeyKind.RSA, api_key, lambda payload: _base64(key.sign(payload, padding, digest)))

    def rest(self, query: str) -> str:
        """``query``, percent-encoded already, with its signature appended (reference 2.3)."""
        signature = urllib.parse.quote(self._sign(query.encode("ascii")), safe="")
        return f"{query}&signature={signature}"

    def websocket(self, parameters: Mapping[str, Value]) -> dict[str, Value]:
        """``parameters`` of a WebSocket API request, sorted, with their signature (reference 2.4). Decimals are given
        as text, for what is signed is the text that is sent."""
        ordered = {name: parameters[name] for name in sorted(parameters) if name != "signature"}
        payload = "&".join(f"{name}={_text(value)}" for name, value in ordered.items())
        return {**ordered, "signature": self._sign(payload.encode("utf-8"))}

    def __repr__(self) -> str:
        return f"Signer({self.kind})"


def signer_of(section: BinanceConfig) -> Signer:
    """The signer that the configuration asks for: ``api_secret`` makes it HMAC, ``private_key_file`` what is in there.

    Raises ConfigError, with what to do about it, for anything that cannot sign.
    """
    signer = _signer(section)
    if section.session_logon and signer.kind is not KeyKind.ED25519:
        problem = f"needs an Ed25519 key, and this one is {signer.kind}: set it to false, or use private_key_file"
        raise ConfigError(problem, key="venues.binance.session_logon")
    return signer


def _signer(section: BinanceConfig) -> Signer:
    key, secret, file = section.api_key, section.api_secret, section.private_key_file
    if not key and not secret and not file:
        raise ConfigError("no API key: set it here, or BINANCE_API_KEY and BINANCE_API_SECRET", key=API_KEY)
    if not key:
        given = "api_secret" if secret else "private_key_file"
        raise ConfigError(f"missing, though {given} is set: set the API key that belongs to it", key=API_KEY)
    if secret and file:
        raise ConfigError("expected either this or api_secret, got both: remove one of them", key=KEY_FILE)
    if not secret and not file:
        raise ConfigError(
            "missing, though api_key is set: set the secret, or private_key_file for an Ed25519 or RSA key",
            key=API_SECRET,
        )
    _check_text(key, API_KEY)
    if not file:
        _check_text(secret, API_SECRET)
        if secret == key:
            raise ConfigError("is the same as api_key: set the secret that was shown with the key", key=API_SECRET)
        return Signer.hmac(key, secret)
    return Signer.private(key, _private_key(Path(file).expanduser()))


def _check_text(text: str, key: str) -> None:
    """A key or secret is plain ASCII; what else is in there was copied with it."""
    if text.strip() != text:
        raise ConfigError("has blanks or line ends around it: remove them", key=key)
    if any(character.isspace() for character in text):
        raise ConfigError("has blanks or line ends inside: copy it again, in one piece", key=key)
    if not (text.isascii() and text.isprintable()):
        raise ConfigError("has characters other than printable ASCII: copy it again", key=key)


def _private_key(path: Path) -> Ed25519PrivateKey | RSAPrivateKey:
    """The private key in ``path``. Raises ConfigError."""
    pem = _read(path)
    refuse = _Refusal(path)
    if b"-----BEGIN " not in pem:
        raise refuse("is not PEM (no -----BEGIN … line): name the file of the private key")
    if b"BEGIN PUBLIC KEY" in pem or b"BEGIN RSA PUBLIC KEY" in pem:
        raise refuse("holds a public key: name the file of the private key that belongs to it")
    if b"ENCRYPTED" in pem:
        raise refuse("is encrypted: decrypt it with `openssl pkey -in FILE -out NEWFILE`, then `chmod 600 NEWFILE`")
    if b"BEGIN OPENSSH PRIVATE KEY" in pem:
        raise refuse(f"is in the format of OpenSSH, expected PEM PKCS#8: {_MAKE_ONE}")
    if b"PRIVATE KEY-----" not in pem:
        raise refuse("holds no private key: name the file of the private key")
    key: object
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None  # raised below, without the error that knows the content
    if key is None:
        raise refuse(f"cannot be read as a PEM PKCS#8 private key: copy it again, or {_MAKE_ONE}")
    if isinstance(key, RSAPrivateKey):
        if key.key_size < _LEAST_RSA_BITS:
            raise refuse(
                f"is an RSA key of {key.key_size} bits, expected at least {_LEAST_RSA_BITS}: "
                "make a longer one, or an Ed25519 key"
            )
        return key
    if isinstance(key, Ed25519PrivateKey):
        return key
    name = type(key).__name__.lstrip("_").removesuffix("PrivateKey")
    raise refuse(f"is a key of kind {name}, expected Ed25519 or RSA: {_MAKE_ONE}")


def _read(path: Path) -> bytes:
    """The content of a key file that nobody else may read."""
    refuse = _Refusal(path)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise refuse("is not a file: name the PEM file of the private key")
            if mode & _forbidden(path):
                raise refuse(f"can be read by others (mode {stat.S_IMODE(mode):04o}): `chmod 600 {path}`")
            return file.read(_LARGEST_FILE)
    except FileNotFoundError:
        problem = "no such file: set the path of the private key"
    except IsADirectoryError:
        problem = "is not a file: name the PEM file of the private key"
    except OSError as error:
        problem = f"cannot be read ({error.strerror}): it must belong to the user that binmon runs as"
    raise refuse(problem)


def _forbidden(path: Path) -> int:
    """Which bits of a mode say that others may read. systemd gives credentials to a service by an access list, whose
    mask shows where the rights of a group stand; their directory is closed to everybody else."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory and path.resolve().is_relative_to(Path(directory).resolve()):
        return stat.S_IRWXO
    return stat.S_IRWXG | stat.S_IRWXO


class _Refusal:
    """Makes the error about one key file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, problem: str) -> ConfigError:
        return ConfigError(f"{self._path} {problem}", key=KEY_FILE)


def _base64(signature: bytes) -> str:
    return base64.b64encode(signature).decode("ascii")


def _text(value: Value) -> str:
    """A parameter in the form in which JSON has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise TypeError(f"a signed parameter must be text or a whole number, not {type(value).__name__}")
