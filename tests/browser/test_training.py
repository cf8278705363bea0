"""Notebook 07 in JupyterLab: training interrupted and continued, to the same hash; the planner moved by keyboard."""

import re

import nbformat
import numpy as np
import pytest
from playwright.sync_api import Page

from ddpm_edu.widgets.in_browser import without_markup
from ddpm_edu.widgets.training_planner import PlannerPicture
from tools.lab import Lab
from tools.lab_widget import Widget

from .conftest import ROOT
from .widget import move_without_kernel

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LESSON = "notebooks/07_train_the_full_model.ipynb"
DONE = re.compile(r"done: ([\d,]+) steps\. A hash of all that its checkpoint holds: ([0-9a-f]{16})")
STOPPED = re.compile(r"stopped after step ([\d,]+) of ([\d,]+)")


def the_training_alone(again: bool) -> nbformat.NotebookNode:
    """The lesson's own cells up to its training, as they are; but for what trains or plans on the way.

    With ``again`` the same training follows, in a new folder, for the run that nobody interrupts.
    """
    lesson = nbformat.read(ROOT / LESSON, 4)
    code = [cell for cell in lesson.cells if cell.cell_type == "code"]
    (training,) = [i for i, cell in enumerate(code) if "training.train(config, folder" in cell.source]
    imports, config = code[:2], [cell for cell in code if cell.source.startswith("on_gpu = ")]
    lesson.cells = [*imports, *config, code[training - 1], code[training]]
    if again:
        fresh = nbformat.v4.new_code_cell('folder = work / "undisturbed"')
        lesson.cells += [fresh, nbformat.v4.new_code_cell(code[training].source)]
    for cell in lesson.cells:
        cell.outputs, cell.execution_count = [], None
    return lesson


def run(page: Page, command: str) -> None:
    """A command of JupyterLab, not waited for."""
    page.evaluate(f"() => {{ window.jupyterapp.commands.execute('{command}'); }}")


def printed(page: Page, pattern: re.Pattern[str], seconds: int) -> re.Match[str]:
    """What a cell has printed, as soon as it has."""
    page.get_by_text(pattern).first.wait_for(timeout=1000 * seconds)
    found = pattern.search(page.get_by_text(pattern).first.inner_text())
    assert found is not None
    return found


def test_a_training_is_interrupted_and_continued_by_running_the_cell_again(lab: Lab, page: Page):
    nbformat.write(the_training_alone(again=True), lab.folder / "notebooks/interrupted.ipynb")
    lab.open(page, "notebooks/interrupted.ipynb")
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    count = cells.count()
    for _ in range(count - 2):  # imports, settings, and the training, which goes on
        run(page, "notebook:run-cell-and-select-next")
        page.wait_for_timeout(200)
    training = cells.nth(count - 3)
    training.locator("img").first.wait_for(timeout=60_000)  # its picture: it has begun
    page.wait_for_timeout(3000)
    run(page, "notebook:interrupt-kernel")
    stopped = printed(page, STOPPED, 60)
    step, of = (int(number.replace(",", "")) for number in stopped.groups())
    assert 0 < step < of, "it was stopped on the way"
    assert page.locator('[data-mime-type="application/vnd.jupyter.stderr"]').count() == 0, "no traceback"

    training.locator(".cm-content").click()
    run(page, "notebook:run-cell-and-select-next")
    continued = printed(page, DONE, 240)
    assert int(continued[1].replace(",", "")) == of
    assert page.get_by_text(STOPPED).count() == 0, "the cell says how it stands now"

    for _ in range(2):  # a new folder, and the same training from beginning to end
        run(page, "notebook:run-cell-and-select-next")
        page.wait_for_timeout(200)
    last = cells.nth(count - 1)
    last.get_by_text(DONE).wait_for(timeout=240_000)
    undisturbed = DONE.search(last.inner_text())
    assert undisturbed is not None
    assert continued[2] == undisturbed[2], "the hash of weights, averages and Adam's moments"


@pytest.mark.timeout(1200)
def test_the_planner_follows_its_controls(lab: Lab, page: Page):
    lab.open(page, LESSON)
    lab.run_all(page, seconds=900)
    planner = Widget(page, "ddpm-planner")
    before = planner.pixels()
    assert before.std() > 10, "the picture is blank"
    assert planner.readout().startswith("ESTIMATE") and "800,000 steps of 128 images" in planner.readout()
    planner.press("GPUs", "ArrowRight")
    assert "on 2 x H100 SXM, bf16" in planner.readout()
    planner.choose("GPU", "T4")
    assert "on 2 x T4, fp16" in planner.readout()
    planner.press("batch", "End")
    assert "does NOT fit" in planner.readout()
    planner.choose("checkpoints", "every block")
    planner.press("steps", "Home")
    assert "1,000 steps of 1024 images" in planner.readout()
    setting = {"preset": "cifar10", "gpu": "T4", "gpus": 2, "batch": 1024, "steps": 1000, "price": 2}
    assert planner.readout() == without_markup(PlannerPicture().describe(**setting, checkpointing="every block"))
    assert np.abs(planner.pixels() - before).mean() > 1, "the bars did not move"
    assert move_without_kernel(page) == ["quiz"]
