"""The captioned shapes: the picture shows what the caption says."""

import importlib

import pytest
import torch

from ddpm_edu import data
from ddpm_edu.errors import DataError

module = importlib.import_module("ddpm_edu.data.shapes")  # the package's attribute is the function


def ink(images: torch.Tensor) -> torch.Tensor:
    """Share of each pixel that is covered, (N, H, W), from the channel that differs most from the ground."""
    ground = torch.tensor(module._GROUND)[:, None, None]
    contrast = (images.int() - ground).abs().amax(1).double()
    return contrast / contrast.amax((1, 2), keepdim=True)


def test_form_and_captions():
    made = data.shapes(300, seed=3, size=32)
    assert made.images.shape == (300, 3, 32, 32)
    assert made.images.dtype == torch.uint8
    assert made.classes == ("circle", "square", "triangle", "cross")
    for text, label, factors in zip(made.captions, made.labels.tolist(), made.factors.tolist(), strict=True):
        size, colour, shape, place = (words[i] for words, i in zip(module.VOCABULARY, factors, strict=True))
        assert text == f"a {size} {colour} {shape}, {place}"
        assert made.classes[label] == shape


def test_determined_by_seed_and_position_alone():
    long, short = data.shapes(600, seed=5), data.shapes(7, seed=5)
    assert long.images[:7].equal(short.images)
    assert long.captions[:7] == short.captions
    assert not data.shapes(7, seed=6).images.equal(short.images)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    data.shapes(3, seed=0)
    assert torch.get_rng_state().equal(before)


def test_every_word_occurs_about_equally_often():
    factors = data.shapes(4000, seed=0, size=16).factors
    for column, words in enumerate(module.VOCABULARY):
        share = factors[:, column].bincount(minlength=len(words)) / len(factors)
        assert (share - 1 / len(words)).abs().max() < 0.03


def test_the_picture_has_the_colour_and_lies_in_the_place_that_the_caption_says():
    made = data.shapes(500, seed=1, size=48)
    cover = ink(made.images)
    axis = (torch.arange(48) + 0.5) / 48
    total = cover.sum((1, 2))
    x = (cover.sum(1) * axis).sum(1) / total
    y = (cover.sum(2) * axis).sum(1) / total
    for i, (_, colour, _, place) in enumerate(made.factors.tolist()):
        full = made.images[i].flatten(1)[:, cover[i].flatten().argmax()]
        assert tuple(full.tolist()) == list(module.COLOURS.values())[colour]
        centre = list(module.PLACES.values())[place]
        assert abs(x[i] - centre[0]) < 0.06
        assert abs(y[i] - centre[1]) < 0.06


def test_large_is_larger_than_small():
    made = data.shapes(1000, seed=2)
    area = ink(made.images).sum((1, 2))
    for shape in range(4):
        of_shape = made.factors[:, 2] == shape
        large = made.factors[:, 0] == 1
        assert area[of_shape & large].min() > area[of_shape & ~large].max()


def test_shapes_can_be_told_apart_by_how_they_fill_their_box():
    made = data.shapes(80, seed=4, size=256)
    fill = {0: 0.785, 1: 1.0, 2: 0.5, 3: 0.565}  # pi / 4; all; half of it; a cross of arms 0.34 wide
    for cover, (_, _, shape, _) in zip(ink(made.images), made.factors.tolist(), strict=True):
        rows, columns = (cover > 0.5).any(1).sum(), (cover > 0.5).any(0).sum()
        assert abs(cover.sum() / (rows * columns) - fill[shape]) < 0.03


def test_edges_are_smooth_and_no_shape_is_cut_off():
    made = data.shapes(200, seed=0)
    cover = ink(made.images)
    assert ((cover > 0.05) & (cover < 0.95)).flatten(1).any(1).float().mean() > 0.9
    for edge in (cover[:, 0], cover[:, -1], cover[:, :, 0], cover[:, :, -1]):
        assert edge.max() == 0


def test_a_subset_keeps_its_captions():
    made = data.shapes(20, seed=0)
    part = made.subset(made.labels == 0)
    assert len(part.captions) == len(part) == len(part.factors)
    assert all("circle" in text for text in part.captions)
    assert isinstance(part, data.CaptionedSet)


def test_captions_that_do_not_fit_are_refused():
    made = data.shapes(3, seed=0)
    with pytest.raises(DataError, match="2 captions and 3 factors for 3 images"):
        data.CaptionedSet("x", made.images, made.labels, made.classes, 256, made.captions[:2], made.factors)


@pytest.mark.parametrize(("n", "size"), [(0, 32), (1.5, 32), (3, 15), (3, 32.0)])
def test_strange_sizes_are_refused(n, size):
    with pytest.raises(DataError, match="must be an integer"):
        data.shapes(n, seed=0, size=size)
