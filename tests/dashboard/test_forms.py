"""The login form: one browser, one time, one hour."""

from __future__ import annotations

import pytest

from binmon.dashboard.forms import VALID_FOR_S, LoginForms


def test_a_form_is_taken_once() -> None:
    forms = LoginForms()
    browser = forms.new_browser()
    field = forms.issue(browser, 0.0)
    assert forms.take(field, browser, 1.0)
    assert not forms.take(field, browser, 2.0), "sent again"


def test_a_form_belongs_to_its_browser_and_its_time() -> None:
    forms = LoginForms()
    browser = forms.new_browser()
    assert not forms.take(forms.issue(browser, 0.0), forms.new_browser(), 1.0)
    assert not forms.take(forms.issue(browser, 0.0), "", 1.0)
    assert not forms.take(forms.issue(browser, 0.0), browser, VALID_FOR_S + 1)
    assert not LoginForms().take(forms.issue(browser, 0.0), browser, 1.0), "of an earlier run"


@pytest.mark.parametrize("field", ["", ".", "..", "a.b.c", "a.9e99.c", "ä.ö.ü", "a" * 100_000, "\ud800"])
def test_a_forged_field_is_refused(field: str) -> None:
    forms = LoginForms()
    assert not forms.take(field, forms.new_browser(), 0.0)


def test_another_time_in_a_true_form_is_refused() -> None:
    forms = LoginForms()
    browser = forms.new_browser()
    number, until, signature = forms.issue(browser, 0.0).split(".")
    assert not forms.take(f"{number}.{int(until) + 1_000_000}.{signature}", browser, 1.0)
