"""An explorer of a lesson in JupyterLab: sliders moved by keyboard, its picture and numbers, and how long it took."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from playwright.sync_api import ElementHandle, Locator, Page

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

# What the kernel answers: a picture, numbers, or, where it refuses a setting, why in place of a picture.
STATE = """(image) => getComputedStyle(image).visibility + image.src
    + image.parentElement.querySelector('.ddpm-readout').innerText"""

STILL = 300  # milliseconds


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
        """Press keys on the slider ``label``, wait for an answer after each, and return the slider's value."""
        self.press_on(slider(self.box, label), *keys)
        return self.value(label)

    def press_on(self, handle: Locator | ElementHandle, *keys: str) -> None:
        """Press keys on a slider's handle, and wait for an answer after each."""
        handle.focus()
        for key in keys:
            with self._redrawn():
                self.page.keyboard.press(key)

    def choose(self, label: str, option: str) -> None:
        """Pick ``option`` from the list ``label``, and wait for an answer."""
        lists = self.box.locator(".widget-dropdown")
        chooser = lists.filter(has=self.page.get_by_text(label, exact=True)).locator("select")
        with self._redrawn():
            chooser.select_option(label=option)

    @contextlib.contextmanager
    def _redrawn(self) -> Iterator[None]:
        """What is done in the block changes the picture or the numbers: wait until it has.

        The two travel in messages of their own, the picture first; so all must then have been still for a while.
        """
        before = self.image.evaluate(STATE)
        yield
        self.page.wait_for_function(
            f"""([image, before]) => {{
                const state = ({STATE})(image), now = performance.now();
                if (state !== image.lastState) {{ image.lastState = state; image.lastChange = now; }}
                return state !== before && image.complete && now - image.lastChange > {STILL};
            }}""",
            arg=[self.image.element_handle(), before],
            timeout=30_000,
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

    def latencies(self) -> list[float]:
        """Milliseconds from key to pixels, one for each picture so far."""
        return self.page.evaluate("window.keyToPixels")
