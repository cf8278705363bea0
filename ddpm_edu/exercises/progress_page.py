"""What a learner sees of their progress: bars and a table, as text in a terminal and as HTML in a notebook.

The HTML takes its colours from the page around it, so it reads in light and in dark themes, and every bar stands beside
the same numbers in words.
"""

import importlib
import itertools
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Literal

from ddpm_edu.exercises import frame, progress_store

WIDTH = 20  # characters of a bar in text


@dataclass(frozen=True)
class Row:
    """One exercise: its number and title, "not yet", "tried" or "right", and since which day (local, YYYY-MM-DD)."""

    exercise: frame.Exercise
    state: Literal["not yet", "tried", "right"]
    day: str


@dataclass(frozen=True)
class Progress:
    """All exercises in the order of the course. A notebook shows it as a table; ``print`` and a terminal as text."""

    rows: tuple[Row, ...]
    stored: str
    """Where this is kept, in words."""

    def lessons(self) -> dict[str, list[Row]]:
        """The rows of each lesson, by its number."""
        return {lesson: list(rows) for lesson, rows in itertools.groupby(self.rows, lambda row: row.exercise.lesson)}

    def __repr__(self) -> str:
        lines = [f"Your progress: {_bar(self.rows)}"]
        for lesson, rows in self.lessons().items():
            lines += ["", f"Lesson {lesson}  {_bar(rows)}"]
            lines += [f"  {row.state:<7}  {row.day:<10}  {row.exercise.number} {row.exercise.title}" for row in rows]
        return "\n".join([*lines, "", self.stored])

    def _repr_html_(self) -> str:
        parts = [
            f"<div><p><strong>Your progress:</strong> {_count(self.rows)}</p>",
            _html_bar("all lessons", self.rows),
        ]
        parts.append(f'<table style="color: inherit"><caption>Exercises by lesson</caption>{_HEAD}')
        parts += [_html_lesson(lesson, rows) for lesson, rows in self.lessons().items()]
        return "".join([*parts, f"</table><p>{escape(self.stored)}</p></div>"])


def progress() -> Progress:
    """Every exercise of the course and how far you are, from the file on this machine. Show it, or print it."""
    return Progress(tuple(rows(all_exercises(), progress_store.read())), _where())


def all_exercises() -> dict[str, frame.Exercise]:
    """Every exercise of the course by its number, whether or not its check was imported before."""
    for module in pkgutil.iter_modules(importlib.import_module("ddpm_edu.exercises").__path__):
        importlib.import_module(f"ddpm_edu.exercises.{module.name}")
    return frame.EXERCISES


def rows(exercises: Mapping[str, frame.Exercise], stored: Mapping[str, progress_store.Entry]) -> list[Row]:
    """One for each exercise, in order. What is stored of an exercise that there is no more is left out."""
    found = []
    for number in sorted(exercises, key=in_order):
        entry = stored.get(number)
        day = datetime.fromisoformat(entry.when).astimezone().date().isoformat() if entry else ""
        found.append(Row(exercises[number], entry.state if entry else "not yet", day))
    return found


def in_order(number: str) -> list[tuple[int, int, str]]:
    """A key for sorting numbers of exercises: 1.2 before 1.10, and letters after digits."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in number.split(".")]


def _where() -> str:
    try:
        path = progress_store.file()
    except RuntimeError as error:
        return f"Nothing is stored: {error}."
    if path is None:
        return f"Nothing is stored: {progress_store.VARIABLE} is off."
    return f"Stored on this machine only: {path}"


# ---------------------------------------------------------------- bars


def _right(some: tuple[Row, ...] | list[Row]) -> int:
    return sum(row.state == "right" for row in some)


def _count(some: tuple[Row, ...] | list[Row]) -> str:
    return f"{_right(some)} of {len(some)} right"


def _bar(some: tuple[Row, ...] | list[Row]) -> str:
    """Rounded down, so that a full bar means that nothing is left."""
    full = WIDTH * _right(some) // max(len(some), 1)
    return f"[{'#' * full}{'-' * (WIDTH - full)}]  {_count(some)}"


def _html_bar(label: str, some: tuple[Row, ...] | list[Row]) -> str:
    share = 100 * _right(some) // max(len(some), 1)
    numbers = f'aria-valuemin="0" aria-valuemax="{len(some)}" aria-valuenow="{_right(some)}"'
    return (
        f'<div role="progressbar" aria-label="{escape(label)}" {numbers} aria-valuetext="{_count(some)}" '
        'style="border: 1px solid currentColor; width: 12em; max-width: 100%; height: 0.7em">'
        f'<div style="background: currentColor; width: {share}%; height: 100%"></div></div>'
    )


# ---------------------------------------------------------------- the table

_LEFT = 'style="text-align: left"'
_HEAD = "<thead><tr>{}</tr></thead>".format(
    "".join(f'<th scope="col" {_LEFT}>{title}</th>' for title in ("Exercise", "State", "When"))
)


def _html_lesson(lesson: str, some: list[Row]) -> str:
    """A group of rows below a heading of its own, with the lesson's bar."""
    name = f"Lesson {escape(lesson)}"
    head = f'<th scope="rowgroup" {_LEFT}>{name}</th><td colspan="2" {_LEFT}>{_count(some)}{_html_bar(name, some)}</td>'
    return f"<tbody><tr>{head}</tr>{''.join(map(_html_row, some))}</tbody>"


def _html_row(row: Row) -> str:
    name = escape(f"{row.exercise.number} {row.exercise.title}")
    state = f"<strong>{row.state}</strong>" if row.state == "right" else row.state
    return (
        f'<tr><th scope="row" style="text-align: left; font-weight: normal">{name}</th>'
        f"<td {_LEFT}>{state}</td><td {_LEFT}>{row.day}</td></tr>"
    )
