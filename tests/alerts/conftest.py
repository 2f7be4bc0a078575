from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs


@pytest.fixture
def events() -> Iterator[list[dict[str, object]]]:
    """What was logged meanwhile."""
    structlog.reset_defaults()
    with capture_logs() as captured:
        yield captured
