"""What is wrong with a request, for whoever sent it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from binmon.errors import BinmonError


class Refused(BinmonError):
    """A request that is answered with ``status`` and one line. ``near`` are symbols that were perhaps meant."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        near: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status, self.code, self.message, self.near, self.headers = status, code, message, near, headers or {}
        super().__init__(status, code, message)

    def __str__(self) -> str:
        return self.message
