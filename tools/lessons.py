"""From one lesson source to its two editions. Pure: reads text, returns notebooks, executes nothing.

A source is a jupytext percent script whose exercises carry their solutions between ``# BEGIN SOLUTION`` and
``# END SOLUTION``. The learner edition gets a blank in their place; the solutions edition keeps the code and
loses the markers. Cells tagged ``solution-only`` or ``learner-only`` exist in one edition.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

BLANK = "raise NotImplementedError  # your code here"
BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"

# Every source starts with exactly this: jupytext then opens it as a notebook in JupyterLab, on the right
# kernel, and saving it there writes the same bytes back (no version that changes from machine to machine).
HEADER = """\
# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---
"""
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},  # no version: it would differ between machines
}
# A solution line shorter than this ("return x", "else:") may stand elsewhere without giving anything away.
LEAK_LENGTH = 16


class LessonError(Exception):
    """A lesson source that cannot be built; the message names the file, the cell and the fix."""


@dataclass(frozen=True)
class Edition:
    """One of the two notebooks made from a source. ``folder`` is relative to the repository root."""

    name: str
    folder: str
    foreign_tag: str  # cells with this tag belong to the other edition only


LEARNER = Edition("learner", "notebooks", "solution-only")
SOLUTIONS = Edition("solutions", "notebooks/solutions", "learner-only")
EDITIONS = (LEARNER, SOLUTIONS)


def sources(root: Path) -> list[Path]:
    """The lesson sources below ``root`` in reading order."""
    return sorted((root / "notebooks/source").glob("*.py"))


def tags(cell: NotebookNode) -> set[str]:
    """The tags of a cell."""
    return set(cell.metadata.get("tags", ()))


def make(source: Path, edition: Edition) -> NotebookNode:
    """The unexecuted notebook of one edition. Raises LessonError where header, markers or tags do not fit."""
    text = source.read_text(encoding="utf-8")
    if not text.startswith(HEADER):
        raise LessonError(
            f"{source.name} must start with exactly this header, or saving it from JupyterLab changes it:\n{HEADER}"
        )
    lesson = jupytext.reads(text, fmt="py:percent")
    cells = [edited for cell in lesson.cells if (edited := _edit(cell, edition, source.name)) is not None]
    _number_repeated_ids(cells)
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=METADATA)
    notebook.nbformat_minor = 5
    if edition is LEARNER and (found := leaks(notebook, solution_lines(lesson))):
        raise LessonError(f"{source.name}: the learner edition shows solution lines: {found}")
    return notebook


def _edit(cell: NotebookNode, edition: Edition, where: str) -> NotebookNode | None:
    _assert_markers_fit(cell, where)
    if edition.foreign_tag in tags(cell):
        return None
    text, kept = cell.source, sorted(tags(cell))
    # The id comes from the source as written: the same in both editions, whatever cells come and go.
    identity = hashlib.sha256(f"{cell.cell_type}\n{text}".encode()).hexdigest()[:10]
    if cell.cell_type == "code":
        text = blank_out(text) if edition is LEARNER else drop_markers(text)
        if edition is LEARNER and "check" in kept:
            kept = sorted({*kept, "raises-exception"})  # Run All goes on past a learner's wrong answer
    elif edition is SOLUTIONS:
        text = move_links(text)
    make_cell = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}.get(
        cell.cell_type, nbformat.v4.new_raw_cell
    )
    return make_cell(text, id=identity, metadata={"tags": kept} if kept else {})


def _number_repeated_ids(cells: list[NotebookNode]) -> None:
    seen: dict[str, int] = {}
    for cell in cells:
        seen[cell.id] = seen.get(cell.id, 0) + 1
        if seen[cell.id] > 1:
            cell.id = f"{cell.id}-{seen[cell.id]}"


# --- solutions ---


def _assert_markers_fit(cell: NotebookNode, where: str) -> None:
    marks = [line.strip() for line in cell.source.splitlines() if line.strip() in (BEGIN, END)]
    loose = cell.source.count(BEGIN) + cell.source.count(END) - len(marks)
    exercise = cell.cell_type == "code" and "exercise" in tags(cell)
    opening = cell.source.strip().splitlines()[:1]
    if loose or marks != [BEGIN, END] * (len(marks) // 2):
        raise LessonError(f"{where}: markers must alternate {BEGIN} / {END}, each alone on its line; cell {opening}")
    if bool(marks) != exercise:
        raise LessonError(
            f"{where}: a cell has solution markers exactly if it is code tagged 'exercise'; cell {opening}"
        )


def _walk(text: str) -> list[tuple[str, bool, bool]]:
    """(line, is inside a solution, is a marker) for each line."""
    inside, walked = False, []
    for line in text.splitlines():
        marker = line.strip() in (BEGIN, END)
        if marker:
            inside = line.strip() == BEGIN
        walked.append((line, inside, marker))
    return walked


def blank_out(text: str) -> str:
    """Each solution becomes one line that raises NotImplementedError at the marker's indentation."""
    lines = []
    for line, inside, marker in _walk(text):
        if marker and inside:
            lines.append(line[: len(line) - len(line.lstrip())] + BLANK)
        elif not inside and not marker:
            lines.append(line)
    return "\n".join(lines)


