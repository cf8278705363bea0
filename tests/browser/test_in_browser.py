"""Widgets that need no kernel, in JupyterLab: moved by keyboard, and what was chosen is known in Python."""

import nbformat
import pytest
from playwright.sync_api import Page

from ddpm_edu.exercises import quiz as questions
from tools.lab import Lab
from tools.lessons import METADATA

from .mounted import press_on

pytestmark = [pytest.mark.browser, pytest.mark.slow]
QUIZ = "01_forward_noising"
CELLS = (
    f'from ddpm_edu import data, widgets\nasked = widgets.quiz("{QUIZ}")\nasked',
    "images = data.digits().model_range()[:20]",
    'shown = widgets.player([images * k / 4 for k in range(5)], [f"times {k / 4}" for k in range(5)], "fading in")',
    "shown",
    'print("answers", asked.answers, "frame", shown.chosen["frame"])',
)


@pytest.fixture
def opened(lab: Lab, page: Page) -> Page:
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=METADATA), lab.folder / "notebooks/in_browser.ipynb")
    lab.open(page, "notebooks/in_browser.ipynb")
    lab.run_all(page)
    page.locator(".ddpm-player").wait_for(timeout=30_000)
    return page


def in_python(lab: Lab, page: Page) -> str:
    """What the last cell prints when it is run (again)."""
    last = page.locator(".jp-Notebook .jp-CodeCell").last
    last.locator(".cm-content").click()
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
    page.wait_for_timeout(1000)
    return last.locator(".jp-OutputArea-output").inner_text()


def test_a_quiz_is_answered_by_keyboard(lab: Lab, opened: Page):
    asked = questions.load(QUIZ).questions
    box = opened.locator(".ddpm-quiz")
    assert "5 not answered yet" in box.inner_text()
    answers = {}
    for number, question in enumerate(asked, 1):
        field = box.locator("fieldset").nth(number - 1)
        radios = field.locator("input")
        press_on(opened, radios.first, "Space")
        assert question.options["a"].explanation.replace("`", "") in field.inner_text()
        moves = list(question.options).index(question.right)
        press_on(opened, radios.first, *["ArrowDown"] * moves)  # the arrow keys are not JupyterLab's
        verdict = field.get_by_role("status").inner_text()
        assert "Right." in verdict
        assert question.options[question.right].explanation.replace("`", "") in verdict
        answers[number] = question.right
    assert "5 of 5 right, 0 not answered yet" in box.inner_text()
    assert f"answers {answers}" in in_python(lab, opened)


def test_a_wrong_option_is_explained_and_not_counted(opened: Page):
    first = questions.load(QUIZ).questions[0]
    wrong = next(letter for letter in first.options if letter != first.right)
    opened.locator(".ddpm-quiz fieldset").first.locator(f"input[value={wrong}]").check()
    said = opened.locator(".ddpm-quiz").inner_text()
    assert f"No. {first.options[wrong].explanation.replace('`', '')}" in said
    assert "0 of 5 right, 4 not answered yet" in said


def test_a_player_plays_and_is_walked_by_keyboard(lab: Lab, opened: Page):
    box = opened.locator(".ddpm-player")
    image, row = box.locator("img"), box.locator("input")
    first = image.get_attribute("src")
    press_on(opened, row, "ArrowRight")
    assert image.get_attribute("src") != first
    assert image.get_attribute("alt") == "fading in: times 0.25"
    assert box.get_by_role("status").inner_text() == "times 0.25"
    press_on(opened, row, "Home")
    assert image.get_attribute("src") == first
    press_on(opened, box.get_by_role("button"), "Enter")
    opened.wait_for_function(
        "image => image.alt === 'fading in: times 1.0'", arg=image.element_handle(), timeout=10_000
    )
    box.get_by_role("button", name="Play").wait_for(timeout=5_000)  # it stops at the end
    assert "frame 4" in in_python(lab, opened)
