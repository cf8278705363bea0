"""The photographs that installed packages ship."""

import importlib

import pytest
import torch

from ddpm_edu import data
from ddpm_edu.errors import DataError

module = importlib.import_module("ddpm_edu.data.photos")


@pytest.mark.parametrize("name", ["grace_hopper", "china", "flower"])
@pytest.mark.parametrize("size", [32, 64])
def test_square_colour_bytes(name, size):
    image = data.photograph(name, size)
    assert (image.shape, image.dtype) == ((3, size, size), torch.uint8)
    assert image.float().std() > 20  # a picture, not a blank


def test_the_face_is_where_the_dissolve_expects_it():
    # Skin tones (red well above blue) fill the middle of the crop, and the blue wall its upper right corner.
    image = data.photograph("grace_hopper", 64).int()
    face, wall = image[:, 26:44, 20:44], image[:, :16, 54:]
    assert (face[0] - face[2]).float().mean() > 30
    assert (wall[2] - wall[0]).float().mean() > 30


def test_unknown_names_get_the_list():
    with pytest.raises(DataError, match=r"photograph 'lena' is not there; .* grace_hopper, china, flower"):
        data.photograph("lena")


@pytest.mark.parametrize("size", [0, -3, 6.4])
def test_strange_sizes_are_refused(size):
    with pytest.raises(DataError, match="integer >= 1"):
        data.photograph(size=size)


def test_without_scikit_learn_there_is_still_one(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda package: None)
    assert data.photographs() == ("grace_hopper",)
    with pytest.raises(DataError, match="scikit-learn, which ships china and flower"):
        data.photograph("china")
