"""A browser, and a daemon for it, for each test. Machines without a browser skip these tests and say why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # playwright may not be installed: then the tests are skipped
    from playwright.sync_api import Browser, BrowserContext, Page

    from tests.dashboard.browser.running import Site, Watcher


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. One a module, not one a session: playwright keeps a loop in the thread, which other tests cannot bear."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'binmon[test]'")
    from tests.dashboard.browser.running import PATIENCE_MS, browser_path, launch

    sync_api.expect.set_options(timeout=PATIENCE_MS)
    if browser_path() is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium), and BINMON_BROWSER names none")
    with sync_api.sync_playwright() as playwright:
        found = launch(playwright)
        yield found
        found.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser without a past."""
    from tests.dashboard.browser.running import PATIENCE_MS

    made = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    made.set_default_timeout(PATIENCE_MS)
    made.set_default_navigation_timeout(2 * PATIENCE_MS)
    yield made
    made.close()


@pytest.fixture
def watcher(context: BrowserContext) -> Watcher:
    """What the browser asks for and complains about, from the beginning."""
    from tests.dashboard.browser.running import Watcher

    return Watcher(context)


@pytest.fixture
def page(context: BrowserContext, watcher: Watcher) -> Page:
    """A tab."""
    return context.new_page()


@pytest.fixture
def site(browser: Browser, tmp_path: Path) -> Iterator[Site]:
    """A daemon with its page; started only where there is a browser."""
    from tests.dashboard.browser.running import running_site

    with running_site(tmp_path / "site") as one:
        yield one
