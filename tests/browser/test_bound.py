"""The bound explorer as a learner meets it in JupyterLab."""

import numpy as np
import pytest
from playwright.sync_api import Page

from tools.lab import Lab

from .widget import Widget

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_bound_explorer_follows_its_sliders(lab: Lab, page: Page):
    lab.open(page, "notebooks/02_the_bound.ipynb")
    lab.run_all(page)
    explorer = Widget(page, "ddpm-bound")
    before = explorer.pixels()
    assert before.std() > 10, "the picture is blank"
    assert "bound 1.0487 bits" in explorer.readout()
    assert explorer.press("T", "End") == "2000"
    assert "bound 1.0487 bits" not in explorer.readout()
    explorer.press("std", "ArrowRight")
    assert "Entropy of the data 1.5325;" in explorer.readout()
    assert np.abs(explorer.pixels() - before).mean() > 0.5, "the bars did not move"
