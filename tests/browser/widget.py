"""What tests of lessons share: a key for every widget that needs no kernel."""

from playwright.sync_api import Locator, Page

# What a widget that needs no kernel shows: words and pictures, without its sliders and the numbers beside them.
SHOWN = """box => {
    const words = box.cloneNode(true);
    words.querySelectorAll('.ddpm-value, input').forEach((control) => control.remove());
    const canvases = Array.from(box.querySelectorAll('canvas'), (canvas) => canvas.toDataURL());
    return [words.innerHTML, ...canvases].join();
}"""


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
