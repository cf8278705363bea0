"""Fixtures that drive a real browser. A lesson's widget test needs ``lab``, ``page`` and tools/lab_widget.py."""

import functools
import http.server
import os
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tools import site
from tools.lab import Lab, chromium, chromium_path, jupyterlab, watch

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "test-artifacts"
_FAILED = pytest.StashKey[bool]()


def need_browser(path: str | None, in_ci: bool) -> None:
    """On a laptop these tests may be left out for want of a browser; in CI never."""
    if path is None and in_ci:
        pytest.fail("no browser found in CI: install Debian's chromium, or set CHROMIUM")
    if path is None:
        pytest.skip("no browser found: install chromium, or set CHROMIUM to the path of one")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    need_browser(chromium_path(), bool(os.environ.get("CI")))
    with chromium() as started:
        yield started


@pytest.fixture(scope="package")
def lab(browser: Browser) -> Iterator[Lab]:
    """JupyterLab on a copy of notebooks/: a test may edit what it opens."""
    with jupyterlab(ROOT / "notebooks") as started:
        yield started


@pytest.fixture
def page(browser: Browser, lab: Lab, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A fresh page. At its end nothing may have left the machine or been said on the console."""
    yield from watched_page(browser, lab.url, request)


def watched_page(browser: Browser, home: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A fresh page for ``home``, with a screenshot where the test fails."""
    context = browser.new_context(viewport={"width": 1400, "height": 1600})
    opened = context.new_page()
    traffic = watch(opened, home)
    yield opened
    if request.node.stash.get(_FAILED, False):
        ARTIFACTS.mkdir(exist_ok=True)
        opened.screenshot(path=ARTIFACTS / f"{request.node.path.stem}-{request.node.name}.png", full_page=True)
    context.close()
    assert traffic.outside == [], "requests left the machine"
    assert traffic.errors == [], "the browser's console shows errors"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="package")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    site.build(ROOT, out)
    return out / "html"


@pytest.fixture(scope="package")
def address(html: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(html))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def reader(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    yield from watched_page(browser, address, request)


@pytest.fixture
def blank(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page with nothing on it."""
    yield from watched_page(browser, "http://127.0.0.1", request)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report
