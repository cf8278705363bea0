"""Figures hold what they were given; nothing of pyplot's global state is touched."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from ddpm_edu import plots, schedules
from ddpm_edu.errors import ShapeError


def test_images_show_the_pixels_they_got():
    batch = torch.tensor([-1.0, 0.0, 1.0, 3.0]).reshape(4, 1, 1, 1).expand(4, 1, 2, 2)
    figure = plots.images(batch, ["a", "b", "c", "d"], columns=3)
    shown = [ax for ax in figure.axes if ax.images]
    assert [int(ax.images[0].get_array()[0, 0]) for ax in shown] == [0, 128, 255, 255]
    assert [ax.get_title() for ax in shown] == ["a", "b", "c", "d"] and len(figure.axes) == 6


def test_curves_carry_names_data_and_labels():
    x = torch.arange(5)
    figure = plots.curves(x, {"one": x**2, "two": -x}, "t", "share", log=False)
    (ax,) = figure.axes
    assert [line.get_label() for line in ax.lines] == ["one", "two"]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), (x**2).numpy())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("t", "share")
    assert len({line.get_color() for line in ax.lines}) == len({line.get_linestyle() for line in ax.lines}) == 2


def test_compare_schedules_plots_the_tables():
    s = schedules.cosine(100)
    left, right = plots.compare_schedules({"cosine": s}).axes
    np.testing.assert_array_equal(left.lines[0].get_ydata(), s.alpha_bar[1:].numpy())
    np.testing.assert_allclose(right.lines[0].get_ydata(), (s.log_snr[1:] / np.log(10)).numpy())


def test_clouds_and_between():
    points = torch.rand(10, 2)
    (ax,) = plots.clouds({"a": points}).axes
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), points[:, 0].numpy())
    s = schedules.from_betas([0.5, 0.5, 0.9999])
    (ax,) = plots.between(s, 2, 0.8, -0.5, (0.1, 0.3)).axes
    for line in ax.lines:  # densities: each integrates to 1 (what lies beyond -3..3 apart)
        assert abs(np.trapezoid(line.get_ydata(), line.get_xdata()) - 1) < 0.05


def test_a_picture_shows_itself_with_the_same_bytes():
    def make():
        return plots.curves(torch.arange(3), {"a": torch.arange(3)}, "x", "y")

    first = make()._repr_png_()
    assert first == make()._repr_png_() and first.startswith(b"\x89PNG")
    assert b"Software" not in first


WITHOUT_PYPLOT = """
import sys, torch
from ddpm_edu import plots
plots.curves(torch.arange(3), {"a": torch.arange(3)}, "x", "y").png()
sys.exit("matplotlib.pyplot" in sys.modules)
"""


def test_pictures_need_no_pyplot():
    """In a process of its own: here others may have imported it."""
    assert subprocess.run([sys.executable, "-c", WITHOUT_PYPLOT]).returncode == 0


@pytest.mark.parametrize(
    ("batch", "titles"),
    [(torch.zeros(3, 8, 8), ()), (torch.zeros(2, 2, 8, 8), ()), (torch.zeros(2, 1, 8, 8), ("one",))],
)
def test_images_refuse_what_they_cannot_show(batch, titles):
    with pytest.raises(ShapeError):
        plots.images(batch, titles)


def test_tiles_stand_in_their_places_and_in_their_colours():
    batch = torch.zeros(3, 3, 1, 2) - 1
    batch[1, 0, 0, 1] = 1.0  # the second image's right pixel is red
    tiles = np.asarray(plots.tiled(batch, columns=2, zoom=2))
    assert tiles.shape == (6, 10, 3), "two rows of one pixel and a gap between, twice as large"
    gap = [plots.GAP] * 3
    assert tiles[0, ::2].tolist() == [[0, 0, 0], [0, 0, 0], gap, [0, 0, 0], [255, 0, 0]]
    assert (tiles[2:4] == plots.GAP).all() and (tiles[4:, 6:] == plots.GAP).all(), "nothing in the fourth place"
