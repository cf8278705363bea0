"""The frame of the browser tests can fail: outside requests, console errors and a missing browser are seen."""

import pytest
from playwright.sync_api import Browser

from tools import lab as tools_lab
from tools.lab import LabError, chromium, watch

from .conftest import need_browser


def test_a_missing_browser_fails_in_ci_and_skips_elsewhere():
    with pytest.raises(pytest.fail.Exception, match="no browser"):
        need_browser(None, in_ci=True)
    with pytest.raises(pytest.skip.Exception, match="no browser"):
        need_browser(None, in_ci=False)
    need_browser("/usr/bin/chromium", in_ci=True)


def test_without_a_browser_the_tool_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tools_lab, "BROWSERS", ())
    monkeypatch.delenv("CHROMIUM", raising=False)
    with pytest.raises(LabError, match="install"), chromium():
        pass


@pytest.mark.browser
def test_requests_and_errors_are_seen(browser: Browser):
    page = browser.new_page()
    traffic = watch(page, "http://127.0.0.1:1")
    page.set_content("<img src='http://elsewhere.invalid/x.png'><script>console.error('oh'); boom()</script>")
    page.wait_for_timeout(300)
    page.close()
    assert traffic.outside == ["http://elsewhere.invalid/x.png"]
    assert any("oh" in error for error in traffic.errors)
    assert any("boom" in error for error in traffic.errors)
