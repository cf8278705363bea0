"""The schedule explorer that needs no kernel: its formulas held to the package's, and the widget moved by keyboard."""

import base64
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Locator, Page

from ddpm_edu import forward, schedules, widgets
from ddpm_edu.data import to_model_range, to_uint8
from ddpm_edu.errors import ScheduleError
from ddpm_edu.widgets import in_browser
from ddpm_edu.widgets.schedule_explorer import WITH_ENDS, SchedulePicture, make_schedule

from .mounted import canvas_levels, changed, load, mount, press_on, same_levels, unlike

TOLERANCE = 1e-9  # relative; float64 on both sides, but 1 - alpha_bar loses up to five digits at t = 1
ENDS = [(1e-4, 0.02), (1e-5, 0.005), (5e-3, 0.005), (1e-3, 0.1), (5e-3, 0.2)]
SETTINGS = [
    (family, T, ends)
    for family, T, ends in itertools.product(schedules.FAMILIES, (10, 100, 400, 1000, 2000), ENDS)
    if family in WITH_ENDS or ends == ENDS[0]
]
SCRIPT = in_browser.script("schedule")

# Every table and number at one setting, all t; or the refusal.
TABLES = """([family, T, start, end, meanSquare]) => {
    let s;
    try { s = widget.schedule(family, T, start, end); } catch (error) { return { refused: error.message }; }
    const at = Array.from(s.alphaBar, (_, t) => widget.numbers(s, t, meanSquare));
    const column = (name) => at.map((numbers) => numbers[name]);
    const names = Object.keys(at[0]);
    return {
        alpha_bars: Array.from(s.alphaBar),
        ...Object.fromEntries(names.map((name) => [name, column(name)])),
        words: [0, 1, Math.floor(T / 3), T].map((t) => widget.describe(s, t, meanSquare).join("\\n")),
    };
}"""


@pytest.fixture(scope="module")
def still() -> SchedulePicture:
    return SchedulePicture()


