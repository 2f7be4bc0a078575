"""Tokens and password by the page."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

pytest.importorskip("playwright", reason="no playwright: pip install 'binmon[test]'")

from playwright.sync_api import Page, Request, expect

from tests.dashboard.browser.running import PASSWORD, PATIENCE_MS, USER, Site, log_in, settings_of, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def status_of(site: Site, token: str) -> int:
    """What the API answers to this token."""
    request = urllib.request.Request(f"{site.url}/api/venues", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            json.load(answer)
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_token_is_shown_once_works_and_is_revoked(site: Site, page: Page) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    log_in(page, site, "/settings")
    page.get_by_label("Name of a new token").fill("night job")
    page.get_by_role("button", name="Create").click()
    shown = page.get_by_label("The new token")
    expect(shown).to_be_visible()
    token = shown.input_value()
    assert len(token) >= 20
    assert status_of(site, token) == 200
    page.reload()
    expect(page.locator("#tokens tr")).to_have_count(1)
    expect(page.locator("#token-shown")).to_be_hidden()
    assert token not in page.content()

    revoked: list[Request] = []
    page.on("request", lambda one: revoked.append(one) if one.method == "DELETE" else None)
    button = page.get_by_role("button", name="revoke night job")
    button.click()
    expect(button).to_have_accessible_name("Really revoke night job")
    assert status_of(site, token) == 200 and not revoked  # once is not enough
    for _ in range(10):  # after 5 s the first press is forgotten, and a busy machine may take longer than that
        if revoked:
            break
        button.click()
        page.wait_for_timeout(200)
    expect(page.locator("#tokens tr")).to_have_count(0)
    assert status_of(site, token) == 401


def test_the_password_is_changed(site: Site, page: Page) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    log_in(page, site, "/settings")
    word = page.locator("#password-word")
    new = "a longer phrase 7 of words"

    def change(current: str, wanted: str, again: str) -> None:
        page.get_by_label("Password now").fill(current)
        page.get_by_label("New password", exact=True).fill(wanted)
        page.get_by_label("New password again").fill(again)
        page.get_by_role("button", name="Change password").click()

    change(PASSWORD, new, new + "x")
    expect(word).to_contain_text("differ")
    change(PASSWORD, "short", "short")
    expect(word).to_have_attribute("data-kind", "bad")
    expect(word).not_to_contain_text("differ")
    said = word.inner_text()
    change("not " + PASSWORD, new, new)
    expect(word).not_to_have_text(said)  # it is answered
    expect(word).to_have_attribute("data-kind", "bad")
    change(PASSWORD, new, new)
    expect(word).to_have_text("The password is changed.")

    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{site.url}/login")
    page.get_by_label("Name").fill(USER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#login-error")).to_be_visible()
    page.get_by_label("Password").fill(new)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{site.url}/")


def test_theme_and_time_are_kept_for_the_user(site: Site, page: Page) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    log_in(page, site, "/settings")
    page.get_by_label("dark").check()
    page.get_by_label("milliseconds").check()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("#display-note")).to_have_text("saved")
    until(page, lambda: {"theme": "dark", "time": "ms"}.items() <= settings_of(page).items(), "both to be kept")
    page.evaluate("localStorage.clear()")  # another browser of the same user
    page.goto(f"{site.url}/candles")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_label("Time")).to_have_value("ms")
