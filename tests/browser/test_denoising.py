"""Notebook 03 in JupyterLab: the denoising explorer moved by keyboard."""

import numpy as np
import pytest
from playwright.sync_api import Page

from ddpm_edu.widgets.denoising_explorer import TRAINED, DenoisingPicture
from ddpm_edu.widgets.in_browser import without_markup
from tools.lab import Lab
from tools.lab_widget import Widget

from .widget import move_without_kernel

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_denoising_explorer_follows_its_sliders(lab: Lab, page: Page):
    lab.open(page, "notebooks/03_the_epsilon_loss.ipynb")
    lab.run_all(page)
    explorer = Widget(page, "ddpm-denoising")
    before = explorer.pixels()
    assert before.std() > 10, "the picture is blank"
    assert explorer.press("t", "ArrowRight") == "301"
    assert "at t = 301" in explorer.readout()
    assert explorer.press("digit", "ArrowRight") == "7"
    assert explorer.readout() == without_markup(DenoisingPicture().describe(TRAINED, 7, 301))
    assert np.abs(explorer.pixels() - before)[:, : before.shape[1] // 8].mean() > 5, "the digit did not change"
    assert move_without_kernel(page) == ["quiz"]