def in_python(still: SchedulePicture, family: str, T: int, start: float, end: float) -> dict[str, Any]:
    """What the package says of a setting, in the shape that TABLES has."""
    try:
        s = make_schedule(family, T, start, end)
    except ScheduleError as error:
        return {"refused": str(error)}
    mean_square = still.photo.square().mean().item()
    constant = {
        "left": s.alpha_bar[-1].sqrt().item(),
        "bits": forward.bits_left(s, mean_square),
        "wasted": (s.alpha_bar[1:] < 0.01).double().mean().item(),
    }
    return {
        "alpha_bars": s.alpha_bar.numpy(),
        "alpha_bar": s.alpha_bar.numpy(),
        "image": s.alpha_bar.sqrt().numpy(),
        "noise": (1 - s.alpha_bar).sqrt().numpy(),
        "snr": s.snr.numpy(),
        **{name: np.full(T + 1, value) for name, value in constant.items()},
        "words": [words(still, family, T, start, end, t) for t in (0, 1, T // 3, T)],
    }


def words(still: SchedulePicture, *setting: Any) -> str:
    """The other explorer's readout without its HTML."""
    return in_browser.without_markup(still.describe(*setting))


def differences(page: Page, still: SchedulePicture, settings: list[Any]) -> Iterator[str]:
    """Where the two languages differ, in words."""
    for family, T, (start, end) in settings:
        expected = in_python(still, family, T, start, end)
        found = page.evaluate(TABLES, [family, T, start, end, still.photo.square().mean().item()])
        for name in unlike(found, expected, ("refused", "words"), rtol=TOLERANCE, atol=0):
            yield f"{family}, T = {T}, {start:g} to {end:g}: {name}"


def test_every_table_number_word_and_refusal_is_the_packages(blank: Page, still: SchedulePicture):
    assert list(differences(load(blank, SCRIPT), still, SETTINGS)) == []
    refused = [s for s in SETTINGS if "refused" in in_python(still, s[0], s[1], *s[2])]
    assert 3 <= len(refused) <= 10  # the grid holds both kinds


# What no slider reaches, and a caller could: T below 10, ends swapped, zero, too large, an end that is no number.
EDGES = [
    *itertools.product(schedules.FAMILIES, (1, 2, 3), [(1e-4, 0.02)]),
    ("linear_scaled", 20, (1e-4, 0.02)),  # beta_T = 1: nothing is left at T
    ("linear", 2, (1.0, 1.0)),  # beta_1 = 1, and it is not the last
    ("quadratic", 5, (0.25, 1.0)),
    *itertools.product(schedules.FAMILIES, (0, 10), [(0.02, 1e-4), (0.0, 0.02), (1e-4, 1.5)]),
    ("linear", 10, (1e-4, float("inf"))),
    ("linear", 10, (float("nan"), 0.02)),
]


def test_so_it_is_at_the_edges(blank: Page, still: SchedulePicture):
    assert list(differences(load(blank, SCRIPT), still, EDGES)) == []


# One formula changed each: the comparison above must see it.
MUTANTS = {
    "linear: one step more": ("(end - start) / (T - 1)", "(end - start) / T"),
    "linear_scaled: scale": ("evenly((1000 / T) * start", "evenly((1001 / T) * start"),
    "quadratic: no square": ("(root) => root ** 2", "(root) => root"),
    "cosine: offset": ("(u + 0.008) / 1.008", "(u + 0.0081) / 1.0081"),
    "sigmoid: width": ("u * 6 - 3", "u * 6.01 - 3"),
    "betas not clipped": ("MAX_BETA = 0.999", "MAX_BETA = 0.9999"),
    "alpha_bar: a step late": ("alphaBar[i + 1] = alphaBar[i]", "alphaBar[i + 1] = alphaBar[Math.max(i - 1, 0)]"),
    "snr: inverse": ("s.alphaBar[t] / (1 - s.alphaBar[t])", "(1 - s.alphaBar[t]) / s.alphaBar[t]"),
    "bits: no mean square": ("end * meanSquare - end", "end - end"),
    "wasted: t = 0 counted": (".length / s.T", ".length / (s.T + 1)"),
    "refusal left out": ("if (last > 1)", "if (last > 100)"),
    "a refusal's number": ("Math.ceil(1000 * end)", "Math.floor(999 * end)"),
    "words: one digit less": ("fixed(n.image, 3)", "fixed(n.image, 2)"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_changed_formula_is_seen(blank: Page, still: SchedulePicture, name: str):
    some = [setting for setting in SETTINGS if setting[1] in (10, 400) and setting[2] == (1e-4, 0.02)]
    assert any(differences(load(blank, changed(SCRIPT, *MUTANTS[name])), still, some))


def test_halves_round_as_python_does(blank: Page, still: SchedulePicture):
    """12.5% is 12% in Python and would be 13% with toFixed; settings where a half really occurs."""
    halves = [
        (family, T, ends)
        for family, T, ends in itertools.product(schedules.FAMILIES, (40, 200, 600, 1000, 1400), ENDS[:3])
        if (100 * _wasted(family, T, ends)) % 1 == 0.5
    ]
    halves.append(("linear_scaled", 10, (0.005, 0.005)))  # every beta is 1/2, and 1/32 is left
    assert list(differences(load(blank, SCRIPT), still, halves)) == []
    up = SCRIPT.replace("return half ?", "return false ?")
    assert up != SCRIPT
    assert len(list(differences(load(blank, up), still, halves))) >= 2


def _wasted(family: str, T: int, ends: tuple[float, float]) -> float:
    return (make_schedule(family, T, *ends).alpha_bar[1:] < 0.01).double().mean().item()


def test_the_noise_is_standard_normal_and_repeats(blank: Page):
    load(blank, SCRIPT)
    draw: Callable[[int], np.ndarray] = lambda seed: np.array(  # noqa: E731
        blank.evaluate("(seed) => Array.from(widget.noise(seed, 20000))", seed)
    )
    first, again, other = draw(0), draw(0), draw(1)
    assert (first == again).all()
    for drawn in (first, other):  # five standard errors each
        assert abs(drawn.mean()) < 5 / 20000**0.5
        assert abs(drawn.var() - 1) < 5 * (2 / 20000) ** 0.5
        assert abs((drawn**4).mean() - 3) < 5 * (96 / 20000) ** 0.5
        assert abs((drawn[1:] * drawn[:-1]).mean()) < 5 / 20000**0.5
    assert abs((first * other).mean()) < 5 / 20000**0.5


# ---------------------------------------------------------------- mounted, as on a page without a kernel


@pytest.fixture
def mounted(blank: Page) -> Page:
    return mount(blank, widgets.schedule_curves())


def control(page: Page, label: str) -> Locator:
    return page.get_by_label(label, exact=True)


def press(page: Page, label: str, *keys: str) -> None:
    press_on(page, control(page, label), *keys)


def readout(page: Page) -> str:
    return page.get_by_role("status").inner_text()


def canvas(page: Page) -> np.ndarray:
    """The photograph's grey levels, (64, 64)."""
    rgb = canvas_levels(page.locator("canvas"))
    assert (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all()
    return rgb[..., 0]


def expected_photograph(page: Page, s: schedules.Schedule, t: int) -> np.ndarray:
    """The same picture from forward.q_sample, with the noise that the script draws."""
    drawn = load(page, SCRIPT).evaluate("Array.from(widget.noise(0, 64 * 64))")
    grey = base64.b64decode(widgets.schedule_curves().given["photograph"])
    x0 = to_model_range(torch.tensor(list(grey), dtype=torch.uint8))[None]
    x_t = forward.q_sample(s, x0, torch.tensor([t]), torch.tensor(drawn, dtype=torch.float32)[None])
    return to_uint8(x_t).numpy().reshape(64, 64)


def dot(page: Page, panel: int) -> tuple[float, float]:
    """Where the dot is, in shares of the plane: from left, from below."""
    plane = page.locator("svg.ddpm-panel").nth(panel)
    box = {name: float(plane.locator("rect").get_attribute(name) or "nan") for name in ("x", "y", "width", "height")}
    mark = [float(plane.locator("circle").get_attribute(name) or "nan") for name in ("cx", "cy")]
    return (mark[0] - box["x"]) / box["width"], 1 - (mark[1] - box["y"]) / box["height"]


def heights(page: Page, panel: int) -> np.ndarray:
    """The solid curve's points, from below, in shares of the plane."""
    plane = page.locator("svg.ddpm-panel").nth(panel)
    top, height = (float(plane.locator("rect").get_attribute(name) or "nan") for name in ("y", "height"))
    path = plane.locator("path.ddpm-curve").get_attribute("d") or ""
    return 1 - (np.array([float(pair.split(",")[1]) for pair in path[1:].split("L")]) - top) / height


def test_it_opens_at_the_setting_that_was_asked_for(mounted: Page, still: SchedulePicture):
    assert readout(mounted) == words(still, "linear", 1000, 1e-4, 0.02, 200)
    s = schedules.linear()
    assert same_levels(canvas(mounted), expected_photograph(mounted, s, 200))
    assert not same_levels(canvas(mounted), expected_photograph(mounted, s, 199))


def test_it_opens_at_another_setting_with_idle_ends_disabled(blank: Page, still: SchedulePicture):
    mount(blank, widgets.schedule_curves("sigmoid", T=400, t=390))
    assert readout(blank) == words(still, "sigmoid", 400, 1e-4, 0.02, 390)
    assert control(blank, "T").input_value() == "400" and control(blank, "t").input_value() == "390"
    assert control(blank, "beta_start").is_disabled() and control(blank, "beta_end").is_disabled()


def test_every_control_is_moved_by_keyboard(mounted: Page, still: SchedulePicture):
    press(mounted, "t", "ArrowRight", "ArrowRight")
    assert readout(mounted) == words(still, "linear", 1000, 1e-4, 0.02, 202)
    press(mounted, "beta_end", "ArrowRight")
    press(mounted, "beta_start", "ArrowLeft")
    assert control(mounted, "beta_end").get_attribute("aria-valuetext") == "0.03"
    assert control(mounted, "beta_start").get_attribute("aria-valuetext") == "5e-05"
    assert readout(mounted) == words(still, "linear", 1000, 5e-5, 0.03, 202)
    press(mounted, "T", "Home", *["ArrowRight"] * 9)
    assert control(mounted, "t").input_value() == "10"  # T = 10 took it along
    press(mounted, "t", "End")
    assert readout(mounted) == words(still, "linear", 100, 5e-5, 0.03, 100)
    press(mounted, "family", "c")
    assert control(mounted, "family").input_value() == "cosine"
    assert readout(mounted) == words(still, "cosine", 100, 5e-5, 0.03, 100)
    assert control(mounted, "beta_start").is_disabled() and control(mounted, "beta_end").is_disabled()


def test_curves_dots_and_photograph_follow(mounted: Page):
    before = canvas(mounted)
    press(mounted, "family", "c")
    press(mounted, "T", "ArrowLeft")
    press(mounted, "t", *["PageUp"] * 3)
    t = int(control(mounted, "t").input_value())
    assert t > 200
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        s = schedules.cosine(990)
    ab, log_snr = s.alpha_bar.numpy(), s.snr[1:].log10().numpy()
    assert dot(mounted, 0) == pytest.approx((t / 990, ab[t]), abs=1e-9)
    assert dot(mounted, 1) == pytest.approx((t / 990, (log_snr[t - 1] + 9) / 14), abs=1e-9)
    assert heights(mounted, 0) == pytest.approx(ab, abs=1e-4)  # coordinates have two decimals
    assert heights(mounted, 1) == pytest.approx((log_snr + 9) / 14, abs=1e-4)  # from t = 1: infinite at t = 0
    said = mounted.locator("canvas").get_attribute("aria-label") or ""
    assert said == f"photograph at t = {t}: image times {ab[t] ** 0.5:.3f} plus noise times {(1 - ab[t]) ** 0.5:.3f}"
    assert f"{ab[t]:.3g} at t = {t}" in (mounted.locator("svg.ddpm-panel").first.get_attribute("aria-label") or "")
    after = canvas(mounted)
    assert same_levels(after, expected_photograph(mounted, s, t))
    assert np.abs(after.astype(int) - before).mean() > 5


def test_a_refusal_stands_in_words_and_no_old_picture_beside_it(mounted: Page):
    press(mounted, "family", "ArrowDown")
    assert control(mounted, "family").input_value() == "linear_scaled"
    press(mounted, "T", "Home")
    with pytest.raises(ScheduleError) as refused:
        schedules.linear_scaled(10)
    assert readout(mounted) == f"ScheduleError: {refused.value}"
    assert not mounted.locator("canvas").is_visible() and not mounted.locator("svg.ddpm-panel").first.is_visible()
    press(mounted, "T", "ArrowRight")  # T = 20: beta_T = 1, all signal gone
    assert "the factor left on the image is 0.0000" in readout(mounted)
    assert mounted.locator("canvas").is_visible() and mounted.locator("svg.ddpm-panel").first.is_visible()


@pytest.mark.parametrize("width", [320, 360, 1000])
def test_nothing_is_wider_than_the_page(mounted: Page, width: int):
    mounted.set_viewport_size({"width": width, "height": 800})
    assert mounted.evaluate("document.documentElement.scrollWidth") <= width
    for box in (mounted.locator("svg.ddpm-panel").nth(i).bounding_box() for i in (0, 1)):
        assert box is not None and 240 <= box["width"] <= width
