"""Pictures of every page, light, dark and as on a phone: ``python -m tests.dashboard.browser.shoot DIRECTORY``.

With ``--url`` of a daemon that runs already (user and password as in `tests.dashboard.serve`), else with one of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import cast

from playwright.sync_api import Page, ViewportSize, sync_playwright

from tests.dashboard.browser.running import PAGES, Site, launch, log_in, running_site

SIZES: dict[str, ViewportSize] = {"light": {"width": 1440, "height": 900}, "dark": {"width": 1440, "height": 900}}
SIZES |= {"phone": {"width": 390, "height": 844}, "phone-dark": {"width": 390, "height": 844}}
SETTLE_MS = 4_000


def shoot(site: Site, directory: Path, wanted: list[str], sizes: list[str], wait_ms: int) -> None:
    """Write one PNG a page and size."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for size in sizes:
            context = browser.new_context(
                viewport=SIZES[size], color_scheme="dark" if size.endswith("dark") else "light"
            )
            page = context.new_page()
            page.goto(f"{site.url}/login")
            page.screenshot(path=directory / f"login-{size}.png")
            log_in(page, site)
            for path in wanted:
                page.goto(site.url + path)
                _prepare(page, path, wait_ms)
                name = path.strip("/").split("?")[0] or "overview"
                page.screenshot(path=directory / f"{name}-{size}.png", full_page="phone" in size)
                print(directory / f"{name}-{size}.png")
            context.close()
        browser.close()


def _prepare(page: Page, path: str, wait_ms: int) -> None:
    """Something to see: a line above the price, a minimum below it."""
    page.wait_for_timeout(wait_ms)
    if path.startswith("/candles") and page.locator("#line-above").input_value() == "":
        page.locator("#line-above-here").click()
        page.wait_for_timeout(500)


def main() -> int:
    """Parse the command line and shoot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--url", default="")
    parser.add_argument("--pages", nargs="*", default=list(PAGES))
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--wait-ms", type=int, default=SETTLE_MS, help="how long each page may fill itself")
    args = parser.parse_args()
    args.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="binmon-shoot-") as scratch:
        there = nullcontext(cast(Site, argparse.Namespace(url=args.url.rstrip("/"))))
        with there if args.url else running_site(Path(scratch)) as site:
            shoot(site, args.directory, args.pages, args.sizes, args.wait_ms)
    return 0


if __name__ == "__main__":
    sys.exit(main())
