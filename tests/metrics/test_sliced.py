"""The sliced Wasserstein distance against scipy, optimal assignment, and an integral over all directions."""

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch

from ddpm_edu import metrics
from ddpm_edu.errors import ConfigError, DataError, ShapeError
from ddpm_edu.metrics import sliced


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sw(x, y, projections=256, order=2, seed=0):
    return metrics.sliced_wasserstein(x, y, projections, torch.Generator().manual_seed(seed), order)


def near(a, b, relative=1e-9):
    assert math.isclose(a, b, rel_tol=relative, abs_tol=1e-12), (a, b)


# ---------------------------------------------------------------- one dimension: exact


def test_a_shift_in_one_dimension_is_exact():
    x = draws(40, 1)
    for order in (1, 2, 3.5):
        near(sw(x, x.flip(0) + 2.5, projections=3, order=order), 2.5)


def test_sorting_is_the_best_assignment():
    """Equal sizes, against the Hungarian algorithm on the matrix of costs."""
    x, y = draws(30, 1), 1 + 2 * draws(30, 1, seed=1)
    for order in (1, 2):
        cost = (x - y.T).abs().numpy() ** order
        best = cost[scipy.optimize.linear_sum_assignment(cost)].mean() ** (1 / order)
        near(sw(x, y, projections=2, order=order), best)


def test_unequal_sizes_against_scipy():
    for n, m in ((5, 7), (30, 11), (1, 9), (12, 6), (8, 8)):
        x, y = draws(n, 1), 0.5 + 2 * draws(m, 1, seed=1)
        near(sw(x, y, projections=2, order=1), scipy.stats.wasserstein_distance(x[:, 0], y[:, 0]))


def test_unequal_sizes_are_equal_sizes_of_copies():
    """Each of n numbers m times, each of m numbers n times: the same distributions, n m numbers each."""
    x, y = draws(6, 1), draws(10, 1, seed=1)
    many, as_many = np.sort(np.repeat(x[:, 0].numpy(), 10)), np.sort(np.repeat(y[:, 0].numpy(), 6))
    near(sw(x, y, projections=2), math.sqrt(np.mean((many - as_many) ** 2)))


# ---------------------------------------------------------------- more dimensions


def test_a_shift_in_many_dimensions():
    """SW_2^2 = E <u, c>^2 = |c|^2 / D: exact on average over directions, here over 20,000."""
    for dim in (2, 5, 64):
        x, c = draws(20, dim), draws(dim, seed=1)
        near(sw(x, x + c, 20_000) ** 2, (c.square().sum() / dim).item(), 0.04)


def test_in_the_plane_it_is_an_integral_over_angles():
    """Of W_p^p, and only then the root; trapezoids over half a turn, numpy's sort."""
    x, y = draws(40, 2).numpy() * [1, 3], np.add(draws(40, 2, seed=1).numpy(), [2, 0])
    angle = np.arange(2000) * np.pi / 2000
    u = np.stack([np.cos(angle), np.sin(angle)])
    apart = np.abs(np.sort(x @ u, 0) - np.sort(y @ u, 0))
    for order in (1, 2, 4):
        wanted = np.mean(apart**order) ** (1 / order)
        near(sw(torch.from_numpy(x), torch.from_numpy(y), 20_000, order), wanted, 0.02)


def test_directions_are_uniform_on_the_sphere():
    u = sliced.directions(40_000, 3, torch.Generator().manual_seed(0))
    assert (u.norm(dim=1) - 1).abs().max() < 1e-12
    assert u.mean(0).abs().max() < 0.01
    assert (u.T @ u / len(u) - torch.eye(3) / 3).abs().max() < 0.01
    # Archimedes: a coordinate of the sphere in space is uniform in [-1, 1].
    assert scipy.stats.kstest(u[:, 0].numpy(), "uniform", (-1, 2)).pvalue > 0.01


def test_it_is_symmetric_and_zero_for_one_set_in_any_order():
    x, y = draws(30, 2, 3), draws(50, 2, 3, seed=1)
    near(sw(x, y), sw(y, x))
    assert sw(x, x.flip(0)) < 1e-12
    assert sw(x, y) > 0.01


def test_samples_of_any_shape_are_flattened():
    x, y = draws(30, 1, 4, 4), draws(50, 1, 4, 4, seed=1)
    near(sw(x, y), sw(x.flatten(1), y.flatten(1)))
    near(sw(x.float(), y.float()), sw(x, y), 1e-5)


def test_a_generator_makes_it_repeatable():
    x, y = draws(30, 4), draws(50, 4, seed=1)
    g = torch.Generator().manual_seed(3)
    first, second = (metrics.sliced_wasserstein(x, y, generator=g) for _ in range(2))
    assert first == sw(x, y, seed=3) and first != second
    before = torch.get_rng_state()
    sw(x, y)
    assert torch.equal(torch.get_rng_state(), before), "the global stream is left alone"


BAD = {
    "plain numbers": (torch.zeros(5), torch.zeros(5), {}, ShapeError, r"x must be \(N, \.\.\.\).*x\[:, None\]"),
    "nothing in a sample": (torch.zeros(5, 0), torch.zeros(5, 0), {}, ShapeError, "at least one number"),
    "other samples": (torch.zeros(5, 2), torch.zeros(5, 3), {}, ShapeError, r"got \(2,\) and \(3,\)"),
    "as many numbers in another shape": (torch.zeros(5, 2, 3), torch.zeros(5, 6), {}, ShapeError, r"\(2, 3\) and"),
    "no sample": (torch.zeros(5, 2), torch.zeros(0, 2), {}, DataError, "y has 0 samples"),
    "NaN": (torch.zeros(5, 2), torch.full((5, 2), float("nan")), {}, DataError, "y holds NaN"),
    "a list": ([[1.0]], torch.zeros(5, 1), {}, DataError, "got list"),
    "no projections": (torch.zeros(5, 2), torch.zeros(5, 2), {"projections": 0}, ConfigError, "projections .* got 0"),
    "half a projection": (torch.zeros(5, 2), torch.zeros(5, 2), {"projections": 1.5}, ConfigError, "got 1.5"),
    "order 0": (torch.zeros(5, 2), torch.zeros(5, 2), {"order": 0}, ConfigError, "order .* got 0"),
    "order inf": (torch.zeros(5, 2), torch.zeros(5, 2), {"order": math.inf}, ConfigError, "order .* got inf"),
    "order NaN": (torch.zeros(5, 2), torch.zeros(5, 2), {"order": math.nan}, ConfigError, "order .* got nan"),
}


@pytest.mark.parametrize(("x", "y", "options", "error", "words"), BAD.values(), ids=BAD)
def test_bad_inputs(x, y, options, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        metrics.sliced_wasserstein(x, y, **options)
