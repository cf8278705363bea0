"""From source to editions, without running anything."""

import re

import pytest

from tools.lessons import BLANK, HEADER, LEARNER, SOLUTIONS, LessonError, make, move_links, tags

from .conftest import WriteLesson

BODY = r'''
# %% [markdown]
# # A lesson
# See [the second](01_second.ipynb) and [the licence](../LICENSE).

# %% tags=["exercise"]
def double(x):
    """Twice x."""
    if x is None:
        # BEGIN SOLUTION
        raise TypeError("nothing to double")
        # END SOLUTION
    # BEGIN SOLUTION
    doubled_value = 2 * x
    return doubled_value
    # END SOLUTION

# %% tags=["check"]
print(double)

# %% tags=["learner-only"]
print("only for learners")

# %% [markdown] tags=["solution-only"]
# Why this works.
'''


def texts(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells]


def test_learner_edition_has_blanks_and_not_a_line_of_the_solution(write_lesson: WriteLesson):
    notebook = make(write_lesson(BODY), LEARNER)
    assert texts(notebook)[1] == (
        f'def double(x):\n    """Twice x."""\n    if x is None:\n        {BLANK}\n    {BLANK}'
    )
    whole = "\n".join(texts(notebook))
    assert "doubled_value" not in whole
    assert "SOLUTION" not in whole
    assert "only for learners" in whole
    assert "Why this works" not in whole


def test_solutions_edition_has_the_code_and_no_markers(write_lesson: WriteLesson):
    whole = "\n".join(texts(make(write_lesson(BODY), SOLUTIONS)))
    assert "    doubled_value = 2 * x\n    return doubled_value" in whole
    assert "SOLUTION" not in whole
    assert BLANK not in whole
    assert "only for learners" not in whole
    assert "Why this works" in whole


def test_a_wrong_answer_does_not_stop_run_all_in_the_learner_edition_only(write_lesson: WriteLesson):
    source = write_lesson(BODY)
    assert tags(make(source, LEARNER).cells[2]) == {"check", "raises-exception"}
    assert tags(make(source, SOLUTIONS).cells[2]) == {"check"}


def test_ids_come_from_content_and_survive_an_inserted_cell(write_lesson: WriteLesson):
    before = make(write_lesson(BODY), LEARNER)
    after = make(write_lesson("\n# %%\nprint('new')\n" + BODY), LEARNER)
    assert [cell.id for cell in after.cells[1:]] == [cell.id for cell in before.cells]


def test_both_editions_give_a_cell_the_same_id(write_lesson: WriteLesson):
    source = write_lesson(BODY)
    learner, solutions = make(source, LEARNER), make(source, SOLUTIONS)
    assert [cell.id for cell in learner.cells[:3]] == [cell.id for cell in solutions.cells[:3]]


def test_repeated_cells_get_different_ids(write_lesson: WriteLesson):
    notebook = make(write_lesson("\n# %%\nx = 1\n\n# %%\nx = 1\n\n# %%\nx = 1\n"), LEARNER)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", identity) for identity in ids)


def exercise(body: str, tag: str = "exercise") -> str:
    return f'\n# %% tags=["{tag}"]\ndef f():\n{body}\n'


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (exercise("    # BEGIN SOLUTION\n    return 1"), "alternate"),
        (exercise("    return 1\n    # END SOLUTION"), "alternate"),
        (exercise("    # BEGIN SOLUTION\n    # BEGIN SOLUTION\n    return 1\n    # END SOLUTION"), "alternate"),
        (exercise("    return 1  # BEGIN SOLUTION\n    # END SOLUTION"), "alternate"),
        (exercise("    return 1"), "tagged 'exercise'"),
        (exercise("    # BEGIN SOLUTION\n    return 1\n    # END SOLUTION", tag="check"), "tagged 'exercise'"),
        (
            exercise("    # BEGIN SOLUTION\n    return sum(range(10))\n    # END SOLUTION")
            + "\n# %% [markdown]\n# Hint: `return sum(range(10))`\n",
            "shows solution lines",
        ),
    ],
    ids=["no end", "no begin", "nested", "not alone", "no markers", "wrong tag", "leak"],
)
def test_a_source_that_cannot_be_built_says_so(write_lesson: WriteLesson, body: str, complaint: str):
    with pytest.raises(LessonError, match=complaint):
        make(write_lesson(body), LEARNER)


def test_a_source_without_the_header_is_refused(write_lesson: WriteLesson):
    with pytest.raises(LessonError, match="header"):
        make(write_lesson(BODY, header=HEADER.replace("python3", "conda-env-mine")), LEARNER)


@pytest.mark.parametrize(
    ("written", "moved"),
    [
        ("[a](01_second.ipynb)", "[a](01_second.ipynb)"),
        ("[a](01_second.ipynb#Part-2)", "[a](01_second.ipynb#Part-2)"),
        ("[a](../LICENSE)", "[a](../../LICENSE)"),
        ("![a](images/x.png)", "![a](../images/x.png)"),
        ("[a](solutions/01_second.ipynb)", "[a](../solutions/01_second.ipynb)"),
        ('<img src="images/x.png">', '<img src="../images/x.png">'),
        ("[a](https://example.org/x)", "[a](https://example.org/x)"),
        ("[a](#Part-2)", "[a](#Part-2)"),
        ("[a](mailto:me@example.org)", "[a](mailto:me@example.org)"),
        ("`table[0](x)` and [a](b.md)", "`table[0](x)` and [a](../b.md)"),
        (r"$\mathbb{E}[x](t)$, [a](b.md)", r"$\mathbb{E}[x](t)$, [a](../b.md)"),
        ("```\nx[0](y)\n```", "```\nx[0](y)\n```"),
        ("$$\nE[x](t)\n$$", "$$\nE[x](t)\n$$"),
    ],
)
def test_links_are_moved_with_the_solutions(written: str, moved: str):
    assert move_links(written) == moved
