"""docs/exercises.md says what the tests prove, of every check, and there is enough of it."""

import pytest

from ddpm_edu.exercises.progress_page import all_exercises
from tests.exercises import proof, table

EXERCISES = table.proven()


@pytest.mark.parametrize("title", EXERCISES)
def test_a_check_is_tried_with_two_right_answers_and_four_wrong_ones(title):
    right, wrong = EXERCISES[title]
    assert len({id(answer) for answer in right}) >= 2
    assert len(wrong) >= 4


def test_the_page_is_what_the_tests_prove():
    assert table.PAGE.read_text(encoding="utf-8") == table.page(), "run python -m tests.exercises.table"


def test_every_check_of_the_package_is_proven():
    checks = {exercise.check for exercise in all_exercises().values()}
    ours = {check for check in checks if check.__module__.startswith("ddpm_edu.")}  # other tests make some of their own
    assert set(proof.PROVEN) == ours
    assert len(EXERCISES) == len(proof.PROVEN), "two exercises have the same title"


def test_what_markdown_would_take_for_markup_is_escaped():
    assert table.cell("a_b | *c*") == r"a\_b \| \*c\*"
