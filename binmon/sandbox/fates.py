"""What a fault makes of the answer to a request, on REST and on the WebSocket API."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .http_server import Answer
from .parameters import ApiError
from .rest_faults import infrastructure_page

TIMEOUT_TEXT = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."


@dataclass(frozen=True)
class Fate:
    """How an answer reaches the client, if at all.

    ``mode`` is ``status`` (an error status of which nothing can be learned), ``timeout`` (code -1007), ``reset`` or
    ``closed`` (the end of the connection), ``silent`` (no answer, and after ``seconds`` the end), or ``late`` (the
    true answer after ``seconds``).
    """

    mode: str
    status: int = 503
    seconds: float = 0.0

    @property
    def error(self) -> ApiError | None:
        """The error that the WebSocket API answers; ``None`` when it answers no error."""
        if self.mode == "timeout":
            return ApiError(self.status, -1007, TIMEOUT_TEXT)
        if self.mode == "status":
            return ApiError(self.status, -1000, "An unknown error occurred while processing the request.")
        return None

    def rest(self, answer: Answer) -> Answer:
        """What REST answers in place of the true answer."""
        if self.mode == "late":
            return replace(answer, delay_s=answer.delay_s + self.seconds)
        if self.mode == "status":
            return infrastructure_page(self.status, {})
        if self.mode == "timeout":
            error = self.error
            assert error is not None
            return Answer(error.status, error.body())
        if self.mode == "closed":
            return Answer(200, '{"symbol":""}', break_after=0)
        return Answer(500, "", reset=True, delay_s=self.seconds if self.mode == "silent" else 0.0)
