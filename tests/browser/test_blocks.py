"""Notebook 04 in JupyterLab: the block explorer moved by keyboard."""

import statistics

import numpy as np
import pytest
from playwright.sync_api import Page

from ddpm_edu.widgets.block_explorer import BlockPicture, block_explorer
from ddpm_edu.widgets.in_browser import without_markup
from tools.lab import Lab, slider
from tools.lab_widget import Widget

from .widget import move_without_kernel

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_block_explorer_follows_its_sliders(lab: Lab, page: Page):
    lab.open(page, "notebooks/04_the_unet.ipynb")
    lab.run_all(page)
    explorer = Widget(page, "ddpm-blocks")
    before = explorer.pixels()
    assert before.std() > 10, "the picture is blank"
    assert "35,746,307 parameters" in explorer.readout()

    explorer.press("batch", "ArrowLeft")
    values = {name: control.value for name, control in block_explorer(batch=64).controls.items()}
    assert explorer.readout() == without_markup(BlockPicture().describe(**values))
    assert "backward pass of 64 images" in explorer.readout()
    after = explorer.pixels()
    assert np.abs(after - before)[: before.shape[0] // 3].mean() > 0.05, "the bars did not move"

    assert explorer.press("levels", "ArrowLeft") == "3"
    assert "35,746,307 parameters" not in explorer.readout()
    lower = explorer.pixels()
    assert lower.shape[0] < before.shape[0] and lower.shape[1] == before.shape[1], "a U of three levels is less high"

    explorer.press("blocks", "ArrowLeft", "ArrowRight")
    times = explorer.latencies()
    print(f"\nkey to pixels: median {statistics.median(times):.0f} ms, worst {max(times):.0f} ms of {len(times)}")

    # What cannot be is told in place of the picture: 32 pixels can be halved five times, 28 only twice.
    explorer.press("levels", "ArrowRight")
    slider(explorer.box, "size").press("ArrowLeft")
    explorer.box.get_by_text("height 28 is not a multiple of 8").wait_for(timeout=15_000)
    assert not explorer.image.is_visible()
    explorer.press("levels", "ArrowLeft")
    assert "parameters" in explorer.readout() and explorer.image.is_visible()
    assert move_without_kernel(page) == ["quiz"]
