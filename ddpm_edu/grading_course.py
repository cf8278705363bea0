"""What a learner's notebook should hold: the check cells of the course's own edition, to compare with.

Which exercise a cell checks is read from its text, ``forward_noising.one_step(q_step)``, and looked up among the
checks of the course; nothing is executed.
"""

import ast
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

import ddpm_edu
from ddpm_edu import exercises
from ddpm_edu.errors import DataError
from ddpm_edu.exercises.progress_page import all_exercises


@dataclass(frozen=True)
class Cell:
    """A code cell: its text, and its id, which stays the same while a learner edits."""

    source: str
    id: str = ""


@dataclass(frozen=True)
class Edition:
    """The course's own notebook of a lesson: where it is, all its code cells, and the check cell of each exercise."""

    path: Path
    sources: frozenset[str]
    checks: dict[str, Cell]


def code_cells(path: Path) -> list[Cell]:
    """The code cells of a notebook. Raises DataError for a file that is none, or not one in Python."""
    notebook = _read(path)
    language = notebook.metadata.get("kernelspec", {}).get("language", "python")
    if str(language).lower() != "python":
        raise DataError(f"{path} is a notebook in {str(language)[:40]!r}; the exercises are in Python.")
    return [Cell(cell.source.strip(), str(cell.get("id", ""))) for cell in notebook.cells if cell.cell_type == "code"]


def _read(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cells without an id, as older programs write them
            notebook = nbformat.read(path, 4)
            nbformat.validate(notebook)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}.") from error
    except (
        OSError,
        ValueError,
        RecursionError,
        AttributeError,
        KeyError,
        TypeError,
        nbformat.ValidationError,
    ) as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise DataError(f"{path} cannot be read as a notebook ({why}).") from error
    return notebook


def editions(folder: Path | None) -> list[Edition]:
    """The lessons in ``folder``, or beside this package where it runs from a checkout; [] where there are none.

    Other notebooks that lie there are passed over. Raises DataError where ``folder`` was named and holds no lesson.
    """
    there = folder or Path(ddpm_edu.__file__).parents[1] / "notebooks"
    found = [edition for path in sorted(there.glob("*.ipynb")) for edition in _editions_in(path)]
    if folder is not None and not found:
        raise DataError(f"{folder} holds no notebook with the checks of a lesson.")
    return found


def _editions_in(path: Path) -> list[Edition]:
    """The file as an edition of a lesson; [] where it checks nothing, or cannot be read."""
    try:
        cells = code_cells(path)
    except DataError:
        return []
    checks = {number: cell for cell in cells for number in exercises_in(cell.source)}
    return [Edition(path, frozenset(cell.source for cell in cells), checks)] if checks else []


def exercises_in(source: str) -> list[str]:
    """The numbers of the exercises whose checks a cell calls, as ``module.check(...)``."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    called = [node.func for node in nodes if isinstance(node, ast.Call)]
    named = [(f.value.id, f.attr) for f in called if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name)]
    known = all_exercises()
    checks = [getattr(getattr(exercises, module, None), name, None) for module, name in named]
    return [number for number, exercise in known.items() if exercise.check in checks]


def lesson_of(cells: Sequence[Cell], known: Iterable[Edition]) -> Edition | None:
    """The lesson that a learner's notebook comes from: it shares a check cell, and more cells than another does."""
    sources, ids = {cell.source for cell in cells}, {cell.id for cell in cells if cell.id}
    alike = [
        edition
        for edition in known
        if any(check.source in sources or check.id in ids for check in edition.checks.values())
    ]
    return max(alike, key=lambda edition: len(edition.sources & sources), default=None)
