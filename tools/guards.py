"""What an executed notebook must never be. Each guard looks at one notebook and returns a line per fault.

They exist because nbval alone is easily satisfied: stripped outputs compare as equal, pictures are never
compared, and a cell that is excluded says nothing.
"""

import re
from collections.abc import Callable

from nbformat import NotebookNode

from tools.lessons import printed, tags

Guard = Callable[[NotebookNode], list[str]]

EXCLUDED_TAGS = {"nbval-ignore-output", "nbval-skip"}
EXCLUDED_SHARE = 0.2
LONGEST = 15  # lines of code, without comments and empty lines; what is longer belongs in the package
LONGEST_EXERCISE = 30
MAGICS = re.compile(r"^%(config InlineBackend\.\w+ *=|matplotlib inline\b)")
SCRIPTS = {"application/javascript", "application/vnd.jupyter.widget-state+json"}
MARKUP = {"text/html", "text/markdown", "image/svg+xml"}
ACTIVE = re.compile(
    r"<\s*(script|iframe|object|embed|applet|form|base|meta|link)\b|<[^>]*\son[a-z]+\s*=|javascript\s*:", re.I
)
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# How ipywidgets describe themselves in plain text: "VBox(children=(...))", "IntSlider(value=3, ...)".
WIDGET_TEXT = re.compile(r"^\w*(Box|Slider|Dropdown|Image|HTML|Button|Text|Tab|Output|Widget|Play)\(.*\)$", re.S)
ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")
TICK = re.compile(r"^\[x\] ", re.M)
NOT_YET = "not yet"


