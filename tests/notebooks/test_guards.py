"""Each guard passes a good notebook and bites a doctored one. Which guard bites is part of the test."""

import base64
import copy
import io
from collections.abc import Callable

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from tools import guards
from tools.lessons import leaks


def png() -> str:
    file = io.BytesIO()
    Image.linear_gradient("L").save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def said(text: str, name: str = "stdout") -> NotebookNode:
    return new_output("stream", name=name, text=text)


def shown(**data: str) -> NotebookNode:
    return new_output("display_data", data={mime.replace("_", "/", 1): value for mime, value in data.items()})


def good() -> NotebookNode:
    """Five code cells as the learner edition has them: set-up, a figure, a widget, an exercise, its check."""
    cells = [
        new_code_cell("import torch", id="setup"),
        new_markdown_cell("A picture.", id="prose"),
        new_code_cell("plot(x)", id="figure", outputs=[shown(image_png=png()), said("mean 0.25\n")]),
        new_code_cell("explore()", id="widget", outputs=[shown(image_png=png(), text_plain="widget"), said("T 9\n")]),
        new_code_cell("def f(): ...", id="exercise", metadata={"tags": ["exercise"]}),
        new_code_cell("check(f)", id="check", metadata={"tags": ["check"]}, outputs=[said("[ ] f: not yet\n")]),
    ]
    notebook = new_notebook(cells=cells)
    for count, cell in enumerate(guards.code(notebook), start=1):
        cell.execution_count = count
    return notebook


def cell(notebook: NotebookNode, identity: str) -> NotebookNode:
    return next(c for c in notebook.cells if c.id == identity)


def strip(notebook: NotebookNode) -> None:
    for c in guards.code(notebook):
        c.outputs, c.execution_count = [], None


def silence(notebook: NotebookNode) -> None:
    for c in guards.code(notebook):
        c.outputs = [out for out in c.outputs if out.output_type != "stream"]


DOCTORED: list[tuple[guards.Guard, Callable[[NotebookNode], object]]] = [
    (guards.was_run_in_order, strip),
    (guards.was_run_in_order, lambda nb: cell(nb, "figure").update(execution_count=7)),
    (guards.was_run_in_order, lambda nb: cell(nb, "figure").update(execution_count=None)),
    (guards.has_something_to_compare, strip),
    (guards.has_something_to_compare, silence),
    (guards.has_something_to_compare, lambda nb: [c.metadata.update(tags=["nbval-skip"]) for c in nb.cells]),
    (guards.excludes_few_cells, lambda nb: [c.metadata.update(tags=["nbval-skip"]) for c in nb.cells[:3]]),
    (guards.excludes_few_cells, lambda nb: [c.update(source="#NBVAL_IGNORE_OUTPUT\n1") for c in nb.cells[:3]]),
    (guards.figures_print_their_numbers, lambda nb: cell(nb, "figure").outputs.pop()),
    (guards.figures_print_their_numbers, lambda nb: cell(nb, "figure").outputs[1].update(text="done\n")),
    (guards.figures_print_their_numbers, lambda nb: cell(nb, "widget").outputs.pop()),
    (guards.writes_no_stderr, lambda nb: cell(nb, "setup").outputs.append(said("UserWarning", "stderr"))),
    (
        guards.stores_no_error,
        lambda nb: cell(nb, "check").outputs.append(new_output("error", ename="E", evalue="", traceback=[])),
    ),
    (guards.widgets_have_pictures, lambda nb: nb.metadata.update(widgets={})),
    (
        guards.widgets_have_pictures,
        lambda nb: cell(nb, "widget").outputs[0].data.update({guards.WIDGET_VIEW: {"model_id": "1"}}),
    ),
    (
        guards.widgets_have_pictures,
        lambda nb: cell(nb, "widget").update(outputs=[shown(text_plain="VBox(children=(IntSlider(value=0),))")]),
    ),
    (guards.runs_no_scripts, lambda nb: cell(nb, "setup").outputs.append(shown(text_html="<SCRIPT src=x>"))),
    (guards.runs_no_scripts, lambda nb: cell(nb, "setup").outputs.append(shown(application_javascript="1"))),
    (guards.runs_no_scripts, lambda nb: cell(nb, "setup").outputs.append(shown(text_html="<img\nonerror = 'x()'>"))),
    (guards.runs_no_scripts, lambda nb: cell(nb, "setup").outputs.append(shown(text_html="<iframe src=x>"))),
    (guards.runs_no_scripts, lambda nb: cell(nb, "setup").outputs.append(shown(text_html="<a href='javascript:x()'>"))),
    (guards.runs_no_scripts, lambda nb: cell(nb, "setup").outputs.append(shown(**{"image_svg+xml": "<svg onload=x>"}))),
    (guards.runs_no_scripts, lambda nb: cell(nb, "prose").update(source="Look: <script>x()</script>")),
    (guards.uses_no_shell, lambda nb: cell(nb, "setup").update(source="!pip install torch")),
    (guards.uses_no_shell, lambda nb: cell(nb, "setup").update(source="if True:\n    %time f()")),
    (guards.cells_are_short, lambda nb: cell(nb, "setup").update(source="x = 1\n" * (guards.LONGEST + 1))),
    (
        guards.cells_are_short,
        lambda nb: cell(nb, "exercise").update(source="x = 1\n" * (guards.LONGEST_EXERCISE + 1)),
    ),
    (
        guards.prints_no_address,
        lambda nb: cell(nb, "setup").outputs.append(shown(text_plain="<torch._C.Generator at 0x7f3b5c0a1d50>")),
    ),
    (guards.checks_say_not_yet, lambda nb: cell(nb, "check").outputs.pop()),
    (guards.checks_say_not_yet, lambda nb: cell(nb, "check").outputs[0].update(text="[x] f: right\n")),
    (guards.checks_say_not_yet, lambda nb: cell(nb, "check").outputs[0].update(text="[x] f\n[ ] g: not yet\n")),
    (guards.checks_say_not_yet, lambda nb: cell(nb, "check").metadata.update(tags=[])),
]


