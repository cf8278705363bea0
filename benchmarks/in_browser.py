"""What a reader waits for where no kernel runs: each control of each explorer in JavaScript, moved in a real browser.

A part of operations.py, which runs it. Milliseconds are measured in the page: of the script, from the control's event
until everything is drawn anew; and to the screen, from the same event until the browser has painted the next frame. It
paints sixty a second, so what is below 17 ms there is the next frame.
"""

import statistics
from collections.abc import Callable, Iterator
from typing import Any

from playwright.sync_api import Page

from ddpm_edu import widgets
from ddpm_edu.widgets import in_browser
from tools.lab import chromium

MOVES = 8  # of each control, at most: spread over its values

MAKERS: dict[str, Callable[[], in_browser.InBrowser]] = {
    "bound_explorer": widgets.bound_explorer,
    "dissolve": widgets.dissolve,
    "schedule_curves": widgets.schedule_curves,
}

# Up to MOVES values of a control from end to end, then back to the first: [{script, screen}] in milliseconds.
MOVE = """async (control, moves) => {
    const step = Number(control.step) || 1, low = Number(control.min);
    const all = control.tagName === "SELECT" ? Array.from(control.options, (option) => option.value)
        : Array.from({ length: Math.floor((control.max - low) / step) + 1 }, (_, i) => String(low + i * step));
    const count = Math.min(moves, all.length), stride = (all.length - 1) / Math.max(count - 1, 1);
    const some = Array.from({ length: count }, (_, i) => all[Math.round(i * stride)]);
    const painted = () => new Promise((then) => requestAnimationFrame(() => setTimeout(then)));
    const times = [];
    for (const value of [...some, control.value].filter((value, i, list) => value !== (list[i - 1] ?? control.value))) {
        await painted();
        const begun = performance.now();
        control.value = value;
        control.dispatchEvent(new Event(control.tagName === "SELECT" ? "change" : "input"));
        const script = performance.now() - begun;
        await painted();
        times.push({ script, screen: performance.now() - begun });
    }
    return times;
}"""


def moved() -> Iterator[dict[str, Any]]:
    """A row a widget: milliseconds of a move over all its controls."""
    with chromium() as browser:
        for name, make in MAKERS.items():
            page = browser.new_page(viewport={"width": 1000, "height": 900})
            page.set_content(make().page())
            page.locator(".ddpm-live[data-alive] .ddpm-box").wait_for()
            times = [one for control in controls(page) for one in control.evaluate(MOVE, MOVES)]
            page.close()
            yield {"name": name, "moves": len(times), **_summary(times)}


def controls(page: Page) -> list[Any]:
    """The sliders and lists of the widget on the page."""
    return page.locator(".ddpm-box :is(input[type=range], select):enabled").element_handles()


def _summary(times: list[dict[str, float]]) -> dict[str, float]:
    of = {name: [float(one[name]) for one in times] for name in ("script", "screen")}
    return {
        "script": round(statistics.median(of["script"]), 1),
        "slowest script": round(max(of["script"]), 1),
        "screen": round(statistics.median(of["screen"]), 1),
        "slowest screen": round(max(of["screen"]), 1),
    }
