"""The dissolving photograph, which needs no kernel: held to the package, and moved by keyboard."""

import base64

import numpy as np
import pytest
import torch
from playwright.sync_api import Page

from ddpm_edu import forward, widgets
from ddpm_edu.data import to_model_range, to_uint8
from ddpm_edu.widgets import in_browser
from ddpm_edu.widgets.dissolve import SIZE, DissolvePicture, T
from tools.lab import Lab

from .mounted import canvas_levels, changed, load, mount, press_on, same_levels
from .widget import move_without_kernel

pytestmark = pytest.mark.browser
SCRIPT = in_browser.script("dissolve")


def expected(page: Page, t: int) -> np.ndarray:
    """The same picture from forward.q_sample, with the noise that the script draws, (SIZE, SIZE, 3)."""
    drawn = load(page, SCRIPT).evaluate(f"Array.from(widget.noise(0, {3 * SIZE**2}))")
    levels = base64.b64decode(widgets.dissolve().given["photograph"])
    x0 = to_model_range(torch.tensor(list(levels), dtype=torch.uint8))[None]
    x_t = forward.q_sample(DissolvePicture().schedule, x0, torch.tensor([t]), torch.tensor(drawn).float()[None])
    return to_uint8(x_t).numpy().reshape(SIZE, SIZE, 3)


def recipes(page: Page) -> list[str]:
    """The recipe at every t."""
    return page.evaluate(
        """(T) => { const s = widget.schedule("cosine", T);
            return Array.from(s.alphaBar, (_, t) => `t = ${t}: ${widget.recipe(s, t)}`); }""",
        T,
    )


def test_every_recipe_is_the_packages(blank: Page):
    drawing = DissolvePicture()
    right = [drawing.describe(t) for t in range(T + 1)]
    assert recipes(load(blank, SCRIPT)) == right
    wrong = changed(SCRIPT, "fixed(Math.sqrt(1 - ab), 3)} times noise", "fixed(1 - ab, 3)} times noise")
    assert recipes(load(blank, wrong)) != right


def test_the_slider_dissolves_the_photograph(blank: Page):
    page = mount(blank, widgets.dissolve(t=300))
    canvas, slider = page.locator("canvas"), page.get_by_label("t", exact=True)
    assert page.get_by_role("status").inner_text() == DissolvePicture().describe(300)
    assert same_levels(canvas_levels(canvas), expected(page, 300))
    press_on(page, slider, "ArrowRight")
    assert page.get_by_role("status").inner_text() == DissolvePicture().describe(301)
    assert same_levels(canvas_levels(canvas), expected(page, 301))
    assert not same_levels(canvas_levels(canvas), expected(page, 300))
    assert canvas.get_attribute("aria-label") == f"a photograph at {DissolvePicture().describe(301)}"
    press_on(page, slider, "Home")
    clean = to_uint8(DissolvePicture().photo[0]).permute(1, 2, 0).numpy()
    assert (canvas_levels(canvas) == clean).all()
    press_on(page, slider, "End")
    noise = canvas_levels(canvas)
    assert abs(np.corrcoef(noise.flatten(), clean.flatten())[0, 1]) < 0.02


@pytest.mark.parametrize("width", [320, 1000])
def test_it_is_not_wider_than_the_page(blank: Page, width: int):
    mount(blank, widgets.dissolve()).set_viewport_size({"width": width, "height": 800})
    assert blank.evaluate("document.documentElement.scrollWidth") <= width
    box = blank.locator("canvas").bounding_box()
    assert box is not None and box["width"] == box["height"] and 290 <= box["width"] <= 384


@pytest.mark.slow
def test_start_here_opens_runs_and_dissolves(lab: Lab, page: Page):
    lab.open(page, "notebooks/00_start_here.ipynb")
    lab.run_all(page)
    box = page.locator(".jp-OutputArea .ddpm-dissolve")
    before = canvas_levels(box.locator("canvas"))
    press_on(page, box.get_by_label("t", exact=True), "End")
    assert box.get_by_role("status").inner_text() == DissolvePicture().describe(1000)
    assert np.abs(canvas_levels(box.locator("canvas")) - before).mean() > 20
    assert move_without_kernel(page) == ["dissolve", "player"]
