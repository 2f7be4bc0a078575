"""Users, their sessions, tokens and settings, in the state database.

What could be used by somebody who reads the database is not in it: passwords are hashed slowly (`passwords`), the ids of
sessions and the tokens, which are 256 random bits, by SHA-256. `binmon users` changes the same tables beside a running
daemon: each method is one short transaction (`Accounts.change_settings` as many as it takes), and nothing is kept in memory.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from binmon.dashboard import passwords
from binmon.errors import BinmonError
from binmon.state import State, StateFailed

_MODULE = "dashboard"
_STEPS = (
    # *_hash of sessions and tokens: SHA-256; csrf is what forms of the session must carry
    """
    CREATE TABLE dashboard_users (
        name TEXT PRIMARY KEY, password TEXT NOT NULL, created_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE dashboard_sessions (
        id_hash BLOB PRIMARY KEY, user TEXT NOT NULL REFERENCES dashboard_users (name) ON DELETE CASCADE,
        csrf TEXT NOT NULL, created_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE dashboard_tokens (
        id INTEGER PRIMARY KEY AUTOINCREMENT, user TEXT NOT NULL REFERENCES dashboard_users (name) ON DELETE CASCADE,
        name TEXT NOT NULL, token_hash BLOB NOT NULL UNIQUE, created_ms INTEGER NOT NULL, used_ms INTEGER
    ) STRICT;
    CREATE TABLE dashboard_settings (
        user TEXT PRIMARY KEY REFERENCES dashboard_users (name) ON DELETE CASCADE, document TEXT NOT NULL
    ) STRICT
    """,
)
TOKEN_PREFIX = "binmon_"
MOST_TOKENS = 50
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_SEEN_EVERY_MS = 60_000  # how exact "last seen" is: each is a write to the disk
_MOST_SESSIONS = 50  # of one user; the one that was used longest ago ends


class AccountRefused(BinmonError):
    """What was asked for about an account cannot be; ``str()`` is one line for people."""


@dataclass(frozen=True, slots=True)
class User:
    """One account."""

    name: str
    created_ms: int
    changed_ms: int
    sessions: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Session:
    """A login that is in force. ``key`` names it without being of any use to who reads it."""

    user: str
    csrf: str
    key: str


@dataclass(frozen=True, slots=True)
class Token:
    """What is shown of a token: never the token itself."""

    id: int
    name: str
    created_ms: int
    used_ms: int | None


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long a session lasts without a request, and in all."""

    idle_ms: int = 12 * 3_600_000
    longest_ms: int = 7 * 86_400_000


class Accounts:
    """The tables. Any thread, and any process beside the daemon, may use them. Methods raise StateFailed."""

    def __init__(self, state: State, lifetimes: Lifetimes | None = None) -> None:
        """Raises ConfigError when a newer binmon has written the database."""
        self._state = state
        self.lifetimes = lifetimes or Lifetimes()
        state.upgrade(_MODULE, _STEPS)
        state.execute("PRAGMA foreign_keys = ON")

    # Users --------------------------------------------------------------------------------------------------------

    def add(self, name: str, password: str, now_ms: int) -> None:
        """A new account. Raises AccountRefused: no such name, a weak password, an account that is there."""
        if not _NAME.fullmatch(name):
            raise AccountRefused(
                f"{name!r}: expected a name of up to 64 letters, digits and ._@- that begins with a letter or digit"
            )
        problem = passwords.weakness(name, password)
        if problem is not None:
            raise AccountRefused(problem)
        try:
            self._state.execute(
                "INSERT INTO dashboard_users VALUES (?, ?, ?, ?)", (name, passwords.hashed(password), now_ms, now_ms)
            )
        except StateFailed as error:
            if isinstance(error.__cause__, sqlite3.IntegrityError):
                raise AccountRefused(f"there is a user {name} already; remove it first") from None
            raise

    def remove(self, name: str) -> None:
        """Take an account away, with its sessions and tokens, which end at once. Raises AccountRefused."""
        if not self._state.execute("DELETE FROM dashboard_users WHERE name = ? RETURNING name", (name,)):
            raise AccountRefused(f"there is no user {name}")

    def users(self) -> list[User]:
        """All accounts by name."""
        rows = self._state.execute(
            "SELECT name, created_ms, changed_ms,"
            " (SELECT count(*) FROM dashboard_sessions WHERE user = name),"
            " (SELECT count(*) FROM dashboard_tokens t WHERE t.user = u.name) FROM dashboard_users u ORDER BY name"
        )
        return [User(*row) for row in rows]

    def exist(self) -> bool:
        """Whether there is any account."""
        return bool(self._state.execute("SELECT 1 FROM dashboard_users LIMIT 1"))

    def has_user(self, name: str) -> bool:
        """Whether there is an account of this name."""
        return bool(self._state.execute("SELECT 1 FROM dashboard_users WHERE name = ?", (name,)))

    def verify(self, name: str, password: str) -> bool:
        """Whether this is the password of this user; takes as long when there is no such user."""
        rows = self._state.execute("SELECT password FROM dashboard_users WHERE name = ?", (name,))
        stored = str(rows[0][0]) if rows else None
        right = passwords.matches(password, stored)
        if right and stored is not None and passwords.is_outdated(stored):
            self._state.execute(
                "UPDATE dashboard_users SET password = ? WHERE name = ? AND password = ?",
                (passwords.hashed(password), name, stored),
            )
        return right

    def change_password(self, session: Session, password: str, now_ms: int) -> None:
        """Another password; all other sessions of the user end, tokens stay. Raises AccountRefused."""
        problem = passwords.weakness(session.user, password)
        if problem is not None:
            raise AccountRefused(problem)
        self._state.execute(
            "UPDATE dashboard_users SET password = ?, changed_ms = ? WHERE name = ?",
            (passwords.hashed(password), now_ms, session.user),
        )
        self._state.execute(
            "DELETE FROM dashboard_sessions WHERE user = ? AND id_hash != ?", (session.user, bytes.fromhex(session.key))
        )

    # Sessions -----------------------------------------------------------------------------------------------------

    def open_session(self, user: str, now_ms: int) -> str:
        """A new session; gives its id, which is for the user's browser alone."""
        session_id = secrets.token_urlsafe(32)
        oldest_ms, idle_ms = now_ms - self.lifetimes.longest_ms, now_ms - self.lifetimes.idle_ms
        self._state.execute("DELETE FROM dashboard_sessions WHERE created_ms < ? OR seen_ms < ?", (oldest_ms, idle_ms))
        self._state.execute(
            "DELETE FROM dashboard_sessions WHERE id_hash IN (SELECT id_hash FROM dashboard_sessions WHERE user = ?"
            " ORDER BY seen_ms DESC LIMIT -1 OFFSET ?)",
            (user, _MOST_SESSIONS - 1),
        )
        self._state.execute(
            "INSERT INTO dashboard_sessions VALUES (?, ?, ?, ?, ?)",
            (_hash(session_id), user, secrets.token_urlsafe(32), now_ms, now_ms),
        )
        return session_id

    def session(self, session_id: str, now_ms: int) -> Session | None:
        """The session of this id, and note that it is used; None when it is not in force (any more)."""
        return self._session(_hash(session_id), now_ms, used=True)

    def is_open(self, key: str, now_ms: int) -> bool:
        """Whether the session with this ``key`` is in force."""
        return self._session(bytes.fromhex(key), now_ms, used=False) is not None

    def touch(self, key: str, now_ms: int) -> bool:
        """The session is used, by a page that is open; False when it is not in force any more."""
        return self._session(bytes.fromhex(key), now_ms, used=True) is not None

    def close_session(self, key: str) -> None:
        """The end of a session."""
        self._state.execute("DELETE FROM dashboard_sessions WHERE id_hash = ?", (bytes.fromhex(key),))

    def _session(self, id_hash: bytes, now_ms: int, *, used: bool) -> Session | None:
        rows = self._state.execute(
            "SELECT user, csrf, created_ms, seen_ms FROM dashboard_sessions WHERE id_hash = ?", (id_hash,)
        )
        if not rows:
            return None
        user, csrf, created_ms, seen_ms = rows[0]
        if now_ms - created_ms > self.lifetimes.longest_ms or now_ms - seen_ms > self.lifetimes.idle_ms:
            self._state.execute("DELETE FROM dashboard_sessions WHERE id_hash = ?", (id_hash,))
            return None
        if used and now_ms - seen_ms >= _SEEN_EVERY_MS:
            self._state.execute("UPDATE dashboard_sessions SET seen_ms = ? WHERE id_hash = ?", (now_ms, id_hash))
        return Session(user, csrf, id_hash.hex())

    # Tokens -------------------------------------------------------------------------------------------------------

    def add_token(self, user: str, name: str, now_ms: int) -> tuple[Token, str]:
        """A new token; the text is given once and never again. Raises AccountRefused for too many."""
        text = TOKEN_PREFIX + secrets.token_urlsafe(32)
        rows = self._state.execute(
            "INSERT INTO dashboard_tokens (user, name, token_hash, created_ms) SELECT ?, ?, ?, ?"
            " WHERE (SELECT count(*) FROM dashboard_tokens WHERE user = ?) < ? RETURNING id",
            (user, name, _hash(text), now_ms, user, MOST_TOKENS),
        )
        if not rows:
            raise AccountRefused(f"a user may have {MOST_TOKENS} tokens: revoke one first")
        return Token(int(rows[0][0]), name, now_ms, None), text

    def tokens(self, user: str) -> list[Token]:
        """The user's tokens, oldest first."""
        rows = self._state.execute(
            "SELECT id, name, created_ms, used_ms FROM dashboard_tokens WHERE user = ? ORDER BY id", (user,)
        )
        return [Token(*row) for row in rows]

    def revoke_token(self, user: str, token_id: int) -> bool:
        """End a token of this user at once; False when there is none of this id."""
        return bool(
            self._state.execute(
                "DELETE FROM dashboard_tokens WHERE user = ? AND id = ? RETURNING id", (user, token_id)
            )
        )  # fmt: skip

    def user_of_token(self, text: str, now_ms: int) -> tuple[str, int] | None:
        """Whose token this is and its id, and note that it is used; None when it is none."""
        rows = self._state.execute(
            "SELECT user, id, used_ms FROM dashboard_tokens WHERE token_hash = ?", (_hash(text),)
        )
        if not rows:
            return None
        user, token_id, used_ms = rows[0]
        if used_ms is None or now_ms - used_ms >= _SEEN_EVERY_MS:
            self._state.execute("UPDATE dashboard_tokens SET used_ms = ? WHERE id = ?", (now_ms, token_id))
        return str(user), int(token_id)

    def has_token(self, token_id: int) -> bool:
        """Whether the token of this id is in force."""
        return bool(self._state.execute("SELECT 1 FROM dashboard_tokens WHERE id = ?", (token_id,)))

    # Settings -----------------------------------------------------------------------------------------------------

    def settings(self, user: str) -> dict[str, Any]:
        """What the user's pages have kept."""
        return _parsed(self._settings_text(user))

    def keep_settings(self, user: str, document: dict[str, Any]) -> None:
        """Keep this instead."""
        self._state.execute(
            "INSERT OR REPLACE INTO dashboard_settings VALUES (?, ?)", (user, json.dumps(document, ensure_ascii=False))
        )

    def change_settings(self, user: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        """Keep what ``change`` makes of the settings, and give it. Nothing that others keep meanwhile is lost: ``change`` is
        called again then, with that. What it raises comes out, and changes nothing."""
        while True:
            before = self._settings_text(user)
            document = change(_parsed(before))
            text = json.dumps(document, ensure_ascii=False)
            if self._state.execute(
                "INSERT INTO dashboard_settings SELECT :user, :text WHERE :before IS NULL OR"
                " EXISTS (SELECT 1 FROM dashboard_settings WHERE user = :user AND document = :before)"
                " ON CONFLICT (user) DO UPDATE SET document = excluded.document WHERE document IS :before RETURNING 1",
                {"user": user, "text": text, "before": before},
            ):
                return document

    def _settings_text(self, user: str) -> str | None:
        rows = self._state.execute("SELECT document FROM dashboard_settings WHERE user = ?", (user,))
        return str(rows[0][0]) if rows else None


def _parsed(text: str | None) -> dict[str, Any]:
    document: dict[str, Any] = {} if text is None else json.loads(text)
    return document


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
