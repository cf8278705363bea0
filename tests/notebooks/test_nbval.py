"""nbval, with our conftest.py, fails where a number or a picture is no longer what is stored."""

import base64
import copy
import io
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import nbformat
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from tools import kernels
from tools.pictures import difference, same_picture

ROOT = Path(__file__).resolve().parents[2]
FIGURE = """
import matplotlib.pyplot as plt

fig, axes = plt.subplots(1, 4, figsize=(8, 2))
axes[0].imshow([[0, 1], [1, 0]], cmap="gray")
axes[1].plot([0, 1, 4, 9])
plt.show()
print("peak 9")
"""


def figure(values: list[int], points: float = 10.0, pixels: list[list[int]] | None = None, dpi: int = 72) -> bytes:
    fig = Figure(figsize=(8, 2), dpi=dpi)
    axes = fig.subplots(1, 4)
    axes[0].imshow(pixels or [[0, 1], [1, 0]], cmap="gray")
    axes[1].plot(values)
    axes[1].set_title("title", fontsize=points)
    file = io.BytesIO()
    FigureCanvasAgg(fig).print_png(file)
    return file.getvalue()


def test_thumbnails_forgive_fonts_and_see_panels():
    stored = figure([0, 1, 4, 9])
    assert same_picture(stored, stored) is None
    assert same_picture(stored, figure([0, 1, 4, 9], points=11)) is None
    assert "patch" in (same_picture(stored, figure([0, 1, 4, 9], pixels=[[1, 0], [0, 1]])) or "")
    assert "sizes" in (same_picture(stored, figure([0, 1, 4, 9], dpi=100)) or "")
    # One small panel of four moves the mean by little: the reason for looking at patches too.
    assert difference(stored, figure([0, 1, 4, 9], pixels=[[1, 0], [0, 1]]))[1] > 40


def _picture_cell(notebook: NotebookNode) -> NotebookNode:
    return notebook.cells[0]


def _replace_picture(notebook: NotebookNode) -> None:
    data, file = _picture_cell(notebook).outputs[0].data, io.BytesIO()
    stored = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    stored.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file, "png")
    data["image/png"] = base64.b64encode(file.getvalue()).decode()


def _drop_picture(notebook: NotebookNode) -> None:
    del _picture_cell(notebook).outputs[0].data["image/png"]


def _change_number(notebook: NotebookNode) -> None:
    _picture_cell(notebook).outputs[1].text = "peak 8\n"


DOCTORS = {
    "good": lambda notebook: None,
    "other_picture": _replace_picture,
    "no_picture": _drop_picture,
    "other_number": _change_number,
    "stderr": lambda notebook: _picture_cell(notebook).update(
        source="import sys\nprint(1, file=sys.stderr)\n" + FIGURE
    ),
}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one pytest run says of each doctored notebook: "" for passed, else the message."""
    folder = tmp_path_factory.mktemp("nbval")
    cells = [new_code_cell(FIGURE), new_code_cell("import os\nprint(os.environ['PYTHONHASHSEED'], os.getcwd()[-5:])")]
    built = kernels.execute(new_notebook(cells=cells), folder)
    for name, doctor in DOCTORS.items():
        notebook = copy.deepcopy(built)
        doctor(notebook)
        nbformat.write(notebook, folder / f"{name}.ipynb")
    shutil.copy(ROOT / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --nbval --nbval-current-env\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--junitxml=report.xml", "--tb=short"]
    known = {**os.environ, "PYTHONPATH": str(ROOT)}  # where conftest.py finds tools
    done = subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stdout + done.stderr
    faults: dict[str, str] = dict.fromkeys(DOCTORS, "")
    for case in ET.parse(folder / "report.xml").iter("testcase"):  # noqa: S314  (our own pytest wrote it)
        faults[case.get("classname", "").removesuffix(".ipynb")] += "".join(f.text or "" for f in case.iter("failure"))
    return faults


def test_nbval_passes_an_untouched_notebook(verdicts: dict[str, str]):
    assert verdicts["good"] == ""


def test_nbval_sees_another_number(verdicts: dict[str, str]):
    assert "peak 8" in verdicts["other_number"]


def test_nbval_sees_another_picture(verdicts: dict[str, str]):
    assert "picture 1: " in verdicts["other_picture"]
    assert "grey-level difference" in verdicts["other_picture"]


def test_nbval_sees_a_missing_picture(verdicts: dict[str, str]):
    assert "0 pictures are stored, the run made 1" in verdicts["no_picture"]


def test_nbval_sees_stderr(verdicts: dict[str, str]):
    assert "stderr" in verdicts["stderr"]
