"""Notebook 06 in JupyterLab: the metric explorer moved by keyboard."""

import statistics

import numpy as np
import pytest
from playwright.sync_api import Page

from ddpm_edu.widgets.in_browser import without_markup
from ddpm_edu.widgets.metric_explorer import MetricPicture
from tools.lab import Lab
from tools.lab_widget import Widget

from .widget import move_without_kernel

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_metric_explorer_follows_its_controls(lab: Lab, page: Page):
    lab.open(page, "notebooks/06_is_it_any_good.ipynb")
    lab.run_all(page)
    explorer = Widget(page, "ddpm-metrics")
    before = explorer.pixels()
    assert before.std() > 10, "the picture is blank"
    assert "200 digits, 25% of a 3x3 average mixed in" in explorer.readout()
    explorer.choose("damage", "classes dropped")
    assert "1 of ten classes left out" in explorer.readout()
    explorer.press("strength", "End")
    assert "4 of ten classes left out" in explorer.readout()
    worse = explorer.readout().split("Worse than all of these:")[1].split("Better")[0]
    assert "recall" in worse and "precision" not in worse
    explorer.choose("damage", "copies of the reference")
    assert "100% of the images are copies" in explorer.readout()
    assert "share of copies 100%" in explorer.readout()
    explorer.press("images", "Home")
    assert "25 digits" in explorer.readout()
    explorer.press("strength", "Home")
    assert "25 digits, undamaged" in explorer.readout()
    explorer.press("seed", "ArrowRight")
    assert explorer.readout() == without_markup(MetricPicture().describe("copies of the reference", 0, 25, 1))
    assert np.abs(explorer.pixels() - before).mean() > 1, "nothing moved"
    assert move_without_kernel(page) == ["quiz"]
    times = explorer.latencies()
    print(f"\nkey to pixels: median {statistics.median(times):.0f} ms, worst {max(times):.0f} ms of {len(times)}")
