"""The self-quiz of a lesson as a widget; its questions are those of :mod:`ddpm_edu.exercises.quiz`."""

from dataclasses import asdict

from ddpm_edu.exercises import quiz as questions
from ddpm_edu.widgets.in_browser import InBrowser, script


class Quiz(InBrowser):
    """Five questions to answer by mouse or keyboard. ``answer(1, "b")`` answers in code; ``answers`` says what was."""

    file = "quiz"
    _esm = script("quiz")

    def __init__(self, asked: questions.Quiz) -> None:
        self.asked = asked
        listed = [asdict(question) for question in asked.questions]
        super().__init__({"title": "Self-quiz", "questions": listed}, {"answers": {}}, repr(asked), asked._repr_html_())

    @property
    def answers(self) -> dict[int, str]:
        """What has been answered so far: number of the question -> letter."""
        return {int(number): letter for number, letter in self.chosen["answers"].items()}

    def answer(self, number: int, letter: str) -> None:
        """Says whether the letter is right, and why. Raises DDPMError for a question or letter that is not there."""
        self.asked.answer(number, letter)
        self.chosen = {"answers": self.chosen["answers"] | {str(number): letter.lower()}}


def quiz(name: str) -> Quiz:
    """The quiz of a lesson, e.g. ``quiz("01_forward_noising")``. Raises DDPMError when there is none of that name."""
    return Quiz(questions.load(name))
