"""Private keys of the sandbox's accounts as files, for clients that read them from a path."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .trading.keys import IssuedKey


class KeyFiles:
    """Writes private keys when they are first asked for, readable by their owner alone, and removes them."""

    def __init__(self, keys: Sequence[IssuedKey]) -> None:
        self._keys = keys
        self._directory: Path | None = None

    def describe(self) -> list[dict[str, Any]]:
        """The keys as the ready line shows them: with ``api_secret`` (HMAC), or with ``private_key_file`` (PEM)."""
        return [
            {
                "account": key.account,
                "kind": key.kind.value,
                "api_key": key.api_key,
                **(
                    {"api_secret": key.api_secret}
                    if key.private_key_pem is None
                    else {"private_key_file": self._file(key)}
                ),
                "can_trade": key.can_trade,
            }
            for key in self._keys
        ]

    def remove(self) -> None:
        """Remove the files."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def _file(self, key: IssuedKey) -> str:
        assert key.private_key_pem is not None
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="binmon-sandbox-"))
        path = self._directory / f"{key.account}-{key.kind.value.lower()}.pem"
        if not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(key.private_key_pem)
        return str(path)
