"""The denoising explorer without a front end: its numbers against the formulas, its panels against each control."""

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_edu import data, oracles, schedules
from ddpm_edu.widgets.denoising_explorer import (
    BY_HEART,
    PANELS,
    TRAINED,
    WIENER,
    DenoisingPicture,
    denoising_explorer,
)

START = {"predictor": WIENER, "digit": 6, "t": 300}
COLUMNS = {name: (122 * i, 122 * (i + 1)) for i, name in enumerate(PANELS)} | {"curve": (670, 920)}


@pytest.fixture(scope="module")
def drawing():
    return DenoisingPicture()


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"), float)


def moved(drawing, change):
    """The panels that ``change`` alters."""
    difference = np.abs(pixels(drawing.draw(**START)) - pixels(drawing.draw(**START | change)))
    return {name for name, (left, right) in COLUMNS.items() if difference[:, left:right].mean() > 0.02}


@pytest.mark.parametrize(
    ("change", "stays"),
    [
        ({"t": 700}, {"x_0", "noise"}),
        ({"digit": 3}, set()),
        ({"predictor": BY_HEART}, {"x_0", "noise", "x_t"}),
        ({"predictor": TRAINED}, {"x_0", "noise", "x_t"}),
    ],
)
def test_each_control_moves_what_it_should(drawing, change, stays):
    assert moved(drawing, change) == set(COLUMNS) - stays


def test_x_t_is_the_digit_and_the_noise_and_so_are_the_predictions(drawing):
    for predictor in drawing.predictors:
        seen = drawing.look(predictor, 4, 250)
        ab = schedules.linear().alpha_bar[250].item()
        for image, noise in (("x_0", "noise"), ("predicted x_0", "predicted noise")):
            assert torch.allclose(seen["x_t"], ab**0.5 * seen[image] + (1 - ab) ** 0.5 * seen[noise], atol=1e-5)


def test_known_by_heart_finds_the_digit_where_the_noise_is_weak(drawing):
    seen = drawing.look(BY_HEART, 2, 50)
    assert torch.allclose(seen["predicted x_0"], data.digits().model_range()[2:3], atol=1e-4)
    assert torch.allclose(seen["predicted noise"], seen["noise"], atol=1e-3)


def test_the_wiener_filter_is_fitted_to_the_digits(drawing):
    x0 = data.digits().model_range().flatten(1).double()
    s, t = schedules.linear(), 400
    ab, covariance = s.alpha_bar[t], torch.cov(x0.T, correction=0)
    seen = drawing.look(WIENER, 0, t)
    deviation = seen["x_t"].flatten().double() - ab.sqrt() * x0.mean(0)
    by_hand = (1 - ab).sqrt() * torch.linalg.solve(
        ab * covariance + (1 - ab) * torch.eye(64, dtype=torch.float64), deviation
    )
    assert torch.allclose(seen["predicted noise"].flatten().double(), by_hand, atol=1e-5)


def test_the_numbers_are_the_errors_in_two_units(drawing):
    seen = drawing.look(**START)
    text = re.sub(r"<[^>]+>", " ", drawing.describe(**START))
    of_eps = (seen["predicted noise"] - seen["noise"]).square().mean().item()
    of_x0 = (seen["predicted x_0"] - seen["x_0"]).square().mean().item()
    assert "at t = 300" in text and f"error of the noise {of_eps:.3g}" in text and f"error of x_0 {of_x0:.3g}" in text
    assert f"= {of_x0:.3g}: the same error" in text


def test_the_dot_stands_at_this_digits_error(drawing):
    drawing.draw(**START)
    (t,), (height,) = drawing.dot.get_data()
    seen = drawing.look(**START)
    assert t == 300 and height == pytest.approx((seen["predicted noise"] - seen["noise"]).square().mean().item())


def test_the_wiener_curve_is_its_closed_form(drawing):
    """A mean over 200 digits, so within a fifth; at small t, where chance is large, the error is not."""
    (curve,) = [line for line in drawing.figure.axes[-1].lines if line.get_label() == WIENER]
    floor = oracles.FullGaussian.fit(data.digits().model_range()).eps_floor(schedules.linear())
    times, errors = curve.get_data()
    for t, error in zip(times, errors, strict=True):
        assert error == pytest.approx(floor[int(t)].item(), rel=0.2)


def test_the_same_values_give_the_same_bytes(drawing):
    first = drawing.draw(**START)
    drawing.draw(BY_HEART, 1, 900)
    assert drawing.draw(**START) == first


def test_moving_a_slider_redraws_picture_and_numbers():
    box = denoising_explorer()
    assert box.controls["predictor"].value == TRAINED and all(c.description for c in box.controls.values())
    for name, value in (("t", 301), ("digit", 7), ("predictor", BY_HEART)):
        picture, numbers = box.image.value, box.readout.value
        box.controls[name].value = value
        assert box.image.value != picture and box.readout.value != numbers
    assert "at t = 301" in box.readout.value
