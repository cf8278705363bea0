"""The training dashboard in JupyterLab: started, paused, stopped and continued by keyboard, with cells beside it."""

import re

import nbformat
import pytest
from playwright.sync_api import Locator, Page

from tools.lab import Lab
from tools.lessons import METADATA

pytestmark = [pytest.mark.browser, pytest.mark.slow]
STEPS = 500
MAKES = f"""\
import tempfile
from pathlib import Path
import torch
from ddpm_edu import training, widgets
from ddpm_edu.exercises import fingerprint
from ddpm_edu.training import checkpoint, presets
torch.set_num_threads(1)
work = Path(tempfile.mkdtemp(prefix="ddpm-lesson-"))
small = {{"steps": {STEPS}, "batch": 16, "net.width": 16, "log_every": 5, "save_every": 100, "sample_every": 60}}
config = presets.DIGITS_CPU.changed(small)
dashboard = widgets.training_dashboard(config, work / "digits", device="cpu", seconds=2)
dashboard"""
LOOKS = """\
torch.manual_seed(1)
print(len(In), "drawn", torch.randn(1000).sum().item(), "at step", dashboard.bar.value)"""
ENDS = """\
training.train(config, work / "undisturbed", device="cpu", progress=False)
one, other = (fingerprint(checkpoint.newest(work / run / "checkpoints").state) for run in ("digits", "undisturbed"))
print(len(In), "hashes", one, other)"""


@pytest.fixture
def opened(lab: Lab, page: Page) -> Page:
    cells = [nbformat.v4.new_code_cell(source) for source in (MAKES, LOOKS, ENDS)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=METADATA), lab.folder / "notebooks/dashboard.ipynb")
    lab.open(page, "notebooks/dashboard.ipynb")
    run(page, 0)
    page.locator(".ddpm-dashboard img").first.wait_for(timeout=120_000)
    return page


def run(page: Page, number: int) -> None:
    """Runs one cell; not waited for."""
    page.locator(".jp-Notebook .jp-CodeCell").nth(number).locator(".cm-content").click()
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell'); }")


def printed(page: Page, number: int, pattern: str, seconds: int = 60) -> re.Match[str]:
    """Runs a cell and returns what it prints now: each of these cells begins with a number that is never the same."""
    area = page.locator(".jp-Notebook .jp-CodeCell").nth(number).locator(".jp-OutputArea").first
    before = area.inner_text()
    run(page, number)
    page.wait_for_function(
        "([area, before, pattern]) => area.innerText !== before && RegExp(pattern).test(area.innerText)",
        arg=[area.element_handle(), before, pattern],
        timeout=1000 * seconds,
    )
    found = re.search(pattern, area.inner_text())
    assert found is not None
    return found


def press(page: Page, name: str) -> None:
    button = page.locator(".ddpm-dashboard").get_by_role("button", name=name)
    button.focus()
    page.keyboard.press("Space")
    assert button.evaluate("button => button === document.activeElement"), "the reader stays where he was"


def status(page: Page) -> Locator:
    return page.locator(".ddpm-dashboard").get_by_role("status")


def says(page: Page, pattern: str, seconds: int = 120) -> int:
    """Waits until the readout says this; the step in it."""
    status(page).get_by_text(re.compile(pattern)).wait_for(timeout=1000 * seconds)
    step = re.search(r"\d+", status(page).inner_text())
    return int(step[0]) if step else 0


def step(page: Page) -> int:
    found = re.search(r"step (\d+) of", page.locator(".ddpm-numbers").inner_text())
    assert found is not None
    return int(found[1])


def later_than(page: Page, before: int) -> int:
    """Waits until the numbers have moved on."""
    page.wait_for_function(
        f"() => Number(/step (\\d+) of/.exec(document.querySelector('.ddpm-numbers').innerText)[1]) > {before}",
        timeout=60_000,
    )
    return step(page)


def test_a_training_is_started_paused_stopped_and_continued_to_the_same_hash(opened: Page):
    page, images = opened, opened.locator(".ddpm-dashboard img")
    assert says(page, "Nothing is trained yet") == 0 and step(page) == 0
    empty = images.first.get_attribute("src")
    press(page, "Start")
    later_than(page, 0)
    assert re.search(r"follow at step 5|loss \d\.\d+, .* images/s, .* left", page.locator(".ddpm-numbers").inner_text())
    drawn = printed(page, 1, r"drawn (\S+) at step (\d+)")  # a cell beside it
    assert 0 < int(drawn[2]) < STEPS

    press(page, "Pause")
    paused = says(page, "Paused at step")
    assert 0 < paused < STEPS and step(page) == paused
    again = printed(page, 1, r"drawn (\S+) at step (\d+)")
    page.wait_for_timeout(1500)
    assert int(again[2]) == step(page) == paused, "it stands still while a cell runs, and after it"
    assert again[1] == drawn[1], "a seed is a seed, whether it trains or not"

    press(page, "Continue")
    later_than(page, paused + 10)  # two lines of its log, at least
    press(page, "Stop")
    stopped = says(page, "Stopped at step")
    page.wait_for_function(  # the picture moves
        "([image, empty]) => image.src !== empty", arg=[images.first.element_handle(), empty], timeout=30_000
    )
    assert paused < stopped < STEPS and step(page) == stopped
    page.wait_for_timeout(500)
    assert step(page) == stopped

    press(page, "Continue")
    assert says(page, "Done: ", 240) == step(page) == STEPS
    assert images.nth(1).is_visible(), "its newest sheet of samples"
    hashes = printed(page, 2, "hashes ([0-9a-f]{16}) ([0-9a-f]{16})", 240)
    assert hashes[1] == hashes[2], "weights, averages and Adam's moments"
    assert page.locator('[data-mime-type="application/vnd.jupyter.stderr"]').count() == 0, "no traceback"
