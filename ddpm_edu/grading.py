"""Grading: run a learner's notebook, and say of each exercise how its check ended.

The verdicts come from what the checks record (:mod:`ddpm_edu.exercises.progress_store`), in a file that only this run's
kernel is told of, never from what a cell prints. That keeps a printed tick from counting; it does not keep out somebody
who means to cheat: a notebook runs as the user who grades it, and can do all that this user can, write that file
included. Check cells that are not those of the course are therefore named. Strangers' notebooks belong in a container.
A notebook that sets DDPM_EDU_PROGRESS itself records where nobody looks, and so has nothing right.
"""

import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ddpm_edu.errors import DataError
from ddpm_edu.exercises import frame
from ddpm_edu.exercises.progress_page import in_order
from ddpm_edu.grading_course import Cell, Edition, code_cells, exercises_in, lesson_of
from ddpm_edu.grading_kernel import Limits, Ran, Run, one_line, run

State = Literal["right", "wrong", "not yet", "not reached"]
Compared = Literal["unchanged", "changed", "missing", "not compared"]
SHOWN = 10  # cells that failed are named in the text; the JSON has all


@dataclass(frozen=True)
class Mark:
    """How one exercise ended.

    "right" and "wrong" are the check's own words; "not yet" is a blank, or a check that recorded nothing; "not reached"
    is a check that never ran. ``said`` is the check's message or what was in its way; ``check`` compares its cell with
    the course's own.
    """

    number: str
    title: str
    state: State
    said: str
    check: Compared


@dataclass(frozen=True)
class Failure:
    """A code cell, the first being 1, that ended in an error or had to be stopped; a wrong answer is none."""

    cell: int
    source: str
    error: str


@dataclass(frozen=True)
class Report:
    """A notebook's marks. ``lesson`` is the course's edition it was compared with, "" where none was found.

    ``seconds`` is how long it took; ``ended`` why not all cells ran, "" where they did.
    """

    notebook: str
    lesson: str
    seconds: float
    marks: tuple[Mark, ...]
    failures: tuple[Failure, ...]
    ended: str

    @property
    def right(self) -> int:
        """How many exercises are right."""
        return sum(mark.state == "right" for mark in self.marks)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**asdict(self), "right": self.right, "of": len(self.marks)}

    def __str__(self) -> str:
        compared = f"check cells compared with {self.lesson}" if self.lesson else "check cells not compared"
        lines = [f"{self.notebook}: {self.right} of {len(self.marks)} right; {self.seconds:.0f} s; {compared}"]
        lines += [_line(mark) for mark in self.marks]
        lines += [f"  cell {f.cell} failed: {f.error}  <- {f.source}" for f in self.failures[:SHOWN]]
        if len(self.failures) > SHOWN:
            lines.append(f"  and {len(self.failures) - SHOWN} cells more failed")
        return "\n".join([*lines, *([f"  ended early: {self.ended}"] if self.ended else [])])


def _line(mark: Mark) -> str:
    name = f"{mark.number} {mark.title}".rstrip()
    said = f": {mark.said}" if mark.said else ""
    doubt = f"  [check cell {mark.check}]" if mark.check in ("changed", "missing") else ""
    return f"  {mark.state:<11}  {name}{doubt}{said}"


def grade(notebook: Path, limits: Limits, known: list[Edition]) -> Report:
    """Run a copy of ``notebook`` in a temporary folder and judge it by the lesson in ``known`` that it comes from.

    Raises DataError for what is not a notebook in Python, and where no kernel starts.
    """
    begun, cells = time.monotonic(), code_cells(notebook)
    edition = lesson_of(cells, known)
    if edition is not None and edition.path.samefile(notebook):  # to compare it with itself would say nothing
        edition = None
    with tempfile.TemporaryDirectory(prefix="ddpm-grade-", ignore_cleanup_errors=True) as folder:
        try:
            shutil.copyfile(notebook, Path(folder) / notebook.name)
        except OSError as error:
            raise DataError(f"{notebook} cannot be copied: {error}.") from error
        done = run([cell.source for cell in cells], Path(folder), limits)
    return Report(
        notebook=one_line(str(notebook)),
        lesson=edition.path.stem if edition else "",
        seconds=round(time.monotonic() - begun, 1),
        marks=tuple(marks(cells, done, edition)),
        failures=tuple(_failures(cells, done)),
        ended=done.ended,
    )


def _failures(cells: list[Cell], done: Run) -> list[Failure]:
    pairs = enumerate(zip(cells, done.cells, strict=False), start=1)
    return [
        Failure(number, one_line(cell.source.partition("\n")[0])[:60], ran.fault)
        for number, (cell, ran) in pairs
        if ran.fault and not ran.fault.startswith(f"{frame.CheckFailed.__name__}: ")
    ]


# ---------------------------------------------------------------- marks


def marks(cells: list[Cell], done: Run, edition: Edition | None) -> list[Mark]:
    """One for each exercise of the lesson, and for each other that the notebook checks, in order."""
    called = [exercises_in(cell.source) for cell in cells]
    numbers = {number for found in called for number in found} | {n for ran in done.cells for n in ran.records}
    if edition is not None:
        numbers |= set(edition.checks)
    found = []
    for number in sorted(numbers, key=in_order):
        where, compared = _check_cell(number, cells, called, done.cells, edition)
        ran = done.cells[where] if where is not None and where < len(done.cells) else None
        title = frame.EXERCISES[number].title if number in frame.EXERCISES else ""
        found.append(Mark(one_line(number), title, *_verdict(number, ran), compared))
    return found


def _check_cell(
    number: str, cells: list[Cell], called: list[list[str]], ran: list[Ran], edition: Edition | None
) -> tuple[int | None, Compared]:
    """Which cell judges an exercise: the course's own check cell if the notebook has it, else what stands in for it."""
    own = edition.checks.get(number) if edition is not None else None
    same = [i for i, cell in enumerate(cells) if own is not None and cell.source == own.source]
    if same:
        return same[-1], "unchanged"
    edited = [i for i, cell in enumerate(cells) if own is not None and cell.id == own.id]
    calls = [i for i, found in enumerate(called) if number in found]
    records = [i for i, cell in enumerate(ran) if number in cell.records]
    others = edited + calls + records
    if not others:
        return None, "missing"
    return others[-1], "not compared" if own is None else "changed"


def _verdict(number: str, ran: Ran | None) -> tuple[State, str]:
    """The state of an exercise whose check cell ran so, and the words that belong to it."""
    if ran is None:
        return "not reached", ""
    entry = ran.records.get(number)
    if entry is not None:
        return ("right", "") if entry.state == "right" else ("wrong", one_line(entry.said))
    if ran.stopped:  # the check ran, and the answer never came back
        return "wrong", ran.fault
    return ("not reached", ran.fault) if ran.fault else ("not yet", "")
