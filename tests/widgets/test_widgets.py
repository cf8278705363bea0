"""Widgets without a front end: the drawing is a function of its values, and the controls reach it."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from ddpm_edu import forward, schedules, widgets
from ddpm_edu.errors import DDPMError
from ddpm_edu.widgets.dissolve import DissolvePicture
from ddpm_edu.widgets.schedule_explorer import SchedulePicture

START = {"family": "linear", "T": 1000, "beta_start": 1e-4, "beta_end": 0.02, "t": 200}
PANELS = {"alpha_bar": (0, 230), "snr": (230, 460), "photograph": (490, 700), "cloud": (700, 920)}


@pytest.fixture(scope="module")
def drawing():
    return SchedulePicture()


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"), float)


def changed(a, b, panel):
    left, right = PANELS[panel]
    return np.abs(a - b)[:, left:right].mean()


def test_the_picture_shows_something_in_each_panel(drawing):
    """A cached background alone, without the moving parts, has once looked like success."""
    full = pixels(drawing.draw(**START))
    drawing.figure._agg.restore_region(drawing.figure._background)
    empty = np.asarray(Image.fromarray(np.asarray(drawing.figure._agg.buffer_rgba())).convert("L"), float)
    assert all(changed(full, empty, panel) > 0.3 for panel in PANELS)


@pytest.mark.parametrize(
    ("change", "moves", "stays"),
    [
        ({"t": 900}, ("alpha_bar", "snr", "photograph", "cloud"), ()),
        ({"family": "cosine"}, ("alpha_bar", "snr", "photograph", "cloud"), ()),
        ({"beta_end": 0.05}, ("alpha_bar", "snr", "photograph", "cloud"), ()),
        ({"T": 400, "t": 80}, ("alpha_bar", "photograph"), ()),
        ({"family": "cosine", "beta_end": 0.05}, (), tuple(PANELS)),
    ],
)
def test_each_control_moves_what_it_should(drawing, change, moves, stays):
    reference = START | ({"family": "cosine"} if stays else {})
    a, b = pixels(drawing.draw(**reference)), pixels(drawing.draw(**START | change))
    assert all(changed(a, b, panel) > 0.02 for panel in moves)
    assert all(changed(a, b, panel) == 0 for panel in stays)  # betas mean nothing to a cosine


def test_the_same_values_give_the_same_bytes(drawing):
    first = drawing.draw(**START)
    drawing.draw(**START | {"family": "sigmoid", "T": 50, "t": 7})
    assert drawing.draw(**START) == first


def test_the_dot_stands_on_the_curve(drawing):
    drawing.draw(**START | {"family": "cosine", "T": 500, "t": 123})
    (x,), (y,) = drawing.ab_dot.get_data()
    assert x == 123 / 500 and y == schedules.cosine(500).alpha_bar[123].item()


def test_the_numbers_are_those_of_the_schedule(drawing):
    text = re.sub(r"<[^>]+>", " ", drawing.describe(**START))
    s = schedules.linear(1000)
    for number in (s.alpha_bar[200], s.alpha_bar[200].sqrt(), s.snr[200]):
        assert f"{number:.3f}"[:5] in text or f"{number:.3g}" in text
    assert f"bits left: {forward.bits_left(s, drawing.photo.square().mean().item()):.2g} per" in text
    assert "at t = 200" in text and "left on the image is 0.0064" in text and "33%" in text


def test_moving_a_slider_redraws_picture_and_numbers():
    box = widgets.schedule_explorer()
    picture, numbers = box.image.value, box.readout.value
    box.controls["t"].value = 201
    assert box.image.value != picture and box.readout.value != numbers and "t = 201" in box.readout.value


def test_t_follows_T_and_betas_are_greyed_out_where_they_mean_nothing():
    box = widgets.schedule_explorer(t=800)
    box.controls["T"].value = 300
    assert box.controls["t"].max == box.controls["t"].value == 300 and "at t = 300" in box.readout.value
    box.controls["family"].value = "cosine"
    assert box.controls["beta_end"].disabled
    box.controls["family"].value = "quadratic"
    assert not box.controls["beta_end"].disabled


def test_an_impossible_setting_says_why_and_hides_the_picture():
    box = widgets.schedule_explorer(family="linear_scaled")
    box.controls["T"].value = 20
    assert "is 0</b>" in box.readout.value.replace("0.0000", "0")
    box.controls["T"].value = 10
    assert "ScheduleError: linear_scaled: T = 10" in box.readout.value and box.image.layout.visibility == "hidden"
    box.controls["T"].value = 100
    assert "ScheduleError" not in box.readout.value and box.image.layout.visibility == "visible"


def test_the_stored_output_carries_the_picture_and_a_constant_text():
    box = widgets.schedule_explorer()
    data, _ = box._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]) == box.image.value
    assert data["text/plain"] == widgets.schedule_explorer(t=7)._repr_mimebundle_()[0]["text/plain"]
    assert "JupyterLab" in data["text/plain"]


def test_every_control_is_labelled_and_numbers_are_a_live_region():
    box = widgets.schedule_explorer()
    assert all(control.description for control in box.controls.values())
    assert 'aria-live="polite"' in box.readout.value


def test_dissolve_runs_from_the_photograph_to_noise():
    drawing = DissolvePicture()
    assert (drawing.at(0) == drawing.photo[0]).all()
    correlations = [np.corrcoef(drawing.at(t).flatten(), drawing.photo.flatten())[0, 1] for t in (1, 500, 1000)]
    assert correlations[0] > 0.99 and 0.3 < correlations[1] < 0.8 and abs(correlations[2]) < 0.02
    assert pixels(drawing.draw(0)).shape == (384, 384)
    assert "0.887 times the photograph + 0.462 times noise" in drawing.describe(300)


def test_dissolve_sends_the_photograph_and_stores_its_still():
    widget, drawing = widgets.dissolve(t=250), DissolvePicture()
    levels = np.frombuffer(base64.b64decode(widget.given["photograph"]), np.uint8).reshape(128, 128, 3)
    assert (levels == np.asarray(Image.open(io.BytesIO(drawing.draw(0))))[::3, ::3]).all()
    data, _ = widget._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]) == drawing.draw(250)
    assert data["text/plain"] == drawing.describe(250) and widget.chosen == {"t": 250}
    with pytest.raises(DDPMError, match=r"dissolve: t is one of 0, 1, \.\.\. 1000 here, got 1001"):
        widgets.dissolve(t=1001)
