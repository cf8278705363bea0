"""The playground, without a browser: its points, its still picture, what Python knows of it."""

import html
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_edu import data, schedules, widgets
from ddpm_edu.errors import ConfigError
from ddpm_edu.widgets.playground import DENSITIES, EDGE, _flow


@pytest.mark.parametrize("name", DENSITIES)
def test_the_points_are_the_packages_toys(name):
    shown = widgets.playground(name, seed=2)
    assert shown.chosen["density"] == DENSITIES[name]
    torch.testing.assert_close(
        shown.points, 1.6 * data.TOYS[name](150, torch.Generator().manual_seed(2)), rtol=0, atol=6e-4
    )
    assert shown.points.abs().max() < EDGE


def test_points_have_about_the_variance_of_the_noise():
    for name in DENSITIES:
        assert 0.5 < widgets.playground(name).points.std() < 1.2


def test_drawn_points_come_back_as_a_tensor():
    shown = widgets.playground()
    shown.chosen = shown.chosen | {"density": shown.given["handDrawn"]}
    assert shown.points.shape == (0, 2)
    shown.chosen = shown.chosen | {"drawn": [[0.5, -1], [1, 2]]}
    assert shown.points.tolist() == [[0.5, -1.0], [1.0, 2.0]]


def test_a_page_without_a_kernel_gets_all_of_it():
    shown = widgets.playground("rings")
    bundle, _ = shown._repr_mimebundle_()
    model = json.loads(html.unescape(re.search(r'data-model="([^"]*)"', bundle["text/html"])[1]))
    assert model == {"given": shown.given, "chosen": shown.chosen}
    assert set(model["given"]["densities"]) == set(DENSITIES.values())
    assert "150 points of rings" in bundle["text/plain"]
    assert len(bundle["text/html"]) < 20_000  # it is stored in a notebook


def test_the_still_picture_shows_the_points_and_is_the_same_each_time():
    first, again, other = (widgets.playground(name).picture for name in ("moons", "moons", "swiss_roll"))
    assert first == again != other
    pixels = np.asarray(Image.open(io.BytesIO(first)).convert("RGB"), dtype=int)
    vermilion = np.abs(pixels - (0xD5, 0x5E, 0x00)).sum(2) < 30
    half = pixels.shape[1] // 2
    assert vermilion[:, :half].sum() > 100 < vermilion[:, half:].sum()  # in both panels


@pytest.mark.parametrize("t", [60, 15])
def test_the_arrows_of_the_still_picture_point_from_what_is_left_of_x0_to_x0_hat(t):
    """-v = (x0-hat - sqrt(ab) x_t) / sqrt(1 - ab), by the definitions of v and x_t; x0-hat weighted by hand."""
    points = widgets.playground().points.double()
    places = torch.tensor([[-2.0, 0.3], [0.1, 0.2], [1.5, 2.4]], dtype=torch.float64)
    ab = schedules.cosine(100).alpha_bar[t]
    far = (places[:, None] - ab.sqrt() * points).square().sum(2)
    weights = torch.softmax(-far / (2 * (1 - ab)), 1)
    expected = (weights @ points - ab.sqrt() * places) / (1 - ab).sqrt()
    torch.testing.assert_close(_flow(points, places, t), expected)


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match="Did you mean 'moons'"):
        widgets.playground("moon")
    with pytest.raises(ConfigError, match="seed must be an integer"):
        widgets.playground(seed=0.5)
