"""The floor against its expansion for Gaussians; the interval against distances whose expectation is known exactly."""

import math

import numpy as np
import pytest
import torch

from ddpm_edu import metrics
from ddpm_edu.errors import ConfigError, DataError, ShapeError


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def expansion(s, n, m=math.inf):
    """E d^2 of n and m draws from a Gaussian with variances ``s``, to second order: sums written out."""
    mean = sum(s) / n + sum(s) / m
    pairs = sum(a * b * (2 if i == j else 1) / (2 * (a + b)) for i, a in enumerate(s) for j, b in enumerate(s))
    return mean + pairs / (n - 1) + pairs / (m - 1)


VARIANCES = [4.0, 2.0, 1.0, 1.0, 0.5, 0.25]


def gaussian(count, seed=0):
    """Correlated: along axes that are turned."""
    turned = torch.linalg.qr(draws(6, 6, seed=99))[0]
    return draws(count, 6, seed=seed) * torch.tensor(VARIANCES, dtype=torch.float64).sqrt() @ turned + 3


# ---------------------------------------------------------------- the floor


def test_the_floor_is_the_expansion_for_gaussians():
    """All real images are split into n and the rest: no factor is left free."""
    found = metrics.floor(gaussian(6000), 300, repeats=150, generator=seeded(1))
    assert found.mean == pytest.approx(expansion(VARIANCES, 300, 5700), rel=0.06)
    assert found[2:] == (300, 150)


def test_the_floor_falls_as_one_over_n():
    """Against moments that are known exactly, where only n makes the distance."""
    turned = torch.linalg.qr(draws(6, 6, seed=99))[0]
    truth = metrics.Moments(
        torch.full((6,), 3.0, dtype=torch.float64),
        turned.T @ torch.tensor(VARIANCES, dtype=torch.float64).diag() @ turned,
    )
    few, many = (
        np.mean([metrics.floor(gaussian(4 * n, seed), n, 10, seeded(seed), truth).mean for seed in range(12)])
        for n in (150, 600)
    )
    assert few == pytest.approx(expansion(VARIANCES, 150), rel=0.1)
    assert many == pytest.approx(expansion(VARIANCES, 600), rel=0.1)
    assert 3.5 < few / many < 4.5


def test_the_law_is_for_many_images():
    """With n below the number of features a quarter of the images is not four times the distance. Negative control."""
    few, many = (metrics.floor(draws(4000, 64), n, 10, seeded(0)).mean for n in (10, 40))
    assert 1.5 < few / many < 3


def test_the_spread_is_that_of_fresh_images():
    x, n = gaussian(20000), 100
    fresh = [metrics.frechet_distance(gaussian(n, seed), x) for seed in range(1, 201)]
    found = metrics.floor(x, n, 200, seeded(0))
    assert found.spread == pytest.approx(np.std(fresh, ddof=1), rel=0.2)
    assert found.mean == pytest.approx(np.mean(fresh), rel=0.07)


def test_the_chosen_are_not_in_the_reference():
    """Two halves at the distance 4 for each choice of one of two: any overlap would bring them nearer."""
    x = torch.tensor([[0.0], [0.0], [2.0], [2.0]]).double()
    reference = torch.tensor([[9.0], [9.0]])
    values = {metrics.floor(x, 2, 2, seeded(i)).mean for i in range(40)}
    # {0,0}|{2,2}: 4; {0,2}|{0,2}: 0. The mean of two choices is one of three numbers.
    assert values <= {0.0, 2.0, 4.0} and 4.0 in values
    assert metrics.floor(x[:2], 2, 3, seeded(0), reference) == (81.0, 0.0, 2, 3), "and one's own reference is heard"


def test_a_reference_may_be_features_or_their_moments():
    x, y = gaussian(60), gaussian(80, 1)
    one, two = (metrics.floor(x, 20, 3, seeded(0), reference) for reference in (y, metrics.moments(y)))
    assert one == two
    assert one != metrics.floor(x, 20, 3, seeded(1), y)


@pytest.mark.parametrize(
    ("n", "options", "error", "words"),
    [
        (1, {}, DataError, r"n must be a whole number in 2\.\.8 for 10 real images, of which two .* got 1"),
        (9, {}, DataError, r"2\.\.8"),
        (11, {"reference": torch.zeros(5, 3)}, DataError, r"2\.\.10 for 10 real images; got 11"),
        (2.0, {}, DataError, "got 2.0"),
        (4, {"repeats": 1}, ConfigError, "repeats must be a whole number >= 2, got 1"),
        (4, {"reference": torch.zeros(5, 4)}, ShapeError, "features and reference must have samples of one shape"),
    ],
)
def test_floors_that_cannot_be(n, options, error, words):
    with pytest.raises(error, match=words):
        metrics.floor(torch.zeros(10, 3), n, **options)


# ---------------------------------------------------------------- the interval


