"""The notebooks of this course as they are committed: built from their sources, sound, linked, and without leaks.

Nothing is executed here; nbval does that.
"""

import re
from pathlib import Path
from urllib.parse import unquote

import jupytext
import nbformat
import pytest
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from tools import build, guards
from tools.lessons import EDITIONS, LEARNER, SOLUTIONS, leaks, solution_lines, sources

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sources(ROOT)
BUILT = [build.target(ROOT, source, edition) for source in LESSONS for edition in EDITIONS]

each_lesson = pytest.mark.parametrize("source", LESSONS, ids=lambda path: path.stem)
each_notebook = pytest.mark.parametrize("path", BUILT, ids=lambda path: path.relative_to(ROOT / "notebooks").as_posix())


def test_there_are_lessons():
    assert LESSONS


def test_the_notebooks_come_from_their_sources():
    assert build.check(ROOT) == []


@each_notebook
@pytest.mark.parametrize("guard", guards.EVERY, ids=lambda guard: guard.__name__)
def test_the_notebook_is_sound(path: Path, guard: guards.Guard):
    assert guard(nbformat.read(path, 4)) == []


@each_lesson
def test_an_untouched_blank_is_told_kindly(source: Path):
    assert guards.checks_say_not_yet(nbformat.read(build.target(ROOT, source, LEARNER), 4)) == []


@each_lesson
def test_the_solutions_pass_their_checks(source: Path):
    assert guards.checks_pass(nbformat.read(build.target(ROOT, source, SOLUTIONS), 4)) == []


@each_lesson
def test_the_learner_edition_gives_no_solution_away(source: Path):
    """Stored outputs included: a cell that prints a function's source may print a solution."""
    notebook = nbformat.read(build.target(ROOT, source, LEARNER), 4)
    assert leaks(notebook, solution_lines(jupytext.read(source))) == []


@each_lesson
def test_saving_the_source_from_jupyterlab_changes_nothing(source: Path):
    text = source.read_text(encoding="utf-8")
    assert jupytext.writes(jupytext.reads(text, fmt="py:percent"), fmt="py:percent") == text


def links(markdown: str) -> list[str]:
    """Every link and image target in a Markdown text, raw HTML included; code and maths have none."""
    tokens = MarkdownIt().use(dollarmath_plugin).parse(markdown)
    tokens += [child for token in tokens for child in token.children or ()]
    found = [str(token.attrs[key]) for token in tokens for key in ("href", "src") if key in token.attrs]
    html = "".join(token.content for token in tokens if token.type in ("html_inline", "html_block"))
    return found + re.findall(r"\b(?:href|src)=[\"']([^\"']+)", html)


def headings(notebook: nbformat.NotebookNode) -> set[str]:
    """Heading anchors as JupyterLab makes them: the text with hyphens for spaces."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    found = re.findall(r"^#+ +(.+?) *$", "\n".join(texts), re.M)
    return {heading.replace(" ", "-") for heading in found}


def broken_links(path: Path) -> list[str]:
    """Relative links of a notebook that lead to no file, or to no heading of a notebook."""
    broken = []
    for cell in nbformat.read(path, 4).cells:
        for link in links(cell.source) if cell.cell_type == "markdown" else ():
            if re.match(r"[a-z][a-z0-9+.-]*:", link):
                continue
            file, _, anchor = unquote(link).partition("#")
            target = (path.parent / file).resolve() if file else path
            known = target.is_file() or target.is_dir()
            if known and anchor and target.suffix == ".ipynb":
                known = anchor in headings(nbformat.read(target, 4))
            if not known:
                broken.append(link)
    return broken


@each_notebook
def test_relative_links_lead_somewhere(path: Path):
    assert broken_links(path) == []


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[a](01_two.ipynb) [b](01_two.ipynb#Part-two) [c](https://example.org) [d](#Here)\n\n# Here", []),
        ("[a](02_three.ipynb)", ["02_three.ipynb"]),
        ("[a](01_two.ipynb#Part-three)", ["01_two.ipynb#Part-three"]),
        ("![a](x.png)", ["x.png"]),
        ('<img src="x.png"> and `[a](b)` and $E[a](b)$', ["x.png"]),
        ("[d](#There)", ["#There"]),
    ],
)
def test_broken_links_are_seen(tmp_path: Path, text: str, broken: list[str]):
    for name, source in (("00_one", text), ("01_two", "# Part two")):
        cells = [nbformat.v4.new_markdown_cell(source)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
    assert broken_links(tmp_path / "00_one.ipynb") == broken
