"""Widgets in JavaScript, without a browser: what is sent there, what is stored, what shows where no script runs."""

import base64
import html
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_edu import widgets
from ddpm_edu.errors import DDPMError
from ddpm_edu.exercises import quiz as questions
from ddpm_edu.widgets import in_browser

QUIZ = "01_forward_noising"


def model_in(static: str) -> dict:
    """The model that a page without a kernel would mount."""
    found = re.search(r'data-model="([^"]*)"', static)
    assert found is not None
    return json.loads(html.unescape(found[1]))


@pytest.mark.parametrize("name", in_browser.names())
def test_a_script_is_one_module_without_imports_and_hosts(name):
    text = in_browser.script(name)
    assert len(re.findall(r"^export default \{", text, re.MULTILINE)) == 1
    assert not re.search(r"^\s*import |\bimport\(|https?://(?!www\.w3\.org/)", text, re.MULTILINE)


def test_parts_are_no_widgets_and_stand_before_the_one_that_they_belong_to():
    for name, parts in in_browser.PARTS.items():
        texts = [(in_browser.FOLDER / f"{file}.js").read_text(encoding="utf-8") for file in ("shared", *parts, name)]
        assert in_browser.script(name) == "\n".join(texts)
        assert name in in_browser.names()
        assert not set(parts) & set(in_browser.names())
        assert not any("export default" in text for text in texts[:-1])


def test_the_bundle_holds_every_widget_and_no_module_syntax():
    text = in_browser.bundle()
    assert not re.search(r"^(export|import) ", text, re.MULTILINE)
    for name in in_browser.names():
        assert f"ddpmWidgets[{name!r}] = " in text


def test_a_quiz_carries_its_questions_and_shows_them_without_a_script():
    asked = questions.load(QUIZ)
    data, _ = widgets.quiz(QUIZ)._repr_mimebundle_()
    model = model_in(data["text/html"])
    assert [q["right"] for q in model["given"]["questions"]] == [q.right for q in asked.questions]
    assert data["text/html"].count("<details>") == sum(len(q.options) for q in asked.questions)
    assert data["text/plain"] == repr(asked)


def test_answers_given_in_code_are_known_to_the_widget(capsys):
    quiz = widgets.quiz(QUIZ)
    right = quiz.asked.questions[1].right
    quiz.answer(2, right.upper())
    assert "Right." in capsys.readouterr().out
    assert quiz.answers == {2: right}
    with pytest.raises(DDPMError, match="there are questions 1 to 5"):
        quiz.answer(6, "a")
    assert quiz.answers == {2: right}


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


def test_a_player_sends_each_frame_as_it_is():
    frames = [torch.full((3, 1, 2, 2), value) for value in (-1.0, 0.0, 1.0)]
    shown = widgets.player(frames, ["a", "b", "c"], "three greys", columns=2)
    for uri, level in zip(shown.given["frames"], (0, 128, 255), strict=True):
        found = pixels(uri)
        assert found.shape == (5, 5)  # two rows of two images, and a gap between
        assert (found[:2, :2] == level).all() and (found[:2, 3:5] == level).all() and (found[3:5, :2] == level).all()
    data, _ = shown._repr_mimebundle_()
    assert "3 frames, from a to c" in data["text/plain"]
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size[0] > 0


@pytest.mark.parametrize("labels", [[], ["a"]])
def test_a_player_wants_a_label_for_each_frame(labels):
    with pytest.raises(DDPMError, match="as many labels"):
        widgets.player([torch.zeros(1, 1, 2, 2)] * 2, labels, "x")
    with pytest.raises(DDPMError, match="0 frames"):
        widgets.player([], labels, "x")


@pytest.mark.parametrize(
    ("make", "plain"),
    [
        (lambda: widgets.dissolve(t=np.int64(300)), {"t": 300}),
        (lambda: widgets.dissolve(t=torch.tensor(300)), {"t": 300}),
        (lambda: widgets.dissolve(t=300.0), {"t": 300}),
        (lambda: widgets.bound_explorer(T=1000.0, std=np.float64(2), mean=0), {"T": 1000, "std": 2.0, "mean": 0.0}),
        (lambda: widgets.schedule_curves(T=np.int32(400), t=np.float32(7)), {"T": 400, "t": 7}),
    ],
)
def test_other_kinds_of_numbers_are_taken_as_the_stop_that_they_are(make, plain):
    chosen = model_in(make().static())["chosen"]
    assert {name: repr(chosen[name]) for name in plain} == {name: repr(value) for name, value in plain.items()}


@pytest.mark.parametrize("value", [True, False, np.array([3, 4]), torch.tensor([3, 4]), None, "300", float("nan")])
def test_what_is_no_stop_is_refused_in_words(value):
    with pytest.raises(DDPMError, match=r"dissolve: t is one of 0, 1, \.\.\. 1000 here"):
        widgets.dissolve(t=value)
    with pytest.raises(DDPMError, match=r"bound_explorer: mean is one of"):
        widgets.bound_explorer(mean=value)


def test_a_page_of_its_own_holds_model_style_and_every_script():
    page = widgets.dissolve(t=9).page()
    assert model_in(page)["chosen"] == {"t": 9}
    assert in_browser.bundle() in page and ".ddpm-dissolve" in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing is fetched
