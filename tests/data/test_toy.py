"""The toy densities: pure, on scale, and of the shape that their names promise."""

import pytest
import torch

from ddpm_edu import data
from ddpm_edu.errors import DataError


def draw(name: str, n: int = 20_000, seed: int = 0) -> torch.Tensor:
    return data.TOYS[name](n, torch.Generator().manual_seed(seed))


def test_there_are_six():
    assert sorted(data.TOYS) == [
        "checkerboard", "eight_gaussians", "moons", "pinwheel", "rings", "swiss_roll",
    ]  # fmt: skip


@pytest.mark.parametrize("name", data.TOYS)
def test_shape_scale_and_purity(name):
    x = draw(name)
    assert (x.shape, x.dtype) == ((20_000, 2), torch.float32)
    assert x.isfinite().all()
    assert x.mean(0).abs().max() < 0.2
    assert 0.3 < x.std() < 0.65
    assert x.abs().quantile(0.999) < 1.1
    assert x.equal(draw(name))
    assert not x.equal(draw(name, seed=1))


@pytest.mark.parametrize("name", data.TOYS)
@pytest.mark.parametrize("n", [0, -1, 2.0, True, None])
def test_a_strange_number_of_points_is_refused(name, n):
    with pytest.raises(DataError, match="integer >= 1"):
        data.TOYS[name](n, torch.Generator())


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    for name in data.TOYS:
        draw(name, 10)
    assert torch.get_rng_state().equal(before)


def test_rings_have_two_radii_and_a_hole():
    radius = draw("rings").norm(dim=1)
    inner = radius < 0.65
    assert abs(inner.float().mean() - 0.5) < 0.02
    assert abs(radius[inner].mean() - 0.4) < 0.01
    assert abs(radius[~inner].mean() - 0.9) < 0.01
    assert radius.min() > 0.2


def test_the_checkerboard_fills_eight_squares_evenly_and_no_others():
    x = draw("checkerboard")
    cell = ((x + 1) * 2).floor().long().clamp(0, 3)
    counts = torch.zeros(4, 4).index_put_((cell[:, 0], cell[:, 1]), torch.ones(len(x)), accumulate=True)
    dark = (torch.arange(4)[:, None] + torch.arange(4)) % 2 == 0
    assert counts[~dark].eq(0).all()
    assert (counts[dark] / len(x) - 1 / 8).abs().max() < 0.01


def test_eight_gaussians_have_eight_equal_modes():
    x = draw("eight_gaussians")
    which = (torch.atan2(x[:, 1], x[:, 0]) / (2 * torch.pi) * 8).round().long() % 8
    assert (which.bincount(minlength=8) / len(x) - 1 / 8).abs().max() < 0.01
    assert abs(x.norm(dim=1).mean() - 0.85) < 0.01


def test_the_pinwheel_looks_the_same_after_a_fifth_of_a_turn():
    x = draw("pinwheel")
    angle = torch.tensor(2 * torch.pi / 5)
    turn = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])

    def density(points: torch.Tensor) -> torch.Tensor:
        return torch.histogramdd(points, bins=[8, 8], range=[-1.0, 1.0, -1.0, 1.0]).hist / len(points)

    same = (density(x @ turn.T) - density(x)).abs().sum()
    mirrored = (density(x * torch.tensor([1.0, -1.0])) - density(x)).abs().sum()
    assert same < 0.1 < mirrored


def test_moons_are_two_arcs_around_two_centres():
    x = draw("moons") / 0.65
    upper = (x - torch.tensor([-0.5, -0.25])).norm(dim=1)
    lower = (x - torch.tensor([0.5, 0.25])).norm(dim=1)
    nearer = torch.minimum((upper - 1).abs(), (lower - 1).abs())
    assert nearer.quantile(0.99) < 0.2
    assert abs(((upper - 1).abs() < (lower - 1).abs()).float().mean() - 0.5) < 0.02


def test_the_swiss_roll_follows_one_spiral_and_fills_it_evenly():
    x = draw("swiss_roll")
    radius = x.norm(dim=1)
    off = torch.atan2(x[:, 1], x[:, 0]) / (2 * torch.pi) - 2.25 * radius / 0.95
    assert (off - off.round()).abs().quantile(0.95) < 0.15
    # even along the curve: the squared radius is uniform between its ends
    u = (radius / 0.95).square()
    expected = 0.06 + 0.94 * torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])
    assert (u.quantile(torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])) - expected).abs().max() < 0.02
