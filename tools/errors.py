"""Write docs/errors.md, what people see when something is wrong and why, from the catalogue docs/errors/*.toml.

    python -m tools.errors            runs every cell of the catalogue and writes the page from what came out
    python -m tools.errors --check    compares only: exit status 1 where the page is not what would be written

A file of the catalogue belongs to the lesson of its name. Each of its entries has a cell that a reader can paste into a
notebook; what the page says that it prints is what it printed. Where an entry has ``mend``, pairs of what stands in the
cell and what should, the page shows the lines that change, and the test runs the cell with them.
"""

import argparse
import contextlib
import difflib
import functools
import importlib
import io
import os
import re
import sys
import tempfile
import textwrap
import tomllib
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from ddpm_edu.errors import DDPMError
from ddpm_edu.exercises import progress_store
from ddpm_edu.exercises.frame import EXERCISES, CheckFailed, Exercise

ROOT = Path(__file__).resolve().parents[1]
CATALOGUE, PAGE = "docs/errors", "docs/errors.md"
WIDTH = 100  # of what is shown as printed: longer lines would have to be scrolled
HEAD = """\
# Errors and symptoms

Something looks wrong, and nothing has stopped. Here is what people see, why, and what finds it: {count} mistakes,
many of them made in public, in courses, tutorials and libraries that many have learned from. Several stood there for
years, because the network trained all the same.

Each entry has a cell. Paste it into a notebook of this course and run it: it makes the mistake, and either a check
names it or the wrong number stands beside the right one. What it prints was printed when this page was written. The
lines under *Fix*, where there are some, mend the cell (`-` goes, `+` comes); a test runs every cell as it stands and
as it is mended.

<!-- Written by python -m tools.errors from the files in errors/: change those. -->

## Find what you see

| What you see | What finds it | Lesson |
|---|---|---|
"""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One mistake. ``symptom``: what a person sees; ``says``: what its cell, run as it stands, must print."""

    id: str
    symptom: str
    cause: str
    found_by: str  # a check of an exercise, or a function of the package: its dotted name
    code: str
    says: str
    fix: str
    finds: str = ""  # what that function does about it, where it neither refuses nor warns
    mend: tuple[tuple[str, str], ...] = ()

    @property
    def mended(self) -> str:
        """The cell after ``mend``. Raises ValueError where what is to be mended does not stand there exactly once."""
        code = self.code
        for wrong, right in self.mend:
            if code.count(wrong) != 1:
                raise ValueError(f"{self.id}: {wrong!r} stands {code.count(wrong)} times in the cell, and not once.")
            code = code.replace(wrong, right)
        return code


@dataclass(frozen=True)
class Lesson:
    """The entries of one lesson: its name as a file, its title, and they."""

    stem: str
    title: str
    entries: tuple[Entry, ...]


def catalogue(root: Path) -> list[Lesson]:
    """Every lesson that has entries, in reading order."""
    return [_lesson(root, path) for path in sorted((root / CATALOGUE).glob("*.toml"))]


def _lesson(root: Path, path: Path) -> Lesson:
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["entry"]
    source = (root / "notebooks/source" / f"{path.stem}.py").read_text(encoding="utf-8")
    (title,) = re.findall(r"^# # (.+)$", source, re.MULTILINE)[:1]
    made = (Entry(**{**entry, "mend": tuple((a, b) for a, b in entry.get("mend", ()))}) for entry in entries)
    return Lesson(path.stem, title, tuple(made))


# ---------------------------------------------------------------- cells


class _Notebook(InteractiveShell):
    """What runs a cell in a notebook, without a kernel; of an error it shows the last line alone."""

    def showtraceback(self, exc_tuple: Any = None, *_: Any, **__: Any) -> None:
        """One line, as a check that fails has it; what is neither that nor a refusal is raised by :func:`run`."""
        kind, error, _trace = self._get_exc_info(exc_tuple)
        print("Not right yet." if issubclass(kind, CheckFailed) else f"{kind.__name__}:", error)


@functools.cache
def _notebook() -> _Notebook:
    config = Config()
    config.HistoryManager.enabled = False
    with tempfile.TemporaryDirectory(prefix="ddpm-errors-") as folder:  # IPython asks for one, and is done with it
        return _Notebook(config=config, user_module=types.ModuleType("cell"), ipython_dir=folder)


def run(code: str) -> str:
    """What a cell prints in a new notebook, with its warnings and the one line of a failed check or a refusal."""
    said = io.StringIO()

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        said.write(f"{category.__name__}: {message}\n")

    notebook = _notebook()
    notebook.user_ns.clear()  # its own reset() collects garbage as well, which takes longer than all cells together
    notebook.init_user_ns()
    off = mock.patch.dict(os.environ, {progress_store.VARIABLE: "off"})  # no progress of whoever writes the page
    with off, contextlib.redirect_stdout(said), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("always")
        warnings.showwarning = show
        torch.seed()  # a cell that forgets to say its own seed is found out
        result = notebook.run_cell(code, store_history=False)
    error = result.error_before_exec or result.error_in_exec
    if error is not None and not isinstance(error, CheckFailed | DDPMError):
        raise error
    return said.getvalue()


def named(dotted: str) -> Any:
    """What a dotted name stands for. Raises ImportError or AttributeError where it is nothing."""
    name, *attributes = dotted.split(".")
    found: Any = importlib.import_module(name)
    for attribute in attributes:
        name = f"{name}.{attribute}"
        found = getattr(found, attribute) if hasattr(found, attribute) else importlib.import_module(name)
    return found


def exercise(entry: Entry) -> Exercise | None:
    """The exercise whose check finds it; None where a function of the package does."""
    found = named(entry.found_by)
    return next((one for one in EXERCISES.values() if one.check is found), None)


# ---------------------------------------------------------------- the page


def page(root: Path, run: Callable[[str], str] = run) -> str:
    """The whole page."""
    lessons = catalogue(root)
    parts = [HEAD.format(count=sum(len(lesson.entries) for lesson in lessons))]
    parts += [f"{_row(lesson, entry)}\n" for lesson in lessons for entry in lesson.entries]
    for lesson in lessons:
        parts.append(f"\n## {lesson.title}\n\nThe lesson: [{lesson.stem}](../notebooks/{lesson.stem}.ipynb).\n")
        parts += [_section(lesson, entry, run(entry.code)) for entry in lesson.entries]
    return "".join(parts)


def _row(lesson: Lesson, entry: Entry) -> str:
    # HTML on both ends of the link: a code-hosting site and Sphinx make different anchors of one heading.
    of = exercise(entry)
    finder = f"exercise {of.number}" if of else f"`{_short(entry)}`"
    return f'| <a href="#{entry.id}">{entry.symptom}</a> | {finder} | {int(lesson.stem[:2])} |'


def _section(lesson: Lesson, entry: Entry, printed: str) -> str:
    return (
        f'\n<a id="{entry.id}"></a>\n\n### {entry.symptom}\n\n'
        f"{_paragraph('**Why.**', entry.cause)}\n\n{_paragraph('**What finds it.**', _finder(entry, printed))}\n\n"
        f"```python\n{entry.code.strip()}\n```\n\nprints\n\n```text\n{_wrapped(printed)}\n```\n\n"
        f"{_paragraph('**Fix.**', entry.fix)}\n{_changes(entry)}"
    )


def _finder(entry: Entry, printed: str) -> str:
    of = exercise(entry)
    if of:
        return f"The check of exercise {of.number}, {of.title}: `{_short(entry)}`."
    last = printed.strip().splitlines()[-1]
    refused = re.match(r"\w+Error: ", last)
    warned = re.search(r"^\w+Warning: ", printed, re.MULTILINE)
    does = entry.finds or ("refuses it" if refused else "warns of it" if warned else "measures it")
    return f"`{_short(entry)}` {does}."


def _short(entry: Entry) -> str:
    return entry.found_by.removeprefix("ddpm_edu.").removeprefix("exercises.")


def _changes(entry: Entry) -> str:
    """The lines that change where the cell is mended, as a block of its own."""
    if not entry.mend:
        return ""
    both = entry.code.strip().splitlines(), entry.mended.strip().splitlines()
    lines = [line for line in difflib.ndiff(*both) if line.startswith(("- ", "+ "))]
    return "\n```diff\n" + "\n".join(line.rstrip() for line in lines) + "\n```\n"


def _paragraph(label: str, text: str) -> str:
    return textwrap.fill(f"{label} {' '.join(text.split())}", 120, break_long_words=False, break_on_hyphens=False)


def _wrapped(printed: str) -> str:
    lines = printed.strip().splitlines()
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False) for line in lines)


def masked(page: str) -> str:
    """The page without the digits of what was computed: another processor's last ones do no harm, nor do line ends."""

    def blank(block: re.Match[str]) -> str:
        return " ".join(re.sub(r"-?\b\d+(\.\d+)?(e[+-]?\d+)?\b", "#", block[0]).split())

    return re.sub(r"```text\n.*?\n```", blank, page, flags=re.DOTALL)


def main() -> int:
    """Read the command line, write or compare, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    check, path, wanted = parser.parse_args().check, ROOT / PAGE, page(ROOT)
    if not check:
        path.write_text(wanted, encoding="utf-8")
        print("wrote", PAGE)
        return 0
    agrees = path.exists() and masked(path.read_text(encoding="utf-8")) == masked(wanted)
    print("" if agrees else f"{PAGE} is not what the catalogue gives: run python -m tools.errors", end="")
    return not agrees


if __name__ == "__main__":
    sys.exit(main())
