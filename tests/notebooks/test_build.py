"""Building: what is written is the same on every run, and --check sees what does not come from its source."""

import base64
import io
import os
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError, DeadKernelError
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tools import build, kernels
from tools.lessons import HEADER, LessonError
from tools.pictures import strip_png

from .conftest import WriteLesson

EXERCISE = """
# %% tags=["exercise"]
def double(x):
    # BEGIN SOLUTION
    return 2 * x
    # END SOLUTION

# %% tags=["check"]
try:
    print("[x] right" if double(2) == 4 else "wrong")
except NotImplementedError:
    print("[ ] not yet")
"""
FIGURE = """
# %%
import matplotlib.pyplot as plt

for number in range(100):
    print(number, flush=True)
plt.plot([0, 1])
plt.show()
"""
WIDGET = """
# %%
import ipywidgets

slider = ipywidgets.IntSlider(3)
display({data}, raw=True)
"""
VIEW = f'"{kernels.WIDGET_VIEW}": {{"model_id": slider.model_id, "version_major": 2, "version_minor": 0}}'


def everything(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.ipynb")}


@pytest.fixture(scope="module")
def first_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("first_build")
    (root / "notebooks/source").mkdir(parents=True)
    (root / "notebooks/source/00_toy.py").write_text(HEADER + EXERCISE)
    assert len(list(build.build(root))) == 2
    return root


@pytest.fixture
def built(tmp_path: Path, first_build: Path) -> Path:
    shutil.copytree(first_build, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_two_builds_are_byte_identical(tmp_path: Path, write_lesson: WriteLesson):
    write_lesson(EXERCISE + FIGURE)
    list(build.build(tmp_path))
    first = everything(tmp_path)
    list(build.build(tmp_path))
    assert first == everything(tmp_path)
    assert set(first) == {"notebooks/00_toy.ipynb", "notebooks/solutions/00_toy.ipynb"}


def test_outputs_are_kept_and_hold_nothing_of_the_machine(tmp_path: Path, write_lesson: WriteLesson):
    write_lesson(EXERCISE + FIGURE)
    list(build.build(tmp_path))
    texts = {}
    for folder in ("notebooks", "notebooks/solutions"):
        notebook = nbformat.read(tmp_path / folder / "00_toy.ipynb", 4)
        assert [cell.execution_count for cell in notebook.cells] == [1, 2, 3]
        assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
        assert notebook.metadata.language_info == {"name": "python"}
        texts[folder] = notebook.cells[1].outputs[0].text
        printed, picture = notebook.cells[2].outputs
        assert printed.text == "".join(f"{number}\n" for number in range(100))
        png = base64.b64decode(picture.data["image/png"])
        assert b"tEXt" not in png
        assert Image.open(io.BytesIO(png)).size[0] > 100
    assert texts == {"notebooks": "[ ] not yet\n", "notebooks/solutions": "[x] right\n"}


def test_a_widget_is_stored_as_its_picture(tmp_path: Path, write_lesson: WriteLesson):
    png = base64.b64encode(_png()).decode()
    write_lesson(WIDGET.format(data=f'{{{VIEW}, "image/png": "{png}", "text/plain": "widget"}}'))
    list(build.build(tmp_path))
    notebook = nbformat.read(tmp_path / "notebooks/00_toy.ipynb", 4)
    assert set(notebook.cells[0].outputs[0].data) == {"image/png", "text/plain"}
    assert "widgets" not in notebook.metadata


def test_a_widget_without_a_picture_is_refused(tmp_path: Path, write_lesson: WriteLesson):
    write_lesson(WIDGET.format(data=f'{{{VIEW}, "text/plain": "widget"}}'))
    with pytest.raises(LessonError, match="without a picture"):
        list(build.build(tmp_path))


def test_an_exception_in_a_lesson_stops_the_build(tmp_path: Path, write_lesson: WriteLesson):
    write_lesson("\n# %%\n1 / 0\n")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        list(build.build(tmp_path))


def test_a_lesson_runs_in_its_own_folder_and_a_known_environment(
    tmp_path: Path, write_lesson: WriteLesson, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    write_lesson(
        "\n# %%\nimport os, pathlib, sys\n"
        "print(pathlib.Path.cwd().name, os.environ['PYTHONHASHSEED'], os.environ['MPLBACKEND'], sys.executable)\n"
    )
    list(build.build(tmp_path))
    said = [nbformat.read(path, 4).cells[0].outputs[0].text.split() for path in sorted(tmp_path.rglob("*.ipynb"))]
    assert [words[0] for words in said] == ["notebooks", "solutions"]
    assert {tuple(words[1:3]) for words in said} == {("0", "module://matplotlib_inline.backend_inline")}
    assert os.environ["MPLBACKEND"] == "agg"


@pytest.mark.parametrize(("deaths", "survives"), [(1, True), (2, False)])
def test_a_dead_kernel_is_tried_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int, survives: bool):
    runs = []

    def run(notebook, folder):
        runs.append(folder)
        if len(runs) <= deaths:
            raise DeadKernelError("Kernel died")
        return notebook

    monkeypatch.setattr(kernels, "_run", run)
    notebook = nbformat.v4.new_notebook()
    if survives:
        assert kernels.execute(notebook, tmp_path) is notebook
    else:
        with pytest.raises(DeadKernelError):
            kernels.execute(notebook, tmp_path)
    assert len(runs) == 2


def test_a_notebook_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "NOTEBOOK_TIMEOUT", 3)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import time\ntime.sleep(100)")])
    with pytest.raises(LessonError, match="did not end within 3 s"):
        kernels.execute(notebook, tmp_path)


def test_an_unknown_lesson_is_named(tmp_path: Path, write_lesson: WriteLesson):
    write_lesson(EXERCISE)
    with pytest.raises(LessonError, match="00_toy"):
        list(build.build(tmp_path, ["01_other"]))


def test_check_is_content_with_what_was_built(built: Path):
    assert build.check(built) == []


def _doctor(path: Path, change) -> None:
    notebook = nbformat.read(path, 4)
    change(notebook)
    nbformat.write(notebook, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda nb: nb.cells[1].update(source="print('edited by hand')"),
        lambda nb: nb.cells[1].metadata.update(tags=["check", "nbval-skip"]),
        lambda nb: nb.cells.pop(),
        lambda nb: nb.cells.reverse(),
        lambda nb: nb.cells[0].update(id="other"),
        lambda nb: nb.cells.append(nbformat.v4.new_markdown_cell("more")),
    ],
    ids=["source", "tags", "fewer", "order", "id", "more"],
)
@pytest.mark.parametrize("folder", ["notebooks", "notebooks/solutions"])
def test_check_sees_a_notebook_that_was_edited(built: Path, folder: str, change):
    _doctor(built / folder / "00_toy.ipynb", change)
    (problem,) = build.check(built)
    assert problem.startswith(f"{folder}/00_toy.ipynb is not what its source gives")