def test_the_good_notebook_passes_every_guard():
    assert [fault for guard in (*guards.EVERY, guards.checks_say_not_yet) for fault in guard(good())] == []


@pytest.mark.parametrize(("guard", "doctor"), DOCTORED, ids=[f"{g.__name__}{n}" for n, (g, _) in enumerate(DOCTORED)])
def test_the_guard_bites(guard: guards.Guard, doctor: Callable[[NotebookNode], object]):
    notebook = copy.deepcopy(good())
    doctor(notebook)
    assert guard(notebook)


def test_every_guard_has_a_doctored_notebook():
    assert {guard for guard, _ in DOCTORED} == {*guards.EVERY, guards.checks_say_not_yet}


def solved() -> NotebookNode:
    notebook = good()
    cell(notebook, "check").outputs[0].text = "[x] f: right.\n"
    return notebook


def test_a_solved_notebook_passes_its_checks():
    assert guards.checks_pass(solved()) == []


@pytest.mark.parametrize("text", ["[ ] f: not yet\n", "", "[x] f: right.\n[ ] g: not yet\n", "f is [x] right"])
def test_an_unsolved_check_is_seen(text: str):
    notebook = solved()
    cell(notebook, "check").outputs[0].text = text
    assert guards.checks_pass(notebook)


def test_figure_settings_are_the_only_magics():
    notebook = good()
    cell(notebook, "setup").source = "%config InlineBackend.figure_format = 'retina'\n%matplotlib inline"
    assert guards.uses_no_shell(notebook) == []


@pytest.mark.parametrize(
    "place",
    [
        lambda nb: nb.cells.append(new_markdown_cell("Hint: `a * x0 + b *  noise`")),
        lambda nb: cell(nb, "setup").update(source="y = a * x0 + b * noise"),
        lambda nb: cell(nb, "setup").outputs.append(said("def f():\n    return a*x0 + b*noise\n")),
        lambda nb: cell(nb, "setup").outputs.append(shown(text_html="<b>a * x0 + b * noise</b>")),
    ],
    ids=["prose", "code", "printed", "html"],
)
def test_a_leaked_solution_is_seen_wherever_it_stands(place: Callable[[NotebookNode], object]):
    notebook = good()
    assert leaks(notebook, ["a * x0 + b * noise"]) == []
    place(notebook)
    assert leaks(notebook, ["a * x0 + b * noise"]) == ["a * x0 + b * noise"]
