"""Notebook 05 in JupyterLab: the sampling explorer moved by keyboard."""

import statistics

import numpy as np
import pytest
from playwright.sync_api import Page

from ddpm_edu.widgets.in_browser import without_markup
from ddpm_edu.widgets.sampling_explorer import DDIM, WEIGHTS, SamplingPicture
from tools.lab import Lab, slider
from tools.lab_widget import Widget

from .widget import move_without_kernel

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def greyed_out(explorer: Widget, label: str) -> bool:
    return slider(explorer.box, label).evaluate("handle => handle.closest('.noUi-target').hasAttribute('disabled')")


def test_the_sampling_explorer_follows_its_controls(lab: Lab, page: Page):
    lab.open(page, "notebooks/05_sampling.ipynb")
    lab.run_all(page)
    explorer = Widget(page, "ddpm-sampling")
    before = explorer.pixels()
    assert before.std() > 10, "the picture is blank"
    explorer.choose("clip", "static")
    explorer.choose("sampler", "Heun")
    explorer.press("steps", "Home")
    explorer.press("steps", "ArrowRight", "ArrowRight")
    assert "Heun, 3 steps: 5 evaluations of the network" in explorer.readout()
    explorer.press("digit", "Home")
    assert "all digits of the data" in explorer.readout()
    assert greyed_out(explorer, "guidance")
    explorer.press("digit", "ArrowRight")
    assert "the 0s of the data" in explorer.readout()
    assert not greyed_out(explorer, "guidance")
    explorer.press("guidance", "End")
    assert "Heun, 3 steps: 10 evaluations of the network" in explorer.readout()
    assert "grey level: 0.0%" in explorer.readout()
    explorer.choose("clip", "none")
    assert "grey level: 0.0%" not in explorer.readout()
    assert greyed_out(explorer, "eta")
    explorer.choose("sampler", "DDIM")
    assert "DDIM, eta = 0, 3 steps: 6 evaluations" in explorer.readout()
    explorer.press("eta", "End")
    assert "DDIM, eta = 1, 3 steps" in explorer.readout()
    x_T = explorer.pixels()
    explorer.press("seed", "ArrowRight")
    corner = slice(0, x_T.shape[0] // 2), slice(0, x_T.shape[1] // 8)
    assert np.abs(explorer.pixels() - x_T)[corner].mean() > 5, "another seed did not change x_T"
    setting = {"sampler": DDIM, "steps": 3, "eta": 1.0, "digit": 0, "w": WEIGHTS[-1], "clip": "none", "seed": 1}
    assert explorer.readout() == without_markup(SamplingPicture().describe(**setting))
    assert move_without_kernel(page) == ["player", "playground", "quiz"]
    times = explorer.latencies()
    print(f"\nkey to pixels: median {statistics.median(times):.0f} ms, worst {max(times):.0f} ms of {len(times)}")
