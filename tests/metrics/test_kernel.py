"""Kernel distances against loops over pairs, exact enumeration, closed forms and torchmetrics; and what they see."""

import fractions
import functools
import itertools
import math
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ddpm_edu import data, metrics
from ddpm_edu.errors import ConfigError, DataError, ShapeError


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def near(a, b, relative=1e-10, absolute=1e-14):
    assert math.isclose(a, b, rel_tol=relative, abs_tol=absolute), (a, b)


def by_loops(x, y, kernel):
    """MMD^2 pair by pair, in plain Python."""
    x, y = x.tolist(), y.tolist()
    within = [
        sum(kernel(p, q) for i, p in enumerate(z) for j, q in enumerate(z) if i != j) / (len(z) * (len(z) - 1))
        for z in (x, y)
    ]
    return sum(within) - 2 * sum(kernel(p, q) for p in x for q in y) / (len(x) * len(y))


def cubic(p, q):
    return (sum(a * b for a, b in zip(p, q, strict=True)) / len(p) + 1) ** 3


def bell(h):
    return lambda p, q: math.exp(-(math.dist(p, q) ** 2) / (2 * h * h))


# ---------------------------------------------------------------- kernel distance


def test_the_kernel_distance_is_a_sum_over_pairs():
    for n, m, dim in ((2, 2, 1), (9, 14, 3), (14, 9, 5)):
        x, y = draws(n, dim), 0.5 + 2 * draws(m, dim, seed=1)
        near(metrics.kernel_distance(x, y), by_loops(x, y, cubic))
        near(metrics.kernel_distance(y, x), by_loops(x, y, cubic))


def test_equal_samples_are_pairs_like_any_other():
    """Only a sample with itself is left out, not with its copies."""
    x, y = draws(4, 3).repeat(2, 1), draws(5, 3, seed=1)
    near(metrics.kernel_distance(x, y), by_loops(x, y, cubic))
    near(metrics.mmd(x, y, 1.0), by_loops(x, y, bell(1.0)))


def test_parts_change_nothing():
    """Also where the last part is smaller, and where a part is one row."""
    x, y = draws(23, 4), 0.5 + draws(17, 4, seed=1)
    for pairs in (1, 50, 130):
        with mock.patch("ddpm_edu.metrics.neighbours.PAIRS", pairs):
            near(metrics.kernel_distance(x, y), by_loops(x, y, cubic))
            near(metrics.mmd(x, y, 0.7), by_loops(x, y, bell(0.7)))


def test_its_mean_is_the_true_value():
    """Two draws from -1 or 1 and three from 0 or 2: all 2^5 equally likely sets, in fractions, against E k by hand."""
    estimates = [
        metrics.kernel_distance(torch.tensor(x)[:, None], torch.tensor(y)[:, None])
        for x in itertools.product((-1.0, 1.0), repeat=2)
        for y in itertools.product((0.0, 2.0), repeat=3)
    ]

    def expected(values, others):
        return fractions.Fraction(sum((p * q + 1) ** 3 for p in values for q in others), len(values) * len(others))

    wanted = expected((-1, 1), (-1, 1)) + expected((0, 2), (0, 2)) - 2 * expected((-1, 1), (0, 2))
    near(sum(estimates) / len(estimates), float(wanted))
    assert min(estimates) < 0 < wanted, "not clipped"


def test_equal_distributions_scatter_about_zero():
    """At every size, where a Frechet distance is far above."""
    for n in (20, 80):
        sets = [(draws(n, 8, seed=i), draws(n, 8, seed=1000 + i)) for i in range(200)]
        values = np.array([metrics.kernel_distance(*pair) for pair in sets])
        assert abs(values.mean()) < 3 * values.std() / math.sqrt(len(values))
        assert 0.2 < (values < 0).mean() < 0.9
        assert min(metrics.frechet_distance(*pair) for pair in sets) > 0.2


