"""Five questions at the end of a notebook, with an explanation for every option, also the wrong ones.

The questions live in ``quizzes/NAME.toml``. They are text only: they read well with no kernel, in a terminal,
and on a code-hosting site.
"""

import html
import re
import tomllib
from dataclasses import dataclass
from importlib import resources

from ddpm_edu.errors import DDPMError


@dataclass(frozen=True)
class Option:
    """One possible answer and what to say to the person who picks it."""

    text: str
    explanation: str


@dataclass(frozen=True)
class Question:
    """A question; ``right`` is the letter of the right option."""

    text: str
    options: dict[str, Option]
    right: str


@dataclass(frozen=True)
class Quiz:
    """A numbered list of questions. The last line of a cell shows it; ``quiz.answer(1, "b")`` answers."""

    questions: tuple[Question, ...]

    def answer(self, number: int, letter: str) -> None:
        """Says whether the letter is right, and why. Raises DDPMError for a question or letter that is not there."""
        question = self._question(number)
        option = question.options.get(str(letter).lower())
        if option is None:
            raise DDPMError(f"question {number} has the options {', '.join(question.options)}; got {letter!r}.")
        verdict = "Right." if str(letter).lower() == question.right else "No."
        print(f"{number} {letter}: {verdict} {option.explanation}")

    def _question(self, number: int) -> Question:
        if number not in range(1, len(self.questions) + 1):
            raise DDPMError(f"there are questions 1 to {len(self.questions)}; got {number!r}.")
        return self.questions[number - 1]

    def _repr_html_(self) -> str:
        """Questions with each explanation folded away under its option."""
        parts = []
        for number, question in enumerate(self.questions, 1):
            parts.append(f'<p style="margin: 1.2em 0 0.3em"><strong>{number}. {_marked_up(question.text)}</strong></p>')
            for letter, option in question.options.items():
                verdict = "Right." if letter == question.right else "No."
                answer = f"{verdict} {_marked_up(option.explanation)}"
                parts.append(f"<details><summary>{letter}) {_marked_up(option.text)}</summary>{answer}</details>")
        return "\n".join(parts)

    def __repr__(self) -> str:
        lines = []
        for number, question in enumerate(self.questions, 1):
            lines.append(f"{number}. {question.text}")
            lines += [f"   {letter}) {option.text}" for letter, option in question.options.items()]
        return "\n".join([*lines, 'Answer with quiz.answer(1, "a").'])


def load(name: str) -> Quiz:
    """The quiz of a notebook, e.g. ``load("01_forward_noising")``. Raises DDPMError when there is none of that name."""
    source = resources.files(__package__) / "quizzes" / f"{name}.toml"
    if not source.is_file():
        raise DDPMError(
            f"no quiz is called {name!r}. Usual cause: the notebook's number left out. Fix: e.g. 01_forward_noising."
        )
    return parse(source.read_text(encoding="utf-8"))


def _marked_up(text: str) -> str:
    """As HTML, with what stands between backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))


def parse(text: str) -> Quiz:
    """A quiz from TOML; raises DDPMError when a right answer or an explanation is missing."""
    questions = []
    for number, entry in enumerate(tomllib.loads(text)["question"], 1):
        options = {letter: Option(**option) for letter, option in entry["options"].items()}
        if entry["right"] not in options or not all(o.text and o.explanation for o in options.values()):
            raise DDPMError(
                f"question {number}: the right letter must be an option, and every option needs text and explanation."
            )
        questions.append(Question(entry["text"], options, entry["right"]))
    return Quiz(tuple(questions))