def code(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells that hold code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def name(cell: NotebookNode) -> str:
    """How a message calls a cell: its id and first line."""
    return f"cell {cell.id} ({cell.source.strip().splitlines()[0][:60]})"


def stdout(cell: NotebookNode) -> str:
    """All that a cell printed."""
    return "".join(out.text for out in cell.outputs if out.output_type == "stream" and out.name == "stdout")


def excluded(cell: NotebookNode) -> bool:
    """Does nbval compare nothing here?"""
    return bool(tags(cell) & EXCLUDED_TAGS) or "NBVAL_" in cell.source or "PYTEST_VALIDATE" in cell.source


def was_run_in_order(notebook: NotebookNode) -> list[str]:
    """nbval skips the comparison of every cell without an execution count."""
    counts = [cell.execution_count for cell in code(notebook)]
    fits = counts == list(range(1, len(counts) + 1))
    return [] if fits else [f"not run from top to bottom in a fresh kernel: execution counts {counts}"]


def has_something_to_compare(notebook: NotebookNode) -> list[str]:
    """At least one printed result that nbval looks at."""
    kept = any(stdout(cell).strip() for cell in code(notebook) if not excluded(cell))
    return [] if kept else ["no printed result is stored: nbval has nothing to compare"]


def excludes_few_cells(notebook: NotebookNode) -> list[str]:
    """Not more than a fifth of the code is out of nbval's sight; in a page of a few cells, not more than one."""
    cells = code(notebook)
    out = [name(cell) for cell in cells if excluded(cell)]
    few = len(out) <= max(1, EXCLUDED_SHARE * len(cells))
    return [] if few else [f"{len(out)} of {len(cells)} code cells are not compared: {out}"]


def figures_print_their_numbers(notebook: NotebookNode) -> list[str]:
    """A cell that shows a picture also has at least one number of it in words: printed, or in the text beside it."""
    return [
        f"{name(cell)} shows a picture and prints none of its key numbers"
        for cell in code(notebook)
        if any(mime.startswith("image/") for mime in _mimes(cell)) and not re.search(r"\d", stdout(cell) + _texts(cell))
    ]


def _texts(cell: NotebookNode) -> str:
    """What stands in the place of each output where only text is shown; nbval compares it."""
    return " ".join(str(out.get("data", {}).get("text/plain", "")) for out in cell.outputs)


def writes_no_stderr(notebook: NotebookNode) -> list[str]:
    """Warnings and progress bars do not belong on a page."""
    return [
        f"{name(cell)} writes to stderr: {out.text[:80]!r}"
        for cell in code(notebook)
        for out in cell.outputs
        if out.output_type == "stream" and out.name == "stderr"
    ]


def stores_no_error(notebook: NotebookNode) -> list[str]:
    """No exception anywhere, in either edition."""
    return [
        f"{name(cell)} ends in {out.ename}: {out.evalue[:80]}"
        for cell in code(notebook)
        for out in cell.outputs
        if out.output_type == "error"
    ]


def widgets_have_pictures(notebook: NotebookNode) -> list[str]:
    """Where no kernel runs a widget is its picture; its state and its view are dead weight."""
    faults = ["the notebook stores widget state"] if "widgets" in notebook.metadata else []
    for cell in code(notebook):
        for out in cell.outputs:
            data = out.get("data", {})
            if WIDGET_VIEW in data:
                faults.append(f"{name(cell)} stores a widget view, an error where no kernel runs")
            if WIDGET_TEXT.match(data.get("text/plain", "")) and "image/png" not in data:
                faults.append(f"{name(cell)} shows a widget without a picture")
    return faults


def runs_no_scripts(notebook: NotebookNode) -> list[str]:
    """JavaScript on a page is dead or dangerous, depending on where it is read; so is a page within the page."""
    faults = [
        f"{name(cell)} stores JavaScript"
        for cell in code(notebook)
        for out in cell.outputs
        if SCRIPTS & set(out.get("data", {}))
        or any(ACTIVE.search(str(content)) for mime, content in out.get("data", {}).items() if mime in MARKUP)
    ]
    prose = [cell for cell in notebook.cells if cell.cell_type != "code" and ACTIVE.search(cell.source)]
    return faults + [f"{name(cell)} holds JavaScript" for cell in prose]


def uses_no_shell(notebook: NotebookNode) -> list[str]:
    """Lines that start with ! or % are not Python; only plain figure settings are allowed."""
    return [
        f"{name(cell)} has the line {line.strip()!r}"
        for cell in code(notebook)
        for line in cell.source.splitlines()
        if line.lstrip().startswith(("!", "%")) and not MAGICS.match(line.lstrip())
    ]


def cells_are_short(notebook: NotebookNode) -> list[str]:
    """What takes longer to say belongs in the package. An exercise carries its docstring too."""
    faults = []
    for cell in code(notebook):
        lines = [line for line in cell.source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        limit = LONGEST_EXERCISE if "exercise" in tags(cell) else LONGEST
        if len(lines) > limit:
            faults.append(f"{name(cell)} has {len(lines)} lines of code, {limit} are allowed")
    return faults


def prints_no_address(notebook: NotebookNode) -> list[str]:
    """<object at 0x7f...> is another text on every run."""
    return [
        f"{name(cell)} shows a memory address: end the line with ; or bind the value to _"
        for cell in code(notebook)
        if any(ADDRESS.search(text) for text in printed(cell))
    ]


EVERY: tuple[Guard, ...] = (
    was_run_in_order,
    has_something_to_compare,
    excludes_few_cells,
    figures_print_their_numbers,
    writes_no_stderr,
    stores_no_error,
    widgets_have_pictures,
    runs_no_scripts,
    uses_no_shell,
    cells_are_short,
    prints_no_address,
)


def checks_say_not_yet(notebook: NotebookNode) -> list[str]:
    """Learner edition: every exercise has a check, and each check of an untouched blank says "not yet"."""
    faults = _every_exercise_is_checked(notebook)
    for cell in _checks(notebook):
        if NOT_YET not in stdout(cell).lower():
            faults.append(f'{name(cell)} does not say "{NOT_YET}" of an untouched blank')
        if TICK.search(stdout(cell)):
            faults.append(f"{name(cell)} passes an untouched blank")
    return faults


def checks_pass(notebook: NotebookNode) -> list[str]:
    """Solutions edition: each check prints a tick for the solution."""
    faults = _every_exercise_is_checked(notebook)
    for cell in _checks(notebook):
        if not TICK.search(stdout(cell)) or NOT_YET in stdout(cell).lower():
            faults.append(f"{name(cell)} does not pass the solution")
    return faults


def _checks(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in code(notebook) if "check" in tags(cell)]


def _every_exercise_is_checked(notebook: NotebookNode) -> list[str]:
    kinds = [tags(cell) & {"exercise", "check"} for cell in code(notebook)]
    kinds = [kind for kind in kinds if kind]
    pairs = zip(kinds, [*kinds[1:], set()], strict=True)
    lonely = sum("exercise" in kind and "check" not in following for kind, following in pairs)
    return [f"{lonely} exercises have no check behind them"] if lonely else []


def _mimes(cell: NotebookNode) -> list[str]:
    return [mime for out in cell.outputs for mime in out.get("data", {})]