def test_it_is_torchmetrics_kid():
    kid = pytest.importorskip("torchmetrics.image.kid")
    x, y = draws(60, 5), 0.3 + 1.2 * draws(60, 5, seed=1)
    near(metrics.kernel_distance(x, y), kid.poly_mmd(x, y, degree=3, gamma=None, coef=1.0).item())


# ---------------------------------------------------------------- subsets


def subsets(x, y, size, count, seed=0):
    return metrics.kernel_distance_subsets(x, y, size, count, torch.Generator().manual_seed(seed))


def test_subsets_of_everything_are_everything():
    """In another order, each time; so all values are the same, and nothing comes twice."""
    x, y = draws(12, 3), 0.5 + draws(12, 3, seed=1)
    got = subsets(x, y, 12, 5)
    near(got.mean, metrics.kernel_distance(x, y))
    assert got.std < 1e-12


def test_subsets_average_to_the_whole_and_their_spread_is_told():
    """All pairs of two of four samples, listed, against many random ones."""
    x, y = draws(4, 2), 0.5 + draws(4, 2, seed=1)
    two = list(itertools.combinations(range(4), 2))
    listed = np.array([by_loops(x[list(i)], y[list(j)], cubic) for i in two for j in two])
    near(listed.mean(), metrics.kernel_distance(x, y))
    got = subsets(x, y, 2, 4000)
    near(got.mean, listed.mean(), absolute=4 * listed.std() / math.sqrt(4000))
    near(got.std, listed.std(), relative=0.05)


def test_a_generator_makes_subsets_repeatable():
    x, y = draws(30, 3), draws(40, 3, seed=1)
    assert subsets(x, y, 10, 3) == subsets(x, y, 10, 3) != subsets(x, y, 10, 3, seed=1)


def test_the_spread_of_two_values_is_that_of_a_sample():
    """Two values have the standard deviation |a - b| / sqrt(2), by hand from the same draws."""
    x, y = draws(8, 2), draws(8, 2, seed=1)
    g = torch.Generator().manual_seed(0)
    pick = [torch.randperm(8, generator=g)[:3] for _ in range(4)]
    one, other = (by_loops(x[i], y[j], cubic) for i, j in (pick[:2], pick[2:]))
    near(subsets(x, y, 3, 2).std, abs(one - other) / math.sqrt(2))


# ---------------------------------------------------------------- Gaussian kernel


def test_the_gaussian_kernel_is_a_sum_over_pairs():
    x, y = draws(9, 2), 0.5 + 2 * draws(14, 2, seed=1)
    for h in (0.1, 1, 30.0):
        near(metrics.mmd(x, y, h), by_loops(x, y, bell(h)), 1e-9)


def test_two_normal_distributions_in_closed_form():
    """E k = (h^2 / (h^2 + v))^(D/2) exp(-|d|^2 / (2 (h^2 + v))) for x - y normal with mean d and variance v."""
    s, r, shift, h = 1.0, 1.5, torch.tensor([1.0, -0.5], dtype=torch.float64), 0.8

    def expected(v, d2):
        return h * h / (h * h + v) * math.exp(-d2 / (2 * (h * h + v)))

    wanted = expected(2 * s * s, 0) + expected(2 * r * r, 0) - 2 * expected(s * s + r * r, 1.25)
    sets = [(s * draws(20, 2, seed=i), shift + r * draws(9, 2, seed=10_000 + i)) for i in range(2000)]
    values = np.array([metrics.mmd(*pair, h) for pair in sets])
    assert abs(values.mean() - wanted) < 4 * values.std() / math.sqrt(len(values)), (values.mean(), wanted)
    assert abs(values.mean() - wanted) < 0.1 * wanted


