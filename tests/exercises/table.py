"""Every exercise check and the mistakes that it is proven to catch, as a page: docs/exercises.md.

``python -m tests.exercises.table`` writes the page from the tests' own lists; test_table.py holds it to them.
"""

import importlib
import re
from pathlib import Path

from ddpm_edu.exercises.progress_page import all_exercises
from tests.exercises import proof

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PAGE = ROOT / "docs/exercises.md"
HEAD = """\
# Exercises, and the mistakes that their checks catch

<!-- Written by python -m tests.exercises.table from the lists that the tests go through: change those. -->

Each check of an exercise is tested with a blank (it must say "not yet"), with right answers written in different ways
(it must take all of them), and with the wrong answers below (it must refuse each, in words that name the mistake).
{count} checks, {right} right answers, {wrong} wrong ones.
"""


def proven() -> dict[str, tuple[list, dict]]:
    """Title of an exercise -> (right answers, wrong ones), for all lessons, in the order of their numbers."""
    for path in [*sorted(FOLDER.glob("test_the_*.py")), FOLDER / "test_forward_noising.py"]:
        importlib.import_module(f"tests.exercises.{path.stem}")
    titles = {one.check: f"{one.number} {one.title}" for one in all_exercises().values()}
    found = {titles[check]: (list(right), dict(wrong)) for check, (right, wrong) in proof.PROVEN.items()}
    return dict(sorted(found.items(), key=lambda item: number(item[0])))


def number(title: str) -> tuple[int, ...]:
    """Of an exercise: (1, 4) for "1.4 the loop, mended"."""
    return tuple(int(part) for part in title.split()[0].split("."))


def lesson_titles() -> dict[int, str]:
    """Number of a lesson -> its name, as its page has it."""
    sources = sorted((ROOT / "notebooks/source").glob("0*.py"))
    headings = {s: re.search(r"^# # (.+)$", s.read_text(encoding="utf-8"), re.MULTILINE) for s in sources}
    return {int(source.stem[:2]): heading[1] for source, heading in headings.items() if heading}


def page() -> str:
    """The whole page."""
    exercises, lessons = proven(), lesson_titles()
    counts = {
        "count": len(exercises),
        "right": sum(len(right) for right, _ in exercises.values()),
        "wrong": sum(len(wrong) for _, wrong in exercises.values()),
    }
    parts, lesson = [HEAD.format(**counts)], None
    for title, (right, wrong) in exercises.items():
        if number(title)[0] != lesson:
            lesson = number(title)[0]
            parts.append(f"## {lessons[lesson]}\n")
        parts.append(f"### {title}\n\n{len(right)} right answers are taken, {len(wrong)} wrong ones refused.\n")
        rows = [f"| {cell(how)} | {cell(words)} |" for how, (_, words) in wrong.items()]
        parts.append("\n".join(["| The mistake | The message contains |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def cell(text: str) -> str:
    """As a cell of a table in Markdown: nothing in it may be taken for markup."""
    return re.sub(r"([\\`*_|\[\]<>])", r"\\\1", text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
