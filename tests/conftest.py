"""What holds for all tests."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

# Whether a property holds is no question of how long an example takes, or how long the machine takes to make one up.
settings.register_profile("pace", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pace")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First the tests that take long because they wait for others: at the end there should be small ones to share out."""
    items.sort(key=lambda item: item.get_closest_marker("system") is None)


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


@pytest.fixture(autouse=True)
def what_an_interruption_leaves_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """A failure that is put between the opening of a file and its noting leaves it to the garbage collector, which says so.
    That belongs to the test that put it there, not to whichever runs when the collector does."""
    yield
    if request.path.stem.endswith("_interrupted"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