def test_the_median_heuristic():
    x, y = draws(11, 2), 3 + draws(8, 2, seed=1)
    both = torch.cat([x, y]).tolist()
    wanted = float(np.median([math.dist(p, q) for p, q in itertools.combinations(both, 2)]))
    near(metrics.median_bandwidth(x, y), wanted)
    near(metrics.median_bandwidth(y, x), wanted)
    near(metrics.mmd(x, y), by_loops(x, y, bell(wanted)))
    near(metrics.mmd(5 * x, 5 * y), metrics.mmd(x, y))


def test_the_median_of_many_points_is_that_of_some_of_all():
    """Four groups in order, 1 apart within and 100 between: three pairs in four are between, no early ones."""
    x = torch.arange(4).repeat_interleave(2500)[:, None] * 100 + draws(10_000, 1)
    assert 90 < metrics.median_bandwidth(x, x) < 210
    near(metrics.median_bandwidth(x, x), metrics.median_bandwidth(x[::10], x[::10]))


# ---------------------------------------------------------------- what they see


@functools.cache
def digits():
    found = data.digits()
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))
    x = found.model_range()[order]
    return metrics.features.load("digits"), x[:600], x[600:1200], found.labels[order][600:1200]


def distance(images):
    extractor, real, _, _ = digits()
    return metrics.kernel_distance(extractor.features(real), extractor.features(images))


def test_noise_blur_and_a_lost_class_are_seen():
    _, _, x, labels = digits()
    halves = abs(distance(x))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    noisy = [distance((x + std * noise).clamp(-1, 1)) for std in (0.2, 0.4, 0.8)]
    assert noisy[0] > 2 * halves and all(2 * less < more for less, more in itertools.pairwise(noisy)), noisy
    assert distance(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)) > 10 * halves
    assert distance(x[labels != 3]) > 3 * halves


# ---------------------------------------------------------------- bad inputs

GOOD = torch.zeros(3, 2)
BAD_SETS = {
    "images": (torch.zeros(3, 1, 8, 8), GOOD, ShapeError, r"a must be \(N, D\).*features\.load"),
    "another width": (GOOD, torch.zeros(3, 4), ShapeError, r"a and b .* \(2,\) and \(4,\)"),
    "one sample": (GOOD, torch.zeros(1, 2), DataError, "b has 1 samples; at least 2"),
    "NaN": (GOOD * float("nan"), GOOD, DataError, "a holds NaN"),
    "a list": ([[1.0]], GOOD, DataError, "got list"),
}


@pytest.mark.parametrize(("a", "b", "error", "words"), BAD_SETS.values(), ids=BAD_SETS)
def test_sets_that_cannot_be_compared(a, b, error, words):
    for way in (metrics.kernel_distance, functools.partial(metrics.kernel_distance_subsets, size=2)):
        with pytest.raises(error, match=f"(?s){words}"):
            way(a, b)
    in_the_plane = words.replace("a must", "x must").replace("a and b", "x and y").replace("b has", "y has")
    for way in (metrics.mmd, metrics.median_bandwidth):
        with pytest.raises(error, match=f"(?s){in_the_plane.replace('a holds', 'x holds')}"):
            way(a, b)


@pytest.mark.parametrize("bandwidth", [0, -1.0, math.inf, math.nan])
def test_bandwidths_that_cannot_be(bandwidth):
    with pytest.raises(ConfigError, match="bandwidth must be a number above 0"):
        metrics.mmd(draws(3, 2), draws(3, 2), bandwidth)


def test_points_that_coincide_have_no_median():
    with pytest.raises(DataError, match="median distance between points is 0"):
        metrics.mmd(torch.zeros(9, 2), draws(2, 2))
    near(metrics.mmd(torch.zeros(9, 2), torch.zeros(4, 2), 1.0), 0.0)


@pytest.mark.parametrize(("size", "count", "word"), [(1, 9, "size"), (4, 9, "size"), (2.0, 9, "size"), (2, 1, "count")])
def test_subsets_that_cannot_be(size, count, word):
    with pytest.raises(ConfigError, match=f"{word} must be a whole number"):
        metrics.kernel_distance_subsets(draws(3, 2), draws(5, 2), size, count)
