"""The reading site for everybody: by screen reader, in the dark, on a phone, without a server, its widgets alive."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from ddpm_edu import widgets
from ddpm_edu.exercises import quiz
from ddpm_edu.widgets import in_browser

from .conftest import watched_page
from .mounted import mount
from .reading import one_of_each_kind, pages

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PHONE = {"width": 390, "height": 800}
# Light and dark: colours come from style sheets, not from what a page says, so some pages stand for all.
KINDS = (
    "index.html",
    "notebooks/01_forward_noising.html",
    "docs/glossary.html",
    "docs/hosted.html",
    "api/schedules.html",
)


@pytest.fixture
def phone(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    yield context.new_page()
    context.close()


def serious(page: Page) -> list[str]:
    """What axe-core finds that keeps somebody out: a line for each kind, with the first place where it is."""
    found = Axe().run(page, options={"resultTypes": ["violations", "incomplete"], "preload": False}).response
    bad = [violation for violation in found["violations"] if violation["impact"] in ("serious", "critical")]
    # Of text in the colour of its ground axe says that somebody should look: it may be hidden on purpose. Not here.
    unsure = [one | {"nodes": [node for node in one["nodes"] if _invisible(node)]} for one in found["incomplete"]]
    bad += [one for one in unsure if one["nodes"]]
    return [f"{v['id']} ({len(v['nodes'])}): {v['help']}: {v['nodes'][0]['html'][:200]}" for v in bad]


def _invisible(node: dict[str, Any]) -> bool:
    data = [check.get("data") for check in node["any"]]
    return any(isinstance(one, dict) and one.get("messageKey") == "equalRatio" for one in data)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", KINDS)
def test_no_page_keeps_a_reader_out(address: str, reader: Page, name: str, theme: Literal["light", "dark"]):
    reader.emulate_media(color_scheme=theme)
    reader.goto(f"{address}/{name}", wait_until="load")
    assert reader.evaluate("() => document.documentElement.dataset.theme") == theme
    assert serious(reader) == []


@pytest.mark.parametrize("make", [widgets.bound_explorer, widgets.dissolve, widgets.schedule_curves])
def test_a_widget_on_a_page_of_its_own_keeps_nobody_out(blank: Page, make: Callable[[], in_browser.InBrowser]):
    assert serious(mount(blank, make())) == []
    assert blank.title() in ("the bound, term by term", "a photograph", "noise schedules")


def test_axe_sees_a_fault(address: str, reader: Page):
    """Negative control."""
    reader.goto(f"{address}/index.html")
    reader.evaluate("() => document.querySelector('article').insertAdjacentHTML('beforeend', '<input type=text>')")
    assert any("label" in fault for fault in serious(reader))
    reader.reload()
    white = "<p style='color: #fff; background: #fff'>as white as its paper</p>"
    reader.evaluate("(p) => document.querySelector('article').insertAdjacentHTML('beforeend', p)", white)
    assert any("as white as" in fault for fault in serious(reader))


# The contrast of text and ground (WCAG 2.2) of each place; the ground is that of the nearest element that has one.
CONTRASTS = """(places) => places.map((place) => {
    const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => channels(colour).slice(0, 3).map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + [0.2126, 0.7152, 0.0722][i] * c, 0);
    let ground = place;
    while (channels(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
    const both = [getComputedStyle(place).color, getComputedStyle(ground).backgroundColor].map(light);
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
})"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_widget_and_still_can_be_read(html: Path, address: str, reader: Page, theme: Literal["light", "dark"]):
    reader.emulate_media(color_scheme=theme)
    for name in (page for page in pages(html) if re.match(r"notebooks/0\d", page)):
        reader.goto(f"{address}/{name}", wait_until="load")
        assert reader.evaluate("() => document.documentElement.dataset.theme") == theme
        found = reader.locator(".ddpm-live .ddpm-box, .ddpm-still figcaption").evaluate_all(CONTRASTS)
        assert found and min(found) > 7, f"{name}: {found}"
    box = reader.locator(".ddpm-live .ddpm-box").last
    box.evaluate("box => { box.style.background = getComputedStyle(box).color; }")
    assert box.evaluate(f"box => ({CONTRASTS})([box])") == [1]  # negative control


def test_no_page_scrolls_sideways_on_a_phone(html: Path, address: str, phone: Page):
    wide = {}
    for name in one_of_each_kind(html):
        phone.goto(f"{address}/{name}", wait_until="load")
        width = phone.evaluate("() => document.documentElement.scrollWidth")
        if width > PHONE["width"]:
            wide[name] = width
    assert wide == {}


BOXES = """() => Array.from(document.querySelectorAll("article pre"), box => ({
    wide: box.scrollWidth > box.clientWidth + 2, wraps: box.classList.contains("ddpm-wraps"),
    more: box.classList.contains("ddpm-more"), keyboard: box.tabIndex === 0}))"""


@pytest.mark.parametrize("name", ["notebooks/06_is_it_any_good.html", "docs/errors.html"])
def test_what_is_printed_wraps_or_shows_that_there_is_more(address: str, phone: Page, name: str):
    phone.goto(f"{address}/{name}", wait_until="load")
    phone.wait_for_timeout(300)
    boxes = phone.evaluate(BOXES)
    assert all(box["more"] and box["keyboard"] for box in boxes if box["wide"])
    assert not any(box["wide"] for box in boxes if box["wraps"])
    assert any(box["wraps"] for box in boxes) and any(box["more"] for box in boxes)


def test_a_widget_that_needs_a_kernel_says_so_and_its_picture_speaks(address: str, reader: Page):
    reader.goto(f"{address}/notebooks/01_forward_noising.html")
    still = reader.locator("figure.ddpm-still").first
    numbers = r"at t = 200: alpha_bar = 0\.\d+, image times 0\.\d+ plus noise times 0\.\d+"
    assert re.match(numbers, str(still.locator("img").get_attribute("alt")))
    assert re.search(f"need a running notebook.*{numbers}", " ".join(still.inner_text().split()))


def test_the_reference_is_rendered_and_whole(html: Path):
    shown = {path.stem: path.read_text(encoding="utf-8") for path in (html / "api").glob("*.html")}
    for name, page in shown.items():
        prose = re.sub(r"<(pre|code|script|style|dt)\b.*?</\1>", "", page, flags=re.DOTALL)
        assert not re.search(r"``|\*\*\w[^*<\n]*\*\*|(?<![\w)*])\*\w+\*(?![\w*])|Alias for field number", prose), name
    assert 'id="ddpm_edu.sampling.sample"' in shown["sampling"]


def test_a_quiz_is_alive_without_a_kernel(address: str, reader: Page):
    reader.goto(f"{address}/notebooks/01_forward_noising.html")
    box = reader.locator(".ddpm-live[data-widget=quiz]")
    first = quiz.load("01_forward_noising").questions[0]
    box.locator(f"fieldset input[value={first.right}]").first.check()
    assert first.options[first.right].explanation.replace("`", "") in box.inner_text()
    assert "1 of 5 right" in box.inner_text()


def test_every_live_widget_is_mounted(html: Path, address: str, reader: Page):
    """A widget whose script fails would leave its text behind, and an error on the console."""
    found = 0
    for name in pages(html):
        if 'class="ddpm-live"' not in (html / name).read_text(encoding="utf-8"):
            continue
        reader.goto(f"{address}/{name}", wait_until="load")
        states = reader.eval_on_selector_all(".ddpm-live", "all => all.map(place => place.dataset.alive)")
        assert states and set(states) == {"true"}, name
        found += len(states)
    assert found >= 10


def test_a_page_opened_from_its_folder_is_whole_too(html: Path, browser: Browser, request: pytest.FixtureRequest):
    for reader in watched_page(browser, "file://", request):
        reader.goto((html / "notebooks/01_forward_noising.html").as_uri(), wait_until="load")
        film = reader.locator(".ddpm-live[data-widget=player]").first
        before = film.locator("img").get_attribute("src")
        film.locator("input").focus()
        reader.keyboard.press("ArrowRight")
        assert film.locator("img").get_attribute("src") != before
        reader.wait_for_function("() => document.querySelectorAll('.MathJax, .MathJax_Display').length > 0")


def test_search_finds_a_word_of_a_lesson(address: str, reader: Page):
    reader.goto(f"{address}/search.html?q=posterior")
    reader.locator("#search-results li a").first.wait_for(timeout=20_000)
    assert reader.locator("#search-results li", has_text="Forward noising").count() > 0
