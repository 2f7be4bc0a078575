"""What holds for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import structlog


@pytest.fixture(autouse=True, scope="session")
def loggers_follow_the_configuration() -> Iterator[None]:
    """A command that a test runs in this process sets the log up, with loggers that keep for good what they first used.
    Another test that captures the log of such a logger would see nothing."""
    configure = structlog.configure

    def without_cache(*arguments: Any, **options: Any) -> None:
        configure(*arguments, **{**options, "cache_logger_on_first_use": False})

    structlog.configure = without_cache
    yield
    structlog.configure = configure
