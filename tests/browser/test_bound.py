"""The bound explorer, which needs no kernel: its formulas held to the package's, its bars to the terms."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from ddpm_edu import schedules, widgets
from ddpm_edu.errors import ScheduleError
from ddpm_edu.widgets import in_browser
from ddpm_edu.widgets.bound_explorer import MEANS, STDS, VARIANCES, BoundPicture, by_doubling, gaps, make_chain
from tools.lab import Lab

from .mounted import changed, load, mount, press_on, unlike
from .widget import move_without_kernel

pytestmark = pytest.mark.browser
SCRIPT = in_browser.script("bound")
START = {"family": "linear", "T": 1000, "variance": "beta", "mean": 0.3, "std": 0.5}
SETTINGS = [
    dict(zip(START, values, strict=True))
    for values in itertools.product(schedules.FAMILIES, (10, 20, 400, 1000, 2000), VARIANCES, MEANS[::3], STDS[::2])
]
# Everything that is computed at one setting; or the refusal.
NUMBERS = """({ family, T, variance, mean, std }) => {
    try {
        const n = widget.boundInBits(widget.schedule(family, T, 1e-4, 0.02), variance, mean, std);
        const groups = widget.byDoubling(n.denoising);
        return { ...n, denoising: Array.from(n.denoising), groups: groups.map((group) => group.bits),
                 names: groups.map(({ from, to }) => [from, to]), words: widget.sentences(n).join("\\n") };
    } catch (error) { return { refused: error.message }; }
}"""


@pytest.fixture(scope="module")
def still() -> BoundPicture:
    return BoundPicture()


def words(still: BoundPicture, **setting: Any) -> str:
    return in_browser.without_markup(still.describe(**setting))


def in_python(still: BoundPicture, setting: dict[str, Any]) -> dict[str, Any]:
    """What the package says of a setting, in the shape that NUMBERS has."""
    try:
        chain = make_chain(**setting)
    except ScheduleError as error:
        return {"refused": str(error)}
    names, sums = by_doubling(chain.denoising())
    by_model, by_bound = gaps(**setting)
    nats = {
        "prior": chain.prior(),
        "denoising": chain.denoising().numpy(),
        "reconstruction": chain.reconstruction(),
        "total": chain.total(),
        "entropy": chain.entropy(),
        "groups": sums.numpy(),
    }
    return {
        **{name: value / math.log(2) for name, value in nats.items()},
        "by_model": by_model,
        "by_bound": by_bound,
        "names": [[int(ends[0]), int(ends[-1])] for ends in (name.split("-") for name in names)],
        "words": words(still, **setting),
    }


def differences(page: Page, still: BoundPicture, settings: list[dict[str, Any]]) -> Iterator[str]:
    """Where the two languages differ, in words."""
    for setting in settings:
        found = page.evaluate(NUMBERS, setting)
        # sums of thousands of float64 terms, in another order; losses are differences of two such sums
        for name in unlike(found, in_python(still, setting), ("refused", "names", "words"), rtol=1e-9, atol=1e-11):
            yield f"{setting}: {name}"


def test_every_term_loss_and_word_is_the_packages(blank: Page, still: BoundPicture):
    assert list(differences(load(blank, SCRIPT), still, SETTINGS)) == []
    refused = [setting for setting in SETTINGS if "refused" in in_python(still, setting)]
    assert 0 < len(refused) < len(SETTINGS) / 10  # the grid holds both kinds


# One formula changed each: the comparison above must see it.
MUTANTS = {
    "v: data of variance 1": ("ab * std ** 2 + 1 - ab", "ab + 1 - ab"),
    "posterior: without its quotient": ("(1 - s.alphaBar[t - 1])) / (1 - s.alphaBar[t])", "1)"),
    "posterior at t = 1 is itself": ("Math.max(t, 2)", "t"),
    "optimal: upside down": ("(s.beta[t] * v[t - 1]) / v[t]", "(s.beta[t] * v[t]) / v[t - 1]"),
    "prior: no mean": ("end * (std ** 2 + mean ** 2)", "end * std ** 2"),
    "a term too many": ("if (t < 2) return 0", "if (t < 1) return 0"),
    "error: beta not squared": ("s.beta[t] ** 2 * std", "s.beta[t] * std"),
    "the other way round": ("Math.log(S / posterior) + posterior / S", "Math.log(posterior / S) + S / posterior"),
    "L_0: no 2 pi": ("Math.log(2 * Math.PI * width(1))", "Math.log(width(1))"),
    "the loss at the end left out": ("let sum = s.alphaBar[s.T] * mean ** 2 + end - 1 - Math.log(end)", "let sum = 0"),
    "the walk ends at t = 1": ("t >= 1; t -= 1", "t >= 2; t -= 1"),
    "entropy: no e": ("2 * Math.PI * Math.E * std ** 2", "2 * Math.PI * std ** 2"),
    "nats": ("map((nats) => nats / Math.LN2)", "map((nats) => nats)"),
    "groups that overlap": ("slice(from, to + 1)", "slice(from - 1, to + 1)"),
    "words: one digit less": ("fixed(bits, 4)", "fixed(bits, 3)"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_changed_formula_is_seen(blank: Page, still: BoundPicture, name: str):
    some = [setting for setting in SETTINGS if setting["T"] == 20 and setting["mean"] and setting["std"] > 0.1]
    assert any(differences(load(blank, changed(SCRIPT, *MUTANTS[name])), still, some))


# ---------------------------------------------------------------- mounted, as on a page without a kernel


@pytest.fixture
def mounted(blank: Page) -> Page:
    return mount(blank, widgets.bound_explorer())


def press(page: Page, label: str, *keys: str) -> None:
    press_on(page, page.get_by_label(label, exact=True), *keys)


def bars(page: Page, panel: str) -> dict[str, tuple[float, float, str]]:
    """By name: where a bar begins and ends, in shares of its plane, and the number beside it."""
    return page.locator(f"svg.ddpm-panel[aria-label^='{panel}']").evaluate(
        """svg => {
            const number = (shape, name) => Number(shape.getAttribute(name));
            const frame = svg.querySelector('.ddpm-frame');
            const [left, width] = [number(frame, 'x'), number(frame, 'width')];
            return Object.fromEntries(Array.from(svg.querySelectorAll('rect:not(.ddpm-frame)'), (bar) => {
                const [from, long] = [number(bar, 'x'), number(bar, 'width')];
                const ends = [from, from + long].map((x) => (x - left) / width);
                return [bar.previousElementSibling.textContent, [...ends, bar.nextElementSibling.textContent]];
            }));
        }"""
    )


def check_bars(page: Page, setting: dict[str, Any]) -> None:
    """Each bar runs from 0 to its term, with the number beside it; so do the losses, on their logarithmic axis."""
    chain = make_chain(**setting)
    names, sums = by_doubling(chain.denoising())
    nats = [chain.prior(), *sums.tolist(), chain.reconstruction()]
    expected = {name: value / math.log(2) for name, value in zip(["L_T", *names, "L_0"], nats, strict=True)}
    found = bars(page, "what each term costs")
    found.pop("", None)  # the places of a longer chain
    assert {name.removeprefix("t = ") for name in found} == set(expected)
    for name, (begin, end, number) in found.items():
        bits = expected[name.removeprefix("t = ")]
        shares = sorted(min(max((value + 6) / 9, 0), 1) for value in (0, bits))
        assert (begin, end) == pytest.approx(shares, abs=1e-9), name
        assert float(number) == pytest.approx(bits, abs=5.1e-4 if name != "L_T" else 0.051 * abs(bits)), name
    lost = bars(page, "what is lost")
    for name, bits in zip(("by the model", "by the bound"), gaps(**setting), strict=True):
        assert lost[name][0] == 0
        assert lost[name][1] == pytest.approx(math.log10(max(bits, 1e-8) / 1e-8) / 9, abs=1e-6)
        assert lost[name][2] in words(BoundPicture(), **setting)


@pytest.mark.parametrize("change", [{}, {"family": "cosine", "T": 400, "variance": "optimal", "mean": 1.0, "std": 3.0}])
def test_it_opens_at_the_setting_that_was_asked_for(blank: Page, still: BoundPicture, change: dict[str, Any]):
    mount(blank, widgets.bound_explorer(**START | change))
    assert blank.get_by_role("status").inner_text() == words(still, **START | change)
    check_bars(blank, START | change)


def test_every_control_is_moved_by_keyboard(mounted: Page, still: BoundPicture):
    setting = START
    for label, keys, change in (
        ("variance", ["p"], {"variance": "posterior"}),
        ("T", ["Home", "ArrowRight"], {"T": 20}),
        ("std", ["End"], {"std": 3.0}),
        ("mean", ["End"], {"mean": 1.0}),
        ("family", ["c"], {"family": "cosine"}),
    ):
        press(mounted, label, *keys)
        setting = setting | change
        assert mounted.get_by_role("status").inner_text() == words(still, **setting)
        check_bars(mounted, setting)


def test_a_refusal_stands_in_words_and_no_old_picture_beside_it(mounted: Page):
    press(mounted, "family", "ArrowDown")
    press(mounted, "T", "Home")
    with pytest.raises(ScheduleError) as refused:
        schedules.linear_scaled(10)
    assert mounted.get_by_role("status").inner_text() == f"ScheduleError: {refused.value}"
    assert not any(panel.is_visible() for panel in mounted.locator("svg.ddpm-panel").all())
    press(mounted, "T", "ArrowRight")
    assert all(panel.is_visible() for panel in mounted.locator("svg.ddpm-panel").all())


@pytest.mark.parametrize("width", [320, 360, 1000])
def test_nothing_is_wider_than_the_page(mounted: Page, width: int):
    mounted.set_viewport_size({"width": width, "height": 800})
    assert mounted.evaluate("document.documentElement.scrollWidth") <= width
    for panel in mounted.locator("svg.ddpm-panel").all():
        box = panel.bounding_box()
        assert box is not None and 240 <= box["width"] <= width


@pytest.mark.parametrize("T", [10, 2000])
def test_every_name_and_number_is_within_its_picture(blank: Page, T: int):
    mount(blank, widgets.bound_explorer(T=T, std=3.0, variance="posterior"))
    ends = """all => all.map((text) => {
        const box = text.getBBox();
        return [text.textContent, box.x, box.x + box.width, text.ownerSVGElement.viewBox.baseVal.width];
    })"""
    for words, left, right, width in blank.locator("svg.ddpm-panel text").evaluate_all(ends):
        assert left >= 0 and right <= width, words


@pytest.mark.slow
def test_the_lesson_has_it_alive(lab: Lab, page: Page, still: BoundPicture):
    lab.open(page, "notebooks/02_the_bound.ipynb")
    lab.run_all(page)
    box = page.locator(".jp-OutputArea .ddpm-bound")
    assert box.get_by_role("status").inner_text() == words(still, **START)
    press_on(page, box.get_by_label("T", exact=True), "End")
    press_on(page, box.get_by_label("std", exact=True), "ArrowRight")
    assert box.get_by_role("status").inner_text() == words(still, **START | {"T": 2000, "std": 0.7})
    assert move_without_kernel(page) == ["bound", "quiz"]
