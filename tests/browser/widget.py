"""The widgets of a lesson as a learner meets them: moved by keyboard; a picture, and a line of numbers."""

import contextlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page

from tools.lab import slider

# Time from a key to the new picture on the screen, taken inside the browser: no test machinery in between.
STOPWATCH = """(image) => {
    window.keyToPixels = [];
    let pressed = null;
    document.addEventListener('keydown', () => { pressed = performance.now(); }, true);
    const drawn = () => {
        if (pressed !== null) { window.keyToPixels.push(performance.now() - pressed); }
        pressed = null;
    };
    new MutationObserver(() => image.decode().then(() => requestAnimationFrame(drawn), () => null))
        .observe(image, { attributes: true, attributeFilter: ['src'] });
}"""

# What a widget that needs no kernel shows: words and pictures, without the numbers beside its sliders.
SHOWN = """box => {
    const words = box.cloneNode(true);
    words.querySelectorAll('.ddpm-value').forEach((value) => value.remove());
    const canvases = Array.from(box.querySelectorAll('canvas'), (canvas) => canvas.toDataURL());
    return [words.innerHTML, ...canvases].join();
}"""


def words(numbers: str) -> str:
    """What a drawing's ``describe`` says, as the page shows it."""
    return re.sub(r"<[^>]+>", "", numbers.replace("<br>", "\n"))


def move_without_kernel(page: Page) -> list[str]:
    """Moves every widget of the notebook that needs no kernel: each slider by a key, and each answer is chosen.

    Something else must be shown after each key (the playground keeps some settings for the next walk). Their kinds come
    back, in order.
    """
    kinds = []
    for box in page.locator(".jp-OutputArea .ddpm-box").all():
        box.scroll_into_view_if_needed()
        name = next(
            one for one in (box.get_attribute("class") or "").split() if one not in ("ddpm-box", "ddpm-explorer")
        )
        kinds.append(name.removeprefix("ddpm-"))
        moved = [_press(page, box, control) for control in box.locator("input:enabled").all()]
        assert any(moved), f"{name}: nothing moves"
        assert all(moved) or name == "ddpm-playground", f"{name}: a key changed nothing"
    return kinds


def _press(page: Page, box: Locator, control: Locator) -> bool:
    """Whether a key on the control changes what its widget shows."""
    before = box.evaluate(SHOWN)
    control.focus()
    at_the_end = control.evaluate("input => input.type === 'range' && input.value === input.max")
    radio = control.get_attribute("type") == "radio"
    page.keyboard.press("Space" if radio else "ArrowLeft" if at_the_end else "ArrowRight")
    page.wait_for_timeout(50)  # an animation, if there is one, takes its step
    return bool(box.evaluate(SHOWN) != before)


@dataclass
class Widget:
    """The explorer whose outer box has the CSS class ``name``; waits until it is drawn."""

    page: Page
    name: str
    box: Locator = field(init=False)
    image: Locator = field(init=False)

    def __post_init__(self) -> None:
        self.box = self.page.locator(f".{self.name}")
        self.image = self.box.locator("img").first
        self.image.wait_for(timeout=30_000)  # widgets are drawn a moment after their cell has ended
        self.image.scroll_into_view_if_needed()
        self.image.evaluate(STOPWATCH)

    def press(self, label: str, *keys: str) -> str:
        """Press keys on the slider ``label``, wait for a new picture after each, and return the slider's value."""
        handle = slider(self.box, label)
        handle.focus()
        for key in keys:
            with self._redrawn():
                self.page.keyboard.press(key)
        self.page.wait_for_timeout(400)  # the numbers travel in a message of their own
        return self.value(label)

    def choose(self, label: str, option: str) -> None:
        """Pick ``option`` from the list ``label``, and wait for a new picture."""
        lists = self.box.locator(".widget-dropdown")
        chooser = lists.filter(has=self.page.get_by_text(label, exact=True)).locator("select")
        with self._redrawn():
            chooser.select_option(label=option)
        self.page.wait_for_timeout(400)

    @contextlib.contextmanager
    def _redrawn(self) -> Iterator[None]:
        """What is done in the block changes the picture: wait until it has."""
        before = self.image.get_attribute("src")
        yield
        self.page.wait_for_function(
            "([image, before]) => image.src !== before && image.complete",
            arg=[self.image.element_handle(), before],
            timeout=15_000,
        )

    def value(self, label: str) -> str:
        """What the slider ``label`` says of itself."""
        return slider(self.box, label).get_attribute("aria-valuetext") or ""

    def pixels(self) -> np.ndarray:
        """(height, width) grey levels 0..255 of the picture as it is on the screen."""
        return np.asarray(Image.open(io.BytesIO(self.image.screenshot())).convert("L"), dtype=float)

    def readout(self) -> str:
        """The line of numbers, as text."""
        return self.box.locator(".ddpm-readout").first.inner_text()

    def numbers(self) -> list[float]:
        """Every number of the readout, in order."""
        return [float(number) for number in re.findall(r"[-+−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", self.readout())]

    def latencies(self) -> list[float]:
        """Milliseconds from key to pixels, one for each picture so far."""
        return self.page.evaluate("window.keyToPixels")
