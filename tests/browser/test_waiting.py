"""The benchmarks of waiting times, which drive a browser: every control is moved, and every move is timed."""

import nbformat
import pytest
from playwright.sync_api import Page

from benchmarks import in_browser, in_lab
from ddpm_edu import widgets
from tools.lab import Lab
from tools.lab_widget import Widget
from tools.lessons import METADATA

from .mounted import mount

pytestmark = pytest.mark.browser


@pytest.mark.slow
def test_every_slider_is_pressed_to_one_side_and_back(lab: Lab, page: Page):
    cells = [nbformat.v4.new_code_cell("from ddpm_edu import widgets\nshown = widgets.schedule_explorer()\nshown")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=METADATA), lab.folder / "notebooks/waiting.ipynb")
    lab.open(page, "notebooks/waiting.ipynb")
    lab.run_all(page)
    explorer = Widget(page, "ddpm-schedule")
    before = explorer.readout()
    times = in_lab.press_all(explorer)
    assert len(times) == 4 * 2 * in_lab.ROUNDS and min(times) > 0  # T, beta_start, beta_end, t
    assert explorer.readout() == before  # all are where they were


def test_every_control_moves_through_its_values_and_back(blank: Page):
    mount(blank, widgets.bound_explorer(T=400))
    before, found = blank.get_by_role("status").inner_text(), in_browser.controls(blank)
    times = [control.evaluate(in_browser.MOVE, in_browser.MOVES) for control in found]
    # 5 families and 3 widths, of which the first is there; 8 of all T; 7 means; 8 of 9 stds; one more move leads back
    assert [len(each) for each in times] == [5, 9, 3, 8, 9]
    assert all(0 <= one["script"] <= one["screen"] for each in times for one in each)
    assert blank.get_by_role("status").inner_text() == before
