"""The reading site: complete, offline, with maths, pictures and links that work."""

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, Page

from tools import site

from .conftest import ROOT, watched_page

pytestmark = pytest.mark.browser

TYPESET = """() => new Promise(resolve => {
    const wait = () => window.MathJax && MathJax.isReady ? MathJax.Hub.Queue(resolve) : setTimeout(wait, 50);
    wait();
})"""


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


def pages(html: Path) -> list[str]:
    return sorted(path.relative_to(html).as_posix() for path in html.rglob("*.html") if "_static" not in path.parts)


def test_links_to_folders_become_text():
    text = "[the package](ddpm_edu/), [a page](README.md), [elsewhere](https://example.org/x/)"
    assert site.unlink_folders(text) == text.replace("[the package](ddpm_edu/)", "the package")


def test_every_lesson_has_a_page_in_both_editions(html: Path):
    names = {path.stem for path in (ROOT / "notebooks/source").glob("*.py")}
    assert names
    shown = set(pages(html))
    assert {"index.html"} | {f"notebooks/{n}.html" for n in names} <= shown
    assert {f"notebooks/solutions/{n}.html" for n in names} <= shown


def test_every_page_is_whole(html: Path, address: str, reader: Page):
    """Maths typeset, pictures there; the fixture sees to console errors (a 404 is one) and outside requests."""
    formulas = 0
    for name in pages(html):
        reader.goto(f"{address}/{name}", wait_until="load")
        wanted = reader.locator(".math").count()
        if wanted:
            reader.evaluate(TYPESET)
            assert reader.locator(".math .MathJax, .math .MathJax_Display").count() >= wanted, name
            assert reader.locator(".MathJax .merror, .MathJax_Error").count() == 0, name
        formulas += wanted
        prose = reader.evaluate(
            """() => { const copy = (document.querySelector('article') ?? document.body).cloneNode(true);
                copy.querySelectorAll('pre, code, script').forEach(part => part.remove());
                return copy.textContent; }"""
        )
        assert not re.search(r"\$[^$]+\$|\\[(\[]|\\(begin|bar|frac|sqrt|alpha|mathcal)", prose), name
        dead = "() => Array.from(document.images).filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"
        assert reader.evaluate(dead) == [], name
    assert formulas > 0


def test_every_link_of_the_site_leads_somewhere(html: Path, address: str, reader: Page):
    ids, links = {}, []
    for name in pages(html):
        reader.goto(f"{address}/{name}", wait_until="domcontentloaded")
        ids[f"/{name}"] = set(reader.evaluate("() => Array.from(document.querySelectorAll('[id]'), e => e.id)"))
        hrefs = reader.evaluate("() => Array.from(document.querySelectorAll('a[href]'), a => a.href)")
        links += [(name, urlsplit(href)) for href in hrefs if href.startswith(address)]
    broken = [
        (name, link.path, link.fragment)
        for name, link in links
        if not (html / unquote(link.path).lstrip("/")).exists()
        or (link.fragment and link.path in ids and unquote(link.fragment) not in ids[link.path])
    ]
    assert broken == []
    assert len(links) > 20
