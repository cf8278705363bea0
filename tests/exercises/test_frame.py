"""The frame of exercises: whose function goes on, what an error looks like, derivations, quizzes."""

import pytest
import torch

from ddpm_edu import schedules
from ddpm_edu.errors import DDPMError
from ddpm_edu.exercises import CheckFailed, or_library, quiz, same
from ddpm_edu.exercises.frame import call, check


@check("9.9 the answer")
def the_answer(f):
    if call(f) != 42:
        raise CheckFailed("It is 42.")


def library():
    return 42


def test_a_right_answer_goes_on(capsys):
    def mine():
        return 6 * 7

    the_answer(mine)
    assert or_library(mine, library) is mine
    assert "going on with your mine" in capsys.readouterr().out


def test_a_wrong_answer_and_a_blank_do_not():
    def wrong():
        return 41

    def blank():
        raise NotImplementedError

    with pytest.raises(CheckFailed, match="42"):
        the_answer(wrong)
    the_answer(blank)
    assert or_library(wrong, library) is library
    assert or_library(blank, library) is library


def test_the_librarys_function_gets_no_tick_once_it_was_handed_out(capsys):
    """The learner's name now means the library's function; a tick for it would be a lie."""

    def stand_in():
        return 42

    mine = or_library(library, stand_in)
    the_answer(mine)
    out = capsys.readouterr().out
    assert "this is the library's function" in out and "[x]" not in out


def test_only_the_function_that_was_graded_counts():
    """A right answer, then overwritten by another function of the same name: that one was never graded."""

    def mine():
        return 42

    the_answer(mine)

    def mine():
        return 0

    assert or_library(mine, library) is library


def test_a_crash_names_the_learners_line_and_keeps_the_cause():
    def crashes():
        return 1 / 0

    with pytest.raises(CheckFailed, match=r"ZeroDivisionError.*return 1 / 0") as failure:
        the_answer(crashes)
    assert isinstance(failure.value.__cause__, ZeroDivisionError)


def test_a_failure_is_one_line_in_a_notebook():
    (line,) = CheckFailed("Take the root.")._render_traceback_()
    assert "Not right yet" in line and "Take the root." in line


# ---------------------------------------------------------------- same


def test_same_prints_what_was_compared(capsys):
    x = torch.rand(5, dtype=torch.float64)
    same("a", x, "b", x + 1e-13)
    same("a", 2.0, "b", 2.0, tolerance=0)
    assert capsys.readouterr().out == "a  =  b   [close: within 1e-10]\na  =  b   [exact]\n"


@pytest.mark.parametrize(
    ("a", "b", "tolerance"),
    [
        (1.0, 1.0 + 1e-8, 1e-10),
        (torch.ones(2), torch.ones(3), 1e-10),
        (float("nan"), 1.0, 1e-10),
        (float("nan"), float("nan"), 1e-10),
        (torch.tensor([1.0, -1.0]), torch.tensor([-1.0, 1.0]), 1e-10),  # a signed sum would say 0
        (1.0, 1.0 + 1e-15, 0),
        (0.0, 1e-12, 1e-10),
    ],
)
def test_same_stops_where_they_differ(a, b, tolerance):
    with pytest.raises(CheckFailed, match=r"differ|cannot be the same"):
        same("a", a, "b", b, tolerance)


# ---------------------------------------------------------------- quiz


@pytest.mark.parametrize(
    "name",
    [
        "01_forward_noising",
        "02_the_bound",
        "03_the_epsilon_loss",
        "04_the_unet",
        "05_sampling",
        "06_is_it_any_good",
        "07_train_the_full_model",
    ],
)
def test_quizzes_have_five_questions_with_every_option_explained(name):
    questions = quiz.load(name).questions
    assert len(questions) == 5
    for question in questions:
        assert len(question.options) >= 3 and question.right in question.options
        explanations = [option.explanation for option in question.options.values()]
        assert len(set(explanations)) == len(explanations) and min(map(len, explanations)) > 30
    assert len({q.right for q in questions}) > 1  # "always b" is no strategy


def test_quiz_answers_and_texts(capsys):
    q = quiz.load("01_forward_noising")
    q.answer(1, "b")
    q.answer(1, "A")
    out = capsys.readouterr().out
    assert "1 b: Right." in out and "1 A: No." in out
    assert q._repr_html_().count("<details>") == 20 and "Right." not in repr(q)


@pytest.mark.parametrize(("number", "letter"), [(0, "a"), (6, "a"), (1, "x"), ("1", "a")])
def test_quiz_refuses_what_is_not_there(number, letter):
    with pytest.raises(DDPMError):
        quiz.load("01_forward_noising").answer(number, letter)


def test_quiz_without_an_explanation_is_refused():
    text = '[[question]]\ntext = "?"\nright = "a"\n[question.options.a]\ntext = "yes"\nexplanation = ""\n'
    with pytest.raises(DDPMError, match="explanation"):
        quiz.parse(text)
    with pytest.raises(DDPMError, match="right letter"):
        quiz.parse(text.replace('"a"', '"b"').replace('explanation = ""', 'explanation = "because"'))
    with pytest.raises(DDPMError, match="no quiz"):
        quiz.load("99")


def test_a_spoiled_schedule_is_told_and_mended():
    """A table changed in place would make the next try wrong, and every later cell of the page."""
    s = schedules.linear(1000)
    before = s.posterior_variance.clone()

    def spoils(schedule):
        schedule.posterior_variance[1:] += 1
        return schedule.posterior_variance

    with pytest.raises(CheckFailed, match="in place"):
        call(spoils, s)
    assert torch.equal(s.posterior_variance, before)