def drop_markers(text: str) -> str:
    """The text without its marker lines: the solutions edition."""
    return "\n".join(line for line, _, marker in _walk(text) if not marker)


def solution_lines(lesson: NotebookNode) -> list[str]:
    """The lines between markers, stripped; short ones and comments are left out."""
    code = [cell.source for cell in lesson.cells if cell.cell_type == "code"]
    lines = [line.strip() for text in code for line, inside, marker in _walk(text) if inside and not marker]
    return [line for line in lines if len(line) >= LEAK_LENGTH and not line.startswith("#")]


def leaks(notebook: NotebookNode, lines: list[str]) -> list[str]:
    """The solution lines that a reader of ``notebook`` can find in its cells or its stored output."""
    pages = [cell.source for cell in notebook.cells]
    pages += [text for cell in notebook.cells for text in printed(cell)]
    squeezed = ["".join(page.split()) for page in pages]
    return [line for line in dict.fromkeys(lines) if any("".join(line.split()) in page for page in squeezed)]


def printed(cell: NotebookNode) -> list[str]:
    """Every stored output of a cell that is text, as a reader sees it."""
    texts = []
    for output in cell.get("outputs", ()):
        texts += [output.get("text", "")]
        texts += [text for mime, text in output.get("data", {}).items() if mime.startswith("text/")]
    return [text for text in texts if text]


# --- links ---

# Code and maths come first, so that `a[0](x)` and $\mathbb{E}[x](t)$ are never taken for links.
_LINK = re.compile(
    r"(?P<skip>```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$)"
    r"|(?P<head>\]\(|\b(?:src|href)=[\"'])(?P<target>[^)\"'\s]+)",
    re.S,
)
_SIBLING = re.compile(r"^\d\d_\w+\.ipynb(#.*)?$")
_ABSOLUTE = re.compile(r"^([a-z][a-z0-9+.-]*:|#|/)", re.I)


def move_links(text: str) -> str:
    """Links written for notebooks/ made right for notebooks/solutions/.

    A link to another lesson stays: the solutions have a sibling of the same name. Any other relative target
    is one folder further away.
    """

    def moved(found: re.Match[str]) -> str:
        target = found["target"]
        if found["skip"] or _SIBLING.match(target) or _ABSOLUTE.match(target):
            return found[0]
        return f"{found['head']}../{target}"

    return _LINK.sub(moved, text)


def heading_anchor(title: str) -> str:
    """What a link to a heading says after #, in JupyterLab; the reading site follows it."""
    return title.replace(" ", "-")
