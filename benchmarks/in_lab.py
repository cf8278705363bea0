"""What a learner waits for: from a key to the new picture on the screen, in JupyterLab, kernel and browser included.

A part of operations.py, which runs it: each slider of each explorer that a kernel draws, in a notebook of one cell.
"""

import statistics
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import ElementHandle

from tools.lab import chromium, jupyterlab
from tools.lab_widget import Widget
from tools.lessons import METADATA

ROUNDS = 2  # of each slider, a step to one side and a step back


def moved(explorers: Collection[str]) -> Iterator[dict[str, Any]]:
    """A row a widget: milliseconds from a key to pixels, over all its sliders."""
    with tempfile.TemporaryDirectory(prefix="ddpm-lessons-") as folder:
        for name in explorers:
            cell = new_code_cell(f"from ddpm_edu import widgets\n\nwidgets.{name}()")
            nbformat.write(new_notebook(cells=[cell], metadata=METADATA), Path(folder, f"{name}.ipynb"))
        with chromium() as browser, jupyterlab(Path(folder)) as lab:
            for name in explorers:
                page = browser.new_page(viewport={"width": 1400, "height": 1000})
                lab.open(page, f"notebooks/{name}.ipynb")
                lab.run_all(page)
                times = press_all(Widget(page, "ddpm-picture-box"))
                page.close()
                yield {"name": name, "pictures": len(times), **_summary(times)}


def press_all(explorer: Widget) -> list[float]:
    """Every slider that is not greyed out, ROUNDS times to one side and back; milliseconds of each new picture.

    A setting that is refused has none, nor has one that changes numbers alone.
    """
    for handle in explorer.box.locator(".widget-slider .noUi-target:not([disabled]) .noUi-handle").element_handles():
        for key in _there_and_back(handle) * ROUNDS:
            explorer.press_on(handle, key)
    return explorer.latencies()


def _there_and_back(handle: ElementHandle) -> tuple[str, str]:
    at, least = (float(handle.get_attribute(f"aria-value{name}") or "nan") for name in ("now", "min"))
    return ("ArrowLeft", "ArrowRight") if at > least else ("ArrowRight", "ArrowLeft")


def _summary(times: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(times)), "slowest": round(max(times))}
