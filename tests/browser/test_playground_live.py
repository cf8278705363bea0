"""The playground as a learner meets it: trained, sampled, drawn into, by pointer and by keyboard."""

import json
import re
from collections.abc import Callable

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page

from ddpm_edu import widgets
from ddpm_edu.widgets import in_browser
from tools.lab import Lab
from tools.lessons import METADATA

pytestmark = pytest.mark.browser

PAGE = """<!doctype html><html lang="en"><head><title>t</title><style>{css}</style></head>
<body><main><h1>t</h1>{widgets}</main><script>{script}</script></body></html>"""
EXACT = "exact (the points themselves)"
STATE = {
    "step": r"Training step (\d+)",
    "loss": r"loss ([\d.]+)",
    "least": r"exact denoiser: ([\d.]+)",
    "t": r"samples at t = (\d+)",
    "calls": r"after (\d+) calls",
    "distance": r"nearest point ([\d.]+)",
    "near": r"([\d]+) of them within",
}


class Playground:
    """One playground on a page."""

    def __init__(self, page: Page, which: int = 0) -> None:
        self.page, self.box = page, page.locator(".ddpm-playground").nth(which)

    def press(self, name: str) -> None:
        self.box.get_by_role("button", name=name).click()

    def control(self, label: str) -> Locator:
        return self.box.get_by_label(label, exact=True)

    def choose(self, **options: str) -> None:
        for label, option in options.items():
            self.control(label).select_option(option)

    def set(self, label: str, value: float) -> None:
        self.control(label).fill(str(value))

    def words(self) -> str:
        """The line of numbers, after what was set has been drawn."""
        self.page.evaluate(
            "() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))"
        )
        return self.box.get_by_role("status").inner_text()

    def number(self, name: str) -> float:
        found = re.search(STATE[name], self.words())
        assert found is not None
        return float(found[1])

    def until(self, reached: Callable[[], bool]) -> None:
        for _ in range(600):
            if reached():
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"not reached in a minute: {self.words()}")

    def train(self, steps: int) -> None:
        self.press("Train")
        self.until(lambda: self.number("step") >= steps)
        self.press("Pause")

    def play(self) -> None:
        self.press("Play")
        self.until(lambda: self.number("t") == 0)

    def points(self) -> int:
        """How many points the picture says it shows."""
        self.words()
        found = re.search(r": (\d+) points", self.box.get_by_role("img").get_attribute("aria-label") or "")
        assert found is not None
        return int(found[1])

    def drag(self, *stops: tuple[float, float]) -> None:
        """Pull the pointer over the picture; stops in shares of its width and height."""
        self.box.get_by_role("img").scroll_into_view_if_needed()
        frame = self.box.get_by_role("img").bounding_box()
        assert frame is not None
        place = [(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"]) for x, y in stops]
        self.page.mouse.move(*place[0])
        self.page.mouse.down()
        for x, y in place[1:]:
            self.page.mouse.move(x, y, steps=12)
        self.page.mouse.up()


def opened(page: Page, *shown: in_browser.InBrowser) -> Playground:
    css = (in_browser.FOLDER / "browser.css").read_text(encoding="utf-8")
    stored = "".join(widget.static() for widget in shown or [widgets.playground()])
    page.set_content(PAGE.format(css=css, widgets=stored, script=in_browser.bundle()))
    return Playground(page)


@pytest.fixture
def play(blank: Page) -> Playground:
    return opened(blank)


def test_training_lowers_the_loss_and_pauses(play: Playground):
    assert play.number("step") == 0
    assert play.number("loss") == 1
    assert play.number("least") < 0.5
    play.train(200)
    reached = play.number("step"), play.number("loss")
    assert play.number("least") < reached[1] < 0.7
    play.page.wait_for_timeout(400)
    assert (play.number("step"), play.number("loss")) == reached
    play.press("Reset")
    assert (play.number("step"), play.number("loss")) == (0, 1)


def test_with_the_exact_denoiser_samples_fall_onto_the_points(play: Playground):
    play.choose(denoiser=EXACT)
    assert play.number("t") == 100
    before = play.number("distance")
    for sampler, calls in (("ddpm", 20), ("ddim", 20), ("dpmpp_2m", 20), ("heun", 39)):
        play.choose(sampler=sampler)
        play.play()
        assert play.number("calls") == calls
        assert play.number("distance") < 0.05 < before / 4
        assert play.number("near") > 200


def test_what_was_learned_spreads_between_the_points(play: Playground):
    play.play()
    untrained = play.number("distance")
    play.train(400)
    play.play()
    learned = play.number("distance")
    play.choose(denoiser=EXACT)
    play.play()
    assert play.number("distance") < learned / 2 < untrained / 8


def test_a_step_is_one_and_the_field_follows(play: Playground):
    play.press("Step")
    assert (play.number("t"), play.number("calls")) == (95, 1)
    assert play.control("arrows at t").input_value() == "95"
    play.set("steps", 4)  # begins anew, from the same noise
    assert play.number("t") == 100
    for t in (75, 50, 25, 0, 75):
        play.press("Step")
        assert play.number("t") == t


def test_arrows_are_drawn_and_taken_away(play: Playground):
    play.choose(denoiser=EXACT)
    pixels = {}
    for arrows in ("flow (−v)", "score", "none"):
        play.choose(arrows=arrows)
        assert ("longest arrow" in play.words()) is (arrows != "none")
        pixels[arrows] = play.box.get_by_role("img").evaluate("canvas => canvas.toDataURL()")
    assert len(set(pixels.values())) == 3
    play.choose(arrows="score")
    at_the_end = play.words()
    play.set("arrows at t", 5)
    assert play.words() != at_the_end


def test_a_seed_means_the_same_numbers_and_other_noise_others(blank: Page):
    first, second, third = (widgets.playground("rings", seed=3) for _ in range(3))
    third.given = third.given | {"seed": 4}  # the same points, and other chance in the browser
    same = [opened(blank, first, second, third), *(Playground(blank, which) for which in (1, 2))]
    said = []
    for one in same:
        one.choose(denoiser=EXACT, sampler="ddpm")
        one.play()
        said.append((one.number("distance"), one.number("near")))
    assert said[0] == said[1] != said[2]
    same[1].press("Other noise")
    same[1].play()
    assert (same[1].number("distance"), same[1].number("near")) != said[1]


def test_points_are_drawn_with_the_pointer(play: Playground):
    play.drag((0.3, 0.3), (0.7, 0.3))
    assert play.points() == 150  # given points are not drawn into
    play.choose(density="draw your own")
    assert play.points() == 0
    assert play.box.get_by_role("button", name="Play").is_disabled()
    assert "No points yet" in play.words()
    play.drag((0.3, 0.3), (0.7, 0.3), (0.7, 0.6))
    drawn = play.points()
    assert 10 < drawn < 40
    play.drag((0.2, 0.8), (0.2, 0.8))
    assert play.points() == drawn + 1
    play.choose(denoiser=EXACT, sampler="heun")
    play.play()
    assert play.number("distance") < 0.02
    play.press("Clear the drawing")
    assert play.points() == 0


def test_another_density_forgets_what_was_learned(play: Playground):
    play.train(20)
    play.choose(density="spiral")
    assert play.number("step") == 0
    assert play.number("t") == 100


def test_every_control_has_a_name_and_the_keyboard_moves_it(play: Playground):
    assert [v["id"] for v in Axe().run(play.page).response["violations"]] == []
    reached = []
    for _ in range(12):
        play.page.keyboard.press("Tab")
        reached.append(
            play.page.evaluate("document.activeElement.labels?.[0]?.textContent ?? document.activeElement.textContent")
        )
    sampling = ["denoiser", "sampler", "steps", "eta (ddim)", "▶ Play", "Step", "Other noise", "arrows", "arrows at t"]
    assert reached[:12] == ["density", "▶ Train", "Reset", *sampling]
    keyboard = play.page.keyboard
    play.control("steps").focus()
    keyboard.press("ArrowRight")
    assert play.control("steps").input_value() == "21"
    play.control("density").focus()
    keyboard.press("e")
    assert play.control("density").input_value() == "eight Gaussians"
    play.control("denoiser").focus()
    keyboard.press("ArrowDown")
    play.box.get_by_role("button", name="Play").focus()
    keyboard.press("Enter")
    play.until(lambda: play.number("t") == 0)
    assert play.number("distance") < 0.1


def test_eta_is_only_for_ddim(play: Playground):
    eta = play.control("eta (ddim)")
    assert eta.is_enabled()
    play.choose(denoiser=EXACT)
    play.play()
    without = play.words()
    play.set("eta (ddim)", 1)
    play.play()
    assert play.words() != without
    play.choose(sampler="heun")
    play.words()
    assert eta.is_disabled()


def test_numbers_are_said_only_when_all_is_still(play: Playground):
    status = play.box.get_by_role("status")
    assert status.get_attribute("aria-live") == "polite"
    play.press("Train")
    play.words()
    assert status.get_attribute("aria-live") == "off"
    play.press("Pause")
    play.words()
    assert status.get_attribute("aria-live") == "polite"
    label = play.box.get_by_role("img").get_attribute("aria-label") or ""
    assert play.words().replace("\n", " ") in label


HAS_COLOUR = """(canvas, [r, g, b]) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < data.length; i += 4) {
        if (data[i] === r && data[i + 1] === g && data[i + 2] === b && data[i + 3] > 200) { return true; }
    }
    return false;
}"""


def test_colours_follow_the_page_into_the_dark(play: Playground):
    picture = play.box.get_by_role("img")
    light, dark = [0x00, 0x72, 0xB2], [0x56, 0xB4, 0xE9]
    play.words()
    assert [picture.evaluate(HAS_COLOUR, colour) for colour in (light, dark)] == [True, False]
    play.page.evaluate("document.documentElement.dataset.theme = 'dark'")
    play.words()
    assert [picture.evaluate(HAS_COLOUR, colour) for colour in (light, dark)] == [False, True]


def test_it_fits_a_small_phone(play: Playground):
    play.page.set_viewport_size({"width": 320, "height": 640})
    play.words()
    assert play.page.evaluate("document.documentElement.scrollWidth") <= 320
    play.choose(density="draw your own")
    play.drag((0.5, 0.5), (0.5, 0.5))
    assert play.points() == 1


CLEANED = """(stored) => {
    const state = JSON.parse(stored), el = document.createElement('div');
    const model = { get: (key) => state[key], set: (key, value) => { state[key] = value; }, save_changes: () => null };
    document.body.append(el);
    const end = ddpmWidgets.playground.render({ model, el });
    [...el.querySelectorAll('button')].find((one) => one.textContent.includes('Train')).click();
    return new Promise((resolve) => setTimeout(() => {
        end();
        const then = el.querySelector('[role=status]').textContent;
        setTimeout(() => resolve([then, el.querySelector('[role=status]').textContent]), 600);
    }, 600));
}"""


def test_nothing_goes_on_after_the_widget_is_taken_away(play: Playground):
    one = widgets.playground()
    before, after = play.page.evaluate(CLEANED, json.dumps({"given": one.given, "chosen": one.chosen}))
    assert re.search(r"Training step [1-9]", before)
    assert after == before


@pytest.mark.slow
def test_in_jupyterlab_python_knows_what_was_drawn_and_reached(lab: Lab, page: Page):
    cells = ["from ddpm_edu import widgets\nshown = widgets.playground()\nshown",
             'print(shown.chosen["density"], len(shown.points), shown.chosen["near"] > 10)']  # fmt: skip
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in cells[:1]], metadata=METADATA
    )
    nbformat.write(made, lab.folder / "notebooks/playground.ipynb")
    lab.open(page, "notebooks/playground.ipynb")
    lab.run_all(page)
    page.locator(".ddpm-playground").wait_for(timeout=30_000)
    play = Playground(page)
    play.choose(density="draw your own", denoiser=EXACT, sampler="heun")
    play.drag((0.3, 0.3), (0.7, 0.3))
    drawn = play.points()
    play.play()
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:insert-cell-below')")
    last = page.locator(".jp-Notebook .jp-CodeCell").last
    last.locator(".cm-content").fill(cells[1])
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
    page.get_by_text(f"draw your own {drawn} True", exact=True).wait_for(timeout=10_000)
