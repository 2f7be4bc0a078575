"""Passwords: what is too weak, and the hashes of those that are not.

A hash is text with its parameters in it, ``scrypt$n=32768,r=8,p=1$SALT$KEY`` (base64), so that better parameters can be
chosen for new passwords while old ones go on to work. One check takes 32 MiB and about a tenth of a second, on purpose.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import secrets
import threading
import unicodedata

SHORTEST, LONGEST = 12, 256
_N, _R, _P = 1 << 15, 8, 1
_KEY_BYTES = 32
_MOST_BYTES = 256 << 20  # what a stored hash may ask of the memory
_MOST_REPEATED = 0.5  # of a password may be one and the same character

# Words that lists of stolen passwords are full of. A password is compared without digits and signs around them, so this
# need not hold every variant; the length keeps out the rest.
_COMMON = frozenset(
    """
    password passwort passw0rd passphrase letmein welcome welcomeback changeme administrator adminadmin superuser
    qwertyuiop qwertzuiop qwertyqwerty asdfghjkl asdfghjkl; zxcvbnm yxcvbnm iloveyou iloveyouforever trustno monkey dragon
    football baseball basketball superman batman starwars pokemon whatever sunshine princess masterkey mustang shadow
    abcdefghijkl abcdefghijklmnop correcthorsebatterystaple secret topsecret mypassword yourpassword thepassword
    newpassword oldpassword passwordpassword defaultpassword testpassword binmon binmonbinmon binance bybit bitcoin
    bitcoinbitcoin ethereum satoshi satoshinakamoto cryptocurrency tothemoon hodl hodlhodlhodl dashboard
    """.split()  # noqa: SIM905
)

_at_once = threading.BoundedSemaphore(2)
"""Checks at the same time: each costs memory and a processor, and books come first."""


def weakness(name: str, password: str) -> str | None:
    """What is wrong with this password for the user ``name``, as one line that does not show it; None: nothing."""
    if len(password) < SHORTEST:
        return f"expected a password of at least {SHORTEST} characters"
    if len(password) > LONGEST:
        return f"expected a password of at most {LONGEST} characters"
    if any(unicodedata.category(one) == "Cc" for one in password):
        return "expected a password without control characters"
    if any(unicodedata.category(one) == "Cs" for one in password):
        return "expected a password of characters: no form can send half of a surrogate pair"
    folded = password.casefold()
    if name.casefold() in folded and (len(name) > 2 or len(set(folded)) < 8):
        rest = folded.replace(name.casefold(), "")
        if len(rest) < SHORTEST:
            return "expected a password that is not made of the user's name"
    if len(set(folded)) < 5 or max(folded.count(one) for one in set(folded)) > len(folded) * _MOST_REPEATED:
        return "expected a password with more than a few different characters"
    if _is_sequence(folded):
        return "expected a password that is no row of the keyboard or the alphabet"
    core = "".join(one for one in folded if one.isalpha())
    if core in _COMMON or folded in _COMMON or (len(core) < 4 and folded.isdigit() and len(folded) < 20):
        return "expected a password that is not on the lists of common ones"
    return None


def _is_sequence(folded: str) -> bool:
    """Whether it only counts: abcdefghijkl, 123456789012, and backwards."""
    steps = {(ord(after) - ord(before)) for before, after in itertools.pairwise(folded)}
    return len(steps) <= 2 and bool(steps & {1, -1}) and steps <= {1, -1, -9, 9}


def hashed(password: str) -> str:
    """A hash to be stored."""
    salt = secrets.token_bytes(16)
    key = _scrypt(password, salt, _N, _R, _P, _KEY_BYTES)
    return f"scrypt$n={_N},r={_R},p={_P}${_text(salt)}${_text(key)}"


def matches(password: str, stored: str | None) -> bool:
    """Whether ``stored`` was made of this password. As slow, and always False, for None: a user that does not exist."""
    method, numbers, salt, key = (stored or _NOBODY).split("$")
    if method != "scrypt":
        raise ValueError(f"a password hash of the unknown kind {method}")
    of = {name: int(number) for name, _, number in (one.partition("=") for one in numbers.split(","))}
    expected = base64.b64decode(key)
    found = _scrypt(password, base64.b64decode(salt), of["n"], of["r"], of["p"], len(expected))
    return hmac.compare_digest(found, expected) and stored is not None


def is_outdated(stored: str) -> bool:
    """Whether it was made with other parameters than a new one would be."""
    return not stored.startswith(f"scrypt$n={_N},r={_R},p={_P}$")


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int, length: int) -> bytes:
    # the same characters may be composed differently by different keyboards
    text = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    with _at_once:
        return hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, maxmem=_MOST_BYTES, dklen=length)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


# What a password is held against where there is no user: same parameters, so the same time.
_NOBODY = f"scrypt$n={_N},r={_R},p={_P}${_text(bytes(16))}${_text(bytes(_KEY_BYTES))}"