def between_means(a, b):
    """|mean a - b|^2, whose expectation for n draws of variance 1 is |mu - b|^2 + D/n, exactly."""
    return float((a.mean(0) - b).square().sum())


def on_a_line(a, b):
    """The Frechet distance in one dimension, from the standard normal distribution."""
    return float(a.mean() ** 2 + (a.std() - 1) ** 2)


def expected_on_a_line(mu, sigma, n):
    """E of it: the mean of the standard deviation of n normal numbers is sigma c4(n)."""
    c4 = math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
    return mu**2 + sigma**2 / n + sigma**2 + 1 - 2 * sigma * c4


def coverage(make, b, distance, truth, runs=300):
    found = [metrics.bootstrap(make(i), b, distance, 100, seeded(10_000 + i)) for i in range(runs)]
    return np.mean([low <= truth <= high for _, low, high, _ in found])


def test_the_interval_covers_as_often_as_it_says():
    """Gaussians on a line, apart from the reference in mean and in spread: 95% of 300, with a deviation of 1.3%."""
    n, truth = 200, expected_on_a_line(0.5, 1.5, 200)
    assert 0.91 < coverage(lambda i: 0.5 + 1.5 * draws(n, seed=i), None, on_a_line, truth) < 0.985


def test_the_interval_covers_where_the_bias_is_most_of_the_value():
    """50 dimensions and 60 samples, as near as can be: the value is D/n = 0.83, and nothing but bias."""
    n, dim = 60, 50
    share = coverage(lambda i: draws(n, dim, seed=i), torch.zeros(dim).double(), between_means, dim / n)
    assert share > 0.95, "too wide, as the docstring says, and never too narrow"


def test_the_bias_is_the_samples_own():
    """E* |mean* - b|^2 = |mean - b|^2 + tr S* / n with the variances over n: nothing is estimated but the mean."""
    x, b = draws(60, 50), torch.zeros(50).double()
    found = metrics.bootstrap(x, b, between_means, 2000, seeded(0))
    assert found.value == between_means(x, b)
    assert found.bias == pytest.approx(float(x.var(0, correction=0).sum()) / 60, rel=0.03)
    assert found.low < found.value < found.high
    assert found.value + found.bias > found.high, "quantiles of the resampled alone would miss what they are for"


def test_the_frechet_distance_less_its_bias_is_the_distance_of_the_distributions():
    """The default distance, in 6 dimensions: a shift by 1 in each, beside a bias that is known from its expansion."""
    n, truth = 200, 6.0
    moments = metrics.Moments(torch.full((6,), 2.0).double(), metrics.moments(gaussian(200_000)).covariance)

    def distance(a, b):
        return metrics.frechet_distance_of(*metrics.moments(a), *b)

    found = [metrics.bootstrap(gaussian(n, i), moments, distance, 40, seeded(i)) for i in range(1, 41)]
    assert np.mean([f.bias for f in found]) == pytest.approx(expansion(VARIANCES, n), rel=0.15)
    assert np.mean([f.value - f.bias for f in found]) == pytest.approx(truth, abs=0.15)
    a, b = gaussian(30, 1), gaussian(40, 2)
    assert metrics.bootstrap(a, b, repeats=40).value == metrics.frechet_distance(a, b), "the default"


def test_a_wider_level_is_a_wider_interval_of_the_same_middle():
    x, b = draws(60, 3), torch.ones(3).double()
    narrow, wide = (metrics.bootstrap(x, b, between_means, 400, seeded(0), level) for level in (0.5, 0.95))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    assert wide.value == narrow.value and wide.bias == narrow.bias


def test_the_ends_are_those_of_numpy():
    """Quantiles, moved so that their mean lies at the value."""
    x, b = draws(30, 2), torch.zeros(2).double()
    seen = []

    def recorded(a, b):
        seen.append(between_means(a, b))
        return seen[-1]

    found = metrics.bootstrap(x, b, recorded, 50, seeded(3), 0.9)
    value, again = seen[0], np.array(seen[1:])
    low, high = value + np.quantile(again, [0.05, 0.95]) - again.mean()
    np.testing.assert_allclose(found, (value, low, high, again.mean() - value), rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"a": torch.zeros(1, 2)}, DataError, "a has 1 samples; at least 2"),
        ({"repeats": 39}, ConfigError, "repeats must be a whole number >= 40, got 39"),
        ({"repeats": 200.0}, ConfigError, "got 200.0"),
        ({"level": 95}, ConfigError, r"level must be a number in \(0, 1\), got 95.*per cent"),
        ({"level": 1.0}, ConfigError, "got 1.0"),
    ],
)
def test_intervals_that_cannot_be(options, error, words):
    with pytest.raises(error, match=words):
        metrics.bootstrap(**{"a": torch.zeros(5, 2), "b": torch.zeros(5, 2), **options})
