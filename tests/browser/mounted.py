"""Widgets that need no kernel, on a page without one: their script, their keys, their canvas."""

from collections.abc import Collection
from typing import Any

import numpy as np
from playwright.sync_api import Locator, Page

from ddpm_edu.widgets import in_browser

EVALUATE = """async (text) => {
    const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    window.widget = (await import(url)).default;
}"""
LEVELS = "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"


def load(page: Page, text: str) -> Page:
    """What the module ``text`` exports, as ``window.widget``."""
    page.evaluate(EVALUATE, text)
    return page


def unlike(
    found: dict[str, Any], expected: dict[str, Any], exact: Collection[str], rtol: float, atol: float
) -> list[str]:
    """Where what a script has computed is not what the package says: the names, or that there are others."""
    if found.keys() != expected.keys():
        return [f"{sorted(found)} in place of {sorted(expected)}"]

    def same(name: str) -> bool:
        if name in exact:
            return bool(found[name] == expected[name])
        return np.allclose(found[name], expected[name], rtol=rtol, atol=atol)

    return [name for name in expected if not same(name)]


def changed(text: str, right: str, wrong: str) -> str:
    """A script with one formula changed, which must be there once."""
    assert text.count(right) == 1
    return text.replace(right, wrong)


def mount(page: Page, widget: in_browser.InBrowser) -> Page:
    """The widget on a page of its own, mounted as the reading site mounts it."""
    page.set_content(widget.page())
    page.locator(".ddpm-live[data-alive] .ddpm-box").wait_for()
    return page


def press_on(page: Page, element: Locator, *keys: str) -> None:
    element.focus()
    for key in keys:
        page.keyboard.press(key)


def canvas_levels(canvas: Locator) -> np.ndarray:
    """Red, green and blue of an opaque canvas, (height, width, 3)."""
    height, width = canvas.evaluate("c => [c.height, c.width]")
    rgba = np.array(canvas.evaluate(LEVELS)).reshape(height, width, 4)
    assert (rgba[..., 3] == 255).all()
    return rgba[..., :3]


def same_levels(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal up to rounding: float32 there, float64 here may put one level in a hundred on the other side of a half."""
    apart = np.abs(a.astype(int) - b)
    return bool(apart.max() <= 1 and (apart > 0).mean() <= 0.01)
