"""What a learner does: opens a lesson in JupyterLab, runs all of it, and moves its sliders by keyboard."""

import json
import statistics
import urllib.request

import nbformat
import numpy as np
import pytest
from playwright.sync_api import Page

from ddpm_edu import schedules
from ddpm_edu.widgets.in_browser import without_markup
from ddpm_edu.widgets.schedule_explorer import SchedulePicture
from tools.lab import Lab, LabError
from tools.lab_widget import Widget
from tools.lessons import BLANK, METADATA, sources

from .conftest import ROOT
from .widget import move_without_kernel

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_schedule_explorer_follows_its_sliders(lab: Lab, page: Page):
    lab.open(page, "notebooks/01_forward_noising.ipynb")
    lab.run_all(page)
    explorer = Widget(page, "ddpm-schedule")
    table = schedules.linear(T=1000, beta_start=1e-4, beta_end=0.02).alpha_bar

    before = explorer.pixels()
    assert before.std() > 10, "the picture is blank"
    assert f"alpha_bar = {table[200]:.4f}" in explorer.readout()

    assert explorer.press("t", "ArrowRight") == "201"
    assert f"alpha_bar = {table[201]:.4f}" in explorer.readout()

    assert explorer.press("t", "End") == "1000"
    assert f"alpha_bar = {table[1000]:.4f}" in explorer.readout()
    change = np.abs(explorer.pixels() - before)
    right_half = change[:, change.shape[1] // 2 :]
    assert right_half.mean() > 5, "photograph and cloud did not change"
    assert change.mean() < 60, "everything changed: the picture was thrown away, not redrawn"

    # A shorter schedule takes t along: t = 1000 is no longer there.
    assert explorer.press("T", "ArrowLeft") == "990"
    assert explorer.value("t") == "990"
    shorter = schedules.linear(T=990, beta_start=1e-4, beta_end=0.02).alpha_bar
    assert explorer.readout() == without_markup(SchedulePicture().describe("linear", 990, 1e-4, 0.02, 990))
    assert f"at t = 990: alpha_bar = {shorter[990]:.4f}" in explorer.readout()
    assert move_without_kernel(page) == ["player", "schedule-curves", "quiz"]

    explorer.press("t", "Home", *["ArrowRight"] * 10)
    times = explorer.latencies()
    print(f"\nkey to pixels: median {statistics.median(times):.0f} ms, worst {max(times):.0f} ms of {len(times)}")


def test_run_all_tells_of_an_error_and_of_stderr(lab: Lab, page: Page):
    """The negative control of every test above: a notebook that fails, opened and run in the same way."""
    for name, source in (("ZeroDivisionError", "1 / 0"), ("oh", "import sys\nprint('oh', file=sys.stderr)")):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)], metadata=METADATA)
        nbformat.write(notebook, lab.folder / f"notebooks/bad_{name}.ipynb")
        lab.open(page, f"notebooks/bad_{name}.ipynb")
        with pytest.raises(LabError, match=name):
            lab.run_all(page)


def test_a_wrong_answer_is_one_line_and_run_all_goes_on(lab: Lab, page: Page):
    notebook = nbformat.read(ROOT / "notebooks/00_start_here.ipynb", 4)
    blank = next(cell for cell in notebook.cells if BLANK in cell.source)
    blank.source = blank.source.replace(BLANK, "return keep, 1 - keep")
    notebook.cells.append(nbformat.v4.new_code_cell("print('the page', 'goes on')"))
    nbformat.write(notebook, lab.folder / "notebooks/wrong.ipynb")
    lab.open(page, "notebooks/wrong.ipynb")
    with pytest.raises(LabError, match="Not right yet") as told:
        lab.run_all(page)
    assert "Traceback" not in str(told.value)
    assert page.get_by_text("the page goes on", exact=True).count() == 1


@pytest.mark.parametrize("name", [source.stem for source in sources(ROOT)])
def test_jupytext_opens_a_source_as_a_notebook_and_saving_changes_nothing(lab: Lab, name: str):
    """The doors that JupyterLab itself uses: the contents API, asked for a notebook."""
    file = lab.folder / f"notebooks/source/{name}.py"
    before = file.read_bytes()
    address = f"{lab.url}/api/contents/notebooks/source/{name}.py?token={lab.token}"
    with urllib.request.urlopen(f"{address}&type=notebook", timeout=60) as answer:  # noqa: S310
        opened = json.load(answer)
    assert opened["type"] == "notebook"
    assert opened["content"]["metadata"]["kernelspec"]["name"] == "python3"
    assert any(cell["cell_type"] == "code" for cell in opened["content"]["cells"])
    saved = json.dumps({"type": "notebook", "format": "json", "content": opened["content"]}).encode()
    request = urllib.request.Request(address, data=saved, method="PUT")  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        assert answer.status == 200
    assert file.read_bytes() == before


def test_the_browser_never_edits_the_checkout(lab: Lab):
    assert not lab.folder.is_relative_to(ROOT)