def test_check_sees_an_edited_source(built: Path, write_lesson: WriteLesson):
    write_lesson(EXERCISE.replace("2 * x", "x + x"))
    problems = build.check(built)  # one source line: the ids differ in both editions
    assert len(problems) == 2


def test_check_sees_missing_and_extra_notebooks(built: Path):
    (built / "notebooks/00_toy.ipynb").rename(built / "notebooks/solutions/07_other.ipynb")
    assert build.check(built) == [
        "notebooks/00_toy.ipynb is missing: run python tools/build.py 00_toy",
        "notebooks/solutions/07_other.ipynb has no source",
    ]


def _png(**texts: str) -> bytes:
    notes = PngInfo()
    for key, text in texts.items():
        notes.add_text(key, text)
    file = io.BytesIO()
    Image.linear_gradient("L").save(file, "png", pnginfo=notes)
    return file.getvalue()


def test_strip_png_drops_texts_and_keeps_pixels():
    png = _png(Software="Matplotlib version9.9", Title="a")
    bare = strip_png(png)
    assert len(bare) < len(png)
    assert Image.open(io.BytesIO(bare)).info == {}
    assert Image.open(io.BytesIO(bare)).tobytes() == Image.linear_gradient("L").tobytes()
    with pytest.raises(ValueError, match="not a PNG"):
        strip_png(b"GIF89a")
