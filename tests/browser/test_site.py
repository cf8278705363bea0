"""The reading site: complete, offline, with maths, pictures and links that work."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Page

from tools import site

from .conftest import ROOT
from .reading import pages

pytestmark = pytest.mark.browser

# MathJax writes elements of this class too, inside its own; it may have done so before a test looks.
FORMULAS = ".math:not(.MathJax .math)"

TYPESET = """() => new Promise(resolve => {
    const wait = () => window.MathJax && MathJax.isReady ? MathJax.Hub.Queue(resolve) : setTimeout(wait, 50);
    wait();
})"""


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
        wanted = reader.locator(FORMULAS).count()
        if wanted:
            reader.evaluate(TYPESET)
            assert reader.locator(f"{FORMULAS}:has(.MathJax)").count() == wanted, name
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
